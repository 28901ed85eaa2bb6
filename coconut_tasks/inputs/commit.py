"""Which of the files that were read are the same as in a commit.

What a commit has at a path, and git's name for a content, never change. Both are kept in a file in the state folder, so that git is asked,
and files are read again, only for new files. This file only saves time: it may be deleted, and a damaged one is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Collection, Hashable, Iterable, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

from coconut_tasks.effects.place import write_cache
from coconut_tasks.inputs.files import EXECUTABLE, RACY_NS, digest_text, latest_ns
from coconut_tasks.inputs.git import OF_ONE_REPOSITORY, Repository, SourceRevision, ask_git

_DIFF = (
    "diff",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-renames",
    "--binary",
    "--full-index",
    "HEAD",
    "--",
)
"""With these options the same change gives the same text, however the user configured git."""
_SUBMODULE, _LINK, _PROGRAM, _FILE = "160000", "120000", "100755", "100644"
"""git's modes of a submodule, a symbolic link, a program and a file."""
_FORMAT = 1
"""Version of the cache file."""
_BETWEEN = "\0"
"""Separates the fields of a fact, which are stored as one string: reading that takes a third of the time."""
_CHUNK = 1 << 20
_MOST_LINKS = 40
"""The most symbolic links on the way to one file; the kernel follows no more."""


class _Fact(NamedTuple):
    """What a commit has at a path."""

    digest: str = ""
    """Content and mode in the form of ``Files.digest``; empty until a file with this content was seen."""
    mode: str = ""
    """Empty if the commit has nothing there."""
    blob: str = ""
    """git's name of the content."""
    module: str = ""
    """The submodule that contains it, relative to the repository's top."""


class _Now(NamedTuple):
    """What is at a path now; empty if there is no file."""

    mode: str = ""
    blob: str = ""
    digest: str = ""


def find_source(
    repository: Repository,
    environment: Mapping[str, str],
    read: Mapping[str, str],
    contents: Mapping[str, str | None] | None = None,
    cache: Path | None = None,
    made: Set[str] = frozenset(),
) -> SourceRevision | None:
    """The commit that the tree is at, and which of the files that were read differ from it; None if there is no commit.

    ``read`` maps each file's name to its absolute path. ``contents`` maps names to the digest of what was read, None if unknown; for a
    file that is not in it, the current content counts. Only the commit and what was read matter, not what is staged or ignored. ``made``
    are files that the build wrote itself: if the commit does not have them with this content, they are generated and do not count as
    modified.
    """
    if not repository.commit:
        return None
    contents = contents or {}
    known = _Known(repository, cache)
    # In an ordinary run most files are known already.
    linked = _linked(read.values())
    uncertain = known.uncertain(read, contents)
    own = {
        name: way
        for name, path in read.items()
        if path in linked or name in uncertain
        if any(map(known.is_inside, way := _way(path, repository.top) if path in linked else (path,)))
    }
    if not known.ask({path for way in own.values() for path in way if known.is_inside(path)}, environment):
        return None
    generated = {name for name in made if not known.has(read[name], contents.get(name))}
    generated -= {name for name in generated & own.keys() if any(map(known.tracks, own[name]))}
    # For certain files, only the links on the way have to be checked.
    left = {
        name: way[:-1] if known.tells(way[-1], contents.get(name)) else way
        for name, way in own.items()
        if name not in generated
    }
    now = {path: _look(path, repository.commit) for way in left.values() for path in way if known.is_inside(path)}
    odd = known.not_as(now, environment)
    modified = set()
    for name, way in left.items():
        # The current content may not be what was read: the user may have switched to another commit since.
        other = way == own[name] and name in contents and contents[name] != now.get(way[-1], _Now()).digest
        # The target of a link outside the repository is in no commit.
        if other or not odd.keys().isdisjoint(way) or not known.is_inside(own[name][-1]):
            modified.add(name)
    known.keep()
    tracked = [f":(top,literal){os.path.relpath(path, repository.top)}" for path in sorted(odd) if odd[path]]
    diff = ask_git([*_DIFF, *tracked], repository.top, environment) if tracked else b""
    digest = f"sha256:{hashlib.sha256(diff).hexdigest()}" if diff else ""
    return SourceRevision(repository.commit, sorted(modified), digest, frozenset(generated))


