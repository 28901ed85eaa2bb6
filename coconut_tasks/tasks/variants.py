"""Which variants of a step the state folder keeps: without a limit, each policy that is tried leaves three images behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from coconut_tasks.layout import PARTS
from coconut_tasks.step import Step
from coconut_tasks.tasks.backend import Backend
from coconut_tasks.world import World

KEPT = 50
"""Variants of one step that are kept: those that were built last."""


def drop_old_variants(step: Step, store: Backend, world: World) -> None:
    """For a variant that is being built, remove the records and files of the oldest ones, unless they belong to this run."""
    prefix = f"{step.stage}:{step.component}#"
    for record in store.older(prefix, KEPT - 1):
        values: Any = store.row(record).get("_values_:")
        # First: files that have no record are never taken for up to date.
        store.drop(record)
        outputs = [os.path.normpath(os.path.join(values["tree"], output)) for output in values["outputs"]]
        for folder in {Path(output).parent for output in outputs}:
            if folder.parent == world.state / PARTS:  # else of the checkout that this one was copied from
                shutil.rmtree(folder, ignore_errors=True)
        name = step.file_name.removesuffix(step.key) + record.removeprefix(prefix)
        for path in (world.state / "links" / f"{name}.json", world.state / "logs" / f"{name}.log"):
            path.unlink(missing_ok=True)
