"""Which pages of two images differ, and from which byte."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha384
from typing import NamedTuple

from coconut_tasks.compare.side import Page, Side
from coconut_tasks.compare.spots import spots, text_in
from coconut_tasks.dataclass import dataclass
from coconut_tasks.igvm.values import PAGE_SIZE

CONTENT, KIND, GONE, NEW = "content", "kind", "gone", "new"
"""How a page can differ: other content, another kind, only in the old image, only in the new image."""
_SHOWN = 16
"""Bytes of each page that are kept, from the first difference."""
_NEAR = 32
"""Characters of a text that are shown before and after a difference."""
_ZEROES = sha384(bytes(PAGE_SIZE)).hexdigest()


@dataclass(frozen=True, slots=True)
class FirstByte:
    """Where a page begins to differ."""

    page: int
    """Its guest physical address."""
    offset: int
    """Offset in the page."""
    old: bytes
    """The bytes there, at most 16."""
    new: bytes
    texts: tuple[str, str] | None = None
    """The texts that contain them."""


@dataclass(frozen=True, slots=True)
class PageRun:
    """Consecutive pages that changed in the same way."""

    how: str
    """``CONTENT``, ``KIND``, ``GONE`` or ``NEW``."""
    gpa: int
    """Address of the first page."""
    pages: int
    kinds: tuple[str, str]
    """Kinds of the old and the new pages."""
    part: str
    """The part that is there; empty if unknown."""
    offset: int
    """Offset of the first page in that part."""
    bytes: tuple[FirstByte, ...] = ()
    """One for each page, if both images are available."""
    platforms: tuple[str, ...] = ()
    """Those that measure them so; none if the pages of all platforms are compared, since nobody measures the images."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The first position at which the common pages are in a different order."""

    position: int
    """Position among the common pages, from 1."""
    old: int
    """The address of the page there."""
    new: int
    platforms: tuple[str, ...] = ()
    """Those that measure in this order."""


@dataclass(frozen=True, slots=True)
class PageChanges:
    """All differences between the pages. A page that several platforms measure counts once."""

    compared: int
    """How many pages the larger image has."""
    count: int = 0
    """How many pages differ."""
    runs: tuple[PageRun, ...] = ()
    """Sorted by address."""
    moved: tuple[Moved, ...] = ()
    counted_otherwise: int = 0
    """Pages without data that only one of the two measures as zero pages; they are not changes of the image."""
    platforms: tuple[str, ...] = ()
    """Those whose pages were compared; none if nobody measures the images."""

    @property
    def any(self) -> bool:
        """Whether the images differ in them."""
        return bool(self.runs or self.moved)

    def addresses(self, platform: str = "") -> set[int]:
        """The addresses of all pages that differ, or of those that differ for this platform."""
        runs = (run for run in self.runs if not platform or platform in run.platforms)
        return {run.gpa + at * PAGE_SIZE for run in runs for at in range(run.pages)}

    def differ_for(self, platform: str) -> bool:
        """Whether what this platform measures differs."""
        return any(platform in run.platforms for run in self.runs) or any(
            platform in one.platforms for one in self.moved
        )


class _Changed(NamedTuple):
    """A page that changed."""

    how: str
    old: Page
    new: Page
    """The same as ``old`` if only one image has it."""

    @property
    def told(self) -> Page:
        """The one whose part is told."""
        return self.new if self.new.part else self.old


class _OnePlatform(NamedTuple):
    """How the pages differ that one platform measures."""

    changed: Sequence[_Changed]
    moved: Moved | None
    counted_otherwise: int


Pages = Mapping[str, tuple[Sequence[Page], Sequence[Page]]]
"""The pages of both images that each platform measures; with ``""`` those of all platforms, if nobody measures the images."""


def changed_pages(old: Side, new: Side, pages: Pages) -> PageChanges:
    """Compare the pages of two images, platform by platform, and join what is the same change for several."""
    found = {word: _changes(old, new, before, after) for word, (before, after) in pages.items()}
    changed: dict[tuple[object, ...], tuple[_Changed, list[str]]] = {}
    moved: dict[Moved, list[str]] = {}
    for word, one in found.items():
        numbers: Counter[tuple[object, ...]] = Counter()
        for change in one.changed:
            # Records may name another part for another platform.
            key = (change.how, change.old[:3], change.new[:3])
            numbers[key] += 1
            changed.setdefault((*key, numbers[key]), (change, []))[1].append(word)
        if one.moved is not None:
            moved.setdefault(one.moved, []).append(word)
    return PageChanges(
        compared=max(_together(sides) for sides in zip(*pages.values(), strict=True)),
        count=_together([change.new for change in one.changed] for one in found.values()),
        runs=_runs(old, new, changed.values()),
        moved=tuple(replace(one, platforms=_named(words)) for one, words in moved.items()),
        counted_otherwise=sum(one.counted_otherwise for one in found.values()),
        platforms=_named(pages),
    )


