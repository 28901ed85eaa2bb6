"""The tasks of a ``coconut`` command line, which replaces a dodo.py: its recipes and flags decide what to build."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from doit.cmd_base import ModuleTaskLoader

from coconut_tasks.variables import TABLE, VERIFY, Variable

if TYPE_CHECKING:
    from coconut_tasks.options import Options
    from coconut_tasks.workspace.session import Session

# The rest is imported where it is used: in an environment with this package, doit's own commands use this module for any dodo.py.

_SPELT = {
    "always": ("B", "always"),
    "continue": ("k", "keep-going"),
    "num_process": ("j", "jobs"),
    "quiet": ("q", "quiet"),
    "status": ("s", "status"),
    "dryrun": ("n", "dry-run"),
    "plan_only": ("n", "dry-run"),
    "json": ("", "json"),
}
"""Short and long names of doit's options in ``coconut``, as in make, ninja and cargo."""
_XBUILD = {"num_process": ("n", "jobs"), "quiet": ("q", "quiet")}
"""Their names in ``coconut-build``, as in xbuild."""
_HIDDEN = {
    *("dep_file", "backend", "codec_cls", "check_file_uptodate"),
    *("verbosity", "outfile", "single", "reporter", "par_type", "pdb", "auto_delayed_regex", "failure_verbosity"),
    *("subtasks", "private", "list_deps", "template", "sort"),
    *("hide_status", "cleandep", "cleanall", "cleanforget", "forget_all", "forget_sub", "forget_disable_default"),
}
"""doit's options that ``coconut`` does not have."""
_DEFAULTS = {"subtasks": True}
"""Defaults that differ from doit's: ``coconut list`` shows each step."""


class OwnLoader(ModuleTaskLoader):  # type: ignore[misc]  # doit has no types
    """Loads the tasks of one command."""

    of_coconut = True
    """Marks the loader for commands, which also work with doit's loaders and must not import this module then."""

    def __init__(
        self,
        command: str,
        names: Sequence[str],
        namespace: Callable[[Session], dict[str, Any]],
        *,
        xbuild: bool = False,
        is_copy: bool = False,
    ) -> None:
        super().__init__({})
        self._namespace = namespace
        left_out = {"EXPECT"} if command != VERIFY else set()
        flags = {one: one.xbuild if xbuild and one.xbuild else one.flags for one in TABLE}
        self.cmd_options = tuple(
            _flag(one, names) for one, names in flags.items() if names and one.name not in left_out
        )
        self._spelt = _XBUILD if xbuild else _SPELT
        self.cmd_names = names
        self._is_copy = is_copy
        self._recipes: list[str] = []
        self._pairs: list[tuple[str, str]] = []

    def spell(self, options: Sequence[Any]) -> None:
        """Rename doit's options."""
        for option in options:
            if option.name in _SPELT or option.name in _HIDDEN:
                option.short, option.long = self._spelt.get(option.name, ("", ""))
                option.inverse = ""
                option.set_default(_DEFAULTS.get(option.name, option.default))

    def take(self, params: Mapping[str, Any], words: Sequence[str], *, expects: bool = False) -> list[str]:
        """The steps among the words of a command line; ``setup`` uses the recipes and variables. ``expects``: a word may be a digest.

        A recipe has a folder or ``.json`` in its name; any other word is a step.
        """
        self._pairs = list(_pairs(params))
        steps = []
        for word in words:
            name, equals, value = word.partition("=")
            is_path = "/" in word or word.endswith(".json")
            if equals and name.isupper() and not os.path.isfile(word):
                self._pairs.append((name, value))
            elif expects and (_is_expected(word) or ((is_path or os.path.isfile(word)) and not _is_recipe(word))):
                self._pairs.append(("EXPECT", word))
            elif is_path:
                self._recipes.append(word)
            else:
                steps.append(word)
        return steps

    def asked(self) -> Options:
        """The options from the command line. Raises UsageError."""
        from coconut_tasks.options import from_pairs, process_environment
        from coconut_tasks.tasks.standing import stand

        options = from_pairs(self._pairs, process_environment(), stand(), self._recipes)
        return replace(options, is_copy=self._is_copy)

    def setup(self, opt_values: Any) -> None:
        """Open the session. Raises UsageError or RecipeError if the command line or a recipe is wrong."""
        import gc

        from coconut_tasks.workspace.session import open_session

        gc.disable()  # as `dodo` does
        self.namespace = self._namespace(open_session(self.asked()))


def _is_recipe(path: str) -> bool:
    from coconut_tasks.layout import SIDECARS

    return path.endswith(".json") and not path.endswith(tuple(SIDECARS))


def _is_expected(word: str) -> bool:
    if word == "-" or "\n" in word:  # standard input, or what a tool printed
        return True
    from coconut_tasks.evidence.digests import looks_like_digest

    return looks_like_digest(word)


def _flag(one: Variable, names: Sequence[str]) -> dict[str, Any]:
    short, long = ("", *(name.lstrip("-") for name in names))[-2:]
    kind: Any
    default: Any
    kind, default = (bool, False) if one.is_switch else (list, []) if one.name == "FEATURES" else (str, None)
    about = {"name": one.name, "short": short, "long": long, "help": one.about, "section": "what is built"}
    return {**about, "type": kind, "default": default, **({"metavar": one.metavar} if one.metavar else {})}


def _pairs(params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for one in TABLE:
        value = params.get(one.name)
        if value not in (None, False, []):
            yield one.name, ",".join(value) if isinstance(value, list) else "1" if value is True else value
