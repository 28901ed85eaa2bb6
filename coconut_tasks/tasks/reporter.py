"""The output of a run: on a terminal, a live line below the finished steps; elsewhere plain lines. A summary follows."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from doit.exceptions import TaskFailed, UnmetDependency
from doit.reporter import ConsoleReporter

from coconut_tasks.errors import label, tell_line
from coconut_tasks.tasks.interrupt import nobody_reads
from coconut_tasks.tasks.node import GOOD, Node, StepResult, node_of
from coconut_tasks.tasks.run import Run, images_of
from coconut_tasks.tasks.standing import from_here, stand
from coconut_tasks.terminal import Terminal, marked, plain, shown, terminal_of
from coconut_tasks.workspace.workspace import Workspace

if TYPE_CHECKING:
    from coconut_tasks.reports.progress import Running
    from coconut_tasks.tasks.live import LiveDisplay  # imported when the first step runs


class Reporter(ConsoleReporter):  # type: ignore[misc]  # doit has no types
    """A line for each finished step with its duration, then a summary with the size and launch digest of each IGVM file."""

    desc = "coconut-tasks: steps, durations, launch digests"
    tells_source = True
    run: Run
    """Set by ``supervised``."""

    def __init__(self, outstream: Any, options: Mapping[str, Any]) -> None:
        super().__init__(outstream, options)
        self._lock = threading.RLock()
        self._began = time.monotonic()
        self._nodes: dict[str, Node] = {}
        """All steps of the run, by name."""
        self._running: dict[str, Node] = {}
        self._expected: dict[str, float | None] = {}
        """How long each coming step took last time."""
        self._crates: dict[str, int | None] = {}
        """How many crates cargo reported last time for the same steps."""
        self._terminal: Terminal | None = None
        """None until the first step runs."""
        self._live: LiveDisplay | None = None

    def write(self, text: str) -> None:
        with self._lock:
            try:
                if self._live is not None:
                    self._live.say(text)
                else:
                    self.outstream.write(text)
                    self.outstream.flush()
            except BrokenPipeError:
                nobody_reads(self.outstream)  # but the build continues

    def initialize(self, tasks: Mapping[str, Any], selected_tasks: Iterable[str]) -> None:
        self._nodes = {node.step.name: node for node in self.run.steps}
        if self._workspace.options.may_use_a_cache:
            self._workspace.run_state.begin = self._tell_command
        self._workspace.run_state.say = lambda line: self.write(f"{marked(line, self._terminal or Terminal())}\n")

    def execute_task(self, task: Any) -> None:
        node = node_of(task)
        if node is None:
            return
        with self._lock:
            if self._terminal is None:
                self._terminal = self._open()
            self._running[task.name] = node
        if node.verdict is not None and node.verdict.only_places:
            return
        if not self._workspace.options.may_use_a_cache:
            self._tell_command(task.name)

    def _tell_command(self, name: str) -> None:
        """Say what is run. If the step may come from a cache, this is called when that has not got it."""
        if self._live is None or self.run.session.options.verbose:
            step = self._nodes[name].step
            self.write(f"{name}: {step.commands[0] if step.commands else step.doc}\n")

    def add_success(self, task: Any) -> None:
        node = node_of(task)
        if node is None:
            return
        self._ended(task)
        if node.result is StepResult.PLACED:
            places = ", ".join(_from_here(node, place) for _, place in node.step.publish)
            self.write(f"{task.name}: restored: {places}\n")
            return
        if node.result is StepResult.CACHED:
            self.write(f"{task.name}: from the cache in {node.seconds:.1f} s\n")
            return
        said = self._shown(_worth_saying(node, everything=self.run.session.options.verbose))
        self.write(f"{said}{task.name}: done in {node.seconds:.1f} s\n")

    def skip_uptodate(self, task: Any) -> None:
        pass

    def skip_ignore(self, task: Any) -> None:
        pass  # doit prints a line for each, but the summary counts them

    def add_failure(self, task: Any, fail: Any) -> None:
        self._ended(task)
        if isinstance(fail, TaskFailed):
            terminal = self._terminal or Terminal()
            self.write(marked(label(f"{task.name} failed: "), terminal) + f"{self._shown(fail.message)}\n")
            self._annotate(task, fail.message)
        elif not isinstance(fail, UnmetDependency):
            self.write(label(f"{task.name}: {fail.get_msg()}\n"))

    def runtime_error(self, msg: str) -> None:
        tell_line(msg)

    def complete_run(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.close()
        if not self.run.internal_error:
            self._summarise()

    @property
    def _workspace(self) -> Workspace:
        return self.run.session.workspace

    def _open(self) -> Terminal:
        """The terminal, with a live line if possible. Called when the first step runs."""
        terminal = terminal_of(self.outstream, self.run.session.options.environment)
        if terminal.colours:
            self._workspace.run_state.talk["CARGO_TERM_COLOR"] = "always"
        if terminal.live:
            from coconut_tasks.tasks.live import LiveDisplay

            self._expected, self._crates = _expected(list(self._nodes.values()))
            self._live = LiveDisplay(self.outstream, colours=terminal.colours, line=self._line)
        return terminal

    def _shown(self, text: str) -> str:
        terminal = self._terminal or Terminal()
        return marked(shown(text, terminal), terminal)

    def _annotate(self, task: Any, message: str) -> None:
        """In GitHub Actions, annotate the run, and the line of a compiler error, with a failed step."""
        environment, node = self.run.session.options.environment, node_of(task)
        if environment.get("GITHUB_ACTIONS") != "true" or node is None:
            return
        from coconut_tasks.reports.failure import failure_annotation

        log = _log_text(node)
        top = environment.get("GITHUB_WORKSPACE") or stand()
        self.write(f"{failure_annotation(task.name, message, log, node.workspace.tree, top)}\n")

    def _ended(self, task: Any) -> None:
        with self._lock:
            self._running.pop(task.name, None)

    def _line(self) -> str:
        from coconut_tasks.reports.progress import in_one, progress_line, seconds_left

        with self._lock:
            names = list(self._running)
        running = [self._at_work(name) for name in names]
        left = {name: seconds for name, seconds in self._expected.items() if self._nodes[name].result is None}
        done = sum(node.result is not None for node in self._nodes.values())
        steps = self._nodes.items()
        tools = {name for name, node in steps if node.step.stage == "tool" and (node.watch or name in left)}
        told = running
        if len(tools) > 1 and any(step.name in tools and not step.waiting for step in running):
            told = [step for step in running if step.name not in tools]
            told.append(in_one("host tools", [self._at_work(name) for name in tools]))
        return progress_line(done, len(self._nodes), told, seconds_left(left, running))

    def _at_work(self, name: str) -> Running:
        """The progress of a step, which may also be finished or not started yet."""
        from coconut_tasks.reports.progress import Running

        node = self._nodes[name]
        watch, crates = node.watch, self._workspace.run_state.crates.get(name, 0)
        of = self._crates.get(name) if node.result is None else crates
        return Running(name, node.seconds, watch is None or watch.waiting or node.result is not None, crates, of)

    def _summarise(self) -> None:
        names: dict[StepResult | None, list[str]] = {}
        for name, node in self._nodes.items():
            names.setdefault(node.result, []).append(name)
        if set(names) - {StepResult.FRESH}:
            said = []
            for result in (*StepResult, None):
                if result in names:
                    what = result.value if result else "not reached"
                    failed = f"failed ({', '.join(names[result])})"
                    said.append(f"{len(names[result])} {failed if result is StepResult.FAILED else what}")
            self.write(f"{', '.join(said)}, in {time.monotonic() - self._began:.1f} s\n")
            for line in (*self._images(short=False), *self._older_images()):
                self.write(line)
        elif StepResult.FRESH in names and not self.run.quiet:
            source = "" if self.run.source_told else f"; {self.run.session.source_line}"
            count = len(names[StepResult.FRESH])
            what = f"all {count} steps" if count > 1 else names[StepResult.FRESH][0]
            self.write(f"up to date: {what}{source}\n{''.join(self._images(short=True))}")

    def _images(self, *, short: bool) -> list[str]:
        """A line for each measurement of each IGVM file that is up to date. If ``short``, several files are in one line, with their
        digests shortened: their files have them in full."""
        from coconut_tasks.wording import MEASUREMENTS, human, short_digest

        images, lines, parts = list(images_of(self.run.steps)), [], []
        for image in images:
            name = from_here(image.path)
            size = human(os.stat(image.node.workspace.path(image.output)).st_size)
            told = [(MEASUREMENTS[one.platform], one.digest) for one in image.digests]
            first, *others = [" ".join(pair) for pair in told] or ["not measured in this run"]
            lines += [f"{name}: {size}, {self.run.session.variant}, {first}\n", *(f"{name}: {one}\n" for one in others)]
            parts.append(f"{name} {_brief([(kind, short_digest(digest)) for kind, digest in told]) or first}")
        return [f"launch digests: {', '.join(parts)}\n"] if short and len(images) > 1 else lines

    def _older_images(self) -> list[str]:
        """A line for each existing IGVM file that this run should have rebuilt but did not."""
        places = [
            node.workspace.path(place)
            for node in self._nodes.values()
            if node.step.action.is_image and node.result not in GOOD
            for _, place in node.step.publish
        ]
        return [f"{from_here(path)} is from an earlier build\n" for path in places if os.path.exists(path)]


def _expected(nodes: list[Node]) -> tuple[dict[str, float | None], dict[str, int | None]]:
    """For each step that will or may run, how long it took last time, and how many crates cargo reported."""
    from coconut_tasks.freshness.forecast import Fate, forecast
    from coconut_tasks.records.history import History, expected

    history = History(nodes[0].workspace.state)
    durations, crates = history.durations(), history.crates()
    coming = forecast((node.assess() for node in nodes), nodes[0].workspace.path)
    records = {name: one.step.record for name, one in coming.items() if one.fate not in (Fate.RESTS, Fate.PLACES)}
    seconds = {name: expected(record, durations) for name, record in records.items()}
    return seconds, {name: expected(record, crates) for name, record in records.items()}


def _from_here(node: Node, place: str) -> str:
    return from_here(node.workspace.path(place))


def _brief(told: Sequence[tuple[str, str]]) -> str:
    """``79f9… (MRTD 12ab…)``: the launch digest needs no name."""
    if not told:
        return ""
    named = [digest if kind == "launch digest" else f"{kind} {digest}" for kind, digest in told]
    first, *others = named
    return f"{first} ({', '.join(others)})" if others else first


def _worth_saying(node: Node, *, everything: bool) -> str:
    # Users must see a tool's warnings even if it succeeds; the log has the rest of its output.
    text = _log_text(node)
    if everything:
        return text
    if node.step.commands:  # if cargo is called again, it repeats all its output
        text = text[max(text.rfind(f"$ {node.step.commands[0]}\n"), 0) :]
    return text if "warning:" in plain(text) else ""


def _log_text(node: Node) -> str:
    """What the step's last run printed; empty if there is no log."""
    try:
        return node.workspace.log(node.step).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
