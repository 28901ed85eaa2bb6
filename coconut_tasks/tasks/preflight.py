"""What must be there before anything is built: tools, target, files that the recipe names. All that is missing is named at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from coconut_tasks.effects.process import inherited
from coconut_tasks.inputs.git import repository_fault
from coconut_tasks.inputs.toolchain import find_program, target_fault, toolchain_fault
from coconut_tasks.inputs.version import read_version, version_text
from coconut_tasks.layout import RECORDS, VERSION_FILE, goes_with
from coconut_tasks.step import CargoItem, FirmwareImage, IgvmFile, VersionFile
from coconut_tasks.tasks.backend import recorded_places
from coconut_tasks.tasks.node import Node
from coconut_tasks.tasks.stand import stand
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
        problems += _wrapper_problems(world)
    if any(isinstance(node.step.work, VersionFile) for node in nodes):
        problems += _version_problems(world)
    problems += _foreign_problems(nodes)
    for node in nodes:
        work = node.step.work
        if isinstance(work, CargoItem) and work.manifest and not os.path.isfile(world.path(work.manifest)):
            problems.append(f"{node.step.name}: the manifest '{work.manifest}' is not in the tree {world.tree}")
        if isinstance(work, FirmwareImage):
            problems += _firmware_problems(node, work)
    return problems


def foreign_files(places: Iterable[str], world: World) -> list[str]:
    """Those of the absolute paths below the output folder at which there is something that no record says is ours."""
    if not world.placed.is_kept:
        world.placed.believe(recorded_places(world.state / RECORDS))
    return [path for path in places if os.path.lexists(path) and not world.placed.has(path)]


def _foreign_problems(nodes: Sequence[Node]) -> list[str]:
    world = nodes[0].world
    places = []
    for node in nodes:
        for _, place in node.step.publish:
            path = world.path(place)
            places += [path, *goes_with(path, image=isinstance(node.step.work, IgvmFile))]
    foreign = foreign_files(dict.fromkeys(places), world)
    lines = [f"{path} is there, and this program did not make it" for path in foreign]
    if lines:
        lines.append(
            "nothing is built, since that would replace what is yours: move it away, or name another folder with BIN= (coconut-build --bin)"
        )
    return lines


def take_lock(world: World) -> list[str]:
    """Have the output folder to ourselves until this process ends; a line for what is in the way of that.

    If another run was at work there since this one looked around, this one starts again from the beginning.
    """
    try:
        as_seen = world.lock.acquire(lambda line: print(line, file=sys.stderr, flush=True))
    except OSError as error:
        return [
            f"the output folder cannot be written: {error.filename}: {error.strerror}: name another with BIN= (coconut-build --bin)"
        ]
    if not as_seen:
        sys.stdout.flush()
        os.chdir(stand())
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    if not world.placed.is_kept:
        world.placed.keep()
    assert world.lock.descriptor is not None
    inherited.add(world.lock.descriptor)
    return []


def _toolchain_problems(items: Iterable[CargoItem], node: Node) -> list[str]:
    world = node.world
    problems = []
    wanted = {(item.build.toolchain, _triple(item)) for item in items}
    for name, triple in sorted(wanted, key=str):
        toolchain = world.toolchain(name)
        if toolchain is None:
            line = toolchain_fault(world.tree, world.environment, name)
        elif triple and not toolchain.has_target(triple) and not world.builds_std:
            line = target_fault(toolchain, triple, world.environment, name)
        else:
            continue
        if line not in problems:
            problems.append(line)
    if _no_linker(world.environment.get("PATH", "")):
        problems.append("no C compiler (cc), which Rust links with: apt-get install gcc")
    return problems


def _wrapper_problems(world: World) -> list[str]:
    named = {name: world.environment.get(name, "") for name in ("RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER")}
    return [
        f"{name}: there is no program '{program}'"
        for name, program in named.items()
        if program and find_program(program, world.tree, world.environment) is None
    ]


def _version_problems(world: World) -> list[str]:
    # An empty version is in the kernel, and so in the launch digest.
    if not world.version and (fault := repository_fault(world.tree, world.environment)):
        return [f"git does not tell the version of {world.tree}: {fault}"]
    file = world.path(VERSION_FILE)
    if os.access(os.path.dirname(file), os.W_OK) or read_version(file) == version_text(file, world.version):
        return []
    return [
        f"{file} cannot be written, and has to say the version '{world.version}': make the source tree writable, or build a copy of it"
    ]


def _firmware_problems(node: Node, work: FirmwareImage) -> list[str]:
    if work.source is None or work.command is not None:
        return []
    from coconut_tasks.work.firmware import image_fault  # most recipes have none

    fault = image_fault(work, node.world)
    return [] if fault is None else [f"{node.step.name}: {fault}"]


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
