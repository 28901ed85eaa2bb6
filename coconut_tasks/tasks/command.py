"""What all commands of ours share: help with examples, options behind names too, and one line for wrong use."""

from __future__ import annotations

import getopt
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from doit.cmd_base import Command, DoitCmdBase
from doit.cmd_help import Help as DoitHelp
from doit.cmdparse import CmdOption, CmdParse, CmdParseError
from doit.exceptions import InvalidDodoFile

from coconut_tasks.errors import EXIT_USAGE, CoconutError, UsageError, did_you_mean, tell
from coconut_tasks.options import VARIABLES, assignments, process_words

_HELP = ("--help", "-h")
_UNTOLD = {"dep_file", "backend", "check_file_uptodate", "par_type", "auto_delayed_regex", "pdb", "failure_verbosity"}
"""Options of doit that these tasks refuse, or that do nothing for them: no part of our help."""
_TEXTS = {
    "always": "run steps that are up to date too",
    "continue": "after a failed step, go on with what does not need it",
    "verbosity": "what a dodo.py's own tasks print: 0 nothing, 1 errors, 2 everything [default: 1]",
    "reporter": "tell progress in one of doit's ways, not in ours",
    "outfile": "write the report to a file [default: stdout]",
    "num_process": "steps at once [default: as many as the machine has cores]",
    "single": "only the named tasks, without those that they need",
    "dodoFile": "take the tasks from another file [default: dodo.py]",
    "cwdPath": "the folder to run in [default: that of the dodo.py]",
    "seek_file": "look for dodo.py in the folders above too",
    "subtasks": "show each step too",
    "status": "show the state: R would run, U is up to date, I is ignored",
    "private": "show tasks whose names begin with _ too",
}
"""What doit's options are for here; its own words are about doit's defaults."""
VALUES = {
    "dodoFile": "FILE",
    "cwdPath": "DIR",
    "outfile": "FILE",
    "num_process": "N",
    "verbosity": "N",
    "reporter": "NAME",
}
"""What the values of doit's options are called."""
_SECTIONS = {"task loader": "which dodo.py"}
_WIDTH = 100


class WrongChoice(CmdParseError):  # type: ignore[misc]
    """A value that is none of an option's choices, in our own words."""


class Option(CmdOption):  # type: ignore[misc]
    """An option whose wrong value is told as our other mistakes are."""

    def validate_choice(self, given_value: str) -> None:
        """Raises CmdParseError with what is allowed, and the nearest right word."""
        if given_value not in self.choices:
            raise WrongChoice(f"--{self.long}: {none_of(given_value, self.choices)}")


def none_of(word: str, right: Mapping[str, str]) -> str:
    """What is said of a word that is none of the choices."""
    return f"'{word}' is none of these: {', '.join(right)}{did_you_mean(word, right)}"


def switch(name: str, help: str, short: str = "") -> dict[str, Any]:
    """An option of a command that is there or not, as doit takes it."""
    return {"name": name, "short": short, "long": name, "type": bool, "default": False, "help": help}


def text_option(name: str, help: str, short: str = "") -> dict[str, Any]:
    """An option of a command with a text behind it; empty by default."""
    return {"name": name, "short": short, "long": name, "type": str, "default": "", "help": help}


