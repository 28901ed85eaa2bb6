"""The completions of the word at the cursor, each with a short description; the same for bash, zsh and fish.

Nothing here may print, write, start a process, or take long: it runs while the user types.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from pathlib import Path

from coconut_tasks.dataclass import dataclass
from coconut_tasks.explanations import explanations
from coconut_tasks.options import Options, from_words
from coconut_tasks.package import data_path
from coconut_tasks.variables import BY_NAME, SWITCHES, VARIABLES

_FOLDERS = ("SVSM", "BIN")
_OF_FILES = re.compile(r"FILE|PATH|DIR")
_NOT_SEARCHED = {"target", "node_modules", "bin", "__pycache__"}
_MOST_FOLDERS, _DEEPEST, _LARGEST_RECIPE = 400, 3, 100_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A word and its description. After a word that ends with ``=`` or ``/``, the user will type more."""

    value: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Flag:
    """An option of a command."""

    names: tuple[str, ...]
    """Its names with dashes: ``-n``, ``--process``."""
    about: str = ""
    value: str = ""
    """The name of its value in help, for example ``FILE``; empty for a switch."""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What a command takes. ``usage`` is the text of its help: TASK, COMMAND, FILE, or a choice of words, for example ``bash|zsh``."""

    usage: str
    about: str = ""
    flags: tuple[Flag, ...] = ()
    variables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What only doit knows. ``other_tasks`` are those of a dodo.py that is not ours."""

    commands: Mapping[str, CommandLine] = field(default_factory=dict)
    dodo: Path = Path("dodo.py")
    is_ours: bool = True
    other_tasks: Callable[[], Iterable[Candidate]] = tuple
    asked: Callable[[str, Sequence[str]], Options] | None = None
    """For ``coconut``: the options from the words of a command."""


def candidates(words: Sequence[str], options: Options, known: Known) -> list[Candidate]:
    """The completions of the last of ``words``; the first is the program. ``options`` has the folder and the environment."""
    program, *before, current = words
    if known.asked is not None:
        if os.path.basename(program) == "coconut-build":
            before = ["build", *before]
        found = _of_coconut(before, current, options, known, known.asked)
    else:
        found = _of_doit(before, current, options, known)
    fitting = {one.value: one for one in found if one.value.startswith(current) and one.value.isprintable()}
    return list(fitting.values())


def _of_doit(before: Sequence[str], current: str, options: Options, known: Known) -> Iterator[Candidate]:
    name, rest = _command(before, known)
    command = known.commands.get(name, CommandLine("[TASK]"))
    variable, equals, _ = current.partition("=")
    value_of = _waits_for_value(rest, command.flags)
    if value_of is not None:
        yield from _flag_values(value_of, current, options, "")
    elif current.startswith("-"):
        yield from _flags(command.flags, current, options)
        yield Candidate("--help", "show help with examples")
    elif equals:
        yield from _variable_values(variable, current, options)
    else:
        if (firsts := _first_words(command.usage, rest))[0]:
            yield from map(Candidate, firsts[0])
            return
        given = {word.partition("=")[0] for word in before}
        first = not rest and name == "run" and "run" not in before
        if first:
            yield from (Candidate(word, one.about) for word, one in known.commands.items())
        yield from _positionals(firsts[1], before, current, options, known)
        for variable in command.variables:
            if variable not in given:
                yield Candidate(f"{variable}=", VARIABLES[variable])


def _command(before: Sequence[str], known: Known) -> tuple[str, list[str]]:
    """The command at the start of the words before the cursor, by default run, and the words after it, without variables."""
    words = [word for word in before if "=" not in word or word.startswith("-")]
    if words and words[0] in known.commands:
        return words[0], words[1:]
    return "run", words


def _first_words(usage: str, rest: Sequence[str]) -> tuple[list[str], str]:
    """The choice of words that comes first in a usage, if the line has no word yet, and the rest of the usage."""
    choice = re.match(r"[a-z]+(?:\|[a-z]+)+", usage)
    if choice is None:
        return [], usage
    given = any(not word.startswith("-") and "=" not in word for word in rest)
    return [] if given else choice[0].split("|"), usage[choice.end() :]


