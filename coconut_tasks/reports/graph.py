"""The task graph as a picture (SVG) and as text for other tools (DOT, Mermaid)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from graphlib import TopologicalSorter

from coconut_tasks.dataclass import dataclass
from coconut_tasks.reports.edge_paths import arrow_path, dots, wire_path
from coconut_tasks.reports.graph_layout import Box, Drawing, lay_out
from coconut_tasks.reports.markup import cells, escape, one_line, shortened
from coconut_tasks.steps.step import STAGES

MANY_MODULES = 8
"""With more modules than this, similar modules become one box, unless the caller decides otherwise."""
_RANK = {
    "version": 0,
    "tool": 1,
    "kernel": 1,
    "module": 1,
    "fs": 2,
    "firmware": 2,
    "igvm": 3,
    "measure": 4,
    "provenance": 5,
}
_SHOWN_NAMES = 6
_TOLD_REASONS = 20


class NodeState(StrEnum):
    """What a build would now do with a step."""

    STALE = "stale"
    """It would run."""
    MAYBE = "may run"
    """It would run if the output of a step that it needs changes."""
    FRESH = "up to date"
    IGNORED = "ignored"
    """`doit ignore` was used on it or on a step that it needs."""


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One step."""

    name: str
    """The task's name, for example ``kernel:svsm``."""
    stage: str
    """See ``Step.stage``."""
    doc: str
    state: NodeState
    reason: str = ""
    """Why it is stale; empty if it is up to date."""
    needs: tuple[str, ...] = ()
    """Names of the steps that must be done first; each is a node of the graph."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """A box: a step, or modules that need the same steps and are needed by the same steps."""

    node: GraphNode
    lines: tuple[str, ...]
    """The text of the box."""
    hint: str
    """The tooltip."""


def render_svg(nodes: Sequence[GraphNode], *, title: str, group: bool | None = None) -> str:
    """The graph as a self-contained SVG file for light and dark backgrounds."""
    shown = _shown(nodes, group)
    boxes = [
        Box(
            one.node.name,
            _RANK.get(one.node.stage, 1),
            max(130, 44 + max(_text_width(line, _SMALL if at else _LARGE) for at, line in enumerate(one.lines))),
            max(14 + 17 * len(one.lines), 7 * len(one.node.needs)),
            one.node.needs,
        )
        for one in shown
    ]
    return _svg(shown, lay_out(boxes), title, Counter(node.state for node in nodes))


def render_dot(nodes: Sequence[GraphNode], *, group: bool | None = None) -> str:
    """The graph for Graphviz."""
    shown = _shown(nodes, group)
    lines = ["digraph steps {", "  rankdir=LR;", '  node [shape=box, style=filled, fontname="Courier"];']
    for stage, members in _by_stage(shown):
        indent = "    " if stage else "  "
        if stage:
            lines += [f"  subgraph cluster_{stage} {{", f"    label={_dot(stage)}; color=gray;"]
        for one in members:
            text, hint = _dot("\n".join(one.lines)), _dot(one.hint)
            lines.append(f"{indent}{_dot_id(one)} [label={text}, tooltip={hint}, {_DOT_STYLE[one.node.state]}];")
        lines += ["  }"] * bool(stage)
    by_name = {one.node.name: one for one in shown}
    lines += [f"  {_dot_id(by_name[need])} -> {_dot_id(one)};" for one in shown for need in one.node.needs]
    return "\n".join([*lines, "}", ""])


def render_mermaid(nodes: Sequence[GraphNode], *, group: bool | None = None) -> str:
    """The graph as a Mermaid flowchart, which GitHub shows in Markdown."""
    shown = _shown(nodes, group)
    number = {one.node.name: f"n{at}" for at, one in enumerate(shown)}
    lines = ["flowchart LR"]
    for stage, members in _by_stage(shown):
        indent = "    " if stage else "  "
        lines += [f"  subgraph s_{stage}[{stage}]"] * bool(stage)
        for one in members:
            left, right = _MERMAID_SHAPE[one.node.state]
            text = "<br/>".join(_mermaid(line) for line in one.lines)
            lines.append(f'{indent}{number[one.node.name]}{left}"{text}"{right}')
        lines += ["  end"] * bool(stage)
    lines += [f"  {number[need]} --> {number[one.node.name]}" for one in shown for need in one.node.needs]
    for state, style in _MERMAID_STYLE.items():
        names = [number[one.node.name] for one in shown if one.node.state is state]
        if names:
            lines += [f"  classDef {state.name.lower()} {style}", f"  class {','.join(names)} {state.name.lower()}"]
    return "\n".join([*lines, ""])


def _shown(nodes: Sequence[GraphNode], group: bool | None) -> list[_Shown]:
    """The boxes, each after those that it needs, without edges that others imply."""
    nodes = _without_implied(nodes)
    if group is None:
        group = sum(node.stage == "module" for node in nodes) > MANY_MODULES
    if not group:
        return [_single(node) for node in nodes]
    needed_by: dict[str, list[str]] = {node.name: [] for node in nodes}
    for node in nodes:
        for need in node.needs:
            needed_by[need].append(node.name)
    # Only modules with the same neighbours, so that each edge of the box belongs to all of them.
    alike: dict[object, list[GraphNode]] = {}
    for node in nodes:
        key = (sorted(node.needs), needed_by[node.name]) if node.stage == "module" else node.name
        alike.setdefault(repr(key), []).append(node)
    stands_for = {node.name: members[0].name for members in alike.values() for node in members}
    return [
        _single(replace(members[0], needs=needs)) if len(members) == 1 else _several(members, needs)
        for members in alike.values()
        for needs in [tuple(dict.fromkeys(stands_for[need] for need in members[0].needs))]
    ]


def _without_implied(nodes: Sequence[GraphNode]) -> list[GraphNode]:
    """The nodes, each after its needs, without needs that are implied by others."""
    by_name = {node.name: node for node in nodes}
    sorter = TopologicalSorter({node.name: [need for need in node.needs if need in by_name] for node in nodes})
    before: dict[str, set[str]] = {}
    for name in sorter.static_order():
        needs = [need for need in by_name[name].needs if need in by_name]
        before[name] = set(needs).union(*(before[need] for need in needs))
        far = set().union(*(before[need] for need in needs))
        by_name[name] = replace(by_name[name], needs=tuple(dict.fromkeys(need for need in needs if need not in far)))
    return [by_name[name] for name in before]


def _single(node: GraphNode) -> _Shown:
    told = f"{node.state}: {node.reason}" if node.reason else node.state
    return _Shown(node, (shortened(one_line(node.name), 44), node.state), f"{node.name}\n{node.doc}\n{told}")


def _several(members: Sequence[GraphNode], needs: tuple[str, ...]) -> _Shown:
    count = Counter(node.state for node in members)
    told = [node for state in NodeState for node in members if node.state is state and state is not NodeState.FRESH]
    names = [shortened(one_line(node.name.removeprefix("module:")), 32) for node in told if node.state is told[0].state]
    if len(names) > _SHOWN_NAMES:
        names[_SHOWN_NAMES:] = [f"… and {len(names) - _SHOWN_NAMES} more"]
    reasons = [f"{node.name}: {node.state}: {node.reason}" for node in told[:_TOLD_REASONS]]
    if len(told) > _TOLD_REASONS:
        reasons.append(f"… and {len(told) - _TOLD_REASONS} more")
    heading = f"{len(members)} modules"
    states = ", ".join(f"{count[state]} {state}" for state in NodeState if count[state])
    node = replace(members[0], state=next(state for state in NodeState if count[state]), needs=needs)
    return _Shown(node, (heading, states, *names), "\n".join([f"{heading}: {states}", *reasons]))


def _by_stage(shown: Sequence[_Shown]) -> Iterator[tuple[str, list[_Shown]]]:
    """The boxes of each stage; the stage's name is empty if it needs no frame, for example for a single box."""
    for stage in dict.fromkeys([*STAGES, *(one.node.stage for one in shown)]):
        members = [one for one in shown if one.node.stage == stage]
        if members:
            framed = len(members) > 1 and stage in ("tool", "kernel", "module")
            yield stage if framed else "", members


