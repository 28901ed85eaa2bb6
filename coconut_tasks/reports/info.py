"""The text of ``info``: everything about a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from coconut_tasks.freshness.forecast import Fate, Forecast
from coconut_tasks.reports.outlook import StepFacts
from coconut_tasks.reports.plan import step_lines
from coconut_tasks.steps.command import Command
from coconut_tasks.wording import printable

_WIDTH = 9
_MOST = 20
"""How many of the files that a step reads are shown."""


def info_text(
    tree: str, found: Iterable[StepFacts], absolute: Callable[[str], str], shown: Callable[[str], str]
) -> str:
    """A block for each step; ``absolute`` is ``Workspace.path``, ``shown`` makes a path relative to the user's folder."""
    return "\n".join("".join(f"{line}\n" for line in _lines(tree, one, absolute, shown)) for one in found)


def _lines(tree: str, one: StepFacts, absolute: Callable[[str], str], shown: Callable[[str], str]) -> Iterator[str]:
    step = one.step
    yield f"{step.name}: {step.doc}"
    if one.forecast is not None:
        yield from _row("state", _state(one.forecast))
    yield from _row("makes", [shown(absolute(place)) for _, place in step.publish])
    yield from _row("keeps", [shown(absolute(output)) for output in step.outputs])
    yield from _row("needs", [", ".join(one.needs)] if one.needs else [])
    if (cached := one.cached) is not None:
        made = f"from the cache: action {cached.action}, built by {printable(cached.builder)}"
        yield from _row("comes", [made, f"in {printable(cached.cache)}"])
    yield from _row("log", [shown(one.log)] if one.log else [])
    if step.commands:
        yield "commands to paste:"
        yield f"  {Command(('cd', tree))}"
        yield from (f"  {line}" for line in step_lines(step))
    if one.inputs:
        yield "reads:"
        # The tree's own files first, before those of crates and the toolchain.
        files = sorted(map(shown, one.inputs), key=lambda path: (path.startswith(("/", "..")), path))
        yield from (f"  {path}" for path in files[:_MOST])
        if len(files) > _MOST:
            yield f"  … and {len(files) - _MOST} more; --json has all"


def _state(found: Forecast) -> list[str]:
    if found.fate is Fate.RESTS:
        return [found.fate.value.removeprefix("is ")]
    return [found.fate.value, *(printable(reason) for reason in found.reasons)]


def _row(name: str, values: Sequence[str]) -> Iterator[str]:
    for number, value in enumerate(values):
        yield f"  {name if number == 0 else '':{_WIDTH}}{value}"
