"""The changes between two builds, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from coconut_tasks.compare.changes import SECTIONS, Changes
from coconut_tasks.compare.pages import CONTENT, GONE, KIND, FirstByte, Moved, PageChanges, PageRun
from coconut_tasks.compare.side import NATIVE_ZERO, Side
from coconut_tasks.compare.spots import spot_text
from coconut_tasks.compare.values import Change, only
from coconut_tasks.igvm.platforms import MEASURED
from coconut_tasks.igvm.values import PAGE_SIZE
from coconut_tasks.reports.results import head
from coconut_tasks.terminal import ARROWS, MARKS, Rules, Style
from coconut_tasks.wording import MEASUREMENTS, both, printable

_TITLES = {
    "source": "source tree",
    "files": "input files",
    "settings": "launch settings",
    "headers": "unmeasured headers",
}
_ABSENT = {"options": "not set", "environment": "not set"}
_DIGESTS = ("parts", "source")
_LONGEST = 100
"""How many characters of a value are shown."""
_MOST = 10
"""How many lines of a section are shown; ``--json`` has all."""
_MOST_RUNS = 40
_MOST_BYTES = 3
"""For how many pages of a run the first difference is shown."""
_MOST_SPOTS = 3
_SHOWN = 8
"""How many bytes are shown at a difference."""


def changes_words(changes: Changes) -> Rules:
    """Styles for the words of ``changes_text``."""
    return (
        *MARKS,
        *(
            (Style.GOOD if changes.same_digests.get(word) else Style.BAD, rf"{term} ([0-9a-f]{{64,96}})$")
            for word, term in MEASUREMENTS.items()
        ),
        (Style.GOOD, "^ *(the same):"),
        (Style.BAD, "^ *(different)"),
        (Style.STRONG, r"^ *(\S[^:]*:)$"),
        (Style.GOOD, r"^ +\S+ (is new)\b"),
        (Style.BAD, r"^ +\S+ (is gone)\b"),
        (Style.CHANGED, r"^ +\S+ (changed)\b"),
        *ARROWS,
    )


def changes_text(changes: Changes) -> list[str]:
    """Lines: the digests of both, the changes with causes first, and a conclusion."""
    return [printable(line) for line in _lines(changes)]


def changes_json(changes: Changes) -> dict[str, Any]:
    """All changes, without limits. Addresses are strings in hex, since 64-bit numbers are not safe in JSON."""
    pages = changes.pages
    return {
        **head("diff"),
        "same": changes.same,
        "same_launch_digest": changes.same_digest,
        "same_measurements": changes.same_digests,
        "same_image": changes.same_bytes,
        "old": _side_json(changes.old),
        "new": _side_json(changes.new),
        "compared": list(changes.compared),
        "not_compared": {name: list(what) for name, what in changes.only},
        "changes": {
            name: [_change_json(change) for change in changes.sections[name]]
            for name in SECTIONS
            if name in changes.sections
        },
        "pages": None
        if pages is None
        else {
            "compared": pages.compared,
            "differ": pages.count,
            "runs": [_run_json(run) for run in pages.runs],
            "order": next(map(_order_json, pages.moved), None),
            "orders": list(map(_order_json, pages.moved)),
            "counted_otherwise": pages.counted_otherwise,
        },
        "unmeasured": [
            {"place": list(spot.place), "offset": spot.offset, "old": spot.old.hex(), "new": spot.new.hex()}
            for spot in changes.spots
        ],
        "explained": changes.is_explained if changes.image_differs else None,
    }


def _lines(changes: Changes) -> Iterator[str]:
    old, new = changes.old, changes.new
    width = max(len(old.name), len(new.name)) + 1
    for side in (old, new):
        digests = {MEASUREMENTS[word]: side.digests[word] for word in MEASUREMENTS if word in side.digests}
        for term, digest in (digests or {"launch digest": "unknown"}).items():
            yield f"{side.name + ':':{width}} {term} {digest}"
    for side in (old, new):
        yield from (f"note: {side.name}: {doubt}" for doubt in side.doubts)
    if changes.same:
        counted = {"pages": _count(changes.pages.compared)} if changes.pages else {}
        yield f"the same: {', '.join(counted.get(one, one) for one in changes.compared)}"
        yield from _not_compared(changes)
        return
    if statements := [side.causes_from for side in (old, new) if side.causes_from]:
        yield f"causes: from {' and '.join(statements)}"
    for name in SECTIONS:
        if found := changes.sections.get(name):
            measured = changes.pages is not None and changes.pages.platforms
            title = name if name == "headers" and not measured else _TITLES.get(name, name)
            yield f"{title}:"
            yield from _shortened([_change_text(change, name) for change in found], _MOST)
    yield from _pages(changes)
    yield from _unmeasured(changes)
    yield from _not_compared(changes)
    yield from _meaning(changes)


def _change_text(change: Change, section: str) -> str:
    absent = _ABSENT.get(section, "(absent)")
    if section == "files":
        said = f"{change.subject} {change.told}"
    elif change.told:
        said = f"{change.subject}: {change.told}"
    else:
        old, new = (_brief(value, absent, digest=section in _DIGESTS) for value in (change.old, change.new))
        said = f"{change.subject}: {old} → {new}"
    note = f" ({change.note})" if change.note else ""
    steps = list(change.steps)
    reached = f" ({', '.join(steps[:3])}{f' and {len(steps) - 3} more' if len(steps) > 3 else ''})" if steps else ""
    return f"{said}{note}{reached}"


def _brief(value: Any, absent: str, *, digest: bool) -> str:
    if value is None:
        return absent
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        text = ", ".join(value) or "none"
    elif digest and isinstance(value, str):
        return value if len(value) <= 40 else f"{value[:23]}…"
    else:
        text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _shortened(lines: Sequence[str], most: int) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:most])
    if len(lines) > most:
        yield f"  … and {len(lines) - most} more; --json has all"


def _pages(changes: Changes) -> Iterator[str]:
    pages = changes.pages
    if pages is None:
        return
    what = "measured pages" if pages.platforms else "pages"
    if pages.runs:
        yield f"{what}: {pages.count} of {pages.compared} differ"
        for run in pages.runs[:_MOST_RUNS]:
            yield "  ".join(["", *_run_words(run, changes), *_only(run.platforms, pages)])
            yield from (f"    {_byte_text(one)}" for one in run.bytes[:_MOST_BYTES])
            if len(run.bytes) > _MOST_BYTES:
                yield f"    … and {len(run.bytes) - _MOST_BYTES} more pages; --json has all"
        if len(pages.runs) > _MOST_RUNS:
            yield f"  … and {len(pages.runs) - _MOST_RUNS} more places; --json has all"
    for moved in pages.moved:
        order = f"different order from page {moved.position} on: {moved.old:#x} → {moved.new:#x}"
        yield "  ".join([f"{what}: {order}", *_only(moved.platforms, pages)])
    if pages.counted_otherwise:
        yield f"{what}: {pages.counted_otherwise} without data are measured differently, because of {NATIVE_ZERO}"


def _only(platforms: Sequence[str], pages: PageChanges) -> list[str]:
    words = only(platforms, pages.platforms)
    return [f"({words})"] if words else []


def _run_words(run: PageRun, changes: Changes) -> list[str]:
    last = run.gpa + run.pages * PAGE_SIZE - 1
    kind = " → ".join(run.kinds) if run.how == KIND else run.kinds[1]
    words = [f"{run.gpa:#x} … {last:#x}", _count(run.pages), kind]
    words += [f"{run.part} from {run.offset:#x}"] if run.part else []
    if run.how not in (CONTENT, KIND):
        words.append(f"only in {(changes.old if run.how == GONE else changes.new).name}")
    return words


def _count(pages: int) -> str:
    return f"{pages} page{'' if pages == 1 else 's'}"


def _byte_text(byte: FirstByte) -> str:
    old, new = (
        (f'"{text}"' for text in byte.texts) if byte.texts else (byte.old[:_SHOWN].hex(" "), byte.new[:_SHOWN].hex(" "))
    )
    return f"from {byte.page + byte.offset:#x}, byte {byte.offset:#x} of the page: {old} → {new}"


def _unmeasured(changes: Changes) -> Iterator[str]:
    names = changes.old.name, changes.new.name
    if changes.spots:
        yield "in the image, but not measured:" if changes.same_digests else "in the image:"
        for spot in changes.spots[:_MOST_SPOTS]:
            yield from (f"  {line}" for line in spot_text(spot, names))
        if len(changes.spots) > _MOST_SPOTS:
            yield f"  … and {len(changes.spots) - _MOST_SPOTS} more places; --json has all"
    elif changes.same_bytes is False and not changes.other_digests and "headers" not in changes.sections:
        yield f"the image files differ: SHA-256 {changes.old.sha256} → {changes.new.sha256}"


def _not_compared(changes: Changes) -> Iterator[str]:
    for name, what in changes.only:
        yield f"only available for {name}: {', '.join(what)}"


def _meaning(changes: Changes) -> Iterator[str]:
    if changes.by_settings_alone:
        yield f"the images have the same pages; the digests differ only because of {NATIVE_ZERO}"
    elif changes.image_differs and not changes.is_explained:
        if changes.both_are_records:
            yield "cause unknown: no recorded change explains the difference"
        else:
            bare = next(side for side in (changes.old, changes.new) if not side.is_build_record)
            yield f"cause unknown: {bare.name} is {bare.form}; compare the .provenance.json of both builds"
    yield _conclusion(changes)


def _conclusion(changes: Changes) -> str:
    """``different launch digests and MRTDs, but the VBS boot digest is the same``"""
    same = [f"the {MEASUREMENTS[word]}" for word, is_same in changes.same_digests.items() if is_same]
    others = [f"{MEASUREMENTS[word]}s" for word in changes.other_digests]
    different = " ".join(["different", *([both(others)] if others else [])])
    return f"{different}, but {both(same)} {'is' if len(same) == 1 else 'are'} the same" if same else different


def _side_json(side: Side) -> dict[str, Any]:
    return {
        "name": printable(side.name),
        "form": side.form,
        "launch_digest": side.digests.get("snp"),
        "measurements": [
            {"platform": word, "kind": one.kind, "digest": side.digests[word]}
            for word, one in MEASURED.items()
            if word in side.digests
        ],
        "sha256": side.sha256,
        "notes": list(side.doubts),
    }


def _change_json(change: Change) -> dict[str, Any]:
    found: dict[str, Any] = {"subject": change.subject, "old": change.old, "new": change.new}
    known = {"told": change.told, "steps": list(change.steps), "platforms": list(change.platforms)}
    return found | {name: value for name, value in known.items() if value}


def _order_json(moved: Moved) -> dict[str, Any]:
    return {
        "position": moved.position,
        "old": hex(moved.old),
        "new": hex(moved.new),
        "platforms": list(moved.platforms),
    }


def _run_json(run: PageRun) -> dict[str, Any]:
    found: dict[str, Any] = {
        "how": run.how,
        "gpa": hex(run.gpa),
        "pages": run.pages,
        "old_kind": run.kinds[0],
        "new_kind": run.kinds[1],
        "part": run.part or None,
        "part_offset": hex(run.offset) if run.part else None,
        "platforms": list(run.platforms),
    }
    bytes_ = [
        {
            "page": hex(one.page),
            "offset": hex(one.offset),
            "gpa": hex(one.page + one.offset),
            "old": one.old.hex(),
            "new": one.new.hex(),
        }
        for one in run.bytes
    ]
    return found | ({"bytes": bytes_} if bytes_ else {})
