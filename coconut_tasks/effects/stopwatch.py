"""Where a step's time goes: its commands and its waits. A thread works for one step, so it has that step's stopwatch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field

from coconut_tasks.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Lap:
    """Part of the time, in seconds of ``time.monotonic``."""

    what: str
    waiting: bool
    start: float
    end: float


@dataclass(slots=True)
class Stopwatch:
    """Starts when it is created."""

    start: float = field(default_factory=time.monotonic)
    end: float | None = None
    laps: list[Lap] = field(default_factory=list)
    waiting: bool = False
    """Whether it is waiting now."""

    @property
    def seconds(self) -> float:
        """The time until now, or until it ended, less the time spent waiting."""
        whole = (self.end if self.end is not None else time.monotonic()) - self.start
        return whole - sum(lap.end - lap.start for lap in self.laps if lap.waiting)


_current = threading.local()


@contextmanager
def timed(watch: Stopwatch) -> Iterator[None]:
    """What this thread does inside counts for this stopwatch."""
    _current.watch = watch
    try:
        yield
    finally:
        watch.end = time.monotonic()
        _current.watch = None


def current() -> Stopwatch | None:
    """The stopwatch that this thread's work counts for."""
    watch: Stopwatch | None = getattr(_current, "watch", None)
    return watch


@contextmanager
def joined(watch: Stopwatch | None) -> Iterator[None]:
    """This thread does part of the work of the thread that the stopwatch times."""
    _current.watch = watch
    try:
        yield
    finally:
        _current.watch = None


@contextmanager
def lap(what: str, *, waiting: bool = False) -> Iterator[None]:
    """Part of the current step's time; does nothing if no step is timed."""
    watch = current()
    start = time.monotonic()
    if watch is not None:
        watch.waiting = waiting
    try:
        yield
    finally:
        if watch is not None:
            watch.waiting = False
            watch.laps.append(Lap(what, waiting, start, time.monotonic()))
