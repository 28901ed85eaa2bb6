"""What a cargo item reads, learnt from cargo itself after a build.

cargo's messages name every package and build script of the build, fresh or not. They give the folders of the packages, in which every file
counts; the dep-info files (``NAME.d``, in Makefile syntax) name what is read beyond those; the output of build scripts has the
``rerun-if`` lines; ``# env-dep`` lines in rustc's own dep-info name variables. The rest that cargo reads (manifests, lock file,
configuration) is looked up in the parent folders of each package.

Not covered, because nothing names it: a file outside its package that a build script reads without telling cargo.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path

from coconut_tasks.dataclass import dataclass
from coconut_tasks.inputs.cargo_config import included_configurations
from coconut_tasks.inputs.discovered import Inputs
from coconut_tasks.inputs.environment import cargo_home
from coconut_tasks.inputs.files import Walker
from coconut_tasks.inputs.git import ignored_by
from coconut_tasks.inputs.linker import linked_files
from coconut_tasks.inputs.messages import (
    Message,
    ScriptRun,
    Unit,
    own_packages,
    package_name,
    rustflags,
    script_runs,
    units,
)
from coconut_tasks.inputs.paths import first_that_exists, joined
from coconut_tasks.inputs.scripts import named_files
from coconut_tasks.inputs.text import read_text

_ENV_DEP = "# env-dep:"


@dataclass(slots=True)
class Reads:
    """What one unit, or one build-script run, reads."""

    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    """Folders in which every file counts, whatever package it is in."""
    variables: set[str] = field(default_factory=set)
    complete: bool = True


@dataclass(frozen=True, slots=True)
class CargoBuild:
    """A cargo run, from its messages, with what each part of it read."""

    own: Mapping[str, str]
    """Folders of the packages whose files may change, by package ID."""
    units: Sequence[tuple[Unit, Reads]]
    runs: Sequence[tuple[ScriptRun, Reads]]
    generated: tuple[str, ...]
    """Folders that build scripts write to."""
    configured: frozenset[str] = frozenset()
    """Folders from which cargo looks for configuration upwards."""
    scripts: Mapping[str, set[str]] = field(default_factory=dict)
    """The sources of the own packages' build scripts, by package ID."""
    fetched_scripts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The dep-info files of the build scripts of fetched packages, by package ID."""

    @property
    def own_units(self) -> list[tuple[Unit, Reads]]:
        """The units of own packages."""
        return [(unit, reads) for unit, reads in self.units if unit.package in self.own]

    @property
    def own_runs(self) -> list[tuple[ScriptRun, Reads]]:
        """The build-script runs of own packages."""
        return [(run, reads) for run, reads in self.runs if run.package in self.own]

    def sources_of_fetched(self, package: str) -> set[str]:
        """The sources of the build script of a fetched package."""
        texts = map(read_text, self.fetched_scripts.get(package, ()))
        return {file for text in texts for file in parse_depfile(text)[0] if os.path.isabs(file)}

    def is_generated(self, path: str) -> bool:
        """Whether a build script made it, so that it is not an input."""
        return f"{path}{os.sep}".startswith(self.generated)


def read_build(
    messages: Sequence[Message], tree: str, manifest: str | None, environment: Mapping[str, str]
) -> CargoBuild:
    """Read the traces of a build; ``manifest`` is the item's, if it has one."""
    own = own_packages(messages, cargo_home(environment))
    root = workspace_root(os.path.dirname(joined(tree, manifest)) if manifest else tree)
    # rustc runs in the workspace's folder, or in the package's if that is elsewhere.
    bases = {folder: list(dict.fromkeys((root, workspace_root(folder), folder))) for folder in {*own.values()}}
    configured = frozenset({tree}.union(*bases.values()))
    ran = script_runs(messages)
    every = [(unit, _unit_reads(unit, bases.get(own.get(unit.package, "")))) for unit in units(messages, ran)]
    scripts = {unit.package: reads.files for unit, reads in every if unit.script and unit.package in own}
    fetched = {unit.package: unit.depinfo for unit, _ in every if unit.script and unit.package not in own}
    runs = [(run, _run_reads(run, own.get(run.package))) for run in ran]
    for run, reads in runs:
        if run.package in scripts:
            folder = own[run.package]
            reads.files |= named_files(scripts[run.package], folder, bases[folder])
    for unit, reads in every:
        if unit.links and unit.package in own:
            reads.files |= _linked_files(unit, ran, bases[own[unit.package]])
    return CargoBuild(own, every, runs, tuple(run.out_dir + os.sep for run, _ in runs), configured, scripts, fetched)


def cargo_inputs(
    build: CargoBuild, program: str, behind: Behind, environment: Mapping[str, str], walker: Walker
) -> Inputs:
    """Everything that a build read; ``program`` is the executable that it made, or empty; ``behind`` is its ``behind_links``."""
    every = [reads for _, reads in (*build.units, *build.runs)]
    # A test program has rustc's own dep-info only.
    every += [] if not program or os.path.basename(os.path.dirname(program)) == "deps" else [_program_reads(program)]
    folders = {folder for reads in every for folder in reads.folders if not build.is_generated(folder)}
    files = {file for reads in every for file in reads.files if not build.is_generated(file)}
    roots = set(build.own.values())
    files |= set(_configuration_elsewhere(build.configured, environment, walker))
    files.update(behind.files)
    walked = {file for root in roots for file in walker.files(root)}
    return Inputs(
        roots=tuple(sorted(roots)),
        folders=tuple(sorted(folders)),
        configured=tuple(sorted(build.configured)),
        files=tuple(sorted(files - walked)),
        variables=tuple(sorted({name for reads in every for name in reads.variables})),
        complete=all(reads.complete for reads in every) and not behind.why,
    )