class _Known:
    """What is known about one commit."""

    def __init__(self, repository: Repository, cache: Path | None) -> None:
        self._commit, self._top, self._cache = repository.commit, repository.top, cache
        self._inside = repository.top.rstrip(os.sep) + os.sep
        self._git = os.path.join(repository.top, ".git") + os.sep
        self._facts: dict[str, str] = {}
        self._blobs: dict[str, str] = {}
        self._learnt = False
        if (found := _kept(cache)) is not None and found["commit"] == self._commit:
            self._facts = found["files"]
        elif found is not None:
            # git's name of a content is valid in every commit.
            facts = (_Fact(*fact.split(_BETWEEN)) for fact in found["files"].values())
            self._blobs = {fact.digest: fact.blob for fact in facts if fact.digest}

    def is_inside(self, path: str) -> bool:
        """Whether a commit can have the path."""
        return path.startswith(self._inside) and not path.startswith(self._git)

    def has(self, path: str, digest: str | None) -> bool:
        """Whether the commit is known to have this content there."""
        return not self.uncertain({path: path}, {path: digest})

    def uncertain(self, paths: Mapping[str, str], contents: Mapping[str, str | None]) -> set[str]:
        """The names of the paths at which the commit is not known to have this content."""
        # This is for thousands of paths: avoid a call for each.
        facts, inside, start = self._facts, self._inside, len(self._inside)
        certain = {
            name
            for name, path in paths.items()
            if path.startswith(inside) and (fact := facts.get(path[start:])) is not None
            if (digest := contents.get(name)) and fact.startswith(digest + _BETWEEN)
        }
        return paths.keys() - certain

    def ask(self, paths: Iterable[str], environment: Mapping[str, str]) -> bool:
        """Ask git what the commit has at the unknown ones of the paths; False if git fails."""
        unknown = {path for path in paths if path.removeprefix(self._inside) not in self._facts}
        if not unknown:
            return True
        found = self._entries(self._commit, self._top, environment, unknown)
        self._learnt |= bool(found)
        self._facts |= {path.removeprefix(self._inside): _BETWEEN.join(fact) for path, fact in (found or {}).items()}
        return found is not None

    def tracks(self, path: str) -> bool:
        """Whether the commit has anything there."""
        return self.is_inside(path) and bool(self._of(path).mode)

    def tells(self, path: str, digest: str | None) -> bool:
        """Whether the commit has this content there, by git's known name for it; reads no file."""
        if self.has(path, digest):
            return True
        fact = self._of(path)
        blob = self._blobs.get(digest or "")
        if blob is None or (fact.mode, fact.blob) != (_mode_of(digest or ""), blob):
            return False
        self._learn(path, fact, digest or "")
        return True

    def not_as(self, now: Mapping[str, _Now], environment: Mapping[str, str]) -> dict[str, bool]:
        """The paths that now differ from the commit, and whether the commit has a file there."""
        odd = {}
        filtered: dict[str, list[str]] = {}
        for path, found in now.items():
            fact = self._of(path)
            if (found.mode, found.blob) != (fact.mode, fact.blob):
                odd[path] = bool(fact.mode) and not fact.module
                if found.mode == fact.mode in (_FILE, _PROGRAM):
                    filtered.setdefault(fact.module, []).append(path)
            elif found.digest and _mode_of(found.digest) == fact.mode:
                self._learn(path, fact, found.digest)
        # Files may differ from the commit in line ends and the like. Only git knows these filters.
        for module, paths in filtered.items():
            lines = os.fsencode("".join(_quoted(path) + "\n" for path in paths))
            folder, variables = (
                (os.path.join(self._top, module), _alone(environment)) if module else (self._top, environment)
            )
            hashed = os.fsdecode(ask_git(["hash-object", "--stdin-paths"], folder, variables, lines) or b"").split()
            for path, blob in zip(paths, hashed, strict=False):
                if blob == self._of(path).blob:
                    del odd[path]
        return odd

    def keep(self) -> None:
        """Write the cache file."""
        if self._learnt and self._cache is not None:
            found = {"format": _FORMAT, "commit": self._commit, "files": self._facts}
            text = json.dumps(found, separators=(",", ":")).encode()
            write_cache(self._cache, hashlib.sha256(text).hexdigest().encode() + b"\n" + text)

    def _of(self, path: str) -> _Fact:
        fact = self._facts.get(path.removeprefix(self._inside))
        return _Fact() if fact is None else _Fact(*fact.split(_BETWEEN))

    def _learn(self, path: str, fact: _Fact, digest: str) -> None:
        self._facts[path.removeprefix(self._inside)] = _BETWEEN.join(fact._replace(digest=digest))
        self._learnt = True

    def _entries(
        self, commit: str, folder: str, environment: Mapping[str, str], paths: Iterable[str]
    ) -> dict[str, _Fact] | None:
        """What a commit has at paths in a repository's folder. Paths in an unknown submodule are left out."""
        listed = ask_git(["ls-tree", "-r", "-z", "--full-tree", commit], folder, environment)
        if listed is None:
            return None
        lines = (entry.partition("\t") for entry in os.fsdecode(listed).split("\0") if entry)
        entries = {os.path.join(folder, path): about.split(" ") for about, _, path in lines}
        modules: dict[str, set[str]] = {path: set() for path, about in entries.items() if about[0] == _SUBMODULE}
        name = folder[len(self._inside) :]
        # The submodule that each folder is in, or an empty string.
        within = {folder.rstrip(os.sep): ""}

        def module_of(inner: str) -> str:
            if inner not in within:
                within[inner] = inner if inner in modules else module_of(inner.rpartition(os.sep)[0])
            return within[inner]

        found = {}
        for path in paths:
            if module := module_of(path.rpartition(os.sep)[0]):
                modules[module].add(path)
            else:
                mode, _, blob = entries.get(path, ("", "", ""))
                found[path] = _Fact("", mode, blob, name)
        for module, inner in modules.items():
            if inner:
                # The commit says what a submodule should contain, wherever the submodule's HEAD is.
                found |= self._entries(entries[module][2], module, _alone(environment), inner) or {}
        return found


