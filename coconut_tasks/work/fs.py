"""Lay out the modules and pack the file-system image."""

from __future__ import annotations

import shutil
from pathlib import Path

from coconut_tasks.effects.place import copy_whole
from coconut_tasks.effects.process import run
from coconut_tasks.step import FsImage
from coconut_tasks.world import World


def pack_fs(work: FsImage, world: World, log: Path) -> None:
    """Make the folder anew, so that nothing that is no longer in the recipe stays in the image, and pack it.

    Files are laid down in the order of their paths: a packer that takes them as the folder lists them gets the same order each time.

    Raises:
        StepError: packit failed.
    """
    root = Path(world.path(work.root))
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for path, file in work.files:
        copy_whole(Path(world.path(file)), root / path)
    Path(world.path(work.output)).unlink(missing_ok=True)
    run(work.pack, world.tree, world.environment, log)
