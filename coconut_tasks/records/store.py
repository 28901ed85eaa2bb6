"""Where records are kept: SQLite, one row per task, written when the task is done.

This fills two gaps in doit. Its own backends write everything at the end of a run, so a killed run loses what it finished. And they key
records by task name, so two recipes with a ``kernel:svsm`` each would overwrite each other's record; here a name stands for its variant in
this run.
"""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coconut_tasks.errors import Fault, UsageError, tell_line

if TYPE_CHECKING:
    # Imported where it is used: doit loads every installed backend for any dodo.py.
    import sqlite3

FORMAT = 9
"""Version of the records' meaning; a file of another version is moved aside, which makes every step stale once."""

VALUES = "_values_:"
"""Where doit keeps the results of a task's ``value_savers``."""
FILES = "deps:"
"""Where doit keeps the names of a task's ``file_dep``, written last after a success; each file's state is under its name."""
IGNORED = "ignore:"
"""Where doit keeps that a task is ignored."""


class Store:
    """doit's backend interface (``get``, ``set``, ``in_``, ``remove``, ``remove_all``, ``dump``), named ``coconut``."""

    desc = "SQLite, one row per task, written when the task is done"

    def __init__(self, name: str, codec: Any, *, module_name: str | None = None) -> None:
        self.name = name
        self._codec = codec
        self._lock = threading.RLock()  # a task's record is dropped from its worker thread
        self._names: dict[str, str] = {}
        self._rows: dict[str, dict[str, Any]] = {}
        self._over = False
        self.in_a_run = False
        """True while steps run: then only a step that starts loses its record (``drop``)."""
        self._connection = self._open() if Path(name).exists() else None

    def name_record(self, task_id: str, record: str) -> None:
        """Say which record a task's name stands for in this run."""
        self._names[task_id] = record

    def row(self, task_id: str) -> dict[str, Any]:
        """Everything recorded about a task; empty if it has no successful run."""
        record = self._record(task_id)
        if (row := self._rows.get(record)) is not None:
            return row
        with self._lock:
            if record not in self._rows:
                self._rows[record] = self._read(record)
            return self._rows[record]

    def latest(self, prefix: str) -> dict[str, Any]:
        """The latest record whose key starts with ``prefix``; empty if there is none."""
        with self._lock:
            if self._connection is None:
                return {}
            query = "select record from records where substr(record, 1, ?) = ? order by rowid desc limit 1"
            found = self._connection.execute(query, (len(prefix), prefix)).fetchone()
            return self._read(found[0]) if found else {}

    def older(self, prefix: str, kept: int) -> list[str]:
        """The keys that start with ``prefix``, except the ``kept`` latest ones and those that this run uses."""
        with self._lock:
            if self._connection is None:
                return []
            query = "select record from records where substr(record, 1, ?) = ? order by rowid desc limit -1 offset ?"
            found = self._connection.execute(query, (len(prefix), prefix, kept)).fetchall()
            return [record for (record,) in found if record not in self._names.values()]

    def known(self) -> set[str]:
        """All records, and those that a name stands for in this run, written or not."""
        with self._lock:
            named = set(self._names.values())
            if self._connection is None:
                return named
            return named.union(*self._connection.execute("select record from records"))

    def get(self, task_id: str, dependency: str) -> Any:
        """One value, or None."""
        # doit asks for each file of each task, and sets each: without a further call where the row was read before.
        row = self._rows.get(self._names.get(task_id, task_id))
        return (self.row(task_id) if row is None else row).get(dependency)

    def set(self, task_id: str, dependency: str, value: Any) -> None:
        """Set a value; the row is written with the value that doit sets last."""
        row = self._rows.get(self._names.get(task_id, task_id))
        (self.row(task_id) if row is None else row)[dependency] = value
        if dependency in (FILES, IGNORED):
            self.write(task_id)

    def write(self, task_id: str) -> None:
        """Write a task's row."""
        with self._lock:
            data = self._codec.encode(self.row(task_id))
            row = (self._record(task_id), _checksum(data), data)
            self._change("insert or replace into records values (?, ?, ?)", row)

    def in_(self, task_id: str) -> bool:
        """Whether anything is recorded about a task."""
        return bool(self.row(task_id))

    def remove(self, task_id: str) -> None:
        """Forget a task.

        doit also calls this for each task that could not run because another one failed. Their records are still true, and without them
        the next run would build everything again.
        """
        if not self.in_a_run:
            self.drop(task_id)

    def drop(self, task_id: str) -> None:
        """Forget a task, even during a run."""
        with self._lock:
            if self._over:
                raise UsageError("run-is-over", "the run was interrupted; this step was not started")
            record = self._record(task_id)
            self._rows[record] = {}
            if self._connection is not None:
                self._change("delete from records where record = ?", (record,))

    def remove_all(self) -> None:
        """Forget everything, including other recipes."""
        with self._lock:
            self._rows = {}
            if self._connection is not None:
                self._change("delete from records")

    def dump(self) -> None:
        """End the run; everything is written already.

        After Ctrl-C steps may still be running: the lock keeps the connection open while they use it, and they must not start anything new.
        """
        with self._lock:
            self._over = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _record(self, task_id: str) -> str:
        return self._names.get(task_id, task_id)

    def _read(self, record: str) -> dict[str, Any]:
        if self._connection is None:
            return {}
        import sqlite3

        try:
            found = self._connection.execute(
                "select checksum, data from records where record = ?", (record,)
            ).fetchone()
            row = self._codec.decode(found[1]) if found and found[0] == _checksum(found[1]) else {}
        except (sqlite3.DatabaseError, ValueError) as error:
            if isinstance(error, sqlite3.DatabaseError) and not _is_damage(error):
                raise self._unusable(error) from error
            self._connection.close()
            self._connection = self._start_anew("damaged")
            return {}
        return row if isinstance(row, dict) else {}

    def _change(self, statement: str, values: tuple[str, ...] = ()) -> None:
        import sqlite3

        try:
            self._writable().execute(statement, values)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error, "write") from error

    def _writable(self) -> sqlite3.Connection:
        if self._connection is None:
            Path(self.name).parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        import sqlite3

        try:
            connection = self._connect()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        try:
            # A disk that is busy with cargo's output would take longer to sync than the rest of a run's end takes. If the machine crashes,
            # an old row is true of the old outputs, and a partly written row has a wrong checksum.
            connection.execute("pragma synchronous = off")
            version = connection.execute("pragma user_version").fetchone()[0]
            tables = connection.execute("select count(*) from sqlite_master").fetchone()[0]
            if tables and version != FORMAT:
                connection.close()
                return self._start_anew(f"format {version}, expected {FORMAT}")
            if not tables:
                connection.execute("pragma journal_mode = wal")
                connection.execute(
                    "create table records (record text primary key, checksum text not null, data text not null)"
                )
                connection.execute(f"pragma user_version = {FORMAT}")
        except sqlite3.DatabaseError as error:
            connection.close()
            if not _is_damage(error):
                raise self._unusable(error) from error
            return self._start_anew(str(error))
        return connection

    def _unusable(self, error: Exception, what: str = "open") -> UsageError:
        from coconut_tasks.called import called

        return UsageError(
            "records-not-writable",
            f"cannot {what} the build records: {self.name}: {error}: check that the output folder is writable, "
            f"or set another with {called().setting('BIN', 'PATH')}",
        )

    def _connect(self) -> sqlite3.Connection:
        import sqlite3

        from coconut_tasks.effects.place import own_inode

        for end in ("", "-wal", "-shm"):
            own_inode(Path(self.name + end))
        # Each statement is its own transaction, and survives if the process is killed after it returns.
        return sqlite3.connect(self.name, isolation_level=None, check_same_thread=False)

    def _start_anew(self, why: str) -> sqlite3.Connection:
        aside = f"{self.name}.set-aside"
        Path(self.name).replace(aside)
        for end in ("-wal", "-shm"):
            Path(self.name + end).unlink(missing_ok=True)
        note = Fault(
            "records-set-aside",
            f"note: the records in {self.name} are unusable ({why}) and were moved to {aside}; everything will be built again",
        )
        tell_line(note.shown)
        self._rows = {}
        return self._open()


def recorded_inputs(file: Path) -> dict[str, set[object]]:
    """Every file that any record names as an input, with its digests in those records; empty if the records cannot be read."""
    found: dict[str, set[object]] = {}
    with suppress(TypeError, KeyError):
        for row in _rows(file):
            for path in row.get(FILES, ()):
                found.setdefault(path, set()).add(row[path][1])
    return found


def recorded_places(file: Path) -> set[str]:
    """Absolute paths of every file that any record says was put into the output folder; empty if the records cannot be read."""
    found = set()
    for row in _rows(file):
        values: Any = row.get(VALUES)
        with suppress(KeyError, TypeError, AttributeError):  # from another program, or a task that places nothing
            found |= {os.path.normpath(os.path.join(values["tree"], place)) for place in values["published"]}
    return found


def _rows(file: Path) -> list[dict[str, Any]]:
    import json
    import sqlite3

    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            rows = [json.loads(data) for (data,) in connection.execute("select data from records")]
    except (sqlite3.Error, ValueError):
        return []
    return [row for row in rows if isinstance(row, dict)]


def _checksum(data: str) -> str:
    return hashlib.sha256(data.encode()).hexdigest()


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    text = str(error)
    return "not a database" in text or "malformed" in text or "encrypted" in text
