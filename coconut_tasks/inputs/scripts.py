"""Build scripts that read variables and files without telling cargo.

A build script that runs make passes on its whole environment, and cargo does not know which variables the makefile reads: after a change it
calls the old output fresh. The same holds for a variable that a recipe sets for one item only, and for what a script itself reads without a
``rerun-if`` line. The strings in double quotes in its source show what that may be.
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
"""Variables that cargo itself watches."""
_OF_CARGO = frozenset({"OUT_DIR", "TARGET", "HOST", "NUM_JOBS", "OPT_LEVEL", "DEBUG", "PROFILE"})
"""Variables that cargo sets for a build script, whatever their values in the environment."""
_QUOTED = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_PERSON = frozenset({"USER", "LOGNAME", "SHELL"})
_OF_MANIFEST = re.compile(r"CARGO_(PKG_(?!NAME|VERSION)\w+|MANIFEST_LINKS)")
"""Variables that cargo takes from the manifest; a change does not make a script run again (observed with cargo 1.95)."""
_VARIABLE = re.compile(r'(?<!\.env\()(?<!\.env_remove\()"([A-Z][A-Z0-9_]+)"')
"""Excludes a variable that a script sets for a program that it runs."""
_FORMATTED = re.compile(r"^(\{\w*\})?/(?=\.\./)")
"""What may precede a path relative to the package's folder, as in ``concat!(env!("CARGO_MANIFEST_DIR"), "/../FILE")``."""


def named_files(sources: Iterable[str], folder: str, workspaces: Iterable[str]) -> set[str]:
    """The files named in the build script's source that cargo does not watch for the package in ``folder``: files outside the package,
    hidden files, and manifests, including a workspace's. A named Rust source is usually one that the script writes."""
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
    """Variables that the build script of the package in ``folder`` may read without cargo knowing. ``given`` are the variables that the
    recipe sets for the item, ``sources`` the files of the script."""
    told = {value for kind, value in run.rerun if kind == "env-changed"}
    makefiles = [path for path in walker.files(folder) if _MAKEFILE.fullmatch(path, path.rindex("/") + 1)]
    names = set(given).union(OF_MAKE if makefiles else (), *(make_references(read_text(path)) for path in makefiles))
    names.update(*(_VARIABLE.findall(read_text(source)) for source in sources))
    return {name for name in names - told - AMBIENT - _OF_CARGO if not _WATCHED.match(name)}


def named_persons(sources: Iterable[str]) -> set[str]:
    """Variables about who builds that a build script names in its sources. In a checkout they do not change."""
    return {name for source in sources for name in _VARIABLE.findall(read_text(source))} & _PERSON


def untold_variables(run: ScriptRun, sources: Iterable[str]) -> set[str]:
    """Variables that the build script of a fetched package names in its sources, and of which it does not tell cargo."""
    told = {value for kind, value in run.rerun if kind == "env-changed"}
    names = {name for source in sources for name in _VARIABLE.findall(read_text(source))}
    return {name for name in names - told - AMBIENT - _OF_CARGO if not _WATCHED.match(name)}
