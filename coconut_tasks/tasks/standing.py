"""Where the user stands: doit goes to the dodo.py's folder before it loads it, and what is shown is seen from elsewhere."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from doit import get_initial_workdir


def stand() -> str:
    """The folder that the user stood in when the program was started, absolute."""
    return get_initial_workdir() or os.getcwd()


def from_here(path: str | os.PathLike[str]) -> str:
    """A path as the user sees it."""
    return os.path.relpath(path, stand())


def start_again() -> NoReturn:
    """Have this very program begin anew, with all its words: what it looked up is not so any more."""
    sys.stdout.flush()
    os.chdir(stand())
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
