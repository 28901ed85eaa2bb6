"""What cargo made, and what it made it of, by the traces that it left: looked at when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from coconut_tasks.dataclass import dataclass
from coconut_tasks.effects.place import copy_whole, link_or_copy
from coconut_tasks.effects.process import warn
from coconut_tasks.errors import StepError
from coconut_tasks.inputs.cargo import Build, behind_links, cargo_inputs, configured_variables
from coconut_tasks.inputs.confirmed import Confirmed, Findings, Written
from coconut_tasks.inputs.evidence import Evidence, evidence_of, vouched_for
from coconut_tasks.inputs.files import latest_ns
from coconut_tasks.inputs.known import Reading
from coconut_tasks.inputs.messages import Program, programs, target_folder, written_ns
from coconut_tasks.step import CargoItem
from coconut_tasks.work.objcopy import objcopy
from coconut_tasks.world import World


@dataclass(frozen=True, slots=True)
class Built:
    """A cargo item that was built, as far as its program and its inputs are concerned."""

    build: Build
    evidence: list[Evidence]
    good: list[Evidence]
    made: Mapping[str, str | None]
    """Files that build scripts wrote, with the digest that they left."""
    last_ns: int
    """When the last cargo run began."""
    program: Program


def reading(name: str, work: CargoItem, built: Built, started_ns: int, world: World, log: Path) -> Reading:
    """What the step read, which began at ``started_ns``; ``name`` is its own."""
    files = world.files
    behind = behind_links(built.build, world.environment, world.walker)
    inputs = cargo_inputs(built.build, built.program.path, behind, world.environment, world.walker)
    paths = inputs.paths(world.walker)
    vouched = vouched_for(paths, built.evidence, built.good, built.build, started_ns, built.last_ns, files)
    secret = {name for e in built.evidence for name in e.asked} - dict(work.build.env).keys()
    inputs = replace(inputs, variables=tuple(sorted(secret.union(inputs.variables))))
    if behind.why:
        warn(f"what {name} is made of cannot be known, so cargo is asked by each run: {behind.why}", log)
    made = {path for path in paths & built.made.keys() if files.digest(path) == built.made[path]}
    return Reading(inputs, started_ns, vouched, paths, made)


def take(work: CargoItem, messages: list[dict[str, Any]], world: World, log: Path) -> Program:
    """Take the program that cargo made out of its target folder, and copy it with objcopy."""
    program = choose(work, programs(messages), log)
    taken = Path(world.path(work.built))
    if work.objcopy is None:
        copy_whole(Path(program.path), taken)
    else:
        link_or_copy(Path(program.path), taken)
        objcopy(work.objcopy, taken, Path(world.path(work.output)), world, log)
        taken.unlink()
    return program


def judge(
    build: Build,
    messages: list[dict[str, Any]],
    work: CargoItem,
    world: World,
    started_ns: int,
    written: Mapping[str, Written],
    was_there: dict[str, str | None],
) -> tuple[list[Evidence], Findings]:
    """What can be said of a build that began at ``started_ns``: what it is made of, and what of it is in doubt."""
    target = target_folder(messages, _triple(work))
    if target is None:
        return [], Findings()
    for run, _ in build.own_runs:
        if written_ns(run.output) >= started_ns:
            world.walker.forget(build.own[run.package])  # the script may have written there
    configured = world.shared("[env]", lambda: configured_variables(world.tree, world.environment))
    environment = {**world.environment, **dict(work.build.env)}
    # Whether cargo or the session wins is for cargo to decide: either value may be the one that was read.
    environment |= {name: f"{environment.get(name)} {value}" for name, value in configured.items()}
    given = dict(work.build.env)
    evidence = list(evidence_of(build, started_ns, given, environment, world.walker, was_there))
    with Confirmed(target) as confirmed:
        found = confirmed.judge(evidence, written, was_there, world.files)
    for file in {file for e in evidence for file in e.files if world.files.stat(file) is None}:
        was_there.pop(file, None)
    return evidence, found


def rewritten_configuration(build: Build, world: World, started_ns: int) -> dict[str, str]:
    """A lock file that cargo brought up to date, say: cargo has not seen it as it is now, and the next call is a short one."""
    paths = {path for folder in build.configured for path in world.walker.configuration(folder)}
    changed = (
        path for path in paths if (now := world.files.look_again(path)) is not None and latest_ns(now[1]) >= started_ns
    )
    return dict.fromkeys(changed, "the workspace")


def _triple(work: CargoItem) -> str | None:
    argv = work.build.argv
    return argv[argv.index("--target") + 1] if "--target" in argv else None


def choose(work: CargoItem, made: list[Program], log: Path) -> Program:
    """The program of an item, among those that cargo made. Raises StepError if none of them is, or it cannot be told which."""
    candidates = [program for program in made if program.test == work.test]
    if len(candidates) > 1:
        # As xbuild: of a package's test programs the library's is meant, whose name has no dash.
        of_library = [one for one in candidates if one.library and one.name == work.program.replace("-", "_")]
        candidates = of_library or candidates
    if not work.test or len(candidates) > 1:
        named = [program for program in candidates if program.name == work.program]
        candidates = named if len(named) == 1 or not work.test else candidates
    if len(candidates) == 1:
        return candidates[0]
    kind = "test program" if work.test else f"program '{work.program}'"
    others = ", ".join(sorted({program.name for program in made})) or "none"
    count = "no" if not candidates else f"{len(candidates)} programs where one is wanted, not a single"
    hint = (
        "a package has one test program for each of its targets with tests; the recipe needs a package with just one"
        if work.test
        else "a package has the program if its manifest has a [[bin]] of that name whose required-features are on"
    )
    raise StepError(
        f"cargo ended well, but made {count} {kind}; programs that it made: {others}\n"
        f"  command: {work.build}\n  log: {log}\n  {hint}"
    )
