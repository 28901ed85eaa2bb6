"""Where boxes and the lines between them go: columns from left to right, lines at right angles that never cross a box.

Lines that lead from the same places to the same places are one *net*, drawn like a bus: all its boxes are joined by one upright
line between two columns. So six parts of three images are one line with nine ends, not eighteen lines.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from statistics import median_low

from coconut_tasks.dataclass import dataclass

_GAP, _GROUP_GAP, _LANE_GAP = 12, 24, 12
"""Between boxes of one net, between boxes of different nets, and around a line that passes a column."""
_TRUNK_GAP, _LEAD_OUT, _LEAD_IN, _PORT_GAP = 10, 20, 26, 10

Item = str | int
"""What has a place in a column: a box, by its name, or the line of a net that passes, by the net's number."""


@dataclass(frozen=True, slots=True)
class Box:
    """What is to be placed."""

    name: str
    rank: int
    """The column that it belongs in; it goes further right if something that it needs is there."""
    width: int
    height: int
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a box is."""

    x: int
    y: int
    """Of its middle."""
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Crossing:
    """The part of a net between two columns: level lines to an upright one, and from it on."""

    left: int
    right: int
    trunk: int
    """Where the upright line is."""
    sources: tuple[int, ...]
    """Heights at which lines come from the left."""
    targets: tuple[int, ...]
    arrows: tuple[int, ...]
    """Those of the targets that are boxes."""


@dataclass
class Net:
    """A line that leads from each of its sources to each of its targets."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    crossings: list[Crossing] = field(default_factory=list)
    lanes: list[tuple[int, int, int]] = field(default_factory=list)
    """Level lines past a column: left, right, height."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """All places. The top left corner is 0, 0."""

    width: int
    height: int
    places: dict[str, Place]
    nets: list[Net]


@dataclass(slots=True)
class _Joint:
    """What a net joins between two columns."""

    left: list[Item]
    right: list[Item]


def lay_out(boxes: Sequence[Box]) -> Drawing:
    """Place boxes. Each comes after those that it needs."""
    if not boxes:
        return Drawing(0, 0, {}, [])
    by_name = {box.name: box for box in boxes}
    column = _columns(boxes)
    nets = _nets(boxes)
    count = max(column.values()) + 1
    joints = [_joints(nets, column, at) for at in range(count - 1)]
    items: list[list[Item]] = [[box.name for box in boxes if column[box.name] == at] for at in range(count)]
    for at in range(1, count - 1):
        items[at] += [number for number in joints[at - 1] if number in joints[at - 1][number].right]
    items = _ordered(items, joints)
    heights = _heights(items, joints, by_name)

    x, places = 0, {}
    edges = []
    for at, at_items in enumerate(items):
        width = max(by_name[name].width for name in at_items if isinstance(name, str))
        for name in at_items:
            if isinstance(name, str):
                places[name] = Place(x, heights[at][name], width, by_name[name].height)
            else:
                nets[name].lanes.append((x, x + width, heights[at][name]))
        edges.append((x, x + width))
        if at < count - 1:
            x = _cross(nets, joints[at], heights[at], heights[at + 1], by_name, x + width)
    bottom = max(
        [*(place.y + place.height // 2 for place in places.values()), *(y for net in nets for _, _, y in net.lanes)]
    )
    return Drawing(edges[-1][1], bottom, places, nets)


def _columns(boxes: Sequence[Box]) -> dict[str, int]:
    rank: dict[str, int] = {}
    for box in boxes:
        rank[box.name] = max([box.rank, *(rank[need] + 1 for need in box.needs)])
    dense = {value: at for at, value in enumerate(sorted(set(rank.values())))}
    return {name: dense[value] for name, value in rank.items()}


def _nets(boxes: Sequence[Box]) -> list[Net]:
    targets: dict[str, list[str]] = {box.name: [] for box in boxes}
    for box in boxes:
        for need in box.needs:
            targets[need].append(box.name)
    sources: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, to in targets.items():
        if to:
            sources[tuple(to)].append(name)
    return [Net(tuple(from_), to) for to, from_ in sources.items()]


def _joints(nets: Sequence[Net], column: Mapping[str, int], at: int) -> dict[int, _Joint]:
    """The nets between a column and the next one. All sources of a net are left of all its targets."""
    joints = {}
    for number, net in enumerate(nets):
        first, last = min(column[name] for name in net.sources), max(column[name] for name in net.targets)
        if first <= at < last:
            left: list[Item] = [name for name in net.sources if column[name] == at]
            right: list[Item] = [name for name in net.targets if column[name] == at + 1]
            joints[number] = _Joint(left + [number] * (first < at), right + [number] * (at + 1 < last))
    return joints


def _ordered(items: list[list[Item]], joints: Sequence[Mapping[int, _Joint]]) -> list[list[Item]]:
    """The columns' items so that few lines cross: each goes where the middle of its neighbours is, to and fro, best try wins.

    A net is a layer's item of its own between its two columns.
    """
    layers: list[list[Item]] = [items[0]]
    links: list[list[tuple[Item, Item]]] = []
    for at, between in enumerate(joints):
        layers += [list(between), items[at + 1]]
        links.append([(item, number) for number, joint in between.items() for item in joint.left])
        links.append([(number, item) for number, joint in between.items() for item in joint.right])
    best, least = [list(layer) for layer in layers], _crossed(layers, links)
    for _ in range(6):
        for at in reversed(range(len(links))):
            layers[at] = _pulled(layers[at], layers[at + 1], [(b, a) for a, b in links[at]])
        for at, pairs in enumerate(links):
            layers[at + 1] = _pulled(layers[at + 1], layers[at], pairs)
        crossed = _crossed(layers, links)
        if crossed < least:
            best, least = [list(layer) for layer in layers], crossed
    return best[::2]


def _pulled(layer: list[Item], towards: Sequence[Item], pairs: Iterable[tuple[Item, Item]]) -> list[Item]:
    position = {item: (at + 0.5) / len(towards) for at, item in enumerate(towards)}
    pulls: dict[Item, list[float]] = defaultdict(list)
    for other, item in pairs:
        pulls[item].append(position[other])
    own = {item: (at + 0.5) / len(layer) for at, item in enumerate(layer)}
    return sorted(layer, key=lambda item: sum(pulls[item]) / len(pulls[item]) if pulls[item] else own[item])


def _crossed(layers: Sequence[Sequence[Item]], links: Sequence[Sequence[tuple[Item, Item]]]) -> int:
    count = 0
    for at, pairs in enumerate(links):
        left = {item: place for place, item in enumerate(layers[at])}
        right = {item: place for place, item in enumerate(layers[at + 1])}
        passed: list[int] = []
        for _, end in sorted((left[a], right[b]) for a, b in pairs):
            count += len(passed) - bisect_right(passed, end)
            insort(passed, end)
    return count


def _heights(
    items: Sequence[list[Item]], joints: Sequence[Mapping[int, _Joint]], boxes: Mapping[str, Box]
) -> list[dict[Item, int]]:
    """The height of each item's middle. The fullest column is stacked; the others follow it to both sides."""
    apart = [_apart(column, joints[at] if at < len(joints) else {}, boxes) for at, column in enumerate(items)]
    anchor = max(range(len(items)), key=lambda at: (sum(apart[at]), -at))
    heights: list[dict[Item, int]] = [{} for _ in items]
    heights[anchor] = _spread(items[anchor], [0] * len(items[anchor]), apart[anchor])
    for at in range(anchor + 1, len(items)):
        near = [(joint.right, joint.left) for joint in joints[at - 1].values()]
        heights[at] = _spread(items[at], _wanted(items[at], near, heights[at - 1]), apart[at])
    for at in reversed(range(anchor)):
        near = [(joint.left, joint.right) for joint in joints[at].values()]
        heights[at] = _spread(items[at], _wanted(items[at], near, heights[at + 1]), apart[at])
    half = {item: (boxes[item].height // 2 if isinstance(item, str) else 0) for column in items for item in column}
    top = min(y - half[item] for column in heights for item, y in column.items())
    return [{item: y - top for item, y in column.items()} for column in heights]


def _apart(column: Sequence[Item], joints: Mapping[int, _Joint], boxes: Mapping[str, Box]) -> list[int]:
    """How far the middle of each item must be from that of the one above it; of the first, from the top."""
    net_of = {item: number for number, joint in joints.items() for item in joint.left}
    apart = []
    for at, item in enumerate(column):
        above = column[at - 1] if at else None
        half = sum(boxes[one].height // 2 for one in (above, item) if isinstance(one, str))
        if isinstance(item, int) or isinstance(above, int):
            gap = _LANE_GAP
        else:
            gap = _GAP if above and net_of.get(above) == net_of.get(item) else _GROUP_GAP
        apart.append(half + (gap if above is not None else 0))
    return apart


def _wanted(
    column: Sequence[Item], near: Iterable[tuple[list[Item], list[Item]]], heights: Mapping[Item, int]
) -> list[float]:
    """The height at which each item's lines would be straight. A line of one box to one box counts most."""
    pulls: dict[Item, list[tuple[float, int]]] = defaultdict(list)
    for ends, others in near:
        passing = any(isinstance(one, int) for one in others)
        weight = (1e-6 if passing else 1) / (len(ends) * len(others))
        for item in ends:
            pulls[item].append((weight, median_low(heights[one] for one in others)))
    middle = median_low(heights.values())
    return [
        sum(weight * y for weight, y in pulls[item]) / sum(weight for weight, _ in pulls[item])
        if pulls[item]
        else middle
        for item in column
    ]


def _spread(column: Sequence[Item], wanted: Sequence[float], apart: Sequence[int]) -> dict[Item, int]:
    """As near to where they want to be as their order and distances allow: runs that would overlap share their middle."""
    offsets, sum_apart = [], 0
    for distance in apart:
        sum_apart += distance
        offsets.append(sum_apart)
    runs: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        mean, length = want - offset, 1
        while runs and runs[-1][0] > mean:
            before, n = runs.pop()
            mean, length = (mean * length + before * n) / (length + n), length + n
        runs.append((mean, length))
    starts = [round(mean) for mean, length in runs for _ in range(length)]
    return {item: start + offset for item, start, offset in zip(column, starts, offsets, strict=True)}


def _cross(
    nets: Sequence[Net],
    joints: Mapping[int, _Joint],
    lefts: Mapping[Item, int],
    rights: Mapping[Item, int],
    boxes: Mapping[str, Box],
    x: int,
) -> int:
    """Add to the nets what is between two columns; where the second column begins."""
    into = _ports(joints, lefts, rights, boxes)
    ends = {
        number: (
            sorted(lefts[item] for item in joint.left),
            sorted(into.get((item, number), rights[item]) for item in joint.right),
        )
        for number, joint in joints.items()
    }
    bent = _trunks({number: pair for number, pair in ends.items() if len({*pair[0], *pair[1]}) > 1})
    end = x + _LEAD_OUT + _LEAD_IN + _TRUNK_GAP * max(0, len(bent) - 1)
    for number, (left, right) in ends.items():
        trunk = x + _LEAD_OUT + _TRUNK_GAP * (bent.index(number) if number in bent else 0)
        arrows = sorted(into[item, number] for item in joints[number].right if isinstance(item, str))
        nets[number].crossings.append(Crossing(x, end, trunk, tuple(left), tuple(right), tuple(arrows)))
    return end


def _ports(
    joints: Mapping[int, _Joint], lefts: Mapping[Item, int], rights: Mapping[Item, int], boxes: Mapping[str, Box]
) -> dict[tuple[Item, int], int]:
    """At which height each net comes to each box: the straightest at its middle, the others above and below."""
    coming: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, joint in joints.items():
        from_ = median_low(lefts[item] for item in joint.left)
        for item in joint.right:
            if isinstance(item, str):
                coming[item].append((from_, number))
    ports: dict[tuple[Item, int], int] = {}
    for name, nets in coming.items():
        nets.sort()
        middle = min(range(len(nets)), key=lambda at: abs(nets[at][0] - rights[name]))
        most = max(middle, len(nets) - 1 - middle, 1)
        step = min(_PORT_GAP, (boxes[name].height / 2 - 8) / most)
        for at, (_, number) in enumerate(nets):
            ports[name, number] = rights[name] + round((at - middle) * step)
    return ports


def _trunks(ends: Mapping[int, tuple[list[int], list[int]]]) -> list[int]:
    """The upright lines from left to right: so that few lines cross, and none lies on another."""

    def cost(first: int, second: int) -> int:
        out, in_ = ends[first][1], ends[second][0]
        on_one_another = sum(abs(a - b) < 8 for a in out for b in in_)
        return 100 * on_one_another + _within(out, ends[second]) + _within(in_, ends[first])

    order: list[int] = []
    for number in ends:
        costs = [
            sum(cost(one, number) for one in order[:at]) + sum(cost(number, one) for one in order[at:])
            for at in range(len(order) + 1)
        ]
        order.insert(costs.index(min(costs)), number)
    return order


def _within(heights: Iterable[int], span: tuple[list[int], list[int]]) -> int:
    low, high = min(*span[0], *span[1]), max(*span[0], *span[1])
    return sum(low <= y <= high for y in heights)