_DOT_STYLE = {
    NodeState.STALE: 'fillcolor="#ffd9b8", color="#b34700", fontcolor=black, penwidth=3',
    NodeState.MAYBE: 'fillcolor="#d6eaf8", color="#0063a0", fontcolor=black, style="filled,dashed", penwidth=2',
    NodeState.FRESH: 'fillcolor="#f2f3f5", color="#6b7280", fontcolor=black',
    NodeState.IGNORED: 'fillcolor="#f2f3f5", color="#6b7280", fontcolor="#6b7280", style="filled,dotted"',
}
_MERMAID_STYLE = {
    NodeState.STALE: "fill:#ffd9b8,stroke:#b34700,color:#000,stroke-width:3px",
    NodeState.MAYBE: "fill:#d6eaf8,stroke:#0063a0,color:#000,stroke-width:2px,stroke-dasharray:6 4",
    NodeState.FRESH: "fill:#f2f3f5,stroke:#6b7280,color:#000",
    NodeState.IGNORED: "fill:#f2f3f5,stroke:#6b7280,color:#6b7280,stroke-dasharray:2 4",
}
_MERMAID_SHAPE = {
    NodeState.STALE: ("{{", "}}"),
    NodeState.MAYBE: ("([", "])"),
    NodeState.FRESH: ("[", "]"),
    NodeState.IGNORED: ("[/", "/]"),
}


