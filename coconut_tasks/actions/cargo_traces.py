"""What cargo made, and from what, as read after it ended from the traces that it left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from coconut_tasks.actions.objcopy import objcopy
from coconut_tasks.dataclass import dataclass
from coconut_tasks.effects.place import copy_whole, link_or_copy
from coconut_tasks.effects.process import warn
from coconut_tasks.errors import StepError
from coconut_tasks.inputs.artifacts import Artifact, artifacts_of, vouched_for
from coconut_tasks.inputs.cargo import CargoBuild, behind_links, cargo_inputs
from coconut_tasks.inputs.cargo_config import configured_variables
from coconut_tasks.inputs.discovered import Reading
from coconut_tasks.inputs.files import latest_ns
from coconut_tasks.inputs.fingerprints import Findings, Fingerprints, Written
from coconut_tasks.inputs.messages import Program, programs, target_folder, written_ns
from coconut_tasks.inputs.scripts import named_persons, untold_variables
from coconut_tasks.layout import VERSION_FILE
from coconut_tasks.steps.action import CargoItem
from coconut_tasks.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Built:
    """The program and inputs of a cargo item that was built."""

    build: CargoBuild
    artifacts: list[Artifact]
    good: list[Artifact]
    made: Mapping[str, str | None]
    """Files that build scripts wrote, with their digests."""
    last_ns: int
    """When the last cargo run started."""
    program: Program
    target: str | None
    """cargo's target folder."""


def reading(name: str, action: CargoItem, built: Built, started_ns: int, workspace: Workspace, log: Path) -> Reading:
    """What the step ``name``, which started at ``started_ns``, read."""
    files = workspace.files
    behind = behind_links(built.build, workspace.environment, workspace.walker)
    inputs = cargo_inputs(built.build, built.program.path, behind, workspace.environment, workspace.walker)
    paths = inputs.paths(workspace.walker)
    vouched = vouched_for(paths, built.artifacts, built.good, built.build, started_ns, built.last_ns, files)
    secret = {name for e in built.artifacts for name in e.asked} - dict(action.build.env).keys()
    inputs = replace(inputs, variables=tuple(sorted(secret.union(inputs.variables))))
    if behind.why:
        text = f"the inputs of {name} cannot be determined, so cargo runs every time: {behind.why}"
        warn("inputs-not-known", text, log)
    made = {path for path in paths & built.made.keys() if files.digest(path) == built.made[path]}
    # The tree's own script writes it again with the same version, but perhaps with other comments, so it may not be known as the script's.
    made |= {workspace.path(VERSION_FILE)} & paths
    for path in made:
        files.digest(
            path
        )  # now: as soon as this item's cargo is done, that of another one may let its script write the file again
    scripts = frozenset().union(*built.build.scripts.values())
    native = any(run.link for run, _ in built.build.runs)
    untold = _untold(built.build) if workspace.run_state.cache is not None else frozenset()
    return Reading(inputs, started_ns, vouched, paths, made, scripts, untold, native)


def _untold(build: CargoBuild) -> frozenset[str]:
    found = named_persons(set().union(*build.scripts.values()))
    for run in (run for run, _ in build.runs if run.package not in build.own):
        sources = build.sources_of_fetched(run.package)
        found |= untold_variables(run, sources) | named_persons(sources)
    return frozenset(found)


def take(action: CargoItem, messages: list[dict[str, Any]], workspace: Workspace, log: Path) -> Program:
    """Take the program from cargo's target folder, and copy it with objcopy."""
    program = choose(action, programs(messages), log)
    taken = Path(workspace.path(action.built))
    if action.objcopy is None:
        copy_whole(Path(program.path), taken)
    else:
        link_or_copy(Path(program.path), taken)
        objcopy(action.objcopy, taken, Path(workspace.path(action.output)), workspace, log)
        taken.unlink()
    return program


def check_artifacts(
    build: CargoBuild,
    messages: list[dict[str, Any]],
    action: CargoItem,
    workspace: Workspace,
    started_ns: int,
    written: Mapping[str, Written],
    was_there: dict[str, str | None],
) -> tuple[list[Artifact], Findings]:
    """The artifacts of a build that started at ``started_ns``, and which of them are in doubt."""
    target = target_folder(messages, action.triple)
    if target is None:
        return [], Findings()
    for run, _ in build.own_runs:
        if written_ns(run.output) >= started_ns:
            workspace.walker.forget(build.own[run.package])  # the script may have written there
    environment = build_environment(action, workspace)
    given = dict(action.build.env)
    artifacts = list(artifacts_of(build, started_ns, given, environment, workspace.walker, was_there))
    with Fingerprints(target) as fingerprints:
        found = fingerprints.check(artifacts, written, was_there, workspace.files)
    for file in {file for e in artifacts for file in e.files if workspace.files.stat(file) is None}:
        was_there.pop(file, None)
    return artifacts, found


def build_environment(action: CargoItem, workspace: Workspace) -> dict[str, str]:
    """The variables that a build script of the item may see, with all that may be their values."""
    configured = workspace.shared("[env]", lambda: configured_variables(workspace.tree, workspace.environment))
    environment = {**workspace.environment, **dict(action.build.env)}
    # cargo decides whether its configuration or the environment wins, so either value may be the one that was read.
    return environment | {name: f"{environment.get(name)} {value}" for name, value in configured.items()}


def rewritten_configuration(build: CargoBuild, workspace: Workspace, started_ns: int) -> dict[str, str]:
    """Configuration that changed during the build, for example an updated lock file: cargo has to run once more, which is quick."""
    paths = {path for folder in build.configured for path in workspace.walker.configuration(folder)}
    changed = (
        path
        for path in paths
        if (now := workspace.files.look_again(path)) is not None and latest_ns(now[1]) >= started_ns
    )
    return dict.fromkeys(changed, "the workspace")


def choose(action: CargoItem, made: list[Program], log: Path) -> Program:
    """The item's program among those that cargo made. Raises StepError if there is none, or more than one."""
    candidates = [program for program in made if program.test == action.test]
    if len(candidates) > 1:
        # As in xbuild: of a package's test programs, the library's is meant, whose name has no dash.
        of_library = [one for one in candidates if one.library and one.name == action.program.replace("-", "_")]
        candidates = of_library or candidates
    if not action.test or len(candidates) > 1:
        named = [program for program in candidates if program.name == action.program]
        candidates = named if len(named) == 1 or not action.test else candidates
    if len(candidates) == 1:
        return candidates[0]
    kind = "test program" if action.test else f"program '{action.program}'"
    others = ", ".join(sorted({program.name for program in made})) or "none"
    hint = (
        "a package has one test program for each target with tests; the recipe needs a package with exactly one"
        if action.test
        else "the package's manifest must have a [[bin]] of that name, with its required-features enabled"
    )
    raise StepError(
        "program-not-made",
        f"cargo succeeded, but did not make exactly one {kind}; programs made: {others}\n"
        f"  command: {action.build}\n  log: {log}\n  {hint}",
    )