def _named(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(filter(None, words))


def _together(pages: Iterable[Sequence[Page]]) -> int:
    """How many pages there are: the same address on several platforms is one page."""
    found: Counter[int] = Counter()
    for some in pages:
        found |= Counter(page.gpa for page in some)
    return found.total()


def _changes(old: Side, new: Side, before: Sequence[Page], after: Sequence[Page]) -> _OnePlatform:
    """Pages are paired by address and kind, then by address."""
    pairs, gone, come = _paired(before, after)
    zeroes_differ = None not in (old.native_zero, new.native_zero) and old.native_zero != new.native_zero
    otherwise = 0
    changed = []
    for i, j in pairs:
        a, b = before[i], after[j]
        if a.kind != b.kind:
            if zeroes_differ and _is_zero(a) and _is_zero(b):
                otherwise += 1
            else:
                changed.append(_Changed(KIND, a, b))
        elif a.content != b.content:
            changed.append(_Changed(CONTENT, a, b))
    changed += [_Changed(GONE, before[i], before[i]) for i in gone]
    changed += [_Changed(NEW, after[j], after[j]) for j in come]
    return _OnePlatform(changed, _moved(before, after, pairs), otherwise)


def _paired(before: Sequence[Page], after: Sequence[Page]) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Pairs of indices, in the order of the new pages; and the indices of pages that are only in one."""
    if [one[:2] for one in before] == [one[:2] for one in after]:
        return [(i, i) for i in range(len(after))], [], []
    by_kind: defaultdict[tuple[int, str], deque[int]] = defaultdict(deque)
    for i, page in enumerate(before):
        by_kind[page.gpa, page.kind].append(i)
    pairs, left = [], []
    for j, page in enumerate(after):
        if waiting := by_kind.get((page.gpa, page.kind)):
            pairs.append((waiting.popleft(), j))
        else:
            left.append(j)
    by_gpa: defaultdict[int, deque[int]] = defaultdict(deque)
    for i in sorted(i for waiting in by_kind.values() for i in waiting):
        by_gpa[before[i].gpa].append(i)
    come = []
    for j in left:
        if waiting := by_gpa.get(after[j].gpa):
            pairs.append((waiting.popleft(), j))
        else:
            come.append(j)
    return sorted(pairs, key=lambda pair: pair[1]), sorted(i for waiting in by_gpa.values() for i in waiting), come


def _moved(before: Sequence[Page], after: Sequence[Page], pairs: Sequence[tuple[int, int]]) -> Moved | None:
    in_old_order = sorted(pairs)
    for position, (first, second) in enumerate(zip(in_old_order, pairs, strict=True), 1):
        if first != second:
            return Moved(position, before[first[0]].gpa, after[second[1]].gpa)
    return None


def _is_zero(page: Page) -> bool:
    return page.kind == "zero" or (page.kind == "normal" and page.content == _ZEROES)


def _runs(old: Side, new: Side, changed: Iterable[tuple[_Changed, Sequence[str]]]) -> tuple[PageRun, ...]:
    """Pages that follow each other and changed alike, for the same platforms, are one."""
    runs: list[tuple[list[_Changed], Sequence[str]]] = []
    last: dict[tuple[str, ...], list[_Changed]] = {}
    for change, words in sorted(changed, key=lambda one: (one[0].new.gpa, one[0].how)):
        alike = (change.how, change.old.kind, change.new.kind, change.told.part, *words)
        run = last.get(alike)
        if run is not None and _follows(run[-1].told, change.told):
            run.append(change)
        else:
            last[alike] = run = [change]
            runs.append((run, words))
    return tuple(_run(old, new, run, words) for run, words in runs)


def _follows(page: Page, following: Page) -> bool:
    return following.gpa == page.gpa + PAGE_SIZE and (not page.part or following.offset == page.offset + PAGE_SIZE)


def _run(old: Side, new: Side, run: Sequence[_Changed], words: Sequence[str]) -> PageRun:
    first = run[0]
    kinds = first.old.kind, first.new.kind
    both = (_first_byte(old, new, one.old, one.new) for one in run if one.how in (CONTENT, KIND))
    return PageRun(
        first.how,
        first.new.gpa,
        len(run),
        kinds,
        first.told.part,
        first.told.offset,
        tuple(byte for byte in both if byte is not None),
        _named(words),
    )


def _first_byte(old: Side, new: Side, a: Page, b: Page) -> FirstByte | None:
    one, other = old.bytes_of(a), new.bytes_of(b)
    if one is None or other is None or one == other:
        return None
    (spot,) = spots(one, other, ((), ()))
    here = slice(spot.offset, spot.offset + _SHOWN)
    texts = text_in(spot.old), text_in(spot.new)
    return FirstByte(b.gpa, spot.offset, one[here], other[here], _around(*texts) if all(texts) else None)


def _around(old: str, new: str) -> tuple[str, str]:
    """Two texts, each cut to what surrounds their first difference."""
    at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    start = max(at - _NEAR, 0)
    before = "…" if start else ""
    one, other = (f"{before}{text[start : at + _NEAR]}{'…' if len(text) > at + _NEAR else ''}" for text in (old, new))
    return one, other
