"""Where a run spent its time: the critical path, the trace, and the page."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coconut_tasks.records.timeline import Span, StepTime, Timeline, as_json, from_json
from coconut_tasks.reports.timeline import chrome_trace, critical_path, html, work_seconds
from coconut_tasks.reports.timings import ticks

ODD = """kernel:</div>"<script>&'ü\\"""


def step(
    name: str, start: float, end: float, *needs: str, spans: tuple[Span, ...] = (), result: str = "built"
) -> StepTime:
    return StepTime(name, name.split(":")[0], result, start, end, needs, spans)


def run(*steps: StepTime, seconds: float | None = None, **changes: Any) -> Timeline:
    took = max([0.0, *(one.end for one in steps)]) if seconds is None else seconds
    return replace(Timeline("doit RECIPE=a.json", 1_795_514_746.5, took, 2, 3, steps), **changes)


COLD = run(
    step("version:git", 0.25, 0.3),
    step(
        "kernel:svsm",
        0.5,
        6.5,
        "version:git",
        spans=(
            Span("cargo's target folder", True, 0.5, 2),
            Span("cargo build", False, 2, 6),
            Span("objcopy", False, 6, 6.25),
        ),
    ),
    step("tool:igvmbuilder", 0.5, 2, "version:git", spans=(Span("cargo build -p igvmbuilder", False, 0.5, 2),)),
    step("igvm:qemu", 6.5, 7, "kernel:svsm", "tool:igvmbuilder", "fs:image", result="failed"),
    seconds=8,
)

# Fractions with exact sums as floats, so that the order does not matter.
moments = st.integers(0, 800).map(lambda eighths: eighths / 8)


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """A random run: steps that may overlap, with spans and with needs among earlier steps."""
    steps: list[StepTime] = []
    for at in range(draw(st.integers(0, 8))):
        needs = draw(st.lists(st.sampled_from([one.name for one in steps]), unique=True)) if steps else []
        start = draw(moments)
        end = start + draw(moments)
        edges = sorted(draw(st.lists(st.floats(start, end), max_size=6)))
        spans = tuple(Span(f"c{i}", draw(st.booleans()), a, b) for i, (a, b) in enumerate(pairwise(edges)))
        result = draw(st.sampled_from(["built", "placed", "cached", "failed"]))
        steps.append(StepTime(f"module:{at}", "module", result, start, end, (*needs, "version:git"), spans))
    return run(*sorted(steps, key=lambda one: one.start))


def chains(timeline: Timeline) -> Iterator[tuple[StepTime, ...]]:
    """All chains of steps that ran, each needing the previous one."""
    names = {one.name: one for one in timeline.steps}

    def ending_at(last: StepTime) -> Iterator[tuple[StepTime, ...]]:
        yield (last,)
        for need in last.needs:
            if need in names:
                yield from ((*chain, last) for chain in ending_at(names[need]))

    for one in timeline.steps:
        yield from ending_at(one)


def took(steps: tuple[StepTime, ...]) -> float:
    return sum(work_seconds(one) for one in steps)


def events(timeline: Timeline, *categories: str) -> list[dict[str, Any]]:
    return [one for one in chrome_trace(timeline)["traceEvents"] if one["ph"] == "X" and one["cat"] in categories]


def of_steps(timeline: Timeline) -> list[dict[str, Any]]:
    return [one for one in chrome_trace(timeline)["traceEvents"] if one["ph"] == "X" and "result" in one["args"]]


def page(timeline: Timeline) -> ElementTree.Element:
    text = html(timeline)
    text.encode()
    assert text.startswith("<!DOCTYPE html>\n<html")
    return ElementTree.fromstring(text)


