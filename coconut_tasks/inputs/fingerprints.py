"""Which of cargo's artifacts are known to be made from the current files.

cargo compares times: it recompiles a source that is newer than the last compilation. A file that was replaced by one with an older time
(``mv``, ``cp -p``, an unpacked archive) counts as unchanged for it, and so do files and variables that a build script reads without saying
so. cargo then calls the old artifact fresh. So when an artifact is made, what it was made from is noted, by content. A fresh artifact
without such a note, or with a different one, is in doubt: cargo's files for its package must be cleaned. That also covers artifacts from
other programs, other checkouts and failed runs.

A file in a package that changed while the package's build script ran may have been written by the script or edited by the user. Then cargo
is called once more, and runs the script again since the file is newer. If the script writes the file again with the same content, or if the
file was new, it is the script's own, which is remembered. If the file existed before and the script leaves it alone, it was edited: the
artifact is in doubt, since what the script runs (make) compares times too.

The notes are in cargo's target folder, which they describe: all builds in that folder share them, and they vanish with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
from collections.abc import Container, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from coconut_tasks.dataclass import dataclass
from coconut_tasks.effects.place import own_inode
from coconut_tasks.errors import StepError
from coconut_tasks.inputs.artifacts import Artifact
from coconut_tasks.inputs.files import Files
from coconut_tasks.inputs.messages import package_name

_NAME = ".coconut-tasks.sqlite3"
_KEPT = 20
"""Notes to keep for one artifact: it has one for each set of features built since the folder was cleaned."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that changed while a build script of its package ran."""

    digest: str | None
    new: bool
    """It did not exist before."""
    asked: bool = False
    """The script ran again since, and did not write it."""


@dataclass(slots=True)
class Findings:
    """What is still in doubt after a cargo run."""

    doubtful: set[str] = field(default_factory=set)
    """Packages with an artifact that may not be made from the current files."""
    unsettled: dict[str, str] = field(default_factory=dict)
    """Files that changed while a package was built from them, with the package's name."""
    written: dict[str, Written] = field(default_factory=dict)
    """Files that build scripts may have written, in this cargo run and the ones just before it."""
    good: list[Artifact] = field(default_factory=list)
    """The artifacts that are made from the current files."""
    made: dict[str, str | None] = field(default_factory=dict)
    """All files that build scripts are known to have written, with their digests."""
    of_others: bool = False
    """Other programs filled the target folder, and nothing in it is known."""


