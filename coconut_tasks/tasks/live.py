"""The live line of a terminal. rich is imported here only, so that a run with nothing to do needs none of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

_PER_SECOND = 8


class _Console(Console):
    def show_cursor(self, show: bool = True) -> bool:
        return False  # it is never hidden: who kills a run gets a terminal back that is as it was


class LiveDisplay:
    """One line at the bottom that says what goes on; what is said stays above it."""

    def __init__(self, stream: TextIO, *, colours: bool, line: Callable[[], str]) -> None:
        console = _Console(
            file=stream,
            force_terminal=True,
            # What is said has its own colours: rich must neither add some nor take the tools' away.
            color_system="standard" if colours else None,
            highlight=False,
            legacy_windows=False,
        )
        self._line = line
        # rich's own refreshing thread can write between what another thread looks up and what it writes: here, all is under one lock.
        self._lock = threading.Lock()
        self._live = Live(Text(), console=console, transient=True, auto_refresh=False, redirect_stdout=False)
        self._live.start()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep_fresh, daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        """Write whole lines above the live one, with the colours that they have."""
        with self._lock:
            self._live.console.out(text.removesuffix("\n"), highlight=False)

    def close(self) -> None:
        """The live line goes; what was said stays."""
        self._closing.set()
        self._thread.join()
        self._live.stop()

    def _keep_fresh(self) -> None:
        pause = 0.0  # the first line at once
        while not self._closing.wait(pause):
            pause = 1 / _PER_SECOND
            # Asked for before the lock is taken: who says something may hold the lock that the line needs.
            line = Text(self._line(), style="bold", no_wrap=True, overflow="ellipsis")
            with self._lock:
                self._live.update(line, refresh=True)
