"""Where a run spent its time, as a Chrome trace and as a self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import Any

from coconut_tasks.records.timeline import Span, StepTime, Timeline


def critical_path(timeline: Timeline) -> tuple[str, ...]:
    """The chain of steps, each needing the previous, with the most work in total. Waiting does not count, since it is another step's work.

    ``needs`` must also contain indirect needs through steps that did not run.
    """
    by_name = {step.name: step for step in timeline.steps}
    ran_before = {step.name: [need for need in step.needs if need in by_name] for step in timeline.steps}
    before: dict[str, str | None] = {}
    total: dict[str, float] = {}
    for name in TopologicalSorter(ran_before).static_order():
        last = max(ran_before[name], key=total.__getitem__, default=None)
        before[name] = last
        total[name] = work_seconds(by_name[name]) + (total[last] if last is not None else 0.0)
    path: list[str] = []
    at = max((step.name for step in timeline.steps), key=total.__getitem__, default=None)
    while at is not None:
        path.append(at)
        at = before[at]
    return tuple(reversed(path))


def chrome_trace(timeline: Timeline) -> dict[str, Any]:
    """The run in the Trace Event Format, for ui.perfetto.dev and chrome://tracing. Steps that overlap are in different lanes."""
    lanes = _lanes(timeline.steps)
    critical = frozenset(critical_path(timeline))
    events: list[dict[str, Any]] = [_meta("process_name", 0, name=timeline.command)]
    for lane in sorted(set(lanes.values())):
        events += [_meta("thread_name", lane, name=f"job {lane}"), _meta("thread_sort_index", lane, sort_index=lane)]
    for step in timeline.steps:
        args = {
            "result": step.result,
            "needs": list(step.needs),
            "waiting": round(_waiting(step), 6),
            "critical path": step.name in critical,
        }
        events.append(_event(step.name, step.stage, step.start, step.end, lanes[step.name], args))
        for span in _in_turn(step):
            name, category = (f"waiting: {span.what}", "waiting") if span.waiting else (span.what, "command")
            args = {"waiting": span.waiting, "step": step.name}
            events.append(_event(name, category, span.start, span.end, lanes[step.name], args))
    for second, at_work, waiting in _at_once(timeline.steps):
        events.append(
            {"name": "steps at once", "ph": "C", "ts": _micros(second), "pid": 1, "tid": 0}
            | {"args": {"at work": at_work, "waiting": waiting}}
        )
    other = {
        "command": timeline.command,
        "began": timeline.began,
        "jobs": timeline.jobs,
        "up to date": timeline.up_to_date,
    }
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": other}


def html(timeline: Timeline) -> str:
    """The run as a self-contained page, which also works without JavaScript."""
    from coconut_tasks.reports.timings import Bar, Part, page  # imported here, since a run only records times

    path = critical_path(timeline)
    critical = frozenset(path)
    bars = [
        Bar(
            step.name,
            step.result,
            step.start,
            step.end,
            tuple(Part(span.what, span.waiting, span.start, span.end) for span in _in_turn(step)),
            step.name in critical,
        )
        for step in sorted(timeline.steps, key=lambda step: step.start)
    ]
    return page(
        timeline.command,
        timeline.began,
        timeline.seconds,
        bars,
        path,
        jobs=timeline.jobs,
        up_to_date=timeline.up_to_date,
        at_once=_at_once(timeline.steps),
    )


def _seconds(step: StepTime | Span) -> float:
    return max(0.0, step.end - step.start)


def work_seconds(step: StepTime) -> float:
    """How long a step took, without the time that it waited."""
    return max(0.0, _seconds(step) - _waiting(step))


def _waiting(step: StepTime) -> float:
    return sum(_seconds(span) for span in _in_turn(step) if span.waiting)


def _in_turn(step: StepTime) -> list[Span]:
    """The step's spans, trimmed so that they are within the step and do not overlap, as both formats need."""
    spans, at = [], step.start
    for span in sorted(step.spans, key=lambda span: span.start):
        start = min(max(span.start, at), max(step.end, at))
        at = min(max(span.end, start), max(step.end, start))
        spans.append(replace(span, start=start, end=at))
    return spans


def _lanes(steps: Iterable[StepTime]) -> dict[str, int]:
    """A lane for each step, counted from 1: the first that is free when the step starts."""
    free_at: list[float] = []
    lanes = {}
    for step in sorted(steps, key=lambda step: step.start):
        lane = next((at for at, free in enumerate(free_at) if free <= step.start), len(free_at))
        free_at[lane : lane + 1] = [max(step.start, step.end)]
        lanes[step.name] = lane + 1
    return lanes


def _at_once(steps: Sequence[StepTime]) -> list[tuple[float, int, int]]:
    """How many steps are running and how many are waiting, from each moment on."""
    changes: dict[float, list[int]] = {}
    for step in steps:
        waits = [(span.start, span.end, -1, 1) for span in _in_turn(step) if span.waiting]
        for start, end, work, wait in [(step.start, step.end, 1, 0), *waits]:
            for second, sign in ((start, 1), (max(start, end), -1)):
                change = changes.setdefault(second, [0, 0])
                change[0] += sign * work
                change[1] += sign * wait
    at_work = waiting = 0
    course = []
    for second, (work, wait) in sorted(changes.items()):
        at_work, waiting = at_work + work, waiting + wait
        course.append((second, at_work, waiting))
    return course


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _event(name: str, category: str, start: float, end: float, lane: int, args: Mapping[str, Any]) -> dict[str, Any]:
    # Round the end, not the duration, so that events that touch still touch and none overlaps the next.
    times = {"ts": _micros(start), "dur": max(0, _micros(end) - _micros(start))}
    return {"name": name, "cat": category, "ph": "X", **times, "pid": 1, "tid": lane, "args": dict(args)}


def _meta(what: str, lane: int, **args: str | int) -> dict[str, Any]:
    return {"name": what, "ph": "M", "ts": 0, "pid": 1, "tid": lane, "args": args}
