"""The contents of an IGVM file: one line for each header or run of pages, or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from hashlib import sha384
from typing import Any

from coconut_tasks.dataclass import dataclass
from coconut_tasks.igvm.declared import DeclaredPlatforms
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.fields import (
    architecture_name,
    content_of,
    fields_of,
    fixed_fields,
    flag_names,
    header_name,
    page_size,
    page_type_name,
    unknown_digest,
    vmsa_digest,
)
from coconut_tasks.igvm.notes import Notes, notes_of
from coconut_tasks.igvm.parse import IgvmFile, section_of
from coconut_tasks.igvm.platforms import SNP, TDP, MeasuredPlatform
from coconut_tasks.igvm.values import (
    NORMAL,
    PLATFORMS,
    CcaPolicy,
    CorimData,
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
    UnknownHeader,
    VbsMeasurement,
    VersionString,
    VpContext,
)
from coconut_tasks.wording import human, short_digest

_SECTIONS = ("platforms", "initialization headers", "directives")


@dataclass(frozen=True, slots=True)
class Digests:
    """What a platform measures of a file, or why it measures nothing."""

    plain: str = ""
    """In hex; empty if there is none."""
    other: str = ""
    """With native zero pages for SEV-SNP, with all pages added first for TDX; empty for other platforms."""
    wrong: str = ""
    platform: MeasuredPlatform = SNP


_OTHER_WAYS = {SNP.word: "with native zero pages", TDP.word: "with all pages added first"}


def as_text(name: str, file: IgvmFile, *, every: bool = False) -> Iterator[str]:
    """Lines, up to the notes on what is not understood. ``every``: one for each page.

    Raises:
        IgvmError: a header is invalid; the lines before it are correct.
    """
    fixed = file.fixed
    pages_of = f"{architecture_name(fixed)}, pages of {human(fixed.page_size)}, " if fixed.is_known else ""
    yield (
        f"{name}: IGVM version {fixed.format_version}, {pages_of}{fixed.total_file_size} bytes, "
        f"{fixed.variable_header_size} of them headers, checksum {fixed.checksum:#010x}"
    )
    section, declared, notes, wrong = "", DeclaredPlatforms(), Notes(file), list[IgvmError]()
    for header, pages, content in _runs(file, declared, notes, wrong, every):
        now = _section(header) or section
        if now != section:
            section = now
            yield f"{section}:"
        yield "  " + _line(file, header, pages, content, declared)
    if found := notes.texts():
        yield "notes:"
        yield from (f"  {note}" for note in found)
    for error in wrong:
        raise error


def digest_lines(digests: Iterable[Digests]) -> Iterator[str]:
    """Lines on what each platform measures."""
    for one in digests:
        if one.wrong:
            yield f"no {one.platform.kind}: {one.wrong}"
            continue
        yield f"{one.platform.kind}: {one.plain}"
        if one.other and (one.platform is SNP or one.other != one.plain):
            yield f"  {_OTHER_WAYS[one.platform.word]}: {one.other}"


def as_json(name: str, file: IgvmFile, *digests: Digests) -> Iterator[str]:
    """Pieces of one JSON object, to limit memory for files with very many headers. ``digests`` are of the platforms that the file is for.

    Raises:
        IgvmError: a header is invalid; check the whole file first.
    """
    yield f'{{"file": {json.dumps(name)}, "header": {json.dumps(fixed_fields(file.fixed))}'
    section, declared, missing = "", DeclaredPlatforms(), dict.fromkeys(_SECTIONS)
    for one in file.headers():
        now = _section(one) or section or "platforms"
        if now == section:
            yield ", "
        else:
            missing.pop(now)
            yield f"{']' if section else ''}, {json.dumps(now.replace(' ', '_'))}: ["
        section = now
        declared.see(one)
        yield json.dumps(fields_of(file, one, declared))
    yield "]" if section else ""
    yield "".join(f", {json.dumps(one.replace(' ', '_'))}: []" for one in missing)
    yield f', "launch_digest": {json.dumps(_launch_digest(digests))}'
    yield f', "measurements": {json.dumps([_measurement(one) for one in digests])}'
    yield f', "notes": {json.dumps(notes_of(file))}}}'


def _launch_digest(digests: Iterable[Digests]) -> dict[str, str] | None:
    """What SEV-SNP measures, as ``inspect`` has told it before it knew other platforms."""
    for one in digests:
        if one.platform is SNP:
            shown = {"algorithm": SNP.algorithm, "digest": one.plain, "native_zero_digest": one.other}
            return {"error": one.wrong} if one.wrong else shown
    return None


def _measurement(digests: Digests) -> dict[str, str]:
    platform = digests.platform
    found = {"platform": platform.word, "kind": platform.kind}
    if digests.wrong:
        return found | {"error": digests.wrong}
    found |= {"algorithm": platform.algorithm, "digest": digests.plain}
    return found | ({"two_pass_digest": digests.other} if platform is TDP else {})


def _section(header: Header) -> str:
    section = section_of(header.header_type)
    # An optional header can be anywhere.
    return "" if section is None else _SECTIONS[section]


def _valid(file: IgvmFile, notes: Notes, wrong: list[IgvmError]) -> Iterator[Header]:
    """The headers up to one that is not valid; the error goes to ``wrong``."""
    try:
        yield from file.headers(notes.add)
    except IgvmError as error:
        wrong.append(error)


def _runs(
    file: IgvmFile, declared: DeclaredPlatforms, notes: Notes, wrong: list[IgvmError], every: bool
) -> Iterator[tuple[Header, int, Any]]:
    """Each valid header; but of consecutive pages of one kind only the first, with their number and, if they are measured and have data,
    the SHA-384 of it. ``declared`` and ``notes`` see the headers; an error goes to ``wrong``."""
    first: PageData | None = None
    pages, content, following = 0, None, 0
    for header in _valid(file, notes, wrong):
        if isinstance(header, PageData):
            data = content_of(file, header, declared) if header.file_offset else None
            if (
                first
                and not every
                and header.gpa == following
                and _kind(header) == _kind(first)
                and (data is None) == (content is None)
            ):
                pages += 1
                following += page_size(file, header)
                if content is not None and data is not None:
                    content.update(data)
                continue
            if first:
                yield first, pages, content
            first, pages, following = header, 1, header.gpa + page_size(file, header)
            content = None if data is None else sha384(data)
            continue
        declared.see(header)
        notes.see(header)
        if first:
            yield first, pages, content
            first = None
        yield header, 1, None
    if first:
        yield first, pages, content


def _kind(page: PageData) -> tuple[int, int, int, bool]:
    return page.compatibility_mask, page.flags, page.data_type, bool(page.file_offset)


def _line(file: IgvmFile, header: Header, pages: int, content: Any, declared: DeclaredPlatforms) -> str:
    match header:
        case PageData():
            words = _page_words(header, pages, page_size(file, header))
        case VpContext():
            kind = declared.type_of(header.compatibility_mask)
            words = _context_words(header, kind, vmsa_digest(file, header, declared))
        case UnknownHeader():
            words = (f"{header.length} bytes", f"sha384 {short_digest(unknown_digest(file, header))}")
        case _:
            words = _WORDS[type(header)](header)
    mask = getattr(header, "compatibility_mask", None)
    shown = [header_name(header), *words, *(() if mask is None else (f"mask {mask:#x}",))]
    if content is not None:
        shown.append(f"sha384 {short_digest(content.hexdigest())}")
    return "  ".join([*shown, *_measured_words(declared.measured(header), declared.words)])


def _measured_words(measured: Mapping[str, str], every: Set[str]) -> Iterable[str]:
    """How a header is measured: said once if all platforms of the file do it alike, else for each that it is for."""
    kinds = set(measured.values())
    if len(kinds) == 1 and measured.keys() == every:
        return (_ALL_ALIKE.get(kind, f"counts as {kind}") for kind in kinds)
    return (", ".join(f"{word} {kind}" for word, kind in measured.items()),) if measured else ()


_ALL_ALIKE = {"none": "not measured", "refused": "cannot be measured"}


def _page_words(page: PageData, pages: int, size: int) -> Iterable[str]:
    kind = page_type_name(page.data_type)
    what = kind if page.data_type != NORMAL else "data" if page.file_offset else "zeroes"
    count = (f"{pages} pages",) if pages > 1 else ()
    return (f"{page.gpa:#x} {human(pages * size)}", *count, what, *flag_names(page.flags))


def _context_words(context: VpContext, kind: int | None, digest: str) -> Iterable[str]:
    return (
        f"{context.gpa:#x}",
        f"processor {context.vp_index}",
        "unknown platform" if kind is None else PLATFORMS.get(kind, f"type {kind}"),
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
