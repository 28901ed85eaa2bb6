"""Build a cargo item and copy its program from cargo's target folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from coconut_tasks.effects.meanwhile import Meanwhile
from coconut_tasks.effects.process import CommandFailed, warn
from coconut_tasks.errors import Fault
from coconut_tasks.inputs.discovered import Reading
from coconut_tasks.inputs.files import CLOCK_LAG_NS, files_below
from coconut_tasks.inputs.toolchain import overlooked_choice
from coconut_tasks.steps.action import CargoItem
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.workspace import Workspace

if TYPE_CHECKING:
    from coconut_tasks.actions.cached_units import CachedUnits
    from coconut_tasks.actions.cargo_traces import Built
    from coconut_tasks.inputs.fingerprints import Written

_CRATE = b'{"reason":"compiler-artifact",'
"""The start of a message about a crate, compiled now or up to date; a build script is also one."""
_TRIES = 4
"""Normally one. Further ones follow after doubtful artifacts were cleaned, to check again what a script may have written itself, and after
what turned out to be a user's edit was cleaned too."""


def build_cargo_item(step: Step, action: CargoItem, workspace: Workspace, log: Path, *, first: bool) -> Reading:
    """Build, take the program and copy it with objcopy. The result is what was read. ``action`` is the step's.

    Raises:
        StepError: cargo or objcopy failed, or cargo did not make the program.
    """
    # In parallel with cargo, since the note does not prevent the build.
    telling = Meanwhile(
        partial(workspace.shared, "overlooked toolchain", partial(_tell_of_an_overlooked_toolchain, workspace))
    )
    with workspace.alone_with_cargo():
        started_ns = time.time_ns() - CLOCK_LAG_NS
        files = workspace.files
        was_there = files.contents()
        if first:
            # Rust sources from a script of an earlier build may exist; they are compared with what the script writes now.
            was_there |= {
                path: files.digest(path) if path.endswith(".rs") else None for path in files_below(workspace.tree)
            }
        units = _cached_units(step, action, workspace)
        # Another item may write a program with the same path, so take it before releasing the lock.
        try:
            built = _build(step.name, action, workspace, log, was_there)
        except CommandFailed:
            if units is None or not units.undo():
                raise
            built = _build(step.name, action, workspace, log, was_there)
        from coconut_tasks.actions.cargo_traces import reading  # imported in advance while cargo ran, as below

        found = reading(step.name, action, built, started_ns, workspace, log)
        if units is not None:
            found = replace(found, tainted=not units.keep(built))
    telling.result()
    return found


def _cached_units(step: Step, action: CargoItem, workspace: Workspace) -> CachedUnits | None:
    """What a cache has of the item's crates, restored; None if no cache is on."""
    if workspace.run_state.cache is None:
        return None
    from coconut_tasks.actions.cached_units import units_of

    units = units_of(step, action, workspace)
    if units is not None:
        units.restore()
    return units


def _tell_of_an_overlooked_toolchain(workspace: Workspace) -> None:
    """For the items that do not name their own toolchain."""
    toolchain = workspace.toolchain(None)
    if toolchain is not None and (choice := overlooked_choice(workspace.tree, workspace.environment, toolchain)):
        workspace.say(choice.shown)


def _build(name: str, action: CargoItem, workspace: Workspace, log: Path, was_there: dict[str, str | None]) -> Built:
    """Run cargo. Run it again if it considered something fresh that may be made of other sources, or if files changed meanwhile."""
    written: Mapping[str, Written] = {}
    cleaned: set[str] = set()
    for left in reversed(range(_TRIES)):
        started_ns = time.time_ns() - CLOCK_LAG_NS
        failure = None
        try:
            printed = workspace.run(action.build, log, hear=_count(name, workspace))
        except CommandFailed as error:
            failure, printed = error, error.printed
        # Not before cargo starts, since importing these takes longer than starting it (actions/ahead.py imports them meanwhile).
        from coconut_tasks.actions.cargo_traces import Built, check_artifacts, rewritten_configuration, take
        from coconut_tasks.inputs.cargo import read_build
        from coconut_tasks.inputs.messages import parse_messages, target_folder

        messages = parse_messages(printed)
        # In parallel with objcopy, which runs again if its program turns out to be made of old sources.
        taking = Meanwhile(partial(take, action, messages, workspace, log)) if failure is None else None
        try:
            build = read_build(messages, workspace.tree, action.manifest, workspace.environment)
            artifacts, found = check_artifacts(build, messages, action, workspace, started_ns, written, was_there)
        finally:
            if taking is not None:
                taking.wait()
        written = found.written
        # An old artifact may have caused a failure; what was made before it is still valid.
        doubtful = found.doubtful - cleaned
        if doubtful and left:
            if found.of_others:
                note = Fault(
                    "target-of-others",
                    "note: another program filled cargo's target folder (cargo by hand, xbuild or build.py), and its sources are "
                    "unknown; everything will be compiled again",
                )
                workspace.say(note.shown)
            _clean(sorted(doubtful), action, workspace, log)
            cleaned |= doubtful
            continue
        if taking is None:
            assert failure is not None
            raise failure
        unsettled = found.unsettled | rewritten_configuration(build, workspace, started_ns)
        if unsettled and left:
            continue
        _warn(name, unsettled, log)
        return Built(
            build,
            artifacts,
            found.good,
            found.made,
            started_ns,
            taking.result(),
            target_folder(messages, action.triple),
        )
    raise AssertionError("the last run returns or raises")


def _count(name: str, workspace: Workspace) -> Callable[[bytes], None]:
    """A listener that counts the crates that cargo reports."""
    crates = workspace.run_state.crates
    crates[name] = 0

    def hear(line: bytes) -> None:
        crates[name] += line.startswith(_CRATE)

    return hear


def _warn(name: str, unsettled: Mapping[str, str], log: Path) -> None:
    for path, package in sorted(unsettled.items()):
        text = f"{path} changed each time that cargo built {package}, so the next run will build {name} again"
        warn("changed-each-time", text, log)


def _clean(packages: list[str], action: CargoItem, workspace: Workspace, log: Path) -> None:
    from coconut_tasks.inputs.messages import package_name  # as above

    # Remove their artifacts from the target folder: setting new times on their sources would change the tree.
    names = sorted({package_name(package) for package in packages})
    argv = (*action.clean.argv, *(f"--package={name}" for name in names))
    workspace.run(replace(action.clean, argv=argv), log)
