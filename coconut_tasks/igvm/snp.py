"""The SEV-SNP launch digest of an IGVM file, as igvmmeasure computes it: the same digest, or a refusal of the same files.

The firmware keeps a digest of 48 bytes, which begins as zeroes. For each page that the hypervisor adds before the guest starts, it
becomes the SHA-384 of a PAGE_INFO structure of 0x70 bytes (SEV-SNP firmware ABI, "Guest launch"; offsets in bytes):

====  ====  =====================================================================================
0x00    48  the digest so far
0x30    48  SHA-384 of the page's 4096 bytes, for normal pages and VMSAs; else zeroes
0x60     2  0x70, the structure's length
0x62     1  page type: 1 normal, 2 VMSA, 3 zero, 4 unmeasured, 5 secrets, 6 CPUID
0x63     1  whether it belongs to the initial migration image: 0
0x64     1  reserved
0x65     3  permissions of VMPL 1 to 3: 0
0x68     8  guest physical address
====  ====  =====================================================================================

So the address and type of an unmeasured page count too, only its content does not. Pages are added in the order of the directives.
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
"""How many pages all inserted parameter areas may have (1 GiB): a header of a few bytes can ask for any number."""
_TAIL = struct.Struct("<HB5xQ")
"""PAGE_INFO from offset 0x60 on."""
_PAGE_INFO_SIZE = 0x70
_NO_CONTENT = bytes(DIGEST_SIZE)
_ZEROES = sha384(bytes(PAGE_SIZE)).digest()
_KVM_VMSA_GPA = 0xFFFF_FFFF_F000
"""Where KVM puts each VMSA, whatever the file says."""
_KVM_CR0 = (0x30, 0x31)
"""The values with which KVM starts a guest: in real mode, in protected mode. SVSM's igvmmeasure takes both since commit abfb2783."""
_CR0 = slice(0x158, 0x160)
"""Place of CR0 in a VMSA (AMD64 Architecture Programmer's Manual, volume 2, table "VMSA layout, SEV-ES")."""
_Watcher = Callable[[str, int, bytes, int], None]
"""Called with one of ``PAGE_KINDS``, address, SHA-384 of the content (``_NO_CONTENT`` where it is not measured) and its file offset."""
_ADDRESS_LIMIT = 1 << 64
_MOST_HASHES = 1 << 16
"""How many hashes of page contents are kept."""


@dataclass(frozen=True, slots=True)
class MeasureOptions:
    """How to measure; the first two are igvmmeasure's."""

    check_kvm: bool = False
    """Refuse what KVM would measure otherwise than it stands in the file."""
    native_zero: bool = False
    """Pages without data are of type zero, as the IGVM loader of QEMU marks them; else normal pages full of zeroes."""
    check_id_block: bool = True
    """Refuse a file whose ID block has another digest."""
    tolerant: bool = False
    """Headers that the format allows and igvmmeasure does not read are no fault; see ``rules.Rules``."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A launch digest."""

    digest: bytes
    """48 bytes."""
    pages: int
    """How many pages went into it, VMSAs included."""
    id_block: bytes | None
    """The digest that the file's ID block wants; None where there is no ID block for SEV-SNP."""
    guest_svn: int | None
    """The ID block's security version number of the guest; None where there is none."""


PAGE_KINDS = {"normal": 1, "vmsa": 2, "zero": 3, "unmeasured": 4, "secrets": 5, "cpuid": 6}
"""PAGE_TYPE of the firmware ABI, command SNP_LAUNCH_UPDATE, in words."""


def kind_of_page(flags: int, data_type: int) -> str:
    """What a page of 4 KiB counts as, by its header: one of ``PAGE_KINDS``; empty for a shared one, which is not measured.

    A normal page without data may count as a zero page (``MeasureOptions.native_zero``). The rules are igvmmeasure's.
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
    """SHA-384 of its 4096 bytes as hex text, where they are measured; else empty."""
    file_offset: int
    """Of its bytes in the file; 0 where it has none there, or they are not measured."""


def measured_pages(data: bytes | bytearray | memoryview, options: MeasureOptions) -> list[MeasuredPage]:
    """Every page that goes into the launch digest, in the order in which they do.

    Raises:
        IgvmError: as ``launch_digest``.
    """
    return measure_pages(data, options)[1]


def measure_pages(data: bytes | bytearray | memoryview, options: MeasureOptions) -> tuple[Measured, list[MeasuredPage]]:
    """Both at once: the digest, and the pages that it is made of.

    Raises:
        IgvmError: as ``launch_digest``.
    """
    found: list[MeasuredPage] = []

    def see(kind: str, gpa: int, content: bytes, file_offset: int) -> None:
        hashed = "" if content is _NO_CONTENT else content.hex()
        found.append(MeasuredPage(gpa, kind, hashed, file_offset))

    return measure(data, options, see), found


def chained(pages: Iterable[MeasuredPage]) -> str:
    """The launch digest that pages make, as hex text: what is said of them fits a digest, or does not."""
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
        IgvmError: igvmmeasure refuses the file too, but for three things that are refused here alone: variable headers that do not begin
            at a multiple of 8, parameter areas of more than ``MOST_PARAMETER_PAGES``, and those that reach beyond the end of memory.
    """
    return measure(data, MeasureOptions(check_kvm, native_zero, tolerant=tolerant)).digest


