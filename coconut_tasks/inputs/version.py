"""The text of the tree's version file: what it should be, and what it is."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

_HEADER = "// Generated from `git describe` by the build; changes here are overwritten.\n//\n\n"
_LINE = re.compile(r'^pub const GIT_VERSION: &str = "[^"]*";$', re.MULTILINE)


def version_text(file: str, tree: str, environment: Mapping[str, str]) -> str:
    """What the file should hold.

    The tree's own build script writes the same file. A comment block that is there already is kept, so that the two agree to the byte
    and neither makes the other's work stale.
    """
    line = f'pub const GIT_VERSION: &str = "{_describe(tree, environment)}";'
    found = read_version(file)
    if found is not None and len(_LINE.findall(found)) == 1:
        return _LINE.sub(lambda _: line, found)
    return f"{_HEADER}{line}\n"


def read_version(file: str) -> str | None:
    """What the file holds; None where there is none."""
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _describe(tree: str, environment: Mapping[str, str]) -> str:
    # As the tree's own build script does it: no git, or no repository, is an empty version.
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"],
            cwd=tree,
            env=dict(environment),
            capture_output=True,
            text=True,
        )
    except OSError:
        return ""
    if done.returncode != 0:
        return ""
    return re.sub(r'["\\\n]', "", done.stdout.strip().removeprefix("v"))
