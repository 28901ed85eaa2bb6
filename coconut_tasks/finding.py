"""Something that is wrong in a recipe, by its path in the document; where that is in the text is not known here."""

from __future__ import annotations

import json

from coconut_tasks.dataclass import dataclass

Path = tuple[str | int, ...]
"""Member names and list indices from the top of the document."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; ``wrong`` and ``allowed`` as in ``Problem``."""

    path: Path
    wrong: str
    allowed: str
    at_key: bool = False
    """The member's name is to blame, not its value."""
    passed_over: bool = False
    """build.py and xbuild pass over it: leniency makes it a warning."""
    warning: bool = False
    """The recipe can be built as it is."""


def shown(value: object) -> str:
    """A value of the document as messages show it: text in single quotes, containers without their content."""
    if isinstance(value, dict | list):
        left, right = "{}" if isinstance(value, dict) else "[]"
        return f"{left}…{right}" if value else left + right
    text = f"'{printable(value)}'" if isinstance(value, str) else json.dumps(value)
    # A message is one line: enough of a long value to recognise it is enough.
    return text if len(text) <= 60 else f"{text[:56]}…'" if isinstance(value, str) else f"{text[:57]}…"


def printable(text: str) -> str:
    """Text without control characters, which could move a terminal's cursor: they become escapes, as ``\\n``."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def either(words: list[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
