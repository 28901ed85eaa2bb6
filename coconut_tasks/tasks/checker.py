"""How doit finds out whether a file changed.

It fills gaps of doit's MD5 checker, which considers a file with the same time stamp unchanged even if its size differs, looks at a file
once for each task that reads it, and records the state of an input after the action, so that an edit during a build counts as built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from doit.dependency import FileChangedChecker

from coconut_tasks.inputs.files import Files, FileState, Stat


class Checker(FileChangedChecker):  # type: ignore[misc]  # doit has no types
    """Compares content, with the ``Files`` that the steps share; doit makes the only instance."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.states: Mapping[str, FileState] = {}
        """The input states of the task that doit is about to record."""

    def exists(self, file_path: str) -> bool:
        """Whether the file exists."""
        return self.files.stat(file_path) is not None

    def info(self, file_path: str) -> Stat:
        """The file's stat, which doit passes to ``check_modified``."""
        found = self.files.stat(file_path)
        if found is None:
            raise FileNotFoundError(2, "No such file", file_path)
        return found

    def check_modified(self, file_path: str, file_stat: Stat, state: Any) -> bool:
        """Whether the file differs from its recorded state."""
        found, digest = state
        if found is not None and file_stat == tuple(found):
            return False
        return not self.files.unchanged(file_path, (None, digest))

    def get_state(self, dep: str, current_state: Any) -> Any:
        """The state to record for an input after a successful action; None if it is recorded already."""
        if current_state is not None and current_state is self.states.get(dep):
            return None
        self.files.look_again(dep)  # the task is not one of ours
        return self.files.state(dep)
