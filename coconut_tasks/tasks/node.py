"""A step as a task of doit: whether it is up to date, and its action."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any

from doit.exceptions import TaskFailed

from coconut_tasks.effects.stopwatch import Stopwatch, timed
from coconut_tasks.errors import CoconutError, UsageError, user_fault
from coconut_tasks.freshness.staleness import Verdict, check_staleness, input_files
from coconut_tasks.inputs.discovered import Inputs
from coconut_tasks.records.record import read_record
from coconut_tasks.records.store import IGNORED, VALUES, Store
from coconut_tasks.steps.action import Measurement, PlatformDigest, Provenance
from coconut_tasks.steps.step import Step
from coconut_tasks.tasks.checker import Checker
from coconut_tasks.workspace.run_state import FromCache
from coconut_tasks.workspace.workspace import Workspace

if TYPE_CHECKING:
    from coconut_tasks.actions.build import Done
    from coconut_tasks.freshness.forecast import Assessment

META = "coconut"
"""The key of the node in a task's ``meta``."""


class StepResult(Enum):
    """The result of a step in a run."""

    BUILT = "built"
    PLACED = "restored"
    """Nothing was built, but a file was copied to ``bin/``."""
    CACHED = "from the cache"
    """Its output was taken from the cache."""
    FRESH = "up to date"
    FAILED = "failed"
    NOT_RUN = "not run, since they need a failed step"
    IGNORED = "ignored (doit ignore)"


GOOD = (StepResult.BUILT, StepResult.PLACED, StepResult.CACHED, StepResult.FRESH)
"""With these results, a step's outputs are the same as from a clean build."""


