"""What a step's result is known by in a cache: two keys, and the list between them.

The first key has all that is known before a build. The list says what else decides the bytes, as the build found out. The second key has
the content of all that the list names. Paths are spelt so that they hold in each clone (``Workspace.named``).
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from coconut_tasks.cache.toolset import READ_BY_COMPILERS, Toolset
from coconut_tasks.dataclass import dataclass
from coconut_tasks.freshness.staleness import input_files
from coconut_tasks.inputs.discovered import Inputs
from coconut_tasks.inputs.environment import asked_environment, cargo_home
from coconut_tasks.inputs.git import git_text
from coconut_tasks.inputs.version import read_version, version_text
from coconut_tasks.layout import VERSION_FILE
from coconut_tasks.steps.action import CargoItem
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.workspace import Workspace

FORMAT = 1
"""Raise it with a change of what the keys or the list are made of."""
_LOCALE = re.compile(r"LC_\w+|LANG|LANGUAGE|TZ")
_READ_BY_CONFIGURE = re.compile(
    r"\w*FLAGS|(LD)?LIBS|CPP|CXXCPP|AS|NM|RANLIB|STRIP|OBJCOPY|OBJDUMP|READELF|WINDRES|RC|YACC|LEX|M4|AWK|PERL|PYTHON"
    r"|CONFIG_(SITE|SHELL)|CROSS_COMPILE|HASHBANGPERL|AUTO(CONF|MAKE|HEADER|M4TE\w*)|ACLOCAL\w*|MAKEFILES|ZERO_AR_DATE"
    r"|(OPENSSL|PKG_CONFIG|CMAKE|BINDGEN|CLANG|LIBCLANG|LLVM|GCC)_\w+"
)
"""Variables that scripts such as OpenSSL's ``Configure``, makefiles, cmake and bindgen read when a build script starts them. The build
script neither names them nor tells cargo."""
_ASKS_FOR_BRANCH = re.compile(r"--abbrev-ref|symbolic-ref|--show-current|\"(branch|name-rev)\"")
_BRANCH = "git symbolic-ref"
"""Stands for the branch among the programs of a list. Two clones of one commit may be on different ones."""
_PATH = re.compile(r"(?<![\w.$)}])/[\w./+-]+")
_SYSTEM = ("/usr/", "/lib", "/etc/", "/opt/", "/nix/", "/gnu/", "/bin/", "/sbin/")
"""Where a path says nothing about who built."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The list: what to look at for the second key."""

    inputs: Inputs
    """With names instead of paths."""
    made: Mapping[str, str]
    """Files that build scripts wrote into the source, with their digests: they do not count as long as they have these."""
    programs: tuple[str, ...]
    """Programs that build scripts or makefiles may start: in PATH, or with names instead of paths."""

    def text(self) -> bytes:
        """As JSON."""
        return _json({"inputs": self.inputs.as_json(), "made": dict(self.made), "programs": list(self.programs)})


def read_listing(value: Any) -> Listing | None:
    """A list from its JSON value; None if it is not one."""
    try:
        made = {str(name): str(digest) for name, digest in value["made"].items()}
        return Listing(Inputs.from_json(value["inputs"]), made, tuple(map(str, value["programs"])))
    except (KeyError, TypeError, AttributeError):
        return None


def surroundings(step: Step, workspace: Workspace, toolset: Toolset) -> dict[str, Any]:
    """What decides bytes besides the step and the tree: tools, environment, and paths that may get into the bytes."""
    environment = workspace.environment
    known = {name for name in environment if _LOCALE.fullmatch(name) or _READ_BY_CONFIGURE.fullmatch(name)}
    names = known | set(READ_BY_COMPILERS)
    variables: dict[str, str | None] = {**asked_environment(environment, names), **workspace.cargo_variables}
    plain = workspace.reproducible is None
    toolchain = workspace.toolchain(step.action.toolchain if isinstance(step.action, CargoItem) else None)
    by_path = programs_by_path(variables.values())
    if not plain:
        variables = {name: workspace.neutral(value) for name, value in variables.items() if name != "CARGO_HOME"}
    return {
        "environment": variables,
        "programs": {workspace.named(path): toolset.program(path) for path in by_path},
        "umask": 0o022 if not plain else workspace.shared("umask", umask),
        "rust": workspace.shared(("tools of rust", toolchain), lambda: toolset.rust(toolchain)),
        "tools": workspace.shared("tools of c", toolset.others),
        "reproducible": not plain,
        "paths": [workspace.tree, cargo_home(environment), environment.get("HOME"), toolchain and toolchain.sysroot]
        if plain
        else [],
    }


def programs_by_path(texts: Iterable[str | None]) -> list[str]:
    """The programs that texts name by their absolute paths, sorted: in PATH they need not be."""
    found = {path for text in texts if text and "/" in text for path in _PATH.findall(text)}
    return sorted(path for path in found if os.path.isfile(path) and os.access(path, os.X_OK))


