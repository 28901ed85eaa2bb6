"""The folder in which the user started: doit changes to the folder of the dodo.py, but users see paths from their own."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from doit import get_initial_workdir


def stand() -> str:
    """The absolute path of the folder in which the program was started."""
    return get_initial_workdir() or os.getcwd()


def from_here(path: str | os.PathLike[str]) -> str:
    """A path relative to the folder of the user."""
    return os.path.relpath(path, stand())


def start_again() -> NoReturn:
    """Replace this process with a new one with the same command line, since what it looked up is outdated."""
    sys.stdout.flush()
    os.chdir(stand())
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
