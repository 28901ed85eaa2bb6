"""What git knows of the tree."""

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
    """Files that were read and are not as in the commit."""
    diff: str = ""
    """Digest of ``git diff`` of those that are in the commit; empty if there are none."""
    generated: Set[str] = frozenset()
    """Files that were read and that the build wrote itself: they are no part of the source."""


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


def repository_fault(tree: str, environment: Mapping[str, str]) -> str:
    """Why git does not speak of the repository that the tree is in, mostly in git's own words; empty where it does, or where there is none.

    git calls a repository of another user "dubious", as containers have them, and knows nothing of a work tree whose repository is gone.
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
    """The submodules of which nothing is there, as a clone without ``--recurse-submodules`` leaves them; paths from the tree."""
    paths = re.findall(r"(?m)^\s*path\s*=\s*(.+?)\s*$", read_text(os.path.join(tree, ".gitmodules")))
    return [path for path in paths if not _has_files(os.path.join(tree, path))]


def _has_files(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entries)
    except OSError:
        return False


def ignored_by(path: str, package: str, environment: Mapping[str, str]) -> list[str]:
    """The files that could say that git ignores a file in a package, where one of them does; empty where cargo would not ask git.

    cargo asks it about a package whose manifest git knows. What the user's own settings ignore does not count here.
    """
    known = ask_git(["ls-files", "--error-unmatch", "Cargo.toml"], package, environment)
    ignored = ask_git(["-c", "core.excludesFile=", "check-ignore", "--quiet", path], package, environment)
    if known is None or ignored is None:
        return []
    exclude = git_text(["rev-parse", "--git-path", "info/exclude"], package, environment)
    return [os.path.join(package, exclude), *(str(folder / ".gitignore") for folder in Path(path).parents)]


@dataclass(frozen=True, slots=True)
class Repository:
    """What git says of the repository that a tree is in, as of one moment."""

    commit: str
    """The commit that the tree is at, in hex; empty without git, a repository or a commit."""
    top: str
    """The work tree's folder."""
    files: Sequence[str]
    """The files that say which commit that is, absolute, and those that would be of another repository, which is nearer."""
    refs: str = ""
    """The folder of branches and tags that are not packed, absolute; empty without a repository."""


def find_repository(tree: str, environment: Mapping[str, str]) -> Repository:
    """Ask git once for all that it knows of where the tree is."""
    wanted = ("HEAD", "packed-refs", os.path.join("reftable", "tables.list"), "refs")
    words = [word for path in wanted for word in ("--git-path", path)]
    # With --revs-only a repository without a commit has all lines but the last.
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
    """Where the branch that the file HEAD names may be kept: with all of the repository, or with one work tree of it."""
    kind, _, ref = read_text(head).strip().partition(" ")
    if kind != "ref:":
        return []
    both = (os.path.join(os.path.dirname(refs), ref), os.path.join(os.path.dirname(head), ref))
    return list(dict.fromkeys(map(os.path.normpath, both)))
