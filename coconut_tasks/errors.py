"""Everything that a user can get wrong: one base class, and problems that say where, what and what was expected."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from coconut_tasks.dataclass import dataclass

EXIT_FAILED = 1
"""A step failed."""
EXIT_USAGE = 2
"""Wrong use, an invalid recipe, or something missing that every build needs."""
_LABELS = ("error: ", "warning: ", "note: ")


@dataclass(frozen=True, slots=True)
class Fault:
    """A message to the user: an error, or a note or warning, whose ``text`` begins with that word."""

    id: str
    """The kind of fault. It stays when the wording changes; ``doit help ID`` explains it."""
    text: str

    @property
    def shown(self) -> str:
        """The text, with the ID at the end of its first line."""
        first, end, rest = self.text.partition("\n")
        return f"{first}  [{self.id}]{end}{rest}"

    @property
    def labelled(self) -> str:
        """As it is printed on a line of its own, with its label."""
        return label(self.shown)


class CoconutError(Exception):
    """Base of every error that a user can cause; it is shown without a traceback."""

    def __init__(self, id: str, text: str) -> None:
        """``id`` as in ``Fault``: a literal, or the ID of a fault whose text this error includes."""
        super().__init__(text)
        self.faults: tuple[Fault, ...] = (Fault(id, text),)
        """What is reported, in order; usually one."""

    @property
    def id(self) -> str:
        """The ID of the first fault."""
        return self.faults[0].id

    @property
    def shown(self) -> str:
        """The text for users, with the ID of each fault and without labels."""
        return "\n".join(fault.shown for fault in self.faults)

    @property
    def labelled(self) -> str:
        """The text for users as it is printed, with labels."""
        return "\n".join(fault.labelled for fault in self.faults)


class UsageError(CoconutError):
    """A wrong variable, value, option or path on the command line (exit status 2)."""

    @classmethod
    def of(cls, faults: Iterable[Fault]) -> UsageError:
        """One error for several faults; at least one is needed."""
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
    """JSON pointer (RFC 6901) of the value, for example ``/kernel/svsm/type``; ``""`` is the whole document, shown as ``/``."""
    wrong: str
    """What is wrong with it."""
    remedy: str = ""
    """``expected …`` with the nearest right word if there is one, or what to do; empty if ``wrong`` says it all."""
    excerpt: str = ""
    """The line of the text with a mark below the place, if it helps."""
    of_the_file: bool = False
    """Whether it is about the file itself, so that the text names no line of it."""

    @property
    def message(self) -> str:
        """The problem without its place, in one line."""
        said = sentence(self.wrong, self.remedy)
        return said if self.of_the_file else f"{self.pointer or '/'}: {said}"

    def __str__(self) -> str:
        if self.of_the_file:
            return f"{self.where[0]}: {self.message}"
        return f"{self.place}: {self.message}" + (f"\n{self.excerpt}" if self.excerpt else "")

    @property
    def where(self) -> tuple[str, int, int]:
        """File, line and column of its place."""
        file, line, column = self.place.rsplit(":", 2)
        return file, int(line), int(column)

    @property
    def fault(self) -> Fault:
        """The problem as it is reported."""
        return Fault(self.id, str(self))


class RecipeError(CoconutError):
    """All problems of one or more recipes, reported at once (exit status 2)."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems[0].id, "\n".join(str(problem) for problem in self.problems))
        self.faults = tuple(problem.fault for problem in self.problems)


class StepError(CoconutError):
    """A step that ran and failed (exit status 1)."""


def label(text: str) -> str:
    """A message that begins with ``error:``, unless it says itself that it is a note or a warning."""
    return text if text.startswith(_LABELS) else f"error: {text}"


def sentence(wrong: str, remedy: str) -> str:
    """What is wrong, and what to do about it if there is more to say: ``page size is 3 bytes; expected 4096``."""
    return f"{wrong}; {remedy}" if remedy else wrong


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
    """An error of the operating system or a database as a message: a file that cannot be read or written is nobody's bug."""
    if isinstance(error, OSError) and error.strerror:
        file = error.filename2 or error.filename
        return UsageError("system-refused", f"{file}: {error.strerror}" if file else error.strerror)
    return UsageError("system-refused", str(error))


told: list[CoconutError] = []
"""Every error that this process has reported, for programs that read no sentences (``--json``)."""


def tell(error: Exception, about: str = "") -> None:
    """Print an error, or what ``user_fault`` makes of it, on standard error; ``about`` is a file that its text does not name."""
    if not isinstance(error, CoconutError):
        error = user_fault(error)
    told.append(error)
    faults = (Fault(fault.id, f"{about}: {fault.text}") if about else fault for fault in error.faults)
    tell_line("\n".join(fault.labelled for fault in faults))


def tell_line(line: str) -> None:
    """Print a line, or several, on standard error: ``error:``, ``warning:`` and ``note:`` in their colours, where it shows colours."""
    from coconut_tasks.terminal import marked, terminal_at  # imported here: most runs tell nothing

    if sys.stderr is not None:  # it may be closed
        print(marked(line, terminal_at(sys.stderr)), file=sys.stderr, flush=True)
