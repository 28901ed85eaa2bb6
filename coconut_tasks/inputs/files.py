"""The state of files: each is stat-ed once in a run, and read only if that is not enough.

A file's identity is its ``Stat``; its content is a digest. A file with the recorded stat counts as unchanged without being read. That is
safe because programs cannot set the change time (ctime), and because a file that has only just changed is never recorded with a stat that
can match (see ``Files.state``).
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from coconut_tasks.dataclass import dataclass

Stat = tuple[int, int, int, int, int]
"""Modification time and change time in ns, size in bytes, inode, mode."""
FileState = tuple[Stat | None, str]
"""A stat (None: always read the file) and the digest of the content."""

ABSENT: FileState = (None, "absent")
MOVED: FileState = (None, "changed while it was read")
"""Matches no file: the content changed between the stat before a step and the stat after it."""

CLOCK_LAG_NS = 20_000_000
"""The file system's clock may lag behind ``time.time_ns`` by a tick (at most 10 ms)."""
RACY_NS = 40_000_000
"""A file may change again within one tick of the file system's clock (at most 10 ms) and keep its stat."""
_COARSE_NS = 2_000_000_000
"""The longest tick of a file system that stores whole seconds only, for example FAT."""


@dataclass(frozen=True, slots=True)
class Since:
    """The start of an action that reads files, to find out later which of them changed during it."""

    started_ns: int
    before: Mapping[str, Stat | None] = field(default_factory=dict)
    """The stats of files from before it started."""
    vouched: Mapping[str, Stat] = field(default_factory=dict)
    """Files that changed since, but are known to have been read after the change, with the stat that they had then."""
    looked: Container[str] = frozenset()
    """Files whose stat was taken after it had read them."""


class Files:
    """Stats and digests of files, kept during a run."""

    def __init__(self) -> None:
        self._stats: dict[str, Stat | None] = {}
        self._digests: dict[tuple[str, Stat], str] = {}
        self._fresh: set[tuple[str, Stat]] = set()
        """Files read within a clock tick of their last change: they may have changed again since, with the same stat."""
        self._distrusted: set[str] = set()

    def stat(self, path: str) -> Stat | None:
        """The stat of a regular file from the first time in this run; None if there is no such file."""
        if path not in self._stats:
            self._stats[path] = _stat(path)
        return self._stats[path]

    def there(self, paths: Iterable[str]) -> set[str]:
        """The paths at which ``stat`` finds a file."""
        stats = self._stats
        # This is for thousands of paths: avoid a call for each.
        stats.update({path: _stat(path) for path in paths if path not in stats})
        return {path for path in paths if stats[path] is not None}

    def seen(self) -> dict[str, Stat | None]:
        """Every stat taken so far."""
        return self._stats.copy()

    def look_again(self, path: str) -> Stat | None:
        """The current stat."""
        # Replace the stat in one step: if it were missing for a moment, another thread would think that the file changed since.
        found = self._stats[path] = _stat(path)
        return found

    def digest(self, path: str) -> str | None:
        """Digest of content and executable bit: ``sha256:<hex>`` or ``sha256x:<hex>``; None if there is no such file."""
        found = self.stat(path)
        if found is None:
            return None
        if (path, found) not in self._digests:
            self._note_if_fresh(path, found)
            content = _digest(path, found[4])
            if content is None:
                return None
            self._digests[path, found] = content
        return self._digests[path, found]

    def copied(self, source: str, target: str) -> None:
        """Note that ``target`` was just made as a copy of ``source``: if that did not change in the meantime, its digest is known."""
        content, found = (self.digest(source) or "").partition(":")[2], self.look_again(target)
        if content and found is not None and _stat(source) == self._stats[source]:
            self._note_if_fresh(target, found)
            self._digests[target, found] = digest_text(content, found[4])

    def _note_if_fresh(self, path: str, found: Stat) -> None:
        if latest_ns(found[1]) >= time.time_ns() - RACY_NS:
            self._fresh.add((path, found))

    def known(self, path: str) -> str | None:
        """The digest of a file for its last stat, if already known."""
        found = self._stats.get(path)
        return self._digests.get((path, found)) if found is not None else None

    def contents(self) -> dict[str, str | None]:
        """The digest of each file seen so far; None if unknown."""
        digests = self._digests
        return {path: digests.get((path, found)) for path, found in self.seen().items() if found is not None}

    def know(self, path: str, state: FileState) -> None:
        """Use a recorded state: if the file still has that stat, its digest is known without reading it."""
        self.know_all(((path, state),))

    def know_all(self, states: Iterable[tuple[str, FileState]]) -> None:
        """The same for many files."""
        stats, digests = self._stats, self._digests
        for path, (recorded, digest) in states:
            found = stats[path] if path in stats else self.stat(path)
            if found is not None and found == recorded:
                digests[path, found] = digest

    def states(self, paths: Iterable[str], since: Since) -> dict[str, FileState]:
        """What to record for files that an action read; ``MOVED`` for a file that may have changed since the action started."""
        return {path: MOVED if self.moved(path, since) else self.state(path) for path in paths}

    def state(self, path: str) -> FileState:
        """What to record for a file; without the stat if the file was read within a clock tick of its last change."""
        found = self.stat(path)
        if found is None:
            return ABSENT
        digest = self.digest(path)
        if digest is None:
            return ABSENT
        return (None if (path, found) in self._fresh else found), digest

    def distrust(self, path: str) -> None:
        """Note that a step's output is known not to be made from the current file."""
        self._distrusted.add(path)

    def moved(self, path: str, since: Since) -> bool:
        """Whether a file may have changed since the start of an action that read it; this takes its stat again.

        It has changed if its stat is a different one and its change time is after the start: then it is unknown what the action read,
        unless the action itself can tell. An edit that was undone looks the same.
        """
        # A stat from after the action is good enough for the record; the next run will notice a later edit.
        known = path in since.looked and (path, self._stats.get(path)) in self._digests
        now = self._stats[path] if known else self.look_again(path)
        if now is None or path in self._distrusted:
            return True
        return now not in (since.before.get(path), since.vouched.get(path)) and latest_ns(now[1]) >= since.started_ns

    def unchanged(self, path: str, state: FileState) -> bool:
        """Whether the file matches a recorded state, by its stat, else by its content."""
        found = self.stat(path)
        if found is None:
            return state[1] == ABSENT[1]
        return found == state[0] or self.digest(path) == state[1]


