"""The text of ``why``: what a build would do and why."""

from __future__ import annotations

from collections.abc import Iterable

from coconut_tasks.called import called
from coconut_tasks.freshness.forecast import Fate, Forecast
from coconut_tasks.terminal import ARROWS, Rules, Style
from coconut_tasks.wording import printable

WORDS: Rules = (
    (Style.CHANGED, rf"^(?:\S+ )?({Fate.RUNS.value}|{Fate.CACHED.value}|{Fate.PLACES.value})\b"),
    (Style.PERHAPS, rf"^(?:\S+ )?({Fate.MAYBE.value})\b"),
    (Style.GOOD, r"^(?:\S+ (?:is )?)?(up to date)\b"),
    *ARROWS,
)
"""Styles for the words of ``why_text``."""
_MOST = 10
"""How many reasons are shown for a step that was not asked for by name."""


def why_text(forecasts: Iterable[Forecast], asked: Iterable[str] = ()) -> str:
    """What the next build would do with each step. Steps ``asked`` for by name get all reasons; steps that share a reason, or are up to
    date, share a line."""
    named, forecasts = set(asked), list(forecasts)
    lines: list[str] = []
    resting: list[str] = []
    shared: dict[tuple[str, ...], list[str]] = {}
    for found in forecasts:
        if found.shared and found.step.name not in named:
            shared.setdefault(found.reasons, []).append(found.step.name)
    for found in forecasts:
        name = found.step.name
        if found.fate is Fate.RESTS:
            inputs = f"{found.inputs} input{'' if found.inputs == 1 else 's'}"
            if name in named:
                lines.append(f"{name} is up to date: command, tools, environment, outputs and {inputs} unchanged")
            else:
                resting.append(name)
        elif found.fate is Fate.IGNORED:
            lines.append(f"{name} {found.fate.value}")
        elif name in (together := shared.get(found.reasons, [])) and len(together) > 1:
            if name == together[0]:
                why = printable("; ".join(found.reasons))
                lines.append(f"{len(together)} steps run: {why} ({', '.join(together)})")
        else:
            lines += _reasons(found, everything=name in named)
    if resting:
        what = "1 step" if len(resting) == 1 else f"{len(resting)} steps" if lines else f"all {len(resting)} steps"
        lines.append(f"up to date: {what} ({', '.join(resting)})")
    return "".join(f"{line}\n" for line in lines)


def _reasons(found: Forecast, *, everything: bool) -> list[str]:
    reasons = [printable(reason) for reason in found.reasons]
    head = f"{found.step.name} {found.fate.value}"
    if len(reasons) == 1:
        return [f"{head}: {reasons[0]}"]
    shown = reasons if everything else reasons[:_MOST]
    rest = (
        [f"  and {len(reasons) - len(shown)} more: {called().command('why', found.step.name)}"]
        if len(shown) < len(reasons)
        else []
    )
    return [f"{head}:", *(f"  {reason}" for reason in shown), *rest]
