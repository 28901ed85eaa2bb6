"""What git knows of the tree."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

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
_SUBMODULE, _LINK = "160000", "120000"
"""What git calls the mode of a submodule and of a symbolic link."""
_MOST_LINKS = 40
"""On the way to one file; the kernel follows no more."""
_OF_ONE_REPOSITORY = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
)
DECIDES = (
    *_OF_ONE_REPOSITORY,
    "GIT_CEILING_DIRECTORIES",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
)
"""The variables by which git finds a repository."""


@dataclass(frozen=True, slots=True)
class Source:
    """The commit that the tree was at."""

    commit: str
    """In hex."""
    modified: Sequence[str] = ()
    """Files that were read and are not as in the commit."""
    diff: str = ""
    """Digest of ``git diff`` of those that are in the commit; empty if there are none."""


def ask_git(words: Iterable[str], tree: str, environment: Mapping[str, str], given: bytes = b"") -> bytes | None:
    """What git prints; None where it fails, or is not there. ``given`` is its standard input."""
    try:
        done = subprocess.run(["git", *words], cwd=tree, env=dict(environment), input=given, capture_output=True)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def git_text(words: Iterable[str], tree: str, environment: Mapping[str, str]) -> str:
    """What git prints, without the white space around it; nothing where it fails, or is not there."""
    return os.fsdecode(ask_git(words, tree, environment) or b"").strip()


def find_commit(
    tree: str, environment: Mapping[str, str], read: Mapping[str, str], changed: Iterable[str] = ()
) -> Source | None:
    """The commit that the tree is at, and which of the files that were read are not as it has them; None without git, a repository or a
    commit.

    ``read`` has each file's absolute path by what it is called; ``changed`` are names of those that were not read as they are now. It is a
    matter of HEAD and of what is in the files alone: what is staged or ignored makes no difference.
    """
    asked = git_text(["rev-parse", "HEAD", "--show-toplevel"], tree, environment).splitlines()
    if len(asked) != 2:
        return None
    commit, top = asked
    top = os.path.realpath(top)
    ways = {name: _ways(os.path.normpath(path)) for name, path in read.items()}
    own = {name: way for name, way in ways.items() if any(_is_inside(path, top) for path in way)}
    odd = _not_as_in(commit, top, environment, {path for way in own.values() for path in way if _is_inside(path, top)})
    if odd is None:
        return None
    # What a link leads to outside of the repository is in no commit.
    found = {name for name, way in own.items() if not odd.keys().isdisjoint(way) or not _is_inside(way[-1], top)}
    tracked = [f":(top,literal){os.path.relpath(path, top)}" for path in sorted(odd) if odd[path]]
    diff = ask_git([*_DIFF, *tracked], tree, environment) if tracked else b""
    digest = f"sha256:{hashlib.sha256(diff).hexdigest()}" if diff else ""
    return Source(commit, sorted(found.union(name for name in changed if name in own)), digest)


def _not_as_in(commit: str, top: str, environment: Mapping[str, str], paths: Iterable[str]) -> dict[str, bool] | None:
    """Those of the paths below the folder ``top`` that a commit has not like this, and whether it has something else there."""
    listed = ask_git(["ls-tree", "-r", "-z", "--full-tree", commit], top, environment)
    if listed is None:
        return None
    entries = (entry.partition("\t") for entry in os.fsdecode(listed).split("\0") if entry)
    blobs = {os.path.join(top, path): (about.split(" ")[0], about.split(" ")[2]) for about, _, path in entries}
    modules: dict[str, set[str]] = {path: set() for path, (mode, _) in blobs.items() if mode == _SUBMODULE}
    here: set[str] = set()
    for path in paths:
        module = next((folder for folder in _above(path, top) if folder in modules), None)
        (here if module is None else modules[module]).add(path)
    now = {path: (_LINK, _blob(os.fsencode(os.readlink(path)), commit)) for path in here if os.path.islink(path)}
    files = sorted(path for path in here - now.keys() if os.path.isfile(path))
    lines = os.fsencode("".join(_quoted(path) + "\n" for path in files))
    hashed = os.fsdecode(ask_git(["hash-object", "--stdin-paths"], top, environment, lines) or b"").split()
    if len(hashed) != len(files):
        return None
    now |= {path: (_mode(path), blob) for path, blob in zip(files, hashed, strict=True)}
    odd = {path: path in blobs for path in here if now.get(path) != blobs.get(path)}
    # What a submodule should hold is said by the commit, wherever its own HEAD is.
    alone = {name: value for name, value in environment.items() if name not in _OF_ONE_REPOSITORY}
    for folder, inner in modules.items():
        if inner:
            found = _not_as_in(blobs[folder][1], folder, alone, inner)
            odd |= dict.fromkeys(inner if found is None else found, False)
    return odd


def _ways(path: str) -> tuple[str, ...]:
    """The links on the way to a file, and where it is in the end."""
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
    return (*links, real)


def _above(path: str, top: str) -> Iterator[str]:
    """The folders that a path is in, below ``top``."""
    while len(path := os.path.dirname(path)) > len(top):
        yield path


def _is_inside(path: str, top: str) -> bool:
    return path.startswith(top.rstrip(os.sep) + os.sep) and not path.startswith(os.path.join(top, ".git") + os.sep)


def _quoted(path: str) -> str:
    """As git takes a path on a line of its own."""
    if "\n" not in path:
        return path
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _blob(content: bytes, commit: str) -> str:
    """What git calls it; the length of a commit's name tells which hash the repository uses."""
    named = hashlib.sha1 if len(commit) == 40 else hashlib.sha256
    return named(b"blob %d\0" % len(content) + content).hexdigest()


def commit_files(tree: str, environment: Mapping[str, str]) -> list[str]:
    """The files that say which commit a tree is at, absolute, and those that would be of another repository, which is nearer."""
    wanted = ["HEAD", "packed-refs", os.path.join("reftable", "tables.list")]
    if branch := git_text(["symbolic-ref", "-q", "HEAD"], tree, environment):
        wanted.append(branch)
    words = [word for path in wanted for word in ("--git-path", path)]
    top, *found = git_text(["rev-parse", "--show-toplevel", *words], tree, environment).splitlines() or [""]
    above = [os.path.realpath(tree)]
    while above[-1] != top and (parent := os.path.dirname(above[-1])) != above[-1]:
        above.append(parent)
    near = [os.path.join(folder, *end) for folder in above for end in ((".git",), (".git", "HEAD"))]
    return [*(os.path.normpath(os.path.join(tree, path)) for path in found), *near]


def _mode(path: str) -> str:
    return "100755" if os.stat(path).st_mode & 0o100 else "100644"
