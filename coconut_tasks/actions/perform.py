"""How each kind of step does its work: one module each, chosen by the type of ``Step.action``.

Each is imported when it is needed, so that a compiler starts before the code that reads its results is loaded.
"""

from __future__ import annotations

import os
from pathlib import Path

from coconut_tasks.errors import StepError
from coconut_tasks.inputs.discovered import Reading
from coconut_tasks.steps.action import (
    CargoItem,
    FirmwareImage,
    FsImage,
    IgvmImage,
    MakeItem,
    Measurement,
    Provenance,
    VersionFile,
)
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.workspace import Workspace


def perform(step: Step, workspace: Workspace, *, first: bool, use_cache: bool = True) -> Reading:
    """Run a step, or take its output from the cache. All its outputs exist when this returns.

    Returns what it was found to read beyond the plan.

    ``first`` says that nothing is known about its inputs yet, ``use_cache`` that a result from the cache will do.

    Raises:
        StepError: a command failed, or did not make its output.
    """
    log = workspace.log(step)
    log.unlink(missing_ok=True)
    own = f"{workspace.state}{os.sep}"
    for path in map(workspace.path, step.outputs):
        if path.startswith(own):
            # Else an old file would hide that a command made nothing. Also, renaming over an existing file takes longer.
            Path(path).unlink(missing_ok=True)
    reproducible = workspace.reproducible
    if reproducible is not None:
        from coconut_tasks.actions.reproducible import prepare

        prepare(workspace, reproducible)
    found = _from_cache(step, workspace, log) if use_cache else None
    if found is not None:
        return found
    workspace.run_state.begin(step.name)
    found = _work(step, workspace, log, first=first)
    # Only parts of an image are checked.
    if reproducible is not None and isinstance(step.action, CargoItem | MakeItem) and step.action.objcopy is not None:
        from coconut_tasks.actions.reproducible import warn_of_paths

        warn_of_paths(step.action.output, workspace, reproducible, log)
    for output in step.outputs:
        if output != step.link and workspace.files.look_again(workspace.path(output)) is None:
            raise StepError("file-not-made", f"its commands succeeded, but did not make {output}\n  log: {log}")
    return found


def _from_cache(step: Step, workspace: Workspace, log: Path) -> Reading | None:
    if not (isinstance(step.action, CargoItem | MakeItem) and workspace.options.may_use_a_cache):
        return None
    from coconut_tasks.actions.cached import take

    return take(step, workspace, log)


def _work(step: Step, workspace: Workspace, log: Path, *, first: bool) -> Reading:
    match step.action:
        case CargoItem() as action:
            from coconut_tasks.actions.cargo import build_cargo_item

            return build_cargo_item(step, action, workspace, log, first=first)
        case MakeItem() as action:
            from coconut_tasks.actions.make import build_make_item

            return build_make_item(action, step.key, workspace, log)
        case FsImage() as action:
            from coconut_tasks.actions.fs import pack_fs

            pack_fs(action, workspace, log)
        case FirmwareImage() as action:
            from coconut_tasks.actions.firmware import take_firmware

            take_firmware(action, workspace, log)
        case IgvmImage() as action:
            from coconut_tasks.actions.igvm_image import build_igvm

            build_igvm(action, workspace, log)
        case Measurement() as action:
            from coconut_tasks.actions.measure import measure

            measure(action, workspace, log)
        case Provenance() as action:
            from coconut_tasks.actions.provenance import write_provenance

            return Reading(write_provenance(action, workspace))
        case VersionFile() as action:
            from coconut_tasks.actions.version import write_version

            write_version(action, workspace)
    return Reading()
