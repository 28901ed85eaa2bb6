"""doit's own commands with this project's exit codes and hints; on any other dodo.py they are just doit's."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

from doit.cmd_clean import Clean as DoitClean
from doit.cmd_forget import Forget as DoitForget
from doit.cmd_info import Info as DoitInfo
from doit.cmd_list import List as DoitList
from doit.cmd_run import Run as DoitRun
from doit.cmdparse import CmdParseError
from doit.exceptions import InvalidCommand, InvalidTask

from coconut_tasks.effects.process import stop_all
from coconut_tasks.errors import CoconutError, UsageError, did_you_mean
from coconut_tasks.tasks.namespace import EXIT_USAGE, tell_usage_error
from coconut_tasks.tasks.node import node_of
from coconut_tasks.tasks.preflight import take_lock
from coconut_tasks.tasks.reporter import Reporter

EXIT_FAILED = 1
_DOIT_ERROR = 2


class _Ours:
    """Fills two gaps of doit: it ends with 3 for a wrong command line, and has no hint for a misspelt task."""

    def parse_execute(self, in_args: Any) -> Any:
        try:
            return super().parse_execute(in_args)  # type: ignore[misc]
        except CmdParseError as error:
            if not _is_our_dodo(Path("dodo.py")):
                raise
            sys.stderr.write(f"error: {str(error).partition(' (parsing options')[0]}\n")
            return EXIT_USAGE

    def execute(self, params: Any, args: Any) -> Any:
        try:
            return super().execute(params, args)  # type: ignore[misc]
        except CoconutError as error:
            tell_usage_error(error)
            return EXIT_USAGE
        except (InvalidCommand, InvalidTask, KeyError) as error:
            tasks = {task.name for task in getattr(self, "task_list", ())}
            wrong = [word for word in args if word not in tasks]
            # `info` and `clean` of an unknown task end in a KeyError or a message without a name.
            if not params.get("coconut") or (isinstance(error, KeyError) and not wrong):
                raise
            lines = [f"'{word}' is not a task{did_you_mean(word, tasks)}" for word in wrong] or [str(error)]
            sys.stderr.write("".join(f"error: {line}\n" for line in lines))
            return EXIT_USAGE


class Run(_Ours, DoitRun):  # type: ignore[misc]
    """``run``: a failed step ends with 1, whatever else could not run because of it."""

    name = "run"

    def execute(self, params: Any, args: Any) -> Any:
        ended_before = signal.signal(signal.SIGTERM, _end)
        try:
            status = super().execute(params, args)
        except (KeyboardInterrupt, _Ended) as error:
            if not params.get("coconut"):
                raise
            number = signal.SIGTERM if isinstance(error, _Ended) else signal.SIGINT
            sys.stderr.write(f"\nended by {number.name}; what was finished is kept\n")
            return 128 + number
        finally:
            stop_all()
            signal.signal(signal.SIGTERM, ended_before)
        reporter = Reporter.latest
        if status == _DOIT_ERROR and reporter is not None and not reporter.internal_error:
            return EXIT_FAILED
        return status


class _Ended(BaseException):
    """The process was told to end."""


def _end(number: int, frame: Any) -> None:
    raise _Ended


class List(_Ours, DoitList):  # type: ignore[misc]
    """``list``."""

    name = "list"


class Info(_Ours, DoitInfo):  # type: ignore[misc]
    """``info``."""

    name = "info"


class Clean(_Ours, DoitClean):  # type: ignore[misc]
    """``clean``: not while a run is at work."""

    name = "clean"

    def clean_tasks(self, tasks: Any, dryrun: bool, cleanforget: bool) -> None:
        node = next((found for task in tasks if (found := node_of(task))), None)
        if node is not None and not dryrun and node.world.state.is_dir() and (problems := take_lock(node.world)):
            raise UsageError("\n".join(problems))
        super().clean_tasks(tasks, dryrun, cleanforget)


class Forget(_Ours, DoitForget):  # type: ignore[misc]
    """``forget``."""

    name = "forget"


def _is_our_dodo(dodo: Path) -> bool:
    try:
        return "coconut_tasks" in dodo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
