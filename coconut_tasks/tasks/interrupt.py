"""The end of a run that somebody ended."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from coconut_tasks.effects.place import discard_unfinished
from coconut_tasks.effects.process import stop_all


class Terminated(KeyboardInterrupt):
    """SIGTERM, made an exception so that it ends a run as Ctrl-C does."""


def listen() -> None:
    """From now on, SIGTERM raises ``Terminated`` in the main thread."""
    signal.signal(signal.SIGTERM, _terminated)


def end(error: KeyboardInterrupt) -> int:
    """End all children; the result is the exit status that shells expect: 128 and the signal's number."""
    stop_all()
    discard_unfinished()
    number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
    sys.stderr.write(f"\nended by {number.name}; what was finished is kept\n")
    return 128 + number


def nobody_reads() -> int:
    """Nobody reads our output any more, as after ``| head``: say nothing more, not even when Python flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def _terminated(number: int, frame: Any) -> None:
    raise Terminated
