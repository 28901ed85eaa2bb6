"""The result of ``reproduce`` as text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from coconut_tasks.compare.reproduction import Different, Reproduction
from coconut_tasks.compare.spots import spot_text
from coconut_tasks.wording import MEASUREMENTS

_SPOTS = 3
"""How many spots of a file are shown with their bytes."""
_NAMED = 10
"""How many more spots are only named: an image has thousands of pages."""


def reproduced_text(result: Reproduction, seconds: float, report: Path | None = None, stand: str = os.curdir) -> str:
    """The whole report; ``report`` is the file that diffoscope wrote, and paths are relative to the folder ``stand``."""
    count = len(result.differences)
    if not count:
        lines = [f"{name}: {MEASUREMENTS[platform]} {digest}" for name, platform, digest in result.digests]
        return "\n".join([*lines, f"reproducible: all {result.compared} files are the same, in {seconds:.1f} s"])
    names = (result.copies[0][0], result.copies[1][0])
    lines = [line for different in result.differences for line in _told(different, names)]
    lines += [f"diffoscope report: {os.path.relpath(report, stand)}"] if report else []
    lines += [f"{name}: {os.path.relpath(folder, stand)}" for name, folder in result.copies]
    return "\n".join([*lines, f"not reproducible: {count} of {result.compared} files differ, the causes first"])


def _told(different: Different, names: tuple[str, str]) -> Iterator[str]:
    made = f"{different.step}: " if different.step else ""
    yield f"{made}{different.files[0].name} differs"
    if not different.spots:
        there = [name for name, path in zip(names, different.files, strict=True) if path.exists()]
        yield f"  only {there[0]} has it" if there else "  neither has it"
    for spot in different.spots[:_SPOTS]:
        yield from (f"  {line}" for line in spot_text(spot, names))
    if more := different.spots[_SPOTS:]:
        named = [", ".join(spot.place) or "other places" for spot in more[:_NAMED]]
        rest = len(more) - len(named)
        yield f"  and {', '.join(named)}{f' and {rest} more' if rest else ''}"
    for text in different.paths[:_SPOTS]:
        yield f"  contains the path of the build: {text}"
