"""Build a make item."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from coconut_tasks.actions.objcopy import objcopy
from coconut_tasks.actions.recorder import Call, Recorder
from coconut_tasks.effects.place import read_object, write_whole
from coconut_tasks.effects.process import warn
from coconut_tasks.errors import Fault, StepError
from coconut_tasks.inputs.cargo import behind_links, cargo_inputs, read_build
from coconut_tasks.inputs.discovered import Inputs, Reading
from coconut_tasks.inputs.environment import asked_environment
from coconut_tasks.inputs.make import Knowledge, make_knowledge
from coconut_tasks.inputs.messages import parse_messages, programs, script_runs, target_folder, written_ns
from coconut_tasks.steps.action import MakeItem
from coconut_tasks.wording import shown
from coconut_tasks.workspace.workspace import Workspace


def build_make_item(action: MakeItem, key: str, workspace: Workspace, log: Path) -> Reading:
    """Run make and copy the result with objcopy; returns what was read.

    make compares times only. Existing files may come from another variant (for example with RELEASE=1), other variables, a source that
    was replaced by an older one, a failed run, or another program. So make is told to remake everything, unless there is nothing yet, or
    this item was the last one made in the tree and its files did not change since: then make only has to handle newer inputs.

    Raises:
        StepError: make or objcopy failed, or make did not make the file.
    """
    made = Path(workspace.path(action.made))
    note = workspace.state / "made.json"
    argv = action.build.argv
    recorder = Recorder(workspace.state / "recorder", workspace)
    with workspace.alone_with_cargo():  # a rule may call cargo, and two items may share intermediate files
        known, tools = read_object(note), _tools(workspace)
        old = _may_continue(known, key, workspace)
        if not old and not _begins(action, workspace):
            argv = (argv[0], "--always-make", *argv[1:])
        note.unlink(missing_ok=True)  # first: files of a run that fails or is killed must not be trusted
        started_ns = time.time_ns()
        workspace.run(replace(action.build, argv=argv, aside=()), log, recorder.environment)
        if workspace.files.look_again(str(made)) is None:
            raise StepError(
                "file-not-made",
                f"make succeeded, but did not make {action.made}\n  command: {action.build}\n  log: {log}",
            )
        objcopy(action.objcopy, made, Path(workspace.path(action.output)), workspace, log)
        knowledge = make_knowledge(action.build, action.made, workspace.tree, workspace.environment)
        _tell_of_variables(action, knowledge, workspace)
        if not knowledge.calls_cargo:  # cargo must run whenever make runs
            write_whole(
                note,
                json.dumps(
                    _note(knowledge, key, workspace, started_ns) | {"tools": tools}, indent=1, sort_keys=True
                ).encode(),
            )
    inputs, unknown = knowledge.inputs, knowledge.unknown
    # What was there may have been made with other tools. What cargo has is not looked at here.
    tainted = old and known.get("tools") != tools
    if knowledge.calls_cargo and not unknown:
        calls = list(recorder.calls())
        inputs, unknown = _with_cargo(inputs, calls, workspace)
        tainted = tainted or not all(_is_made_now(call, started_ns) for call in calls)
    if unknown:
        text = f"the inputs of {action.made} cannot be determined, so make runs every time: {unknown}"
        warn("inputs-not-known", text, log)
    return Reading(inputs, tainted=tainted)


def _tools(workspace: Workspace) -> str | None:
    """The C tools that a cache tells apart; None without a cache."""
    if workspace.run_state.cache is None:
        return None
    from coconut_tasks.actions.cached import toolset_of

    return workspace.shared("tools of c", toolset_of(workspace).others)


def _is_made_now(call: Call, started_ns: int) -> bool:
    """Whether cargo made all of it in this run, and nothing on top of what it had."""
    messages = parse_messages(call.printed or "")
    if any(message["reason"] == "compiler-artifact" and message["fresh"] for message in messages):
        return False
    if any(written_ns(run.output) < started_ns for run in script_runs(messages)):
        return False
    target = target_folder(messages, call.triple)
    states = [path for part in ("*", "*/*") for path in Path(target or "").glob(f"{part}/incremental/*/s-*")]
    return target is not None and all(path.stat().st_mtime_ns >= started_ns for path in states)


def _tell_of_variables(action: MakeItem, knowledge: Knowledge, workspace: Workspace) -> None:
    """A makefile may use a variable that the user set for something else, for example TARGET."""
    values = asked_environment(workspace.environment, knowledge.taken)
    if values:
        told = ", ".join(f"{name}={shown(value)}" for name, value in values.items())
        note = Fault(
            "variable-reaches-make",
            f"note: the makefile of {action.made} uses environment variables, so its output may depend on them: {told}",
        )
        workspace.say(note.shown)


def _with_cargo(inputs: Inputs, calls: Iterable[Call], workspace: Workspace) -> tuple[Inputs, str]:
    """Add what cargo read for a rule to the inputs; also returns why that cannot be known, else an empty string."""
    unknown = "a rule calls cargo other than by its name"
    for call in calls:
        if call.printed is None:
            unknown = f"`cargo {shlex.join(call.words)}` does not report what it builds"
            break
        unknown = ""
        messages = parse_messages(call.printed)
        build = read_build(messages, call.folder, call.manifest, workspace.environment)
        # Files that cargo made are covered already; the rule that copies them must not add them again.
        made = target_folder(messages, call.triple)
        own = (file for file in inputs.files if made is None or not file.startswith(made + os.sep))
        inputs = replace(inputs, files=tuple(own))
        behind = behind_links(build, workspace.environment, workspace.walker)
        for path in [program.path for program in programs(messages)] or [""]:
            inputs = inputs.joined(cargo_inputs(build, path, behind, workspace.environment, workspace.walker))
        if unknown := behind.why:
            break
    return replace(inputs, complete=inputs.complete and not unknown), unknown


def _begins(action: MakeItem, workspace: Workspace) -> bool:
    """Whether none of the files that make makes for the item exist yet."""
    knowledge = make_knowledge(action.build, action.made, workspace.tree, workspace.environment)
    return not knowledge.recurses and not any(map(os.path.lexists, (*knowledge.made, workspace.path(action.made))))


def _note(knowledge: Knowledge, key: str, workspace: Workspace, started_ns: int) -> dict[str, Any]:
    inputs = knowledge.inputs
    return {
        "tree": workspace.tree,
        "key": key,
        "started_ns": started_ns,
        "ordered": knowledge.ordered,
        "variables": asked_environment(workspace.environment, inputs.variables),
        "names": list(inputs.variables),
        "inputs": {path: workspace.files.look_again(path) and workspace.files.digest(path) for path in inputs.files},
        "watched": list(knowledge.watched),
        "made": {path: workspace.files.look_again(path) and workspace.files.digest(path) for path in knowledge.made},
    }


def _may_continue(note: dict[str, Any], key: str, workspace: Workspace) -> bool:
    """Whether the existing files are this item's, and make will notice everything that changed since."""
    files = workspace.files
    try:
        if (note["tree"], note["key"]) != (workspace.tree, key):
            return False
        if asked_environment(workspace.environment, note["names"]) != note["variables"]:
            return False
        if any(files.digest(path) != digest for path, digest in note["made"].items()):
            return False
        changed = [path for path, digest in note["inputs"].items() if files.digest(path) != digest]
        if (changed and note["ordered"]) or set(note["watched"]).intersection(changed):
            return False
        # make looks for inputs newer than outputs; with coarse times, an edit right after a build has the same time.
        made = (found[0] for path in note["made"] if (found := files.stat(path)) is not None)
        last_ns = max((note["started_ns"], *made))
        return all((found := files.stat(path)) is not None and found[0] > last_ns for path in changed)
    except (KeyError, TypeError, AttributeError):
        return False
