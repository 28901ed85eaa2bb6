"""The bytes of an IGVM file → values, header by header; only what a value holds is copied.

Each header is checked by itself here, against the IGVM specification (crate ``igvm_defs`` 0.5); ``rules`` checks headers together. Padding
after a header should be zero, but no loader checks that, so neither does this module.

What a newer version of the format might define is a doubt: another version, a type, a length, a reserved field. Who tells a digest is
strict, and a doubt is an error. Who only shows a file is lenient, and goes on.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

from coconut_tasks.dataclass import dataclass
from coconut_tasks.igvm import MAGIC
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.values import (
    ARCHITECTURES,
    NAMES,
    OPTIONAL,
    PAGE_DATA_TYPES,
    PARAMETERS,
    CcaPolicy,
    CorimData,
    ErrorRange,
    FixedHeader,
    GuestPolicy,
    Header,
    OptionalHeader,
    PageData,
    PageTableRelocation,
    Parameter,
    ParameterArea,
    ParameterInsert,
    RelocatableRegion,
    RequiredMemory,
    SnpIdBlock,
    SupportedPlatform,
    UnknownHeader,
    VbsMeasurement,
    VersionString,
    VpContext,
)

FIXED_SIZE = 24
"""Bytes of ``IGVM_FIXED_HEADER``."""
_FIXED = struct.Struct("<4s5I")
_FIXED_V2 = struct.Struct("<2I")
_TYPE_AND_LENGTH = struct.Struct("<2I")
_SECTIONS = (("platform", 0x1, 0x100), ("initialization", 0x101, 0x200), ("directive", 0x301, 0x400))
"""``IGVM_VHT_RANGE_*``, in the order required in a file."""
_VTLS = (0, 1, 2)
Doubt = Callable[[IgvmError], None]
"""Called with what is not understood. If it returns, reading goes on."""


def refuse(doubt: IgvmError) -> None:
    """The strict way."""
    raise doubt


def ignore(doubt: IgvmError) -> None:
    """The lenient way, for who does not say what is not understood."""


@dataclass(frozen=True, slots=True)
class IgvmFile:
    """A file whose fixed header is valid; so are its length and checksum, unless it was read in the lenient way."""

    fixed: FixedHeader
    data: memoryview
    """The whole file."""
    lenient: bool = False
    """Whether headers that are not understood are yielded, as ``UnknownHeader`` if need be; see ``notes.Notes``."""
    doubts: tuple[IgvmError, ...] = ()
    """What is not understood of the fixed header."""
    broken: IgvmError | None = None
    """Why the file is not whole; ``headers`` raises it after all that can be read."""

    def headers(self, doubt: Doubt | None = None) -> Iterator[Header]:
        """The variable headers in the file's order: platforms, then initialization headers, then directives. For a lenient file, ``doubt``
        is called with what is not understood of them.

        Raises:
            IgvmError: a header that no loader may accept. Those yielded before it are valid.
        """
        if doubt is None or not self.lenient:
            doubt = ignore if self.lenient else refuse
        if self.broken is not None:
            return self._as_far_as_possible(doubt, self.broken)
        return self._headers(doubt)

    def _as_far_as_possible(self, doubt: Doubt, broken: IgvmError) -> Iterator[Header]:
        if _starts_well(self.fixed):
            with suppress(IgvmError):  # it follows from the other one
                yield from self._headers(doubt)
        raise broken

    def _headers(self, doubt: Doubt) -> Iterator[Header]:
        data, fixed = self.data, self.fixed
        at, end, section = fixed.variable_header_offset, min(fixed.file_data_offset, len(self.data)), 0
        while at < end:
            if end - at < 8:
                wrong = f"only {end - at} bytes of a header are left"
                raise IgvmError("igvm-header", at, wrong, "expected a type and a length, 8 bytes")
            header_type, length = _TYPE_AND_LENGTH.unpack_from(data, at)
            if length > end - at - 8:
                raise IgvmError(
                    "igvm-header",
                    at + 4,
                    f"header length is {length}",
                    f"only {end - at - 8} bytes of the variable headers are left",
                )
            following = at + 8 + (length + 7 & ~7)
            if following > end:
                raise IgvmError(
                    "igvm-header",
                    at + 4,
                    f"the last header has {length} bytes and no padding",
                    "expected padding to a multiple of 8 bytes",
                )
            if header_type & OPTIONAL:
                yield OptionalHeader(at, header_type, length)
            else:
                known = _READERS.get(header_type)
                if known is None:
                    # What is known is long, and a file may have a million such headers.
                    remedy = "" if self.lenient else _known_types(header_type)
                    doubt(IgvmError("igvm-header", at, f"unknown header type {header_type:#x}", remedy))
                    section = _in_order(at, header_type, section)
                    yield UnknownHeader(at, header_type, length)
                else:
                    own, size, read = known
                    section = own if own == section else _in_order(at, header_type, section)
                    if size is None or length == size:
                        yield read(self, doubt, at, at + 8, length)
                    else:
                        wrong = f"{NAMES[header_type]} has {length} bytes"
                        doubt(IgvmError("igvm-header", at + 4, wrong, f"expected {size}"))
                        yield UnknownHeader(at, header_type, length)
            at = following

    def content(self, offset: int, file_offset: int, size: int, what: str) -> memoryview:
        """``size`` bytes of file data.

        Raises:
            IgvmError: some are in the headers or outside the file. ``offset`` is that of the header that refers to them. Of a lenient file
                that is cut off, there may be fewer.
        """
        first, total = self.fixed.file_data_offset, self.fixed.total_file_size
        if file_offset < first or file_offset + size > total:
            raise IgvmError(
                "igvm-data",
                offset,
                f"{what} refers to {size} bytes of data at {file_offset:#x}",
                f"file data is from {first:#x} to {total:#x}",
            )
        return self.data[file_offset : file_offset + size]


def parse(data: bytes | bytearray | memoryview, *, lenient: bool = False) -> IgvmFile:
    """Parse a file; its variable headers are read on demand. ``lenient`` is for who tells no digest: what may be newer than this program is
    no error, and a file that is cut off is one only after the headers that it has.

    Raises:
        IgvmError: the fixed header is invalid, or does not match the length or content of the file.
    """
    view = memoryview(data).cast("B")
    doubts: list[IgvmError] = []
    doubt = doubts.append if lenient else refuse
    fixed = fixed_header(view, doubt)
    broken = _broken(fixed, len(view))
    if broken is None:
        _check_sum(fixed, view, doubt)
    elif not lenient:
        raise broken
    return IgvmFile(fixed, view, lenient, tuple(doubts), broken)


def _fixed_size(fixed: FixedHeader) -> int:
    """Bytes; the least of another version."""
    return FIXED_SIZE + _FIXED_V2.size if fixed.format_version == 2 else FIXED_SIZE


def _starts_well(fixed: FixedHeader) -> bool:
    start = fixed.variable_header_offset
    return start >= _fixed_size(fixed) and not start % 8


def _broken(fixed: FixedHeader, size: int) -> IgvmError | None:
    """What is wrong with a file of this many bytes, whatever its version."""
    start = fixed.variable_header_offset
    if fixed.total_file_size != size:
        wrong = f"the header gives a file size of {fixed.total_file_size} bytes"
        return IgvmError("igvm-cut-off", 16, wrong, f"the file has {size}")
    if not _starts_well(fixed):
        return IgvmError(
            "igvm-header",
            8,
            f"variable headers start at {start:#x}",
            f"expected a multiple of 8 after the fixed header, {_fixed_size(fixed):#x} or more",
        )
    if fixed.file_data_offset > size:
        return IgvmError(
            "igvm-cut-off",
            12,
            f"variable headers have {fixed.variable_header_size} bytes",
            f"expected at most {max(size - start, 0)}, the rest of the file",
        )
    return None


def _check_sum(fixed: FixedHeader, data: memoryview, doubt: Doubt) -> None:
    if not fixed.is_known:
        return  # it is not known what it is the checksum of
    with_zero = bytes(data[:20]) + bytes(4) + bytes(data[24 : _fixed_size(fixed)])
    headers = data[fixed.variable_header_offset : fixed.file_data_offset]
    checksum = zlib.crc32(headers, zlib.crc32(with_zero))
    if fixed.checksum != checksum:
        wrong = f"checksum is {fixed.checksum:#010x}" if fixed.checksum else "the file has no checksum"
        doubt(IgvmError("igvm-checksum", 20, wrong, f"expected {checksum:#010x}, the CRC32 of the headers"))


def fixed_header(data: bytes | memoryview, doubt: Doubt = refuse) -> FixedHeader:
    """The fixed header, from the first bytes of a file.

    Raises:
        IgvmError: it is not an IGVM file, or ``doubt`` raised the error: not one of version 1 or 2, or of an unknown architecture.
    """
    if len(data) < FIXED_SIZE:
        raise IgvmError(
            "not-igvm",
            0,
            f"the file has only {len(data)} bytes",
            f"the fixed header of an IGVM file has {FIXED_SIZE}",
        )
    magic, version, offset, size, total, checksum = _FIXED.unpack_from(data, 0)
    if magic != MAGIC:
        raise IgvmError("not-igvm", 0, f"the file begins with {repr(magic)[1:]}", "expected 'IGVM'")
    if version == 1:
        return FixedHeader(version, offset, size, total, checksum)
    if version != 2:
        doubt(IgvmError("igvm-version", 4, f"format version is {version}", "expected 1 or 2"))
        return FixedHeader(version, offset, size, total, checksum)
    if len(data) < FIXED_SIZE + _FIXED_V2.size:
        wrong = f"the file has only {len(data)} bytes"
        raise IgvmError("not-igvm", 0, wrong, "the fixed header of an IGVM file of version 2 has 32")
    architecture, page_size = _FIXED_V2.unpack_from(data, FIXED_SIZE)
    if architecture not in ARCHITECTURES:
        doubt(IgvmError("igvm-field", 24, f"architecture is {architecture}", "expected 0 (x64) or 1 (AArch64)"))
    if page_size < 4096 or page_size & page_size - 1:
        raise IgvmError("igvm-field", 28, f"page size is {page_size} bytes", "expected a power of 2, 4096 or more")
    return FixedHeader(version, offset, size, total, checksum, architecture, page_size)


# One function for each structure. ``offset`` is where the header is, ``at`` where its structure is.


def _supported_platform(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> SupportedPlatform:
    return SupportedPlatform(offset, *_PLATFORM.unpack_from(file.data, at))


def _guest_policy(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> GuestPolicy:
    policy, mask, reserved = _POLICY.unpack_from(file.data, at)
    _zero(doubt, offset, "guest policy", reserved)
    return GuestPolicy(offset, policy, mask)


def _relocatable_region(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> RelocatableRegion:
    region = RelocatableRegion(offset, *_REGION.unpack_from(file.data, at))
    _aligned(offset, "relocatable region", "size", region.relocation_region_size)
    _aligned(offset, "relocatable region", "alignment", region.relocation_alignment)
    if not region.relocation_alignment:
        raise IgvmError("igvm-field", offset, "relocatable region: alignment is 0", "expected a multiple of 0x1000")
    for gpa in (region.relocation_region_gpa, region.minimum_relocation_gpa, region.maximum_relocation_gpa):
        _aligned(offset, "relocatable region", "address", gpa, region.relocation_alignment)
    _vtl(offset, "relocatable region", region.vtl)
    return region


def _page_table_relocation(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> PageTableRelocation:
    mask, vp_index, vtl, reserved, gpa, size, used_size = _PAGE_TABLE.unpack_from(file.data, at)
    what = "page table relocation region"
    _zero(doubt, offset, what, reserved)
    _vtl(offset, what, vtl)
    for name, value in (("address", gpa), ("size", size), ("used size", used_size)):
        _aligned(offset, what, name, value)
    if used_size > size:
        raise IgvmError("igvm-field", offset, f"{what}: used size is {used_size:#x}", f"expected at most {size:#x}")
    return PageTableRelocation(offset, mask, vp_index, vtl, gpa, size, used_size)


def _corim(header_type: int) -> Callable[[IgvmFile, Doubt, int, int, int], CorimData]:
    def read(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> CorimData:
        mask, file_offset, size, reserved = _CORIM.unpack_from(file.data, at)
        _zero(doubt, offset, NAMES[header_type], reserved)
        if file_offset:
            file.content(offset, file_offset, size, NAMES[header_type])
        return CorimData(offset, header_type, mask, file_offset, size)

    return read


def _cca_policy(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> CcaPolicy:
    mask, reserved, zeroes, ones, algorithm, lfa, reserved2 = _CCA.unpack_from(file.data, at)
    _zero(doubt, offset, "CCA policy", reserved)
    _zero(doubt, offset, "CCA policy", int.from_bytes(reserved2))
    if zeroes & ones:
        raise IgvmError(
            "igvm-field",
            offset,
            f"CCA policy: bits {zeroes & ones:#x} are required to be both 0 and 1",
            "expected one of the two",
        )
    return CcaPolicy(offset, mask, zeroes, ones, algorithm, lfa)


def _version_string(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> VersionString:
    try:
        return VersionString(offset, str(file.data[at : at + length], "utf-8"))
    except UnicodeDecodeError as error:
        raise IgvmError("igvm-field", offset, f"version string: invalid UTF-8 at byte {error.start}") from error


def _parameter_area(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> ParameterArea:
    size, index, file_offset = _AREA.unpack_from(file.data, at)
    _aligned(offset, "parameter area", "size", size, file.fixed.page_size)
    if file_offset:
        file.content(offset, file_offset, size, "parameter area")
    return ParameterArea(offset, size, index, file_offset)


def _page_data(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> PageData:
    gpa, mask, file_offset, flags, data_type, reserved = _PAGE.unpack_from(file.data, at)
    page_size = file.fixed.page_size
    if gpa % page_size:
        _aligned(offset, "page data", "address", gpa, page_size)
    if file_offset:
        # For a page of 2 MiB too, loaders read the first 4 KiB.
        file.content(offset, file_offset, page_size, "page data")
    if data_type not in PAGE_DATA_TYPES:
        doubt(IgvmError("igvm-field", offset, f"page data: type is {data_type}", "expected 0 to 3"))
    if reserved:
        _zero(doubt, offset, "page data", reserved)
    return PageData(offset, gpa, mask, file_offset, flags, data_type)


def _parameter_insert(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> ParameterInsert:
    insert = ParameterInsert(offset, *_INSERT.unpack_from(file.data, at))
    _aligned(offset, "parameter insert", "address", insert.gpa, file.fixed.page_size)
    return insert


def _parameter(header_type: int) -> Callable[[IgvmFile, Doubt, int, int, int], Parameter]:
    def read(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> Parameter:
        return Parameter(offset, header_type, *_PARAMETER.unpack_from(file.data, at))

    return read


def _vp_context(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> VpContext:
    gpa, mask, file_offset, vp_index, _ = _VP_CONTEXT.unpack_from(file.data, at)
    return VpContext(offset, gpa, mask, file_offset, vp_index)


def _required_memory(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> RequiredMemory:
    gpa, mask, size, flags, reserved = _MEMORY.unpack_from(file.data, at)
    _zero(doubt, offset, "required memory", reserved)
    _aligned(offset, "required memory", "address", gpa, file.fixed.page_size)
    _aligned(offset, "required memory", "size", size, file.fixed.page_size)
    return RequiredMemory(offset, gpa, mask, size, flags)


def _error_range(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> ErrorRange:
    gpa, mask, size = _ERROR_RANGE.unpack_from(file.data, at)
    _aligned(offset, "error range", "address", gpa, file.fixed.page_size)
    return ErrorRange(offset, gpa, mask, size)


def _snp_id_block(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> SnpIdBlock:
    return SnpIdBlock(offset, *_ID_BLOCK.unpack_from(file.data, at))


def _vbs_measurement(file: IgvmFile, doubt: Doubt, offset: int, at: int, length: int) -> VbsMeasurement:
    return VbsMeasurement(offset, *_VBS.unpack_from(file.data, at))


_PLATFORM = struct.Struct("<IBBHQ")
_POLICY = struct.Struct("<QII")
_REGION = struct.Struct("<IHBB5Q")
_PAGE_TABLE = struct.Struct("<IHBB3Q")
_CORIM = struct.Struct("<4I")
_CCA = struct.Struct("<IIQQBB6s")
_AREA = struct.Struct("<QII")
_PAGE = struct.Struct("<QIIIHH")
_INSERT = struct.Struct("<QII")
_PARAMETER = struct.Struct("<II")
_VP_CONTEXT = struct.Struct("<QIIHH")
_MEMORY = struct.Struct("<QIIII")
_ERROR_RANGE = struct.Struct("<QII")
_ID_BLOCK = struct.Struct("<IB3x48s16s16s4I")
_VBS = struct.Struct("<8I64s")
_Reader = Callable[[IgvmFile, Doubt, int, int, int], Header]
_READERS: dict[int, tuple[int, int | None, _Reader]] = {
    SupportedPlatform.header_type: (0, 16, _supported_platform),
    GuestPolicy.header_type: (1, 16, _guest_policy),
    RelocatableRegion.header_type: (1, 48, _relocatable_region),
    PageTableRelocation.header_type: (1, 32, _page_table_relocation),
    0x104: (1, 16, _corim(0x104)),
    0x105: (1, 16, _corim(0x105)),
    CcaPolicy.header_type: (1, 32, _cca_policy),
    VersionString.header_type: (1, None, _version_string),
    ParameterArea.header_type: (2, 16, _parameter_area),
    PageData.header_type: (2, 24, _page_data),
    ParameterInsert.header_type: (2, 16, _parameter_insert),
    VpContext.header_type: (2, 20, _vp_context),
    RequiredMemory.header_type: (2, 24, _required_memory),
    SnpIdBlock.header_type: (2, 696, _snp_id_block),
    ErrorRange.header_type: (2, 16, _error_range),
    VbsMeasurement.header_type: (2, 864, _vbs_measurement),
    **{header_type: (2, 8, _parameter(header_type)) for header_type in PARAMETERS},
}
"""Header type → its section, the size of its structure in bytes (None: any), and its reader."""


def section_of(header_type: int) -> int | None:
    """0 for a platform, 1 for an initialization header, 2 for a directive, None for a header that can be anywhere."""
    for section, (_, first, last) in enumerate(_SECTIONS):
        if first <= header_type <= last:
            return section
    return None


def _in_order(offset: int, header_type: int, section: int) -> int:
    """The section after a header in this one. Raises IgvmError for a header of an earlier one."""
    own = section_of(header_type)
    if own is None:
        return section
    if own < section:
        kind = NAMES.get(header_type, f"type {header_type:#x}")
        raise IgvmError(
            "igvm-header",
            offset,
            f"{_SECTIONS[own][0]} header ({kind}) after {_SECTIONS[section][0]} headers",
            "expected platforms, then initialization headers, then directives",
        )
    return own


def _known_types(header_type: int) -> str:
    for name, first, last in _SECTIONS:
        if first <= header_type <= last:
            known = ", ".join(f"{one:#x}" for one in sorted(_READERS) if first <= one <= last)
            return f"expected a known {name} header ({known}), or bit 31 set for one that may be skipped"
    return "expected 0x1 to 0x200 or 0x301 to 0x400, or bit 31 set for one that may be skipped"


def _aligned(offset: int, what: str, name: str, value: int, alignment: int = 4096) -> None:
    if value % alignment:
        raise IgvmError("igvm-field", offset, f"{what}: {name} is {value:#x}", f"expected a multiple of {alignment:#x}")


def _zero(doubt: Doubt, offset: int, what: str, reserved: int) -> None:
    if reserved:
        doubt(IgvmError("igvm-field", offset, f"{what}: a reserved field is {reserved:#x}", "expected 0"))


def _vtl(offset: int, what: str, vtl: int) -> None:
    if vtl not in _VTLS:
        raise IgvmError("igvm-field", offset, f"{what}: VTL is {vtl}", "expected 0, 1 or 2")
