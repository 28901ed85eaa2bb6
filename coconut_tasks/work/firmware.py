"""Take the guest firmware."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from coconut_tasks.effects.place import copy_whole
from coconut_tasks.errors import StepError
from coconut_tasks.finding import printable
from coconut_tasks.step import FirmwareImage
from coconut_tasks.world import World


def take_firmware(work: FirmwareImage, world: World, log: Path) -> None:
    """Run the recipe's command, if there is one, and copy the image that the recipe points at.

    Raises:
        StepError: the command failed, or there is no image afterwards.
    """
    if work.command is not None:
        world.run(work.command, log)
    if work.source is None:
        return
    fault = image_fault(work, world)
    if fault is not None:
        raise StepError(fault)
    copy_whole(Path(world.path(work.source)), Path(world.path(work.output)))


def image_fault(work: FirmwareImage, world: World) -> str | None:
    """What keeps the image from being taken, in a line; None where nothing does. It is not opened: to open a pipe is to wait."""
    assert work.source is not None
    path = world.path(work.source)
    wrong = _wrong_with(path)
    if wrong is None:
        return None
    after = " after its command ran" if work.command else ""
    blank = ", which ends with a blank" if path != path.rstrip() else ""
    where = f" (from {work.variable})" if work.variable else ""
    return f"the firmware image {wrong}{after}: {printable(path)}{blank}{where}"


def _wrong_with(path: str) -> str | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "is a link to nothing" if os.path.islink(path) else "is not there"
    except (OSError, ValueError) as error:
        return f"cannot be looked at ({getattr(error, 'strerror', None) or error})"
    if stat.S_ISDIR(found.st_mode):
        return "is a folder"
    if not stat.S_ISREG(found.st_mode):
        return "is a pipe or a device, not a file"
    if found.st_size == 0:
        return "is empty"
    return None if os.access(path, os.R_OK) else "may not be read"
