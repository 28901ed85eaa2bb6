"""What a run says while it runs and at its end: plain lines, each written whole."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from doit.exceptions import InvalidTask, TaskFailed, UnmetDependency
from doit.reporter import ConsoleReporter

from coconut_tasks.step import Measurement
from coconut_tasks.tasks.interrupt import listen, nobody_reads
from coconut_tasks.tasks.node import Node, backend, node_of
from coconut_tasks.tasks.preflight import preflight, take_lock


class Reporter(ConsoleReporter):  # type: ignore[misc]  # doit has no types
    """One line when a step starts, one when it is done, and a summary with each launch digest."""

    desc = "coconut-tasks: steps, durations, launch digests"
    verbose = False
    latest: ClassVar[Reporter | None] = None

    def __init__(self, outstream: Any, options: Mapping[str, Any]) -> None:
        super().__init__(outstream, options)
        Reporter.latest = self
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._good: dict[str, Node] = {}
        self._built = self._placed = 0
        self._failed: list[str] = []
        self._not_run: list[str] = []
        self.internal_error = False
        """An error that is not a step's own failure."""

    def write(self, text: str) -> None:
        with self._lock:
            try:
                self.outstream.write(text)
                self.outstream.flush()
            except BrokenPipeError:
                nobody_reads()  # but the build goes on

    def initialize(self, tasks: Mapping[str, Any], selected_tasks: Iterable[str]) -> None:
        listen()
        nodes = [node for task in _needed(tasks, selected_tasks) if (node := node_of(task))]
        problems = preflight(nodes)
        if nodes and not problems:
            problems = take_lock(nodes[0].world)
            backend().in_a_run = True
        if problems:
            # doit's way to end a run before its first task; the reporter's runtime_error gets the text.
            raise InvalidTask("\n".join(problems))

    def execute_task(self, task: Any) -> None:
        gc.enable()  # a long run begins
        node = node_of(task)
        if node is None or (node.verdict is not None and node.verdict.only_places):
            return
        commands = node.step.commands
        self.write(f"{task.name}: {commands[0] if commands else node.step.doc}\n")

    def add_success(self, task: Any) -> None:
        node = node_of(task)
        if node is None:
            return
        self._good[task.name] = node
        if node.placed_only:
            self._placed += 1
            self.write(
                f"{task.name}: placed again: {', '.join(_shown(node, place) for _, place in node.step.publish)}\n"
            )
            return
        self._built += 1
        said = _worth_saying(node, everything=self.verbose)
        self.write(f"{said}{task.name}: done in {node.seconds or 0:.1f} s\n")

    def skip_uptodate(self, task: Any) -> None:
        if node := node_of(task):
            self._good[task.name] = node
            node.remember_touched()

    def add_failure(self, task: Any, fail: Any) -> None:
        if isinstance(fail, UnmetDependency):
            if node_of(task):  # and not a group
                self._not_run.append(task.name)
        elif isinstance(fail, TaskFailed):
            self._failed.append(task.name)
            self.write(f"{task.name}: FAILED: {fail.message}\n")
        else:
            self.internal_error = True
            self.write(f"{task.name}: {fail.get_msg()}\n")

    def runtime_error(self, msg: str) -> None:
        self.internal_error = True
        sys.stderr.write(f"{msg}\n")

    def complete_run(self) -> None:
        if self.internal_error:
            return
        seconds = time.monotonic() - self._begun
        up_to_date = len(self._good) - self._built - self._placed
        counts = [
            (self._built, "built"),
            (self._placed, "placed again"),
            (up_to_date, "up to date"),
            (len(self._failed), f"FAILED ({', '.join(self._failed)})"),
            (len(self._not_run), "not run, since they need a failed step"),
        ]
        if self._built or self._placed or self._failed:
            self.write(", ".join(f"{number} {what}" for number, what in counts if number) + f", in {seconds:.1f} s\n")
        elif self._good:
            self.write(f"up to date: all {up_to_date} steps\n")
        for node in self._good.values():
            if isinstance(node.step.work, Measurement) and (measured := node.digest()):
                self.write(f"{os.path.relpath(measured[0])}: launch digest {measured[1]}\n")


def _needed(tasks: Mapping[str, Any], selected: Iterable[str]) -> list[Any]:
    left, seen = list(selected), {}
    while left:
        name = left.pop()
        if name not in seen:
            seen[name] = tasks[name]
            left += tasks[name].task_dep
    return list(seen.values())


def _shown(node: Node, place: str) -> str:
    return os.path.relpath(node.world.path(place))


def _worth_saying(node: Node, *, everything: bool) -> str:
    # A tool's warnings are for the user even if all went well; the rest of what it says is in the log.
    try:
        text = node.world.log(node.step.name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text if everything or "warning:" in text else ""