def latest_ns(changed_ns: int) -> int:
    """The latest time that a change time may stand for: if it is a whole second, the file system may not store fractions."""
    return changed_ns if changed_ns % 1_000_000_000 else changed_ns + _COARSE_NS


def recorded_state(value: Any) -> FileState:
    """A state from JSON."""
    found, digest = value
    return (tuple(found) if found is not None else None), digest


def _stat(path: str) -> Stat | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode


def files_below(folder: str) -> set[str]:
    """Every file now below a folder, except version control and cargo's target folders; links to folders are not followed."""
    found: set[str] = set()
    for place, folders, names in os.walk(folder):
        if "CACHEDIR.TAG" in names:
            folders.clear()
            continue
        folders[:] = [name for name in folders if name not in VERSION_CONTROL]
        found.update(os.path.join(place, name) for name in names)
    return found


def _digest(path: str, mode: int) -> str | None:
    try:
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
    except OSError:
        return "unreadable"
    return digest_text(content, mode)


EXECUTABLE = "sha256x:"
"""The start of an executable file's digest."""


def digest_text(content: str, mode: int) -> str:
    """The result of ``Files.digest`` for the SHA-256 of a content and a file's mode."""
    return f"{EXECUTABLE if mode & 0o111 else 'sha256:'}{content}"


VERSION_CONTROL = (".git", ".hg", ".svn")
"""Names that are not part of a tree's content."""
CONFIGURATION = ("Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain")
"""Files that cargo and rustup look for in a folder and its parents, besides the two in ``.cargo``."""


MOST_BEHIND_A_LINK = 1000
"""The most files and folders that are searched behind a link out of the tree, for example from ``nix build``; ``/usr`` has 200,000."""


class _TooMany(Exception):
    """There are more than ``MOST_BEHIND_A_LINK``."""


