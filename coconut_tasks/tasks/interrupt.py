"""The end of a run that somebody ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from io import TextIOWrapper
from typing import Any, TextIO

from coconut_tasks.effects.place import discard_unfinished
from coconut_tasks.effects.process import stop_all

_PATIENCE_S = 0.1
_HANDLED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_seen: list[int] = []
"""Signals whose handlers have run; the process is at its end then."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, made an exception so that it ends a run as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = signal.Signals(number)


def listen() -> None:
    """From now on, SIGTERM, and SIGHUP unless it is ignored as by ``nohup``, raise ``Terminated`` in the main thread, and these and Ctrl-C
    are not lost.

    A signal that comes while Python's main thread goes to sleep, as for the next result of a step, is noted and wakes nobody (seen with
    CPython 3.11, on a busy machine each other time): the run went on until the step was done. So it is sent once more until it is seen.
    """
    begun = signal.getsignal(signal.SIGTERM) is _terminated
    for number, handler in ((signal.SIGTERM, _terminated), (signal.SIGHUP, _terminated), (signal.SIGINT, _interrupted)):
        if number is signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)
    if not begun:
        read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        threading.Thread(target=_repeat, args=(read, threading.main_thread().ident), daemon=True).start()


def _repeat(read: int, main: int) -> None:
    """Whatever signal comes in is sent to the main thread again and again, until its handler has run."""
    while data := os.read(read, 1):
        number = data[0]
        time.sleep(_PATIENCE_S)
        while number in _HANDLED and not _seen:
            signal.pthread_kill(main, number)
            time.sleep(_PATIENCE_S)


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


def nobody_reads(stream: TextIO | None = None) -> int:
    """Nobody reads a stream any more, for example standard output after ``| head``: say nothing more there, not even when Python flushes at
    its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())
    return 128 + signal.SIGPIPE


def _terminated(number: int, frame: Any) -> None:
    _seen.append(number)
    raise Terminated(number)


def _interrupted(number: int, frame: Any) -> None:
    _seen.append(number)
    raise KeyboardInterrupt
