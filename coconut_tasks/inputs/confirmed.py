"""Which artifacts of cargo are known to be made of what is there now.

cargo compares times: a source that is newer than the last compilation is compiled again. A file that was replaced by one with an older
time (``mv``, ``cp -p``, an unpacked archive) is taken as unchanged, and so are a file and a variable that a build script reads without
saying so. The old artifact is then called fresh. So what each artifact was made of is written down when it is made, by content. An
artifact that is called fresh and of which nothing of the kind is known, or something else, is in doubt: what cargo made of its package is
to be cleaned. That also covers artifacts that another hand, another checkout or a run that failed left there.

The notes lie in cargo's target folder, whose content they are about: all that build there share them, and they go with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from coconut_tasks.errors import StepError
from coconut_tasks.inputs.cargo import Build
from coconut_tasks.inputs.environment import asked_environment
from coconut_tasks.inputs.files import CLOCK_LAG_NS, Files, Walker
from coconut_tasks.inputs.scripts import secret_variables

_NAME = ".coconut-tasks.sqlite3"
_KEPT = 20
"""Notes of one artifact that are kept: it has one for each set of features that was built since the folder was cleaned."""
_PASSING = re.compile(r"\..*|.*(~|\.sw[a-z]|\.orig|\.rej|\.tmp)|#.*#|Cargo\.(toml|lock)|.*\.rs")
"""Files of a package that no build script is taken to read in secret: what editors leave, manifests, and Rust sources, which rustc's
dep-info knows."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """An artifact, or the output of a build script, and what it depends on now."""

    package: str
    artifact: str
    fresh: bool
    """It was there before cargo was started."""
    files: tuple[str, ...]
    variables: Mapping[str, str | None]

    @property
    def identity(self) -> str | None:
        """Tells one making of the artifact from another."""
        try:
            found = os.stat(self.artifact)
        except OSError:
            return None
        return f"{self.artifact} {found.st_ino} {found.st_mtime_ns} {found.st_size}"


def evidence_of(
    build: Build, started_ns: int, given: Iterable[str], environment: Mapping[str, str], walker: Walker
) -> Iterator[Evidence]:
    """Of every own unit and script run of a cargo run that began at ``started_ns``; ``given`` are the variables that the recipe sets."""
    for unit, reads in build.own_units:
        if unit.exact:  # else nothing can be said of it, and nobody is asked to clean it for ever
            read = sorted(file for file in reads.files if not build.is_generated(file))
            yield Evidence(unit.package, unit.artifact, unit.fresh, tuple(read), {})
    for run, reads in build.own_runs:
        folder = build.own[run.package]
        files = {file for file in walker.files(folder) if not _PASSING.fullmatch(os.path.basename(file))}
        files |= reads.files | {file for inner in reads.folders for file in walker.files(inner, package=False)}
        names = secret_variables(run, folder, given, walker)
        fresh = _written_ns(run.output) < started_ns - CLOCK_LAG_NS
        kept = tuple(sorted(file for file in files if not build.is_generated(file)))
        yield Evidence(run.package, run.output, fresh, kept, asked_environment(environment, names))


class Confirmed:
    """The notes of one target folder."""

    def __init__(self, target: str) -> None:
        self._path = Path(target, _NAME)
        try:
            self._connection = _open(self._path)
        except sqlite3.OperationalError as error:
            raise self._error(error) from error
        except sqlite3.DatabaseError:
            self._path.unlink(missing_ok=True)  # nothing is known then
            self._connection = _open(self._path)

    def doubtful(self, evidence: Iterable[Evidence], files: Files) -> list[str]:
        """Packages with an artifact that is called fresh and may be of something else; sorted."""
        return sorted({e.package for e in evidence if e.fresh and self._note(e) != _facts(e, files)})

    def remember(self, evidence: Iterable[Evidence], started_ns: int, files: Files) -> None:
        """Note what was made by a cargo run that began at ``started_ns``, if nothing of it changed since then."""
        for e in evidence:
            changed = any((now := files.look_again(file)) and now[1] >= started_ns - CLOCK_LAG_NS for file in e.files)
            if e.fresh or changed or (identity := e.identity) is None:
                continue
            note = _facts(e, files)
            self._connection.execute("insert or replace into notes values (?, ?, ?)", (identity, e.artifact, note))
            newest = "select rowid from notes where artifact = ? order by rowid desc limit ?"
            self._connection.execute(
                f"delete from notes where artifact = ? and rowid not in ({newest})", (e.artifact, e.artifact, _KEPT)
            )
        self._connection.commit()

    def _note(self, e: Evidence) -> object:
        row = self._connection.execute("select note from notes where identity = ?", (e.identity,)).fetchone()
        return row[0] if row else None

    def __enter__(self) -> Confirmed:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._connection.close()
        if isinstance(error, sqlite3.Error):
            raise self._error(error) from error

    def _error(self, error: sqlite3.Error) -> StepError:
        return StepError(f"what cargo's artifacts were made of cannot be written down: {self._path}: {error}")


def _facts(e: Evidence, files: Files) -> str:
    facts = {"files": {file: files.digest(file) for file in e.files}, "variables": dict(e.variables)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _written_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("create table if not exists notes (identity text primary key, artifact text, note text)")
    return connection
