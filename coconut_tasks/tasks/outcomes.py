"""The results of a run, for ``reports.results``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from coconut_tasks.options import Options
from coconut_tasks.reports.results import ImageOutcome, StepOutcome
from coconut_tasks.steps.step import direct_needs
from coconut_tasks.tasks.node import Node, StepResult
from coconut_tasks.tasks.run import Run, images_of
from coconut_tasks.terminal import plain
from coconut_tasks.variables import TABLE
from coconut_tasks.workspace.run_state import FromCache

_RESULTS = {
    StepResult.BUILT: "built",
    StepResult.PLACED: "placed",
    StepResult.CACHED: "cached",
    StepResult.FRESH: "up-to-date",
    StepResult.FAILED: "failed",
    StepResult.NOT_RUN: "not-run",
    StepResult.IGNORED: "ignored",
}


def step_outcomes(steps: Sequence[Node]) -> Iterator[StepOutcome]:
    """The outcome of each step of a run, in the order of the plan."""
    needs = direct_needs(node.step for node in steps)
    results = {node.step.name: _result(node) for node in steps}
    for node in steps:
        name = node.step.name
        reasons = tuple(map(str, node.verdict.reasons)) if node.verdict else ()
        if results[name] in ("not-run", "ignored"):
            words = {"failed": "failed", "not-run": "was not run", "ignored": "is ignored"}
            reasons = tuple(f"{need} {words[results[need]]}" for need in needs[name] if results[need] in words)
        message = None if node.failure is None else plain(node.failure)
        yield StepOutcome(name, node.step.stage, results[name], reasons, node.seconds, node.log, message, _cached(node))


def image_outcomes(run: Run) -> Iterator[ImageOutcome]:
    """The outcome of each IGVM file that is up to date."""
    for image in images_of(run.steps):
        step, workspace = image.node.step, image.node.workspace
        yield ImageOutcome(
            image.path,
            step.name,
            os.stat(workspace.path(image.output)).st_size,
            workspace.sha256(image.output),
            next((one.digest for one in image.digests if one.platform == "snp"), None),
            step.component,
            _variant(run.session.options),
            tuple(one._asdict() for one in image.digests),
        )


def _cached(node: Node) -> FromCache | None:
    if node.result in (StepResult.FRESH, StepResult.PLACED):
        return node.cached
    return node.workspace.run_state.cached.get(node.step.name) if node.result is StepResult.CACHED else None


def _result(node: Node) -> str:
    if node.result is None:
        return "not-run" if node.watch is None else "interrupted"
    return _RESULTS[node.result]


def _variant(options: Options) -> dict[str, object]:
    found = {one.field: getattr(options, one.field) for one in TABLE if one.changes_bytes}
    return {name: list(map(str, value)) if isinstance(value, tuple) else value for name, value in found.items()}
