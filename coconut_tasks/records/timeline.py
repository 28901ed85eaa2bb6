"""Where the time of a run went, and its JSON format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from graphlib import TopologicalSorter
from typing import Any

from coconut_tasks.dataclass import dataclass

FORMAT = 1
"""Version of the JSON; files of another version are not read."""
_RESULTS = ("built", "placed", "cached", "failed")


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a step's time, in seconds since the run started."""

    what: str
    """A command as one shell line, or what the step waited for."""
    waiting: bool
    """Whether the step was waiting, for cargo's target folder, which one step uses at a time."""
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class StepTime:
    """One step that ran, in seconds since the run started."""

    name: str
    stage: str
    result: str
    """``built``, ``placed`` (only copied to bin/ again), ``cached`` (taken from the cache) or ``failed``."""
    start: float
    end: float
    needs: tuple[str, ...] = ()
    """Names of the steps that had to be done first, whether or not they ran in this run."""
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """One run."""

    command: str
    """What the user typed."""
    began: float
    """Seconds since the epoch."""
    seconds: float
    """The whole run."""
    jobs: int
    """How many steps could run at once."""
    up_to_date: int
    """Steps that did not have to run."""
    steps: tuple[StepTime, ...]
    """In the order in which they started."""


def as_json(timeline: Timeline) -> dict[str, Any]:
    """The value as JSON; ``from_json`` reads it."""
    return {"format": FORMAT, **asdict(timeline)}


def from_json(value: object) -> Timeline:
    """The value from ``as_json``, also after it was written to a file.

    Raises:
        ValueError: it is not such a value, or has another version.
    """
    record = _record(value, "the timeline")
    if record.get("format") != FORMAT:
        raise ValueError(f"format {record.get('format')!r}, expected {FORMAT}")
    steps = tuple(_step(item) for item in _list(record, "steps"))
    if len({step.name for step in steps}) < len(steps):
        raise ValueError("two steps have the same name")
    TopologicalSorter({step.name: step.needs for step in steps}).prepare()  # its error about a circle is a ValueError
    return Timeline(
        _text(record, "command"),
        _number(record, "began"),
        _number(record, "seconds"),
        _count(record, "jobs"),
        _count(record, "up_to_date"),
        steps,
    )


def _step(value: object) -> StepTime:
    record = _record(value, "a step")
    if record.get("result") not in _RESULTS:
        raise ValueError(f"result {record.get('result')!r}, expected one of {', '.join(_RESULTS)}")
    needs = tuple(_list(record, "needs"))
    if not all(isinstance(need, str) for need in needs):
        raise ValueError("needs: not all are strings")
    return StepTime(
        _text(record, "name"),
        _text(record, "stage"),
        record["result"],
        _number(record, "start"),
        _number(record, "end"),
        needs,
        tuple(_span(item) for item in _list(record, "spans")),
    )


def _span(value: object) -> Span:
    record = _record(value, "a span")
    if not isinstance(record.get("waiting"), bool):
        raise ValueError("waiting: not a boolean")
    return Span(_text(record, "what"), record["waiting"], _number(record, "start"), _number(record, "end"))


def _record(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not an object")
    return value


def _list(record: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = record.get(name)
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name}: not a list")
    return value


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name}: not a string")
    return value


def _number(record: Mapping[str, Any], name: str) -> float:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}: not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name}: not a finite number")
    return number


def _count(record: Mapping[str, Any], name: str) -> int:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name}: not a count")
    return value
