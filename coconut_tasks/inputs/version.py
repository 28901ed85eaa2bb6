"""The text of the tree's version file: what it should be and what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from coconut_tasks.inputs.git import git_text

_HEADER = "// Generated from `git describe` by the build; changes here are overwritten.\n//\n\n"
DIRTY = "+"
"""The end of the version of a tree with changes."""
_LINE = re.compile(r'^pub const GIT_VERSION: &str = "[^"]*";$', re.MULTILINE)


def version_text(file: str, version: str) -> str:
    """What the file should contain; ``version`` is from ``describe``.

    The tree's own build script writes the same file. An existing comment block is kept, so that both write identical bytes and neither
    makes the other's work stale.
    """
    line = f'pub const GIT_VERSION: &str = "{version}";'
    found = read_version(file)
    if found is not None and len(_LINE.findall(found)) == 1:
        return _LINE.sub(lambda _: line, found)
    return f"{_HEADER}{line}\n"


def read_version(file: str) -> str | None:
    """The file's content; None if it cannot be read."""
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def commit_time(tree: str, environment: Mapping[str, str]) -> int | None:
    """The time of the tree's commit, in seconds since 1970; None without git or a repository."""
    printed = git_text(["log", "-1", "--no-show-signature", "--format=%ct"], tree, environment)
    return int(printed) if printed.isdigit() else None


def repository(tree: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that make git use the tree's repository from any folder; empty without git or a repository."""
    printed = git_text(["rev-parse", "--absolute-git-dir", "--show-toplevel"], tree, environment).splitlines()
    return {"GIT_DIR": printed[0], "GIT_WORK_TREE": printed[1]} if len(printed) == 2 else {}


def describe(tree: str, environment: Mapping[str, str]) -> str:
    """The version from git, determined as by the tree's own build script; empty without git or a repository."""
    printed = git_text(["describe", "--always", f"--dirty={DIRTY}"], tree, environment)
    return re.sub(r'["\\\n]', "", printed.removeprefix("v"))
