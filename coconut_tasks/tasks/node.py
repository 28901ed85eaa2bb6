"""A step as doit sees it: when it is up to date, what its action does, what ``clean`` removes."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit.exceptions import TaskFailed
from doit.globals import Globals

from coconut_tasks.effects.place import copy_whole
from coconut_tasks.effects.stopwatch import Stopwatch, timed
from coconut_tasks.errors import CoconutError, StepError, UsageError, user_fault
from coconut_tasks.inputs.files import CLOCK_LAG_NS, Since, State, recorded_state
from coconut_tasks.inputs.known import Inputs
from coconut_tasks.layout import SIGNATURES, goes_with
from coconut_tasks.staleness import Record, Verdict, input_files, judge, signature
from coconut_tasks.step import CargoItem, FsImage, IgvmFile, MakeItem, Measurement, Provenance, Step, VersionFile
from coconut_tasks.tasks.ahead import get_ahead, prepare_ahead
from coconut_tasks.tasks.backend import Backend
from coconut_tasks.tasks.checker import Checker
from coconut_tasks.tasks.stand import from_here
from coconut_tasks.world import World

if TYPE_CHECKING:
    from coconut_tasks.forecast import Outlook

META = "coconut"
"""The key of a task's ``meta`` under which its node is found."""


class Result(Enum):
    """What became of a step in a run."""

    BUILT = "built"
    PLACED = "placed again"
    """Nothing was built; a file was copied to ``bin/``."""
    FRESH = "up to date"
    FAILED = "failed"
    NOT_RUN = "not run, since they need a failed step"
    IGNORED = "ignored, as `doit ignore` asked"


