"""What makes a step stale. One function both decides and explains it, so that the two cannot drift apart.

A step is up to date when its commands, the environment and tools that they see, and the content of its inputs and outputs have not changed
since its last successful run.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import field
from enum import Enum
from itertools import zip_longest
from typing import Any

from coconut_tasks import __version__
from coconut_tasks.dataclass import dataclass
from coconut_tasks.inputs.discovered import Inputs
from coconut_tasks.inputs.environment import asked_environment, cargo_environment
from coconut_tasks.inputs.files import FileState
from coconut_tasks.inputs.git import DECIDES
from coconut_tasks.inputs.version import read_version, version_text
from coconut_tasks.records.record import Record
from coconut_tasks.steps.action import (
    CargoItem,
    MakeItem,
    Provenance,
)
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.workspace import Workspace

OURSELVES = "coconut-tasks"
"""This program's name among the tools of a step."""


class Cause(Enum):
    """Every possible reason why a step is stale, each with its sentence."""

    NEW = "never built"
    NO_RECORD = "its last run failed or was interrupted, or it was forgotten"
    NEW_VARIANT = "never built {subject}"
    COMMAND = "command changed: {subject}"
    ENVIRONMENT = "environment variable {subject}: {old} → {new}"
    REVISION = "this version of coconut-tasks builds it differently (revision {old} → {new})"
    TOOL = "{subject} {old} → {new}"
    PROGRAM = "the program {subject} changed"
    INPUT_CHANGED = "{subject} changed"
    INPUT_ADDED = "{subject} is a new input"
    INPUT_REMOVED = "{subject} is no longer an input"
    FOLDERS = "folders were added to or removed from {subject}"
    OUTPUT_MISSING = "{subject} is missing"
    OUTPUT_CHANGED = "{subject} changed after it was built"
    UNKNOWN_INPUTS = "its inputs cannot be determined, so {subject} runs every time"
    VERSION = "the version changed"
    NOT_PUBLISHED = "{subject} is missing or differs from what was built"


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, with what it is about."""

    cause: Cause
    subject: str = ""
    old: str = ""
    new: str = ""
    file: str = ""
    """The absolute path of the input or output that it is about; empty if it is about none."""

    def __str__(self) -> str:
        return self.cause.value.format(subject=self.subject, old=self.old, new=self.new)

    @property
    def only_places(self) -> bool:
        """Nothing has to be built; a file only has to be copied to ``bin/`` again."""
        return self.cause is Cause.NOT_PUBLISHED

    @property
    def is_shared(self) -> bool:
        """It is about a tool or an environment variable, so other steps are likely to have the same reason."""
        return self.cause in (Cause.ENVIRONMENT, Cause.TOOL, Cause.PROGRAM)


@dataclass(slots=True)
class Verdict:
    """No reasons means up to date. ``touched`` are the files whose stat changed, but not their content."""

    reasons: list[Reason] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)

    @property
    def only_places(self) -> bool:
        """Whether the outputs are good and only ``bin/`` has to be updated."""
        return bool(self.reasons) and all(reason.only_places for reason in self.reasons)


def input_files(step: Step, inputs: Inputs, workspace: Workspace) -> set[str]:
    """Absolute paths of every file that the step reads; discovered files only if they exist."""
    return workspace.files.there(inputs.paths(workspace.walker)) | {workspace.path(path) for path in step.inputs}


def signature(step: Step, inputs: Inputs, workspace: Workspace) -> dict[str, Any]:
    """Everything except files that decides what a step makes, as JSON."""
    environment: Mapping[str, str | None] = {}
    tools: dict[str, str] = {}
    action = step.action
    if isinstance(action, CargoItem):
        environment = {
            **workspace.cargo_variables,
            **cargo_environment(workspace.environment, inputs.variables, own=False),
        }
        toolchain = workspace.toolchain(action.toolchain)
        tools["rustc"] = toolchain.rustc if toolchain else "missing"
        tools["cargo"] = toolchain.cargo if toolchain else "missing"
    elif isinstance(action, MakeItem):
        environment = asked_environment(workspace.environment, inputs.variables)
    elif isinstance(action, Provenance):
        environment = asked_environment(workspace.environment, DECIDES)
    if action.is_about_an_image:  # it is named in what they write
        tools[OURSELVES] = __version__
    for command in step.commands:
        program = command.argv[0]
        if program in ("make", "objcopy"):
            tools[program] = workspace.program_identity(program)
    folders = {folder: _digest_of_names(workspace.walker.folders(folder)) for folder in inputs.folders}
    return {
        "commands": _commands(step),
        "revision": action.revision,
        "environment": dict(environment),
        "tools": tools,
        "folders": folders,
    }


def check_staleness(
    step: Step,
    record: Record | None,
    inputs: Set[str],
    workspace: Workspace,
    other: Callable[[], Mapping[str, Any] | None] = lambda: None,
    *,
    ran: Callable[[], bool] = lambda: False,
    brief: bool = False,
) -> Verdict:
    """Why a step must run, or must at least copy its outputs to ``bin/`` again; ``inputs`` are its ``input_files``.

    For a step without a record, ``ran`` says whether it ever ran, and ``other`` returns the signature of another variant to compare it
    with: they affect only the wording. With ``brief``, outputs are not read once it is clear that the step must run.
    """
    verdict = Verdict()
    if step.action.writes_source:
        file = workspace.path(step.outputs[0])
        if read_version(file) != version_text(file, workspace.version):
            verdict.reasons.append(Reason(Cause.VERSION, step.outputs[0]))
        return verdict
    if record is None:
        verdict.reasons.append(Reason(Cause.NO_RECORD) if ran() else _new(step, other()))
        return verdict
    verdict.reasons += _changes(step, record.signature, signature(step, record.inputs, workspace))
    verdict.reasons += _input_changes(inputs, record.files, workspace, verdict.touched)
    asked = step.action.asked_each_time(known=record.inputs.complete, ask_cargo=workspace.ask_cargo)
    if asked is not None:
        verdict.reasons.append(Reason(Cause.UNKNOWN_INPUTS, asked))
    if brief and verdict.reasons:
        return verdict
    verdict.reasons += _output_changes(step.outputs, record.outputs, workspace, verdict.touched)
    verdict.reasons += _unpublished(step, record, workspace, verdict.touched)
    return verdict


def _new(step: Step, other: Mapping[str, Any] | None) -> Reason:
    if other is None:
        return Reason(Cause.NEW)
    from coconut_tasks.steps.command_diff import (
        what_is_new,  # imported here: a run that has nothing to do explains nothing
    )

    return Reason(
        Cause.NEW_VARIANT, what_is_new(other["commands"], _commands(step), _own_folders(step)) or "from these files"
    )


def _own_folders(step: Step) -> list[str]:
    return [posixpath.dirname(path) for path in step.outputs]


def _changes(step: Step, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Reason]:
    reasons = []
    if old["commands"] != new["commands"]:
        from coconut_tasks.steps.command_diff import command_diff

        said = command_diff(old["commands"], new["commands"], _own_folders(step))
        reasons.append(Reason(Cause.COMMAND, said or "the same words are grouped differently"))
    if old["revision"] != new["revision"]:
        reasons.append(Reason(Cause.REVISION, "", str(old["revision"]), str(new["revision"])))
    for name, before, now in _differing(old["environment"], new["environment"]):
        reasons.append(Reason(Cause.ENVIRONMENT, name, *("unset" if v is None else f"'{v}'" for v in (before, now))))
    tools = _differing(old["tools"], new["tools"])
    # A changed toolchain is one reason: rustc stands for its cargo too.
    rustc = any(name == "rustc" for name, _, _ in tools)
    reasons += [_tool(*change) for change in tools if not (rustc and change[0] == "cargo")]
    reasons += [Reason(Cause.FOLDERS, folder) for folder, _, _ in _differing(old["folders"], new["folders"])]
    return reasons


def _differing(
    old: Mapping[str, str | None], new: Mapping[str, str | None]
) -> list[tuple[str, str | None, str | None]]:
    names = sorted(old.keys() | new.keys())
    return [(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def _tool(name: str, before: str | None, now: str | None) -> Reason:
    """In one line: the versions, and more only where those are equal."""
    old, new = before or "none", now or "none"
    if name not in ("rustc", "cargo", OURSELVES):  # by ``program_identity``
        old, new = (text.rsplit(" ", 2)[0] for text in (old, new))
        return Reason(Cause.TOOL, name, old, new) if old != new else Reason(Cause.PROGRAM, new)
    lines = zip_longest(old.splitlines(), new.splitlines(), fillvalue="")
    pair = next(((a, b) for a, b in lines if a != b), (old, new))
    pair = (pair[0].removeprefix(f"{name} "), pair[1].removeprefix(f"{name} "))
    short = [text.partition(" (")[0] for text in pair]
    return Reason(Cause.TOOL, name, *(short if short[0] != short[1] else pair))


def _digest_of_names(names: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()[:16]


def _commands(step: Step) -> list[Any]:
    return [[[f"{name}={value}" for name, value in command.env], list(command.deciding)] for command in step.commands]


def _input_changes(
    now: Set[str], recorded: Mapping[str, FileState], workspace: Workspace, touched: set[str]
) -> list[Reason]:
    reasons = [_of_file(Cause.INPUT_ADDED, path, workspace) for path in sorted(now - recorded.keys())]
    reasons += [_of_file(Cause.INPUT_REMOVED, path, workspace) for path in sorted(recorded.keys() - now)]
    stat = workspace.files.stat
    looked = [path for path in now & recorded.keys() if (found := stat(path)) is None or found != recorded[path][0]]
    changed = [path for path in looked if not _same(path, recorded[path], workspace, touched)]
    return reasons + [_of_file(Cause.INPUT_CHANGED, path, workspace) for path in sorted(changed)]


def _of_file(cause: Cause, path: str, workspace: Workspace) -> Reason:
    """Named relative to the tree, or, for a file in the output folder, to that folder's parent."""
    near = next((base for base in (workspace.bin, workspace.tree) if path.startswith(base + os.sep)), None)
    shown = path if near is None else os.path.relpath(path, os.path.dirname(near) if near == workspace.bin else near)
    return Reason(cause, shown, file=path)


