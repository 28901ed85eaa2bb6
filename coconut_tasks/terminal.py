"""What the place where output goes can show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TextIO

from coconut_tasks.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Terminal:
    """Decided once for a run."""

    live: bool = False
    """Lines can be overwritten."""
    colours: bool = False


def terminal_of(stream: TextIO, environment: Mapping[str, str]) -> Terminal:
    """By the common rules: https://no-color.org, ``FORCE_COLOR``, ``TERM=dumb``. An empty value counts as not set."""
    live = stream.isatty() and environment.get("TERM", "dumb") not in ("", "dumb")
    forced = environment.get("FORCE_COLOR", "") not in ("", "0")
    return Terminal(live, colours=(live or forced) and not environment.get("NO_COLOR"))


_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: links, titles
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)


def plain(text: str) -> str:
    """Text without control characters but for line ends and tabs: the sequences (ECMA-48) that colour text or move the cursor are left out.

    A line that was overwritten by carriage returns, as a progress bar, is left with its last state.
    """
    text = _SEQUENCE.sub("", text).replace("\r\n", "\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")) if "\r" in text else text


def alarming(text: str, terminal: Terminal) -> str:
    """In bold red, where there are colours."""
    return f"\x1b[1;31m{text}\x1b[0m" if terminal.colours else text


def shown(text: str, terminal: Terminal) -> str:
    """A tool's output as it can be shown there."""
    return text if terminal.colours else plain(text)
