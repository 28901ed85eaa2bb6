"""What a make item reads, learnt from make's own data base after a build.

``make -p`` prints every rule that it knows. The sources that the wanted file depends on, directly or by other rules, are the inputs, with
the makefiles. Where a rule cannot be known from its prerequisites (it is phony, or it calls make or cargo), the inputs are not complete,
and make is asked again each time.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from coconut_tasks.inputs.environment import make_references
from coconut_tasks.inputs.known import Inputs
from coconut_tasks.step import Command

_OPAQUE = re.compile(r"\$[({]MAKE[)}]|\b(make|cargo)\b")


@dataclass(frozen=True, slots=True)
class Rule:
    """One file that make knows."""

    prerequisites: tuple[str, ...]
    phony: bool
    recipe: str


def make_inputs(command: Command, made: str, tree: str, environment: Mapping[str, str]) -> Inputs:
    """The closure of what ``made`` depends on."""
    argv = [command.argv[0], "--print-data-base", "--question", *command.argv[1:]]
    env = {**environment, **dict(command.env), "LC_ALL": "C"}
    try:
        printed = subprocess.run(
            argv, cwd=tree, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        ).stdout
    except OSError:
        return Inputs(complete=False)
    makefiles = makefile_list(printed)
    files, complete = closure(made, parse_rules(printed))
    files |= set(makefiles)
    texts = (Path(tree, name).read_text(errors="replace") for name in makefiles if Path(tree, name).is_file())
    variables = {name for text in texts for name in make_references(text)}
    paths = {os.path.normpath(os.path.join(tree, name)) for name in files}
    # A folder as a prerequisite says that it must be there, not what is in it.
    paths = {path for path in paths if not os.path.isdir(path)}
    return Inputs(files=tuple(sorted(paths)), variables=tuple(sorted(variables)), complete=complete and bool(makefiles))


def makefile_list(printed: str) -> list[str]:
    """The makefiles that were read."""
    found = re.findall(r"^MAKEFILE_LIST :?= ?(.*)$", printed, re.MULTILINE)
    return found[-1].split() if found else []


def parse_rules(printed: str) -> dict[str, Rule]:
    """The "Files" section of make's data base."""
    _, _, section = printed.partition("\n# Files\n")
    section = section.partition("\n# files hash-table stats:")[0]
    rules = {}
    for block in section.split("\n\n"):
        lines = block.splitlines()
        heads = [line for line in lines if line and line[0] not in "#\t" and ":" in line]
        if not heads:
            continue
        target, _, rest = heads[0].partition(":")
        words = rest.lstrip(":").split("|")[0].split()
        recipe = "\n".join(line for line in lines if line.startswith("\t"))
        rules[target] = Rule(tuple(words), any(line.startswith("#  Phony target") for line in lines), recipe)
    return rules


def closure(made: str, rules: Mapping[str, Rule]) -> tuple[set[str], bool]:
    """Every source that ``made`` depends on, and whether that is the whole truth; what make makes on the way is no source.

    ``made`` is a source itself if make has no rule for it and takes the file as it is.
    """
    seen: set[str] = set()
    sources = set()
    left = [made]
    # Without a recipe, make would take the file as it is, whoever wrote it.
    complete = made in rules and bool(rules[made].recipe)
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        rule = rules.get(name, Rule((), False, ""))
        if rule.phony or _OPAQUE.search(rule.recipe) or (not rule.prerequisites and rule.recipe):
            complete = False
        if not rule.recipe and not rule.phony:
            sources.add(name)
        left += rule.prerequisites
    return sources, complete
