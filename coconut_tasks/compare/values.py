"""One difference between two sides."""

from __future__ import annotations

from typing import Any

from coconut_tasks.dataclass import dataclass

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
