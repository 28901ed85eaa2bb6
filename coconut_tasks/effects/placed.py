"""Which files of the output folder this program put there: a file of anybody else is neither replaced nor removed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from coconut_tasks.effects.place import own_inode

_NAME = "placed"
"""In the state folder: a line of JSON for each name, as seen from the output folder; in a list, for one whose file was removed."""


class Placed:
    """What is written down in one output folder. A name is added before its file is put there."""

    def __init__(self, bin: str, state: Path) -> None:
        self._bin, self._path = bin, state / _NAME
        self._names: set[str] | None = None

    @property
    def is_kept(self) -> bool:
        """Whether anything is written down. Versions before this one had their records of steps only."""
        return self._path.exists()

    def has(self, path: str) -> bool:
        """Whether the file at an absolute path is ours."""
        return os.path.relpath(path, self._bin) in self._known()

    def believe(self, paths: Iterable[str]) -> None:
        """What records say, where nothing else is known."""
        self._known().update(os.path.relpath(path, self._bin) for path in paths)

    def keep(self) -> None:
        """Write down what is known."""
        self._write(*sorted(self._known()))

    def add(self, path: str) -> None:
        """What will be at the path is ours."""
        name = os.path.relpath(path, self._bin)
        if name not in self._known():
            self._known().add(name)
            self._note(name)

    def drop(self, path: str) -> None:
        """Our file was removed: what comes there next is somebody else's."""
        name = os.path.relpath(path, self._bin)
        if name in self._known():
            self._known().remove(name)
            self._note([name])

    def _note(self, entry: str | list[str]) -> None:
        if self.is_kept:
            self._write(entry)
        else:  # the first line makes the file all that is believed
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
                except ValueError:  # half a line, of a run that was killed while it wrote
                    continue
                if isinstance(entry, str):
                    self._names.add(entry)
                else:
                    self._names.difference_update(entry)
        return self._names
