"""The content of an IGVM file, from its bytes or from the output of ``doit inspect --json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256, sha384
from typing import Any

from coconut_tasks.compare.side import Given, Page, Side, launch_digest_of
from coconut_tasks.errors import UsageError
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.fields import FORMAT, all_fields
from coconut_tasks.igvm.launch import MOST_PARAMETER_PAGES, Measured, MeasureOptions, Watcher
from coconut_tasks.igvm.measure import LAUNCHES, measure_all
from coconut_tasks.igvm.notes import notes_of
from coconut_tasks.igvm.parse import IgvmFile, parse
from coconut_tasks.igvm.platforms import BY_NUMBER, MEASURED
from coconut_tasks.igvm.values import NORMAL, PAGE_DATA_TYPES, PAGE_SIZE, PLATFORMS, VSM_ISOLATION, PageData
from coconut_tasks.igvm.vbs import registers_at
from coconut_tasks.wording import MEASUREMENTS, either

MOST_HEADERS = 1 << 18
"""More than a GiB of pages: a header takes a hundred times its size in memory."""
_SECTIONS = ("platforms", "initialization_headers", "directives")
_ADDRESS_LIMIT = 1 << 64
_DATA_TYPES = {name: number for number, name in PAGE_DATA_TYPES.items()}


def of_igvm(name: str, data: bytes | bytearray, *, native_zero: bool = False) -> Side:
    """An image from its bytes. One that is newer than this program is read as far as it is understood.

    Raises:
        UsageError: they are not a valid IGVM file, or it has too many headers.
    """
    try:
        file = parse(data, lenient=True)
        newer = list(file.doubts)
        headers: list[dict[str, Any]] = []
        for fields in all_fields(file, newer.append):
            if len(headers) == MOST_HEADERS:
                raise UsageError("too-large", f"{name}: too many headers to compare (more than {MOST_HEADERS})")
            headers.append(fields)
    except IgvmError as error:
        raise UsageError(error.id, f"{name}: {error}") from error
    for fields in headers:
        offset = int(fields.get("file_offset", "0x0"), 16)
        if fields["type"] == "page data" and offset and "sha384" not in fields:
            fields["sha384"] = sha384(file.data[offset : offset + PAGE_SIZE]).hexdigest()
    options = MeasureOptions(native_zero=native_zero, check_id_block=False, tolerant=True)
    seen: dict[str, list[Page]] = {} if newer else {word: [] for word in measured_masks(headers)}
    measured = _measured_by(data, options, seen)
    digests = {word: one.digest.hex() for word, one in measured.items() if not isinstance(one, IgvmError)}
    wrong = {word: str(one) for word, one in measured.items() if isinstance(one, IgvmError)}
    return Side(
        name,
        "an IGVM file",
        digests=digests,
        sha256=sha256(data).hexdigest(),
        settings=_settings(headers),
        pages={word: tuple(seen[word]) for word in digests},
        registers=_registers(file, headers) if "vsm" in digests else None,
        headers=tuple(headers),
        data=data,
        doubts=tuple(notes_of(file) if newer else _without(wrong)),
    )


def _measured_by(
    data: bytes | bytearray, options: MeasureOptions, seen: Mapping[str, list[Page]]
) -> Mapping[str, Measured | IgvmError]:
    """The measurement of each platform, or why there is none; its pages are added to ``seen``."""
    if not seen:
        return {}
    try:
        return measure_all(data, options, {word: _watcher(pages) for word, pages in seen.items()})
    except IgvmError as error:
        return dict.fromkeys(seen, error)


def _watcher(pages: list[Page]) -> Watcher:
    def see(kind: str, gpa: int, content: bytes, file_offset: int) -> None:
        pages.append(Page(gpa, kind, content.hex(), file_offset=file_offset))

    return see


def _without(wrong: Mapping[str, str]) -> list[str]:
    """What is said of platforms without a digest, of which the reasons are given."""
    terms: dict[str, list[str]] = {}
    for word, error in wrong.items():
        terms.setdefault(error, []).append(MEASUREMENTS[word])
    return [f"it has no {either(some)}: {error}" for error, some in terms.items()]


def _registers(file: IgvmFile, headers: Sequence[Mapping[str, Any]]) -> list[tuple[int, int, bytes]]:
    contexts = (one for one in headers if one["type"] == "VP context" and one["platform"] == PLATFORMS[VSM_ISOLATION])
    return [
        register
        for one in contexts
        for register in registers_at(file, address(one["offset"]), address(one["file_offset"]))
    ]


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
    told = {"snp": file.get("launch_digest")}
    for one in file.get("measurements").entries():
        told.setdefault(one.get("platform").text() or "", one)
    known = {word: one for word, one in MEASURED.items() if word in told}
    digests = {word: digest for word, one in known.items() if (digest := told[word].get("digest").hex(2 * one.size))}
    wrong = {word: error for word in known if (error := told[word].get("error").text())}
    doubts = [*file.get("notes").texts(), *_without(wrong)]
    # An earlier version told SEV-SNP's digest alone.
    untold = set(MEASURED) - {"snp"} if file.get("measurements").value is None else set()
    masks = {word: mask for word, mask in measured_masks(headers).items() if word in digests or word in untold}
    pages = _measured(entries, masks)
    if "snp" in pages and launch_digest_of(pages["snp"]) != digests["snp"]:
        doubts.append("its launch digest does not match its pages")
    return Side(
        name,
        "output of inspect",
        digests=digests,
        settings=_settings(headers),
        pages=pages,
        headers=headers,
        doubts=tuple(doubts),
    )


def every_page(headers: Sequence[Mapping[str, Any]]) -> tuple[Page, ...]:
    """The pages of all platforms, for images that nobody measures."""
    found = []
    for one in headers:
        if one.get("type") == "page data":
            mask, flags = one.get("compatibility_mask"), one.get("flag_names")
            words = one.get("data_type"), *(flags if isinstance(flags, list) else ()), f"mask {mask}"
            kind = " ".join(map(str, words))
            found.append(
                Page(
                    address(one.get("gpa")),
                    kind,
                    str(one.get("sha384") or ""),
                    file_offset=address(one.get("file_offset")),
                )
            )
    return tuple(found)


def _measured(entries: Sequence[Given], masks: Mapping[str, int]) -> dict[str, tuple[Page, ...]]:
    """The pages that ``measure_all`` would measure, for the platforms with these masks. One of which the output does not show enough is
    left out.

    Raises:
        UsageError: that is SEV-SNP, of which it always shows all.
    """
    found: dict[str, list[Page]] = {word: [] for word in masks}
    room = dict.fromkeys(masks, MOST_PARAMETER_PAGES)
    areas: dict[int, int] = {}
    for one in entries:
        kind = one.get("type").text()
        if kind == "parameter area":
            areas[one.get("parameter_area_index").number()] = one.get("number_of_bytes").number()
            continue
        if kind not in ("page data", "parameter insert", "VP context", "error range"):
            continue
        mask = one.get("compatibility_mask").number()
        words = [word for word in found if mask & masks[word]]
        if not words:
            continue
        first = Page(
            one.get("gpa").number() % _ADDRESS_LIMIT,
            kind,
            one.get("sha384").hex(96) or "",
            file_offset=one.get("file_offset").number(),
        )
        header = _page_data(one, first) if kind == "page data" else None
        size = _bytes_without_content(one, kind, areas)
        for word in words:
            pages = 0 if kind == "error range" and word != "vsm" else -(-size // PAGE_SIZE)
            room[word] -= pages
            if room[word] < 0:
                added, wanted = None, f"one of the first {MOST_PARAMETER_PAGES} pages without content"
            else:
                added, wanted = _added(word, first, header, pages), "a page that can be measured"
            if added is not None:
                found[word] += added
            elif word == "snp":
                raise one.wrong(wanted)
            else:
                del found[word]
    return {word: tuple(pages) for word, pages in found.items()}


def _page_data(one: Given, page: Page) -> PageData:
    data_type = _DATA_TYPES.get(one.get("data_type").text() or "", NORMAL)
    return PageData(0, page.gpa, 0, page.file_offset or 0, one.get("flags").number(), data_type)


def _bytes_without_content(one: Given, kind: str, areas: dict[int, int]) -> int:
    if kind == "parameter insert":
        return areas.pop(one.get("parameter_area_index").number(), 0)
    return one.get("size_bytes").number() if kind == "error range" else 0


def _added(word: str, first: Page, header: PageData | None, pages: int) -> Sequence[Page] | None:
    """What a platform measures of a header with this address and content, or this many pages without content; None if that cannot be
    said."""
    if header is not None:
        launch = LAUNCHES[word]
        kind = launch.page_kind(header)
        try:
            if kind:
                launch.check(header)
        except IgvmError:
            return None
        if kind == "normal" and not first.content:
            return None
        return [first._replace(kind=kind, content=first.content if kind == "normal" else "")] if kind else []
    if first.kind == "VP context":
        return [first._replace(kind="vmsa")] if word == "snp" and first.content else []
    kind = "unmeasured" if first.kind == "parameter insert" else first.kind
    return [Page((first.gpa + at * PAGE_SIZE) % _ADDRESS_LIMIT, kind, file_offset=0) for at in range(pages)]


def platform_masks(headers: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The compatibility mask of each platform that the image is for, by the recipe's word if it measures, else by its name."""
    found = {}
    for one in headers:
        if one.get("type") == "supported platform":
            measured = BY_NUMBER.get(address(one.get("platform_type")))
            found[measured.word if measured else str(one.get("platform"))] = address(one.get("compatibility_mask"))
    return found


def measured_masks(headers: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Those of platforms that measure, in the order of ``MEASURED``."""
    found = platform_masks(headers)
    return {word: found[word] for word in MEASURED if word in found}


def _settings(headers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings in the image."""
    mask = platform_masks(headers).get("snp", 0)
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
