"""Text that goes into XML and HTML, and how times are written there."""

from __future__ import annotations

import html
import re
import unicodedata

# What XML 1.0 has no way to say, and halves of surrogate pairs, which stand for bytes of a path that are no UTF-8. To compile it takes
# tens of milliseconds, so that is left to who needs it.
_UNSAYABLE = "[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"


def sayable(text: str) -> str:
    """The text with a replacement character for each one that no XML document, or no UTF-8 file, can have."""
    return re.sub(_UNSAYABLE, "\ufffd", text)


def escape(text: str) -> str:
    """For text between tags and for values between quotes, in XML and in HTML; line breaks are kept in both."""
    return html.escape(sayable(text), quote=True).replace("\n", "&#10;")


def one_line(text: str) -> str:
    """The text with each line break or other control character as a space."""
    return "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in sayable(text))


def cells(text: str) -> int:
    """How many columns of a fixed-width font the text takes."""
    return sum(_cells(char) for char in text)


def _cells(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shortened(text: str, limit: int) -> str:
    """The text in at most so many columns. What is left out is in the middle: both ends of a name tell it from others."""
    if cells(text) <= limit:
        return text
    head, tail = text, text
    while cells(head) > limit // 2:
        head = head[:-1]
    while cells(tail) > limit - 1 - cells(head):
        tail = tail[1:]
    return f"{head}…{tail}"


def duration(seconds: float) -> str:
    """As precise as one cares for: ``0.42 s``, ``13.4 s``, ``2 min 5 s``."""
    seconds = max(0.0, seconds)
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
