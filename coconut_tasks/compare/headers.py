"""Which headers of two IGVM files differ, except for differences that the pages show already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from coconut_tasks.compare.image import address, platform_masks
from coconut_tasks.compare.side import Side
from coconut_tasks.compare.values import ONLY_NEW, ONLY_OLD, Change, only
from coconut_tasks.igvm.platforms import MEASURED
from coconut_tasks.igvm.values import PAGE_SIZE

_ASIDE = {"offset", "file_offset", "measured"}
"""Positions in the file, which say nothing about the content, and what follows from other fields."""
_NAMES = ("gpa", "parameter_area_index", "byte_offset")
"""What identifies a header besides its type."""
_PAGES = {"page data": MEASURED, "parameter insert": MEASURED, "VP context": ("snp",), "error range": ("vsm",)}
"""Headers that are measured as pages, and the platforms that do so."""
_MASK = "compatibility_mask"
_PLATFORM = "supported platform"
Told = Mapping[str, Set[int]]
"""The addresses of pages that are reported as pages, by platform; with ``""`` those of page data for any platform."""


class _Header(NamedTuple):
    name: str
    """Its type, and what else identifies it."""
    fields: Mapping[str, Any]
    """Empty for one that an image does not have."""
    platforms: frozenset[str]


_NONE = _Header("", {}, frozenset())


def changed_headers(old: Side, new: Side, told: Told) -> Iterator[Change]:
    """Headers by type and address, and the fields that differ, each with the platforms that it concerns.

    What only one image has for a platform that the other is not for is left out: the platform's own header says enough.
    """
    masks = [platform_masks(side.headers or ()) for side in (old, new)]
    known = {**masks[0], **masks[1]}
    before, after = (list(_headers(side.headers or (), *given)) for side, given in ((old, masks), (new, masks[::-1])))
    for name, a, b in _paired(before, after):
        fields = _differing(a, b)
        if not fields:
            continue
        concerned = a.platforms | b.platforms
        moved = a.platforms ^ b.platforms
        if _is_told(a, told) or _is_told(b, told):
            moved = moved.difference(told)
            fields = [_MASK] if moved and a.fields and b.fields and "" not in told else []
        if fields == [_MASK]:
            concerned = moved
        if fields:
            yield _change(name, a, b, fields, [word for word in known if word in concerned], known)


def _headers(
    headers: Sequence[Mapping[str, Any]], own: Mapping[str, int], others: Mapping[str, int]
) -> Iterator[_Header]:
    """Without those for platforms that the other image is not for. Images may have other bits for a platform: then masks are words."""
    of_masks: dict[int, frozenset[str]] = {}
    for header in headers:
        kind, mask = str(header.get("type")), header.get(_MASK)
        name = " ".join([kind, *(str(header[one]) for one in _NAMES if one in header)])
        if name == kind and mask is not None:
            name = f"{kind} of mask {mask}"
        bits = address(mask)
        platforms = of_masks.get(bits)
        if platforms is None:
            platforms = of_masks[bits] = frozenset(word for word, bit in own.items() if bit & bits)
        fields = header
        if own != others and kind != _PLATFORM and platforms:
            platforms = platforms.intersection(others)
            fields = {**header, _MASK: ", ".join(sorted(platforms))}
            if not platforms:
                continue
        yield _Header(name, fields, platforms)


def _paired(before: Sequence[_Header], after: Sequence[_Header]) -> Iterator[tuple[str, _Header, _Header]]:
    """Headers of one name by their order; if those of one image are for different platforms, only with those for the same."""
    firsts: tuple[dict[str, frozenset[str]], ...] = ({}, {})
    unlike = {
        one.name
        for side, first in zip((before, after), firsts, strict=True)
        for one in side
        if first.setdefault(one.name, one.platforms) != one.platforms
    }
    old, new = (_numbered(side, unlike) for side in (before, after))
    for key in {**old, **new}:
        name, _, number = key
        yield name if number == 1 else f"{name} ({number})", old.get(key, _NONE), new.get(key, _NONE)


def _numbered(headers: Sequence[_Header], unlike: Set[str]) -> dict[tuple[str, frozenset[str], int], _Header]:
    counted: Counter[tuple[str, frozenset[str]]] = Counter()
    found = {}
    for one in headers:
        key = one.name, one.platforms if one.name in unlike else frozenset()
        counted[key] += 1
        found[*key, counted[key]] = one
    return found


def _differing(a: _Header, b: _Header) -> list[str]:
    if not a.fields or not b.fields:
        return [*a.fields, *b.fields]
    # One side may lack the digest of what is not measured.
    return [
        name for name, value in a.fields.items() if name in b.fields and value != b.fields[name] and name not in _ASIDE
    ]


def _change(
    name: str, a: _Header, b: _Header, fields: Sequence[str], concerned: Sequence[str], known: Collection[str]
) -> Change:
    note, platforms = only(concerned, known), tuple(concerned)
    if not a.fields or not b.fields:
        told = ONLY_NEW if not a.fields else ONLY_OLD
        return Change(name, dict(a.fields) or None, dict(b.fields) or None, told, note=note, platforms=platforms)
    old, new = ({field: one.fields[field] for field in fields} for one in (a, b))
    told = ", ".join(f"{field} {old[field]} → {new[field]}" for field in fields)
    return Change(name, old, new, told, note=note, platforms=platforms)


def _is_told(header: _Header, told: Told) -> bool:
    kind, gpa = str(header.fields.get("type")), address(header.fields.get("gpa"))
    if kind not in _PAGES or ("" in told and kind != "page data"):
        return False
    if "" in told:
        return gpa in told[""]
    pages = range(gpa, gpa + max(address(header.fields.get("size_bytes")), 1), PAGE_SIZE)
    words = (word for word in _PAGES[kind] if word in header.platforms and word in told)
    return any(not told[word].isdisjoint(pages) for word in words)
