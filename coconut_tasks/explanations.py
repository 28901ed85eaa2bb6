"""What the troubleshooting page says about each message ID. Read on demand, never during a run."""

from __future__ import annotations

import re

from coconut_tasks.dataclass import dataclass
from coconut_tasks.package import data_path

PAGE = "docs/troubleshooting.md"
_ENTRY = re.compile(r"(?ms)^### (\S+)\n\n(.+?)\n\n- \*\*Why:\*\* (.+?)\n- \*\*Do:\*\* (.+?)\s*?(?:\n\n|\Z)")
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")


@dataclass(frozen=True, slots=True)
class Explanation:
    """An entry of the page; each part is one line, without Markdown links."""

    means: str
    why: str
    do: str


def explanations() -> dict[str, Explanation]:
    """Every entry, by ID."""
    text = data_path(PAGE).read_text(encoding="utf-8")
    return {id: Explanation(*map(_plain, parts)) for id, *parts in _ENTRY.findall(text)}


def _plain(text: str) -> str:
    return _LINK.sub(r"\1", " ".join(text.split()))
