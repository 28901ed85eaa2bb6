"""What all commands of ours share: help with examples, options that may come after names, and an error of one line for wrong usage."""

from __future__ import annotations

import getopt
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from doit.cmd_base import Command
from doit.cmdparse import CmdOption, CmdParse, CmdParseError

from coconut_tasks.called import called
from coconut_tasks.errors import EXIT_USAGE, CoconutError, UsageError, did_you_mean, tell
from coconut_tasks.options import assignments, process_words
from coconut_tasks.tasks.guesses import meant_by
from coconut_tasks.variables import VARIABLES
from coconut_tasks.wording import either

_HELP = ("--help", "-h")


class WrongChoice(CmdParseError):  # type: ignore[misc]
    """A value that is not one of an option's choices, with our own message."""


class Option(CmdOption):  # type: ignore[misc]
    """An option that reports a wrong value like our other errors."""

    def validate_choice(self, given_value: str) -> None:
        """Raises CmdParseError with the allowed values and the nearest one."""
        if given_value not in self.choices:
            raise WrongChoice(f"--{self.long}: {none_of(given_value, self.choices)}")


def none_of(word: str, right: Mapping[str, str]) -> str:
    """The message for a word that is not one of the choices."""
    return f"unknown value '{word}'; expected {either(list(right))}{did_you_mean(word, right)}"


def switch(name: str, help: str, short: str = "") -> dict[str, Any]:
    """An option without a value, in the form that doit takes."""
    return {"name": name, "short": short, "long": name, "type": bool, "default": False, "help": help}


def text_option(name: str, help: str, short: str = "") -> dict[str, Any]:
    """An option with a string value, empty by default, in the form that doit takes."""
    return {"name": name, "short": short, "long": name, "type": str, "default": "", "help": help}


class OwnCommand(Command):  # type: ignore[misc]
    """A command that needs no dodo.py. Subclasses set ``examples`` and implement ``execute``, which may raise CoconutErrors."""

    examples: tuple[str, ...] = ()
    """Whole command lines, each with an optional ``  # `` comment."""
    variables: tuple[str, ...] = ()
    """The variables that this command uses; it refuses others."""
    document: Mapping[str, Any] | None = None
    """With ``--json``, the document that ``execute`` made."""
    json_stream: TextIO | None = None
    """With ``--json``, the stream for the document."""
    written = False
    """Whether ``execute`` wrote the document there itself."""

    def get_options(self) -> list[CmdOption]:
        return [Option(option) for option in self.cmd_options]

    def help(self) -> str:
        from coconut_tasks.tasks.help_text import help_text

        return help_text(self, {name: VARIABLES[name] for name in self.variables})

    def parse_execute(self, in_args: Sequence[str]) -> int:
        from coconut_tasks.tasks.interrupt import mend_streams
        from coconut_tasks.tasks.json_output import asks_for_json, with_json

        mend_streams()
        if not asks_for_help(in_args) and asks_for_json(self, in_order(in_args, self.cmdparser)):
            return with_json(self, lambda: self._parse_execute(in_args))
        return self._parse_execute(in_args)

    def result(self, status: int) -> Mapping[str, Any] | None:
        """With ``--json``, the document of a command with this exit status."""
        return self.document

    def _parse_execute(self, in_args: Sequence[str]) -> int:
        from coconut_tasks.tasks.interrupt import end, nobody_reads

        try:
            if asks_for_help(in_args):
                print(self.help())
                return 0
            status = super().parse_execute(options_first(in_args, self.cmdparser))
            sys.stdout.flush()  # here a closed pipe is not mistaken for an error
            return int(status)
        except CmdParseError as error:
            tell(parse_error(error, self.name, self.cmdparser))
            return EXIT_USAGE
        except BrokenPipeError:
            return nobody_reads(self.json_stream)
        except (CoconutError, OSError) as error:
            tell(error)
            return EXIT_USAGE
        except KeyboardInterrupt as error:
            return end(error)

    def given_variables(self) -> tuple[dict[str, str], list[str]]:
        """The values of the variables on the command line, and other words with ``=``, which doit does not pass to its commands.

        Raises:
            UsageError: this command does not use a variable.
        """
        values: dict[str, str] = {}
        words = []
        for name, value in assignments(process_words()):
            if name in self.variables:
                values[name] = value
            elif name in VARIABLES:
                takes = ", ".join(self.variables) or "no variables"
                raise UsageError("variable-not-used", f"{name}: not used by {self.name}, which takes {takes}")
            else:
                words.append(f"{name}={value}")
        return values, words


