"""What a run says while it runs and at its end: plain lines, each written whole."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from doit.exceptions import TaskFailed, UnmetDependency
from doit.reporter import ConsoleReporter

from coconut_tasks.step import Measurement
from coconut_tasks.tasks.interrupt import nobody_reads
from coconut_tasks.tasks.node import Node, node_of
from coconut_tasks.tasks.supervise import needed_nodes


class Reporter(ConsoleReporter):  # type: ignore[misc]  # doit has no types
    """One line when a step starts, one when it is done, and a summary with each launch digest."""

    desc = "coconut-tasks: steps, durations, launch digests"
    verbose = False

    def __init__(self, outstream: Any, options: Mapping[str, Any]) -> None:
        super().__init__(outstream, options)
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._wanted = self._ignored = 0
        self._good: dict[str, Node] = {}
        self._built = self._placed = 0
        self._failed: list[str] = []
        self._not_run: list[str] = []
        self._broken = False

    def write(self, text: str) -> None:
        with self._lock:
            try:
                self.outstream.write(text)
                self.outstream.flush()
            except BrokenPipeError:
                nobody_reads()  # but the build goes on

    def initialize(self, tasks: Mapping[str, Any], selected_tasks: Iterable[str]) -> None:
        self._wanted = len(needed_nodes(tasks, selected_tasks))

    def execute_task(self, task: Any) -> None:
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

    def skip_ignore(self, task: Any) -> None:
        super().skip_ignore(task)
        if node_of(task):
            self._ignored += 1

    def add_failure(self, task: Any, fail: Any) -> None:
        if isinstance(fail, UnmetDependency):
            if node_of(task):  # and not a group
                self._not_run.append(task.name)
        elif isinstance(fail, TaskFailed):
            self._failed.append(task.name)
            self.write(f"{task.name}: FAILED: {fail.message}\n")
        else:
            self._broken = True
            self.write(f"{task.name}: {fail.get_msg()}\n")

    def runtime_error(self, msg: str) -> None:
        self._broken = True
        sys.stderr.write(f"{msg}\n")

    def complete_run(self) -> None:
        if self._broken:
            return
        seconds = time.monotonic() - self._begun
        up_to_date = len(self._good) - self._built - self._placed
        not_reached = self._wanted - len(self._good) - len(self._failed) - len(self._not_run) - self._ignored
        counts = [
            (self._built, "built"),
            (self._placed, "placed again"),
            (up_to_date, "up to date"),
            (len(self._failed), f"FAILED ({', '.join(self._failed)})"),
            (len(self._not_run), "not run, since they need a failed step"),
            (not_reached, "not reached"),
            (self._ignored, "ignored, as `doit ignore` asked"),
        ]
        if self._built or self._placed or self._failed or self._ignored:
            self.write(", ".join(f"{number} {what}" for number, what in counts if number) + f", in {seconds:.1f} s\n")
        elif self._good:
            self.write(f"up to date: all {up_to_date} steps\n")
        for node in self._good.values():
            if isinstance(node.step.work, Measurement) and (measured := node.digest()):
                self.write(f"{os.path.relpath(measured[0])}: launch digest {measured[1]}\n")


def _shown(node: Node, place: str) -> str:
    return os.path.relpath(node.world.path(place))


def _worth_saying(node: Node, *, everything: bool) -> str:
    # A tool's warnings are for the user even if all went well; the rest of what it says is in the log.
    try:
        text = node.world.log(node.step.name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text if everything or "warning:" in text else ""
