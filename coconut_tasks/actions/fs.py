"""Lay out the modules and pack the file-system image."""

from __future__ import annotations

from pathlib import Path

from coconut_tasks.effects.place import lay_down
from coconut_tasks.steps.action import FsImage
from coconut_tasks.workspace.workspace import Workspace


def pack_fs(action: FsImage, workspace: Workspace, log: Path) -> None:
    """Recreate the folder, so that nothing stays in the image that is no longer in the recipe, and pack it.

    Files are copied in the order of their paths, with fixed modes and times, so that the result depends neither on the order in which
    the folder is listed nor on the user's umask.

    Raises:
        StepError: packit failed.
    """
    lay_down([(Path(workspace.path(file)), path) for path, file in action.files], Path(workspace.path(action.root)))
    workspace.run(action.pack, log)