def _kept(cache: Path | None) -> Any:
    """The content of the cache file; None if it is missing or damaged."""
    try:
        digest, _, text = cache.read_bytes().partition(b"\n") if cache is not None else (b"", b"", b"")
    except OSError:
        return None
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    found = json.loads(text)
    return found if found["format"] == _FORMAT else None


def _alone(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without variables that name a repository, for use in another one."""
    return {name: value for name, value in environment.items() if name not in OF_ONE_REPOSITORY}


def _look(path: str, commit: str) -> _Now:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        try:
            return _Now(_LINK, _blob(os.fsencode(os.readlink(path)), commit))
        except OSError:
            return _Now()
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            return _Now()
        content = b"".join(iter(lambda: os.read(descriptor, _CHUNK), b""))
    except OSError:
        return _Now()
    finally:
        os.close(descriptor)
    digest = digest_text(hashlib.sha256(content).hexdigest(), mode)
    return _Now(_PROGRAM if mode & stat.S_IXUSR else _FILE, _blob(content, commit), digest)


def _mode_of(digest: str) -> str:
    return _PROGRAM if digest.startswith(EXECUTABLE) else _FILE


def _blob(content: bytes, commit: str) -> str:
    """git's name of the content; the length of a commit's name shows which hash the repository uses."""
    named = hashlib.sha1 if len(commit) == 40 else hashlib.sha256
    return named(b"blob %d\0" % len(content) + content).hexdigest()


def _linked(paths: Collection[str]) -> Set[str]:
    """The paths that lead through a symbolic link, or may do so. Each folder is read once."""
    links: set[str] = set()
    doubtful: dict[str, bool] = {"": False}

    def is_doubtful(folder: str) -> bool:
        if folder not in doubtful:
            above, _, name = folder.rpartition(os.sep)
            doubtful[folder] = is_doubtful(above) or folder in links or name == os.pardir
            if not doubtful[folder]:
                there = _links_in(folder)
                doubtful[folder] = there is None
                links.update(there or ())
        return doubtful[folder]

    links.update(_links_in("") or ())
    folders = {folder for folder in {path.rpartition(os.sep)[0] for path in paths} if is_doubtful(folder)}
    through = {path for path in paths if path.rpartition(os.sep)[0] in folders} if folders else set()
    return through.union(links.intersection(paths))


def folders_inside(top: str, paths: Iterable[str]) -> list[str]:
    """The folders from a repository's top to the files' own folders, both included."""
    found = {top, ""}
    inside = top.rstrip(os.sep) + os.sep
    for folder in {path.rpartition(os.sep)[0] for path in paths if path.startswith(inside)}:
        while folder not in found:
            found.add(folder)
            folder = folder.rpartition(os.sep)[0]
    return sorted(found - {""})


def state_of_paths(paths: Iterable[str], now_ns: int | None = None) -> Hashable:
    """Equal at two times if none of the files was written in between, and no entry was added to or removed from a folder.

    ``now_ns`` is the time, by ``time.time_ns``, of what is remembered with it; the current time by default.
    """
    now_ns = time.time_ns() if now_ns is None else now_ns
    found = tuple(map(_changed_ns, paths))
    # A path that changed so recently may change again within the same clock tick.
    return found if all(latest_ns(changed) < now_ns - RACY_NS for changed in found) else now_ns


def _changed_ns(path: str) -> int:
    try:
        return os.stat(path).st_ctime_ns
    except OSError:
        return -1


def _links_in(folder: str) -> list[str] | None:
    """Paths of the symbolic links in a folder; None if it cannot be read."""
    try:
        with os.scandir(folder or os.sep) as entries:
            return [f"{folder}{os.sep}{entry.name}" for entry in entries if entry.is_symlink()]
    except OSError:
        return None


def _way(path: str, top: str) -> tuple[str, ...]:
    """The symbolic links below ``top`` on the way to a file, and the final path."""
    links: list[str] = []
    left, real = path.split(os.sep)[:0:-1], ""
    while left:
        word = left.pop()
        here = os.path.normpath(os.path.join(real or os.sep, word))
        if os.path.islink(here) and len(links) < _MOST_LINKS:
            links.append(here)
            to = os.readlink(here)
            real = "" if os.path.isabs(to) else real
            left += to.strip(os.sep).split(os.sep)[::-1]
        else:
            real = here
    return (*(link for link in links if link.startswith(top.rstrip(os.sep) + os.sep)), real)


def _quoted(path: str) -> str:
    """A path in the form that git reads, one per line."""
    if "\n" not in path:
        return path
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
