"""How doit sees whether a file changed.

Fills gaps of doit's MD5 checker: it takes an equal time stamp as unchanged even if the size differs; it looks at a file once for each task
that reads it; and it records the state of an input after the action, so that an edit during a build counts as built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from doit.dependency import FileChangedChecker

from coconut_tasks.inputs.files import Files, FileState, Stat


class Checker(FileChangedChecker):  # type: ignore[misc]  # doit has no types
    """Content decides, by the ``Files`` that the steps share; doit makes the one instance."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.states: Mapping[str, FileState] = {}
        """What was recorded of the inputs of the task whose turn it is, right before doit does so."""

    def exists(self, file_path: str) -> bool:
        """Whether there is such a file."""
        return self.files.stat(file_path) is not None

    def info(self, file_path: str) -> Stat:
        """The file's stat, as doit passes it on to ``check_modified``."""
        found = self.files.stat(file_path)
        if found is None:
            raise FileNotFoundError(2, "No such file", file_path)
        return found

    def check_modified(self, file_path: str, file_stat: Stat, state: Any) -> bool:
        """Whether the file is not as it was recorded."""
        found, digest = state
        if found is not None and file_stat == tuple(found):
            return False
        return not self.files.unchanged(file_path, (None, digest))

    def get_state(self, dep: str, current_state: Any) -> Any:
        """What to record of an input after a successful action; None if that is there already."""
        if current_state is not None and current_state is self.states.get(dep):
            return None
        self.files.look_again(dep)  # of a task that is none of ours
        return self.files.state(dep)
