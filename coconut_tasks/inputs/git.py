"""What git knows of the tree."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
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


def find_commit(tree: str, environment: Mapping[str, str], read: Iterable[str]) -> Source | None:
    """The commit that the tree is at, and which of the files that were read (relative to the tree) are not as it has them; None without
    git, a repository or a commit.

    It is a matter of HEAD and of what is in the files alone: what is staged or ignored makes no difference.
    """
    asked = git_text(["rev-parse", "HEAD", "--show-toplevel"], tree, environment).splitlines()
    listed = ask_git(["ls-tree", "-r", "-z", "--full-tree", "HEAD"], tree, environment)
    if len(asked) != 2 or listed is None:
        return None
    commit, top = asked
    top = os.path.realpath(top)
    blobs = {}
    for line in os.fsdecode(listed).split("\0"):
        about, tab, path = line.partition("\t")
        if tab:
            mode, _, blob = about.split(" ")
            blobs[path] = (mode, blob)
    names = {}
    for name in read:
        path = os.path.relpath(os.path.join(tree, name), top)
        if not path.startswith(("..", ".git" + os.sep)) and "\n" not in path:
            names[path] = name
    paths = sorted(path for path in names if os.path.isfile(os.path.join(top, path)))
    lines = "".join(os.path.join(top, path) + "\n" for path in paths)
    hashed = os.fsdecode(
        ask_git(["hash-object", "--stdin-paths"], tree, environment, os.fsencode(lines)) or b""
    ).split()
    if len(hashed) != len(paths):
        return None
    now = {path: (_mode(os.path.join(top, path)), blob) for path, blob in zip(paths, hashed, strict=True)}
    changed = [path for path in paths if now[path] != blobs.get(path)]
    tracked = [f":(top,literal){path}" for path in changed if path in blobs]
    diff = ask_git([*_DIFF, *tracked], tree, environment) if tracked else b""
    digest = f"sha256:{hashlib.sha256(diff).hexdigest()}" if diff else ""
    return Source(commit, sorted(names[path] for path in changed), digest)


def commit_files(tree: str, environment: Mapping[str, str]) -> list[str]:
    """The files that say which commit a tree is at, absolute. Where there is no repository, those that would be one's."""
    wanted = ["HEAD", "packed-refs", os.path.join("reftable", "tables.list")]
    if branch := git_text(["symbolic-ref", "-q", "HEAD"], tree, environment):
        wanted.append(branch)
    words = [word for path in wanted for word in ("--git-path", path)]
    found = git_text(["rev-parse", *words], tree, environment).splitlines()
    if found:
        return [os.path.normpath(os.path.join(tree, path)) for path in found]
    above = [tree]
    while (parent := os.path.dirname(above[-1])) != above[-1]:
        above.append(parent)
    return [os.path.join(folder, ".git", "HEAD") for folder in above]


def _mode(path: str) -> str:
    return "100755" if os.stat(path).st_mode & 0o100 else "100644"
