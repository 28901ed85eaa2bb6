"""Lay out the modules and pack the file-system image."""

from __future__ import annotations

from pathlib import Path

from coconut_tasks.effects.place import lay_down
from coconut_tasks.steps.action import FsImage
from coconut_tasks.workspace.workspace import Workspace


def pack_fs(action: FsImage, workspace: Workspace, log: Path) -> None:
    """Make the folder anew, so that nothing that is no longer in the recipe stays in the image, and pack it.

    Files are laid down in the order of their paths, with fixed modes and times: a packer that takes them as the folder lists them, or
    that looks at modes, gets the same each time, whatever the user's umask.

    Raises:
        StepError: packit failed.
    """
    lay_down([(Path(workspace.path(file)), path) for path, file in action.files], Path(workspace.path(action.root)))
    workspace.run(action.pack, log)
