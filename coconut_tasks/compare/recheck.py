"""Build what was taken from a cache, here and without it, and compare."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from coconut_tasks.actions.cached_units import target_folder_of
from coconut_tasks.compare.reproduce import build_command, remove
from coconut_tasks.dataclass import dataclass
from coconut_tasks.effects.aside import emptied
from coconut_tasks.effects.lock import alone_in
from coconut_tasks.effects.process import run
from coconut_tasks.steps.action import CargoItem
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.run_state import FromCache
from coconut_tasks.workspace.session import Session, open_session
from coconut_tasks.workspace.source import find_recipe
from coconut_tasks.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Rechecked:
    """A step that was taken from a cache, and then built."""

    step: str
    cached: FromCache
    is_same: bool
    """Whether all its outputs have the same bytes."""


def recheck(session: Session, taken: Sequence[tuple[Step, FromCache]], folder: Path) -> list[Rechecked]:
    """Build steps of a session with the output folder ``folder``, which is recreated, and removed if all is the same.

    cargo builds at the same paths, since a path may be in the bytes: what is in its target folder is set aside, and brought back at the
    end.

    Raises:
        StepError: the build failed.
    """
    remove(folder)
    workspace, options = session.workspace, session.options
    names = options.recipes or workspace.recipes
    recipes = tuple(str(find_recipe(name, options, workspace.tree)) for name in names)
    there = replace(options, recipes=recipes, svsm=workspace.tree, bin=str(folder))
    words = (*recipes, *(step.name for step, _ in taken))
    command = build_command(options, workspace.tree, str(folder), None, words, is_copy=options.is_copy)
    log = workspace.state / "logs" / "cache-check.log"
    log.unlink(missing_ok=True)
    with ExitStack() as held:
        for target in _target_folders([step for step, _ in taken], workspace):
            held.enter_context(emptied(Path(target), lambda: alone_in(workspace.cargo_place)))
        run(command, options.workdir, options.environment, log, descriptors=workspace.run_state.descriptors)
    found = _compared(workspace, open_session(there), taken)
    if all(one.is_same for one in found):
        remove(folder)
    return found


def _compared(workspace: Workspace, session: Session, taken: Sequence[tuple[Step, FromCache]]) -> list[Rechecked]:
    made = {step.name: step for step in session.plan.steps}
    return [
        Rechecked(step.name, cached, _outputs(step, workspace) == _outputs(made[step.name], session.workspace))
        for step, cached in taken
    ]


def _outputs(step: Step, workspace: Workspace) -> list[str | None]:
    """The digests of what a step made; the link is about its inputs too, and is left out."""
    return [workspace.files.digest(workspace.path(output)) for output in step.outputs if output != step.link]


def _target_folders(steps: Sequence[Step], workspace: Workspace) -> Collection[str]:
    """cargo's target folders, without the one of reproducible builds, which is in the output folder."""
    if workspace.reproducible is not None:
        return ()
    # A makefile may call cargo too.
    actions = (step.action if isinstance(step.action, CargoItem) else None for step in steps)
    return dict.fromkeys(target_folder_of(action, workspace) for action in actions)
