"""Build a cargo item and take its program out of cargo's target folder."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from coconut_tasks.effects.place import copy_whole
from coconut_tasks.effects.process import run
from coconut_tasks.errors import StepError
from coconut_tasks.inputs.cargo import Program, cargo_inputs, parse_messages, programs
from coconut_tasks.inputs.known import Inputs
from coconut_tasks.inputs.scripts import Script, scripts_of
from coconut_tasks.inputs.seen import Seen, packages_of
from coconut_tasks.step import CargoItem, Command
from coconut_tasks.work.objcopy import objcopy
from coconut_tasks.world import World


def build_cargo_item(work: CargoItem, world: World, log: Path) -> Inputs:
    """Build, take the program, copy it with objcopy; the result says what was read.

    Raises:
        StepError: cargo or objcopy failed, or cargo made no such program.
    """
    environment = {**world.environment, **dict(work.build.env)}
    with world.alone_with_cargo(), Seen(world.state / "cargo-seen.sqlite3", _place(work)) as seen:
        _make_cargo_look(work, seen.overlooked(world.files) + seen.other_variables(environment), seen, world, log)
        started_ns = time.time_ns()
        messages, scripts = _cargo(work, world, log)
        if never := seen.never_saw(scripts, started_ns):
            _make_cargo_look(work, never, seen, world, log)
            messages, scripts = _cargo(work, world, log)
        # Another item may put a program of the same name in the same place, so it is taken before anyone else may build.
        program = _choose(work, programs(messages), log)
        built = Path(world.path(work.built))
        copy_whole(Path(program.path), built)
        inputs = cargo_inputs(messages, program.path, world.tree, world.environment, world.walker)
        seen.remember(inputs.paths(world.walker), started_ns, world.files)
        seen.remember_variables(scripts, environment)
    if work.objcopy is not None:
        objcopy(work.objcopy, built, Path(world.path(work.output)), world, log)
        built.unlink()
    asked = {name for script in scripts for name in script.variables} - dict(work.build.env).keys()
    return replace(inputs, variables=tuple(sorted(asked.union(inputs.variables))))


def _cargo(work: CargoItem, world: World, log: Path) -> tuple[list[dict[str, Any]], list[Script]]:
    messages = parse_messages(run(work.build, world.tree, world.environment, log))
    return messages, scripts_of(messages, dict(work.build.env), world.walker)


def _place(work: CargoItem) -> str:
    """The part of cargo's target folder that the item is built in."""
    argv = work.build.argv
    target = argv[argv.index("--target") + 1] if "--target" in argv else "host"
    return " ".join(
        [target, "release" if "--release" in argv else "debug", *(w for w in argv[1:2] if w.startswith("+"))]
    )


def _make_cargo_look(work: CargoItem, places: list[str], seen: Seen, world: World, log: Path) -> None:
    # What cargo made of the files or packages is removed from its target folder; to set the files' times would be to write into the source.
    if not places:
        return
    argv = work.build.argv
    words = ["cargo", *(w for w in argv[1:2] if w.startswith("+")), "clean"]
    for option in ("--target", "--manifest-path"):
        if option in argv:
            words += [option, argv[argv.index(option) + 1]]
    words += [word for word in ("--release", "--locked", "--offline") if word in argv]
    names = packages_of(places)
    run(Command((*words, *(f"--package={name}" for name in names or ()))), world.tree, world.environment, log)
    seen.forget(places)


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
