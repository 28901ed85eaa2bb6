"""What must be there before anything is built: tools, target, files that the recipe names. All that is missing is named at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from doit import get_initial_workdir

from coconut_tasks.effects.process import inherited
from coconut_tasks.inputs.toolchain import find_program, toolchain_fault
from coconut_tasks.step import CargoItem, FirmwareImage
from coconut_tasks.tasks.node import Node
from coconut_tasks.world import World

_INSTALL = {
    "cargo": "install Rust: https://rustup.rs, or: apt-get install cargo",
    "make": "apt-get install make",
    "objcopy": "apt-get install binutils",
}


def preflight(nodes: Sequence[Node]) -> list[str]:
    """A line for each thing that the steps need and that is not there."""
    if not nodes:
        return []
    world = nodes[0].world
    programs = {command.argv[0] for node in nodes for command in node.step.commands}
    problems = [
        f"{program} is not installed: {how}"
        for program, how in _INSTALL.items()
        if program in programs and find_program(program, world.tree, world.environment) is None
    ]
    cargo = [node.step.work for node in nodes if isinstance(node.step.work, CargoItem)]
    if cargo and find_program("cargo", world.tree, world.environment) is not None:
        problems += _toolchain_problems(cargo, nodes[0])
    for node in nodes:
        work = node.step.work
        if isinstance(work, CargoItem) and work.manifest and not os.path.isfile(world.path(work.manifest)):
            problems.append(f"{node.step.name}: the manifest '{work.manifest}' is not in the tree {world.tree}")
        if isinstance(work, FirmwareImage):
            problems += _firmware_problems(node, work)
    return problems


def take_lock(world: World) -> list[str]:
    """Have the output folder to ourselves until this process ends; a line for what is in the way of that.

    If another run was at work there since this one looked around, this one starts again from the beginning.
    """
    try:
        as_seen = world.lock.acquire(lambda line: print(line, file=sys.stderr, flush=True))
    except OSError as error:
        return [f"the output folder cannot be written: {error.filename}: {error.strerror}"]
    if not as_seen:
        sys.stdout.flush()
        os.chdir(get_initial_workdir() or os.curdir)  # doit went to the dodo.py's folder
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    assert world.lock.descriptor is not None
    inherited.add(world.lock.descriptor)
    return []


def _toolchain_problems(items: Iterable[CargoItem], node: Node) -> list[str]:
    world = node.world
    problems = []
    wanted = {(_toolchain_name(item), _triple(item)) for item in items}
    for name, triple in sorted(wanted, key=str):
        toolchain = world.toolchain(name)
        if toolchain is None:
            line = toolchain_fault(world.tree, world.environment, name)
        elif triple and not toolchain.has_target(triple) and not world.builds_std:
            plus = f" --toolchain {name}" if name else ""
            line = f"the Rust target {triple} is not installed: rustup target add {triple}{plus}"
        else:
            continue
        if line not in problems:
            problems.append(line)
    if _no_linker(world.environment.get("PATH", "")):
        problems.append("no C compiler (cc), which Rust links with: apt-get install gcc")
    return problems


def _firmware_problems(node: Node, work: FirmwareImage) -> list[str]:
    if work.source is None:
        return []
    path = node.world.path(work.source)
    if work.command is None and not os.path.isfile(path):
        where = f" (from {work.variable})" if work.variable else ""
        return [f"{node.step.name}: the firmware image is not there: {path}{where}"]
    return []


def _toolchain_name(item: CargoItem) -> str | None:
    word = item.build.argv[1]
    return word.removeprefix("+") if word.startswith("+") else None


def _triple(item: CargoItem) -> str | None:
    argv = item.build.argv
    if item.objcopy is None:
        return None  # a host tool: cargo can build for its host
    if "CARGO_UNSTABLE_BUILD_STD" in dict(item.build.env):
        return None  # the recipe has cargo build the standard library, so that no target needs to be installed
    return argv[argv.index("--target") + 1] if "--target" in argv else None


def _no_linker(path: str) -> bool:
    import shutil

    return shutil.which("cc", path=path) is None