@dataclass(frozen=True, slots=True)
class Behind:
    """Links to big folders that we do not follow, as far as they matter to cargo."""

    why: str = ""
    """Why cargo itself follows one, so that every run must start cargo; empty if it does not."""
    files: tuple[str, ...] = ()
    """Files that make cargo ignore the links."""


def behind_links(build: CargoBuild, environment: Mapping[str, str], walker: Walker) -> Behind:
    """Whether cargo follows a link that we do not.

    cargo searches any folder that a ``rerun-if-changed`` line names, and the whole package if its build script prints no such line, except
    what git ignores.
    """
    files: set[str] = set()
    for run, reads in build.own_runs:
        folder = build.own[run.package]
        links = [link for inner in reads.folders for link in walker.left_alone(inner, package=False)]
        if not run.rerun and (left := walker.left_alone(folder)):
            ignoring = {link: ignored_by(link, folder, environment) for link in left}
            files.update(*ignoring.values())
            links += [link for link in left if not ignoring[link]]
        if links:
            name = package_name(run.package)
            return Behind(f"for the build script of {name}, cargo searches the big folder that {min(links)} leads to")
    return Behind(files=tuple(sorted(files)))


def workspace_root(folder: str) -> str:
    """The folder of a package's workspace: the one that its manifest names, else the nearest parent whose manifest has a ``[workspace]``
    table."""
    if named := _named_workspace(read_text(os.path.join(folder, "Cargo.toml"))):
        return joined(folder, named)
    for parent in (Path(folder), *Path(folder).parents):
        if re.search(r"^\s*\[workspace[\].]", read_text(str(parent / "Cargo.toml")), re.MULTILINE):
            return str(parent)
    return folder


def _named_workspace(manifest: str) -> str:
    if not re.search(r"""workspace\s*=\s*["']""", manifest):
        return ""
    import tomllib

    try:
        return str(tomllib.loads(manifest)["package"]["workspace"])
    except (ValueError, KeyError, TypeError):  # cargo reports what is wrong
        return ""


def parse_depfile(text: str) -> tuple[list[str], list[str]]:
    """Prerequisites and ``env-dep`` names of a dep-info file.

    Makefile syntax, in which cargo and rustc write a space as ``\\ `` and leave every other character unchanged, even those that Python
    takes for white space or the end of a line.
    """
    files: list[str] = []
    variables = []
    for line in text.split("\n"):
        if line.startswith(_ENV_DEP):
            variables.append(line.removeprefix(_ENV_DEP).partition("=")[0])
        elif line and not line.startswith("#"):
            target, _, rest = line.replace("\\ ", "\0").partition(": ")
            if target and rest:
                files += [word.replace("\0", " ") for word in rest.split(" ") if word]
    return files, variables


def _unit_reads(unit: Unit, bases: Sequence[str] | None) -> Reads:
    # For a fetched package (no bases) only the variables count: the lock file fixes its files.
    reads = Reads(complete=bool(unit.depinfo) or bases is None)
    for depinfo in unit.depinfo:
        text = read_text(depinfo)
        if bases is None and _ENV_DEP not in text:
            continue
        files, variables = parse_depfile(text)
        reads.variables |= set(variables)
        if bases is not None:
            # Each is listed once for each file that rustc writes.
            reads.files |= {path for file in set(files) for path in first_that_exists(bases, file)}
    return reads


def _linked_files(unit: Unit, runs: Sequence[ScriptRun], bases: Sequence[str]) -> set[str]:
    args = [arg for run in runs if run.package == unit.package for kind, arg in run.link if kind == "link-arg"]
    searched = [place.rpartition("=")[2] for run in runs for kind, place in run.link if kind == "link-search"]
    return linked_files([*rustflags(unit), *args], [*bases, *searched])


def _program_reads(program: str) -> Reads:
    reads = Reads()
    for file in parse_depfile(read_text(f"{program}.d"))[0]:
        if not os.path.isabs(file):
            reads.complete = False  # build.dep-info-basedir is set, to an unknown value
        else:
            path = joined("/", file)
            (reads.folders if os.path.isdir(path) else reads.files).add(path)
    return reads


def _run_reads(run: ScriptRun, folder: str | None) -> Reads:
    reads = Reads()
    for kind, value in run.rerun:
        if kind == "env-changed":
            reads.variables.add(value)
        elif folder is not None or os.path.isabs(value):
            path = joined(folder or "/", value)
            (reads.folders if os.path.isdir(path) else reads.files).add(path)
    return reads


def _configuration_elsewhere(folders: Iterable[str], environment: Mapping[str, str], walker: Walker) -> Iterator[str]:
    """cargo's own configuration, existing or not, and what configuration files include."""
    home = [os.path.join(cargo_home(environment), name) for name in ("config.toml", "config")]
    yield from home
    for path in {*home, *(path for folder in folders for path in walker.configuration(folder))}:
        if os.path.basename(path) in ("config.toml", "config"):
            yield from included_configurations(path)
