"""What a dodo.py holds: doit's configuration and the task creators."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from coconut_tasks.errors import EXIT_USAGE, CoconutError, UsageError, tell
from coconut_tasks.layout import RECORDS
from coconut_tasks.options import VARIABLES, VERIFY, Options, from_words, process_environment
from coconut_tasks.session import Session, open_session
from coconut_tasks.step import Provenance
from coconut_tasks.tasks.checker import Checker
from coconut_tasks.tasks.commands import Run
from coconut_tasks.tasks.interrupt import end
from coconut_tasks.tasks.node import Node
from coconut_tasks.tasks.reporter import Reporter
from coconut_tasks.tasks.stand import stand
from coconut_tasks.tasks.supervise import Supervisor

if TYPE_CHECKING:
    from coconut_tasks.papers.expected import Expectation

REFUSED = {"reset-dep": "ResetDep", "dumpdb": "DumpDB", "strace": "Strace", "tabcompletion": "TabCompletion"}
_COMMANDS = {
    "commands": ("run", "list", "info", "clean", "forget", "ignore"),
    "report_commands": ("why", "plan", "log", "graph", "timeline", "size"),
    "reproduce_command": ("reproduce",),
    "sign_command": ("sign",),
    "help": ("help",),
    "recipe_commands": ("validate", "new"),
    "completion_command": ("completion",),
    "watch_command": ("watch",),
    "inspect_command": ("inspect",),
    "verify_command": ("verify",),
    "diff_command": ("diff",),
}
PLUGINS = {
    "BACKEND": {"coconut": "coconut_tasks.tasks.backend:Backend"},
    "COMMAND": {
        name: f"coconut_tasks.tasks.{module}:{name.title()}" for module, names in _COMMANDS.items() for name in names
    }
    | {name: f"coconut_tasks.tasks.commands:{kind}" for name, kind in REFUSED.items()},
}
"""What the entry points of the installed package say, for a front end that does not rely on them."""


def dodo(words: Sequence[str] | None = None) -> dict[str, Any]:
    """The names that a dodo.py needs: ``globals().update(dodo())``.

    ``words`` are the command line; this process's own by default. A user's fault is told and ends the process with status 2: doit
    itself would end with 3, and with a traceback for an error that it does not know.
    """
    # What is made until the first step runs lives until the end; looking through it again and again takes longer than making it.
    gc.disable()
    try:
        if Run.refusal:
            raise UsageError(Run.refusal)
        options = from_words(sys.argv[1:] if words is None else words, process_environment(), _workdir())
        Run.expectation = _expectation(options)
        return namespace(open_session(options))
    except (CoconutError, OSError) as error:
        tell(error)
        raise SystemExit(EXIT_USAGE) from error
    except KeyboardInterrupt as error:
        raise SystemExit(end(error)) from error


def _expectation(options: Options) -> Expectation | None:
    if not Run.compares:
        if options.expect is not None:
            raise UsageError(f"EXPECT: only 'doit {VERIFY}' looks at it")
        return None
    if options.expect is None:
        raise UsageError(f"EXPECT: {VERIFY} needs it: {VARIABLES['EXPECT']}")
    from coconut_tasks.tasks.verify_command import read_expectation  # imported here: other runs need none of it

    # Before the build: a wrong word is not to be told after minutes.
    return read_expectation(options.expect, options.absolute)


def namespace(session: Session) -> dict[str, Any]:
    """Configuration and task creators for a session."""
    source, *notes = session.notes
    # A run tells its source itself: with nothing to do, all that it says is two lines.
    Supervisor.source = source if Run.at_work else ""
    for note in notes if Run.at_work else session.notes:
        print(note, file=sys.stderr)
    if Run.at_work and session.source.has_version_file:
        session.world.ask_version_ahead()
    Checker.files = session.world.files
    Reporter.verbose = session.options.verbose
    Reporter.environment = session.options.environment
    return {
        "DOIT_CONFIG": {
            "backend": "coconut",
            "dep_file": str(session.world.state / RECORDS),
            "check_file_uptodate": Checker,
            "reporter": Reporter,
            "num_process": os.cpu_count() or 1,
            # Processes would need each step pickled and would leave workers behind; the work is done by child processes anyway.
            "par_type": "thread",
            # A dodo.py may have tasks of its own, which are run by name.
            "default_tasks": list(dict.fromkeys(step.stage for step in session.plan.steps)),
            "coconut": True,
        },
        "task_coconut": lambda: _tasks(session),
    }


def _tasks(session: Session) -> Iterator[Mapping[str, Any]]:
    steps = session.plan.steps
    after = {output: step.name for step in steps for output in step.outputs}
    # Of the same link, the statement that was put in last: an image's own links are in no other.
    papers = {link: step.work for step in steps if isinstance(step.work, Provenance) for link in step.work.links}
    nodes = [Node(step, session.world, papers.get(step.link)) for step in steps]
    for stage, doc in _STAGES.items():
        if any(step.stage == stage for step in steps):
            yield {"basename": stage, "name": None, "doc": doc}
    variants: dict[str, list[str]] = {}
    for node in nodes:
        yield node.task(after)
        if node.step.label:
            variants.setdefault(f"{node.step.stage}:{node.step.component}", []).append(node.step.name)
    for name, members in variants.items():
        stage, _, component = name.partition(":")
        yield {
            "basename": stage,
            "name": component,
            "doc": f"all variants of {name} in this run",
            "actions": None,
            "task_dep": members,
        }


_STAGES = {
    "tool": "the host tools that build and measure images",
    "version": "the tree's version file",
    "kernel": "the kernel parts",
    "module": "the user-space modules",
    "fs": "the file-system image",
    "firmware": "the guest firmware",
    "igvm": "the IGVM files",
    "measure": "the launch measurements",
    "provenance": "what the IGVM files were made of",
}


def _workdir() -> str:
    return stand()
