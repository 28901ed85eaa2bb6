"""Copy a step's files to ``bin/``, where users find them, without replacing files that this program did not make."""

from __future__ import annotations

import os
from pathlib import Path

from coconut_tasks.effects.place import copy_whole
from coconut_tasks.errors import StepError
from coconut_tasks.inputs.files import FileState
from coconut_tasks.layout import SIGNATURES, goes_with
from coconut_tasks.steps.action import Measurement, Provenance
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.workspace import Workspace


def publish(step: Step, workspace: Workspace) -> dict[str, FileState]:
    """Copy each output to its place; returns the state of each place afterwards.

    Raises:
        StepError: a file that this program did not make is there, or it describes another image than the one that is there.
    """
    _check_image(step, workspace)
    for output, place in step.publish:
        path = workspace.path(place)
        others = goes_with(path, image=step.action.is_image)
        # This was checked when the run started too.
        for goes in (path, *others):
            if os.path.lexists(goes) and not workspace.placed.has(goes):
                raise StepError(
                    "foreign-file",
                    f"cannot write {goes}: it appeared during this run and was not made by this program; move it away",
                )
        workspace.placed.add(path)
        if workspace.files.digest(path) == workspace.files.digest(workspace.path(output)):
            continue
        # A digest or signature must never be beside a file that it does not belong to: remove those of the old file first.
        for other in others:
            if other.endswith(tuple(SIGNATURES.values())):  # the others will be written again
                workspace.placed.drop(other)
            Path(other).unlink(missing_ok=True)
            workspace.files.look_again(other)
        copy_whole(Path(workspace.path(output)), Path(path))
        workspace.files.copied(workspace.path(output), path)
    return {place: workspace.files.state(workspace.path(place)) for _, place in step.publish}


def _check_image(step: Step, workspace: Workspace) -> None:
    """Raises StepError if files about one image would stand beside another one, whose step was left out of the run."""
    action = step.action
    if isinstance(action, Measurement | Provenance):
        image = os.path.join(workspace.bin, action.shown)
        if workspace.files.look_again(image) and workspace.files.digest(image) != workspace.files.digest(
            workspace.path(action.igvm)
        ):
            raise StepError(
                "another-image",
                f"{step.name} is about another build of {image} than the one that is there; build igvm:{action.target} with it",
            )
