"""The content of an IGVM file, from its bytes or from the output of ``doit inspect --json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256, sha384
from typing import Any

from coconut_tasks.compare.side import Given, Page, Side, digest_of
from coconut_tasks.errors import UsageError
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.fields import FORMAT, all_fields
from coconut_tasks.igvm.launch import MOST_PARAMETER_PAGES, MeasureOptions
from coconut_tasks.igvm.measure import measured_pages
from coconut_tasks.igvm.parse import parse
from coconut_tasks.igvm.snp import kind_of_page
from coconut_tasks.igvm.values import IS_2MB_PAGE, NORMAL, PAGE_DATA_TYPES, PAGE_SIZE, SEV_SNP

MOST_HEADERS = 1 << 18
"""More than a GiB of pages: a header takes a hundred times its size in memory."""
_SECTIONS = ("platforms", "initialization_headers", "directives")
_DATA_TYPES = {name: number for number, name in PAGE_DATA_TYPES.items()}


def of_igvm(name: str, data: bytes | bytearray, *, native_zero: bool = False) -> Side:
    """An image from its bytes.

    Raises:
        UsageError: they are not a valid IGVM file, or it has too many headers.
    """
    try:
        file = parse(data)
        headers: list[dict[str, Any]] = []
        for fields in all_fields(file):
            if len(headers) == MOST_HEADERS:
                raise UsageError("too-large", f"{name}: too many headers to compare (more than {MOST_HEADERS})")
            headers.append(fields)
    except IgvmError as error:
        raise UsageError(error.id, f"{name}: {error}") from error
    for fields in headers:
        offset = int(fields.get("file_offset", "0x0"), 16)
        if fields["type"] == "page data" and offset and "sha384" not in fields:
            fields["sha384"] = sha384(file.data[offset : offset + PAGE_SIZE]).hexdigest()
    pages = None
    doubts: tuple[str, ...] = ()
    if snp_mask(headers):
        try:
            options = MeasureOptions(native_zero=native_zero, check_id_block=False, tolerant=True)
            pages = tuple(
                Page(one.gpa, one.kind, one.content, file_offset=one.file_offset)
                for one in measured_pages(data, options)
            )
        except IgvmError as error:
            doubts = (f"it has no launch digest: {error}",)
    return Side(
        name,
        "an IGVM file",
        digest=None if pages is None else digest_of(pages),
        sha256=sha256(data).hexdigest(),
        settings=_settings(headers),
        pages=pages,
        headers=tuple(headers),
        data=data,
        doubts=doubts,
    )


def of_inspect(name: str, given: Given) -> Side:
    """An image from the output of ``doit inspect --json``.

    Raises:
        UsageError: it is not such output, or not about exactly one file.
    """
    if given.get("format").number() != FORMAT:
        number = given.get("format").number()
        raise UsageError(
            "other-format", f"{name}: output of inspect has format {number}; this version reads format {FORMAT}"
        )
    files = list(given.get("files").entries())
    if len(files) != 1:
        raise UsageError("several-images", f"{name}: output of inspect for {len(files)} files; expected one")
    file = files[0]
    entries = [one for section in _SECTIONS for one in file.get(section).entries()]
    headers = tuple({key: _whole(value) for key, value in (entry.object() or {}).items()} for entry in entries)
    launch = file.get("launch_digest")
    wrong, digest = launch.get("error").text(), launch.get("digest").hex(96)
    doubts = [f"it has no launch digest: {wrong}"] if wrong else []
    pages = tuple(_measured(name, entries, snp_mask(headers))) if digest else None
    if pages is not None and digest_of(pages) != digest:
        doubts.append("its launch digest does not match its pages")
    return Side(
        name,
        "output of inspect",
        digest=digest,
        settings=_settings(headers),
        pages=pages,
        headers=headers,
        doubts=tuple(doubts),
    )


def every_page(headers: Sequence[Mapping[str, Any]]) -> tuple[Page, ...]:
    """The pages of all platforms, for images that SEV-SNP does not measure."""
    found = []
    for one in headers:
        if one.get("type") == "page data":
            mask = one.get("compatibility_mask")
            kind = " ".join(map(str, (one.get("data_type"), *(one.get("flag_names") or ()), f"mask {mask}")))
            found.append(
                Page(
                    address(one.get("gpa")),
                    kind,
                    str(one.get("sha384") or ""),
                    file_offset=address(one.get("file_offset")),
                )
            )
    return tuple(found)


def _measured(name: str, entries: Sequence[Given], mask: int) -> Iterator[Page]:
    """The pages that ``snp.measure`` would measure."""
    areas: dict[int, int] = {}
    inserted = 0
    for one in entries:
        kind = one.get("type").text()
        if kind == "parameter area":
            areas[one.get("parameter_area_index").number()] = one.get("number_of_bytes").number()
            continue
        if kind not in ("page data", "parameter insert", "VP context"):
            continue
        if not one.get("compatibility_mask").number() & mask:
            continue
        gpa, content = one.get("gpa").number() % (1 << 64), one.get("sha384").hex(96) or ""
        if kind == "page data":
            flags = one.get("flags").number()
            found = kind_of_page(flags, _DATA_TYPES.get(one.get("data_type").text() or "", NORMAL))
            if not found:
                continue
            if flags & IS_2MB_PAGE or (found == "normal" and not content):
                raise one.wrong("a page that can be measured")
            content = content if found == "normal" else ""
            yield Page(gpa, found, content, file_offset=one.get("file_offset").number())
        elif kind == "parameter insert":
            pages = areas.pop(one.get("parameter_area_index").number(), 0) // PAGE_SIZE
            inserted += pages
            if inserted > MOST_PARAMETER_PAGES:
                raise one.wrong(f"one of the first {MOST_PARAMETER_PAGES} pages of parameters")
            yield from (Page((gpa + at * PAGE_SIZE) % (1 << 64), "unmeasured", file_offset=0) for at in range(pages))
        elif content:
            yield Page(gpa, "vmsa", content, file_offset=one.get("file_offset").number())


def snp_mask(headers: Sequence[Mapping[str, Any]]) -> int:
    """The compatibility mask of SEV-SNP; 0 for an image without it."""
    masks = [
        address(one.get("compatibility_mask"))
        for one in headers
        if one.get("type") == "supported platform" and one.get("platform_type") == SEV_SNP
    ]
    return masks[-1] if masks else 0


def _settings(headers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings in the image."""
    mask = snp_mask(headers)
    policies = [
        one.get("policy")
        for one in headers
        if one.get("type") == "guest policy" and address(one.get("compatibility_mask")) & mask
    ]
    found: dict[str, Any] = {"platform": "snp"} if mask else {}
    return found | ({"policy": policies[-1]} if policies and isinstance(policies[-1], str) else {})


def _whole(value: Any) -> Any:
    """An integer as such: some programs turn every number into a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def address(value: Any) -> int:
    """A number in a header, as hex text or not; 0 if it is not a number."""
    try:
        return int(value, 16) if isinstance(value, str) else int(value)
    except (TypeError, ValueError, OverflowError):
        return 0
