"""The content of a dodo.py: doit's configuration and the task creators."""

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

    ``words`` are the command line, by default that of this process. An error of the user is printed and ends the process with status 2:
    doit would end with 3, and with a traceback for errors that it does not know.
    """
    # Objects from before the first step live until the end; collecting garbage again and again takes longer than creating them.
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
            # With processes, each step would have to be pickled, and workers could be left over; child processes do the work anyway.
            "par_type": "thread",
            # A dodo.py may define other tasks, which run only by name.
            "default_tasks": list(dict.fromkeys(step.stage for step in session.plan.steps)),
            SESSION: session,
        },
        "task_coconut": lambda: _tasks(session),
    }


def _tasks(session: Session) -> Iterator[Mapping[str, Any]]:
    steps = session.plan.steps
    after = {output: step.name for step in steps for output in step.outputs}
    # If several statements have a link, the last one is used; the links of an image are only in its own.
    statements = {
        link: step.action for step in steps if isinstance(step.action, Provenance) for link in step.action.links
    }
    store, checker = Globals.dep_manager.backend, Globals.dep_manager.checker
    assert isinstance(store, Store) and isinstance(checker, Checker)  # otherwise the command reports it
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
