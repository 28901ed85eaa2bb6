"""The commands of the next build, as a shell script and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coconut_tasks.freshness.forecast import Fate, Forecast
from coconut_tasks.reports.outlook import command_json, fate_json
from coconut_tasks.steps.action import CargoItem, FirmwareImage, FsImage, Measurement, Provenance, VersionFile
from coconut_tasks.steps.command import Command
from coconut_tasks.steps.step import Step
from coconut_tasks.wording import printable

_NOT_SHOWN = (Fate.RESTS, Fate.IGNORED)


def plan_text(tree: str, forecasts: Sequence[Forecast]) -> str:
    """A shell script of the commands, with comments for what this program itself does between them."""
    coming = [found for found in forecasts if found.fate not in _NOT_SHOWN]
    ignored = sum(found.fate is Fate.IGNORED for found in forecasts)
    resting = len(forecasts) - len(coming) - ignored
    rest = [f"# up to date: {resting}"] if resting else []
    rest += [f"# ignored (doit ignore): {ignored}"] if ignored else []
    if not coming and ignored:
        return "# nothing to do\n" + "".join(f"{line}\n" for line in rest)
    if not coming:
        what = f"all {len(forecasts)} steps are" if len(forecasts) > 1 else "the one step is"
        return f"# nothing to do: {what} up to date\n"
    lines = [str(Command(("cd", tree)))]
    for found in coming:
        why = "; ".join(printable(reason) for reason in found.reasons)
        lines += ["", f"# {found.step.name} {found.fate.value}: {why}"]
        if found.fate not in (Fate.PLACES, Fate.CACHED):
            lines += step_lines(found.step)
        lines += [f"# copied to {place}" for _, place in found.step.publish]
    lines += ["", *rest] if rest else []
    return "".join(f"{line}\n" for line in lines)


def plan_json(head: Mapping[str, Any], forecasts: Sequence[Forecast]) -> dict[str, Any]:
    """The same as JSON. Paths are as in the commands: relative paths start in the tree."""
    return {
        **head,
        "steps": [
            {
                "name": found.step.name,
                **fate_json(found),
                "commands": [command_json(command) for command in found.step.commands],
                "outputs": list(found.step.outputs),
                "places": [place for _, place in found.step.publish],
            }
            for found in forecasts
        ],
    }


def step_lines(step: Step) -> list[str]:
    """A step's commands, with comments for what is done without a process."""
    commands = [str(command) for command in step.commands]
    match step.action:
        case VersionFile() as work:
            return [f"# {work.output} is written"]
        case CargoItem() as work:
            return [commands[0], f"# the program that cargo names is copied to {work.built}", *commands[1:]]
        case FsImage() as work:
            return [*(f"# {file} is copied to {work.root}/{path}" for path, file in work.files), *commands]
        case FirmwareImage() as work:
            return [*commands, *([f"# {work.source} is copied to {work.output}"] if work.source else [])]
        case Measurement() as work:
            files = [*(hex for _, hex in work.hexes), work.json]
            return [*commands, f"# the digests are written to {' and '.join(files)}"]
        case Provenance() as work:
            return [f"# the in-toto statement is written to {work.output}"]
        case _:
            return commands
