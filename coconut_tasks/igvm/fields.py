"""The headers of an IGVM file as ``doit inspect --json`` shows them: names, words for bits, hexadecimal text for addresses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields
from hashlib import sha384
from typing import Any, get_args

from coconut_tasks.igvm.declared import DeclaredPlatforms
from coconut_tasks.igvm.parse import Doubt, IgvmFile
from coconut_tasks.igvm.rules import WITH_VMSA
from coconut_tasks.igvm.values import (
    ARCHITECTURES,
    IS_2MB_PAGE,
    NAMES,
    NORMAL,
    OPTIONAL,
    PAGE_DATA_TYPES,
    PAGE_SIZE,
    PLATFORMS,
    SHARED,
    UNMEASURED,
    FixedHeader,
    Header,
    OptionalHeader,
    PageData,
    SupportedPlatform,
    UnknownHeader,
    VpContext,
)

FORMAT = 1
"""Version of the JSON; a change of meaning raises it."""
_FLAGS = {IS_2MB_PAGE: "2 MiB", UNMEASURED: "unmeasured", SHARED: "shared"}
_2MB = 2 << 20
_MOST_HASHED = 1 << 16
"""Bytes of the largest page that is hashed, for AArch64. A file may name any page size, and each header refers to a page."""
_TYPE_AND_LENGTH = 8
"""Bytes before the content of a header."""
_NAMES_OF = {kind: [field.name for field in fields(kind)] for kind in get_args(Header)}
"""The fields of each type of header."""
_HEX = {
    "offset", "file_offset", "compatibility_mask", "gpa", "flags", "policy", "shared_gpa_boundary", "header_type",
    "relocation_alignment", "relocation_region_gpa", "minimum_relocation_gpa", "maximum_relocation_gpa",
    "attributes_required_zeroes", "attributes_required_ones", "policy_flags",
}  # fmt: skip
"""Fields that hold addresses or bits: hexadecimal text in the JSON, where 64-bit numbers are not safe."""


def all_fields(file: IgvmFile, doubt: Doubt | None = None) -> Iterator[dict[str, Any]]:
    """Each header as it is in the JSON; ``doubt`` as for ``IgvmFile.headers``.

    Raises:
        IgvmError: a header that no loader may accept; those before it are valid.
    """
    declared = DeclaredPlatforms()
    for header in file.headers(doubt):
        declared.see(header)
        yield fields_of(file, header, declared)


def fixed_fields(fixed: FixedHeader) -> dict[str, Any]:
    """The fixed header as it is in the JSON; None for what is not known of another version."""
    known = {"architecture": architecture_name(fixed)} if fixed.is_known else {"architecture": None, "page_size": None}
    return asdict(fixed) | known


def architecture_name(fixed: FixedHeader) -> str:
    return ARCHITECTURES.get(fixed.architecture, f"architecture {fixed.architecture}")


def page_type_name(data_type: int) -> str:
    return PAGE_DATA_TYPES.get(data_type, f"type {data_type}")


def header_name(header: Header) -> str:
    """What the specification calls it, in words."""
    if isinstance(header, OptionalHeader):
        known = header.header_type & ~OPTIONAL
        return f"optional {NAMES.get(known, f'header {known:#x}')}"
    if isinstance(header, UnknownHeader):
        return f"unknown {NAMES.get(header.header_type, f'header {header.header_type:#x}')}"
    return NAMES[header.header_type]


def fields_of(file: IgvmFile, header: Header, declared: DeclaredPlatforms) -> dict[str, Any]:
    """One header, after ``declared`` has seen it."""
    found: dict[str, Any] = {"type": header_name(header)}
    for name in _NAMES_OF[type(header)]:  # asdict also copies the values, which takes longer than all the rest
        value = getattr(header, name)
        if isinstance(value, bytes):
            found[name] = value.hex()
        else:
            found[name] = hex(value) if name in _HEX else value
    match header:
        case SupportedPlatform():
            found["platform"] = PLATFORMS.get(header.platform_type)
        case PageData():
            found["data_type"] = page_type_name(header.data_type)
            found["size"] = page_size(file, header)
            found["flag_names"] = flag_names(header.flags)
            if (content := content_of(file, header, declared)) is not None:
                found["sha384"] = sha384(content).hexdigest()
        case VpContext():
            found["platform"] = PLATFORMS.get(_type_of(header, declared))
            if digest := vmsa_digest(file, header, declared):
                found["sha384"] = digest
        case UnknownHeader():
            found["sha384"] = unknown_digest(file, header)
        case _:
            pass
    if measured := declared.measured(header):
        found["measured"] = measured
    return found


def page_size(file: IgvmFile, page: PageData) -> int:
    return _2MB if page.flags & IS_2MB_PAGE else file.fixed.page_size


def content_of(file: IgvmFile, page: PageData, declared: DeclaredPlatforms) -> bytes | memoryview | None:
    """The content of a page if it is measured: of a normal one by platforms that measure, of any other by one of the file. None also for a
    page that is cut off or larger than the pages of any architecture."""
    start, size = page.file_offset, file.fixed.page_size
    end = start + size if start else 0
    if page.flags & (UNMEASURED | SHARED | IS_2MB_PAGE) or size > _MOST_HASHED or end > len(file.data):
        return None
    if page.data_type != NORMAL and "normal" not in declared.measured(page).values():
        return None
    return file.data[start:end] if start else bytes(size)


def vmsa_digest(file: IgvmFile, context: VpContext, declared: DeclaredPlatforms) -> str:
    """SHA-384 of a VMSA, as hex text; empty for a context that is not a VMSA."""
    start = context.file_offset
    if _type_of(context, declared) not in WITH_VMSA or start + PAGE_SIZE > len(file.data):
        return ""
    return sha384(file.data[start : start + PAGE_SIZE]).hexdigest()


def unknown_digest(file: IgvmFile, header: UnknownHeader) -> str:
    """SHA-384 of what the header holds, as hex text."""
    start = header.offset + _TYPE_AND_LENGTH
    return sha384(file.data[start : start + header.length]).hexdigest()


def _type_of(context: VpContext, declared: DeclaredPlatforms) -> int:
    """The platform type to which a context belongs; -1 if there is none."""
    kind = declared.type_of(context.compatibility_mask)
    return -1 if kind is None else kind


def flag_names(flags: int) -> list[str]:
    """The flags of page data, in words."""
    named = [name for bit, name in _FLAGS.items() if flags & bit]
    rest = flags & ~sum(_FLAGS)
    return [*named, f"flags {rest:#x}"] if rest else named
