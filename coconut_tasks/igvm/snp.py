"""The SEV-SNP launch digest of an IGVM file, as igvmmeasure computes it: the same digest, and the same files refused.

The firmware keeps a digest of 48 bytes, initially zeroes. For each page that the hypervisor adds before the guest starts, it becomes
the SHA-384 of a PAGE_INFO structure of 0x70 bytes (SEV-SNP firmware ABI, "Guest launch"; offsets in bytes):

====  ====  =====================================================================================
0x00    48  the digest so far
0x30    48  SHA-384 of the page's 4096 bytes for normal pages and VMSAs, otherwise zeroes
0x60     2  0x70, the length of the structure
0x62     1  page type: 1 normal, 2 VMSA, 3 zero, 4 unmeasured, 5 secrets, 6 CPUID
0x63     1  whether it is part of the initial migration image: 0
0x64     1  reserved
0x65     3  permissions of VMPL 1 to 3: 0
0x68     8  guest physical address
====  ====  =====================================================================================

So an unmeasured page counts with its address and type, but not with its content. Pages are added in the order of the directives.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import sha384
from typing import NamedTuple

from coconut_tasks.dataclass import dataclass
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.parse import IgvmFile, parse
from coconut_tasks.igvm.rules import Rules
from coconut_tasks.igvm.values import (
    CPUID_DATA,
    CPUID_XF,
    IS_2MB_PAGE,
    PAGE_SIZE,
    SECRETS,
    SEV_SNP,
    SHARED,
    UNMEASURED,
    Header,
    PageData,
    ParameterArea,
    ParameterInsert,
    SnpIdBlock,
    SupportedPlatform,
    VpContext,
)

DIGEST_SIZE = 48
"""Bytes."""
MOST_PARAMETER_PAGES = 1 << 18
"""Limit on the pages of all inserted parameter areas (1 GiB): a header of a few bytes can ask for any number."""
_TAIL = struct.Struct("<HB5xQ")
"""PAGE_INFO from offset 0x60 on."""
_PAGE_INFO_SIZE = 0x70
_NO_CONTENT = bytes(DIGEST_SIZE)
_ZEROES = sha384(bytes(PAGE_SIZE)).digest()
_KVM_VMSA_GPA = 0xFFFF_FFFF_F000
"""Where KVM puts each VMSA, whatever the file says."""
_KVM_CR0 = (0x30, 0x31)
"""The values with which KVM starts a guest: in real mode and in protected mode. SVSM's igvmmeasure accepts both since commit abfb2783."""
_CR0 = slice(0x158, 0x160)
"""Position of CR0 in a VMSA (AMD64 Architecture Programmer's Manual, volume 2, table "VMSA layout, SEV-ES")."""
_Watcher = Callable[[str, int, bytes, int], None]
"""Called with one of ``PAGE_KINDS``, address, SHA-384 of the content (``_NO_CONTENT`` if it is not measured) and its file offset."""
_ADDRESS_LIMIT = 1 << 64
_MOST_HASHES = 1 << 16
"""Limit on the cached hashes of page contents."""


@dataclass(frozen=True, slots=True)
class MeasureOptions:
    """How to measure; the first two are igvmmeasure's."""

    check_kvm: bool = False
    """Refuse a file that KVM would measure differently."""
    native_zero: bool = False
    """Pages without data are of type zero, as QEMU's IGVM loader marks them; otherwise they are normal pages full of zeroes."""
    check_id_block: bool = True
    """Refuse a file whose ID block has a different digest."""
    tolerant: bool = False
    """Accept headers that the format allows and igvmmeasure does not read; see ``rules.Rules``."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A launch digest."""

    digest: bytes
    """48 bytes."""
    pages: int
    """How many pages went into it, VMSAs included."""
    id_block: bytes | None
    """The digest that the file's ID block expects; None without an ID block for SEV-SNP."""
    guest_svn: int | None
    """The ID block's security version number of the guest; None without an ID block."""


PAGE_KINDS = {"normal": 1, "vmsa": 2, "zero": 3, "unmeasured": 4, "secrets": 5, "cpuid": 6}
"""PAGE_TYPE of the firmware ABI, command SNP_LAUNCH_UPDATE, in words."""


def kind_of_page(flags: int, data_type: int) -> str:
    """How a page of 4 KiB is measured, by its header: one of ``PAGE_KINDS``; empty for a shared page, which is not measured.

    A normal page without data may be measured as a zero page (``MeasureOptions.native_zero``). The rules are igvmmeasure's.
    """
    if flags & SHARED:
        return ""
    if data_type == SECRETS:
        return "secrets"
    if data_type in (CPUID_DATA, CPUID_XF):
        return "cpuid"
    return "unmeasured" if flags & UNMEASURED else "normal"


