"""What a reproducible build needs on disk before its first command, and a check of the result for paths of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from coconut_tasks.effects.place import write_whole
from coconut_tasks.effects.process import warn
from coconut_tasks.inputs.cargo_config import configurations
from coconut_tasks.inputs.text import read_text
from coconut_tasks.reproducible.compilers import compilers
from coconut_tasks.reproducible.remap import by_length, cargo_config, pattern, read_configurations, toolchain_prefixes
from coconut_tasks.workspace.workspace import Reproducible, Workspace


def prepare(workspace: Workspace, given: Reproducible) -> None:
    """Write cargo's configuration and the scripts for compilers, once in a run.

    Raises:
        StepError: the tree's own configuration has flags as a string, and a path contains a space.
    """

    def write() -> None:
        _write_config(workspace, given)
        _write_compilers(workspace, given)

    workspace.shared("prepared for a reproducible build", write)


def _write_config(workspace: Workspace, given: Reproducible) -> None:
    toolchains = [found for name in given.toolchains if (found := workspace.toolchain(name)) is not None]
    prefixes = [*given.prefixes, *(pair for toolchain in toolchains for pair in toolchain_prefixes(toolchain))]
    files = [str(path) for path in configurations(workspace.tree, workspace.environment)]
    text = cargo_config(by_length(prefixes), given.target, read_configurations(files))
    path = workspace.path(given.config)
    if read_text(path) != text:
        write_whole(Path(path), os.fsencode(text))


def _write_compilers(workspace: Workspace, given: Reproducible) -> None:
    folder = Path(given.compilers)
    scripts = dict(compilers(workspace.environment["PATH"], given.compilers, given.prefixes))
    for name, text in scripts.items():
        path = folder / name
        if read_text(str(path)) != text or not os.access(path, os.X_OK):
            write_whole(path, os.fsencode(text), program=True)
    for name in os.listdir(folder) if folder.is_dir() else ():
        if name not in scripts:  # of a compiler that was removed
            (folder / name).unlink()


def warn_of_paths(output: str, workspace: Workspace, given: Reproducible, log: Path) -> None:
    """Warn in the log if the output contains a path of this machine, so that it differs elsewhere.

    No flag changes a string with the build's path from a generated header, ``-D`` or ``env!``. A compiler that is called by its path is
    not our script either, and files that an ordinary build left in the source are unchanged.
    """
    path = Path(workspace.path(output))
    data = path.read_bytes()
    own = [pair for pair in given.prefixes if pair[0] != pair[1] and os.fsencode(pair[0]) in data]
    if own and (found := re.search(os.fsencode(pattern(own)) + rb"[^\0-\x1f\x7f\"]*", data)):
        text = (
            f"{path.name} contains a path of this machine in spite of REPRODUCIBLE, so a build elsewhere will differ: "
            f"{os.fsdecode(found[0])}"
        )
        warn("names-a-folder", text, log)
