"""Rules for the headers of a file together, those of crate ``igvm`` 0.5, the loader in igvmmeasure, igvmbuilder and QEMU.

igvmmeasure refuses a file that breaks one, so it has no launch digest here either. A file on which that crate panics (a sum that overflows,
a relocation alignment of 0) is refused as well.
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
from coconut_tasks.wording import either

MOST_REGISTERS = 1 << 20
"""Limit on the registers in all VSM contexts of a file: contexts can share file data, so a small file could name very many."""
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
"""The registers (names of the Hyper-V TLFS) that the crate accepts in a VSM context."""
_WITH_CONTENT = (0x301, 0x302, 0x303, 0x304)
WITH_VMSA = (SEV_SNP, SEV_ES)
"""Platforms that keep the state of a processor in a VMSA."""


class Rules:
    """Give each header to ``see``, in order, then call ``end``."""

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
        """``tolerant`` accepts what the format allows and crate ``igvm`` 0.5 does not read: CoRIM, version strings, optional headers, files
        without file data. None of it is measured.

        Raises:
            IgvmError: the crate does not read such a file.
        """
        self._file = file
        self._tolerant = tolerant
        fixed = file.fixed
        if fixed.page_size != PAGE_SIZE:
            raise IgvmError(
                "igvm-not-read",
                28,
                f"page size is {fixed.page_size} bytes",
                f"expected {PAGE_SIZE}, the only one that the igvm crate reads",
            )
        if not tolerant and fixed.file_data_offset >= fixed.total_file_size:
            raise IgvmError("igvm-not-read", 16, "the file has no file data", "the igvm crate needs some")
        self._types: set[int] = set()
        """Platform types declared so far."""
        self._platforms: dict[int, int] = {}
        """Compatibility mask → platform type."""
        self._areas: dict[int, bool] = {}
        """Parameter area index → whether it is still to be inserted."""
        self._regions: dict[int, list[tuple[int, int]]] = {}
        """Bit of a mask → first and last addresses of its relocatable regions, sorted."""
        self._page_tables: list[PageTableRelocation] = []
        self._page_tables_mask = 0
        self._relocated: dict[tuple[int, int, int], int] = {}
        """Mask, VP index and VTL of a relocation → offset of its header."""
        self._contexts: dict[int, int] = {}
        """VTL → masks of the VSM contexts of processor 0."""
        self._registers = 0

    def see(self, header: Header) -> None:
        """Raises IgvmError for a header that conflicts with those before it."""
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
                pass  # the crate drops headers for no platform before it checks headers together
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
                raise IgvmError(
                    "igvm-not-read", header.offset, f"the file has a {name}", "the igvm crate 0.5 does not read it"
                )
            case _:
                pass

    def end(self) -> None:
        """Raises IgvmError if something is missing."""
        if not self._types:
            raise IgvmError(
                "igvm-platform",
                self._file.fixed.variable_header_offset,
                "the file declares no platform",
                "expected at least one",
            )
        for (mask, vp_index, vtl), offset in self._relocated.items():
            if vp_index or not mask & self._contexts.get(vtl, 0):
                raise IgvmError(
                    "igvm-relocation",
                    offset,
                    f"relocation applies to processor {vp_index}, VTL {vtl}, mask {mask:#x}",
                    "expected processor 0, with a VSM context of that VTL and mask",
                )

    def is_vmsa(self, context: VpContext) -> bool:
        """Whether its platform keeps the processor state in a VMSA."""
        return self._platforms.get(context.compatibility_mask) in WITH_VMSA

    def is_vsm(self, context: VpContext) -> bool:
        """Whether it has registers of VSM isolation. The last platform with a mask decides, so it need not be the one that is measured."""
        return self._platforms.get(context.compatibility_mask) == VSM_ISOLATION

    def _declare(self, header: ParameterArea) -> None:
        if header.parameter_area_index in self._areas:
            raise IgvmError(
                "igvm-parameters",
                header.offset,
                f"parameter area {header.parameter_area_index} is declared twice",
                "expected a new index",
            )
        self._areas[header.parameter_area_index] = True

    def _optional(self, header: OptionalHeader) -> None:
        if not self._tolerant or header.header_type & ~OPTIONAL in _WITH_CONTENT:
            raise IgvmError(
                "igvm-not-read",
                header.offset,
                f"the file has an optional header of type {header.header_type:#x}",
                "the igvm crate reads no optional headers",
            )

    def _platform(self, header: SupportedPlatform) -> None:
        at, kind, architecture = header.offset, header.platform_type, self._file.fixed.architecture
        if header.compatibility_mask.bit_count() != 1:
            raise IgvmError(
                "igvm-platform",
                at,
                f"platform: compatibility mask is {header.compatibility_mask:#x}",
                "expected one bit",
            )
        if header.highest_vtl not in (0, 2):
            raise IgvmError("igvm-platform", at, f"platform: highest VTL is {header.highest_vtl}", "expected 0 or 2")
        if (newer := unknown_platform(header)) is not None:
            raise newer
        name = PLATFORMS[kind]
        if kind in (NATIVE, VSM_ISOLATION) and header.shared_gpa_boundary:
            wrong = f"platform {name}: shared GPA boundary is {header.shared_gpa_boundary:#x}"
            raise IgvmError("igvm-platform", at, wrong, "expected 0")
        needed = AARCH64 if kind == CCA else X64
        if kind != VSM_ISOLATION and architecture != needed:
            wrong = f"platform {name} in a file for {ARCHITECTURES[architecture]}"
            raise IgvmError("igvm-platform", at, wrong, f"expected a file for {ARCHITECTURES[needed]}")
        if kind in self._types:
            raise IgvmError("igvm-platform", at, f"platform {name} is declared twice")
        self._types.add(kind)
        self._platforms[header.compatibility_mask] = kind

    def _relocation(self, header: PageTableRelocation | RelocatableRegion) -> None:
        if isinstance(header, PageTableRelocation):
            start, size = header.gpa, header.size
            if header.compatibility_mask & self._page_tables_mask:
                raise IgvmError(
                    "igvm-relocation",
                    header.offset,
                    f"second page table relocation region for mask {header.compatibility_mask & self._page_tables_mask:#x}",
                    "expected one per platform",
                )
            self._page_tables_mask |= header.compatibility_mask
            self._page_tables.append(header)
        else:
            start, size = header.relocation_region_gpa, header.relocation_region_size
        if not size or start + size >= _ADDRESS_LIMIT:
            raise IgvmError(
                "igvm-relocation",
                header.offset,
                f"relocatable region of {size:#x} bytes at {start:#x}",
                "expected one that is not empty and ends below 2^64",
            )
        last = start + size - 1
        for bit in range(32):
            if header.compatibility_mask >> bit & 1:
                regions = self._regions.setdefault(bit, [])
                place = bisect_right(regions, (start, last))
                before = regions[place - 1] if place else None
                after = regions[place] if place < len(regions) else None
                for other in (before, after):
                    if other and other[0] <= last and start <= other[1]:
                        raise IgvmError(
                            "igvm-relocation",
                            header.offset,
                            f"region from {start:#x} to {last:#x} overlaps the one from {other[0]:#x} to {other[1]:#x}",
                        )
                regions.insert(place, (start, last))
        self._relocated.setdefault((header.compatibility_mask, header.vp_index, header.vtl), header.offset)

    def _cca_policy(self, header: CcaPolicy) -> None:
        if self._file.fixed.architecture != AARCH64:
            raise IgvmError(
                "igvm-platform", header.offset, "CCA policy in a file for x64", "expected a file for AArch64"
            )
        for bit in range(32):
            mask = header.compatibility_mask & 1 << bit
            if mask and self._platforms.get(mask) != CCA:
                raise IgvmError(
                    "igvm-platform",
                    header.offset,
                    f"CCA policy: mask is {mask:#x}",
                    "expected the mask of platform CCA",
                )

    def _use(self, header: Parameter | ParameterInsert) -> None:
        index = header.parameter_area_index
        waits = self._areas.get(index)
        if not waits:
            found = "is not declared" if waits is None else "is already inserted"
            raise IgvmError(
                "igvm-parameters",
                header.offset,
                f"parameter area {index} {found}",
                "expected one that is declared and not yet inserted",
            )
        if isinstance(header, ParameterInsert):
            self._areas[index] = False
            for region in self._page_tables:
                inside = region.gpa <= header.gpa < region.gpa + region.size
                if region.compatibility_mask & header.compatibility_mask and inside:
                    raise IgvmError(
                        "igvm-parameters",
                        header.offset,
                        f"parameter area is inserted at {header.gpa:#x}",
                        f"expected an address outside the page tables, which start at {region.gpa:#x}",
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
                f"VP context: mask {header.compatibility_mask:#x} belongs to {shown}",
                "expected the mask of one platform, but not of TDX",
            )
        page = self._file.content(header.offset, header.file_offset, PAGE_SIZE, "VP context")
        if kind in WITH_VMSA:
            if header.gpa % PAGE_SIZE:
                raise IgvmError(
                    "igvm-context",
                    header.offset,
                    f"VP context: address is {header.gpa:#x}",
                    f"expected a multiple of {PAGE_SIZE:#x}",
                )
        elif any(page[_CCA_CONTEXT_SIZE if kind == CCA else _NATIVE_CONTEXT_SIZE :]):
            raise IgvmError(
                "igvm-context",
                header.offset,
                "VP context: data after the registers",
                "expected zeroes to the end of the page",
            )

    def _vsm_context(self, header: VpContext) -> None:
        file, at = self._file, header.offset
        count = int.from_bytes(file.content(at, header.file_offset, 4, "VSM context"), "little")
        registers = file.content(at, header.file_offset + 4, count * _VBS_REGISTER.size, "VSM context")
        self._registers += count
        if self._registers > MOST_REGISTERS:
            raise IgvmError(
                "too-large", at, f"VSM contexts have {self._registers} registers", f"expected at most {MOST_REGISTERS}"
            )
        if not count:
            raise IgvmError("igvm-context", at, "VSM context has no registers", "expected at least one")
        if header.vp_index:
            raise IgvmError(
                "igvm-context", at, f"VSM context is for processor {header.vp_index}", "expected processor 0"
            )
        known = _REGISTERS[file.fixed.architecture]
        vtl = registers[0]
        for other, name in _VBS_REGISTER.iter_unpack(registers):
            if other != vtl:
                raise IgvmError(
                    "igvm-context", at, f"VSM context has registers of VTL {vtl} and {other}", "expected a single VTL"
                )
            if name not in known:
                raise IgvmError(
                    "igvm-context", at, f"VSM context has register {name:#x}", "the igvm crate does not know it"
                )
        if vtl > 2:
            raise IgvmError("igvm-context", at, f"VSM context: VTL is {vtl}", "expected 0, 1 or 2")
        self._contexts[vtl] = self._contexts.get(vtl, 0) | header.compatibility_mask


def unknown_platform(header: SupportedPlatform) -> IgvmError | None:
    """What is not understood of a platform: its type or its version."""
    kind = header.platform_type
    if kind not in PLATFORMS:
        known = either([f"{one} ({name})" for one, name in PLATFORMS.items()])
        return IgvmError("igvm-platform", header.offset, f"platform type is {kind}", f"expected {known}")
    if header.platform_version != 1:
        wrong = f"platform {PLATFORMS[kind]}: version is {header.platform_version}"
        return IgvmError("igvm-platform", header.offset, wrong, "expected 1")
    return None
