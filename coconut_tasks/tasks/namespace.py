"""What a dodo.py holds: doit's configuration and the task creators."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from doit.globals import Globals

from coconut_tasks.errors import EXIT_USAGE, CoconutError, tell
from coconut_tasks.layout import RECORDS
from coconut_tasks.options import from_words, process_environment, process_words
from coconut_tasks.records.store import Store
from coconut_tasks.steps.action import Provenance
from coconut_tasks.steps.step import STAGES, Step
from coconut_tasks.tasks.checker import Checker
from coconut_tasks.tasks.interrupt import end
from coconut_tasks.tasks.node import Node
from coconut_tasks.tasks.reporter import Reporter
from coconut_tasks.tasks.standing import stand
from coconut_tasks.tasks.task_command import SESSION
from coconut_tasks.workspace.session import Session, open_session


def dodo(words: Sequence[str] | None = None) -> dict[str, Any]:
    """The names that a dodo.py needs: ``globals().update(dodo())``.

    ``words`` are the command line; this process's own by default. A user's fault is told and ends the process with status 2: doit
    itself would end with 3, and with a traceback for an error that it does not know.
    """
    # What is made until the first step runs lives until the end; looking through it again and again takes longer than making it.
    gc.disable()
    try:
        options = from_words(process_words() if words is None else words, process_environment(), stand())
        return namespace(open_session(options))
    except (CoconutError, OSError) as error:
        tell(error)
        raise SystemExit(EXIT_USAGE) from error
    except KeyboardInterrupt as error:
        raise SystemExit(end(error)) from error


def namespace(session: Session) -> dict[str, Any]:
    """Configuration and task creators for a session."""
    return {
        "DOIT_CONFIG": {
            "backend": "coconut",
            "dep_file": str(session.workspace.state / RECORDS),
            "check_file_uptodate": partial(Checker, session.workspace.files),
            "reporter": Reporter,
            "num_process": os.cpu_count() or 1,
            # Processes would need each step pickled and would leave workers behind; the work is done by child processes anyway.
            "par_type": "thread",
            # A dodo.py may have tasks of its own, which are run by name.
            "default_tasks": list(dict.fromkeys(step.stage for step in session.plan.steps)),
            SESSION: session,
        },
        "task_coconut": lambda: _tasks(session),
    }


def _tasks(session: Session) -> Iterator[Mapping[str, Any]]:
    steps = session.plan.steps
    after = {output: step.name for step in steps for output in step.outputs}
    # Of the same link, the statement that was put in last: an image's own links are in no other.
    statements = {
        link: step.action for step in steps if isinstance(step.action, Provenance) for link in step.action.links
    }
    store, checker = Globals.dep_manager.backend, Globals.dep_manager.checker
    assert isinstance(store, Store) and isinstance(checker, Checker)  # or the command tells so
    nodes = [Node(step, session.workspace, store, checker, statements.get(step.link)) for step in steps]
    for stage, doc in STAGES.items():
        if any(step.stage == stage for step in steps):
            yield {"basename": stage, "name": None, "doc": doc}
    variants: dict[str, list[Step]] = {}
    for node in nodes:
        yield node.task(after)
        if node.step.label:
            variants.setdefault(node.step.part, []).append(node.step)
    for part, members in variants.items():
        yield {
            "basename": members[0].stage,
            "name": members[0].component,
            "doc": f"all variants of {part} in this run",
            "actions": None,
            "task_dep": [step.name for step in members],
        }