class Fingerprints:
    """The notes of one target folder."""

    def __init__(self, target: str) -> None:
        self._path = Path(target, _NAME)
        own_inode(self._path)
        try:
            self._connection = _open(self._path)
        except sqlite3.OperationalError as error:
            raise self._error(error) from error
        except sqlite3.DatabaseError:
            self._path.unlink(missing_ok=True)  # so nothing is known
            self._connection = _open(self._path)

    def check(
        self,
        artifacts: Sequence[Artifact],
        before: Mapping[str, Written],
        was_there: Mapping[str, str | None],
        files: Files,
    ) -> Findings:
        """Note what was made, and find what is not known to be made from the current files.

        ``before`` is ``written`` from the previous cargo run of the same step; ``was_there`` are the files that existed before, with their
        digests if known.
        """
        # For fresh artifacts, stats from before cargo ran are good enough: the next run will notice a later edit.
        made = [e for e in artifacts if not e.fresh]
        for file in set().union(*(e.files for e in made), *(e.beside for e in made)):
            files.look_again(file)
        (known,) = self._connection.execute("select count(*) from notes").fetchone()
        found = Findings(written=dict(before), of_others=not known and any(e.fresh for e in artifacts))
        own = self._own_files()
        for e in artifacts:
            if e.fresh:
                good = self._is_as_noted(e, files)
            else:
                changed = {file for file in e.files if _changed(e, file, was_there, files)}
                if e.ended_ns is not None:
                    self._learn_beside(e, was_there, own, files)
                    changed -= self._settled(e, changed, artifacts, was_there, own, found, files)
                found.unsettled |= dict.fromkeys(changed, package_name(e.package))
                good = not changed and e.package not in found.doubtful
                if good:
                    self._remember(e, files)
            if good:
                found.good.append(e)
            elif e.fresh:
                found.doubtful.add(e.package)
        found.made = self._own_files()
        self._connection.commit()
        return found

    def _settled(
        self,
        run: Artifact,
        changed: set[str],
        artifacts: Sequence[Artifact],
        was_there: Container[str],
        own: Mapping[str, str | None],
        found: Findings,
        files: Files,
    ) -> set[str]:
        """The files that the build script itself wrote. ``own`` has the digests of files that are known to be written by scripts."""
        runs = [e for e in artifacts if e.package == run.package and not e.fresh]
        settled = set()
        for file in changed:
            now = files.stat(file)
            if now is None or not any(e.while_it_ran(now[1]) for e in runs):
                continue
            digest = files.digest(file)
            before = found.written.get(file)
            if file in own or (before is not None and before.digest == digest):
                self._learn(file, digest)
                settled.add(file)
            else:
                found.written[file] = Written(digest, new=file not in was_there)
        for file in (found.written.keys() | own.keys()).intersection(run.files) - changed:
            if (left := found.written.get(file)) is None:
                if own[file] != files.digest(file):  # it was edited
                    self._connection.execute("delete from written where file = ?", (file,))
            elif left.new:
                self._learn(file, files.digest(file))
            elif not left.asked:
                found.written[file] = replace(left, asked=True)
                found.doubtful.add(run.package)
        return settled

    def _learn_beside(
        self, run: Artifact, was_there: Mapping[str, str | None], own: Container[str], files: Files
    ) -> None:
        """Note Rust sources and the like that a script generated: they are read after the script ran, so cargo need not run again."""
        for file in run.beside:
            now = files.stat(file)
            if now is None or not run.while_it_ran(now[1]):
                continue
            digest = files.digest(file)
            if file in own or was_there.get(file, digest) == digest:
                self._learn(file, digest)
        # The target of a symbolic link that a script made (autotools do) may be old.
        for file in run.files:
            if file not in was_there and run.while_it_ran(_linked_ns(file)):
                self._learn(file, files.digest(file))

    def _own_files(self) -> dict[str, str | None]:
        return dict(self._connection.execute("select file, digest from written").fetchall())

    def _learn(self, file: str, digest: str | None) -> None:
        self._connection.execute("insert or replace into written values (?, ?)", (file, digest))

    def _remember(self, e: Artifact, files: Files) -> None:
        if (identity := e.identity) is None:
            return
        note = _facts(e, files)
        self._connection.execute("insert or replace into notes values (?, ?, ?)", (identity, e.artifact, note))
        newest = "select rowid from notes where artifact = ? order by rowid desc limit ?"
        self._connection.execute(
            f"delete from notes where artifact = ? and rowid not in ({newest})", (e.artifact, e.artifact, _KEPT)
        )

    def vouch(self, identity: str, artifact: str, facts: str) -> None:
        """Note what an artifact that was restored is made from: ``facts`` by ``facts_of``, ``identity`` as in ``Artifact``."""
        self._connection.execute("insert or replace into notes values (?, ?, ?)", (identity, artifact, facts))
        self._connection.commit()

    def _is_as_noted(self, e: Artifact, files: Files) -> bool:
        note = self._note(e)
        if note == _facts(e, files):
            return True
        for file in e.files:  # a step of this run may have written it
            files.look_again(file)
        return note == _facts(e, files)

    def _note(self, e: Artifact) -> object:
        row = self._connection.execute("select note from notes where identity = ?", (e.identity,)).fetchone()
        return row[0] if row else None

    def __enter__(self) -> Fingerprints:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._connection.close()
        if isinstance(error, sqlite3.Error):
            raise self._error(error) from error

    def _error(self, error: sqlite3.Error) -> StepError:
        return StepError(
            "artifacts-not-recorded",
            f"cannot record which sources cargo's artifacts were built from: {self._path}: {error}: "
            "check that cargo's target folder is writable, or set another with CARGO_TARGET_DIR",
        )


def _linked_ns(path: str) -> int:
    """When a symbolic link was made; 0 for any other file."""
    try:
        found = os.lstat(path)
    except OSError:
        return 0
    return found.st_ctime_ns if stat.S_ISLNK(found.st_mode) else 0


def _changed(e: Artifact, file: str, was_there: Container[str], files: Files) -> bool:
    """Whether a file may have been read in a state other than the current one."""
    now = files.stat(file)
    return file in was_there if now is None else not e.saw(now[1])


def _facts(e: Artifact, files: Files) -> str:
    return facts_of({file: files.digest(file) for file in e.files}, e.variables)


def facts_of(digests: Mapping[str, str | None], variables: Mapping[str, str | None]) -> str:
    """What an artifact is made from, as one digest; files by their absolute paths."""
    facts = {"files": dict(sorted(digests.items())), "variables": dict(variables)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    # After cargo, the disk is busy, and waiting for it would take longer than everything else here. If a crash of the machine loses a note,
    # its artifact is compiled once more.
    connection.execute("pragma synchronous = off")
    connection.execute("create table if not exists notes (identity text primary key, artifact text, note text)")
    connection.execute("create table if not exists written (file text primary key, digest text)")
    return connection
