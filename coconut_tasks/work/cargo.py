"""Build a cargo item and take its program out of cargo's target folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from coconut_tasks.dataclass import dataclass
from coconut_tasks.effects.meanwhile import Meanwhile
from coconut_tasks.effects.place import copy_whole, link_or_copy
from coconut_tasks.effects.process import CommandFailed, warn
from coconut_tasks.errors import StepError
from coconut_tasks.inputs.cargo import Build, behind_links, cargo_inputs, configured_variables, read_build
from coconut_tasks.inputs.confirmed import Confirmed, Findings, Written
from coconut_tasks.inputs.evidence import Evidence, evidence_of, vouched_for
from coconut_tasks.inputs.files import CLOCK_LAG_NS, files_below, latest_ns
from coconut_tasks.inputs.known import Reading
from coconut_tasks.inputs.messages import (
    Program,
    package_name,
    parse_messages,
    programs,
    target_folder,
    written_ns,
)
from coconut_tasks.inputs.toolchain import overlooked_choice
from coconut_tasks.step import CargoItem, Command
from coconut_tasks.work.objcopy import objcopy
from coconut_tasks.world import World

_TRIES = 4
"""One where all is well. The others: what is in doubt is cleaned, what a script may have written itself is looked at once more, and what
turns out to be somebody's edit is cleaned too."""


@dataclass(frozen=True, slots=True)
class _Built:
    """A cargo item that was built, as far as its program and its inputs are concerned."""

    build: Build
    evidence: list[Evidence]
    good: list[Evidence]
    made: Mapping[str, str | None]
    """Files that build scripts wrote, with the digest that they left."""
    last_ns: int
    """When the last cargo run began."""
    program: Program


def build_cargo_item(name: str, work: CargoItem, world: World, log: Path, *, first: bool) -> Reading:
    """Build, take the program, copy it with objcopy; the result says what was read. ``name`` is the step's.

    Raises:
        StepError: cargo or objcopy failed, or cargo made no such program.
    """
    # While cargo works: it is no reason not to begin.
    telling = Meanwhile(partial(world.shared, "overlooked toolchain", partial(_tell_of_an_overlooked_toolchain, world)))
    with world.alone_with_cargo():
        started_ns = time.time_ns() - CLOCK_LAG_NS
        files = world.files
        was_there = {path: files.known(path) for path, stat in files.seen().items() if stat is not None}
        if first:
            # Rust sources that a script generates may be there from an earlier build; they are compared with what it writes now.
            was_there |= {
                path: files.digest(path) if path.endswith(".rs") else None for path in files_below(world.tree)
            }
        # Another item may put a program of the same name in the same place, so it is taken before anyone else may build.
        built = _build(name, work, world, log, was_there)
        behind = behind_links(built.build, world.environment, world.walker)
        inputs = cargo_inputs(built.build, built.program.path, behind, world.environment, world.walker)
        paths = inputs.paths(world.walker)
        vouched = vouched_for(paths, built.evidence, built.good, built.build, started_ns, built.last_ns, files)
    secret = {name for e in built.evidence for name in e.asked} - dict(work.build.env).keys()
    inputs = replace(inputs, variables=tuple(sorted(secret.union(inputs.variables))))
    if behind.why:
        warn(f"what {name} is made of cannot be known, so cargo is asked by each run: {behind.why}", log)
    made = {path for path in paths & built.made.keys() if files.digest(path) == built.made[path]}
    telling.result()
    return Reading(inputs, started_ns, vouched, paths, made)


def _tell_of_an_overlooked_toolchain(world: World) -> None:
    """Of the items that name no toolchain of their own."""
    toolchain = world.toolchain(None)
    if toolchain is not None and (choice := overlooked_choice(world.tree, world.environment, toolchain)):
        world.say(f"note: {choice}")


def _build(name: str, work: CargoItem, world: World, log: Path, was_there: dict[str, str | None]) -> _Built:
    """Run cargo; once more where it took something as fresh that may be made of something else, or where files changed meanwhile."""
    written: Mapping[str, Written] = {}
    cleaned: set[str] = set()
    for left in reversed(range(_TRIES)):
        started_ns = time.time_ns() - CLOCK_LAG_NS
        failure = None
        try:
            printed = world.run(work.build, log)
        except CommandFailed as error:
            failure, printed = error, error.printed
        messages = parse_messages(printed)
        # While objcopy works: what it makes of a program that turns out to be of old sources is made once more.
        taking = Meanwhile(partial(_take, work, messages, world, log)) if failure is None else None
        try:
            build = read_build(messages, world.tree, work.manifest, world.environment)
            evidence, found = _judge(build, messages, work, world, started_ns, written, was_there)
        finally:
            if taking is not None:
                taking.wait()
        written = found.written
        # A failure may be the fault of an old artifact, and what was made before it is as good as ever.
        doubtful = found.doubtful - cleaned
        if doubtful and left:
            if found.of_others:
                world.say(
                    "note: cargo's target folder was filled by another program (cargo by hand, xbuild, build.py), and nothing says "
                    "of which sources it is; so all of it is compiled once more"
                )
            _clean(sorted(doubtful), work, world, log)
            cleaned |= doubtful
            continue
        if taking is None:
            assert failure is not None
            raise failure
        unsettled = found.unsettled | _rewritten_configuration(build, world, started_ns)
        if unsettled and left:
            continue
        _warn(name, unsettled, log)
        return _Built(build, evidence, found.good, found.made, started_ns, taking.result())
    raise AssertionError("the last run returns or raises")


def _take(work: CargoItem, messages: list[dict[str, Any]], world: World, log: Path) -> Program:
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


def _judge(
    build: Build,
    messages: list[dict[str, Any]],
    work: CargoItem,
    world: World,
    started_ns: int,
    written: Mapping[str, Written],
    was_there: dict[str, str | None],
) -> tuple[list[Evidence], Findings]:
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


def _rewritten_configuration(build: Build, world: World, started_ns: int) -> dict[str, str]:
    """A lock file that cargo brought up to date, say: cargo has not seen it as it is now, and the next call is a short one."""
    paths = {path for folder in build.configured for path in world.walker.configuration(folder)}
    changed = (
        path for path in paths if (now := world.files.look_again(path)) is not None and latest_ns(now[1]) >= started_ns
    )
    return dict.fromkeys(changed, "the workspace")


def _warn(name: str, unsettled: Mapping[str, str], log: Path) -> None:
    for path, package in sorted(unsettled.items()):
        warn(f"{path} changed each time that cargo built {package}, so {name} will be built again by the next run", log)


def _clean(packages: list[str], work: CargoItem, world: World, log: Path) -> None:
    # What cargo made of them is removed from its target folder; to set the files' times would be to write into the source.
    argv = work.build.argv
    words = ["cargo", *([f"+{work.build.toolchain}"] if work.build.toolchain else []), "clean"]
    for option in ("--target", "--manifest-path", "--config"):
        if option in argv:
            words += [option, argv[argv.index(option) + 1]]
    words += [word for word in ("--release", "--locked", "--offline") if word in argv]
    names = sorted({package_name(package) for package in packages})
    world.run(Command((*words, *(f"--package={name}" for name in names))), log)


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
