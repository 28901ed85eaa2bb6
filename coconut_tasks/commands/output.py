"""Write a command's output to one of our files or to standard output."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from coconut_tasks.errors import UsageError
from coconut_tasks.tasks.standing import from_here, stand


def own_file(workspace: Any, name: str) -> str:
    """The path of a file in the output folder. Raises UsageError if it exists and is not ours."""
    from coconut_tasks.tasks.preflight import foreign_files

    path = os.path.join(workspace.bin, name)
    if foreign_files([path], workspace):
        raise UsageError(
            "foreign-file",
            f"{from_here(path)} already exists and was not made by this program; choose another file with -o",
        )
    workspace.placed.add(path)
    return path


def put(text: str, output: str, stream: Any) -> None:
    """Write to a file and print its name, or for ``-`` write to the stream."""
    from coconut_tasks.effects.place import write_whole

    if output == "-":
        stream.write(text)
        return
    path = Path(stand(), output)
    if not path.parent.is_dir():
        raise UsageError("no-such-folder", f"-o: '{output}': no such folder: {path.parent}")
    write_whole(path, text.encode())
    stream.write(f"{from_here(path)}: written\n")
