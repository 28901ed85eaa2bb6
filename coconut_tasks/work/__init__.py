"""How each kind of step does its work: one module for each, chosen by the type of ``Step.work``.

Each is imported when it is needed: a compiler is to be started before what reads its results is there.
"""

from __future__ import annotations

import os
from pathlib import Path

from coconut_tasks.errors import StepError
from coconut_tasks.inputs.known import Reading
from coconut_tasks.step import (
    CargoItem,
    FirmwareImage,
    FsImage,
    IgvmFile,
    MakeItem,
    Measurement,
    Provenance,
    Step,
    VersionFile,
)
from coconut_tasks.world import World


def perform(step: Step, world: World, *, first: bool) -> Reading:
    """Run a step; its outputs are all in place when this returns. What it was found to read, beyond the plan, is the result.

    ``first`` says that nothing is known of what it reads.

    Raises:
        StepError: a command failed, or did not make what it should have.
    """
    log = world.log(step)
    log.unlink(missing_ok=True)
    own = f"{world.state}{os.sep}"
    for path in map(world.path, step.outputs):
        if path.startswith(own):
            # Of an earlier run: it is not to be taken for what a command made that makes nothing. To rename over a file takes longer, too.
            Path(path).unlink(missing_ok=True)
    reproducible = world.reproducible
    if reproducible is not None:
        from coconut_tasks.work.reproducible import prepare

        prepare(world, reproducible)
    found = _work(step, world, log, first=first)
    # A part of an image, that is.
    if reproducible is not None and isinstance(step.work, CargoItem | MakeItem) and step.work.objcopy is not None:
        from coconut_tasks.work.reproducible import warn_of_paths

        warn_of_paths(step.work.output, world, reproducible, log)
    for output in step.outputs:
        if output != step.link and world.files.look_again(world.path(output)) is None:
            raise StepError(f"the command ended well, but made no {output}\n  log: {log}")
    return found


def _work(step: Step, world: World, log: Path, *, first: bool) -> Reading:
    match step.work:
        case CargoItem() as work:
            from coconut_tasks.work.cargo import build_cargo_item

            return build_cargo_item(step.name, work, world, log, first=first)
        case MakeItem() as work:
            from coconut_tasks.work.make import build_make_item

            return Reading(build_make_item(work, step.key, world, log))
        case FsImage() as work:
            from coconut_tasks.work.fs import pack_fs

            pack_fs(work, world, log)
        case FirmwareImage() as work:
            from coconut_tasks.work.firmware import take_firmware

            take_firmware(work, world, log)
        case IgvmFile() as work:
            from coconut_tasks.work.igvm import build_igvm

            build_igvm(work, world, log)
        case Measurement() as work:
            from coconut_tasks.work.measure import measure

            measure(work, world, log)
        case Provenance() as work:
            from coconut_tasks.work.provenance import write_provenance

            return Reading(write_provenance(work, world))
        case VersionFile() as work:
            from coconut_tasks.work.version import write_version

            write_version(work, world)
    return Reading()
