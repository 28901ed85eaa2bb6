"""The program ``coconut``: a command with recipes, steps and flags, which uses the same tasks, sessions and records as doit."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from coconut_tasks import __version__
from coconut_tasks.errors import EXIT_USAGE, UsageError, did_you_mean, tell
from coconut_tasks.options import process_words
from coconut_tasks.tasks.guesses import command_meant, meant_by
from coconut_tasks.tasks.interrupt import mend_streams
from coconut_tasks.tasks.loader import OwnLoader
from coconut_tasks.tasks.namespace import namespace
from coconut_tasks.tasks.program import doit_version
from coconut_tasks.tasks.table import COCONUT, MEASURE


class Commands(Mapping[str, Any]):
    """The classes of ``coconut``'s commands, each imported when it is used. doit's commands use it in place of doit's list."""

    def __getitem__(self, name: str) -> Any:
        module, _, kind = COCONUT[name].partition(":")
        return getattr(import_module(module), kind)

    def __iter__(self) -> Iterator[str]:
        return iter(name for name in COCONUT if name != MEASURE)

    def __len__(self) -> int:
        return len(COCONUT) - 1

    def to_dict(self) -> dict[str, Any]:
        """The commands as a dictionary; doit calls this."""
        return dict(self)


def main(words: Sequence[str] | None = None, *, is_copy: bool = False) -> int:
    """Entry point of ``coconut``. Exit status: 0 success, 1 a step failed, 2 wrong usage or an invalid recipe. ``is_copy`` as in
    ``Options``."""
    mend_streams()
    words = list(process_words() if words is None else words)
    if words[:1] in (["--version"], ["-V"]):
        print(version())
        return 0
    if not words or words[0] in ("-h", "--help"):
        words = ["help"]
    elif words[0] == "help" and len(words) == 2 and words[1] in COCONUT:
        words = [words[1], "--help"]
    name, *rest = words
    if name == MEASURE:
        from coconut_tasks.commands.measure import main as measure

        return measure(rest, "coconut measure")
    if name not in COCONUT:
        tell(_unknown(name))
        return EXIT_USAGE
    # doit's clean and list return None.
    return int(command_of(name, is_copy=is_copy).parse_execute(rest) or 0)


def command_of(name: str, *, is_copy: bool = False) -> Any:
    """A command, ready to parse a command line."""
    commands = Commands()
    loader = OwnLoader(name, list(COCONUT), namespace, is_copy=is_copy)
    return commands[name](task_loader=loader, cmds=commands, bin_name="coconut")


def version() -> str:
    """The version of this program, then what else a bug report needs."""
    python = ".".join(map(str, sys.version_info[:3]))
    return f"coconut-tasks {__version__} (doit {doit_version()}, Python {python})"


def _unknown(word: str) -> UsageError:
    if word.startswith("-") and (meant := meant_by(word)):
        return UsageError("no-such-option", f"no option {word}{meant}; options come after a command")
    if word.startswith("-"):
        return UsageError(
            "no-such-option", f"{word}: options come after a command, for example 'coconut build {word} …'"
        )
    meant = command_meant(word) or did_you_mean(word, COCONUT)
    return UsageError("no-such-command", f"'{word}' is not a command{meant}; 'coconut --help' lists the commands")