class MeasuredPage(NamedTuple):
    """One page that went into a launch digest."""

    gpa: int
    """Guest physical address."""
    kind: str
    """One of ``PAGE_KINDS``."""
    content: str
    """SHA-384 of its 4096 bytes as hex text; empty if they are not measured."""
    file_offset: int
    """Where its bytes are in the file; 0 if they are not there, or not measured."""


def measured_pages(data: bytes | bytearray | memoryview, options: MeasureOptions) -> list[MeasuredPage]:
    """Every page that goes into the launch digest, in order.

    Raises:
        IgvmError: as ``launch_digest``.
    """
    return measure_pages(data, options)[1]


def measure_pages(data: bytes | bytearray | memoryview, options: MeasureOptions) -> tuple[Measured, list[MeasuredPage]]:
    """The digest, and the pages that it is computed from.

    Raises:
        IgvmError: as ``launch_digest``.
    """
    found: list[MeasuredPage] = []

    def see(kind: str, gpa: int, content: bytes, file_offset: int) -> None:
        hashed = "" if content is _NO_CONTENT else content.hex()
        found.append(MeasuredPage(gpa, kind, hashed, file_offset))

    return measure(data, options, see), found


def chained(pages: Iterable[MeasuredPage]) -> str:
    """The launch digest of pages, as hex text, to check whether a list of pages matches a digest."""
    digest = bytes(DIGEST_SIZE)
    for page in pages:
        content = bytes.fromhex(page.content) or _NO_CONTENT
        digest = sha384(digest + content + _TAIL.pack(_PAGE_INFO_SIZE, PAGE_KINDS[page.kind], page.gpa)).digest()
    return digest.hex()


def launch_digest(
    data: bytes | bytearray | memoryview, *, check_kvm: bool, native_zero: bool, tolerant: bool = False
) -> bytes:
    """The launch digest that ``igvmmeasure [--check-kvm] [--native-zero] FILE measure`` prints, as 48 bytes.

    Raises:
        IgvmError: igvmmeasure refuses the file too, except for three things that only this function refuses: variable headers that do not
            begin at a multiple of 8, more than ``MOST_PARAMETER_PAGES`` of parameters, and parameters that reach past the end of memory.
    """
    return measure(data, MeasureOptions(check_kvm, native_zero, tolerant=tolerant)).digest


def measure(data: bytes | bytearray | memoryview, options: MeasureOptions, see: _Watcher | None = None) -> Measured:
    """The launch digest with all that goes with it; ``see`` is called for each page.

    Raises:
        IgvmError: as ``launch_digest``.
    """
    file = parse(data)
    rules = Rules(file, tolerant=options.tolerant)
    launch = _Launch(file, options, see)
    for header in file.headers():
        if type(header) is PageData:  # nearly all are; no rule concerns several of them
            if header.compatibility_mask & launch.mask:
                launch.add_page(header)
            continue
        rules.see(header)
        launch.see(header, rules)
    rules.end()
    if not launch.mask:
        raise IgvmError(
            "no-snp", file.fixed.variable_header_offset, "the file has no SEV-SNP platform", "a launch digest needs one"
        )
    wanted = launch.id_block
    if wanted is not None and options.check_id_block and wanted.ld != launch.digest:
        raise IgvmError(
            "id-block-differs",
            wanted.offset,
            f"the ID block expects launch digest {wanted.ld.hex()}",
            f"the file has {launch.digest.hex()}",
        )
    if wanted is None:
        return Measured(launch.digest, launch.pages, None, None)
    return Measured(launch.digest, launch.pages, wanted.ld, wanted.guest_svn)


@lru_cache(maxsize=4096)  # 16 MiB; the images of a run mostly share their parts
def page_hash(page: bytes) -> bytes:
    """SHA-384 of a page's 4096 bytes."""
    # In pieces: above 2047 bytes, hashlib releases the GIL, and getting it back costs more than hashing a page.
    content = memoryview(page)
    found = sha384(content[:2047])
    found.update(content[2047:4094])
    found.update(content[4094:])
    return found.digest()


