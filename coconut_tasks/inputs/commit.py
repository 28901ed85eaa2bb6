"""Which of the files that were read are as in a commit.

What a commit has at a path, and what git calls a content, is the same for ever and in each clone. Both are kept in a file of the state
folder, so that git is asked, and files are read once more, only for what is new. The file only saves time: it may be deleted, and a
damaged one is not used.
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
"""However the user's git is configured, the same change is the same text."""
_SUBMODULE, _LINK, _PROGRAM, _FILE = "160000", "120000", "100755", "100644"
"""What git calls the mode of a submodule, of a symbolic link and of files."""
_FORMAT = 1
"""Version of what is kept."""
_BETWEEN = "\0"
"""Between the words of a fact, which are kept as one: that takes a third of the time to read."""
_CHUNK = 1 << 20
_MOST_LINKS = 40
"""On the way to one file; the kernel follows no more."""


class _Fact(NamedTuple):
    """What a commit has at a path."""

    digest: str = ""
    """Of the content and mode in our own words, as ``Files.digest``; empty as long as no file was seen to be like this."""
    mode: str = ""
    """Empty where it has nothing there."""
    blob: str = ""
    """git's name of the content."""
    module: str = ""
    """The submodule that has it, relative to the repository's top."""


class _Now(NamedTuple):
    """What is at a path at this moment; empty where there is no file."""

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
    """The commit that the tree is at, and which of the files that were read are not as it has them; None where there is none.

    ``read`` has each file's absolute path by what it is called. ``contents`` has the digest of what was read of it, by the same name: None
    where nobody knows. Of a file that it does not have, what is there now counts. It is a matter of the commit and of what was read alone:
    what is staged or ignored makes no difference. ``made`` are those that the build wrote itself: where the commit has nothing of the kind,
    they are generated, and do not count as modified.
    """
    if not repository.commit:
        return None
    contents = contents or {}
    known = _Known(repository, cache)
    # Most are known already; the rest is few files in an ordinary run.
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
    # Of what is certain only the links on the way are to be looked at.
    left = {
        name: way[:-1] if known.tells(way[-1], contents.get(name)) else way
        for name, way in own.items()
        if name not in generated
    }
    now = {path: _look(path, repository.commit) for way in left.values() for path in way if known.is_inside(path)}
    odd = known.not_as(now, environment)
    modified = set()
    for name, way in left.items():
        # What is there now need not be what was read: somebody may have switched to another commit since.
        other = way == own[name] and name in contents and contents[name] != now.get(way[-1], _Now()).digest
        # What a link leads to outside of the repository is in no commit.
        if other or not odd.keys().isdisjoint(way) or not known.is_inside(own[name][-1]):
            modified.add(name)
    known.keep()
    tracked = [f":(top,literal){os.path.relpath(path, repository.top)}" for path in sorted(odd) if odd[path]]
    diff = ask_git([*_DIFF, *tracked], repository.top, environment) if tracked else b""
    digest = f"sha256:{hashlib.sha256(diff).hexdigest()}" if diff else ""
    return SourceRevision(repository.commit, sorted(modified), digest, frozenset(generated))


