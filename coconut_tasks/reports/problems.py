"""Problems in recipes, as text, as GitHub annotations, and as SARIF 2.1.0 (OASIS) for code scanning."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from coconut_tasks import __version__
from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import Problem
from coconut_tasks.reports.results import head, problem_json
from coconut_tasks.terminal import MARKS, Rules, Style

WORDS: Rules = (
    *MARKS,
    (Style.GOOD, r"^(\d+ recipes? (?:is|are) valid)\b"),
    (Style.ERROR, r"^(\d+ problems?) in \d+ of \d+ recipes?\b"),
)
"""Styles for the words of ``as_text`` and ``summary``."""


@dataclass(frozen=True, slots=True)
class Reported:
    """A problem and its level: ``error`` or ``warning``."""

    problem: Problem
    level: str = "error"

    @property
    def where(self) -> tuple[str, int, int]:
        """File, line and column of the problem."""
        return self.problem.where


def as_text(found: Iterable[Reported]) -> list[str]:
    """``error: file:line:column: /pointer: …``, or ``warning: …``, for each problem."""
    return [f"{one.level}: {one.problem.fault.shown}" for one in found]


def summary(found: Sequence[Reported], recipes: int) -> str:
    """One line: how many recipes are valid, or how many problems there are in how many of them."""
    errors = [one for one in found if one.level == "error"]
    warnings = len(found) - len(errors)
    more = f", {_count(warnings, 'warning')}" if warnings else ""
    if not errors:
        return f"{_count(recipes, 'recipe')} {'is' if recipes == 1 else 'are'} valid{more}"
    bad = len({one.where[0] for one in errors})
    return f"{_count(len(errors), 'problem')} in {bad} of {_count(recipes, 'recipe')}{more}"


def as_github(found: Iterable[Reported]) -> list[str]:
    """Workflow commands that make GitHub Actions annotate the lines."""
    lines = []
    for one in found:
        file, line, column = one.where
        title = f"recipe: {one.problem.id}"
        properties = {"file": file, "line": line, "col": column, "title": title}
        lines.append(workflow_command(one.level, properties, one.problem.message))
    return lines


def workflow_command(level: str, properties: Mapping[str, object], message: str) -> str:
    """A line that GitHub Actions turns into an annotation; ``level`` is ``error``, ``warning`` or ``notice``."""
    said = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items())
    return f"::{level} {said}::{_data(message)}"


def as_json(found: Iterable[Reported], recipes: Iterable[str], status: int) -> dict[str, Any]:
    """The JSON document; ``recipes`` are the checked files."""
    return {
        **head("validate"),
        "status": status,
        "recipes": list(recipes),
        "problems": [problem_json(one.problem, one.level) for one in found],
    }


def as_sarif(found: Sequence[Reported], about: Mapping[str, tuple[str, str]]) -> str:
    """A SARIF log with one run; ``about`` maps the ID of each problem to what it means and what to do.

    Columns count characters; a relative path gives a relative URI.
    """
    rules = sorted({one.problem.id for one in found})
    driver = {
        "name": "coconut-tasks",
        "version": __version__,
        "rules": [
            {"id": rule, "shortDescription": {"text": about[rule][0]}, "help": {"text": about[rule][1]}}
            for rule in rules
        ],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, rules.index(one.problem.id)) for one in found],
    }
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2)


def _result(one: Reported, index: int) -> dict[str, Any]:
    file, line, column = one.where
    uri = f"file://{quote(file)}" if file.startswith("/") else quote(file.removeprefix("./"), safe="/")
    return {
        "ruleId": one.problem.id,
        "ruleIndex": index,
        "level": one.level,
        "message": {"text": one.problem.message},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": uri},
                    "region": {"startLine": line, "startColumn": column},
                }
            }
        ],
    }


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
