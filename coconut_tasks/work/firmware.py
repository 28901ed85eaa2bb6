"""Take the guest firmware."""

from __future__ import annotations

from pathlib import Path

from coconut_tasks.effects.place import copy_whole
from coconut_tasks.errors import StepError
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
    source = Path(world.path(work.source))
    where = f" (from ${work.variable})" if work.variable else ""
    if not source.is_file():
        after = " after its command ran" if work.command else ""
        raise StepError(f"the firmware image is not there{after}: {work.source}{where}")
    if source.stat().st_size == 0:
        raise StepError(f"the firmware image is empty: {work.source}{where}")
    copy_whole(source, Path(world.path(work.output)))
