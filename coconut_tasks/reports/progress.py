"""The text of the live line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from coconut_tasks.dataclass import dataclass
from coconut_tasks.wording import seconds_in_words


@dataclass(frozen=True, slots=True)
class Running:
    """A step that is running or waiting."""

    name: str
    seconds: float
    """Since it started, without the time that it waited."""
    waiting: bool = False
    crates: int = 0
    """How many crates cargo has reported so far."""
    of: int | None = None
    """How many it reported last time; None if unknown."""


def in_one(name: str, steps: Sequence[Running]) -> Running:
    """Several steps as one, which waits if all of them do."""
    ends = [step.of for step in steps if step.of is not None]
    return Running(
        f"{name} ({len(steps)})",
        sum(step.seconds for step in steps),
        all(step.waiting for step in steps),
        sum(step.crates for step in steps),
        sum(ends) if len(ends) == len(steps) else None,
    )


def progress_line(done: int, total: int, running: Iterable[Running], left: float | None) -> str:
    """For example ``[3/11] kernel:svsm: 12/57 crates, 4.2 s; 1 waits; about 12 s left``. The step that has run longest comes first;
    ``left`` is None if unknown."""
    at_work = sorted((step for step in running if not step.waiting), key=lambda step: -step.seconds)
    waiting = sum(step.waiting for step in running)
    parts = [f"{step.name}: {_crates(step)}{step.seconds:.1f} s" for step in at_work]
    parts += [f"{waiting} {'waits' if waiting == 1 else 'wait'}"] if waiting else []
    parts += [f"about {seconds_in_words(left)} left"] if left else []
    return f"[{done}/{total}] " + "; ".join(parts)


def _crates(step: Running) -> str:
    if step.of is not None and step.crates <= step.of:
        return f"{step.crates}/{step.of} crates, "
    return f"{step.crates} crate{'' if step.crates == 1 else 's'}, " if step.crates else ""


def seconds_left(expected: Mapping[str, float | None], running: Iterable[Running]) -> float | None:
    """The remaining seconds, estimated from last time; ``expected`` has the coming and running steps, None for one without a last time.

    It adds up the steps, since nearly all of the time is cargo's, and only one cargo runs at a time.
    """
    gone = {step.name: step.seconds for step in running}
    left = 0.0
    for name, seconds in expected.items():
        if seconds is None:
            return None
        if gone.get(name, 0.0) > seconds:
            return None  # it takes longer this time, by an unknown amount
        left += seconds - gone.get(name, 0.0)
    return left
