"""What cargo has seen: the content of each source, and the variables that each build script read.

cargo compares times only: a source that is newer than the last compilation is compiled again. A file that was replaced by one with an older
time (``mv``, ``cp -p``, a restored backup, an unpacked archive) is taken as unchanged, and the old program is said to be fresh. So what
cargo saw is remembered here, by content, for all items of a place together (a target, profile and toolchain), since they share what cargo
compiles there. The same for variables that cargo does not know of (see ``scripts``).
"""

from __future__ import annotations

import json
import sqlite3
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from coconut_tasks.errors import StepError
from coconut_tasks.inputs.environment import asked_environment
from coconut_tasks.inputs.files import CLOCK_LAG_NS, Files, recorded_state
from coconut_tasks.inputs.scripts import Script


class Seen:
    """The files of one place, in a sqlite file of its own; opened when cargo is about to run, and only then."""

    def __init__(self, path: Path, place: str) -> None:
        self._place = place
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = _open(path)
        except sqlite3.OperationalError as error:
            raise self._error(error) from error
        except sqlite3.DatabaseError:
            # Nothing is known then, as on the first run; the times that cargo goes by are still there.
            path.unlink(missing_ok=True)
            self._connection = _open(path)

    def overlooked(self, files: Files) -> list[str]:
        """Files whose content is not what cargo saw, and which are too old for cargo to look again."""
        rows = self._connection.execute("select path, state, seen_ns from seen where place = ?", (self._place,))
        found = []
        for path, state, seen_ns in rows:
            now = files.stat(path)
            if now is not None and now[0] <= seen_ns and not files.unchanged(path, recorded_state(json.loads(state))):
                found.append(path)
        return sorted(found)

    def remember(self, paths: Iterable[str], started_ns: int, files: Files) -> None:
        """cargo ran and read these files; it started then. A file that changed since is left for the next run to judge."""
        rows = []
        for path in paths:
            now = files.stat(path)
            if now is not None and now[1] < started_ns:
                rows.append((self._place, path, json.dumps(files.state(path)), started_ns))
        self._connection.executemany("insert or replace into seen values (?, ?, ?, ?)", rows)
        self._connection.commit()

    def other_variables(self, environment: Mapping[str, str]) -> list[str]:
        """Folders of packages whose build script ran with other values of variables that cargo does not watch."""
        rows = self._connection.execute("select folder, names, seen from asked where place = ?", (self._place,))
        return sorted(
            {
                folder
                for folder, names, seen in rows
                if asked_environment(environment, json.loads(names)) != json.loads(seen)
            }
        )

    def never_saw(self, scripts: Iterable[Script], started_ns: int) -> list[str]:
        """Folders of packages whose build script ran before cargo was started, nobody knows with which variables."""
        known = {
            row[0] for row in self._connection.execute("select out_dir from asked where place = ?", (self._place,))
        }
        return sorted({s.folder for s in scripts if s.out_dir not in known and s.ran_ns < started_ns - CLOCK_LAG_NS})

    def remember_variables(self, scripts: Iterable[Script], environment: Mapping[str, str]) -> None:
        """cargo ran these scripts in this environment, or would have got the same of them."""
        rows = [
            (
                self._place,
                s.out_dir,
                s.folder,
                json.dumps(s.variables),
                json.dumps(asked_environment(environment, s.variables)),
            )
            for s in scripts
        ]
        self._connection.executemany("insert or replace into asked values (?, ?, ?, ?, ?)", rows)
        self._connection.commit()

    def forget(self, paths: Iterable[str]) -> None:
        """What cargo made of these files, or of the packages in these folders, is gone, or about to go."""
        gone = [(self._place, path) for path in paths]
        self._connection.executemany("delete from seen where place = ? and path = ?", gone)
        self._connection.executemany("delete from asked where place = ? and folder = ?", gone)
        self._connection.commit()

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._connection.close()
        if isinstance(error, sqlite3.Error):
            raise self._error(error) from error

    def _error(self, error: sqlite3.Error) -> StepError:
        return StepError(f"what cargo saw cannot be kept: {self._path}: {error}")


def packages_of(paths: Iterable[str]) -> tuple[str, ...] | None:
    """Names of the packages that files are in; None if one is in no package, so that any package may read it."""
    names = set()
    for path in paths:
        for folder in (Path(path), *Path(path).parents):
            try:
                name = tomllib.loads((folder / "Cargo.toml").read_text(encoding="utf-8"))["package"]["name"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            names.add(str(name))
            break
        else:
            return None
    return tuple(sorted(names))


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute(
        "create table if not exists seen (place text, path text, state text, seen_ns integer, primary key (place, path))"
    )
    connection.execute(
        "create table if not exists asked "
        "(place text, out_dir text, folder text, names text, seen text, primary key (place, out_dir))"
    )
    return connection
