"""Where the user stands: doit goes to the dodo.py's folder before it loads it, and what is shown is seen from elsewhere."""

from __future__ import annotations

import os

from doit import get_initial_workdir


def stand() -> str:
    """The folder that the user stood in when the program was started, absolute."""
    return get_initial_workdir() or os.getcwd()


def from_here(path: str | os.PathLike[str]) -> str:
    """A path as the user sees it."""
    return os.path.relpath(path, stand())
