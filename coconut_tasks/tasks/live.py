"""The live line of a terminal. Only this module imports rich, so that a no-op run does not need it."""

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
        return False  # never hide it: a killed run must leave the terminal unchanged


class LiveDisplay:
    """One line at the bottom that shows progress, below all other output."""

    def __init__(self, stream: TextIO, *, colours: bool, line: Callable[[], str]) -> None:
        console = _Console(
            file=stream,
            force_terminal=True,
            # The output has its own colours: rich must neither add any nor remove those of tools.
            color_system="standard" if colours else None,
            highlight=False,
            legacy_windows=False,
        )
        self._line = line
        # rich's own refresh thread can write between another thread's lookup and its write, so here one lock protects both.
        self._lock = threading.Lock()
        self._live = Live(Text(), console=console, transient=True, auto_refresh=False, redirect_stdout=False)
        self._live.start()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep_fresh, daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        """Write whole lines above the live one, with their colours."""
        with self._lock:
            self._live.console.out(text.removesuffix("\n"), highlight=False)

    def close(self) -> None:
        """Remove the live line; other output stays."""
        self._closing.set()
        self._thread.join()
        self._live.stop()

    def _keep_fresh(self) -> None:
        pause = 0.0  # show the first line immediately
        while not self._closing.wait(pause):
            pause = 1 / _PER_SECOND
            # Get the line before taking the lock: a caller of `say` may hold the lock that the line needs.
            line = Text(self._line(), style="bold", no_wrap=True, overflow="ellipsis")
            with self._lock:
                self._live.update(line, refresh=True)
