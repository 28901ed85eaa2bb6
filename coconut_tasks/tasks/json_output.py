"""``--json``: one JSON document on standard output, and all other output on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any

from doit.cmdparse import CmdParseError

from coconut_tasks.errors import EXIT_USAGE, told
from coconut_tasks.tasks.interrupt import nobody_reads

_ENDED_BY_DOIT = 3
"""doit's exit status for an exception that our commands do not catch."""


def asks_for_json(command: Any, words: Sequence[str]) -> bool:
    """Whether the user wants JSON: by an option, its abbreviation, or a configuration file."""
    if "json" not in command.cmdparser:
        return False
    try:
        params, _ = command.cmdparser.parse(words)
    except CmdParseError:
        return "--json" in words
    return bool(params["json"] or params.get("format") == "json")


def with_json(command: Any, run: Callable[[], int]) -> int:
    """Run a command and return its exit status.

    The command's ``result`` gives the document. If there is none, or if errors of wrong usage were printed, the document contains the
    errors. A command that writes its document piece by piece writes it to its ``json_stream`` and sets ``written``.
    """
    from coconut_tasks.reports.results import errors_json, pretty

    before, stdout = len(told), sys.stdout
    command.json_stream = stdout
    failure: Exception | None = None
    with redirect_stdout(sys.stderr):
        try:
            status = run()
        except SystemExit as end:  # from a dodo.py
            status = end.code if isinstance(end.code, int) else EXIT_USAGE
        except Exception as error:
            status, failure = _ENDED_BY_DOIT, error
        errors: list[Exception] = [*told[before:], *([failure] if failure else [])]
        document = None if errors and status >= EXIT_USAGE else command.result(status)
    if not command.written:
        try:
            stdout.write(pretty(errors_json(command.name, status, errors) if document is None else document))
            stdout.flush()
        except BrokenPipeError:
            return nobody_reads()
    if failure is not None:
        raise failure
    return status
