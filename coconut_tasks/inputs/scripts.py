"""Build scripts that read variables without telling cargo.

A build script that runs make hands its whole environment on, and cargo does not know which variables the Makefile looks at: after a change
it calls the old output fresh. The same holds for a variable that a recipe sets for one item and not for another. So each run of a script
is remembered with the values that it saw (see ``seen``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coconut_tasks.inputs.cargo import path_packages, script_output
from coconut_tasks.inputs.environment import make_references
from coconut_tasks.inputs.files import Walker

_MAKEFILE = re.compile(r"(GNUm|[mM])akefile(\..+)?|.*\.(mk|mak)")
_WATCHED = re.compile(r"CARGO|RUST")
"""Variables that cargo itself looks at."""


@dataclass(frozen=True, slots=True)
class Script:
    """One run of a package's build script: a package has one for each set of features, target and profile."""

    folder: str
    """The package's."""
    out_dir: str
    """Tells the runs apart."""
    ran_ns: int
    """When it ran, by the file that cargo keeps its output in."""
    variables: tuple[str, ...]
    """What it may read and cargo does not know of."""


def scripts_of(messages: Iterable[Mapping[str, Any]], given: Iterable[str], walker: Walker) -> list[Script]:
    """The build scripts of path packages that may read variables in secret; ``given`` are those that the recipe sets for the item."""
    messages = list(messages)
    packages = path_packages(messages)
    found = []
    for message in messages:
        folder = packages.get(message.get("package_id", ""))
        if message["reason"] != "build-script-executed" or folder is None:
            continue
        output = script_output(message)
        told = {value for kind, value in output.rerun if kind == "env-changed"}
        names = set(given).union(*(make_references(_text(path)) for path in walker.files(folder) if _is_makefile(path)))
        names = {name for name in names - told if not _WATCHED.match(name)}
        if names:
            found.append(Script(folder, message["out_dir"], output.written_ns, tuple(sorted(names))))
    return found


def _is_makefile(path: str) -> bool:
    return _MAKEFILE.fullmatch(path.rpartition("/")[2]) is not None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
