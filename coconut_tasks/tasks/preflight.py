"""Checks before a build: tools, target, and files that the recipe names. Everything that is missing is reported together."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from coconut_tasks.called import called
from coconut_tasks.errors import Fault
from coconut_tasks.inputs.git import repository_fault
from coconut_tasks.inputs.toolchain import find_program, target_fault, toolchain_fault
from coconut_tasks.inputs.version import read_version, version_text
from coconut_tasks.layout import RECORDS, VERSION_FILE, goes_with
from coconut_tasks.records.store import recorded_places
from coconut_tasks.steps.action import CargoItem, FirmwareImage
from coconut_tasks.tasks.node import Node
from coconut_tasks.tasks.standing import start_again
from coconut_tasks.workspace.workspace import Workspace

_INSTALL = {
    "cargo": "install Rust: https://rustup.rs, or: apt-get install cargo",
    "make": "apt-get install make",
    "objcopy": "apt-get install binutils",
}


def preflight(nodes: Sequence[Node]) -> list[Fault]:
    """A fault for everything that the steps need and that is missing."""
    if not nodes:
        return []
    workspace = nodes[0].workspace
    programs = {command.argv[0] for node in nodes for command in node.step.commands}
    problems = [
        Fault("tool-missing", f"{program} is not installed: {how}")
        for program, how in _INSTALL.items()
        if program in programs and find_program(program, workspace.tree, workspace.environment) is None
    ]
    cargo = [node.step.action for node in nodes if isinstance(node.step.action, CargoItem)]
    if cargo and find_program("cargo", workspace.tree, workspace.environment) is not None:
        problems += _toolchain_problems(cargo, nodes[0])
        problems += _wrapper_problems(workspace)
    if any(node.step.action.writes_source for node in nodes):
        problems += _version_problems(workspace)
    problems += _foreign_problems(nodes)
    for node in nodes:
        action = node.step.action
        if isinstance(action, CargoItem) and action.manifest and not os.path.isfile(workspace.path(action.manifest)):
            missing = f"{node.step.name}: the manifest '{action.manifest}' is not in the tree {workspace.tree}"
            problems.append(Fault("manifest-missing", missing))
        if isinstance(action, FirmwareImage):
            problems += _firmware_problems(node, action)
    return problems


def foreign_files(places: Iterable[str], workspace: Workspace) -> list[str]:
    """Those of the absolute paths below the output folder that exist and are not recorded as ours."""
    know_ours(workspace)
    return [path for path in places if os.path.lexists(path) and not workspace.placed.has(path)]


def know_ours(workspace: Workspace) -> None:
    """Older versions kept no list of the files that are ours, but records name them."""
    if not workspace.placed.is_kept:
        workspace.placed.believe(recorded_places(workspace.state / RECORDS))


def _foreign_problems(nodes: Sequence[Node]) -> list[Fault]:
    workspace = nodes[0].workspace
    places = []
    for node in nodes:
        for _, place in node.step.publish:
            path = workspace.path(place)
            places += [path, *goes_with(path, image=node.step.action.is_image)]
    foreign = foreign_files(dict.fromkeys(places), workspace)
    found = [Fault("foreign-file", f"{path} already exists and was not made by this program") for path in foreign]
    if found:
        what = (
            "nothing was built, since a build would replace these files: move them away, "
            f"or set another output folder with {called().setting('BIN', 'PATH')}"
        )
        found.append(Fault("foreign-file", what))
    return found


def take_lock(workspace: Workspace) -> list[Fault]:
    """Lock the output folder until this process ends; a fault if that is not possible.

    If another run used it since this one looked at the records, this one starts again.
    """
    try:
        as_seen = workspace.lock.acquire(lambda line: print(line, file=sys.stderr, flush=True))
    except OSError as error:
        return [
            Fault(
                "bin-not-writable",
                f"cannot write to the output folder: {error.filename}: {error.strerror}: "
                f"set another with {called().setting('BIN', 'PATH')}",
            )
        ]
    if not as_seen:
        start_again()
    if not workspace.placed.is_kept:
        workspace.placed.keep()
    assert workspace.lock.descriptor is not None
    workspace.run_state.descriptors.add(workspace.lock.descriptor)
    return []


def _toolchain_problems(items: Iterable[CargoItem], node: Node) -> list[Fault]:
    workspace = node.workspace
    problems: list[Fault] = []
    wanted = {(item.toolchain, item.needed_target) for item in items}
    for name, triple in sorted(wanted, key=str):
        toolchain = workspace.toolchain(name)
        if toolchain is None:
            fault = toolchain_fault(workspace.tree, workspace.environment, name)
        elif triple and not toolchain.has_target(triple) and not workspace.builds_std:
            fault = target_fault(toolchain, triple, workspace.environment, name)
        else:
            continue
        if fault not in problems:
            problems.append(fault)
    if _no_linker(workspace.environment.get("PATH", "")):
        problems.append(
            Fault("tool-missing", "cc is not installed, the C compiler that Rust links with: apt-get install gcc")
        )
    return problems


def _wrapper_problems(workspace: Workspace) -> list[Fault]:
    named = {name: workspace.environment.get(name, "") for name in ("RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER")}
    return [
        Fault("wrapper-missing", f"{name}: program '{program}' not found")
        for name, program in named.items()
        if program and find_program(program, workspace.tree, workspace.environment) is None
    ]


def _version_problems(workspace: Workspace) -> list[Fault]:
    # The kernel, and so the launch digest, would contain an empty version.
    if not workspace.version and (fault := repository_fault(workspace.tree, workspace.environment)):
        return [Fault("git-does-not-tell", f"cannot get the version of {workspace.tree} from git: {fault}")]
    file = workspace.path(VERSION_FILE)
    if os.access(os.path.dirname(file), os.W_OK) or read_version(file) == version_text(file, workspace.version):
        return []
    return [
        Fault(
            "version-not-writable",
            f"cannot write the version '{workspace.version}' to {file}: make the source tree writable, or build a copy of it",
        )
    ]


def _firmware_problems(node: Node, action: FirmwareImage) -> list[Fault]:
    if action.source is None or action.command is not None:
        return []
    from coconut_tasks.actions.firmware import image_fault  # most recipes have no firmware

    fault = image_fault(action, node.workspace)
    return [] if fault is None else [Fault("firmware-unusable", f"{node.step.name}: {fault}")]


def _no_linker(path: str) -> bool:
    import shutil

    return shutil.which("cc", path=path) is None