class Node:
    """Joins a step, its workspace and doit's record of it."""

    def __init__(
        self, step: Step, workspace: Workspace, store: Store, checker: Checker, statement: Provenance | None = None
    ) -> None:
        """``store`` and ``checker`` are doit's in this run. ``statement`` is one that describes the step; for an IGVM file, its own."""
        self.step = step
        self.workspace = workspace
        self._store, self._checker = store, checker
        self._statement = statement
        store.name_record(step.name, step.record)
        self._record = read_record(store.row(step.name), workspace.tree)
        self.verdict: Verdict | None = None
        self.watch: Stopwatch | None = None
        """The time of the action; None until it starts."""
        self.result: StepResult | None = None
        """None until the run gets to the step."""
        self.failure: str | None = None
        """Why it failed, in the words of the error message."""
        self._placed_only = False

    def __repr__(self) -> str:
        return f"<{self.step.name}>"

    def task(self, after: Mapping[str, str]) -> dict[str, Any]:
        """The task's dictionary; ``after`` maps a file to the task that makes it."""
        step, workspace = self.step, self.workspace
        self._inputs = input_files(step, self._record.inputs if self._record else Inputs(), workspace)
        return {
            "basename": step.stage,
            "name": step.name.removeprefix(f"{step.stage}:"),
            "doc": step.doc,
            "actions": [(self._run,)],
            "file_dep": list(self._inputs),
            "targets": [workspace.path(output) for output in step.outputs],
            "task_dep": [after[path] for path in step.after if path in after],
            "uptodate": [self._is_up_to_date],
            # Output goes to the step's log: doit's capture replaces sys.stdout, which threads share.
            "io": {"capture": False},
            "title": lambda task: f"{task.name}  {step.doc}",
            "meta": {META: self, "commands": [str(command) for command in step.commands]},
        }

    def _is_up_to_date(self) -> bool:
        self.verdict = check_staleness(self.step, self._record, self._inputs, self.workspace, brief=True)
        return not self.verdict.reasons

    @property
    def inputs(self) -> tuple[str, ...]:
        """The absolute paths of all files that it reads, sorted."""
        return tuple(sorted(self._inputs))

    @property
    def cached(self) -> FromCache | None:
        """Where its outputs are from, by its record, if its last run took them from a cache."""
        return self._record.cached if self._record is not None else None

    @property
    def log(self) -> str | None:
        """The absolute path of its last run's log; None if there is none."""
        log = self.workspace.log(self.step)
        return str(log) if log.exists() else None

    def is_asked_by(self, names: Collection[str]) -> bool:
        """Whether one of the names means the step: its own, that of its stage, or that of all its variants."""
        return not {self.step.name, self.step.stage, self.step.part}.isdisjoint(names)

    @property
    def seconds(self) -> float:
        """How long its action has taken so far, without the time that it waited."""
        return self.watch.seconds if self.watch else 0.0

    def succeeded(self) -> None:
        """Note that its action succeeded."""
        cached = self.step.name in self.workspace.run_state.cached
        self.result = StepResult.PLACED if self._placed_only else StepResult.CACHED if cached else StepResult.BUILT

    def assess(self, *, look_in_cache: bool = False) -> Assessment:
        """What is known about the step before a run. ``look_in_cache`` also asks the cache, which may be far away, for its result."""
        # Imported here, since a no-op run does not need it.
        from coconut_tasks.freshness.forecast import Assessment

        verdict = check_staleness(
            self.step, self._record, self._inputs, self.workspace, self._last_variant, ran=self._ran
        )
        found = self._record.inputs if self._record else Inputs()
        watched = frozenset((*self._inputs, *found.files))  # also files that must not exist
        roots = (*found.roots, *found.folders)
        ignored = bool(self._store.get(self.step.name, IGNORED))
        cached = look_in_cache and bool(verdict.reasons) and not verdict.only_places and self._is_cached()
        return Assessment(self.step, tuple(verdict.reasons), watched, roots, len(self._inputs), cached, ignored)

    def _is_cached(self) -> bool:
        """Whether the cache has the step's result. Nothing is fetched."""
        if self.workspace.ask_cargo or not self.workspace.options.may_use_a_cache:
            return False
        from coconut_tasks.actions.cached import find

        return find(self.step, self.workspace, ahead=True) is not None

    def _ran(self) -> bool:
        """Whether this variant of the step ever ran, successfully or not."""
        outputs = map(self.workspace.path, self.step.outputs)
        return self.workspace.log(self.step).exists() or any(map(os.path.exists, outputs))

    def _last_variant(self) -> Mapping[str, Any] | None:
        """The signature of the last successful run of another variant of this step."""
        values = self._store.latest(f"{self.step.part}#").get(VALUES)
        found = values.get("signature") if isinstance(values, dict) else None
        return found if isinstance(found, dict) else None

    def _run(self, task: Any) -> TaskFailed | None:
        self.watch = Stopwatch()
        with timed(self.watch):
            try:
                done = self._do()
            except CoconutError as error:
                return TaskFailed(error.shown)
            except OSError as error:
                return TaskFailed(user_fault(error).shown)
        task.file_dep.clear()
        task.file_dep.update(done.inputs)

        def save() -> Mapping[str, Any]:
            # doit calls this in its main thread just before it records the task, then asks the checker for each input. Setting the states
            # one by one would take as long as everything else about the record.
            self._store.row(self.step.name).update(done.states)
            self._checker.states = done.states
            return done.values

        task.value_savers.append(save)
        return None

    def _do(self) -> Done:
        # Imported here, since a no-op run does not need it.
        from coconut_tasks.actions.build import build, place_again

        if self._record is not None and self.verdict is not None and self.verdict.only_places:
            self._placed_only = True
            return place_again(self.step, self._inputs, self.workspace, self._store)
        # Who asks for each step, or for cargo, is not served with a result from elsewhere.
        use_cache = self.verdict is not None and bool(self.verdict.reasons) and not self.workspace.ask_cargo
        return build(
            self.step, self._record, self._inputs, self._statement, self.workspace, self._store, use_cache=use_cache
        )

    def record_touched(self) -> None:
        """Record the new stats of files that were touched but not changed, so that the next run does not read them."""
        if self.verdict is None or not self.verdict.touched:
            return
        store, files, workspace = self._store, self.workspace.files, self.workspace
        row = store.row(self.step.name)
        values = row.get(VALUES, {})
        for path in self.verdict.touched & row.keys():
            row[path] = files.state(path)
        for part in ("outputs", "published"):
            for spelt in values.get(part, {}):
                if workspace.path(spelt) in self.verdict.touched:
                    values[part][spelt] = files.state(workspace.path(spelt))
        with suppress(UsageError):  # it would only save time
            store.write(self.step.name)

    def measured(self) -> tuple[str, tuple[PlatformDigest, ...]] | None:
        """For a measurement, the path of the measured file in ``bin/``, and its digest for each platform."""
        action = self.step.action
        if not isinstance(action, Measurement):
            return None
        with open(self.workspace.path(action.json), encoding="utf-8") as file:
            found = json.load(file)["measurements"]
        digests = tuple(PlatformDigest(one["platform"], one["digest"]) for one in found)
        return os.path.join(self.workspace.bin, action.shown), digests

    def clean(self, say: Callable[[str], None], *, dry: bool) -> None:
        """Remove the step's outputs, or if ``dry`` only name them; see ``actions.clean``."""
        from coconut_tasks.actions.clean import clean

        clean(self.step, self._record, self.workspace, say, dry=dry)


def node_of(task: Any) -> Node | None:
    """A task's node; None for a group or a task that is not ours."""
    node = (task.meta or {}).get(META)
    assert node is None or isinstance(node, Node)
    return node
