"""What makes a step stale. One function decides it and explains it, so that the two cannot drift apart.

A step is up to date when its commands, the environment and the tools that reach them, the content of its inputs and the content of its
outputs are as its last good run left them.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from coconut_tasks.steps.command_diff import Commands

OURSELVES = "coconut-tasks"
"""Among the tools of a step: this program."""


class Cause(Enum):
    """Why a step is stale: the closed set of reasons, each with its sentence."""

    NEW = "it has no good run on record"
    NEW_VARIANT = "it has no good run on record like this: {subject}"
    COMMAND = "its command changed: {subject}"
    ENVIRONMENT = "the environment variable {subject} changed from {old} to {new}"
    REVISION = "coconut-tasks itself makes it in another way now (revision {subject})"
    TOOL = "{subject} changed from {old} to {new}"
    INPUT_CHANGED = "{subject} changed"
    INPUT_ADDED = "{subject} is a new input"
    INPUT_REMOVED = "{subject} is no longer an input"
    FOLDERS = "{subject} has other folders in it"
    OUTPUT_MISSING = "{subject} is missing"
    OUTPUT_CHANGED = "{subject} is not as it was built"
    UNKNOWN_INPUTS = "what it reads cannot be known, so {subject} is asked each time"
    VERSION = "the version changed"
    NOT_PUBLISHED = "{subject} is not there, or not as it was built"


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, with what it is about."""

    cause: Cause
    subject: str = ""
    old: str | None = None
    new: str | None = None
    file: str = ""
    """The input or output that it is about, absolute; empty where it is about none."""

    def __str__(self) -> str:
        return self.cause.value.format(subject=self.subject, old=_shown(self.old), new=_shown(self.new))

    @property
    def only_places(self) -> bool:
        """True where nothing is to be built: a file only has to be copied to ``bin/`` again."""
        return self.cause is Cause.NOT_PUBLISHED


@dataclass(slots=True)
class Verdict:
    """The reasons; none means up to date. ``touched`` are the files whose stat changed and whose content did not."""

    reasons: list[Reason] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)

    @property
    def only_places(self) -> bool:
        """Whether the outputs are good, and only ``bin/`` is to be brought up to date."""
        return bool(self.reasons) and all(reason.only_places for reason in self.reasons)


def input_files(step: Step, inputs: Inputs, workspace: Workspace) -> set[str]:
    """Every file that the step reads, absolute; of those only found out, the ones that exist."""
    return workspace.files.there(inputs.paths(workspace.walker)) | {workspace.path(path) for path in step.inputs}


def signature(step: Step, inputs: Inputs, workspace: Workspace) -> dict[str, Any]:
    """Everything but files that decides what a step makes, as JSON."""
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
    if action.is_about_an_image:  # what they write names it
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
    brief: bool = False,
) -> Verdict:
    """Why a step must run, or must at least place its outputs in ``bin/`` again; ``inputs`` are its ``input_files``.

    ``other`` gives the signature of another variant of the step, to compare one without a record with. It only chooses the words.
    With ``brief`` no output is read once it is clear that the step must run: it will make them anew.
    """
    verdict = Verdict()
    if step.action.writes_source:
        file = workspace.path(step.outputs[0])
        if read_version(file) != version_text(file, workspace.version):
            verdict.reasons.append(Reason(Cause.VERSION, step.outputs[0]))
        return verdict
    if record is None:
        verdict.reasons.append(_new(step, other()))
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
    return Reason(Cause.NEW_VARIANT, _difference(step, other["commands"], _commands(step)) or "other files")


def _difference(step: Step, old: Commands, new: Commands) -> str:
    from coconut_tasks.steps.command_diff import (
        command_diff,  # imported here: a run that has nothing to do explains nothing
    )

    return command_diff(old, new, [posixpath.dirname(path) for path in step.outputs])


def _changes(step: Step, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Reason]:
    reasons = []
    if old["commands"] != new["commands"]:
        told = _difference(step, old["commands"], new["commands"])
        reasons.append(Reason(Cause.COMMAND, told or "its parts are split in another way"))
    if old["revision"] != new["revision"]:
        reasons.append(Reason(Cause.REVISION, f"{old['revision']} → {new['revision']}"))
    for cause, part in ((Cause.ENVIRONMENT, "environment"), (Cause.TOOL, "tools"), (Cause.FOLDERS, "folders")):
        for name in sorted(old[part].keys() | new[part].keys()):
            before, now = old[part].get(name), new[part].get(name)
            if before != now:
                reasons.append(Reason(cause, name, before, now))
    return reasons


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
    """Named as one would from the tree, or, for what is below it, from beside the output folder."""
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
            workspace.files.know(path, recorded[output])  # other steps read it
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


def _shown(value: str | None) -> str:
    return "nothing" if value is None else f"'{value}'"