def by_class(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [one for one in root.iter() if name in (one.get("class") or "").split()]


def words(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


# JSON


@given(timelines())
def test_a_timeline_comes_back_from_json_as_it_was(timeline: Timeline) -> None:
    assert from_json(json.loads(json.dumps(as_json(timeline)))) == timeline
    assert from_json(as_json(timeline)) == timeline


@pytest.mark.parametrize("value", [None, [], "x", 1, {}, {"format": 1}, {"format": 1, "steps": []}])
def test_what_is_no_timeline_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        from_json(value)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"format": None},
        {"command": 1},
        {"began": "now"},
        {"began": True},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"seconds": 10**400},
        {"jobs": 1.5},
        {"jobs": True},
        {"up_to_date": -1},
        {"steps": {}},
        {"steps": ["kernel:svsm"]},
        {"steps": None},
    ],
)
def test_a_field_of_another_kind_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        from_json({**as_json(COLD), **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None},
        {"stage": 1},
        {"result": "lost"},
        {"result": []},
        {"start": "0"},
        {"end": None},
        {"needs": "version:git"},
        {"needs": [1]},
        {"needs": ["kernel:svsm"]},
        {"spans": [{}]},
        {"spans": [1]},
        {"spans": [{"what": "x", "waiting": 1, "start": 0, "end": 1}]},
        {"name": "version:git"},
    ],
)
def test_a_step_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    value = as_json(COLD)
    steps = [one if one["name"] != "kernel:svsm" else {**one, **changes} for one in value["steps"]]
    with pytest.raises(ValueError):
        from_json({**value, "steps": steps})


def test_steps_that_need_each_other_are_refused() -> None:
    with pytest.raises(ValueError):
        from_json(as_json(run(step("a:a", 0, 1, "b:b"), step("b:b", 1, 2, "a:a"))))


# The critical path


def test_the_critical_path_is_the_chain_that_took_longest() -> None:
    assert critical_path(COLD) == ("version:git", "kernel:svsm", "igvm:qemu")


def test_a_run_of_no_steps_has_no_critical_path() -> None:
    assert critical_path(run()) == ()


def test_one_long_step_can_be_the_whole_critical_path() -> None:
    assert critical_path(run(step("a:a", 0, 1), step("b:b", 1, 2, "a:a"), step("c:c", 0, 9))) == ("c:c",)


def test_a_need_that_did_not_run_is_no_part_of_the_critical_path() -> None:
    assert critical_path(run(step("igvm:q", 0, 1, "fs:image", "module:m"))) == ("igvm:q",)


@given(timelines())
def test_no_chain_takes_longer_than_the_critical_path(timeline: Timeline) -> None:
    names = {one.name: one for one in timeline.steps}
    path = tuple(names[name] for name in critical_path(timeline))
    assert all(before.name in after.needs for before, after in pairwise(path))
    assert took(path) == max(map(took, chains(timeline)), default=0)


def test_a_long_chain_is_no_matter() -> None:
    steps = [step(f"m:{at}", at, at + 1, *([f"m:{at - 1}"] if at else [])) for at in range(3000)]
    assert len(critical_path(run(*steps))) == 3000


# The trace


@given(timelines())
def test_steps_that_overlap_are_in_different_lanes(timeline: Timeline) -> None:
    found = of_steps(timeline)
    assert sorted(one["name"] for one in found) == sorted(one.name for one in timeline.steps)
    lanes = defaultdict(list)
    for one in found:
        lanes[one["tid"]].append((one["ts"], one["ts"] + one["dur"]))
    for times in lanes.values():
        times.sort()
        assert all(before[1] <= after[0] for before, after in pairwise(times))


@given(timelines())
def test_no_more_lanes_than_steps_at_once(timeline: Timeline) -> None:
    # A step of length 0 counts at its moment.
    most = max(
        (sum(b.start <= a.start < max(b.end, b.start + 0.01) for b in timeline.steps) for a in timeline.steps),
        default=0,
    )
    assert len({one["tid"] for one in of_steps(timeline)}) <= most


