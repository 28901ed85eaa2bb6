"""Write the tree's version file."""

from __future__ import annotations

from pathlib import Path

from coconut_tasks.effects.place import write_whole
from coconut_tasks.inputs.version import read_version, version_text
from coconut_tasks.steps.action import VersionFile
from coconut_tasks.workspace.workspace import Workspace


def write_version(action: VersionFile, workspace: Workspace) -> None:
    """Write the file, but only if its text changed: a new time stamp alone would make cargo build again."""
    file = workspace.path(action.output)
    text = version_text(file, workspace.version)
    if read_version(file) != text:
        write_whole(Path(file), text.encode())