class OwnCommand(Command):  # type: ignore[misc]
    """A command that needs no dodo.py. Subclasses say ``examples``, and implement ``execute``, which may raise CoconutErrors."""

    examples: tuple[str, ...] = ()
    """Whole command lines, and behind ``  # `` what one is for."""
    variables: tuple[str, ...] = ()
    """The variables of ``options.VARIABLES`` that mean something to this command; others are refused."""

    def get_options(self) -> list[CmdOption]:
        return [Option(option) for option in self.cmd_options]

    def help(self) -> str:
        return help_text(self, {name: VARIABLES[name] for name in self.variables})

    def parse_execute(self, in_args: Sequence[str]) -> int:
        from coconut_tasks.tasks.interrupt import end, mend_streams, nobody_reads

        mend_streams()
        try:
            if asks_for_help(in_args):
                print(self.help())
                return 0
            status = super().parse_execute(options_first(in_args, self.cmdparser))
            sys.stdout.flush()  # here, where a closed pipe can be told from an error
            return int(status)
        except CmdParseError as error:
            tell(parse_error(error, self.name, self.cmdparser))
            return EXIT_USAGE
        except BrokenPipeError:
            return nobody_reads()
        except (CoconutError, OSError) as error:
            tell(error)
            return EXIT_USAGE
        except KeyboardInterrupt as error:
            return end(error)

    def given_variables(self) -> tuple[dict[str, str], list[str]]:
        """The values of the variables on the command line, and the words that only look like one: doit keeps them from its commands.

        Raises:
            UsageError: a variable that means nothing to this command.
        """
        values: dict[str, str] = {}
        words = []
        for name, value in assignments(process_words()):
            if name in self.variables:
                values[name] = value
            elif name in VARIABLES:
                takes = ", ".join(self.variables) or "no variables"
                raise UsageError("variable-not-used", f"{name}: {self.name} does not look at it: it takes {takes}")
            else:
                words.append(f"{name}={value}")
        return values, words


class HelpCommand(DoitHelp):  # type: ignore[misc]
    """``help``: doit's, with help on itself, and on the ID of a message; a word that is nothing is an error."""

    name = "help"
    doc_purpose = "show help on a command, a task, or the ID of a message; 'doit COMMAND --help' does the same"
    doc_usage = "[COMMAND | TASK | ID]"
    examples = ("doit help validate", "doit help igvm:qemu", "doit help no-such-recipe  # what a message means")

    def help(self) -> str:
        return help_text(self)

    def parse_execute(self, in_args: Sequence[str]) -> Any:
        if asks_for_help(in_args):
            print(self.help())
            return 0
        return super().parse_execute(in_args)

    def execute(self, params: Any, args: Sequence[str]) -> Any:
        from coconut_tasks.tasks.dodo_file import dodo_file, is_ours

        if len(args) != 1 or args[0] in ("task", *self.cmds) or (dodo_file().exists() and not is_ours(dodo_file())):
            return super().execute(params, args)
        from coconut_tasks.explanations import explanations

        word, known = args[0], explanations()
        if word in known:  # first: what a message is about may be that no task can be loaded
            entry = known[word]
            print("\n".join([f"{word}: {entry.means}", "", *_table([("why", entry.why), ("what to do", entry.do)])]))
            return 0
        self.task_list: list[Any] = []
        with suppress(InvalidDodoFile):
            if DoitCmdBase.execute(self, params, args):
                return 0
        right = {*self.cmds, *known, *(str(one.name) for one in self.task_list)}
        what = f"'{word}' is neither a command, nor a task, nor the ID of a message"
        tell(UsageError("no-such-topic", f"{what}{did_you_mean(word, right)}: 'doit help' lists the commands"))
        return EXIT_USAGE


def asks_for_help(words: Sequence[str]) -> bool:
    """Whether a command is asked for its help, anywhere in its words up to ``--``."""
    before = words[: words.index("--")] if "--" in words else words
    return any(word in _HELP for word in before)


