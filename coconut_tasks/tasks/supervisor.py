"""What a run needs with any reporter: checks first, one run at a time, and no child processes left at the end.

Between selecting the tasks and running the first one, doit's only hook is the reporter's ``initialize``. Since a user may choose another
reporter (``-r json``), this class goes in front of the chosen one.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from doit.exceptions import InvalidTask, TaskFailed, UnmetDependency

from coconut_tasks.effects.stopwatch import Stopwatch
from coconut_tasks.errors import Fault, UsageError, label, tell_line, told
from coconut_tasks.tasks.interrupt import listen
from coconut_tasks.tasks.node import Node, StepResult, node_of
from coconut_tasks.tasks.preflight import preflight, take_lock
from coconut_tasks.tasks.run import Run


class Supervisor:
    """Comes before a reporter class in the order of bases, so its attributes must not have the same names."""

    run: Run
    """Set by ``supervised``, since doit creates the reporter from a class."""

    def __init__(self, outstream: Any, options: Mapping[str, Any]) -> None:
        super().__init__(outstream, options)  # type: ignore[call-arg]
        self.run.began = True
        self._whole = Stopwatch()
        self._telling = threading.Lock()

    def initialize(self, tasks: Mapping[str, Any], selected_tasks: Iterable[str]) -> None:
        self.run.steps = nodes = needed_nodes(tasks, selected_tasks)
        if not getattr(self, "tells_source", False):
            self._tell_source()
        problems = preflight(nodes) + self._unfit(nodes)
        if nodes and not problems:
            listen()
            problems = take_lock(nodes[0].workspace)
            self.run.store.in_a_run = True
        if problems:
            told.append(UsageError.of(problems))
            self._tell_source()
            # This is how doit ends a run before its first task; runtime_error gets the text.
            raise InvalidTask("\n".join(problem.labelled for problem in problems))
        if start := getattr(super(), "initialize", None):  # not all of doit's reporters have it
            start(tasks, selected_tasks)

    def _unfit(self, nodes: Sequence[Node]) -> list[Fault]:
        try:
            if self.run.check is not None:
                self.run.check(nodes)
        except UsageError as error:
            return list(error.faults)
        return []

    def execute_task(self, task: Any) -> None:
        if task.actions:  # otherwise it is a group, which doit "executes" too
            if not gc.isenabled():  # a long run starts; the objects so far are needed until its end
                gc.freeze()
                gc.enable()
                # Checking thousands of files and their states for garbage takes time.
                gc.set_threshold(50_000)
                # When a program ends, a thread wakes up to start the next one; it waits this long (5 ms by default) for one that computes.
                sys.setswitchinterval(0.001)
            self._tell_source()
        super().execute_task(task)  # type: ignore[misc]

    def add_success(self, task: Any) -> None:
        if node := node_of(task):
            node.succeeded()
        super().add_success(task)  # type: ignore[misc]

    def skip_uptodate(self, task: Any) -> None:
        if node := node_of(task):
            node.result = StepResult.FRESH
            node.record_touched()
        super().skip_uptodate(task)  # type: ignore[misc]

    def skip_ignore(self, task: Any) -> None:
        if node := node_of(task):
            node.result = StepResult.IGNORED
        super().skip_ignore(task)  # type: ignore[misc]

    def add_failure(self, task: Any, fail: Any) -> None:
        self.run.internal_error |= not isinstance(fail, UnmetDependency | TaskFailed)
        if node := node_of(task):
            node.result = StepResult.NOT_RUN if isinstance(fail, UnmetDependency) else StepResult.FAILED
            node.failure = fail.message if isinstance(fail, TaskFailed) else None
        self._tell_source()
        super().add_failure(task, fail)  # type: ignore[misc]

    def runtime_error(self, msg: str) -> None:
        self.run.internal_error = True
        super().runtime_error(label(msg))  # type: ignore[misc]

    def complete_run(self) -> None:
        if (cache := self.run.session.workspace.run_state.cache) is not None:
            from coconut_tasks.tasks.record_run import record_exchange

            cache.finish(lambda: tell_line(f"sending what was built to the cache {cache.shown}"))
            record_exchange(self.run.session.workspace, cache, self._whole)
        super().complete_run()  # type: ignore[misc]
        if any(node.result in _AT_WORK for node in self.run.steps):
            from coconut_tasks.tasks.record_run import record_run  # a no-op run does not need it

            record_run(self.run.steps, self._whole, self.run.jobs)
        # The process is about to end, and a last garbage collection would take longer than the rest of its exit.
        gc.freeze()

    def _tell_source(self) -> None:
        with self._telling:
            told, self.run.source_told = self.run.source_told, True
        if told:
            return
        if self.run.quiet:
            for note in self.run.session.notes:
                tell_line(note.shown)
        print(self.run.session.source_line, file=sys.stderr, flush=True)


_AT_WORK = (StepResult.BUILT, StepResult.PLACED, StepResult.CACHED, StepResult.FAILED)


def supervised(reporter: type, run: Run) -> type:
    """A reporter class with a supervisor in front of it, for one run."""
    return type(reporter.__name__, (Supervisor, reporter), {"run": run})


def needed_nodes(tasks: Mapping[str, Any], selected: Iterable[str]) -> list[Node]:
    """The selected steps and all that they need, each after those that it needs."""
    left, seen = list(selected), set()
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += tasks[name].task_dep
    # The tasks are in the plan's order.
    return [node for name, task in tasks.items() if name in seen and (node := node_of(task))]
