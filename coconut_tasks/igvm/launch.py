"""What a loader adds to a guest before it starts, page by page, and the measurement of it; each platform has its own subclass."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha384
from typing import ClassVar, NamedTuple

from coconut_tasks.dataclass import dataclass
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.parse import IgvmFile
from coconut_tasks.igvm.platforms import MeasuredPlatform
from coconut_tasks.igvm.rules import Rules
from coconut_tasks.igvm.values import IS_2MB_PAGE, PAGE_SIZE, SHARED, UNMEASURED, Header, PageData, ParameterInsert

MOST_PARAMETER_PAGES = 1 << 18
"""Limit on the pages without content that a platform adds (1 GiB): a header of a few bytes can ask for any number."""
_ADDRESS_LIMIT = 1 << 64
ZERO_PAGE = bytes(PAGE_SIZE)


@dataclass(frozen=True, slots=True)
class MeasureOptions:
    """How to measure; the first two are igvmmeasure's."""

    check_kvm: bool = False
    """SEV-SNP: refuse a file that KVM would measure differently."""
    native_zero: bool = False
    """SEV-SNP: pages without data are of type zero, as QEMU's IGVM loader marks them; otherwise they are normal pages full of zeroes."""
    check_id_block: bool = True
    """Refuse a file whose ID block or VBS measurement has a different digest."""
    tolerant: bool = False
    """Accept headers that the format allows and igvmmeasure does not read; see ``rules.Rules``."""
    two_pass: bool = False
    """TDX: all pages of a run are added before the first is extended; see ``tdx``."""
    qemu_order: bool = False
    """Pages are added in the order of QEMU's IGVM loader: a run of pages, see ``Launch.page``, only when a page comes that does not belong
    to it, so after what is inserted in between; VMSAs last."""
    processors: int = 1
    """SEV-SNP: with more than 1, KVM measures a VMSA of its own for each further one, all of them last; see ``kvm``."""
    vmsas: bool = True
    """SEV-SNP: whether the file's VMSAs are measured; see ``measure.snp_launch``."""
    signature: int = 0
    """SEV-SNP: the CPUID signature (function 1, EAX) of these processors; it is in their VMSAs."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A launch measurement."""

    platform: MeasuredPlatform
    digest: bytes
    pages: int
    """How many pages went into it, VMSAs included."""
    id_block: bytes | None
    """The digest that the file itself expects, in its ID block for SEV-SNP or its VBS measurement; None without one."""
    guest_svn: int | None
    """The ID block's security version number of the guest; None without an ID block."""


class MeasuredPage(NamedTuple):
    """One page that went into a launch measurement."""

    gpa: int
    """Guest physical address."""
    kind: str
    """For SEV-SNP one of ``snp.PAGE_KINDS``; for others ``normal``, ``unmeasured`` or ``error range``."""
    content: str
    """SHA-384 of its 4096 bytes as hex text; empty if they are not measured."""
    file_offset: int
    """Where its bytes are in the file; 0 if they are not there, or not measured."""


Watcher = Callable[[str, int, bytes, int], None]
"""Called with a page's kind, address, SHA-384 of its content (empty or zeroes if it is not measured) and its file offset."""