def _positionals(
    usage: str, before: Sequence[str], current: str, options: Options, known: Known
) -> Iterator[Candidate]:
    if "TASK" in usage:
        yield from _tasks(before, current, options, known)
    if "COMMAND" in usage:
        yield from (Candidate(name, one.about) for name, one in known.commands.items())
    if re.search(r"\bID\b", usage) and current:
        yield from (Candidate(id, one.means) for id, one in explanations().items())
    if "NEW_FILE" in usage:
        yield from _folders(current, options)
    elif "FILE.igvm" in usage:
        yield from (one for one in _paths(current, options) if one.value.endswith(("/", ".igvm")))
    elif "FILE_A" in usage:
        yield from (one for one in _paths(current, options) if one.value.endswith(("/", ".igvm", ".json")))
    elif "FILE" in usage:
        yield from _recipes(current, options)
    for words in re.findall(r"\S+(?:\|\S+)+", usage):
        yield from map(Candidate, words.strip("[]").split("|"))


def _tasks(before: Sequence[str], current: str, options: Options, known: Known) -> Iterator[Candidate]:
    # A list of all steps would hide the few that most people want, so steps appear once something is typed.
    tasks = _our_tasks(before, options, known.dodo) if known.is_ours else known.other_tasks()
    yield from (one for one in tasks if current or ":" not in one.value)


def _our_tasks(before: Sequence[str], options: Options, dodo: Path) -> Iterator[Candidate]:
    for name, about in own_tasks(dodo).items():
        yield Candidate(name, about)
    variables = [word for word in before if "=" in word and not word.startswith("-")]
    # An invalid or incomplete recipe has no tasks, but the rest of the line can still be completed.
    with suppress(Exception):
        yield from planned_tasks(from_words(variables, options.environment, options.workdir))


def own_tasks(dodo: Path) -> dict[str, str]:
    """The names and first lines of the ``task_`` functions in a dodo.py, which is read but not run."""
    try:
        tree = ast.parse(dodo.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}
    functions = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name.startswith("task_")]
    return {one.name.removeprefix("task_"): (ast.get_docstring(one) or "").split("\n")[0] for one in functions}


def planned_tasks(options: Options) -> list[Candidate]:
    """The tasks of the recipes, without copying a tree or calling a tool: names do not depend on either.

    Raises:
        Exception: of any kind, for invalid recipes, which are not checked here.
    """
    from coconut_tasks.plan.context import PlanContext
    from coconut_tasks.plan.plan import plan_recipes
    from coconut_tasks.recipe.load import load_recipe
    from coconut_tasks.workspace.source import default_recipe, find_recipe, find_source, is_svsm_tree

    standing = Path(options.workdir)
    if options.svsm is None and not any(map(is_svsm_tree, (standing, *standing.parents))):
        options = replace(options, svsm=str(data_path("sample")))
    source = find_source(options)
    names = options.recipes or (default_recipe(options, source.tree),)
    found_at = {name: find_recipe(name, options, source.tree) for name in names}
    recipes = [
        replace(load_recipe(name, path.read_bytes(), valid=True), path=source.spelt(str(path)))
        for name, path in found_at.items()
    ]
    plan = plan_recipes(recipes, PlanContext(options, source.layout, has_version_file=source.has_version_file))
    found: dict[str, Candidate] = {}
    for step in plan.steps:
        for name, about in ((step.stage, "all steps of this kind"), (step.part, step.doc)):
            found.setdefault(name, Candidate(name, about))
        found[step.name] = Candidate(step.name, step.doc)
    return list(found.values())


def _variable_values(variable: str, current: str, options: Options) -> Iterator[Candidate]:
    value = current.partition("=")[2]
    if variable == "RECIPE":
        *others, last = re.split(r"[,\s]", value)
        given = {os.path.normpath(other) for other in others if other}
        head = current[: len(current) - len(last)]
        for one in _recipes(last, options):
            if os.path.normpath(one.value) not in given:
                yield replace(one, value=head + one.value)
    elif variable in _FOLDERS:
        yield from (replace(one, value=f"{variable}={one.value}") for one in _folders(value, options))
    elif variable == "EXPECT":
        yield from (replace(one, value=f"{variable}={one.value}") for one in _paths(value, options))
    elif variable in SWITCHES:
        yield Candidate(f"{variable}=1", BY_NAME[variable].about)
        yield Candidate(f"{variable}=0", "off")


def _flags(flags: Iterable[Flag], current: str, options: Options) -> Iterator[Candidate]:
    name, equals, value = current.partition("=")
    for flag in flags:
        if equals and name in flag.names:
            yield from _flag_values(flag, value, options, f"{name}=")
        for spelt in flag.names if not equals else ():
            yield Candidate(f"{spelt}=" if flag.value and spelt.startswith("--") else spelt, flag.about)


