"""What the headers of a file must be together: the rules of the loader that igvmmeasure, igvmbuilder and QEMU use, crate ``igvm`` 0.5.

A file that breaks one is refused by igvmmeasure, so it has no launch digest here either. Where that crate panics (a sum that overflows, a
relocation alignment of 0), the file is refused as well.
"""

from __future__ import annotations

import struct
from bisect import bisect_right

from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.parse import IgvmFile
from coconut_tasks.igvm.values import (
    AARCH64,
    ARCHITECTURES,
    CCA,
    NAMES,
    NATIVE,
    OPTIONAL,
    PAGE_SIZE,
    PLATFORMS,
    SEV,
    SEV_ES,
    SEV_SNP,
    VSM_ISOLATION,
    X64,
    CcaPolicy,
    CorimData,
    Header,
    OptionalHeader,
    PageTableRelocation,
    Parameter,
    ParameterArea,
    ParameterInsert,
    RelocatableRegion,
    SupportedPlatform,
    VersionString,
    VpContext,
)

MOST_REGISTERS = 1 << 20
"""How many registers all VSM contexts of a file may name: contexts can share file data, so that a small file could name very many."""
_ADDRESS_LIMIT = 1 << 64
_NATIVE_CONTEXT_SIZE = 232
"""Bytes of ``IgvmNativeVpContextX64``; the rest of its page must be zero."""
_CCA_CONTEXT_SIZE = 80
"""Bytes of ``IgvmVpContextAArch64Cca``."""
_VBS_REGISTER = struct.Struct("<BI11x16x")
"""``VbsVpContextRegister``: VTL, register name, padding, value."""
_REGISTERS = {
    X64: frozenset(
        (
            *(
                0x20004,
                0x20005,
                0x20006,
                *range(0x20008, 0x2000D),
                0x20010,
                0x20011,
            ),  # Rsp, Rbp, Rsi, R8 to R12, Rip, Rflags
            *(0x40000, 0x40002, 0x40003),  # Cr0, Cr3, Cr4
            *(*range(0x60000, 0x60006), 0x60007, 0x70000, 0x70001),  # Es, Cs, Ss, Ds, Fs, Gs, Tr, Idtr, Gdtr
            *(0x80001, 0x80004),  # Efer, Pat
            *(0x8000E, *range(0x80010, 0x80015), *range(0x80040, 0x80045)),  # MTRRs: default type, bases, masks
            *(0x80070, 0x80071, *range(0x80077, 0x8007B)),  # fixed MTRRs
        )
    ),
    AARCH64: frozenset(
        (
            *(*range(0x20000, 0x20008), 0x20022, 0x20023),  # X0 to X7, Pc, Cpsr
            *(0x40002, 0x40005, 0x40006, 0x40007, 0x4000B, 0x4000C),  # Sctlr, Ttbr0, Ttbr1, Tcr, Mair, Vbar
        )
    ),
}
"""The registers (names of the Hyper-V TLFS) that the crate takes from a VSM context."""
_WITH_CONTENT = (0x301, 0x302, 0x303, 0x304)


