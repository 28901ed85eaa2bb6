"""The live line of a terminal. rich is imported here only, so that a run with nothing to do needs none of it."""

from __future__ import annotations

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
        self._live = Live(
            get_renderable=self._rendered,
            console=console,
            transient=True,
            refresh_per_second=_PER_SECOND,
            redirect_stdout=False,  # doit keeps the stream that it had; sys.stderr is what others print to
        )
        self._live.start()

    def say(self, text: str) -> None:
        """Write whole lines above the live one, with the colours that they have."""
        self._live.console.out(text.removesuffix("\n"), highlight=False)

    def close(self) -> None:
        """The live line goes; what was said stays."""
        self._live.stop()

    def _rendered(self) -> Text:
        return Text(self._line(), style="bold", no_wrap=True, overflow="ellipsis")
