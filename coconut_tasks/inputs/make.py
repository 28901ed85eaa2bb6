"""What a make item reads, learnt from make's own data base after a build.

``make -p`` prints every rule and variable that it knows. The sources that the wanted file depends on, directly or by other rules, are the
inputs, with the makefiles, there or not. Where a rule cannot be known from its prerequisites, or a list of files is looked up on disk, the
inputs are not complete, and make is asked again each time.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from coconut_tasks.inputs.environment import AMBIENT, make_references
from coconut_tasks.inputs.known import Inputs
from coconut_tasks.step import Command

_OPAQUE = re.compile(r"\$[({]MAKE[)}]|\b(make|cargo)\b")
_RECURSES = re.compile(r"\$[({]MAKE[)}]|\bmake\b")
_LOOKS_UP = re.compile(r"\$[({](wildcard|shell|eval|file)\b")
_DEFERRED = re.compile(r"^\s*(?:override\s+|export\s+)*([\w.-]+)\s*(?:\?=|=(?!=))")
_SEARCHES = re.compile(r"^\s*(VPATH\s*[:?+]?=|vpath\b)", re.MULTILINE)
_INCLUDE = re.compile(r"^\s*[-s]?include\s+(.+)$", re.MULTILINE)
_ALWAYS_ASKED = ("MAKEFLAGS", "MAKEFILES", "GNUMAKEFLAGS")
_MAKEFILES = ("GNUmakefile", "makefile", "Makefile")


@dataclass(frozen=True, slots=True)
class Rule:
    """One file that make knows."""

    prerequisites: tuple[str, ...] = ()
    order_only: tuple[str, ...] = ()
    phony: bool = False
    recipe: str = ""
    several: bool = False
    """A file with double colons, which has a rule of its own for each block."""

    def joined(self, other: Rule) -> Rule:
        """Both blocks of a file as one."""
        return Rule(
            self.prerequisites + other.prerequisites,
            self.order_only + other.order_only,
            self.phony or other.phony,
            f"{self.recipe}\n{other.recipe}",
            self.several or other.several,
        )


@dataclass(frozen=True, slots=True)
class Closure:
    """What a file depends on."""

    sources: frozenset[str]
    """Files that no rule makes; the file itself is one if make has no rule for it and takes it as it is."""
    made: frozenset[str]
    """Files that rules make on the way, the file itself included."""
    recipes: str
    complete: bool
    ordered: bool
    """make does not see all that a change does, as of a file that only has to be there first."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What make was found to know of a file."""

    inputs: Inputs
    made: tuple[str, ...]
    """Every file that make made for it, absolute, sorted."""
    watched: tuple[str, ...] = ()
    """Of the inputs' files those that make compares with nothing: the makefiles, there or not."""
    ordered: bool = False
    """As in ``Closure``."""
    recurses: bool = True
    """A rule calls make again, and what that makes on the way is not known."""


def make_knowledge(command: Command, wanted: str, tree: str, environment: Mapping[str, str]) -> Knowledge:
    """Ask make what ``wanted`` depends on."""
    argv = [command.argv[0], "--print-data-base", "--question", *command.argv[1:]]
    env = {**environment, **dict(command.env), "LC_ALL": "C"}
    try:
        printed = subprocess.run(
            argv, cwd=tree, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        ).stdout
    except OSError:
        return Knowledge(Inputs(complete=False), ())
    names = makefile_list(printed)
    texts = [path.read_text(errors="replace") for name in names if (path := Path(tree, name)).is_file()]
    found = closure(wanted, parse_rules(printed), tree)
    # A makefile that is missing, or that would be taken instead, must stay away.
    watched = {*names, *_MAKEFILES, *(word for text in texts for word in _included(text))}
    sources, makefiles = (_absolute(tree, names) for names in (found.sources, watched))
    # A folder as a prerequisite says that it must be there, not what is in it.
    paths = {path for path in (*sources, *makefiles) if not os.path.isdir(path)}
    complete = found.complete and bool(names) and not _looks_around(texts, found.recipes)
    inputs = Inputs(files=tuple(sorted(paths)), variables=_variables(printed, texts, env), complete=complete)
    made = tuple(sorted(_absolute(tree, found.made)))
    recurses = _RECURSES.search(found.recipes) is not None
    return Knowledge(inputs, made, tuple(sorted(makefiles - sources)), found.ordered, recurses)


