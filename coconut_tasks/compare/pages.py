"""Which pages of two images differ, and from which byte."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha384

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


@dataclass(frozen=True, slots=True)
class Moved:
    """The first position at which the common pages are in a different order."""

    position: int
    """Position among the common pages, from 1."""
    old: int
    """The address of the page there."""
    new: int


@dataclass(frozen=True, slots=True)
class PageChanges:
    """All differences between the pages."""

    compared: int
    """How many pages the larger image has."""
    runs: tuple[PageRun, ...] = ()
    """Sorted by address."""
    moved: Moved | None = None
    counted_otherwise: int = 0
    """Pages without data that only one of the two measures as zero pages; they are not changes of the image."""

    @property
    def count(self) -> int:
        """How many pages differ."""
        return sum(run.pages for run in self.runs)

    @property
    def any(self) -> bool:
        """Whether the images differ in them."""
        return bool(self.runs or self.moved)

    def addresses(self) -> set[int]:
        """The addresses of all pages that differ."""
        return {run.gpa + at * PAGE_SIZE for run in self.runs for at in range(run.pages)}


def changed_pages(old: Side, new: Side, before: Sequence[Page], after: Sequence[Page]) -> PageChanges:
    """Compare the pages of two images, paired by address and kind, then by address."""
    pairs, gone, come = _paired(before, after)
    zeroes_differ = None not in (old.native_zero, new.native_zero) and old.native_zero != new.native_zero
    otherwise = 0
    runs = []
    for i, j in pairs:
        a, b = before[i], after[j]
        if a.kind != b.kind:
            if zeroes_differ and _is_zero(a) and _is_zero(b):
                otherwise += 1
            else:
                runs.append(_run(KIND, a, b, _first_byte(old, new, a, b)))
        elif a.content != b.content:
            runs.append(_run(CONTENT, a, b, _first_byte(old, new, a, b)))
    runs += [_run(GONE, before[i], before[i], None) for i in gone]
    runs += [_run(NEW, after[j], after[j], None) for j in come]
    moved = _moved(before, after, pairs)
    return PageChanges(max(len(before), len(after)), tuple(_joined(runs)), moved, otherwise)


def _paired(before: Sequence[Page], after: Sequence[Page]) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Pairs of indices, in the order of the new pages; and the indices of pages that are only in one."""
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


def _run(how: str, a: Page, b: Page, byte: FirstByte | None) -> PageRun:
    told = b if b.part else a
    return PageRun(how, b.gpa, 1, (a.kind, b.kind), told.part, told.offset, (byte,) if byte else ())


def _joined(runs: Iterable[PageRun]) -> list[PageRun]:
    found: list[PageRun] = []
    for run in sorted(runs, key=lambda one: (one.gpa, one.how)):
        last = found[-1] if found else None
        if last is not None and _follows(last, run):
            found[-1] = replace(last, pages=last.pages + 1, bytes=(*last.bytes, *run.bytes))
        else:
            found.append(run)
    return found


def _follows(last: PageRun, run: PageRun) -> bool:
    size = last.pages * PAGE_SIZE
    same = (last.how, last.kinds, last.part) == (run.how, run.kinds, run.part)
    return same and run.gpa == last.gpa + size and (not run.part or run.offset == last.offset + size)


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
