"""Everything that a user can cause: one base class, and problems that say where, what and what would be right."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from coconut_tasks.dataclass import dataclass
from coconut_tasks.terminal import marked, terminal_at

EXIT_FAILED = 1
"""A step failed."""
EXIT_USAGE = 2
"""Wrong use, a wrong recipe, or something that must be there before anything can be built is not."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that a user is told: of an error, or in a note or a warning, which ``text`` begins with then."""

    id: str
    """Of the kind of fault: what does not change when its words are bettered. ``doit help ID`` explains it."""
    text: str

    @property
    def shown(self) -> str:
        """The text, with the ID at the end of its first line."""
        first, end, rest = self.text.partition("\n")
        return f"{first}  [{self.id}]{end}{rest}"


class CoconutError(Exception):
    """Base of every error that a user can cause; it is shown without a traceback."""

    def __init__(self, id: str, text: str) -> None:
        """``id`` as in ``Fault``: a literal, or that of another fault whose text is in this one's."""
        super().__init__(text)
        self.faults: tuple[Fault, ...] = (Fault(id, text),)
        """What is told, in order; mostly one."""

    @property
    def id(self) -> str:
        """Of the first fault."""
        return self.faults[0].id

    @property
    def shown(self) -> str:
        """The text for users, with the ID of each fault."""
        return "\n".join(fault.shown for fault in self.faults)


class UsageError(CoconutError):
    """A wrong variable, value, option or path on the command line (exit code 2)."""

    @classmethod
    def of(cls, faults: Iterable[Fault]) -> UsageError:
        """Several at once; at least one."""
        faults = tuple(faults)
        error = cls(faults[0].id, "\n".join(fault.text for fault in faults))
        error.faults = faults
        return error


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a recipe."""

    id: str
    """As in ``Fault``."""
    place: str
    """``file:line:column``, 1-based, as editors and compilers write it."""
    pointer: str
    """JSON pointer (RFC 6901) of the value, as ``/kernel/svsm/type``; ``""`` is the whole document, shown as ``/``."""
    wrong: str
    """What was found there."""
    allowed: str
    """What would be right, with the nearest right word where there is one."""

    def __str__(self) -> str:
        return f"{self.place}: {self.pointer or '/'}: {self.wrong}: {self.allowed}"

    @property
    def fault(self) -> Fault:
        """The problem as it is told."""
        return Fault(self.id, str(self))


class RecipeError(CoconutError):
    """All problems of one or more recipes, reported at once (exit code 2)."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems[0].id, "\n".join(str(problem) for problem in self.problems))
        self.faults = tuple(problem.fault for problem in self.problems)


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
        return UsageError("system-refused", f"{file}: {error.strerror}" if file else error.strerror)
    return UsageError("system-refused", str(error))


def tell(error: Exception) -> None:
    """Print an error, or what ``user_fault`` makes of it; lines that say where they belong stay as they are, for editors to find."""
    if not isinstance(error, CoconutError):
        error = user_fault(error)
    tell_line(f"error: {error.shown}" if len(str(error).splitlines()) == 1 else error.shown)


def tell_line(line: str) -> None:
    """Print a line, or several, on standard error: ``error:``, ``warning:`` and ``note:`` in their colours, where it shows colours."""
    if sys.stderr is not None:  # it may be closed
        print(marked(line, terminal_at(sys.stderr)), file=sys.stderr, flush=True)
