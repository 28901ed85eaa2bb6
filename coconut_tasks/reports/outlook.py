"""The JSON of ``why``, ``list`` and ``info``: the steps before a build."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from coconut_tasks.dataclass import dataclass
from coconut_tasks.freshness.forecast import Fate, Forecast
from coconut_tasks.steps.command import Command
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.run_state import FromCache

FATES = {
    Fate.RUNS: "runs",
    Fate.CACHED: "cached",
    Fate.PLACES: "placed",
    Fate.MAYBE: "may-run",
    Fate.RESTS: "up-to-date",
    Fate.IGNORED: "ignored",
}
"""The words in JSON, which stay the same when the text for people changes."""


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What is known about a step in addition to the plan; paths are absolute."""

    step: Step
    inputs: tuple[str, ...]
    """All files that it reads."""
    needs: tuple[str, ...]
    """Names of the steps that make its inputs or must be done first."""
    log: str | None
    """The log of its last run; None if there is none."""
    forecast: Forecast | None = None
    """None if it was not requested."""
    cached: FromCache | None = None
    """Where its outputs are from if its last run took them from a cache."""


def fate_json(found: Forecast) -> dict[str, Any]:
    """What a build would do with a step, and why; ``because_of`` are the steps that will or may run and whose files it reads."""
    return {"fate": FATES[found.fate], "reasons": list(found.reasons), "because_of": list(found.because)}


def command_json(command: Command) -> dict[str, Any]:
    """A process: its arguments, additions to its environment, and both as one shell line."""
    return {"argv": list(command.argv), "env": dict(command.env), "line": str(command)}


def why_json(head: Mapping[str, Any], forecasts: Iterable[Forecast]) -> dict[str, Any]:
    """Each step, and why it would run."""
    return {**head, "steps": [{"name": found.step.name, **fate_json(found)} for found in forecasts]}


def list_json(head: Mapping[str, Any], steps: Iterable[Step], forecasts: Mapping[str, Forecast]) -> dict[str, Any]:
    """Each step, with ``fate`` if there is a forecast."""
    return {
        **head,
        "steps": [
            {
                "name": step.name,
                "stage": step.stage,
                "doc": step.doc,
                **({"fate": FATES[forecasts[step.name].fate]} if step.name in forecasts else {}),
            }
            for step in steps
        ],
    }


def info_json(head: Mapping[str, Any], found: Iterable[StepFacts], absolute: Callable[[str], str]) -> dict[str, Any]:
    """Everything about each step; ``absolute`` is ``Workspace.path``. Commands run in the tree."""
    return {
        **head,
        "steps": [
            {
                "name": one.step.name,
                "stage": one.step.stage,
                "doc": one.step.doc,
                **({} if one.forecast is None else fate_json(one.forecast)),
                "needs": list(one.needs),
                "inputs": list(one.inputs),
                "outputs": [absolute(output) for output in one.step.outputs],
                "places": [absolute(place) for _, place in one.step.publish],
                "commands": [command_json(command) for command in one.step.commands],
                "log": one.log,
                "cached": None if one.cached is None else asdict(one.cached),
            }
            for one in found
        ],
    }
