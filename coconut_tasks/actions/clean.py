"""Remove what a step made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from coconut_tasks.layout import goes_with
from coconut_tasks.records.record import Record
from coconut_tasks.steps.action import FsImage
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.workspace import Workspace


def clean(step: Step, record: Record | None, workspace: Workspace, say: Callable[[str], None], *, dry: bool) -> None:
    """Remove it, or where it is ``dry`` only say what that is: ``say`` gets the path of each file and folder, absolute."""
    if step.action.writes_source:
        return  # part of the source as far as cargo is concerned: without it, a plain `cargo build` of the tree could fail
    remove = _files(step, record, workspace)
    if isinstance(step.action, FsImage) and os.path.isdir(root := workspace.path(step.action.root)):
        if not dry:
            shutil.rmtree(root)
        say(root)
    for path in remove:
        if os.path.exists(path):
            if not dry:
                os.unlink(path)
                workspace.placed.drop(path)
            say(path)
    if not dry:
        for folder in {os.path.dirname(path) for path in remove}:
            _remove_if_empty(folder, workspace.bin)


def _files(step: Step, record: Record | None, workspace: Workspace) -> list[str]:
    remove = []
    for output, place in step.publish:
        path = workspace.path(place)
        # Do not remove another variant's file of the same name.
        if workspace.files.look_again(path) and workspace.files.digest(path) == _digest(output, record, workspace):
            # A digest goes with its image, a signature with its file, but what somebody else put there is theirs.
            remove += [path, *filter(workspace.placed.has, goes_with(path, image=step.action.is_image))]
    remove += map(workspace.path, step.outputs)
    if record is not None:
        # A file that make read and that no rule made is a source.
        made = map(workspace.path, step.action.made_in_tree)
        remove += [path for path in made if path not in record.inputs.files]
    return remove


def _digest(output: str, record: Record | None, workspace: Workspace) -> str | None:
    if record is None:
        return workspace.files.digest(workspace.path(output))
    return record.outputs.get(output, (None, None))[1]


def _remove_if_empty(folder: str, bin: str) -> None:
    """Remove the folder and its parents up to the output folder, as far as they are empty."""
    while folder.startswith(bin + os.sep):
        try:
            os.rmdir(folder)
        except OSError:
            break
        folder = os.path.dirname(folder)
