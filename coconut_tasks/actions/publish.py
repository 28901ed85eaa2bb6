"""Copy a step's files to ``bin/``, where users find them, without replacing files that this program did not make."""

from __future__ import annotations

import os
from pathlib import Path

from coconut_tasks.effects.place import copy_whole
from coconut_tasks.errors import StepError
from coconut_tasks.inputs.files import FileState
from coconut_tasks.layout import SIGNATURES, goes_with
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.workspace import Workspace


def publish(step: Step, workspace: Workspace) -> dict[str, FileState]:
    """Copy each output to its place; returns the state of each place afterwards.

    Raises:
        StepError: a file that this program did not make is there.
    """
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