def _absolute(tree: str, names: Iterable[str]) -> set[str]:
    return {os.path.normpath(os.path.join(tree, name)) for name in names}


def makefile_list(printed: str) -> list[str]:
    """The makefiles that were read."""
    found = re.findall(r"^MAKEFILE_LIST :?= ?(.*)$", printed, re.MULTILINE)
    return found[-1].split() if found else []


def parse_rules(printed: str) -> dict[str, Rule]:
    """The "Files" section of make's data base."""
    _, _, section = printed.partition("\n# Files\n")
    section = section.partition("\n# files hash-table stats:")[0]
    rules: dict[str, Rule] = {}
    for block in section.split("\n\n"):
        lines = block.splitlines()
        heads = [line for line in lines if line and line[0] not in "#\t" and ":" in line]
        if not heads:
            continue
        target, _, rest = heads[0].partition(":")
        before, _, after = rest.lstrip(":").partition("|")
        recipe = "\n".join(line for line in lines if line.startswith("\t"))
        phony = any(line.startswith("#  Phony target") for line in lines)
        rule = Rule(tuple(before.split()), tuple(after.split()), phony, recipe, rest.startswith(":"))
        rules[target] = rules[target].joined(rule) if target in rules else rule
    return rules


def closure(wanted: str, rules: Mapping[str, Rule], tree: str) -> Closure:
    """Everything that ``wanted`` depends on in a tree, and whether that is the whole truth."""
    seen: set[str] = set()
    sources: set[str] = set()
    made: set[str] = set()
    recipes = []
    left = [wanted]
    # Without a recipe, make would take the file as it is, whoever wrote it.
    complete = wanted in rules and bool(rules[wanted].recipe)
    ordered = False
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        rule = rules.get(name, Rule())
        if rule.phony or rule.several or _OPAQUE.search(rule.recipe) or (not rule.prerequisites and rule.recipe):
            complete = False
        ordered |= (
            rule.several
        )  # only the blocks whose own prerequisites are newer run, and the others' part may be gone
        if not rule.recipe and not rule.phony:
            sources.add(name)
            complete &= os.path.exists(os.path.join(tree, name))  # else a name that is never there, to force a rule
        if rule.recipe:
            made.add(name)
            recipes.append(rule.recipe)
        # A folder as an order-only prerequisite only has to be there.
        first = [other for other in rule.order_only if not os.path.isdir(os.path.join(tree, other))]
        ordered |= bool(first)
        left += [*rule.prerequisites, *first]
    return Closure(frozenset(sources), frozenset(made), "\n".join(recipes), complete, ordered)


def _included(text: str) -> Iterable[str]:
    return (word for words in _INCLUDE.findall(text) for word in words.split("#")[0].split() if "$" not in word)


def _looks_around(texts: Iterable[str], recipes: str) -> bool:
    """Whether a list of files, or the output of a program, that the rules go by is looked up on disk when make runs.

    A variable that is expanded late does no harm where nothing that counts here refers to it.
    """
    late: dict[str, str] = {}
    counts = [recipes]
    for text in texts:
        if _SEARCHES.search(text):
            return True
        for line in text.replace("\\\n", " ").splitlines():
            if line.startswith("\t"):
                continue  # recipes that count are known from the data base
            if found := _DEFERRED.match(line):
                late[found.group(1)] = late.get(found.group(1), "") + line[found.end() :] + "\n"
            else:
                counts.append(line)
    left = ["\n".join(counts)]
    seen: set[str] = set()
    while left:
        text = left.pop()
        if _LOOKS_UP.search(text):
            return True
        names = make_references(text) - seen
        seen |= names
        left += [late[name] for name in names if name in late]
    return False


def _variables(printed: str, texts: Iterable[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The variables of the environment that can change what make does: those that rules refer to, make's own ones included, and of those
    that are set every one whose name stands anywhere."""
    without = re.sub(r"^# environment\n.*\n", "", printed, flags=re.MULTILINE)
    text = "\n".join([without, *texts])
    words = set(re.findall(r"\w+", text))
    return tuple(sorted({*_ALWAYS_ASKED, *make_references(text), *((environment.keys() & words) - AMBIENT)}))
