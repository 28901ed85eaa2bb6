"""Which files in the output folder this program put there: it neither replaces nor removes any other file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from coconut_tasks.effects.place import own_inode

_NAME = "placed"
"""In the state folder: one line of JSON for each name relative to the output folder; in a list if the file was removed."""


class Placed:
    """The list of one output folder. A name is added before its file is put there."""

    def __init__(self, bin: str, state: Path) -> None:
        self._bin, self._path = bin, state / _NAME
        self._names: set[str] | None = None

    @property
    def is_kept(self) -> bool:
        """Whether there is a list. Older versions kept only the records of steps."""
        return self._path.exists()

    def has(self, path: str) -> bool:
        """Whether the file at an absolute path is ours."""
        return os.path.relpath(path, self._bin) in self._known()

    def believe(self, paths: Iterable[str]) -> None:
        """Take over the names in records, if nothing else is known."""
        self._known().update(os.path.relpath(path, self._bin) for path in paths)

    def keep(self) -> None:
        """Write the list."""
        self._write(*sorted(self._known()))

    def add(self, path: str) -> None:
        """Note that the file that will be at the path is ours."""
        name = os.path.relpath(path, self._bin)
        if name not in self._known():
            self._known().add(name)
            self._note(name)

    def drop(self, path: str) -> None:
        """Note that our file was removed: whatever appears there next is not ours."""
        name = os.path.relpath(path, self._bin)
        if name in self._known():
            self._known().remove(name)
            self._note([name])

    def _note(self, entry: str | list[str]) -> None:
        if self.is_kept:
            self._write(entry)
        else:  # from its first line on, only the file counts
            self.keep()

    def _write(self, *entries: str | list[str]) -> None:
        if entries:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            own_inode(self._path)
            with self._path.open("a", encoding="ascii") as file:
                file.write("".join(f"{json.dumps(entry)}\n" for entry in entries))

    def _known(self) -> set[str]:
        if self._names is None:
            try:
                lines = self._path.read_text(encoding="ascii", errors="replace").splitlines()
            except OSError:
                lines = []
            self._names = set()
            for line in lines:
                try:
                    entry = json.loads(line)
                except ValueError:  # half a line, from a run that was killed while writing
                    continue
                if isinstance(entry, str):
                    self._names.add(entry)
                else:
                    self._names.difference_update(entry)
        return self._names
