"""Values, lists and numbers as messages and reports show them."""

from __future__ import annotations

import json
from collections.abc import Sequence


def human(size: int) -> str:
    """Bytes as ``512 B``, ``1.2 KiB``, ``3.4 MiB``, ``5.6 GiB``."""
    if size < 1024:
        return f"{size} B"
    value, unit = size / 1024, "KiB"
    for larger in ("MiB", "GiB"):
        if value >= 1024:
            value, unit = value / 1024, larger
    return f"{value:.1f} {unit}"


def seconds_in_words(seconds: float) -> str:
    """``4 s``, ``2 min 5 s``."""
    whole = max(round(seconds), 1)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def shown(value: object) -> str:
    """A value of a document as messages show it: text in single quotes, containers without their content."""
    if isinstance(value, dict | list):
        left, right = "{}" if isinstance(value, dict) else "[]"
        return f"{left}…{right}" if value else left + right
    text = f"'{printable(value)}'" if isinstance(value, str) else json.dumps(value)
    # A message is one line, so a long value is cut.
    return text if len(text) <= 60 else f"{text[:56]}…'" if isinstance(value, str) else f"{text[:57]}…"


def short_digest(digest: str) -> str:
    """Enough of a digest in hex to tell it from another one: its first 16 digits."""
    return f"{digest[:16]}…"


MEASUREMENTS = {"snp": "launch digest", "tdp": "MRTD", "vsm": "VBS boot digest"}
"""What the launch measurement of each platform is called, by the recipe's word for the platform."""


def printable(text: str) -> str:
    """Text with its control characters, which could move a terminal's cursor, as escapes, for example ``\\n``."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def both(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def either(words: list[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
