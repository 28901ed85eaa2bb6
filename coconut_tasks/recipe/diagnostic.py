"""Something wrong in a recipe, by its path in the document; its place in the text is not known here."""

from __future__ import annotations

from coconut_tasks.dataclass import dataclass

Path = tuple[str | int, ...]
"""Member names and list indices from the top of the document."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that is wrong; ``wrong`` and ``remedy`` as in ``Problem``."""

    id: str
    """As in ``Fault``."""
    path: Path
    wrong: str
    remedy: str
    at_key: bool = False
    """The member's name is to blame, not its value."""
    passed_over: bool = False
    """build.py and xbuild ignore it, so leniency makes it a warning."""
    warning: bool = False
    """The recipe can be built all the same."""
