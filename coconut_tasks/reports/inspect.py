"""The contents of an IGVM file: one line for each header or run of pages, or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from hashlib import sha384
from typing import Any

from coconut_tasks.dataclass import dataclass
from coconut_tasks.igvm.fields import (
    content_of,
    fields_of,
    flag_names,
    header_name,
    is_measured,
    page_size,
    vmsa_digest,
)
from coconut_tasks.igvm.parse import IgvmFile
from coconut_tasks.igvm.values import (
    ARCHITECTURES,
    NORMAL,
    PAGE_DATA_TYPES,
    PLATFORMS,
    CcaPolicy,
    CorimData,
    Directive,
    ErrorRange,
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
    VbsMeasurement,
    VersionString,
    VpContext,
)
from coconut_tasks.wording import human, short_digest

_SECTIONS = ("platforms", "initialization headers", "directives")


@dataclass(frozen=True, slots=True)
class Digests:
    """The SEV-SNP launch digests of a file in hex, or why it has none."""

    plain: str = ""
    native_zero: str = ""
    wrong: str = ""


def as_text(name: str, file: IgvmFile, digests: Digests | None, *, every: bool = False) -> Iterator[str]:
    """Lines. ``every``: one for each page. ``digests``: None if the file is not for SEV-SNP.

    Raises:
        IgvmError: a header is invalid; the lines before it are correct.
    """
    fixed = file.fixed
    yield (
        f"{name}: IGVM version {fixed.format_version}, {ARCHITECTURES[fixed.architecture]}, pages of {human(fixed.page_size)}, "
        f"{fixed.total_file_size} bytes, {fixed.variable_header_size} of them headers, checksum {fixed.checksum:#010x}"
    )
    section = ""
    kinds: dict[int, int] = {}
    for header, pages, content in _runs(file, every):
        now = _section(header) or section
        if now != section:
            section = now
            yield f"{section}:"
        if isinstance(header, SupportedPlatform):
            kinds[header.compatibility_mask] = header.platform_type
        yield "  " + _line(file, header, pages, content, kinds)
    if digests is not None:
        if digests.wrong:
            yield f"no SEV-SNP launch digest: {digests.wrong}"
        else:
            yield f"SEV-SNP launch digest: {digests.plain}"
            yield f"  with native zero pages: {digests.native_zero}"


def as_json(name: str, file: IgvmFile, digests: Digests | None) -> Iterator[str]:
    """Pieces of one JSON object, to limit memory for files with very many headers.

    Raises:
        IgvmError: a header is invalid; check the whole file first.
    """
    header = asdict(file.fixed) | {"architecture": ARCHITECTURES[file.fixed.architecture]}
    yield f'{{"file": {json.dumps(name)}, "header": {json.dumps(header)}'
    section, kinds, missing = "", dict[int, int](), dict.fromkeys(_SECTIONS)
    for one in file.headers():
        now = _section(one) or section or "platforms"
        if now == section:
            yield ", "
        else:
            missing.pop(now)
            yield f"{']' if section else ''}, {json.dumps(now.replace(' ', '_'))}: ["
        section = now
        if isinstance(one, SupportedPlatform):
            kinds[one.compatibility_mask] = one.platform_type
        yield json.dumps(fields_of(file, one, kinds))
    yield "]" if section else ""
    yield "".join(f", {json.dumps(one.replace(' ', '_'))}: []" for one in missing)
    digest = None
    if digests is not None:
        shown = {"algorithm": "sha384", "digest": digests.plain, "native_zero_digest": digests.native_zero}
        digest = {"error": digests.wrong} if digests.wrong else shown
    yield f', "launch_digest": {json.dumps(digest)}}}'


def _section(header: Header) -> str:
    if isinstance(header, SupportedPlatform):
        return "platforms"
    if isinstance(header, Directive):
        return "directives"
    # An optional header can be anywhere.
    return "" if isinstance(header, OptionalHeader) else "initialization headers"


def _runs(file: IgvmFile, every: bool) -> Iterator[tuple[Header, int, Any]]:
    """Each header; but of consecutive pages of one kind only the first, with their number and, if they are measured, the SHA-384 of their
    content."""
    first: PageData | None = None
    pages, content, following = 0, None, 0
    for header in file.headers():
        if isinstance(header, PageData):
            if first and not every and header.gpa == following and _kind(header) == _kind(first):
                pages += 1
                following += page_size(file, header)
                if content:
                    content.update(content_of(file, header))
                continue
            if first:
                yield first, pages, content
            first, pages, following = header, 1, header.gpa + page_size(file, header)
            content = sha384(content_of(file, header)) if is_measured(header) else None
            continue
        if first:
            yield first, pages, content
            first = None
        yield header, 1, None
    if first:
        yield first, pages, content


def _kind(page: PageData) -> tuple[int, int, int, bool]:
    return page.compatibility_mask, page.flags, page.data_type, bool(page.file_offset)


def _line(file: IgvmFile, header: Header, pages: int, content: Any, kinds: dict[int, int]) -> str:
    match header:
        case PageData():
            words = _page_words(header, pages, page_size(file, header))
        case VpContext():
            words = _context_words(header, kinds, vmsa_digest(file, header, kinds))
        case _:
            words = _WORDS[type(header)](header)
    mask = getattr(header, "compatibility_mask", None)
    shown = [header_name(header), *words, *(() if mask is None else (f"mask {mask:#x}",))]
    if content is not None and (not isinstance(header, PageData) or header.file_offset):
        shown.append(f"sha384 {short_digest(content.hexdigest())}")
    return "  ".join(shown)


def _page_words(page: PageData, pages: int, size: int) -> Iterable[str]:
    kind = PAGE_DATA_TYPES[page.data_type]
    what = kind if page.data_type != NORMAL else "data" if page.file_offset else "zeroes"
    count = (f"{pages} pages",) if pages > 1 else ()
    return (f"{page.gpa:#x} {human(pages * size)}", *count, what, *flag_names(page.flags))


def _context_words(context: VpContext, kinds: dict[int, int], digest: str) -> Iterable[str]:
    kind = PLATFORMS.get(kinds.get(context.compatibility_mask, -1), "unknown platform")
    return (
        f"{context.gpa:#x}",
        f"processor {context.vp_index}",
        kind,
        *((f"sha384 {short_digest(digest)}",) if digest else ()),
    )


_WORDS: dict[type, Callable[[Any], Iterable[str]]] = {
    SupportedPlatform: lambda header: (
        PLATFORMS.get(header.platform_type, f"type {header.platform_type}"),
        f"version {header.platform_version}",
        f"highest VTL {header.highest_vtl}",
        f"shared GPA boundary {header.shared_gpa_boundary:#x}",
    ),
    GuestPolicy: lambda header: (f"{header.policy:#x}",),
    RelocatableRegion: lambda header: (
        f"{header.relocation_region_gpa:#x} {human(header.relocation_region_size)}",
        f"to {header.minimum_relocation_gpa:#x} … {header.maximum_relocation_gpa:#x}",
        f"alignment {header.relocation_alignment:#x}",
        f"processor {header.vp_index} VTL {header.vtl} flags {header.flags:#x}",
    ),
    PageTableRelocation: lambda header: (
        f"{header.gpa:#x} {human(header.size)}, {human(header.used_size)} used",
        f"processor {header.vp_index} VTL {header.vtl}",
    ),
    CorimData: lambda header: (human(header.size_bytes),),
    CcaPolicy: lambda header: (
        f"zeroes {header.attributes_required_zeroes:#x} ones {header.attributes_required_ones:#x}",
    ),
    VersionString: lambda header: (json.dumps(header.text),),
    ParameterArea: lambda header: (f"{header.parameter_area_index}", human(header.number_of_bytes)),
    ParameterInsert: lambda header: (f"{header.gpa:#x}", f"area {header.parameter_area_index}"),
    Parameter: lambda header: (f"area {header.parameter_area_index}", f"byte {header.byte_offset}"),
    RequiredMemory: lambda header: (
        f"{header.gpa:#x} {human(header.number_of_bytes)}",
        *(("VTL2 protectable",) if header.flags & 1 else ()),
    ),
    ErrorRange: lambda header: (f"{header.gpa:#x} {human(header.size_bytes)}",),
    SnpIdBlock: lambda header: (
        f"launch digest {header.ld.hex()}",
        f"version {header.version}",
        f"SVN {header.guest_svn}",
    ),
    VbsMeasurement: lambda header: (
        f"version {header.version}",
        f"boot digest {short_digest(header.boot_measurement_digest.hex())}",
    ),
    OptionalHeader: lambda header: (f"{header.length} bytes", "loaders may ignore it"),
}
"""The text for a header, without its name and mask. Pages and contexts need more than the header."""