def _flag_values(flag: Flag, current: str, options: Options, head: str) -> Iterator[Candidate]:
    others = current.split(",")[:-1]
    before = head + "".join(f"{other}," for other in others)
    if flag.choices:
        yield from (Candidate(f"{before}{choice}") for choice in flag.choices if choice not in others)
    elif _OF_FILES.search(flag.value):
        yield from (replace(one, value=head + one.value) for one in _paths(current, options))


def _waits_for_value(rest: Sequence[str], flags: Iterable[Flag]) -> Flag | None:
    """The option before the cursor, if the word at the cursor is its value."""
    last = rest[-1] if rest else ""
    return next((flag for flag in flags if flag.value and last in flag.names), None)


def _of_coconut(
    before: Sequence[str],
    current: str,
    options: Options,
    known: Known,
    asked: Callable[[str, Sequence[str]], Options],
) -> Iterator[Candidate]:
    if not before:
        yield from (Candidate(name, one.about) for name, one in known.commands.items())
        return
    name, *rest = before
    command = known.commands.get(name, CommandLine(""))
    value_of = _waits_for_value(rest, command.flags)
    if value_of is not None:
        yield from _flag_values(value_of, current, options, "")
    elif current.startswith("-"):
        yield from _flags(command.flags, current, options)
        yield Candidate("--help", "show help with examples")
    else:
        words, usage = _first_words(command.usage, rest)
        if words:
            yield from map(Candidate, words)
            return
        if "RECIPE" in usage:
            yield from _recipes(current, options)
        if "STEP" in usage and current:
            with suppress(Exception):
                yield from planned_tasks(asked(name, rest))
        yield from _positionals(usage.replace("STEP", ""), before, current, options, known)


def _recipes(typed: str, options: Options) -> Iterator[Candidate]:
    """Recipes in and below the folder that was typed so far; if none fits, those of this project, and folders on the way."""
    folder = _folder_of(typed)
    root = Path(options.absolute(folder or "."))
    found = [Candidate(f"{folder}{path.relative_to(root)}", "recipe") for path in _search(root)]
    if not any(one.value.startswith(typed) for one in found):
        # RECIPE and coconut-build accept these names in any folder.
        found += [Candidate(f"config/{path.name}", "comes with coconut-tasks") for path in _shipped_recipes()]
    yield from found
    if not any(one.value.startswith(typed) for one in found):
        yield from _folders(typed, options)


def _shipped_recipes() -> list[Path]:
    return sorted(data_path("config").glob("*.json"))


def _search(root: Path) -> Iterator[Path]:
    """Files below a folder that look like recipes, without hidden or deep folders, and with a limit on the number of folders."""
    waiting, seen = [(root, 0)], 0
    while waiting and seen < _MOST_FOLDERS:
        folder, depth = waiting.pop(0)
        seen += 1
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth < _DEEPEST and entry.name not in _NOT_SEARCHED:
                    waiting.append((Path(entry.path), depth + 1))
            elif entry.name.endswith(".json") and not entry.name.endswith(".schema.json") and _looks_like_recipe(entry):
                yield Path(entry.path)


def _looks_like_recipe(entry: os.DirEntry[str]) -> bool:
    try:
        if not entry.is_file() or entry.stat().st_size > _LARGEST_RECIPE:
            return False
        with open(entry.path, "rb") as file:
            text = file.read()
    except OSError:
        return False
    return b'"kernel"' in text or b'"igvm"' in text


def _folders(typed: str, options: Options) -> Iterator[Candidate]:
    yield from (one for one in _paths(typed, options) if one.value.endswith("/"))


def _paths(typed: str, options: Options) -> Iterator[Candidate]:
    folder = _folder_of(typed)
    if os.path.basename(typed) in (".", ".."):
        yield Candidate(f"{typed}/")
    try:
        entries = sorted(os.scandir(options.absolute(folder or ".")), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if not entry.name.startswith(".") or os.path.basename(typed).startswith("."):
            yield Candidate(f"{folder}{entry.name}/" if entry.is_dir() else f"{folder}{entry.name}")


def _folder_of(typed: str) -> str:
    """``a/b`` → ``a/``, as it was typed."""
    return typed[: typed.rfind("/") + 1]
