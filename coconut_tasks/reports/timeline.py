"""Where the time of a run went: as a Chrome trace, and as one HTML page that needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a step's time, in seconds since the run began."""

    what: str
    """A command as one shell line, or what was waited for."""
    waiting: bool
    """True where the step stood still: for cargo's target folder, which one step has at a time."""
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class StepTime:
    """One step that ran, in seconds since the run began."""

    name: str
    stage: str
    result: str
    """``built``, ``placed`` (only copied to bin/ again) or ``failed``."""
    start: float
    end: float
    needs: tuple[str, ...] = ()
    """Names of the steps that had to be done before it, whether or not they ran in this run."""
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """One run."""

    command: str
    """What the user typed."""
    began: float
    """Seconds since the epoch."""
    seconds: float
    """The whole run."""
    jobs: int
    """How many steps could run at once."""
    up_to_date: int
    """Steps that did not have to run."""
    steps: tuple[StepTime, ...]
    """In the order in which they began."""
