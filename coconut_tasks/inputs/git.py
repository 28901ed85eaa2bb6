"""What git knows about the tree."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

from coconut_tasks.dataclass import dataclass
from coconut_tasks.inputs.text import read_text

OF_ONE_REPOSITORY = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
)
DECIDES = (
    *OF_ONE_REPOSITORY,
    "GIT_CEILING_DIRECTORIES",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
)
"""The variables by which git finds a repository."""


@dataclass(frozen=True, slots=True)
class SourceRevision:
    """The commit that the tree was at."""

    commit: str
    """In hex."""
    modified: Sequence[str] = ()
    """Files that were read and differ from the commit."""
    diff: str = ""
    """Digest of ``git diff`` for those that are in the commit; empty if there are none."""
    generated: Set[str] = frozenset()
    """Files that were read but that the build wrote itself: they are not part of the source."""


def ask_git(words: Iterable[str], tree: str, environment: Mapping[str, str], given: bytes = b"") -> bytes | None:
    """git's standard output; None if git fails or is not installed. ``given`` is its standard input."""
    try:
        done = subprocess.run(["git", *words], cwd=tree, env=dict(environment), input=given, capture_output=True)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def git_text(words: Iterable[str], tree: str, environment: Mapping[str, str]) -> str:
    """git's standard output without surrounding white space; empty if git fails or is not installed."""
    return os.fsdecode(ask_git(words, tree, environment) or b"").strip()


def repository_fault(tree: str, environment: Mapping[str, str]) -> str:
    """Why git refuses the tree's repository, usually in git's own words; empty if it does not, or if there is no repository.

    git refuses another user's repository, which is common in containers, and a work tree whose repository is gone.
    """
    if not _has_repository(tree, environment):
        return ""
    command = ["git", "rev-parse", "--git-dir"]
    try:
        done = subprocess.run(command, cwd=tree, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True)
    except OSError:
        return "git is not installed: apt-get install git"
    return os.fsdecode(done.stderr).strip() if done.returncode else ""


def _has_repository(tree: str, environment: Mapping[str, str]) -> bool:
    listed = environment.get("GIT_CEILING_DIRECTORIES", "").split(os.pathsep)
    ceilings = {os.path.realpath(folder) for folder in listed if os.path.isabs(folder)}
    for folder in (tree, *map(str, Path(tree).parents)):
        if folder != tree and folder in ceilings:
            return False
        if os.path.lexists(os.path.join(folder, ".git")):
            return True
    return False


def missing_submodules(tree: str) -> list[str]:
    """The empty submodules, for example of a clone without ``--recurse-submodules``; paths relative to the tree."""
    paths = re.findall(r"(?m)^\s*path\s*=\s*(.+?)\s*$", read_text(os.path.join(tree, ".gitmodules")))
    return [path for path in paths if not _has_files(os.path.join(tree, path))]


def _has_files(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entries)
    except OSError:
        return False


def ignored_by(path: str, package: str, environment: Mapping[str, str]) -> list[str]:
    """The files that may make git ignore a file in a package, if git ignores it; empty if cargo would not ask git.

    cargo asks git about a package whose manifest is tracked. The user's own ignore settings do not count here.
    """
    known = ask_git(["ls-files", "--error-unmatch", "Cargo.toml"], package, environment)
    ignored = ask_git(["-c", "core.excludesFile=", "check-ignore", "--quiet", path], package, environment)
    if known is None or ignored is None:
        return []
    exclude = git_text(["rev-parse", "--git-path", "info/exclude"], package, environment)
    return [os.path.join(package, exclude), *(str(folder / ".gitignore") for folder in Path(path).parents)]


@dataclass(frozen=True, slots=True)
class Repository:
    """The state of a tree's repository at one time."""

    commit: str
    """The commit that the tree is at, in hex; empty without git, a repository or a commit."""
    top: str
    """The work tree's folder."""
    files: Sequence[str]
    """Absolute paths of the files that say which commit that is, and of those that would belong to a nearer repository."""
    refs: str = ""
    """The absolute path of the folder of unpacked branches and tags; empty without a repository."""


def find_repository(tree: str, environment: Mapping[str, str]) -> Repository:
    """Ask git, in one call, for the repository of the tree."""
    wanted = ("HEAD", "packed-refs", os.path.join("reftable", "tables.list"), "refs")
    words = [word for path in wanted for word in ("--git-path", path)]
    # With --revs-only, a repository without a commit prints every line except the last.
    asked = git_text(["rev-parse", "--revs-only", "--show-toplevel", *words, "HEAD"], tree, environment).splitlines()
    top, *found = asked or [""]
    commit = found.pop() if len(found) > len(wanted) else ""
    paths = [os.path.normpath(os.path.join(tree, path)) for path in found]
    refs = paths.pop() if paths else ""
    if paths:
        paths += _branch_files(paths[0], refs)
    above = [os.path.realpath(tree)]
    while above[-1] != top and (parent := os.path.dirname(above[-1])) != above[-1]:
        above.append(parent)
    near = [os.path.join(folder, *end) for folder in above for end in ((".git",), (".git", "HEAD"))]
    return Repository(commit, top and os.path.realpath(top), (*paths, *near), refs)


def _branch_files(head: str, refs: str) -> list[str]:
    """Where the branch that HEAD names may be stored: with the repository, or with one of its work trees."""
    kind, _, ref = read_text(head).strip().partition(" ")
    if kind != "ref:":
        return []
    both = (os.path.join(os.path.dirname(refs), ref), os.path.join(os.path.dirname(head), ref))
    return list(dict.fromkeys(map(os.path.normpath, both)))