def first_key(step: Step, around: Mapping[str, Any], workspace: Workspace) -> str:
    """The digest of all that is known before a build."""
    spelt = _Spelling(step, workspace)
    commands = [[list(map(spelt, command.deciding)), command.env] for command in step.commands]
    facts = [FORMAT, step.part, type(step.action).__name__, step.action.revision, commands, around]
    return hashlib.sha256(_json(facts)).hexdigest()


def second_key(
    first: str,
    listing: Listing,
    step: Step,
    workspace: Workspace,
    toolset: Toolset,
    expected: Mapping[str, str],
) -> str | None:
    """The digest of the first key, the list, and the content of all on it; None if something cannot be read.

    ``expected`` has the digests of files, by absolute path, that are not to be read: they have another content now, or are not there yet.
    """
    found = located(listing.inputs, workspace)
    contents = {}
    to_come = {
        path
        for path in expected
        if path in found.files or path.startswith(tuple(f"{root}{os.sep}" for root in found.roots))
    }
    for path in input_files(step, found, workspace) | to_come:
        name, content = workspace.named(path), expected.get(path) or workspace.files.digest(path)
        if name == VERSION_FILE:
            content = _version_in(path, content, workspace)
        if content is None or ":" not in content:
            return None
        if listing.made.get(name) != content:
            contents[name] = content
    variables = asked_environment(workspace.environment, found.variables)
    facts = [
        first,
        listing.text().decode(),
        contents,
        {name: workspace.neutral(value) for name, value in variables.items()},
        {workspace.named(folder): _folders_in(folder, workspace) for folder in found.folders},
        {name: toolset.program(workspace.located(name) if "/" in name else name) for name in listing.programs},
        _commit(workspace) if "git" in listing.programs else None,
        _branch(workspace) if _BRANCH in listing.programs else None,
    ]
    return hashlib.sha256(_json(facts)).hexdigest()


def version_content(workspace: Workspace) -> str:
    """Stands for the content of the version file, whose comments depend on who wrote it last: this program or the tree's script."""
    return f"version:{workspace.version}"


def _version_in(path: str, content: str | None, workspace: Workspace) -> str | None:
    usual = read_version(path) == version_text(path, workspace.version) and content == workspace.files.digest(path)
    return version_content(workspace) if usual else content


def listing_of(
    inputs: Inputs, made: Mapping[str, str], texts: Iterable[str], workspace: Workspace, toolset: Toolset
) -> Listing | None:
    """The list of a build that succeeded; None if one of its names would be a path of this machine only.

    ``made`` are the files that scripts wrote, by absolute path; ``texts`` are texts that may name programs.
    """
    texts = list(texts)
    told = (*texts, *(value or "" for value in workspace.cargo_variables.values()))
    by_path = list(map(workspace.named, programs_by_path(texts)))
    if any(map(_ASKS_FOR_BRANCH.search, texts)):
        by_path.append(_BRANCH)
    named = Listing(
        _renamed(inputs, workspace.named),
        {workspace.named(path): content for path, content in made.items()},
        tuple(sorted({*toolset.programs_in(told), *by_path})),
    )
    names = (
        *named.programs,
        *named.inputs.roots,
        *named.inputs.folders,
        *named.inputs.configured,
        *named.inputs.files,
        *named.made,
    )
    return named if all(not os.path.isabs(name) or name.startswith(_SYSTEM) for name in names) else None


def located(inputs: Inputs, workspace: Workspace) -> Inputs:
    """Names as paths of this machine."""
    return _renamed(inputs, workspace.located)


def _renamed(inputs: Inputs, name: Callable[[str], str]) -> Inputs:
    def renamed(paths: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(map(name, paths)))

    return replace(
        inputs,
        roots=renamed(inputs.roots),
        folders=renamed(inputs.folders),
        configured=renamed(inputs.configured),
        files=renamed(inputs.files),
    )


def _folders_in(folder: str, workspace: Workspace) -> list[str]:
    return [os.path.relpath(inner, folder) for inner in workspace.walker.folders(folder)]


def _commit(workspace: Workspace) -> list[str]:
    """For a build script that asks git itself."""

    def ask() -> list[str]:
        return [workspace.version, git_text(["rev-parse", "HEAD"], workspace.tree, workspace.environment)]

    return workspace.shared("commit", ask)


def _branch(workspace: Workspace) -> str:
    return workspace.shared(
        "branch", lambda: git_text(["symbolic-ref", "-q", "HEAD"], workspace.tree, workspace.environment)
    )


class _Spelling:
    """Spells the words of a command without the output folder, which is not the same everywhere."""

    def __init__(self, step: Step, workspace: Workspace) -> None:
        self._folders = {posixpath.dirname(path): "$OUT" for path in step.outputs if path != step.link}
        if workspace.reproducible is not None:
            self._folders[workspace.reproducible.config] = "$CONFIG"

    def __call__(self, word: str) -> str:
        for folder, name in self._folders.items():
            word = word.replace(folder, name)
        return word


def umask() -> int:
    """The umask of this process; -1 if it cannot be known."""
    # A program cannot read it without setting it, which other threads would see.
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next(int(line.split()[1], 8) for line in file if line.startswith("Umask:"))
    except (OSError, StopIteration, ValueError):
        return -1


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("utf-8", "surrogateescape")