def _dot(text: str) -> str:
    """A quoted string without Graphviz escapes or HTML entities."""
    lines = [
        one_line(line).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for line in text.split("\n")
    ]
    return '"' + "\\n".join(lines) + '"'


def _dot_id(one: _Shown) -> str:
    name = one_line(one.node.name).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{name}"'


def _mermaid(text: str) -> str:
    """Text between quotes. Everything but letters, digits and a few other characters becomes a numeric entity, to escape all syntax."""
    # Mermaid breaks lines at "\n" even if the characters are entities, so a zero-width joiner separates them.
    safe = one_line(text).replace("\\n", "\\\u2060n")
    return "".join(char if char.isalnum() or char in " :-_@.,…" else f"#{ord(char)};" for char in safe)


_LARGE, _SMALL = 13, 11.5
_STYLE = """
svg { background: #fff; font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; }
.ground { fill: #fff; }
.title { font: 600 17px system-ui, sans-serif; }
.legend { font: 13px system-ui, sans-serif; }
text { fill: #1c2026; font-size: 13px; }
.more { fill: #4b5361; font-size: 11.5px; }
.wire { fill: none; stroke: #8b93a1; stroke-width: 1.5; }
.hit { fill: none; stroke: transparent; stroke-width: 9; }
.dot, .arrow { fill: #8b93a1; }
.net:hover .wire { stroke: #1c2026; stroke-width: 2.5; }
.net:hover .dot, .net:hover .arrow { fill: #1c2026; }
.box { stroke-width: 1.2; }
.mark { fill: none; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
.stale .box { fill: #fff0e3; stroke: #c24e00; stroke-width: 3; }
.stale .mark { fill: #c24e00; stroke: #c24e00; }
.maybe .box { fill: #eaf4fb; stroke: #0069ab; stroke-width: 1.8; stroke-dasharray: 6 4; }
.maybe .mark { stroke: #0069ab; stroke-width: 3.6; }
.fresh .box { fill: #f7f8f9; stroke: #9aa1ad; }
.fresh .mark { stroke: #5b6472; }
.ignored .box { fill: #f7f8f9; stroke: #9aa1ad; stroke-dasharray: 2 4; }
.ignored .mark { stroke: #9aa1ad; }
@media (prefers-color-scheme: dark) {
svg { background: #15181d; }
.ground { fill: #15181d; }
text { fill: #e8eaee; }
.more { fill: #b4bbc7; }
.wire { stroke: #717a89; }
.dot, .arrow { fill: #717a89; }
.net:hover .wire { stroke: #fff; }
.net:hover .dot, .net:hover .arrow { fill: #fff; }
.stale .box { fill: #3a2413; stroke: #ff9447; }
.stale .mark { fill: #ff9447; stroke: #ff9447; }
.maybe .box { fill: #14293a; stroke: #5bb5f0; }
.maybe .mark { stroke: #5bb5f0; }
.fresh .box { fill: #1f242b; stroke: #5d6675; }
.fresh .mark { stroke: #98a1af; }
.ignored .box { fill: #1f242b; stroke: #5d6675; stroke-dasharray: 2 4; }
.ignored .mark { stroke: #5d6675; }
}
"""
_MARK = {
    NodeState.STALE: "M-5 -5.5L5.5 0L-5 5.5z",
    NodeState.MAYBE: "M-5 0h.01M0 0h.01M5 0h.01",
    NodeState.FRESH: "M-5 0L-1.5 4L5 -4.5",
    NodeState.IGNORED: "M-4.5 -4.5L4.5 4.5M-4.5 4.5L4.5 -4.5",
}
"""A triangle as on a play button, three dots, a tick, a cross."""
_MARGIN, _TOP = 24, 84


