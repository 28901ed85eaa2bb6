"""The headers of an IGVM file as values. Names and layouts follow the IGVM specification, crate ``igvm_defs`` 0.5.

All numbers are little-endian in the file. The ``offset`` of each value is where its type and length are in the file, in bytes.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from coconut_tasks.dataclass import dataclass

PAGE_SIZE = 4096
"""Bytes; ``PAGE_SIZE_4K``, the page size of every file of version 1."""
X64, AARCH64 = 0, 1
"""``IgvmArchitecture``."""
ARCHITECTURES = {X64: "x64", AARCH64: "AArch64"}
NATIVE, VSM_ISOLATION, SEV_SNP, TDX, SEV, SEV_ES, CCA = range(7)
"""``IgvmPlatformType``."""
PLATFORMS = {
    NATIVE: "native",
    VSM_ISOLATION: "VSM isolation",
    SEV_SNP: "SEV-SNP",
    TDX: "TDX",
    SEV: "SEV",
    SEV_ES: "SEV-ES",
    CCA: "CCA",
}
NORMAL, SECRETS, CPUID_DATA, CPUID_XF = range(4)
"""``IgvmPageDataType``."""
PAGE_DATA_TYPES = {NORMAL: "normal", SECRETS: "secrets", CPUID_DATA: "CPUID data", CPUID_XF: "CPUID XF"}
IS_2MB_PAGE, UNMEASURED, SHARED = 1, 2, 4
"""Bits of ``IgvmPageDataFlags``."""
OPTIONAL = 1 << 31
"""``IGVM_VHT_OPTIONAL_BIT``: a loader that does not know the type may skip the header."""
PARAMETERS = {
    0x307: "VP count",
    0x308: "SRAT",
    0x309: "MADT",
    0x30A: "MMIO ranges",
    0x30C: "memory map",
    0x30E: "command line",
    0x30F: "SLIT",
    0x310: "PPTT",
    0x312: "device tree",
    0x313: "environment info",
}
"""``IgvmVariableHeaderType`` of the headers that are an ``IGVM_VHS_PARAMETER``."""
NAMES = {
    0x001: "supported platform",
    0x101: "guest policy",
    0x102: "relocatable region",
    0x103: "page table relocation region",
    0x104: "CoRIM document",
    0x105: "CoRIM signature",
    0x106: "CCA policy",
    0x107: "version string",
    0x301: "parameter area",
    0x302: "page data",
    0x303: "parameter insert",
    0x304: "VP context",
    0x305: "required memory",
    0x30B: "SNP ID block",
    0x30D: "error range",
    0x311: "VBS measurement",
    **PARAMETERS,
}
"""Every ``IgvmVariableHeaderType`` that a file may have."""


@dataclass(frozen=True, slots=True)
class FixedHeader:
    """``IGVM_FIXED_HEADER``, and its version 2."""

    format_version: int
    variable_header_offset: int
    variable_header_size: int
    """Bytes."""
    total_file_size: int
    """Bytes."""
    checksum: int
    """CRC32 of the fixed and the variable headers, with this field as zero."""
    architecture: int = X64
    page_size: int = PAGE_SIZE
    """Bytes."""

    @property
    def is_known(self) -> bool:
        """Whether architecture and page size are what the file says; of another version only the first 24 bytes are known."""
        return self.format_version in (1, 2)

    @property
    def file_data_offset(self) -> int:
        """Where the variable headers end and file data begins."""
        return self.variable_header_offset + self.variable_header_size


@dataclass(frozen=True, slots=True)
class SupportedPlatform:
    """``IGVM_VHS_SUPPORTED_PLATFORM``."""

    header_type: ClassVar[int] = 0x001
    offset: int
    compatibility_mask: int
    highest_vtl: int
    platform_type: int
    platform_version: int
    shared_gpa_boundary: int
    """Guest physical address above which memory is shared with the host; 0 if none is."""


@dataclass(frozen=True, slots=True)
class GuestPolicy:
    """``IGVM_VHS_GUEST_POLICY``."""

    header_type: ClassVar[int] = 0x101
    offset: int
    policy: int
    compatibility_mask: int


@dataclass(frozen=True, slots=True)
class RelocatableRegion:
    """``IGVM_VHS_RELOCATABLE_REGION``."""

    header_type: ClassVar[int] = 0x102
    offset: int
    compatibility_mask: int
    vp_index: int
    vtl: int
    flags: int
    relocation_alignment: int
    relocation_region_gpa: int
    relocation_region_size: int
    """Bytes."""
    minimum_relocation_gpa: int
    maximum_relocation_gpa: int


@dataclass(frozen=True, slots=True)
class PageTableRelocation:
    """``IGVM_VHS_PAGE_TABLE_RELOCATION``."""

    header_type: ClassVar[int] = 0x103
    offset: int
    compatibility_mask: int
    vp_index: int
    vtl: int
    gpa: int
    size: int
    """Bytes."""
    used_size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class CorimData:
    """``IGVM_VHS_CORIM_DATA``: a CoRIM document or its signature."""

    offset: int
    header_type: int
    compatibility_mask: int
    file_offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class CcaPolicy:
    """``IGVM_VHS_CCA_POLICY``."""

    header_type: ClassVar[int] = 0x106
    offset: int
    compatibility_mask: int
    attributes_required_zeroes: int
    attributes_required_ones: int
    hash_algorithm: int
    lfa_policy: int


@dataclass(frozen=True, slots=True)
class VersionString:
    """``IGVM_VHT_VERSION_STRING``."""

    header_type: ClassVar[int] = 0x107
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class ParameterArea:
    """``IGVM_VHS_PARAMETER_AREA``."""

    header_type: ClassVar[int] = 0x301
    offset: int
    number_of_bytes: int
    parameter_area_index: int
    file_offset: int
    """Where its initial content is in the file; 0 for zeroes."""


@dataclasses.dataclass(slots=True)  # an image has a thousand, and a frozen one takes twice as long to make
class PageData:
    """``IGVM_VHS_PAGE_DATA``."""

    header_type: ClassVar[int] = 0x302
    offset: int
    gpa: int
    compatibility_mask: int
    file_offset: int
    """Where its content is in the file; 0 for zeroes."""
    flags: int
    data_type: int


@dataclass(frozen=True, slots=True)
class ParameterInsert:
    """``IGVM_VHS_PARAMETER_INSERT``."""

    header_type: ClassVar[int] = 0x303
    offset: int
    gpa: int
    compatibility_mask: int
    parameter_area_index: int


@dataclass(frozen=True, slots=True)
class Parameter:
    """``IGVM_VHS_PARAMETER``: what the loader writes into a parameter area."""

    offset: int
    header_type: int
    parameter_area_index: int
    byte_offset: int


@dataclass(frozen=True, slots=True)
class VpContext:
    """``IGVM_VHS_VP_CONTEXT``: the state in which a processor starts; for SEV-SNP a VMSA."""

    header_type: ClassVar[int] = 0x304
    offset: int
    gpa: int
    compatibility_mask: int
    file_offset: int
    vp_index: int


@dataclass(frozen=True, slots=True)
class RequiredMemory:
    """``IGVM_VHS_REQUIRED_MEMORY``."""

    header_type: ClassVar[int] = 0x305
    offset: int
    gpa: int
    compatibility_mask: int
    number_of_bytes: int
    flags: int


@dataclass(frozen=True, slots=True)
class ErrorRange:
    """``IGVM_VHS_ERROR_RANGE``."""

    header_type: ClassVar[int] = 0x30D
    offset: int
    gpa: int
    compatibility_mask: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SnpIdBlock:
    """``IGVM_VHS_SNP_ID_BLOCK``, without its keys and signatures."""

    header_type: ClassVar[int] = 0x30B
    offset: int
    compatibility_mask: int
    author_key_enabled: int
    ld: bytes
    """The launch digest that the guest must have, 48 bytes."""
    family_id: bytes
    image_id: bytes
    version: int
    guest_svn: int
    id_key_algorithm: int
    author_key_algorithm: int


@dataclass(frozen=True, slots=True)
class VbsMeasurement:
    """``IGVM_VHS_VBS_MEASUREMENT``, without its key and signature."""

    header_type: ClassVar[int] = 0x311
    offset: int
    compatibility_mask: int
    version: int
    product_id: int
    module_id: int
    security_version: int
    policy_flags: int
    boot_digest_algo: int
    signing_algo: int
    boot_measurement_digest: bytes


@dataclass(frozen=True, slots=True)
class OptionalHeader:
    """A header that a loader may skip: its type has ``OPTIONAL`` set."""

    offset: int
    header_type: int
    length: int
    """Bytes of content."""


@dataclass(frozen=True, slots=True)
class UnknownHeader:
    """A header that this program does not understand: of an unknown type, or of another length than its structure has."""

    offset: int
    header_type: int
    length: int
    """Bytes of content."""


Platform = SupportedPlatform
Initialization = GuestPolicy | RelocatableRegion | PageTableRelocation | CorimData | CcaPolicy | VersionString
Directive = (
    ParameterArea
    | PageData
    | ParameterInsert
    | Parameter
    | VpContext
    | RequiredMemory
    | ErrorRange
    | SnpIdBlock
    | VbsMeasurement
)
Header = Platform | Initialization | Directive | OptionalHeader | UnknownHeader
