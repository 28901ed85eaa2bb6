"""What the terminal, or whatever output goes to, can show."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TextIO

from coconut_tasks.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Terminal:
    """Decided once per run."""

    live: bool = False
    """Lines can be overwritten."""
    colours: bool = False


def terminal_of(stream: TextIO, environment: Mapping[str, str]) -> Terminal:
    """Follows https://no-color.org, ``FORCE_COLOR``, ``CLICOLOR_FORCE`` and ``TERM=dumb``. An empty value counts as unset."""
    live = stream.isatty() and environment.get("TERM", "dumb") not in ("", "dumb")
    forced = any(environment.get(name, "") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE"))
    return Terminal(live, colours=(live or forced) and not environment.get("NO_COLOR"))


def terminal_at(stream: TextIO) -> Terminal:
    """By the environment of this process."""
    return terminal_of(stream, os.environ)


class Style(Enum):
    """What words are shown as: the parameters of ECMA-48's SGR."""

    ERROR = "1;31"
    WARNING = "1;33"
    NOTE = "1;36"
    STRONG = "1"
    BAD = "31"
    GOOD = "32"
    CHANGED = "33"
    PERHAPS = "36"


Rules = Sequence[tuple[Style, str]]
"""Pairs of a style and a regular expression with one group, which gets it; ``^`` is the start of a line."""
MARKS: Rules = (
    (Style.ERROR, "^(error:)"),
    (Style.WARNING, "^(warning:)"),
    (Style.NOTE, "^(note:)"),
    (Style.STRONG, r"(?:^|(?<=: ))(\S+:\d+:\d+:)(?= )"),
)
"""Of messages: how bad it is, and the place."""
ARROWS: Rules = (
    (Style.BAD, r"(?<=: |  )((?:(?!: |  | ').)+?)(?= → )"),
    (Style.BAD, r"('[^'\n]*')(?= → )"),
    (Style.GOOD, r"(?<= → )(.+?)(?=  | \(|$)"),
)
"""Of ``subject: old → new``."""


_SEQUENCE = (
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: links, titles
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)


def plain(text: str) -> str:
    """Text without the sequences (ECMA-48) that colour it or move the cursor, and without control characters except line ends and tabs.

    Of a line that was overwritten by carriage returns, for example a progress bar, the last state is left.
    """
    text = re.sub(_SEQUENCE, "", text).replace("\r\n", "\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")) if "\r" in text else text


def styled(text: str, style: Style, terminal: Terminal) -> str:
    """Text in a style, where there are colours."""
    return f"\x1b[{style.value}m{text}\x1b[0m" if terminal.colours else text


def marked(text: str, terminal: Terminal, rules: Rules = MARKS) -> str:
    """Text with some of its words in styles, where there are colours; of two rules that fit at a place, the first holds."""
    if not terminal.colours:
        return text

    def one(found: re.Match[str]) -> str:
        number = found.lastindex or 1
        start, end = found.span(number)
        word = styled(found[number], rules[number - 1][0], terminal)
        return f"{text[found.start() : start]}{word}{text[end : found.end()]}"

    return re.sub("|".join(pattern for _, pattern in rules), one, text, flags=re.MULTILINE)


def shown(text: str, terminal: Terminal) -> str:
    """A tool's output, without colours if they are off."""
    return text if terminal.colours else plain(text)