def _text_width(text: str, size: float) -> int:
    return round(cells(text) * size * 0.61)


def _svg(shown: Sequence[_Shown], drawing: Drawing, title: str, count: Counter[NodeState]) -> str:
    states = [state for state in NodeState if count[state] or state is not NodeState.IGNORED]
    legend = [f"{count[state]} {state}" for state in states]
    width = max(drawing.width, 10 * cells(title), 24 * len(legend) + 9 * sum(map(len, legend))) + 2 * _MARGIN
    height = _TOP + drawing.height + _MARGIN
    number = {one.node.name: at for at, one in enumerate(shown)}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{width}" height="{height}"/>',
        f'<text class="title" x="{_MARGIN}" y="36">{escape(one_line(title))}</text>',
    ]
    x = _MARGIN + 6
    for state, text in zip(states, legend, strict=True):
        lines.append(
            f'<g class="{state.name.lower()}"><path class="mark" transform="translate({x} 58)" d="{_MARK[state]}"/>'
            f'<text class="legend" x="{x + 14}" y="62.5">{text}</text></g>'
        )
        x += 40 + 8 * len(text)
    lines.append(f'<g transform="translate({_MARGIN} {_TOP})">')
    for net in drawing.nets:
        path = wire_path(net)
        ends = [" ".join(str(number[name]) for name in names) for names in (net.sources, net.targets)]
        lines += [
            f'<g class="net" data-from="{ends[0]}" data-to="{ends[1]}">',
            f"<title>{escape(_told(net.sources))} → {escape(_told(net.targets))}</title>",
            f'<path class="hit" d="{path}"/><path class="wire" d="{path}"/><path class="arrow" d="{arrow_path(net)}"/>',
            *(f'<circle class="dot" cx="{x}" cy="{y}" r="3"/>' for x, y in dots(net)),
            "</g>",
        ]
    for at, one in enumerate(shown):
        place = drawing.places[one.node.name]
        top = place.y - place.height // 2
        lines += [
            f'<g class="node {one.node.state.name.lower()}" data-node="{at}" transform="translate({place.x} {top})">',
            f"<title>{escape(one.hint)}</title>",
            f'<rect class="box" width="{place.width}" height="{place.height}" rx="6"/>',
            f'<path class="mark" transform="translate(19 17)" d="{_MARK[one.node.state]}"/>',
        ]
        lines += [
            f'<text{_CLASS[bool(line_at)]} x="34" y="{21 + 17 * line_at}">{escape(line)}</text>'
            for line_at, line in enumerate(one.lines)
        ]
        lines.append("</g>")
    return "\n".join([*lines, "</g>", "</svg>", ""])


_CLASS = ("", ' class="more"')


def _told(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN_NAMES]) + (
        f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    )
