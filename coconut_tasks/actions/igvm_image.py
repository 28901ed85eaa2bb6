"""Assemble an IGVM file."""

from __future__ import annotations

from pathlib import Path

from coconut_tasks.errors import StepError
from coconut_tasks.igvm import MAGIC
from coconut_tasks.steps.action import IgvmImage
from coconut_tasks.workspace.workspace import Workspace


def build_igvm(action: IgvmImage, workspace: Workspace, log: Path) -> None:
    """Run igvmbuilder.

    Raises:
        StepError: it failed, or its output is not an IGVM file.
    """
    output = Path(workspace.path(action.output))
    output.parent.mkdir(parents=True, exist_ok=True)
    workspace.run(action.build, log)
    if output.is_file():
        with output.open("rb") as file:
            start = file.read(4)
        if start != MAGIC:
            raise StepError(
                "no-igvm-made",
                f"igvmbuilder succeeded, but {action.output} is not an IGVM file: it begins with {repr(start)[1:]}\n  log: {log}",
            )
