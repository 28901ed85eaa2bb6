"""What is known about the units of one target folder: with which tools they were made, and what the cache has of them.

The notes are beside those of ``inputs.fingerprints``, and vanish with the folder too.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from coconut_tasks.cache.store import Blob
from coconut_tasks.cache.units import UnitPlace
from coconut_tasks.effects.place import own_inode

_NAME = ".coconut-tasks.cache.sqlite3"


def identity(place: UnitPlace) -> str:
    """Distinguishes this build of a unit from others: cargo writes the stamp when it starts one, and the fingerprint when it is done."""
    folder = place.profile / place.files[-1]
    found = []
    for name in sorted(os.listdir(folder)):
        stat = (folder / name).stat()
        found.append(f"{name} {stat.st_ino} {stat.st_mtime_ns} {stat.st_size}")
    return f"{folder}: {'; '.join(found)}"


class UnitNotes:
    """Use it with ``with``. If the file cannot be used, nothing is known."""

    def __init__(self, target: str) -> None:
        path = Path(target, _NAME)
        own_inode(path)
        try:
            self._connection = _open(path)
        except sqlite3.DatabaseError:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            self._connection = _open(path)

    def tools(self, unit: str) -> str | None:
        """What ``note_tools`` noted about the unit with this identity."""
        row = self._connection.execute("select tools from made where identity = ?", (unit,)).fetchone()
        return str(row[0]) if row else None

    def note_tools(self, unit: str, tools: str) -> None:
        """Note the tools by which a unit was made; empty if that is not known."""
        self._connection.execute("insert or replace into made values (?, ?)", (unit, tools))

    def blob(self, unit: str) -> Blob | None:
        """The archive of the unit, if there was one."""
        row = self._connection.execute("select sha256, size from archives where identity = ?", (unit,)).fetchone()
        return Blob(str(row[0]), int(row[1])) if row else None

    def note_blob(self, unit: str, blob: Blob) -> None:
        """Note the archive of a unit."""
        self._connection.execute("insert or replace into archives values (?, ?, ?)", (unit, blob.sha256, blob.size))

    def list_of(self, key: str) -> str | None:
        """The digest of the list that was last taken or kept under a key; None if there was none."""
        row = self._connection.execute("select list from lists where key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    def note_list(self, key: str, digest: str) -> None:
        """Note that a list was taken or kept."""
        self._connection.execute("insert or replace into lists values (?, ?)", (key, digest))

    def restored_ns(self) -> int | None:
        """The modification time of all files that were restored into this folder; None if none were yet."""
        row = self._connection.execute("select max(time) from restored").fetchone()
        return None if row[0] is None else int(row[0])

    def note_restored_ns(self, time_ns: int) -> None:
        """Note that time."""
        self._connection.execute("insert into restored values (?)", (time_ns,))

    def __enter__(self) -> UnitNotes:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(sqlite3.Error):
            self._connection.commit()
        self._connection.close()


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("pragma synchronous = off")  # as in inputs.fingerprints
    for table in ("made (identity text primary key, tools text)", "lists (key text primary key, list text)"):
        connection.execute(f"create table if not exists {table}")
    connection.execute("create table if not exists archives (identity text primary key, sha256 text, size integer)")
    connection.execute("create table if not exists restored (time integer)")
    return connection
