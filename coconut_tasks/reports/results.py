"""The JSON documents of ``--json``, which ``schema/results.schema.json`` describes. Paths are absolute."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import CoconutError, Problem, RecipeError
from coconut_tasks.workspace.run_state import FromCache

SCHEMA = "urn:coconut-tasks:results-schema"
"""The ``$id`` of the schema. Each kind of document is an anchor in it."""
VERSION = 1
"""The version of all kinds of documents; a change of meaning raises it."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a run did with a step."""

    name: str
    stage: str
    result: str
    """``built``, ``placed``, ``cached``, ``up-to-date``, ``failed``, ``not-run``, ``ignored``, or ``interrupted``."""
    reasons: tuple[str, ...]
    """Why it ran, or why it did not, one sentence each; empty if it is up to date."""
    seconds: float
    """How long it ran, without the time that it waited; 0 if it did not run."""
    log: str | None
    """The absolute path of the log of its last run; None if it has none."""
    message: str | None
    """Why it failed, with the end of its log."""
    cached: FromCache | None = None
    """Where its outputs are from if they were not built here, in this run or before."""


@dataclass(frozen=True, slots=True)
class ImageOutcome:
    """An IGVM file of a run."""

    path: str
    """Its absolute path in the output folder."""
    step: str
    """The step that makes it."""
    size: int
    """Size in bytes."""
    sha256: str
    digest: str | None
    """The SEV-SNP launch digest in hex; None if this run has not measured it."""
    target: str
    """One of ``TARGETS`` in ``recipe/model.py``."""
    variant: Mapping[str, Any]
    """The options that decide what is built, by their names in ``Options``."""
    measurements: Sequence[Mapping[str, str]]
    """Its launch measurement for each platform, with the members ``platform`` and ``digest``; empty if this run has not measured it."""


def head(kind: str) -> dict[str, Any]:
    """The first fields of each document."""
    return {"schema": f"{SCHEMA}#{kind}", "version": VERSION}


def build_head(kind: str, tree: str, recipes: Iterable[str]) -> dict[str, Any]:
    """The first fields of a document about builds, with the absolute path of the source tree, and the recipes as the user named them."""
    return {**head(kind), "tree": tree, "recipes": list(recipes)}


def build_json(
    head: Mapping[str, Any], status: int, images: Iterable[ImageOutcome], steps: Iterable[StepOutcome]
) -> dict[str, Any]:
    """A finished run and its exit status."""
    return {
        **head,
        "status": status,
        "images": [
            {**asdict(image), "variant": dict(image.variant), "measurements": list(image.measurements)}
            for image in images
        ],
        "steps": [{**asdict(step), "reasons": list(step.reasons), "seconds": round(step.seconds, 3)} for step in steps],
    }


def errors_json(command: str, status: int, errors: Iterable[Exception]) -> dict[str, Any]:
    """The errors of a command that has no result."""
    return {
        **head("errors"),
        "command": command,
        "status": status,
        "errors": [found for error in errors for found in _errors(error)],
    }


def problem_json(problem: Problem, level: str = "error") -> dict[str, Any]:
    """An error or warning in a recipe: ``line`` and ``column`` start at 1, ``pointer`` is a JSON pointer (RFC 6901)."""
    file, line, column = problem.where
    return {
        "id": problem.id,
        "level": level,
        "message": problem.wrong,
        "remedy": problem.remedy or None,
        "file": file,
        "line": line,
        "column": column,
        "pointer": problem.pointer,
    }


def pretty(value: Any) -> str:
    """JSON for programs that people can also read."""
    return json.dumps(value, indent=2) + "\n"


def _errors(error: Exception) -> list[dict[str, Any]]:
    if isinstance(error, RecipeError):
        return [problem_json(problem) for problem in error.problems]
    if isinstance(error, CoconutError):
        return [{"id": fault.id, "message": fault.text.removeprefix("error: ")} for fault in error.faults]
    return [{"id": None, "message": f"{type(error).__name__}: {error}"}]