class _Known:
    """What is known of one commit."""

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
            # What git calls a content holds in each commit.
            facts = (_Fact(*fact.split(_BETWEEN)) for fact in found["files"].values())
            self._blobs = {fact.digest: fact.blob for fact in facts if fact.digest}

    def is_inside(self, path: str) -> bool:
        """Whether a commit can have the path."""
        return path.startswith(self._inside) and not path.startswith(self._git)

    def has(self, path: str, digest: str | None) -> bool:
        """Whether it is known that the commit has this content there."""
        return not self.uncertain({path: path}, {path: digest})

    def uncertain(self, paths: Mapping[str, str], contents: Mapping[str, str | None]) -> set[str]:
        """The names of the paths of which it is not known that the commit has this content there."""
        # Asked of thousands, of which each needs no call of its own.
        facts, inside, start = self._facts, self._inside, len(self._inside)
        certain = {
            name
            for name, path in paths.items()
            if path.startswith(inside) and (fact := facts.get(path[start:])) is not None
            if (digest := contents.get(name)) and fact.startswith(digest + _BETWEEN)
        }
        return paths.keys() - certain

    def ask(self, paths: Iterable[str], environment: Mapping[str, str]) -> bool:
        """Ask git for what the commit has at the paths that nothing is known of; False if it does not say."""
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
        """Whether the commit has this content there, by what git is known to call it; no file is looked at."""
        if self.has(path, digest):
            return True
        fact = self._of(path)
        blob = self._blobs.get(digest or "")
        if blob is None or (fact.mode, fact.blob) != (_mode_of(digest or ""), blob):
            return False
        self._learn(path, fact, digest or "")
        return True

    def not_as(self, now: Mapping[str, _Now], environment: Mapping[str, str]) -> dict[str, bool]:
        """Those of the paths at which something else is now than in the commit, and whether the commit itself has something there."""
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
        # Line ends and the like may differ from what is in the commit. Only git knows the filters that say so.
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
        """Write it down."""
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
        """What a commit has at paths in a repository's folder. Those in a submodule that nobody knows are missing."""
        listed = ask_git(["ls-tree", "-r", "-z", "--full-tree", commit], folder, environment)
        if listed is None:
            return None
        lines = (entry.partition("\t") for entry in os.fsdecode(listed).split("\0") if entry)
        entries = {os.path.join(folder, path): about.split(" ") for about, _, path in lines}
        modules: dict[str, set[str]] = {path: set() for path, about in entries.items() if about[0] == _SUBMODULE}
        name = folder[len(self._inside) :]
        # The submodule that each folder is in, or nothing.
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
                # What a submodule should hold is said by the commit, wherever its own HEAD is.
                found |= self._entries(entries[module][2], module, _alone(environment), inner) or {}
        return found


def _kept(cache: Path | None) -> Any:
    """What was written down; None if there is nothing of the kind, or not all of it is as it was written."""
    try:
        digest, _, text = cache.read_bytes().partition(b"\n") if cache is not None else (b"", b"", b"")
    except OSError:
        return None
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    found = json.loads(text)
    return found if found["format"] == _FORMAT else None


def _alone(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for another repository than the one that it may name."""
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
    """What git calls it; the length of a commit's name tells which hash the repository uses."""
    named = hashlib.sha1 if len(commit) == 40 else hashlib.sha256
    return named(b"blob %d\0" % len(content) + content).hexdigest()


def _linked(paths: Collection[str]) -> Set[str]:
    """Those of the paths that lead through a symbolic link, or of which that cannot be known. Each folder is looked at once."""
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
    """The folders on the way from a repository's top to files, both ends included."""
    found = {top, ""}
    inside = top.rstrip(os.sep) + os.sep
    for folder in {path.rpartition(os.sep)[0] for path in paths if path.startswith(inside)}:
        while folder not in found:
            found.add(folder)
            folder = folder.rpartition(os.sep)[0]
    return sorted(found - {""})


def state_of_paths(paths: Iterable[str], now_ns: int | None = None) -> Hashable:
    """Equal at two moments if none of the files was written in between, and no folder got another name in it or lost one.

    ``now_ns`` is when what is to be remembered with it was found out, by ``time.time_ns``; now, if it is not given.
    """
    now_ns = time.time_ns() if now_ns is None else now_ns
    found = tuple(map(_changed_ns, paths))
    # What is as young as that may change once more in the same tick of the clock.
    return found if all(latest_ns(changed) < now_ns - RACY_NS for changed in found) else now_ns


def _changed_ns(path: str) -> int:
    try:
        return os.stat(path).st_ctime_ns
    except OSError:
        return -1


def _links_in(folder: str) -> list[str] | None:
    """The symbolic links in a folder, by their paths; None where that cannot be known."""
    try:
        with os.scandir(folder or os.sep) as entries:
            return [f"{folder}{os.sep}{entry.name}" for entry in entries if entry.is_symlink()]
    except OSError:
        return None


def _way(path: str, top: str) -> tuple[str, ...]:
    """The links below the folder ``top`` on the way to a file, and where it is in the end."""
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
    """As git takes a path on a line of its own."""
    if "\n" not in path:
        return path
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
