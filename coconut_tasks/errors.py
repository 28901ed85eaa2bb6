"""Everything that a user can cause: one base class, and problems that say where, what and what would be right."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import field

from coconut_tasks.dataclass import dataclass

EXIT_FAILED = 1
"""A step failed."""
EXIT_USAGE = 2
"""Wrong use, a wrong recipe, or something that must be there before anything can be built is not."""


class CoconutError(Exception):
    """Base of every error that a user can cause; its text is shown as it is, without a traceback."""


class UsageError(CoconutError):
    """A wrong variable, value, option or path on the command line (exit code 2)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a recipe."""

    place: str
    """``file:line:column``, 1-based, as editors and compilers write it."""
    pointer: str
    """JSON pointer (RFC 6901) of the value, as ``/kernel/svsm/type``; ``""`` is the whole document, shown as ``/``."""
    wrong: str
    """What was found there."""
    allowed: str
    """What would be right, with the nearest right word where there is one."""
    rule: str = field(default="rule", compare=False)
    """A stable word for the kind of problem, for programs that sort problems: one of ``reports.problems.RULES``."""

    def __str__(self) -> str:
        return f"{self.place}: {self.pointer or '/'}: {self.wrong}: {self.allowed}"


class RecipeError(CoconutError):
    """All problems of one or more recipes, reported at once (exit code 2)."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StepError(CoconutError):
    """A step that ran and failed (exit code 1)."""


def nearest(word: str, right: Iterable[str]) -> str | None:
    """The right word that ``word`` was most likely meant to be, or None."""
    import difflib

    by_lower = {candidate.lower(): candidate for candidate in right}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, right: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"``, or an empty string where nothing is near."""
    found = nearest(word, right)
    return f" (did you mean '{found}'?)" if found else ""


def user_fault(error: Exception) -> UsageError:
    """What the operating system or a data base said, as a message: a file that cannot be read or written is nobody's bug."""
    if isinstance(error, OSError) and error.strerror:
        file = error.filename2 or error.filename
        return UsageError(f"{file}: {error.strerror}" if file else error.strerror)
    return UsageError(str(error))


def tell(error: Exception) -> None:
    """Print an error as it is, or as ``user_fault`` words it; lines that say where they belong stay as they are, for editors to find."""
    if not isinstance(error, CoconutError):
        error = user_fault(error)
    print(f"error: {error}" if len(str(error).splitlines()) == 1 else str(error), file=sys.stderr)
