"""One difference between two sides."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from coconut_tasks.dataclass import dataclass
from coconut_tasks.wording import both

ONLY_OLD = "only in the first"
ONLY_NEW = "only in the second"


@dataclass(frozen=True, slots=True)
class Change:
    """What differs, and how."""

    subject: str
    """A recipe's path, a variable, a tool, a step, a file, a setting, a part or a header."""
    old: Any = None
    """A JSON value; None if it is only in the new one."""
    new: Any = None
    told: str = ""
    """How it changed, if that is not simply old → new."""
    steps: tuple[str, ...] = ()
    """The steps that it affects, if they are recorded."""
    note: str = ""
    is_cause: bool = True
    """Whether it can be the reason why an image differs."""
    platforms: tuple[str, ...] = ()
    """Those that it concerns, if it is in the image; none if that is not known."""


def only(platforms: Collection[str], known: Collection[str]) -> str:
    """``tdp only`` if something concerns just that one of the known platforms; empty if it concerns all."""
    words = [word for word in known if word in platforms]
    return f"{both(words)} only" if words and len(words) < len(known) else ""
