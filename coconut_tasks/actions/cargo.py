"""Build a cargo item and take its program out of cargo's target folder."""

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
from coconut_tasks.workspace.workspace import Workspace

if TYPE_CHECKING:
    from coconut_tasks.actions.cargo_traces import Built
    from coconut_tasks.inputs.fingerprints import Written

_CRATE = b'{"reason":"compiler-artifact",'
"""How the line of a message begins that tells of a crate, compiled now or up to date; a build script is one, too."""
_TRIES = 4
"""One where all is well. The others: what is in doubt is cleaned, what a script may have written itself is looked at once more, and what
turns out to be somebody's edit is cleaned too."""


def build_cargo_item(name: str, action: CargoItem, workspace: Workspace, log: Path, *, first: bool) -> Reading:
    """Build, take the program, copy it with objcopy; the result says what was read. ``name`` is the step's.

    Raises:
        StepError: cargo or objcopy failed, or cargo made no such program.
    """
    # While cargo works: it is no reason not to begin.
    telling = Meanwhile(
        partial(workspace.shared, "overlooked toolchain", partial(_tell_of_an_overlooked_toolchain, workspace))
    )
    with workspace.alone_with_cargo():
        started_ns = time.time_ns() - CLOCK_LAG_NS
        files = workspace.files
        was_there = files.contents()
        if first:
            # Rust sources that a script generates may be there from an earlier build; they are compared with what it writes now.
            was_there |= {
                path: files.digest(path) if path.endswith(".rs") else None for path in files_below(workspace.tree)
            }
        # Another item may put a program of the same name in the same place, so it is taken before anyone else may build.
        built = _build(name, action, workspace, log, was_there)
        from coconut_tasks.actions.cargo_traces import reading  # imported ahead while cargo worked, as below

        found = reading(name, action, built, started_ns, workspace, log)
    telling.result()
    return found


def _tell_of_an_overlooked_toolchain(workspace: Workspace) -> None:
    """Of the items that name no toolchain of their own."""
    toolchain = workspace.toolchain(None)
    if toolchain is not None and (choice := overlooked_choice(workspace.tree, workspace.environment, toolchain)):
        workspace.say(choice.shown)


def _build(name: str, action: CargoItem, workspace: Workspace, log: Path, was_there: dict[str, str | None]) -> Built:
    """Run cargo; once more where it took something as fresh that may be made of something else, or where files changed meanwhile."""
    written: Mapping[str, Written] = {}
    cleaned: set[str] = set()
    for left in reversed(range(_TRIES)):
        started_ns = time.time_ns() - CLOCK_LAG_NS
        failure = None
        try:
            printed = workspace.run(action.build, log, hear=_count(name, workspace))
        except CommandFailed as error:
            failure, printed = error, error.printed
        # Not before cargo begins: to import what reads its traces takes longer than to start it (tasks/ahead.py does it meanwhile).
        from coconut_tasks.actions.cargo_traces import Built, check_artifacts, rewritten_configuration, take
        from coconut_tasks.inputs.cargo import read_build
        from coconut_tasks.inputs.messages import parse_messages

        messages = parse_messages(printed)
        # While objcopy works: what it makes of a program that turns out to be of old sources is made once more.
        taking = Meanwhile(partial(take, action, messages, workspace, log)) if failure is None else None
        try:
            build = read_build(messages, workspace.tree, action.manifest, workspace.environment)
            artifacts, found = check_artifacts(build, messages, action, workspace, started_ns, written, was_there)
        finally:
            if taking is not None:
                taking.wait()
        written = found.written
        # A failure may be the fault of an old artifact, and what was made before it is as good as ever.
        doubtful = found.doubtful - cleaned
        if doubtful and left:
            if found.of_others:
                note = Fault(
                    "target-of-others",
                    "note: cargo's target folder was filled by another program (cargo by hand, xbuild, build.py), and nothing says "
                    "of which sources it is; so all of it is compiled once more",
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
        return Built(build, artifacts, found.good, found.made, started_ns, taking.result())
    raise AssertionError("the last run returns or raises")


def _count(name: str, workspace: Workspace) -> Callable[[bytes], None]:
    """Counts the crates that cargo names, as it names them."""
    crates = workspace.run_state.crates
    crates[name] = 0

    def hear(line: bytes) -> None:
        crates[name] += line.startswith(_CRATE)

    return hear


def _warn(name: str, unsettled: Mapping[str, str], log: Path) -> None:
    for path, package in sorted(unsettled.items()):
        text = f"{path} changed each time that cargo built {package}, so {name} will be built again by the next run"
        warn("changed-each-time", text, log)


def _clean(packages: list[str], action: CargoItem, workspace: Workspace, log: Path) -> None:
    from coconut_tasks.inputs.messages import package_name  # as above

    # What cargo made of them is removed from its target folder; to set the files' times would be to write into the source.
    names = sorted({package_name(package) for package in packages})
    argv = (*action.clean.argv, *(f"--package={name}" for name in names))
    workspace.run(replace(action.clean, argv=argv), log)