class Launch:
    """The measurement of one platform; the walk in ``measure`` gives it every page and every other header for the platform."""

    platform: ClassVar[MeasuredPlatform]

    def __init__(self, file: IgvmFile, options: MeasureOptions, mask: int, see: Watcher | None) -> None:
        self.file = file
        self.options = options
        self.mask = mask
        """The platform's compatibility mask."""
        self.pages = 0
        self.expected: bytes | None = None
        """The digest that the file itself expects."""
        self.expected_at = 0
        """Where in the file that is."""
        self.guest_svn: int | None = None
        self._see = see
        self._without_content = 0
        self._grouped = options.qemu_order or options.two_pass
        self._first: PageData | None = None
        """The first page of the run that is not yet added."""
        self._file_offsets = array("I")
        """Where the bytes of its pages are; a run may have a million."""
        self._next = 0
        """The place of the directive that may go on with it."""

    # What the walk calls. All raise IgvmError for what cannot be measured.

    def page(self, page: PageData, place: int) -> None:
        """Take a page that is for the platform; ``place`` counts the file's headers, except for those of no platform.

        Where the loader matters, pages are taken in runs, as QEMU's ``qigvm_process_mem_page`` joins them: directives directly after
        each other, with addresses directly after each other, and the same mask, flags, type, and with or without data. Headers of no
        platform do not count, since crate ``igvm``, with which QEMU reads a file, drops them.
        """
        if not self._grouped:
            self.add_page(page)
            return
        if self._first is not None and not (place == self._next and self._goes_on(self._first, page)):
            self._end_run()
        if self._first is None:
            self._first = page
        self._file_offsets.append(page.file_offset)
        self._next = place + 1

    def insert(self, insert: ParameterInsert, size: int) -> None:
        """Take all pages of a parameter area of this many bytes."""
        if not self.options.qemu_order:
            self._end_run()
        self.add_without_content(insert, insert.gpa, size, "unmeasured", "parameters")

    def see(self, header: Header, rules: Rules) -> None:
        """Take any other header that is for the platform."""

    def finish(self) -> Measured:
        """The measurement, after the last header."""
        self._end_run()
        return Measured(self.platform, self.end(), self.pages, self.expected, self.guest_svn)

    # What a platform defines.

    def add_page(self, page: PageData) -> None:
        """Add a page of the file."""
        kind = self.kind_of(page)
        if kind:
            self.check(page)
            self.add(kind, page.gpa, page.file_offset)

    def add(self, kind: str, gpa: int, file_offset: int = 0) -> None:
        """Add one page of 4 KiB."""
        raise NotImplementedError

    def add_run(self, first: PageData, file_offsets: Sequence[int]) -> None:
        """Add the pages of a run, which are like the first, with their bytes in the file."""
        kind = self.kind_of(first)
        if kind:
            self.check(first)
            for number, file_offset in enumerate(file_offsets):
                self.add(kind, first.gpa + number * PAGE_SIZE, file_offset)

    def end(self) -> bytes:
        """The digest."""
        raise NotImplementedError

    # Common to platforms.

    def kind_of(self, page: PageData) -> str:
        """How a page is measured with these options; empty for a shared page, which is not."""
        return self.page_kind(page)

    @classmethod
    def page_kind(cls, page: PageData) -> str:
        """How a page is measured by default."""
        if page.flags & SHARED:
            return ""
        return "unmeasured" if page.flags & UNMEASURED else "normal"

    @classmethod
    def check(cls, page: PageData) -> None:
        """Raises IgvmError for a page that the platform does not measure and that is not shared."""
        if page.flags & IS_2MB_PAGE:
            raise IgvmError(
                "not-measurable", page.offset, f"page of 2 MiB at {page.gpa:#x}", "only pages of 4 KiB are measured"
            )

    @classmethod
    def other_kind(cls, header: Header, owner: int | None) -> str:
        """How all that is no page of the file is measured; empty if it is not. ``owner`` is the type of the platform to which a context's
        mask belongs."""
        return "unmeasured" if isinstance(header, ParameterInsert) else ""

    def content(self, file_offset: int) -> bytes | memoryview:
        """The 4096 bytes of a page; the parser has checked that they are in the file."""
        return self.file.data[file_offset : file_offset + PAGE_SIZE] if file_offset else ZERO_PAGE

    def add_without_content(self, header: Header, gpa: int, size: int, kind: str, what: str) -> None:
        """Add pages without content for ``size`` bytes."""
        self._without_content += size // PAGE_SIZE
        if self._without_content > MOST_PARAMETER_PAGES:
            raise IgvmError(
                "too-large",
                header.offset,
                f"the file adds {self._without_content} pages without content",
                f"expected at most {MOST_PARAMETER_PAGES}",
            )
        if gpa + size > _ADDRESS_LIMIT:
            raise IgvmError("igvm-field", header.offset, f"{size:#x} bytes of {what} at {gpa:#x} end beyond 2^64")
        for one in range(gpa, gpa + size, PAGE_SIZE):
            self.add(kind, one)

    def seen(self, kind: str, gpa: int, content: bytes = b"", file_offset: int = 0) -> None:
        """Count a page that was added."""
        self.pages += 1
        if self._see is not None:
            self._see(kind, gpa, content, file_offset)

    def seen_content(self, kind: str, gpa: int, file_offset: int) -> None:
        """Count a page whose content is measured by another hash than SHA-384 of the page."""
        hashed = b"" if self._see is None or kind != "normal" else page_hash(bytes(self.content(file_offset)))
        self.seen(kind, gpa, hashed, file_offset if kind == "normal" else 0)

    def _end_run(self) -> None:
        if self._first is not None:
            first, file_offsets = self._first, self._file_offsets
            self._first, self._file_offsets = None, array("I")
            self.add_run(first, file_offsets)

    def _goes_on(self, first: PageData, page: PageData) -> bool:
        return (
            page.gpa == first.gpa + len(self._file_offsets) * PAGE_SIZE
            and (page.compatibility_mask, page.flags, page.data_type)
            == (first.compatibility_mask, first.flags, first.data_type)
            and bool(page.file_offset) == bool(first.file_offset)
        )


@lru_cache(maxsize=4096)  # 16 MiB; the images of a run mostly share their parts
def page_hash(page: bytes) -> bytes:
    """SHA-384 of a page's 4096 bytes."""
    # In pieces: above 2047 bytes, hashlib releases the GIL, and getting it back costs more than hashing a page.
    content = memoryview(page)
    found = sha384(content[:2047])
    found.update(content[2047:4094])
    found.update(content[4094:])
    return found.digest()
