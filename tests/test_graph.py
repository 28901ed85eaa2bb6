"""The picture of the task graph: it shows exactly the graph, with any names, and no line crosses a box."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coconut_tasks.reports import graph
from coconut_tasks.reports.edge_paths import wire_path
from coconut_tasks.reports.graph import GraphNode, NodeState, render_dot, render_mermaid, render_svg
from coconut_tasks.reports.graph_layout import Box, lay_out

SVG = "{http://www.w3.org/2000/svg}"
ODD = """kernel:a@b"v <&>'ü漢字' \\n `#;%%{x}]]>"""


def node(
    name: str, *needs: str, state: NodeState = NodeState.FRESH, reason: str = "", doc: str = "a step"
) -> GraphNode:
    return GraphNode(name, name.split(":")[0], doc, state, reason, needs)


def modules(count: int, stale: int = 0) -> list[GraphNode]:
    """A graph with this many modules, the first of them stale."""
    names = [f"module:m{at}" for at in range(count)]
    made = [
        node(
            name,
            "version:git",
            state=NodeState.STALE if at < stale else NodeState.FRESH,
            reason=f"m{at}.rs changed" * (at < stale),
        )
        for at, name in enumerate(names)
    ]
    return [node("version:git"), *made, node("tool:packit", "version:git"), node("fs:image", *names, "tool:packit")]


TYPICAL = [
    node("version:git"),
    node("kernel:svsm", "version:git", state=NodeState.STALE, reason="kernel/src/svsm.rs changed"),
    node("kernel:bldr", "version:git"),
    node("module:userinit", "version:git"),
    node("tool:packit", "version:git"),
    node("tool:igvmbuilder", "version:git"),
    node("tool:igvmmeasure", "version:git"),
    node("fs:image", "module:userinit", "tool:packit"),
    node("firmware:guest"),
    *(
        node(
            f"igvm:{name}",
            "kernel:svsm",
            "kernel:bldr",
            "fs:image",
            "firmware:guest",
            "tool:igvmbuilder",
            state=NodeState.MAYBE,
        )
        for name in ("qemu", "hyper-v")
    ),
    *(
        node(f"measure:{name}", f"igvm:{name}", "tool:igvmmeasure", state=NodeState.MAYBE)
        for name in ("qemu", "hyper-v")
    ),
]