@given(timelines())
def test_commands_are_within_their_step_and_one_after_the_other(timeline: Timeline) -> None:
    outer = {one["name"]: one for one in of_steps(timeline)}
    inner = defaultdict(list)
    for one in events(timeline, "command", "waiting"):
        inner[one["args"]["step"]].append(one)
    for name, parts in inner.items():
        whole = outer[name]
        assert {one["tid"] for one in parts} == {whole["tid"]}
        assert all(whole["ts"] <= one["ts"] and one["ts"] + one["dur"] <= whole["ts"] + whole["dur"] for one in parts)
        assert all(a["ts"] + a["dur"] <= b["ts"] for a, b in pairwise(parts))


def test_spans_that_a_clock_put_astray_are_brought_into_their_step() -> None:
    spans = (Span("a", False, -1, 3), Span("b", False, 2, 4), Span("c", True, 4, 99))
    found = events(run(step("x:x", 1, 5, spans=spans)), "command", "waiting")
    assert [(one["ts"], one["dur"]) for one in found] == [
        (1_000_000, 2_000_000),
        (3_000_000, 1_000_000),
        (4_000_000, 1_000_000),
    ]


def test_an_event_has_what_the_format_asks_for() -> None:
    (found,) = [one for one in of_steps(COLD) if one["name"] == "kernel:svsm"]
    assert found["ts"] == 500_000 and found["dur"] == 6_000_000 and found["pid"] == 1 and found["cat"] == "kernel"
    assert found["args"] == {"result": "built", "needs": ["version:git"], "waiting": 1.5, "critical path": True}
    assert [one["name"] for one in of_steps(COLD) if one["args"]["result"] == "failed"] == ["igvm:qemu"]


def test_waiting_is_marked() -> None:
    (found,) = events(COLD, "waiting")
    assert found["name"] == "waiting: cargo's target folder" and found["args"]["waiting"] is True


def test_each_lane_has_a_name() -> None:
    trace = chrome_trace(COLD)["traceEvents"]
    names = {one["tid"]: one["args"]["name"] for one in trace if one["name"] == "thread_name"}
    assert names == {1: "job 1", 2: "job 2"} and {one["tid"] for one in of_steps(COLD)} == {1, 2}


def test_the_trace_counts_the_steps_at_once() -> None:
    counts = [(one["ts"], one["args"]) for one in chrome_trace(COLD)["traceEvents"] if one["ph"] == "C"]
    assert (500_000, {"at work": 1, "waiting": 1}) in counts
    assert counts[-1] == (7_000_000, {"at work": 0, "waiting": 0})


@given(timelines())
def test_a_trace_is_json_and_ends_with_nothing_running(timeline: Timeline) -> None:
    trace = chrome_trace(timeline)
    assert json.loads(json.dumps(trace, allow_nan=False)) == trace
    counts = [one["args"] for one in trace["traceEvents"] if one["ph"] == "C"]
    assert all(value >= 0 for one in counts for value in one.values())
    assert not counts or counts[-1] == {"at work": 0, "waiting": 0}


# The page


def test_the_header_tells_command_time_and_counts() -> None:
    root = page(COLD)
    assert words(next(root.iter("h1"))) == "doit RECIPE=a.json"
    facts = dict(zip(map(words, root.iter("dt")), map(words, root.iter("dd")), strict=True))
    assert facts == {
        "total": "8.00 s",
        "steps": "3 built, 1 failed, 3 up to date",
        "jobs": "2",
        "critical path": "5.05 s (63%)",
        "began": "2026-11-24 10:05:46 UTC",
    }


def test_each_step_has_a_row_with_its_commands_and_waiting() -> None:
    rows = by_class(page(COLD), "step")
    assert [words(by_class(row, "name")[0]) for row in rows] == [
        "◆ version:git",
        "◆ kernel:svsm",
        "tool:igvmbuilder",
        "◆ igvm:qemu",
    ]
    assert [part.get("class") for part in by_class(rows[1], "bar")[0]] == ["waiting", "command", "command"]
    assert by_class(rows[1], "bar")[0].get("style") == "left:6.250%;width:75.000%"
    assert by_class(rows[1], "bar")[0][0].get("style") == "left:0.000%;width:25.000%"
    assert words(by_class(rows[3], "time")[0]) == "0.50 s failed"


