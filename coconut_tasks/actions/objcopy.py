"""Copy a program with objcopy, atomically."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from coconut_tasks.effects.place import beside
from coconut_tasks.errors import StepError
from coconut_tasks.steps.command import Command
from coconut_tasks.workspace.workspace import Workspace


def objcopy(command: Command, source: Path, output: Path, workspace: Workspace, log: Path) -> None:
    """Run the planned command, but write to a temporary file beside the output.

    Raises:
        StepError: objcopy failed, or wrote an empty file, as ``-O binary`` does for a program without loadable sections.
    """
    with beside(output) as temporary:
        workspace.run(replace(command, argv=(*command.argv[:-1], str(temporary))), log)
        if not temporary.exists() or temporary.stat().st_size == 0:
            raise StepError(
                "empty-program",
                f"objcopy succeeded, but made an empty file from {source}\n  command: {command}\n  log: {log}",
            )
