"""Build a cargo item and take its program out of cargo's target folder."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from coconut_tasks.effects.place import copy_whole, write_whole
from coconut_tasks.effects.process import CommandFailed
from coconut_tasks.errors import StepError
from coconut_tasks.inputs.cargo import Build, cargo_inputs, read_build
from coconut_tasks.inputs.confirmed import Confirmed, evidence_of
from coconut_tasks.inputs.known import Inputs
from coconut_tasks.inputs.messages import Program, package_name, parse_messages, programs, read_text, target_folder
from coconut_tasks.inputs.remap import by_length, cargo_config, read_configurations, toolchain_prefixes
from coconut_tasks.inputs.scripts import secret_variables
from coconut_tasks.inputs.toolchain import configurations
from coconut_tasks.step import CargoItem, Command
from coconut_tasks.work.objcopy import objcopy
from coconut_tasks.world import World


def build_cargo_item(work: CargoItem, world: World, log: Path) -> Inputs:
    """Build, take the program, copy it with objcopy; the result says what was read.

    Raises:
        StepError: cargo or objcopy failed, or cargo made no such program.
    """
    with world.alone_with_cargo():
        _write_config(world)
        if world.ahead is not None and _triple(work) is None:
            _build_ahead(world.ahead, work, world, log)
            world.ahead, world.built_ahead = None, world.ahead
        build, messages = _build(work, world, log)
        # Another item may put a program of the same name in the same place, so it is taken before anyone else may build.
        program = _choose(work, programs(messages), log)
        built = Path(world.path(work.built))
        copy_whole(Path(program.path), built)
        inputs = cargo_inputs(build, program.path, world.tree, world.environment, world.walker)
    if work.objcopy is not None:
        objcopy(work.objcopy, built, Path(world.path(work.output)), world, log)
        built.unlink()
    secret = {
        name
        for run, _ in build.own_runs
        for name in secret_variables(run, build.own[run.package], dict(work.build.env), world.walker)
    } - dict(work.build.env).keys()
    return replace(inputs, variables=tuple(sorted(secret.union(inputs.variables))))


def _build(work: CargoItem, world: World, log: Path) -> tuple[Build, list[dict[str, Any]]]:
    """Run cargo; a second time where it took something as fresh that may be made of something else."""
    for last in (False, True):
        started_ns = time.time_ns()
        failure = None
        try:
            printed = world.run(work.build, log)
        except CommandFailed as error:
            failure, printed = error, error.printed
        messages = parse_messages(printed)
        build = read_build(messages, world.tree, work.manifest, world.environment)
        # A failure may be the fault of an old artifact, and what was made before it is as good as ever.
        if doubtful := _settle(build, messages, work, world, started_ns, ask=not last):
            _clean(doubtful, work, world, log)
            continue
        if failure is not None:
            raise failure
        return build, messages
    raise AssertionError("the second run has no doubts")


def _build_ahead(command: Command, work: CargoItem, world: World, log: Path) -> None:
    started_ns = time.time_ns()
    try:
        printed = world.run(command, log)
    except CommandFailed as error:
        printed = error.printed  # the step of the tool that is to blame will tell
    messages = parse_messages(printed)
    _settle(read_build(messages, world.tree, None, world.environment), messages, work, world, started_ns, ask=False)


def _settle(
    build: Build, messages: list[dict[str, Any]], work: CargoItem, world: World, started_ns: int, *, ask: bool
) -> list[str]:
    target = target_folder(messages, _triple(work))
    if target is None:
        return []
    environment = {**world.environment, **dict(work.build.env)}
    evidence = list(evidence_of(build, started_ns, dict(work.build.env), environment, world.walker))
    with Confirmed(target) as confirmed:
        confirmed.remember(evidence, started_ns, world.files)
        return confirmed.doubtful(evidence, world.files) if ask else []


def _clean(packages: list[str], work: CargoItem, world: World, log: Path) -> None:
    # What cargo made of them is removed from its target folder; to set the files' times would be to write into the source.
    argv = work.build.argv
    words = ["cargo", *(w for w in argv[1:2] if w.startswith("+")), "clean"]
    for option in ("--target", "--manifest-path", "--config"):
        if option in argv:
            words += [option, argv[argv.index(option) + 1]]
    words += [word for word in ("--release", "--locked", "--offline") if word in argv]
    names = sorted({package_name(package) for package in packages})
    world.run(Command((*words, *(f"--package={name}" for name in names))), log)


def _write_config(world: World) -> None:
    """The configuration of a reproducible build, which names folders of this machine."""
    if (given := world.reproducible) is None:
        return
    toolchains = [found for name in given.toolchains if (found := world.toolchain(name)) is not None]
    prefixes = [*given.prefixes, *(pair for toolchain in toolchains for pair in toolchain_prefixes(toolchain))]
    files = [str(path) for path in configurations(world.tree, world.environment)]
    text = cargo_config(by_length(prefixes), given.target, read_configurations(files))
    path = world.path(given.config)
    if read_text(path) != text:
        write_whole(Path(path), text.encode(errors="surrogateescape"))


def _triple(work: CargoItem) -> str | None:
    argv = work.build.argv
    return argv[argv.index("--target") + 1] if "--target" in argv else None


def _choose(work: CargoItem, made: list[Program], log: Path) -> Program:
    candidates = [program for program in made if program.test == work.test]
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
