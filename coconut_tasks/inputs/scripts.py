"""Build scripts that read variables and files without telling cargo.

A build script that runs make hands its whole environment on, and cargo does not know which variables the Makefile looks at: after a change
it calls the old output fresh. The same holds for a variable that a recipe sets for one item and not for another, and for what a script
itself reads and has no ``rerun-if`` line for. What that may be is told by the texts in double quotes in its source.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from coconut_tasks.inputs.environment import AMBIENT, OF_MAKE, make_references
from coconut_tasks.inputs.files import Walker
from coconut_tasks.inputs.messages import ScriptRun
from coconut_tasks.inputs.paths import joined
from coconut_tasks.inputs.text import read_text

_MAKEFILE = re.compile(r"(GNUm|[mM])akefile(\..+)?|.*\.(mk|mak)")
_WATCHED = re.compile(r"CARGO|RUST")
"""Variables that cargo itself looks at."""
_OF_CARGO = frozenset({"OUT_DIR", "TARGET", "HOST", "NUM_JOBS", "OPT_LEVEL", "DEBUG", "PROFILE"})
"""Variables that cargo sets for a build script, whatever the user's are."""
_QUOTED = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_OF_MANIFEST = re.compile(r"CARGO_(PKG_(?!NAME|VERSION)\w+|MANIFEST_LINKS)")
"""Variables that cargo takes from the manifest, and whose change makes no script run again (seen with cargo 1.95)."""
_VARIABLE = re.compile(r'(?<!\.env\()(?<!\.env_remove\()"([A-Z][A-Z0-9_]+)"')
"""Not one that a script sets for a program that it runs."""
_FORMATTED = re.compile(r"^(\{\w*\})?/(?=\.\./)")
"""What stands before a path from the package's folder, as in ``concat!(env!("CARGO_MANIFEST_DIR"), "/../FILE")``."""


def named_files(sources: Iterable[str], folder: str, workspaces: Iterable[str]) -> set[str]:
    """The files that the source of the build script of the package in ``folder`` names and that cargo does not look at for it: those
    outside of the package, hidden ones, and manifests, also that of a workspace. A Rust source is more often one that it writes."""
    inside = os.path.join(folder, "")
    names = {_FORMATTED.sub("", text) for text in _texts(sources)}
    if any(map(_OF_MANIFEST.fullmatch, names)):
        names |= {os.path.join(os.path.relpath(place, folder), "Cargo.toml") for place in (folder, *workspaces)}
    found = (joined(folder, name) for name in names if name[:1] != "/" and os.path.isfile(inside + name))
    return {path for path in found if not path.startswith(inside) or os.path.basename(path).startswith((".", "Cargo."))}


def _texts(sources: Iterable[str]) -> Iterator[str]:
    for source in sources:
        yield from _QUOTED.findall(read_text(source))


def secret_variables(
    run: ScriptRun, folder: str, given: Iterable[str], sources: Iterable[str], walker: Walker
) -> set[str]:
    """What a run of the build script of the package in ``folder`` may read and cargo does not know of; ``given`` are the variables that the
    recipe sets for the item, ``sources`` those of the script."""
    told = {value for kind, value in run.rerun if kind == "env-changed"}
    makefiles = [path for path in walker.files(folder) if _MAKEFILE.fullmatch(path, path.rindex("/") + 1)]
    names = set(given).union(OF_MAKE if makefiles else (), *(make_references(read_text(path)) for path in makefiles))
    names.update(*(_VARIABLE.findall(read_text(source)) for source in sources))
    return {name for name in names - told - AMBIENT - _OF_CARGO if not _WATCHED.match(name)}