def measure(data: bytes | bytearray | memoryview, options: MeasureOptions, see: _Watcher | None = None) -> Measured:
    """The same with all that can be said about it; ``see`` is called for each page.

    Raises:
        IgvmError: as ``launch_digest``.
    """
    file = parse(data)
    rules = Rules(file, tolerant=options.tolerant)
    launch = _Launch(file, options, see)
    for header in file.headers():
        if type(header) is PageData:  # nearly all are; no rule is about several of them
            if header.compatibility_mask & launch.mask:
                launch.add_page(header)
            continue
        rules.see(header)
        launch.see(header, rules)
    rules.end()
    if not launch.mask:
        raise IgvmError("no-snp", file.fixed.variable_header_offset, "no platform SEV-SNP", "a launch digest needs it")
    wanted = launch.id_block
    if wanted is not None and options.check_id_block and wanted.ld != launch.digest:
        raise IgvmError(
            "id-block-differs",
            wanted.offset,
            f"the ID block wants launch digest {wanted.ld.hex()}",
            f"{launch.digest.hex()}, that of the file",
        )
    if wanted is None:
        return Measured(launch.digest, launch.pages, None, None)
    return Measured(launch.digest, launch.pages, wanted.ld, wanted.guest_svn)


@lru_cache(maxsize=4096)  # 16 MiB; images of one run are mostly of the same parts
def page_hash(page: bytes) -> bytes:
    """SHA-384 of a page's 4096 bytes."""
    # In pieces: for more than 2047 bytes hashlib lets another thread run, and to get back costs more than a page takes.
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
        """A header that is no page. Raises IgvmError for one that cannot be measured."""
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
                f"a page of 2 MiB at {page.gpa:#x}",
                "pages of 4 KiB; no others are measured",
            )
        if kind == "normal" and not page.file_offset and self._options.native_zero:
            kind = "zero"
        if kind == "normal":
            self._extend(kind, page.gpa, self._hash(page.file_offset), page.file_offset)
        else:
            self._extend(kind, page.gpa)

    def insert(self, insert: ParameterInsert) -> None:
        """All pages of a parameter area. Raises IgvmError where there are too many."""
        self._before_vmsa(insert)
        size = self.areas.pop(insert.parameter_area_index)
        self._parameter_pages += size // PAGE_SIZE
        if self._parameter_pages > MOST_PARAMETER_PAGES:
            raise IgvmError(
                "too-large",
                insert.offset,
                f"parameter areas of {self._parameter_pages} pages",
                f"at most {MOST_PARAMETER_PAGES} in a file",
            )
        if insert.gpa + size > _ADDRESS_LIMIT:
            raise IgvmError(
                "igvm-field", insert.offset, f"{size:#x} bytes of parameters at {insert.gpa:#x}", "addresses of 64 bits"
            )
        for gpa in range(insert.gpa, insert.gpa + size, PAGE_SIZE):
            self._extend("unmeasured", gpa)

    def add_vmsa(self, context: VpContext) -> None:
        """Raises IgvmError for one that KVM would not measure so, if that is checked."""
        vmsa = self._file.content(context.offset, context.file_offset, PAGE_SIZE, "VMSA")
        if self._options.check_kvm:
            cr0 = int.from_bytes(vmsa[_CR0], "little")
            if self._vmsa_seen:
                raise IgvmError(
                    "kvm-differs", context.offset, "KVM check: another VMSA", "one; KVM makes the others itself"
                )
            if context.gpa != _KVM_VMSA_GPA:
                raise IgvmError(
                    "kvm-differs",
                    context.offset,
                    f"KVM check: a VMSA at {context.gpa:#x}",
                    f"{_KVM_VMSA_GPA:#x}, where KVM puts it",
                )
            if cr0 not in _KVM_CR0:
                raise IgvmError(
                    "kvm-differs",
                    context.offset,
                    f"KVM check: a VMSA with CR0 {cr0:#x}",
                    f"{' or '.join(map(hex, _KVM_CR0))}, with which KVM starts it",
                )
        self._vmsa_seen = True
        self._extend("vmsa", context.gpa, page_hash(bytes(vmsa)), context.file_offset)

    def _before_vmsa(self, header: PageData | ParameterInsert) -> None:
        if self._vmsa_seen and self._options.check_kvm:
            raise IgvmError(
                "kvm-differs",
                header.offset,
                f"KVM check: a page at {header.gpa:#x} behind the VMSA",
                "the VMSA last, as KVM measures it",
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
