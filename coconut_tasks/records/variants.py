"""Which variants of a step the state folder keeps: without a limit, each policy that is tried would leave three images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from coconut_tasks.layout import PARTS
from coconut_tasks.records.store import Store
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.workspace import Workspace

KEPT = 50
"""How many variants of one step are kept: the ones that were built last."""


def drop_old_variants(step: Step, store: Store, workspace: Workspace) -> None:
    """When a new variant is built, remove the records of the oldest variants, unless they belong to this run, and the files that no record
    mentions: such files are never up to date, and exist since the records of an older version of this program are moved aside."""
    prefix = f"{step.part}#"
    dropped = {record.removeprefix(prefix) for record in store.older(prefix, KEPT - 1)}
    for key in dropped:
        # First, so that a killed run leaves no record without files: files without a record are never up to date.
        store.drop(prefix + key)
    # The records of all steps: a kernel part and a module may have the same name.
    kept = {record.rpartition("#")[2] for record in store.known()}
    name = step.file_name.removesuffix(step.key)
    for folder, old in _of_other_variants(step, workspace):
        if old in kept:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        link = workspace.state / "links" / f"{name}{old}.json"
        # A variant that failed has neither; keep its log for the user.
        if old in dropped or link.exists():
            (workspace.state / "logs" / f"{name}{old}.log").unlink(missing_ok=True)
        link.unlink(missing_ok=True)


def _of_other_variants(step: Step, workspace: Workspace) -> Iterator[tuple[Path, str]]:
    """The folders of a step's variants, each with its key."""
    parts = workspace.state / PARTS
    for own in {Path(workspace.path(output)).parent for output in step.outputs}:
        if own.parent == parts and own.name.endswith(step.key):
            start, length = own.name.removesuffix(step.key), len(own.name)
            for name in os.listdir(parts):
                # The longer name of a variant of "qemu-x" also starts with "qemu-".
                if name.startswith(start) and len(name) == length:
                    yield parts / name, name.removeprefix(start)
