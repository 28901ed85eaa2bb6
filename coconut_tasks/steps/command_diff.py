"""How two command lines differ, in words: only the differences, as old → new."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from coconut_tasks.dataclass import dataclass
from coconut_tasks.layout import VARIANT

Commands = Sequence[tuple[Sequence[str], Sequence[str]]]
"""Pairs of ``NAME=value`` words for the environment and an argv, as in a step's signature."""
_VARIANT = re.compile(VARIANT)


@dataclass(frozen=True, slots=True)
class _Difference:
    option: str
    """The option whose value differs, with a space after it; else empty."""
    old: str = ""
    new: str = ""
    part: str = ""
    """A part whose variant differs; everything else is empty then."""


def command_diff(old: Commands, new: Commands, own: Sequence[str]) -> str:
    """What differs, joined by commas; empty if nothing does.

    A file of another variant is named by its part (``a different svsm``). Files in the folders ``own``, which are the step's outputs, are
    left out: their paths differ because something else does.
    """
    if not _same_programs(old, new):
        return "different programs"
    return ", ".join(dict.fromkeys(map(_old_and_new, _differences(old, new, own))))


def what_is_new(old: Commands, new: Commands, own: Sequence[str]) -> str:
    """The same, but naming only the new words: ``with --release, --features a, without --tdp``."""
    if not _same_programs(old, new):
        return "with these programs"
    found = list(_differences(old, new, own))
    come = [
        f"this {one.part}" if one.part else f"{one.option}{shlex.quote(one.new)}"
        for one in found
        if one.part or one.new
    ]
    gone = [one.old for one in found if one.old and (not one.new or one.old.startswith("-"))]
    groups = (("with", come), ("without", gone))
    return ", ".join(f"{word} {', '.join(dict.fromkeys(words))}" for word, words in groups if words)


def _old_and_new(one: _Difference) -> str:
    if one.part:
        return f"a different {one.part}"
    if one.old and one.new:
        return f"{one.option}'{one.old}' → '{one.new}'"
    return f"'{one.new}' added" if one.new else f"'{one.old}' removed"


def _differences(old: Commands, new: Commands, own: Sequence[str]) -> Iterator[_Difference]:
    from difflib import SequenceMatcher  # imported here: a run that has nothing to do explains nothing

    before, after = list(_words(old)), list(_words(new))
    mine = {found["name"] for path in own if (found := _VARIANT.search(path))}
    for tag, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            yield from _in_stretch(before[i:j], after[k:m], before[i - 1] if i else "", mine)


def _same_programs(old: Commands, new: Commands) -> bool:
    """Whether the programs are the same except for the variant: each variant of a host tool is in its own folder."""

    def programs(commands: Commands) -> list[list[str]]:
        return [[_VARIANT.sub("", word) for word in argv[:1]] for _, argv in commands]

    return programs(old) == programs(new)


def _words(commands: Commands) -> Iterator[str]:
    for env, argv in commands:
        yield from env
        yield from argv


def _in_stretch(old: Sequence[str], new: Sequence[str], before: str, mine: set[str]) -> Iterator[_Difference]:
    for gone, come in zip_longest(old, new):
        parts = _parts(gone) | _parts(come)
        if gone and come and parts and _VARIANT.sub("", gone) == _VARIANT.sub("", come):
            yield from (_Difference("", part=name) for name in sorted(parts - mine))
            continue
        option = f"{before} " if before.startswith("-") else ""
        if gone and come and gone.startswith("-") == come.startswith("-"):
            yield _Difference(option, gone, come)
        else:
            yield from [_Difference("", old=gone)] if gone and not _VARIANT.search(gone) else []
            yield from [_Difference("", new=come)] if come and not _VARIANT.search(come) else []
        before = ""


def _parts(word: str | None) -> set[str]:
    return {found["name"] for found in _VARIANT.finditer(word or "")}
