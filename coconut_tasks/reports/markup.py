"""Text and times for XML and HTML."""

from __future__ import annotations

import html
import re
import unicodedata

# Characters that XML 1.0 cannot contain, including surrogates, which stand for bytes of a path that are not UTF-8. Compiling it takes tens
# of milliseconds, so it is compiled on demand.
_UNSAYABLE = "[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"


def sayable(text: str) -> str:
    """The text with a replacement character for each character that an XML document or a UTF-8 file cannot contain."""
    return re.sub(_UNSAYABLE, "\ufffd", text)


def escape(text: str) -> str:
    """Escape text for elements and quoted attributes in XML and HTML; line breaks are kept."""
    return html.escape(sayable(text), quote=True).replace("\n", "&#10;")


def one_line(text: str) -> str:
    """The text with each line break and other control character replaced with a space."""
    return "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in sayable(text))


def cells(text: str) -> int:
    """The width of the text in columns of a fixed-width font."""
    return sum(_cells(char) for char in text)


def _cells(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shortened(text: str, limit: int) -> str:
    """The text in at most ``limit`` columns, shortened in the middle: both ends of a name are distinctive."""
    if cells(text) <= limit:
        return text
    head, tail = text, text
    while cells(head) > limit // 2:
        head = head[:-1]
    while cells(tail) > limit - 1 - cells(head):
        tail = tail[1:]
    return f"{head}…{tail}"


def duration(seconds: float) -> str:
    """A duration with useful precision: ``0.42 s``, ``13.4 s``, ``2 min 5 s``."""
    seconds = max(0.0, seconds)
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
