"""The lines of a net as SVG paths: rounded at turns, with a dot at each branch, as in a circuit diagram.

Lines that cross without a dot are not connected.
"""

from __future__ import annotations

from collections.abc import Iterator

from coconut_tasks.reports.graph_layout import Crossing, Net

_RADIUS = 7
_ARROW = 7


def wire_path(net: Net) -> str:
    """All lines of the net as the ``d`` attribute of one path."""
    lanes = [f"M{left} {y}H{right}" for left, right, y in net.lanes]
    return "".join([*lanes, *(part for crossing in net.crossings for part in _lines(crossing))])


def arrow_path(net: Net) -> str:
    """A triangle in front of each target box of the net."""
    ends = [(crossing.right, y) for crossing in net.crossings for y in crossing.arrows]
    return "".join(f"M{x} {y}l-{_ARROW} -4v8z" for x, y in ends)


def dots(net: Net) -> list[tuple[int, int]]:
    """The points where the net branches."""
    return [(one.trunk, y) for one in net.crossings for y in _heights(one) if _arms(one, y) > 2]


def _heights(one: Crossing) -> list[int]:
    return sorted({*one.sources, *one.targets})


def _arms(one: Crossing, y: int) -> int:
    heights = _heights(one)
    return (y in one.sources) + (y in one.targets) + (y > heights[0]) + (y < heights[-1])


def _lines(one: Crossing) -> Iterator[str]:
    heights = _heights(one)
    top, bottom = heights[0], heights[-1]
    radius = min(_RADIUS, (bottom - top) // 2)
    turns = {y: radius if _arms(one, y) == 2 and top < bottom else 0 for y in heights}
    for y in heights:
        r = turns[y]
        away = r if y == top else -r
        for x, side in ((one.left, -1), (one.right, 1)):
            if y in (one.sources if side < 0 else one.targets):
                # The line ends under its arrow, to stay hidden at the tip.
                end = x - _ARROW + 1 if side > 0 and y in one.arrows else x
                yield f"M{end} {y}H{one.trunk + side * r}" + (f"Q{one.trunk} {y} {one.trunk} {y + away}" if r else "")
    if top < bottom:
        yield f"M{one.trunk} {top + turns[top]}V{bottom - turns[bottom]}"
