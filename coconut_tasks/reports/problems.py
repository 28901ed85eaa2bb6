"""What is wrong in recipes, for people, for GitHub's annotations, and as SARIF 2.1.0 (OASIS) for code scanning."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from coconut_tasks import __version__
from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import Problem

RULES: Mapping[str, str] = {
    "unreadable-file": "A recipe is a file that can be read.",
    "json-syntax": "A recipe is JSON in UTF-8, without comments.",
    "schema": "Each field has a value of the type and range that the recipe reference says.",
    "unknown-field": "A recipe has only fields of the recipe format.",
    "duplicate-name": "Each name stands once in an object.",
    "rule": "Names fit the tools that get them, paths stay in their place, and outputs do not clash.",
}
"""Every word that ``Problem.rule`` can be, and what keeps to it."""


@dataclass(frozen=True, slots=True)
class Reported:
    """A problem and how bad it is: ``error`` or ``warning``."""

    problem: Problem
    level: str = "error"

    @property
    def where(self) -> tuple[str, int, int]:
        """File, line and column of the problem's place."""
        file, line, column = self.problem.place.rsplit(":", 2)
        return file, int(line), int(column)

    @property
    def message(self) -> str:
        """The problem without its place, in one line: what shows the place shows the text that stands there too."""
        problem = self.problem
        return f"{problem.pointer or '/'}: {problem.wrong}: {problem.allowed}".split("\n", 1)[0]


def as_text(found: Iterable[Reported]) -> list[str]:
    """``file:line:column: /pointer: wrong: allowed``, as editors and compilers write it."""
    return [f"{'warning: ' if one.level == 'warning' else ''}{one.problem}" for one in found]


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
    """Workflow commands of GitHub Actions, which become annotations of the lines."""
    lines = []
    for one in found:
        file, line, column = one.where
        title = f"recipe: {one.problem.rule}"
        properties = {"file": file, "line": line, "col": column, "title": title}
        said = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items())
        lines.append(f"::{one.level} {said}::{_data(one.message)}")
    return lines


def as_sarif(found: Sequence[Reported]) -> str:
    """A SARIF log with one run. Columns are characters; the URI of a relative path is relative."""
    rules = list(RULES)
    driver = {
        "name": "coconut-tasks",
        "version": __version__,
        "rules": [{"id": rule, "shortDescription": {"text": text}} for rule, text in RULES.items()],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, rules.index(one.problem.rule)) for one in found],
    }
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2)


def _result(one: Reported, index: int) -> dict[str, Any]:
    file, line, column = one.where
    uri = f"file://{quote(file)}" if file.startswith("/") else quote(file.removeprefix("./"), safe="/")
    return {
        "ruleId": one.problem.rule,
        "ruleIndex": index,
        "level": one.level,
        "message": {"text": one.message},
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
