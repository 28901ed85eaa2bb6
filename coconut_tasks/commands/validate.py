"""``validate``: check recipes without building them. It needs no dodo.py and works in any folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coconut_tasks.called import called
from coconut_tasks.errors import EXIT_USAGE, Problem, RecipeError, UsageError, did_you_mean
from coconut_tasks.options import parse_switch, split_list
from coconut_tasks.tasks.command import OwnCommand, switch


class ValidateCommand(OwnCommand):
    """``validate``: exit status 0 if all recipes are valid, otherwise 2."""

    name = "validate"
    doc_purpose = "check recipes without building"
    doc_usage = "FILE..."
    doc_description = """
        Reports all errors in all files. Warnings do not make a recipe invalid.

        Exit status: 0 all recipes are valid, 2 some are not.
    """
    cmd_options = (
        {
            "name": "format",
            "long": "format",
            "default": "text",
            "metavar": "WORD",
            "choices": [("text", ""), ("github", ""), ("sarif", ""), ("json", "")],
            "help": "how to report errors and warnings [default: text]",
        },
        switch("json", "the same as --format=json"),
        switch("lenient", "only warn about what the old builders ignore in a recipe"),
    )
    variables = ("RECIPE", "LENIENT")
    examples = (
        "doit validate config/*.json",
        "doit validate --format=github config/*.json  # annotations in GitHub Actions",
        "doit validate --format=sarif config/*.json > recipes.sarif  # for code scanning",
    )

    def execute(self, opt_values: Any, pos_args: Sequence[str]) -> int:
        from coconut_tasks.reports.problems import WORDS, as_github, as_json, as_sarif, as_text, summary
        from coconut_tasks.terminal import Terminal, marked, terminal_at
        from coconut_tasks.wording import printable

        values, words = self.given_variables()
        files = list(dict.fromkeys([*pos_args, *words, *split_list(values.get("RECIPE", ""))]))
        if not files:
            raise UsageError(
                "wrong-words",
                f"validate: no recipe given; for example: {called().command('validate', 'config/*.json')}",
            )
        lenient = opt_values["lenient"] or parse_switch("LENIENT", values.get("LENIENT", ""))
        found = [one for file in files for one in _problems(file, lenient)]
        status = EXIT_USAGE if any(one.level == "error" for one in found) else 0
        if opt_values["json"] or opt_values["format"] == "json":
            self.document = as_json(found, map(printable, files), status)
        elif opt_values["format"] == "sarif":
            from coconut_tasks.explanations import explanations

            print(as_sarif(found, {id: (entry.means, entry.do) for id, entry in explanations().items()}))
        else:
            for_people = opt_values["format"] == "text"
            lines = as_text(found) if for_people else as_github(found)
            terminal = terminal_at(sys.stdout) if for_people else Terminal()
            print(marked("\n".join([*lines, summary(found, len(files))]), terminal, WORDS))
        return status


def _problems(file: str, lenient: bool) -> list[Any]:
    from coconut_tasks.recipe.load import check
    from coconut_tasks.reports.problems import Reported
    from coconut_tasks.wording import printable

    warnings: list[Problem] = []
    name = printable(file)
    try:
        check(name, Path(file).read_bytes(), lenient=lenient, warn=warnings.append)
        errors: tuple[Problem, ...] = ()
    except RecipeError as error:
        errors = error.problems
    except OSError as error:
        wrong = f"cannot read the file: {error.strerror}"
        remedy = ""
        if isinstance(error, IsADirectoryError):
            wrong = "is a folder"
            remedy = f"expected recipes, for example {os.path.join(name, '*.json')}"
        elif isinstance(error, FileNotFoundError):
            wrong = "no such file" + did_you_mean(file, map(str, Path(file).parent.glob("*.json")))
        errors = (Problem("unreadable-file", f"{name}:1:1", "", wrong, remedy, of_the_file=True),)
    found = [*(Reported(problem) for problem in errors), *(Reported(problem, "warning") for problem in warnings)]
    return sorted(found, key=lambda one: one.where[1:])