class Rules:
    """Looks at each header in turn; then ``end``."""

    __slots__ = (
        "_areas",
        "_contexts",
        "_file",
        "_page_tables",
        "_page_tables_mask",
        "_platforms",
        "_regions",
        "_registers",
        "_relocated",
        "_tolerant",
        "_types",
    )

    def __init__(self, file: IgvmFile, *, tolerant: bool = False) -> None:
        """With ``tolerant``, what the format allows and crate ``igvm`` 0.5 does not read is no fault: CoRIM, version strings, optional
        headers, a file without file data. None of it is measured.

        Raises:
            IgvmError: the crate reads no such file.
        """
        self._file = file
        self._tolerant = tolerant
        fixed = file.fixed
        if fixed.page_size != PAGE_SIZE:
            raise IgvmError(
                "igvm-not-read",
                28,
                f"a page size of {fixed.page_size} bytes",
                f"{PAGE_SIZE}; crate igvm reads no other",
            )
        if not tolerant and fixed.file_data_offset >= fixed.total_file_size:
            raise IgvmError("igvm-not-read", 16, "no file data", "crate igvm reads only files that have some")
        self._types: set[int] = set()
        """Platform types that were declared."""
        self._platforms: dict[int, int] = {}
        """Compatibility mask → platform type."""
        self._areas: dict[int, bool] = {}
        """Parameter area index → whether it waits to be inserted."""
        self._regions: dict[int, list[tuple[int, int]]] = {}
        """Bit of a mask → first and last addresses of what may be relocated, sorted."""
        self._page_tables: list[PageTableRelocation] = []
        self._page_tables_mask = 0
        self._relocated: dict[tuple[int, int, int], int] = {}
        """Mask, VP index and VTL that a relocation speaks of → offset of its header."""
        self._contexts: dict[int, int] = {}
        """VTL → masks of the VSM contexts of processor 0."""
        self._registers = 0

    def see(self, header: Header) -> None:
        """Raises IgvmError for a header that does not go with those before it."""
        match header:
            case ParameterArea():
                self._declare(header)
            case Parameter():
                self._use(header)
            case VpContext():
                self._vp_context(header)
            case SupportedPlatform():
                self._platform(header)
            case ParameterInsert() | PageTableRelocation() | RelocatableRegion() | CcaPolicy() if (
                not header.compatibility_mask
            ):
                pass  # the crate drops what is for no platform, before it looks at what goes together
            case ParameterInsert():
                self._use(header)
            case PageTableRelocation() | RelocatableRegion():
                self._relocation(header)
            case CcaPolicy():
                self._cca_policy(header)
            case OptionalHeader():
                self._optional(header)
            case CorimData() | VersionString() if not self._tolerant:
                name = NAMES[header.header_type] if isinstance(header, CorimData) else "version string"
                raise IgvmError("igvm-not-read", header.offset, f"a {name}", "crate igvm 0.5 does not read it")
            case _:
                pass

    def end(self) -> None:
        """Raises IgvmError if something is missing."""
        if not self._types:
            raise IgvmError("igvm-platform", self._file.fixed.variable_header_offset, "no platform", "at least one")
        for (mask, vp_index, vtl), offset in self._relocated.items():
            if vp_index or not mask & self._contexts.get(vtl, 0):
                raise IgvmError(
                    "igvm-relocation",
                    offset,
                    f"a relocation of the state of processor {vp_index}, VTL {vtl}, mask {mask:#x}",
                    "one for which there is a VSM context of processor 0",
                )

    def is_vmsa(self, context: VpContext) -> bool:
        """Whether it is of a platform whose state is a VMSA."""
        return self._platforms.get(context.compatibility_mask) in (SEV_SNP, SEV_ES)

    def _declare(self, header: ParameterArea) -> None:
        if header.parameter_area_index in self._areas:
            raise IgvmError(
                "igvm-parameters",
                header.offset,
                f"parameter area {header.parameter_area_index} is declared again",
                "an index that is new",
            )
        self._areas[header.parameter_area_index] = True

    def _optional(self, header: OptionalHeader) -> None:
        if not self._tolerant or header.header_type & ~OPTIONAL in _WITH_CONTENT:
            raise IgvmError(
                "igvm-not-read",
                header.offset,
                f"a header of type {header.header_type:#x}",
                "crate igvm reads no optional header",
            )

    def _platform(self, header: SupportedPlatform) -> None:
        at, kind, architecture = header.offset, header.platform_type, self._file.fixed.architecture
        if header.compatibility_mask.bit_count() != 1:
            raise IgvmError(
                "igvm-platform", at, f"platform: compatibility mask {header.compatibility_mask:#x}", "one bit"
            )
        if header.highest_vtl not in (0, 2):
            raise IgvmError("igvm-platform", at, f"platform: highest VTL {header.highest_vtl}", "0 or 2")
        if kind not in PLATFORMS:
            raise IgvmError(
                "igvm-platform",
                at,
                f"platform type {kind}",
                ", ".join(f"{one} ({name})" for one, name in PLATFORMS.items()),
            )
        name = PLATFORMS[kind]
        if header.platform_version != 1:
            raise IgvmError("igvm-platform", at, f"platform {name}: version {header.platform_version}", "1")
        if kind in (NATIVE, VSM_ISOLATION) and header.shared_gpa_boundary:
            raise IgvmError(
                "igvm-platform", at, f"platform {name}: shared GPA boundary {header.shared_gpa_boundary:#x}", "0"
            )
        if kind != VSM_ISOLATION and architecture != (AARCH64 if kind == CCA else X64):
            raise IgvmError(
                "igvm-platform",
                at,
                f"platform {name} in a file for {ARCHITECTURES[architecture]}",
                "the other architecture",
            )
        if kind in self._types:
            raise IgvmError("igvm-platform", at, f"platform {name} is declared again", "each platform once")
        self._types.add(kind)
        self._platforms[header.compatibility_mask] = kind

    def _relocation(self, header: PageTableRelocation | RelocatableRegion) -> None:
        if isinstance(header, PageTableRelocation):
            start, size = header.gpa, header.size
            if header.compatibility_mask & self._page_tables_mask:
                raise IgvmError(
                    "igvm-relocation",
                    header.offset,
                    f"page table relocation region: mask {header.compatibility_mask:#x}",
                    f"one region a platform; there are some for {self._page_tables_mask:#x}",
                )
            self._page_tables_mask |= header.compatibility_mask
            self._page_tables.append(header)
        else:
            start, size = header.relocation_region_gpa, header.relocation_region_size
        if not size or start + size >= _ADDRESS_LIMIT:
            raise IgvmError(
                "igvm-relocation",
                header.offset,
                f"a region of {size:#x} bytes at {start:#x}",
                "not empty, and below the end of memory",
            )
        last = start + size - 1
        for bit in range(32):
            if header.compatibility_mask >> bit & 1:
                regions = self._regions.setdefault(bit, [])
                place = bisect_right(regions, (start, last))
                before = regions[place - 1] if place else None
                behind = regions[place] if place < len(regions) else None
                for other in (before, behind):
                    if other and other[0] <= last and start <= other[1]:
                        raise IgvmError(
                            "igvm-relocation",
                            header.offset,
                            f"a region from {start:#x} to {last:#x}",
                            f"none that overlaps; one is from {other[0]:#x} to {other[1]:#x}",
                        )
                regions.insert(place, (start, last))
        self._relocated.setdefault((header.compatibility_mask, header.vp_index, header.vtl), header.offset)

    def _cca_policy(self, header: CcaPolicy) -> None:
        if self._file.fixed.architecture != AARCH64:
            raise IgvmError("igvm-platform", header.offset, "a CCA policy in a file for x64", "AArch64")
        for bit in range(32):
            mask = header.compatibility_mask & 1 << bit
            if mask and self._platforms.get(mask) != CCA:
                raise IgvmError(
                    "igvm-platform", header.offset, f"a CCA policy with mask {mask:#x}", "the mask of platform CCA"
                )

    def _use(self, header: Parameter | ParameterInsert) -> None:
        index = header.parameter_area_index
        waits = self._areas.get(index)
        if not waits:
            found = "is not declared" if waits is None else "was inserted before"
            raise IgvmError(
                "igvm-parameters",
                header.offset,
                f"parameter area {index} {found}",
                "one that is declared, and not inserted yet",
            )
        if isinstance(header, ParameterInsert):
            self._areas[index] = False
            for region in self._page_tables:
                inside = region.gpa <= header.gpa < region.gpa + region.size
                if region.compatibility_mask & header.compatibility_mask and inside:
                    raise IgvmError(
                        "igvm-parameters",
                        header.offset,
                        f"a parameter area is inserted at {header.gpa:#x}",
                        f"outside of the page tables from {region.gpa:#x} on",
                    )

    def _vp_context(self, header: VpContext) -> None:
        kind = self._platforms.get(header.compatibility_mask)
        if kind == VSM_ISOLATION:
            self._vsm_context(header)
            return
        if kind not in (SEV_SNP, SEV_ES, NATIVE, SEV, CCA):
            shown = "no single platform" if kind is None else f"platform {PLATFORMS[kind]}"
            raise IgvmError(
                "igvm-context",
                header.offset,
                f"a VP context with mask {header.compatibility_mask:#x}, of {shown}",
                "the mask of a platform that takes one: all but TDX",
            )
        page = self._file.content(header.offset, header.file_offset, PAGE_SIZE, "VP context")
        if kind in (SEV_SNP, SEV_ES):
            if header.gpa % PAGE_SIZE:
                raise IgvmError(
                    "igvm-context",
                    header.offset,
                    f"VP context: address {header.gpa:#x}",
                    f"a multiple of {PAGE_SIZE:#x}",
                )
        elif any(page[_CCA_CONTEXT_SIZE if kind == CCA else _NATIVE_CONTEXT_SIZE :]):
            raise IgvmError(
                "igvm-context",
                header.offset,
                "VP context: data behind the registers",
                "zeroes up to the end of the page",
            )

    def _vsm_context(self, header: VpContext) -> None:
        file, at = self._file, header.offset
        count = int.from_bytes(file.content(at, header.file_offset, 4, "VSM context"), "little")
        registers = file.content(at, header.file_offset + 4, count * _VBS_REGISTER.size, "VSM context")
        self._registers += count
        if self._registers > MOST_REGISTERS:
            raise IgvmError(
                "too-large", at, f"VSM contexts of {self._registers} registers", f"at most {MOST_REGISTERS} in a file"
            )
        if not count:
            raise IgvmError("igvm-context", at, "a VSM context without registers", "at least one")
        if header.vp_index:
            raise IgvmError("igvm-context", at, f"a VSM context of processor {header.vp_index}", "processor 0")
        known = _REGISTERS[file.fixed.architecture]
        vtl = registers[0]
        for other, name in _VBS_REGISTER.iter_unpack(registers):
            if other != vtl:
                raise IgvmError("igvm-context", at, f"a VSM context with registers of VTL {vtl} and {other}", "one VTL")
            if name not in known:
                raise IgvmError(
                    "igvm-context", at, f"a VSM context with register {name:#x}", "registers that crate igvm knows"
                )
        if vtl > 2:
            raise IgvmError("igvm-context", at, f"a VSM context of VTL {vtl}", "0, 1 or 2")
        self._contexts[vtl] = self._contexts.get(vtl, 0) | header.compatibility_mask