def test_the_critical_path_is_marked() -> None:
    root = page(COLD)
    marked = [row for row in by_class(root, "step") if "critical" in (row.get("class") or "")]
    assert len(marked) == 3
    assert [words(one) for one in by_class(root, "path")[0]] == [
        "version:git 0.05 s",
        "kernel:svsm 4.50 s",
        "igvm:qemu 0.50 s",
    ]


def test_the_table_is_sorted_by_duration() -> None:
    (body,) = page(COLD).iter("tbody")
    assert [[words(cell) for cell in row] for row in body] == [
        ["kernel:svsm", "4.50", "56.2", "1.50", "2", "built", "◆ yes"],
        ["tool:igvmbuilder", "1.50", "18.8", "0.00", "1", "built", ""],
        ["igvm:qemu", "0.50", "6.2", "0.00", "0", "failed", "◆ yes"],
        ["version:git", "0.05", "0.6", "0.00", "0", "built", "◆ yes"],
    ]


def test_the_strip_shows_how_many_steps_ran_at_once() -> None:
    root = page(COLD)
    assert "at most 2," in words(by_class(root, "strip")[0])
    (course,) = by_class(root, "work")
    assert course.get("d") == (
        "M0 100H31.25V50.00H37.50V100.00H62.50V50.00H250.00V50.00H812.50V50.00H875.00V100.00V100z"
    )


def test_odd_names_and_commands_are_escaped() -> None:
    timeline = run(step(ODD, 0, 1, spans=(Span(ODD, False, 0, 1), Span(ODD + "\x00\udcff", True, 1, 1))), command=ODD)
    root = page(timeline)
    assert words(next(root.iter("h1"))) == ODD
    assert [words(one) for one in root.iter("th") if one.get("scope") == "row"] == [ODD]
    assert len(list(root.iter("script"))) == 1
    assert by_class(root, "command")[0].get("title") == f"{ODD}\n1.00 s"


def test_the_page_needs_nothing_else() -> None:
    text = html(COLD)
    assert not re.search(r"https?:|\ssrc=|<link|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text


def test_a_run_of_no_steps_says_so() -> None:
    assert "No step had to run." in words(page(run(seconds=0)))
    assert not list(page(run(seconds=0)).iter("table"))


@pytest.mark.parametrize("seconds", [0, 1e-9, 0.004, 86_400 * 3])
def test_a_run_may_be_of_any_length(seconds: float) -> None:
    root = page(run(step("a:a", 0, seconds, spans=(Span("x", False, 0, seconds),))))
    assert len(by_class(root, "step")) == 1
    assert 1 <= len(list(by_class(root, "axis")[0].iter("span"))) <= 13


def test_three_hundred_steps_are_three_hundred_rows() -> None:
    steps = [step(f"module:{at}", at / 10, at / 10 + 3) for at in range(300)]
    root = page(run(*steps))
    assert len(by_class(root, "step")) == len(list(next(root.iter("tbody")))) == 300


@given(timelines())
@example(run(step("a:a", 0, 0)))
def test_nothing_is_drawn_outside_of_its_axis(timeline: Timeline) -> None:
    for element in page(timeline).iter():
        style = element.get("style") or ""
        numbers = {key: float(value) for key, value in re.findall(r"(left|width|right):([\d.]+)%", style)}
        assert numbers.get("left", 0) + numbers.get("width", 0) <= 100.01
        assert numbers.get("right", 0) <= 100


@given(st.text(), st.text())
def test_any_text_makes_a_well_formed_page(name: str, what: str) -> None:
    page(run(step(f"x:{name}", 0, 1, spans=(Span(what, False, 0, 1),)), command=what))


@given(st.floats(1e-6, 1e6))
def test_an_axis_has_a_few_round_ticks(length: float) -> None:
    found = ticks(length)
    assert found[0] == 0 and 2 <= len(found) <= 11 and found[-1] <= length * 1.000001
    assert length - found[-1] <= found[1] * 1.000001