def boxes(svg: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """The boxes by the first line of their text."""
    found = [group for group in svg.iter(f"{SVG}g") if (group.get("class") or "").startswith("node ")]
    return {group.findtext(f"{SVG}text") or "": group for group in found}


def texts(group: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in group.iter(f"{SVG}text")]


def edges(svg: ElementTree.Element) -> set[tuple[str, str]]:
    name = {group.get("data-node"): text for text, group in boxes(svg).items()}
    return {
        (name[source], name[target])
        for group in svg.iter(f"{SVG}g")
        if group.get("class") == "net"
        for source in (group.get("data-from") or "").split()
        for target in (group.get("data-to") or "").split()
    }


def dot_edges(text: str) -> set[tuple[str, ...]]:
    return set(re.findall(r'^  "(.*)" -> "(.*)";$', text, re.MULTILINE))


def mermaid_edges(text: str) -> set[tuple[str, str]]:
    name = dict(re.findall(r'^ +(n\d+)\W+"(.*?)<br/>', text, re.MULTILINE))
    return {(name[a], name[b]) for a, b in re.findall(r"^  (n\d+) --> (n\d+)$", text, re.MULTILINE)}


def drawn(nodes: list[GraphNode], group: bool | None = None, title: str = "t") -> ElementTree.Element:
    return ElementTree.fromstring(render_svg(nodes, title=title, group=group))


def reachable(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The transitive closure."""
    closed = set(pairs)
    while True:
        more = {(a, d) for a, b in closed for c, d in closed if b == c} - closed
        if not more:
            return closed
        closed |= more


@st.composite
def graphs(draw: st.DrawFn) -> list[GraphNode]:
    """Random steps, each with needs among those before it."""
    stages = st.sampled_from(["version", "tool", "kernel", "module", "fs", "firmware", "igvm", "measure", "new"])
    nodes: list[GraphNode] = []
    for at in range(draw(st.integers(0, 12))):
        needs = draw(st.lists(st.sampled_from([one.name for one in nodes]), unique=True)) if nodes else []
        nodes.append(node(f"{draw(stages)}:{at}", *needs, state=draw(st.sampled_from(NodeState))))
    return draw(st.permutations(nodes))


def test_every_step_is_a_box_with_its_state_in_words_and_as_a_class() -> None:
    found = boxes(drawn(TYPICAL))
    assert {name: texts(box)[1] for name, box in found.items()} == {one.name: one.state for one in TYPICAL}
    assert {name: box.get("class") for name, box in found.items()} == {
        one.name: f"node {one.state.name.lower()}" for one in TYPICAL
    }


def test_states_differ_in_shape_not_only_in_colour() -> None:
    marks = {name: box.find(f"{SVG}path[@class='mark']") for name, box in boxes(drawn(TYPICAL)).items()}
    shapes = {mark.get("d") for mark in marks.values() if mark is not None}
    assert len(shapes) == len({node.state for node in TYPICAL}) == 3
    assert len(set(graph._MARK.values())) == len(NodeState)


def test_the_legend_counts_the_states() -> None:
    legend = [text.text for text in drawn(TYPICAL).iter(f"{SVG}text") if text.get("class") == "legend"]
    assert legend == ["1 stale", "4 may run", "8 up to date"]


def test_pointing_at_a_box_tells_what_it_is_and_why_it_is_stale() -> None:
    hint = boxes(drawn(TYPICAL))["kernel:svsm"].findtext(f"{SVG}title")
    assert hint == "kernel:svsm\na step\nstale: kernel/src/svsm.rs changed"


def test_all_edges_are_there_in_all_three() -> None:
    expected = {(need, one.name) for one in TYPICAL for need in one.needs}
    assert edges(drawn(TYPICAL)) == expected
    assert dot_edges(render_dot(TYPICAL)) == expected
    assert mermaid_edges(render_mermaid(TYPICAL)) == expected


def test_many_edges_between_the_same_steps_are_one_net() -> None:
    nets = [group for group in drawn(TYPICAL).iter(f"{SVG}g") if group.get("class") == "net"]
    assert (
        len(nets) == 6
    )  # from version:git, into the image, into both IGVM files, from igvmmeasure, from each IGVM file


@given(graphs())
def test_what_other_edges_imply_is_left_out_and_nothing_else(nodes: list[GraphNode]) -> None:
    asked = {(need, one.name) for one in nodes for need in one.needs}
    shown = edges(drawn(nodes, group=False))
    assert reachable(shown) == reachable(asked)
    assert shown <= asked
    assert not any(edge in reachable(shown - {edge}) for edge in shown)
    assert dot_edges(render_dot(nodes, group=False)) == mermaid_edges(render_mermaid(nodes, group=False)) == shown


@given(graphs())
def test_grouping_shows_no_path_that_is_not_there(nodes: list[GraphNode]) -> None:
    whole = drawn(nodes, group=True)
    alone = {one.name for one in nodes} & set(boxes(whole))
    asked = reachable({(need, one.name) for one in nodes for need in one.needs})
    assert {edge for edge in reachable(edges(whole)) if alone.issuperset(edge)} == {
        edge for edge in asked if alone.issuperset(edge)
    }


@pytest.mark.parametrize(("count", "grouped"), [(1, False), (8, False), (9, True), (60, True)])
def test_many_modules_are_one_box(count: int, grouped: bool) -> None:
    nodes = modules(count)
    assert (f"{count} modules" in boxes(drawn(nodes))) == grouped
    for text in (render_dot(nodes), render_mermaid(nodes)):
        assert (f'"{count} modules' in text) == grouped
        assert ("module:m0" in render_mermaid(nodes)) != grouped


def test_the_caller_can_have_modules_grouped_or_not() -> None:
    assert "3 modules" in boxes(drawn(modules(3), group=True))
    assert "module:m59" in boxes(drawn(modules(60), group=False))
    assert "3 modules" in render_dot(modules(3), group=True)
    assert "module:m59" in render_mermaid(modules(60), group=False)


def test_a_group_says_how_many_are_stale_and_names_them() -> None:
    group = boxes(drawn(modules(40, stale=3)))["40 modules"]
    assert texts(group) == ["40 modules", "3 stale, 37 up to date", "m0", "m1", "m2"]
    assert group.get("class") == "node stale"
    assert "module:m1: stale: m1.rs changed" in (group.findtext(f"{SVG}title") or "")


def test_a_group_names_only_some_of_many() -> None:
    group = boxes(drawn(modules(40, stale=30)))["40 modules"]
    assert texts(group)[-2:] == ["m5", "… and 24 more"]
    assert (group.findtext(f"{SVG}title") or "").endswith("… and 10 more")


def test_a_group_has_the_edges_of_its_modules() -> None:
    expected = {("version:git", "40 modules"), ("40 modules", "fs:image")}
    assert {edge for edge in edges(drawn(modules(40))) if "40 modules" in edge} == expected


def test_modules_of_different_images_are_different_groups() -> None:
    names = [[f"module:{image}{at}" for at in range(10)] for image in "ab"]
    nodes = [node(name) for some in names for name in some]
    nodes += [node(f"fs:image@{image}", *some) for image, some in zip("ab", names, strict=True)]
    svg = drawn(nodes)
    assert len([text for text in svg.iter(f"{SVG}text") if text.text == "10 modules"]) == 2
    nets = [(one.get("data-from"), one.get("data-to")) for one in svg.iter(f"{SVG}g") if one.get("class") == "net"]
    assert len(nets) == len(set(nets)) == 2


def test_odd_names_are_shown_as_they_are_in_the_svg() -> None:
    nodes = [node("version:git"), node(ODD, "version:git", state=NodeState.STALE, reason="<b>", doc='"&"')]
    found = boxes(drawn(nodes, title=ODD))
    assert ODD in found
    assert found[ODD].findtext(f"{SVG}title") == f'{ODD}\n"&"\nstale: <b>'
    assert drawn(nodes, title=ODD).findtext(f"{SVG}title") == ODD


def test_odd_names_stay_within_their_quotes_in_dot() -> None:
    text = render_dot([node("version:git"), node(ODD, "version:git")])
    name = ODD.replace("\\", "\\\\").replace('"', '\\"')
    assert f'"version:git" -> "{name}";' in text
    assert f'label="{name.replace("&", "&amp;")}\\nup to date"' in text
    quoted = re.sub(r'"(\\.|[^"\\])*"', "", text, flags=re.DOTALL)
    assert "kernel:" not in quoted and '"' not in quoted


def test_odd_names_have_no_syntax_in_mermaid() -> None:
    text = render_mermaid([node("version:git"), node(ODD, "version:git")])
    (label,) = re.findall(r'n1\["(.*)"\]', text)
    assert not set(label.replace("<br/>", "")) & set("\"<>&`{}[]()%'\\")
    assert re.sub(r"#(\d+);", lambda code: chr(int(code[1])), label) == f"{ODD}<br/>up to date".replace(
        "\\n", "\\\u2060n"
    )


@given(st.text(), st.text(), st.text())
def test_any_text_makes_valid_xml(name: str, reason: str, title: str) -> None:
    nodes = [GraphNode(f"kernel:{name}", "kernel", reason, NodeState.STALE, reason)]
    assert len(boxes(drawn(nodes, title=title))) == 1
    render_svg(nodes, title=title).encode()
    assert render_dot(nodes).count("\n") == render_dot([node("kernel:svsm", state=NodeState.STALE)]).count("\n")
    assert render_mermaid(nodes).count("\n") == render_mermaid([node("kernel:svsm", state=NodeState.STALE)]).count("\n")


def test_bytes_that_are_no_text_do_not_stop_the_picture() -> None:
    nodes = [node("kernel:\udcff\x00")]
    assert "kernel:\ufffd\ufffd" in boxes(ElementTree.fromstring(render_svg(nodes, title="\udcff").encode()))
    render_dot(nodes).encode()
    render_mermaid(nodes).encode()


def test_a_graph_without_steps_is_a_picture_too() -> None:
    assert not boxes(drawn([]))
    assert render_dot([]).startswith("digraph") and render_mermaid([]).startswith("flowchart")


def test_the_svg_needs_nothing_else_and_knows_dark_ground() -> None:
    text = render_svg(TYPICAL, title="t")
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"url\(|href|<script|@import|<image", text)
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]


def test_stages_are_columns_from_left_to_right() -> None:
    at = {}
    for name, box in boxes(drawn(TYPICAL)).items():
        (x,) = re.findall(r"translate\((\d+) ", box.get("transform") or "")
        at[name.split(":")[0]] = int(x)
    assert (
        at["version"]
        < at["kernel"]
        == at["module"]
        == at["tool"]
        < at["fs"]
        == at["firmware"]
        < at["igvm"]
        < at["measure"]
    )


def laid_out(nodes: list[GraphNode], rank: dict[str, int]) -> list[Box]:
    order = sorted(nodes, key=lambda one: int(one.name.split(":")[1]))
    return [Box(one.name, rank.get(one.stage, 1), 120 + 7 * at, 48, one.needs) for at, one in enumerate(order)]


@given(graphs())
def test_boxes_do_not_overlap_and_no_line_runs_through_one(nodes: list[GraphNode]) -> None:
    found = lay_out(laid_out(nodes, {"version": 0, "fs": 2, "igvm": 3, "measure": 4}))
    columns = defaultdict(list)
    for place in found.places.values():
        columns[place.x].append(place)
        assert place.y - place.height // 2 >= 0 and place.y + place.height // 2 <= found.height
        assert place.x + place.width <= found.width
    for column in columns.values():
        column.sort(key=lambda place: place.y)
        assert all(a.y + a.height // 2 < b.y - b.height // 2 for a, b in pairwise(column))
    for net in found.nets:
        for left, right, y in net.lanes:
            assert not any(abs(place.y - y) <= place.height // 2 for place in columns[left] if place.x < right)
        for one in net.crossings:
            between = [
                place for place in found.places.values() if place.x < one.right and place.x + place.width > one.left
            ]
            assert not between
            assert one.left < one.trunk < one.right


@given(graphs())
def test_each_net_is_one_line_that_ends_at_its_boxes(nodes: list[GraphNode]) -> None:
    found = lay_out(laid_out(nodes, {"version": 0, "fs": 2, "igvm": 3, "measure": 4}))
    for net in found.nets:
        assert wire_path(net).startswith("M")
        arrows = sum(len(one.arrows) for one in net.crossings)
        assert arrows == len(net.targets)
        for name in net.targets:
            place = found.places[name]
            heights = [y for one in net.crossings if one.right == place.x for y in one.arrows]
            assert any(abs(y - place.y) < place.height // 2 for y in heights)
        for name in net.sources:
            place = found.places[name]
            assert any(one.left == place.x + place.width and place.y in one.sources for one in net.crossings)
        crossings = sorted(net.crossings, key=lambda one: one.left)
        lanes = sorted(net.lanes)
        assert len(lanes) == len(crossings) - 1
        for (before, after), (left, right, y) in zip(pairwise(crossings), lanes, strict=True):
            assert (before.right, after.left) == (left, right) and y in before.targets and y in after.sources


@given(graphs())
def test_upright_lines_never_lie_on_one_another(nodes: list[GraphNode]) -> None:
    found = lay_out(laid_out(nodes, {"version": 0, "fs": 2, "igvm": 3, "measure": 4}))
    trunks = [one for net in found.nets for one in net.crossings if len({*one.sources, *one.targets}) > 1]
    assert len({one.trunk for one in trunks}) == len(trunks)