def options_first(words: Sequence[str], parser: CmdParse) -> list[str]:
    """The words of a command line in the order that doit wants: options, ``--``, names.

    Raises:
        CmdParseError: an option that there is not, or without its value.
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


def parse_error(error: CmdParseError, command: str, parser: CmdParse) -> UsageError:
    """What was wrong with an option: doit's words without its inner values, the nearest option, and where to read on."""
    more = f"'doit {command} --help' shows what there is"
    said = str(error).partition(" (parsing options")[0].removeprefix("Error parsing Command: ").strip()
    unknown = re.match(r"option (--?(\S+)) not recognized", said)
    if unknown:
        longs = [f"--{option.long}" for option in parser.options if option.long]
        nearest = did_you_mean(unknown[1], longs)
        return UsageError("no-such-option", f"{command} has no option {unknown[1]}{nearest}: {more}")
    no_choice = re.search(r"parameter '(\w+)'\. Provided '(.*)' but available choices are", said, re.DOTALL)
    if no_choice:
        wanted = next(option for option in parser.options if option.name == no_choice[1])
        return UsageError("no-such-choice", f"--{wanted.long}: {none_of(no_choice[2], wanted.choices)}: {more}")
    no_number = re.search(r"parameter '(\w+)' <class 'int'>.*: '(.*)'$", said, re.DOTALL)
    if no_number:
        wanted = next(option for option in parser.options if option.name == no_number[1])
        option = f"-{wanted.short or '-' + wanted.long}"
        return UsageError("wrong-number", f"{option}: '{no_number[2]}' is not a whole number: {more}")
    if isinstance(error, WrongChoice):
        return UsageError("no-such-choice", f"{said}: {more}")
    return UsageError("option-and-value", f"{said}: {more}")


def help_text(command: Command, variables: Mapping[str, str] | None = None) -> str:
    """Purpose, usage, options, variables and examples of a command; ``variables`` are those that it looks at."""
    usage = f"doit {command.name} [OPTIONS] {command.doc_usage}".rstrip()
    lines = [f"doit {command.name}: {command.doc_purpose}", "", "usage", f"  {usage}"]
    if command.doc_description:
        lines += ["", *_wrapped(command.doc_description)]
    sections: dict[str, list[CmdOption]] = {"": []}
    for option in command.cmdparser.options:
        if (option.short or option.long) and option.name not in _UNTOLD:
            sections.setdefault(_SECTIONS.get(option.section, ""), []).append(option)
    for section, options in sections.items():
        rows = [row for option in options for row in _option_rows(option)]
        if not section:
            rows.append(("-h, --help", "this text"))
        lines += ["", f"options: {section}" if section else "options", *_table(rows)]
    if variables:
        lines += ["", "variables, anywhere on the line", *_table([(f"{n}=…", text) for n, text in variables.items()])]
    examples = [example.partition("  # ") for example in getattr(command, "examples", ())]
    if examples:
        width = max((len(line) for line, _, what in examples if what), default=0)
        shown = [f"  {line:{width}}  # {what}" if what else f"  {line}" for line, _, what in examples]
        lines += ["", "examples", *shown]
    lines += ["", "'doit --help' lists all commands"]
    return "\n".join(lines)


def _option_rows(option: CmdOption) -> Iterator[tuple[str, str]]:
    value = "" if option.type is bool else VALUES.get(option.name, option.metavar.replace("ARG", "VALUE"))
    names = [f"-{option.short}{value and ' ' + value}"] if option.short else []
    names += [f"--{option.long}{value and '=' + value}"] if option.long else []
    words = _TEXTS.get(option.name) or option.help % {"default": option.default}
    text, bracket, default = " ".join(words.split()).partition(" [default: ")
    if option.choices:
        text += f": {', '.join(option.choices)}"
    if bracket and default not in ("False]", "None]", "]"):
        text += f"{bracket}{default}"
    yield ", ".join(names), text
    if option.inverse:
        yield f"--{option.inverse}", f"the opposite of --{option.long}"


def _table(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = min(24, max(len(left) for left, _ in rows))
    for left, right in rows:
        indent = " " * (width + 4)
        wrapped = _wrap(right, indent) or [indent]
        if len(left) > width:
            yield f"  {left}"
        else:
            wrapped[0] = f"  {left:{width}}  {wrapped[0].lstrip()}"
        yield from (line.rstrip() for line in wrapped)


def _wrapped(text: str) -> Iterator[str]:
    for paragraph in textwrap.dedent(text).strip().splitlines():
        if paragraph.startswith(" "):
            yield f"  {paragraph}"
        else:
            yield from _wrap(paragraph) or [""]


def _wrap(text: str, indent: str = "") -> list[str]:
    # Names of options and files stay whole, to be copied.
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
