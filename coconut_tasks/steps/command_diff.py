"""What is different between two command lines, in words: only what differs, as old → new."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from coconut_tasks.layout import VARIANT

Commands = Sequence[tuple[Sequence[str], Sequence[str]]]
"""Pairs of ``NAME=value`` words of the environment and an argv, as in a step's signature."""
_VARIANT = re.compile(VARIANT)


def command_diff(old: Commands, new: Commands, own: Sequence[str]) -> str:
    """The words that differ, joined by commas; empty if none does.

    A file of another variant is named by its part (``another svsm``), and those of the step itself, which are in the folders ``own``, are
    left out: they differ because something else does.
    """
    from difflib import SequenceMatcher  # imported here: a run that has nothing to do explains nothing

    if [argv[:1] for _, argv in old] != [argv[:1] for _, argv in new] and not _programs_are_variants(old, new):
        return "another command"
    before, after = list(_words(old)), list(_words(new))
    mine = {found["name"] for path in own if (found := _VARIANT.search(path))}
    said: list[str] = []
    for tag, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            said += _phrases(before[i:j], after[k:m], before[i - 1] if i else "", mine)
    return ", ".join(dict.fromkeys(said))


def _programs_are_variants(old: Commands, new: Commands) -> bool:
    """Whether the programs are the same but for the variant: host tools lie in folders of their own."""

    def programs(commands: Commands) -> list[str]:
        return [_VARIANT.sub("", argv[0]) for _, argv in commands if argv]

    return programs(old) == programs(new)


def _words(commands: Commands) -> Iterator[str]:
    for env, argv in commands:
        yield from env
        yield from argv


def _phrases(old: Sequence[str], new: Sequence[str], before: str, mine: set[str]) -> Iterator[str]:
    for gone, come in zip_longest(old, new):
        parts = _parts(gone) | _parts(come)
        if gone and come and parts and _VARIANT.sub("", gone) == _VARIANT.sub("", come):
            yield from (f"another {name}" for name in sorted(parts - mine))
            continue
        option = f"{before} " if before.startswith("-") else ""
        if gone and come and gone.startswith("-") == come.startswith("-"):
            yield f"{option}'{gone}' → '{come}'"
        else:
            yield from [f"'{gone}' is gone"] if gone and not _VARIANT.search(gone) else []
            yield from [f"'{come}' is new"] if come and not _VARIANT.search(come) else []
        before = ""


def _parts(word: str | None) -> set[str]:
    return {found["name"] for found in _VARIANT.finditer(word or "")}