class _Found:
    """What a walk found."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.folders: list[str] = []
        self.left: list[str] = []
        """Links that were not followed."""
        self.others: list[tuple[str, tuple[str, ...]]] = []
        """Folders in a package that are not part of it, with the real paths on the way there."""

    def sorted(self) -> _Found:
        for paths in (self.files, self.folders, self.left):
            paths.sort()
        return self


class Walker:
    """Lists the files below and above folders, each folder once in a run."""

    def __init__(self, tree: str = "", skip: Iterable[str] = ()) -> None:
        """``tree`` is the source tree: a link out of it may lead to any number of files."""
        self._tree = os.path.join(os.path.realpath(tree), "") if tree else ""
        self._skip = frozenset(map(os.path.realpath, skip))
        self._known: dict[tuple[str, bool], _Found] = {}
        self._names: dict[str, set[str]] = {}
        self._above: dict[str, tuple[str, ...]] = {}
        self._reals: dict[str, str] = {}

    def files(self, root: str, *, package: bool = True) -> Sequence[str]:
        """Every file below ``root``, sorted; links are followed, except those in ``left_alone``.

        Version control and the folders to skip are left out. In a package, so are cargo's target folders and folders with their own
        ``Cargo.toml``, which are other packages (cargo's own rule for "the files of a package").
        """
        return self._walked(root, package).files

    def folders(self, root: str) -> Sequence[str]:
        """Every folder below ``root``, sorted, by the rules for a folder that is not a package."""
        return self._walked(root, False).folders

    def left_alone(self, root: str, *, package: bool = True) -> Sequence[str]:
        """The links below ``root`` that lead out of the tree, or to a parent of ``root``, to more than ``MOST_BEHIND_A_LINK`` files."""
        return self._walked(root, package).left

    def configuration(self, folder: str) -> tuple[str, ...]:
        """Existing manifests, lock files, toolchain files and cargo configuration in ``folder`` and its parents."""
        if folder not in self._above:
            parent = os.path.dirname(folder)
            above = () if parent == folder else self.configuration(parent)
            names = self._names_in(folder)
            here = [name for name in CONFIGURATION if name in names]
            if ".cargo" in names:
                here += [f".cargo/{name}" for name in ("config.toml", "config")]
            found = (os.path.join(folder, name) for name in here)
            self._above[folder] = (*above, *filter(os.path.isfile, found))
        return self._above[folder]

    def _names_in(self, folder: str) -> set[str]:
        if folder not in self._names:
            try:
                self._names[folder] = set(os.listdir(folder))
            except OSError:  # its files may exist all the same
                self._names[folder] = {*CONFIGURATION, ".cargo"}
        return self._names[folder]

    def _real(self, folder: str) -> str:
        # Like os.path.realpath, but each parent is looked up only once.
        if folder not in self._reals:
            parent, name = os.path.split(folder)
            plain = name and name not in (".", "..") and not os.path.islink(folder)
            self._reals[folder] = os.path.join(self._real(parent), name) if plain else os.path.realpath(folder)
        return self._reals[folder]

    def forget(self, folder: str) -> None:
        """Read the folder again next time, since its content may have changed."""
        for root, package in list(self._known):
            if f"{folder}{os.sep}".startswith(f"{root}{os.sep}") or root.startswith(f"{folder}{os.sep}"):
                self._known.pop((root, package), None)

    def _walked(self, root: str, package: bool) -> _Found:
        found = self._known.get((root, package))
        if found is None:
            found = _Found()
            if package:
                self._walk(root, (self._real(root),), found, package=True)
            else:
                # A package contains few other packages: share the rest between both kinds of walk.
                known = self._walked(root, package=True)
                found.files, found.folders, found.left = known.files[:], known.folders[:], known.left[:]
                for folder, way in known.others:
                    self._enter(folder, way, found, package=False)
            self._known[root, package] = found.sorted()
        return found

    def _enter(self, folder: str, way: tuple[str, ...], found: _Found, *, package: bool) -> None:
        """Walk a folder that may be behind a link."""
        root, real = os.path.join(way[0], ""), os.path.join(way[-1], "")
        if real.startswith((root, self._tree or root)) and not root.startswith(real):
            self._walk(folder, way, found, package=package)
            return
        behind = _Found()
        try:
            self._walk(folder, way, behind, package=package, room=[MOST_BEHIND_A_LINK])
        except _TooMany:
            found.left.append(folder)
            return
        found.files += behind.files
        found.folders += behind.folders
        found.others += behind.others

    def _walk(
        self, folder: str, way: tuple[str, ...], found: _Found, *, package: bool, room: list[int] | None = None
    ) -> None:
        """``way`` has the real paths from the root to ``folder``; a link back to one of them is not followed. Folders in a package that are
        not part of it go to ``others``. ``room`` is how many more entries are allowed."""
        try:
            entries = list(os.scandir(folder))
        except OSError:
            return
        if room is not None:
            room[0] -= len(entries)
            if room[0] < 0:
                raise _TooMany
        names = {entry.name for entry in entries}
        self._names[folder] = names
        if package and len(way) > 1 and ("Cargo.toml" in names or "CACHEDIR.TAG" in names):
            found.others.append((folder, way))
            return
        for entry in entries:
            if entry.is_dir():
                link = entry.is_symlink()
                real = os.path.realpath(entry.path) if link else f"{way[-1]}/{entry.name}"
                if entry.name in VERSION_CONTROL or real in self._skip or real in way:
                    continue
                found.folders.append(entry.path)
                if link and room is None:
                    self._enter(entry.path, (*way, real), found, package=package)
                else:
                    self._walk(entry.path, (*way, real), found, package=package, room=room)
            elif entry.is_file() and entry.name not in VERSION_CONTROL:  # .git is a file in a submodule or worktree
                found.files.append(entry.path)
