"""The headers of an IGVM file as ``doit inspect --json`` shows them: names, words for bits, hexadecimal text for addresses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha384
from typing import Any

from coconut_tasks.igvm.parse import IgvmFile
from coconut_tasks.igvm.values import (
    IS_2MB_PAGE,
    NAMES,
    NORMAL,
    OPTIONAL,
    PAGE_DATA_TYPES,
    PAGE_SIZE,
    PLATFORMS,
    SEV_ES,
    SEV_SNP,
    SHARED,
    UNMEASURED,
    Header,
    OptionalHeader,
    PageData,
    SupportedPlatform,
    VpContext,
)

FORMAT = 1
"""Version of the JSON; a change of meaning raises it."""
_FLAGS = {IS_2MB_PAGE: "2 MiB", UNMEASURED: "unmeasured", SHARED: "shared"}
_2MB = 2 << 20
_HEX = {
    "offset", "file_offset", "compatibility_mask", "gpa", "flags", "policy", "shared_gpa_boundary", "header_type",
    "relocation_alignment", "relocation_region_gpa", "minimum_relocation_gpa", "maximum_relocation_gpa",
    "attributes_required_zeroes", "attributes_required_ones", "policy_flags",
}  # fmt: skip
"""Fields that hold addresses or bits: hexadecimal text in the JSON, where 64-bit numbers are not safe."""


def all_fields(file: IgvmFile) -> Iterator[dict[str, Any]]:
    """Each header as it is in the JSON.

    Raises:
        IgvmError: a header that no loader may accept; those before it are valid.
    """
    kinds: dict[int, int] = {}
    for header in file.headers():
        if isinstance(header, SupportedPlatform):
            kinds[header.compatibility_mask] = header.platform_type
        yield fields_of(file, header, kinds)


def header_name(header: Header) -> str:
    """What the specification calls it, in words."""
    if isinstance(header, OptionalHeader):
        known = header.header_type & ~OPTIONAL
        return f"optional {NAMES.get(known, f'header {known:#x}')}"
    return NAMES[header.header_type]


def fields_of(file: IgvmFile, header: Header, kinds: dict[int, int]) -> dict[str, Any]:
    found: dict[str, Any] = {"type": header_name(header)}
    for name, value in asdict(header).items():
        if isinstance(value, bytes):
            found[name] = value.hex()
        else:
            found[name] = hex(value) if name in _HEX else value
    match header:
        case SupportedPlatform():
            found["platform"] = PLATFORMS.get(header.platform_type)
        case PageData():
            found["data_type"] = PAGE_DATA_TYPES[header.data_type]
            found["size"] = page_size(file, header)
            found["flag_names"] = flag_names(header.flags)
            if is_measured(header):
                found["sha384"] = sha384(content_of(file, header)).hexdigest()
        case VpContext():
            found["platform"] = PLATFORMS.get(kinds.get(header.compatibility_mask, -1))
            if digest := vmsa_digest(file, header, kinds):
                found["sha384"] = digest
        case _:
            pass
    return found


def page_size(file: IgvmFile, page: PageData) -> int:
    return _2MB if page.flags & IS_2MB_PAGE else file.fixed.page_size


def is_measured(page: PageData) -> bool:
    """Whether its content is measured, on platforms that measure."""
    return page.data_type == NORMAL and not page.flags & (UNMEASURED | SHARED | IS_2MB_PAGE)


def content_of(file: IgvmFile, page: PageData) -> bytes | memoryview:
    size = file.fixed.page_size
    return file.data[page.file_offset : page.file_offset + size] if page.file_offset else bytes(size)


def vmsa_digest(file: IgvmFile, context: VpContext, kinds: dict[int, int]) -> str:
    """SHA-384 of a VMSA, as hex text; empty for a context that is not a VMSA."""
    start = context.file_offset
    if kinds.get(context.compatibility_mask) not in (SEV_SNP, SEV_ES) or start + PAGE_SIZE > len(file.data):
        return ""
    return sha384(file.data[start : start + PAGE_SIZE]).hexdigest()


def flag_names(flags: int) -> list[str]:
    """The flags of page data, in words."""
    named = [name for bit, name in _FLAGS.items() if flags & bit]
    rest = flags & ~sum(_FLAGS)
    return [*named, f"flags {rest:#x}"] if rest else named
