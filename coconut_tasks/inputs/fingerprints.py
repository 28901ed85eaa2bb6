"""Which artifacts of cargo are known to be made of what is there now.

cargo compares times: a source that is newer than the last compilation is compiled again. A file that was replaced by one with an older
time (``mv``, ``cp -p``, an unpacked archive) is taken as unchanged, and so are a file and a variable that a build script reads without
saying so. The old artifact is then called fresh. So what each artifact was made of is written down when it is made, by content. An
artifact that is called fresh and of which nothing of the kind is known, or something else, is in doubt: what cargo made of its package is
to be cleaned. That also covers artifacts that another hand, another checkout or a run that failed left there.

What a build script writes into its own package while it runs may also be somebody's edit. Then cargo is to be asked once more, and runs the
script again, since the file is newer. A file that is written again, with the same content, is the script's own, and so is a new one; which
files are is remembered. One that was there before and is left alone was edited: what was made of it is in doubt, since what the script runs
(make) compares times too.

The notes lie in cargo's target folder, whose content they are about: all that build there share them, and they go with it.
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
"""Notes of one artifact that are kept: it has one for each set of features that was built since the folder was cleaned."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that changed while a build script of its package ran."""

    digest: str | None
    new: bool
    """It was not there before."""
    asked: bool = False
    """The script ran again since, and left it alone."""


@dataclass(slots=True)
class Findings:
    """What a cargo run leaves open."""

    doubtful: set[str] = field(default_factory=set)
    """Packages with an artifact that may be of something else than what is there."""
    unsettled: dict[str, str] = field(default_factory=dict)
    """Files that changed while a package was made of them, and the package's name."""
    written: dict[str, Written] = field(default_factory=dict)
    """Files that build scripts may have written, in this cargo run and those right before it."""
    good: list[Artifact] = field(default_factory=list)
    """The artifacts that are of what is there."""
    made: dict[str, str | None] = field(default_factory=dict)
    """All files that build scripts are known to have written themselves, with the digest that they left."""
    of_others: bool = False
    """The target folder was filled by other programs, and nothing in it is known."""


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
            self._path.unlink(missing_ok=True)  # nothing is known then
            self._connection = _open(self._path)

    def check(
        self,
        artifacts: Sequence[Artifact],
        before: Mapping[str, Written],
        was_there: Mapping[str, str | None],
        files: Files,
    ) -> Findings:
        """Note what was made, and say what is not known to be of what is there now.

        ``before`` is ``written`` of the cargo run right before this one, of the same step; ``was_there`` are the files that were there
        before, with their digests where those are known.
        """
        # Of what is fresh, a look from before cargo's own will do: an edit since then is for the next run to see.
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
        """Those of the files that the build script itself wrote. ``own`` are files that are known to be scripts' own, by their digests."""
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
                if own[file] != files.digest(file):  # somebody else is at work on it
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
        """Rust sources and the like that a script generated: who reads them looks after it ran, so that nobody has to be asked again."""
        for file in run.beside:
            now = files.stat(file)
            if now is None or not run.while_it_ran(now[1]):
                continue
            digest = files.digest(file)
            if file in own or was_there.get(file, digest) == digest:
                self._learn(file, digest)
        # A link that a script laid down (autotools do) is as old as what it leads to.
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

    def _is_as_noted(self, e: Artifact, files: Files) -> bool:
        note = self._note(e)
        if note == _facts(e, files):
            return True
        for file in e.files:  # a step of this run may have written into it
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
            f"cannot write the notes on what cargo's artifacts were made of: {self._path}: {error}",
        )


def _linked_ns(path: str) -> int:
    """When a symbolic link was laid down; 0 for what is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return 0
    return found.st_ctime_ns if stat.S_ISLNK(found.st_mode) else 0


def _changed(e: Artifact, file: str, was_there: Container[str], files: Files) -> bool:
    """Whether a file may have been read in another state than the one that it is in now."""
    now = files.stat(file)
    return file in was_there if now is None else not e.saw(now[1])


def _facts(e: Artifact, files: Files) -> str:
    facts = {"files": {file: files.digest(file) for file in e.files}, "variables": dict(e.variables)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    # After cargo, a disk has much to write, and waiting for it takes longer than all else here. A note that a crash of the machine takes
    # away is of an artifact that is compiled once more.
    connection.execute("pragma synchronous = off")
    connection.execute("create table if not exists notes (identity text primary key, artifact text, note text)")
    connection.execute("create table if not exists written (file text primary key, digest text)")
    return connection
