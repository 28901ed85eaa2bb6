"""Take the guest firmware."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from coconut_tasks.effects.place import copy_whole
from coconut_tasks.errors import StepError
from coconut_tasks.steps.action import FirmwareImage
from coconut_tasks.wording import printable
from coconut_tasks.workspace.workspace import Workspace


def take_firmware(action: FirmwareImage, workspace: Workspace, log: Path) -> None:
    """Run the recipe's command, if there is one, and copy the image that the recipe points at.

    Raises:
        StepError: the command failed, or there is no image afterwards.
    """
    if action.command is not None:
        workspace.run(action.command, log)
    if action.source is None:
        return
    fault = image_fault(action, workspace)
    if fault is not None:
        raise StepError("firmware-unusable", fault)
    copy_whole(Path(workspace.path(action.source)), Path(workspace.path(action.output)))


def image_fault(action: FirmwareImage, workspace: Workspace) -> str | None:
    """Why the image cannot be used, in one line; None if it can. It is not opened, since opening a pipe would block."""
    assert action.source is not None
    path = workspace.path(action.source)
    wrong = _wrong_with(path)
    if wrong is None:
        return None
    after = " after its command ran" if action.command else ""
    blank = ", which ends with white space" if path != path.rstrip() else ""
    where = f" (from {action.variable})" if action.variable else ""
    return f"the firmware image {wrong}{after}: {printable(path)}{blank}{where}"


def _wrong_with(path: str) -> str | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "is a broken link" if os.path.islink(path) else "does not exist"
    except (OSError, ValueError) as error:
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    if stat.S_ISDIR(found.st_mode):
        return "is a folder"
    if not stat.S_ISREG(found.st_mode):
        return "is a pipe or a device, not a file"
    if found.st_size == 0:
        return "is empty"
    return None if os.access(path, os.R_OK) else "is not readable"
