"""The end of a run that somebody ended."""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper
from typing import Any

from coconut_tasks.effects.place import discard_unfinished
from coconut_tasks.effects.process import stop_all


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, made an exception so that it ends a run as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = signal.Signals(number)


def listen() -> None:
    """From now on, SIGTERM, and SIGHUP unless it is ignored as by ``nohup``, raise ``Terminated`` in the main thread."""
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _terminated)


def end(error: KeyboardInterrupt) -> int:
    """End all children; the result is the exit status that shells expect: 128 and the signal's number."""
    stop_all()
    discard_unfinished()
    number = error.number if isinstance(error, Terminated) else signal.SIGINT
    sys.stderr.write(f"\nended by {number.name}; what was finished is kept\n")
    return 128 + number


def mend_streams() -> None:
    """A closed standard output or error is as one that nobody reads; a character that the other side's encoding lacks is replaced."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.open(os.devnull, os.O_WRONLY), "w", closefd=False))
        elif isinstance(stream, TextIOWrapper) and stream.encoding.lower() not in ("utf-8", "utf8"):
            stream.reconfigure(errors="replace")


def nobody_reads() -> int:
    """Nobody reads our output any more, as after ``| head``: say nothing more, not even when Python flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def _terminated(number: int, frame: Any) -> None:
    raise Terminated(number)