class _Launch:
    """The digest, page by page."""

    __slots__ = (
        "_file",
        "_hashes",
        "_options",
        "_parameter_pages",
        "_see",
        "_vmsa_seen",
        "areas",
        "digest",
        "id_block",
        "mask",
        "pages",
    )

    def __init__(self, file: IgvmFile, options: MeasureOptions, see: _Watcher | None) -> None:
        self._file = file
        self._see = see
        self._options = options
        self._hashes = {0: _ZEROES}
        """File offset → SHA-384 of the page there; igvmbuilder stores equal pages once."""
        self._parameter_pages = 0
        self._vmsa_seen = False
        self.digest = bytes(DIGEST_SIZE)
        self.pages = 0
        self.mask = 0
        """Compatibility mask of SEV-SNP."""
        self.areas: dict[int, int] = {}
        """Index of each parameter area → its bytes."""
        self.id_block: SnpIdBlock | None = None

    def see(self, header: Header, rules: Rules) -> None:
        """Take a header that is not a page. Raises IgvmError if it cannot be measured."""
        match header:
            case ParameterArea():
                self.areas[header.parameter_area_index] = header.number_of_bytes
            case SupportedPlatform() if header.platform_type == SEV_SNP:
                self.mask = header.compatibility_mask
            case ParameterInsert() if header.compatibility_mask & self.mask:
                self.insert(header)
            case VpContext() if header.compatibility_mask & self.mask and rules.is_vmsa(header):
                self.add_vmsa(header)
            case SnpIdBlock() if header.compatibility_mask & self.mask:
                self.id_block = header
            case _:
                pass

    def add_page(self, page: PageData) -> None:
        """Raises IgvmError for a page that cannot be measured."""
        self._before_vmsa(page)
        kind = kind_of_page(page.flags, page.data_type)
        if not kind:
            return
        if page.flags & IS_2MB_PAGE:
            raise IgvmError(
                "not-measurable",
                page.offset,
                f"page of 2 MiB at {page.gpa:#x}",
                "only pages of 4 KiB are measured",
            )
        if kind == "normal" and not page.file_offset and self._options.native_zero:
            kind = "zero"
        if kind == "normal":
            self._extend(kind, page.gpa, self._hash(page.file_offset), page.file_offset)
        else:
            self._extend(kind, page.gpa)

    def insert(self, insert: ParameterInsert) -> None:
        """Add all pages of a parameter area. Raises IgvmError if there are too many."""
        self._before_vmsa(insert)
        size = self.areas.pop(insert.parameter_area_index)
        self._parameter_pages += size // PAGE_SIZE
        if self._parameter_pages > MOST_PARAMETER_PAGES:
            raise IgvmError(
                "too-large",
                insert.offset,
                f"parameter areas have {self._parameter_pages} pages",
                f"expected at most {MOST_PARAMETER_PAGES}",
            )
        if insert.gpa + size > _ADDRESS_LIMIT:
            raise IgvmError(
                "igvm-field", insert.offset, f"{size:#x} bytes of parameters at {insert.gpa:#x} end beyond 2^64"
            )
        for gpa in range(insert.gpa, insert.gpa + size, PAGE_SIZE):
            self._extend("unmeasured", gpa)

    def add_vmsa(self, context: VpContext) -> None:
        """Raises IgvmError if KVM would measure it differently and that is checked."""
        vmsa = self._file.content(context.offset, context.file_offset, PAGE_SIZE, "VMSA")
        if self._options.check_kvm:
            cr0 = int.from_bytes(vmsa[_CR0], "little")
            if self._vmsa_seen:
                raise IgvmError(
                    "kvm-differs",
                    context.offset,
                    "KVM check: there is a second VMSA",
                    "expected one, since KVM makes the others itself",
                )
            if context.gpa != _KVM_VMSA_GPA:
                raise IgvmError(
                    "kvm-differs",
                    context.offset,
                    f"KVM check: the VMSA is at {context.gpa:#x}",
                    f"expected {_KVM_VMSA_GPA:#x}, where KVM puts it",
                )
            if cr0 not in _KVM_CR0:
                raise IgvmError(
                    "kvm-differs",
                    context.offset,
                    f"KVM check: CR0 in the VMSA is {cr0:#x}",
                    f"expected {' or '.join(map(hex, _KVM_CR0))}, with which KVM starts a guest",
                )
        self._vmsa_seen = True
        self._extend("vmsa", context.gpa, page_hash(bytes(vmsa)), context.file_offset)

    def _before_vmsa(self, header: PageData | ParameterInsert) -> None:
        if self._vmsa_seen and self._options.check_kvm:
            raise IgvmError(
                "kvm-differs",
                header.offset,
                f"KVM check: page at {header.gpa:#x} comes after the VMSA",
                "expected the VMSA last, as KVM measures it",
            )

    def _hash(self, file_offset: int) -> bytes:
        known = self._hashes.get(file_offset)
        if known is None:
            known = page_hash(bytes(self._file.data[file_offset : file_offset + PAGE_SIZE]))
            if len(self._hashes) < _MOST_HASHES:
                self._hashes[file_offset] = known
        return known

    def _extend(self, kind: str, gpa: int, content: bytes = _NO_CONTENT, file_offset: int = 0) -> None:
        self.digest = sha384(self.digest + content + _TAIL.pack(_PAGE_INFO_SIZE, PAGE_KINDS[kind], gpa)).digest()
        self.pages += 1
        if self._see is not None:
            self._see(kind, gpa, content, file_offset)