def _output_changes(
    outputs: Iterable[str], recorded: Mapping[str, FileState], workspace: Workspace, touched: set[str]
) -> list[Reason]:
    reasons = []
    for output in outputs:
        path = workspace.path(output)
        if workspace.files.stat(path) is None:
            reasons.append(_of_file(Cause.OUTPUT_MISSING, path, workspace))
        elif output not in recorded or not _same(path, recorded[output], workspace, touched):
            reasons.append(_of_file(Cause.OUTPUT_CHANGED, path, workspace))
        else:
            workspace.files.know(path, recorded[output])  # for the steps that read it
    return reasons


def _unpublished(step: Step, record: Record, workspace: Workspace, touched: set[str]) -> list[Reason]:
    reasons = []
    for output, place in step.publish:
        path = workspace.path(place)
        known = record.published.get(place)
        if known is not None and known[0] is not None and known[0] == workspace.files.stat(path):
            workspace.files.know(path, known)
            continue
        if workspace.files.digest(path) != record.outputs.get(output, (None, ""))[1]:
            reasons.append(_of_file(Cause.NOT_PUBLISHED, path, workspace))
        else:
            touched.add(path)
    return reasons


def _same(path: str, recorded: FileState, workspace: Workspace, touched: set[str]) -> bool:
    if not workspace.files.unchanged(path, recorded):
        return False
    if workspace.files.stat(path) != recorded[0]:
        touched.add(path)
    return True