class Node:
    """Joins a step, the world and doit's record of it."""

    def __init__(self, step: Step, world: World, paper: Provenance | None = None) -> None:
        """``paper`` is a statement that tells of the step; of an IGVM file, its own."""
        self.step = step
        self.world = world
        self._paper = paper
        backend().name_record(step.name, step.record)
        self._record = self._read_record()
        self.verdict: Verdict | None = None
        self.watch: Stopwatch | None = None
        """Of the action; None until it begins."""
        self.result: Result | None = None
        """None until the run has dealt with it."""
        self._placed_only = False

    def __repr__(self) -> str:
        return f"<{self.step.name}>"

    def task(self, after: Mapping[str, str]) -> dict[str, Any]:
        """The task's dictionary; ``after`` maps a file to the task that makes it."""
        step, world = self.step, self.world
        self._inputs = input_files(step, self._record.inputs if self._record else Inputs(), world)
        return {
            "basename": step.stage,
            "name": step.name.removeprefix(f"{step.stage}:"),
            "doc": step.doc,
            "actions": [(self._run,)],
            "file_dep": list(self._inputs),
            "targets": [world.path(output) for output in step.outputs],
            "task_dep": [after[path] for path in step.after if path in after],
            "uptodate": [self._is_up_to_date],
            "clean": [_Removal(self)],
            # Output goes to a log of the step's own: doit's capture replaces sys.stdout, which threads share.
            "io": {"capture": False},
            "title": lambda task: f"{task.name}  {step.doc}",
            "meta": {META: self, "commands": [str(command) for command in step.commands]},
        }

    def _is_up_to_date(self) -> bool:
        self.verdict = judge(self.step, self._record, self._inputs, self.world, brief=True)
        return not self.verdict.reasons

    @property
    def seconds(self) -> float:
        """How long its action took so far, without what it waited."""
        return self.watch.seconds if self.watch else 0.0

    def succeeded(self) -> None:
        """Its action ended well."""
        self.result = Result.PLACED if self._placed_only else Result.BUILT

    def outlook(self) -> Outlook:
        """What is known of the step before a run."""
        from coconut_tasks.forecast import Outlook  # imported here: a run that has nothing to do tells nothing

        verdict = judge(self.step, self._record, self._inputs, self.world, self._last_variant)
        found = self._record.inputs if self._record else Inputs()
        watched = frozenset((*self._inputs, *found.files))  # a file that must stay away counts too
        roots = (*found.roots, *found.folders)
        ignored = bool(backend().get(self.step.name, "ignore:"))
        return Outlook(self.step, tuple(verdict.reasons), watched, roots, len(self._inputs), ignored)

    def _last_variant(self) -> Mapping[str, Any] | None:
        """What the last good run of another variant of this step had as its signature, where this one never ran."""
        ran = self.world.log(self.step).exists() or any(map(os.path.exists, map(self.world.path, self.step.outputs)))
        if self._record is not None or ran:
            return None
        values = backend().latest(f"{self.step.stage}:{self.step.component}#").get("_values_:")
        found = values.get("signature") if isinstance(values, dict) else None
        return found if isinstance(found, dict) else None

    def _run(self, task: Any) -> TaskFailed | None:
        self.watch = Stopwatch()
        with timed(self.watch):
            try:
                self._build(task)
            except CoconutError as error:
                return TaskFailed(str(error))
            except OSError as error:
                return TaskFailed(str(user_fault(error)))
        return None

    def _build(self, task: Any) -> None:
        step, world = self.step, self.world
        if self._record is not None and self.verdict is not None and self.verdict.only_places:
            self._placed_only = True
            values = {**backend().get(step.name, "_values_:"), "published": self._publish()}
            states = world.files.states(self._inputs, Since(0, world.files.seen()))
        else:
            from coconut_tasks.work import perform  # imported here: a run that has nothing to do needs none of it

            if isinstance(step.work, CargoItem | MakeItem | IgvmFile):
                get_ahead(cargo=isinstance(step.work, CargoItem), then=self._rehearsal())
            if isinstance(step.work, IgvmFile) and self._paper is not None:
                prepare_ahead(self._paper, world)
            if self._record is not None:
                # What lies in bin/ is compared with what is made.
                places = {world.path(place): state for place, state in self._record.published.items()}
                world.files.know_all(chain(self._record.files.items(), places.items()))
            # What was looked at before tells what the step saw; the rest is judged by its age.
            before = world.files.seen()
            started_ns = time.time_ns() - CLOCK_LAG_NS
            # Dropped first: a run that is killed from here on leaves no record that could vouch for half an output.
            backend().drop(step.name)
            reading = perform(step, world, first=self._record is None)
            found = reading.inputs
            inputs = input_files(step, found, world)
            # Only what is this step's own: a copy of everything for each of many steps would fill the memory.
            own = {path: before[path] for path in inputs if path in before}
            since = Since(reading.started_ns or started_ns, own, reading.vouched, reading.looked)
            task.file_dep.clear()
            task.file_dep.update(inputs)
            signed = signature(step, found, world)
            # What is written into them from now on is for the next run to see.
            states = world.files.states(inputs, since)
            if step.link:
                from coconut_tasks.work.link import write_link  # as above

                write_link(step, signed, states, reading.made, world)
            if self._record is None:
                from coconut_tasks.tasks.variants import drop_old_variants  # as above

                drop_old_variants(step, backend(), world)
            values = {
                "tree": world.tree,
                "signature": signed,
                "inputs": found.as_json(),
                "outputs": {output: world.files.state(world.path(output)) for output in step.outputs},
                "published": self._publish(),
            }

        def save() -> dict[str, Any]:
            # doit calls this in its main thread right before it records the task, and asks the checker for each input then. To set them
            # one by one takes as long as all else that is done about the record.
            backend().row(step.name).update(states)
            Checker.states = states
            return values

        task.value_savers.append(save)

    def _rehearsal(self) -> Callable[[], None] | None:
        """What can be made of statements while a tool is at work, if it reads what it did the last time."""
        if self._paper is None or self._record is None or isinstance(self.step.work, IgvmFile):
            return None
        try:
            last = Path(self.world.path(self.step.link)).read_bytes()
        except OSError:
            return None

        def rehearse() -> None:
            from coconut_tasks.work.provenance import rehearse_provenance  # as above

            assert self._paper is not None
            rehearse_provenance(self._paper, self.step, last, self._inputs, self.world)

        return rehearse

    def _publish(self) -> dict[str, State]:
        step, world = self.step, self.world
        for output, place in step.publish:
            path = world.path(place)
            others = goes_with(path, image=isinstance(step.work, IgvmFile))
            # Looked for when the run began, too.
            for goes in (path, *others):
                if os.path.lexists(goes) and not world.placed.has(goes):
                    raise StepError(
                        f"{goes} came while this run was at work, and this program did not make it: it was left alone"
                    )
            world.placed.add(path)
            if world.files.digest(path) == world.files.digest(world.path(output)):
                continue
            # A digest or a signature must never stand beside a file that it is not of: what speaks of the file that goes, goes first.
            for other in others:
                if other.endswith(tuple(SIGNATURES.values())):  # the others are written again
                    world.placed.drop(other)
                Path(other).unlink(missing_ok=True)
                world.files.look_again(other)
            copy_whole(Path(world.path(output)), Path(path))
            world.files.copied(world.path(output), path)
        return {place: world.files.state(world.path(place)) for _, place in step.publish}

    def remember_touched(self) -> None:
        """Record the new stats of files that were touched but not changed, so that the next run need not read them."""
        if self.verdict is None or not self.verdict.touched:
            return
        store, files, world = backend(), self.world.files, self.world
        row = store.row(self.step.name)
        values = row.get("_values_:", {})
        for path in self.verdict.touched & row.keys():
            row[path] = files.state(path)
        for part in ("outputs", "published"):
            for spelt in values.get(part, {}):
                if world.path(spelt) in self.verdict.touched:
                    values[part][spelt] = files.state(world.path(spelt))
        with suppress(UsageError):  # it only saves time
            store.write(self.step.name)

    def digest(self) -> tuple[str, str] | None:
        """The measured file's place in ``bin/`` and its launch digest, for a measurement."""
        work = self.step.work
        if not isinstance(work, Measurement):
            return None
        with open(self.world.path(work.json), encoding="utf-8") as file:
            return os.path.join(self.world.bin, work.shown), json.load(file)["digest"]

    def _read_record(self) -> Record | None:
        row = backend().row(self.step.name)
        values: Any = row.get("_values_:")
        try:
            if values["tree"] != self.world.tree:
                return None  # of a checkout that was copied or moved: what it says of files is about the other one
            return Record(
                signature=values["signature"],
                inputs=Inputs.from_json(values["inputs"]),
                files={path: recorded_state(row[path]) for path in row["deps:"]},
                outputs={path: recorded_state(state) for path, state in values["outputs"].items()},
                published={path: recorded_state(state) for path, state in values["published"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None  # no record, or one that is not of this program

    def clean(self, dryrun: bool) -> None:
        """Remove what the step made, or only say what that is."""
        step, world = self.step, self.world
        if isinstance(step.work, VersionFile):
            return  # part of the source as far as cargo is concerned: without it, a plain `cargo build` of the tree could fail
        remove = []
        for output, place in step.publish:
            # Another variant's file of the same name is not this task's to remove.
            if world.files.look_again(world.path(place)) and world.files.digest(world.path(place)) == self._digest_of(
                output
            ):
                remove.append(world.path(place))
                # No digest without its image, no signature without its paper.
                remove += goes_with(world.path(place), image=isinstance(step.work, IgvmFile))
        remove += [world.path(output) for output in step.outputs]
        if isinstance(step.work, MakeItem) and self._record is not None:
            made = world.path(step.work.made)
            remove += (
                [] if made in self._record.inputs.files else [made]
            )  # else no rule made it: it is somebody's source
        if isinstance(step.work, FsImage) and not dryrun:
            shutil.rmtree(world.path(step.work.root), ignore_errors=True)
        for path in remove:
            if os.path.exists(path):
                print(f"{step.name} - removing {from_here(path)}")
                if not dryrun:
                    os.unlink(path)
                    world.placed.drop(path)
        if not dryrun:
            self._remove_empty_folders([os.path.dirname(path) for path in remove])

    def _digest_of(self, output: str) -> str | None:
        record = self._record
        return (
            record.outputs.get(output, (None, None))[1] if record else self.world.files.digest(self.world.path(output))
        )

    def _remove_empty_folders(self, folders: list[str]) -> None:
        for folder in folders:
            while folder.startswith(self.world.bin + os.sep):
                try:
                    os.rmdir(folder)
                except OSError:
                    break
                folder = os.path.dirname(folder)


class _Removal:
    """The action of ``clean``; doit shows its text, without the first character."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __call__(self, dryrun: bool) -> None:
        self._node.clean(dryrun)

    def __str__(self) -> str:
        return "<remove what it made"


def node_of(task: Any) -> Node | None:
    """A task's node; None for a group, or a task of another kind."""
    node = (task.meta or {}).get(META)
    assert node is None or isinstance(node, Node)
    return node


def backend() -> Backend:
    """doit's record store, which is ours."""
    store = Globals.dep_manager.backend
    assert isinstance(store, Backend)  # or the command tells so
    return store
