"""Guess what a user meant by a word or an option of another program: make, cargo, xbuild, or our other front end."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from coconut_tasks.called import called
from coconut_tasks.tasks.table import COMMANDS
from coconut_tasks.variables import flag_of
from coconut_tasks.wording import either

_COMMANDS = {
    **dict.fromkeys(("build", "run", "make", "all", "b", "r"), "build"),
    **dict.fromkeys(("auto", "dev", "serve"), "watch"),
    **dict.fromkeys(("tasks", "ls", "targets", "steps", "status"), "list"),
    **dict.fromkeys(("check", "lint"), "validate"),
    **dict.fromkeys(("explain", "reason"), "why"),
    **dict.fromkeys(("dry-run", "commands"), "plan"),
    **dict.fromkeys(("init", "create"), "new"),
    **dict.fromkeys(("compare",), "diff"),
    **dict.fromkeys(("show",), "info"),
    **dict.fromkeys(("logs",), "log"),
}
_OPTIONS = {
    **dict.fromkeys(("-j", "--jobs", "--process", "-n"), ("-n N", "-j N")),
    **dict.fromkeys(("-k", "--keep-going", "--continue", "-c"), ("-c", "-k")),
    **dict.fromkeys(("-B", "--always-make", "--always", "--force", "--always-execute"), ("-a", "-B")),
    **dict.fromkeys(("-s", "--silent"), ("-q", "-q")),
    "--feature": ("", "--features"),
    "--bin": ("", "--out"),
}
"""Options of other programs → ours, of doit and of coconut."""
_FOLDER = ("-C", "--directory", "--manifest-path", "--tree")
_DRY = ("--dry-run", "--just-print", "--recon")


def meant_by(word: str, command: str = "") -> str:
    """`` (did you mean 'x'?)`` for a word of other programs, or for their option of ``command``; an empty string for anything else."""
    found = _option(word, command) if word.startswith("-") else _word(word)
    return f" (did you mean '{found}'?)" if found else ""


def step_or_recipe(word: str, tasks: Iterable[str], recipe: str) -> str:
    """The same for the component of a step without its stage, or for a recipe without its folder and ending."""
    steps = sorted(name for name in tasks if name.partition(":")[2] == word)
    found = [f"'{name}'" for name in (*steps, *([recipe] if recipe else []))]
    return f" (did you mean {either(found)}?)" if found else ""


def _word(word: str) -> str:
    how = called()
    if word.endswith(".igvm"):
        return how.command("measure" if how.is_coconut else "inspect", word)
    if word.endswith(".json") or os.path.isfile(word):
        return how.command("build", how.setting("RECIPE", word))
    name = _COMMANDS.get(word, "" if how.is_coconut or word not in COMMANDS else word)
    if name == "build" and not how.is_coconut:
        return how.command("build", "RECIPE=…")
    return how.command(name) if name else ""


def _option(word: str, command: str) -> str:
    how = called()
    if word in _FOLDER:
        return how.setting("SVSM", "PATH")
    if word in _DRY and command in ("run", "build"):
        return how.command("plan")
    if word in _OPTIONS and command in ("run", "build"):
        return _OPTIONS[word][how.is_coconut]
    one = flag_of(word)
    if one is not None and not how.is_coconut:
        return one.name + ("=1" if one.is_switch else "=…")
    return ""


def command_meant(word: str) -> str:
    """As ``meant_by``, for a word that is not a command of ``coconut`` but in the place of one."""
    if re.fullmatch(r"[a-z]+:.*", word):
        return f" (did you mean '{called().command('build', word)}'?)"
    return meant_by(word)