def asks_for_help(words: Sequence[str]) -> bool:
    """Whether the words of a command, up to ``--``, ask for its help."""
    return any(word in _HELP for word in _before_names(words))


def _before_names(words: Sequence[str]) -> Sequence[str]:
    """The words up to ``--``, after which there are only names."""
    return words[: words.index("--")] if "--" in words else words


def whole_options(words: Sequence[str], parser: CmdParse) -> None:
    """Refuse a beginning of an option, which getopt takes for it: ``list --all`` would be ``--all-features``, and so another build.

    Raises:
        CmdParseError: a long option is not written out.
    """
    known = {f"--{name.removesuffix('=')}" for name in parser.get_long()}
    for word in _before_names(words):
        name = word.partition("=")[0]
        if name.startswith("--") and name not in known:
            raise CmdParseError(f"option {name} not recognized")


def options_first(words: Sequence[str], parser: CmdParse) -> list[str]:
    """The words of a command line in the order that doit needs: options, ``--``, names.

    Raises:
        CmdParseError: an option is unknown or lacks its value.
    """
    try:
        options, names = getopt.gnu_getopt(list(words), parser.get_short(), parser.get_long())
    except getopt.GetoptError as error:
        raise CmdParseError(str(error)) from error
    takes_value = {f"--{name[:-1]}" for name in parser.get_long() if name.endswith("=")}
    flat: list[str] = []
    for option, value in options:
        if option in takes_value:
            flat.append(f"{option}={value}")
        else:
            flat += [option, value] if value else [option]
    return [*flat, "--", *names]


def in_order(words: Sequence[str], parser: CmdParse) -> Sequence[str]:
    """As ``options_first``, but wrong words are returned unchanged."""
    try:
        return options_first(words, parser)
    except CmdParseError:
        return words


def parse_error(error: CmdParseError, command: str, parser: CmdParse) -> UsageError:
    """The error for a wrong option: doit's message without internal values, the nearest option, and where to read more."""
    more = f"see '{called().command(command, '--help')}'"
    said = str(error).partition(" (parsing options")[0].removeprefix("Error parsing Command: ").strip()
    unknown = re.match(r"option (--?(\S+)) not recognized", said)
    if unknown:
        longs = [f"--{option.long}" for option in parser.options if option.long]
        nearest = meant_by(unknown[1], command) or did_you_mean(unknown[1], longs)
        return UsageError("no-such-option", f"{command} has no option {unknown[1]}{nearest}; {more}")
    no_choice = re.search(r"parameter '(\w+)'\. Provided '(.*)' but available choices are", said, re.DOTALL)
    if no_choice:
        wanted = next(option for option in parser.options if option.name == no_choice[1])
        return UsageError("no-such-choice", f"--{wanted.long}: {none_of(no_choice[2], wanted.choices)}; {more}")
    no_number = re.search(r"parameter '(\w+)' <class 'int'>.*: '(.*)'$", said, re.DOTALL)
    if no_number:
        wanted = next(option for option in parser.options if option.name == no_number[1])
        option = f"-{wanted.short or '-' + wanted.long}"
        return UsageError("wrong-number", f"{option}: '{no_number[2]}' is not a whole number; {more}")
    if isinstance(error, WrongChoice):
        return UsageError("no-such-choice", f"{said}; {more}")
    said = said.replace("requires argument", "requires an argument")
    if said.startswith("option -n ") and not called().is_coconut:  # make's dry run
        said += meant_by("--dry-run", command)
    return UsageError("option-and-value", f"{said}; {more}")
