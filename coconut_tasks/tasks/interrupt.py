"""Signals that end a run, and streams that are closed early."""

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
"""Signals whose handlers have run; after one, the process ends."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP as an exception, so that it ends a run as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = signal.Signals(number)


def listen() -> None:
    """Make SIGTERM and SIGHUP raise ``Terminated`` in the main thread, and make sure that neither they nor Ctrl-C are lost. An ignored
    SIGHUP, for example with ``nohup``, stays ignored.

    If a signal arrives just when Python's main thread goes to sleep, for example to wait for a step, Python notes it but does not wake up
    (with CPython 3.11 on a busy machine, every other time), and the run would continue until the step is done. So the signal is sent
    again until its handler has run.
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
    """Send each signal that arrives to the main thread again, until its handler has run."""
    while data := os.read(read, 1):
        number = data[0]
        time.sleep(_PATIENCE_S)
        while number in _HANDLED and not _seen:
            signal.pthread_kill(main, number)
            time.sleep(_PATIENCE_S)


def end(error: KeyboardInterrupt) -> int:
    """End all children. The result is the exit status that shells expect, 128 plus the signal number."""
    stop_all()
    discard_unfinished()
    number = error.number if isinstance(error, Terminated) else signal.SIGINT
    sys.stderr.write(f"\nended by {number.name}; finished steps are kept\n")
    return 128 + number


def mend_streams() -> None:
    """Replace a closed standard output or error with the null device, and characters that a stream's encoding lacks with ``?``."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.open(os.devnull, os.O_WRONLY), "w", closefd=False))
        elif isinstance(stream, TextIOWrapper) and stream.encoding.lower() not in ("utf-8", "utf8"):
            stream.reconfigure(errors="replace")


def nobody_reads(stream: TextIO | None = None) -> int:
    """Print nothing more to a stream whose reader is gone, for example standard output in ``| head``, not even when Python flushes it at
    exit. The result is an exit status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())
    return 128 + signal.SIGPIPE


def _terminated(number: int, frame: Any) -> None:
    _seen.append(number)
    raise Terminated(number)


def _interrupted(number: int, frame: Any) -> None:
    _seen.append(number)
    raise KeyboardInterrupt
