"""What a make item reads, learnt from make's own database after a build.

``make -p`` prints every rule and variable. The inputs are the sources that the wanted file depends on, directly or by other rules, and the
makefiles, existing or not. A rule that make always runs, or that calls cargo, is known if everything that it runs is known: cargo
(``actions.recorder`` notes what it builds) and programs that read only the files in their arguments. If a rule is not known, or a list of
files is looked up on disk, the inputs are incomplete, and every run starts make.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from glob import iglob
from pathlib import Path

from coconut_tasks.dataclass import dataclass
from coconut_tasks.inputs.discovered import Inputs
from coconut_tasks.inputs.environment import AMBIENT, OF_MAKE, make_references
from coconut_tasks.steps.command import Command

_CARGO = re.compile(r"\bcargo\b")
_RECURSES = re.compile(r"\$[({]MAKE[)}]|\bmake\b")
_LOOKS_UP = re.compile(r"\$[({](wildcard|shell|eval|file)\b")
_DEFERRED = re.compile(r"^\s*(?:override\s+|export\s+)*([\w.-]+)\s*(?:\?=|=(?!=))")
_SEARCHES = re.compile(r"^\s*(VPATH\s*[:?+]?=|vpath\b)", re.MULTILINE)
_INCLUDE = re.compile(r"^\s*[-s]?include\s+(.+)$", re.MULTILINE)
_OF_ONE_TARGET = re.compile(r"[^:=]+: ?[\w.-]+ (?:\+|\?|:|::)?= ?")
"""A target-specific variable."""
_ASSIGNMENT = re.compile(r"^([\w.-]+) (?::=|::=|=|\?=) ?(.*)$", re.MULTILINE)
_REFERENCE = re.compile(r"\$\$|\$[({]([\w.-]+)[)}]|\$([@<^*?+|%])")
_PLAIN = frozenset(
    {
        *("cargo", "cp", "mv", "ln", "install", "mkdir", "rmdir", "rm", "touch", "chmod", "echo", "printf"),
        *("cat", "sed", "grep", "head", "tail", "cut", "tr", "objcopy", "strip", "test", "[", "true", ":"),
    }
)
"""Programs that read only the files in their arguments, and cargo."""
_CONTROL = frozenset(";&|()<>")
_MAKEFILES = ("GNUmakefile", "makefile", "Makefile")


@dataclass(frozen=True, slots=True)
class Rule:
    """make's rule for one file."""

    prerequisites: tuple[str, ...] = ()
    order_only: tuple[str, ...] = ()
    phony: bool = False
    recipe: str = ""
    several: bool = False
    """A double-colon rule, which is independent of the file's other rules."""

    def joined(self, other: Rule) -> Rule:
        """Two blocks of a file as one."""
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
    """Files that no rule makes; includes the file itself if make has no rule for it."""
    made: frozenset[str]
    """Files that rules make on the way, including the file itself."""
    recipes: str
    unknown: str
    """Why this is incomplete; empty if it is complete."""
    ordered: bool
    """make does not notice every effect of a change, for example of an order-only prerequisite."""
    reads: frozenset[str] = frozenset()
    """Files that rules without prerequisites name."""
    calls_cargo: bool = False


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What make knows about a file."""

    inputs: Inputs
    made: tuple[str, ...]
    """Absolute paths of every file that make made for it, sorted."""
    watched: tuple[str, ...] = ()
    """Inputs whose times make does not compare: the makefiles, existing or not."""
    ordered: bool = False
    """See ``Closure``."""
    recurses: bool = True
    """A rule calls make again, and the files that this makes are unknown."""
    unknown: str = ""
    """Why the inputs are incomplete; empty if they are complete."""
    calls_cargo: bool = False
    """A rule calls cargo, which compares times itself."""
    taken: tuple[str, ...] = ()
    """Variables that the makefiles refer to and whose values come from the environment."""


def make_knowledge(command: Command, wanted: str, tree: str, environment: Mapping[str, str]) -> Knowledge:
    """Ask make what ``wanted`` depends on."""
    argv = [command.argv[0], "--print-data-base", "--question", *command.argv[1:]]
    env = {**environment, **dict(command.env), "LC_ALL": "C"}
    try:
        printed = subprocess.run(
            argv, cwd=tree, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        ).stdout
    except OSError:
        return Knowledge(Inputs(complete=False), (), unknown="make does not work")
    names = makefile_list(printed)
    texts = [path.read_text(errors="replace") for name in names if (path := Path(tree, name)).is_file()]
    values = dict(_ASSIGNMENT.findall(printed))
    found = closure(wanted, parse_rules(printed), tree, values)
    # A makefile that is missing, or that would take precedence, must not appear.
    watched = {*names, *_MAKEFILES, *(word for text in texts for word in _included(text))}
    sources, makefiles = (_absolute(tree, names) for names in (found.sources, watched))
    # A folder as a prerequisite means that it must exist, not what is in it.
    paths = {path for path in (*sources, *makefiles, *_absolute(tree, found.reads)) if not os.path.isdir(path)}
    unknown = found.unknown
    if not names:
        unknown = "make does not say which makefiles it read"
    elif not unknown and _looks_around(texts, found.recipes):
        unknown = "make looks up files or runs programs while it reads the makefile (wildcard, shell, VPATH)"
    inputs = Inputs(files=tuple(sorted(paths)), variables=_variables(printed, texts, env), complete=not unknown)
    made = tuple(sorted(_absolute(tree, found.made)))
    recurses = _RECURSES.search(found.recipes) is not None
    ends = tuple(sorted(makefiles - sources))
    taken = _taken(values, texts, environment)
    return Knowledge(inputs, made, ends, found.ordered, recurses, unknown, found.calls_cargo, taken)


def _absolute(tree: str, names: Iterable[str]) -> set[str]:
    return {os.path.normpath(os.path.join(tree, name)) for name in names}


def makefile_list(printed: str) -> list[str]:
    """The makefiles that make read."""
    found = re.findall(r"^MAKEFILE_LIST :?= ?(.*)$", printed, re.MULTILINE)
    return _words(found[-1]) if found else []


def _words(text: str) -> list[str]:
    # make has no other white space; Python has, and a file name may contain it.
    return [word for word in re.split(r"[ \t\v\f\r\n]+", text) if word]


def parse_rules(printed: str) -> dict[str, Rule]:
    """The rules in the "Files" section of make's database."""
    # A make that a rule calls prints its own database first.
    _, _, section = printed.rpartition("\n# Files\n")
    section = section.partition("\n# files hash-table stats:")[0]
    rules: dict[str, Rule] = {}
    for block in section.split("\n\n"):
        lines = block.split("\n")
        heads = [
            line for line in lines if line and line[0] not in "#\t" and ":" in line and not _OF_ONE_TARGET.match(line)
        ]
        if not heads:
            continue
        target, _, rest = heads[0].partition(":")
        before, _, after = rest.lstrip(":").partition("|")
        recipe = "\n".join(line for line in lines if line.startswith("\t"))
        phony = any(line.startswith("#  Phony target") for line in lines)
        rule = Rule(tuple(_words(before)), tuple(_words(after)), phony, recipe, rest.startswith(":"))
        rules[target] = rules[target].joined(rule) if target in rules else rule
    return rules


def closure(wanted: str, rules: Mapping[str, Rule], tree: str, variables: Mapping[str, str]) -> Closure:
    """Everything that ``wanted`` depends on in a tree, and whether that is complete. ``variables`` are make's own, unexpanded."""
    seen: set[str] = set()
    sources: set[str] = set()
    made: set[str] = set()
    reads: set[str] = set()
    recipes = []
    left = [wanted]
    # Without a recipe, make would use the file as it is, whatever wrote it.
    unknown = [] if wanted in rules and rules[wanted].recipe else [f"no rule makes {wanted}"]
    ordered = calls_cargo = False
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        rule = rules.get(name, Rule())
        absent = not rule.recipe and not os.path.exists(os.path.join(tree, name))
        asks_cargo = _CARGO.search(rule.recipe) is not None
        calls_cargo |= asks_cargo
        if rule.several:
            unknown.append(f"{name} has a rule with double colons")
        elif _RECURSES.search(rule.recipe):
            unknown.append(f"the rule of {name} calls make")
        # make runs a rule each time if it is phony or a prerequisite never comes, and without prerequisites nothing says what it reads.
        elif rule.recipe and (
            asks_cargo
            or rule.phony
            or not rule.prerequisites
            or any(_never(other, rules, tree) for other in rule.prerequisites)
        ):
            names, strange = _plain_reads(name, rule, variables, tree)
            reads |= names
            unknown += [f"the rule of {name} runs {strange}"] if strange else []
        ordered |= rule.several  # only blocks with newer prerequisites run, and the others' part may be gone
        if not rule.recipe and not rule.phony and not (absent and name in rules):
            sources.add(name)
            unknown += [f"{name} does not exist"] if absent else []
        if rule.recipe:
            made.add(name)
            recipes.append(rule.recipe)
        # A folder as an order-only prerequisite only has to exist.
        first = [other for other in rule.order_only if not os.path.isdir(os.path.join(tree, other))]
        ordered |= bool(first)
        left += [*rule.prerequisites, *first]
    told = unknown[0] if unknown else ""
    reads = {name for name in reads if name not in made}
    return Closure(
        frozenset(sources), frozenset(made), "\n".join(recipes), told, ordered, frozenset(reads), calls_cargo
    )


def _never(name: str, rules: Mapping[str, Rule], tree: str) -> bool:
    """Whether a rule runs each time because of this prerequisite: it is phony, or a name that nothing makes, for example ``FORCE``."""
    rule = rules.get(name)
    if rule is None or rule.phony:
        return rule is not None
    return not rule.recipe and not rule.prerequisites and not os.path.exists(os.path.join(tree, name))


def _plain_reads(name: str, rule: Rule, variables: Mapping[str, str], tree: str) -> tuple[set[str], str]:
    """The files in a rule's commands, and the first command that may read others, else an empty string."""
    automatic = {"@": name, "<": " ".join(rule.prerequisites[:1]), "^": " ".join(rule.prerequisites)}
    text = _expanded(rule.recipe.replace("\\\n", " "), {**variables, **automatic})
    if text is None:
        return set(), "a function of make"
    reads: set[str] = set()
    writes: set[str] = set()
    left = [line.strip().lstrip("@-+ ") for line in text.split("\n")]
    while left:
        outer, inner = _substitutions(left.pop())
        left += inner
        try:
            lexer = shlex.shlex(outer, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True  # else a word ends at '+', ',' and non-Latin letters
            words = list(lexer)
        except ValueError:
            return set(), outer
        first, before, program = True, "", ""
        for word in words:
            if before in (">", ">>"):
                writes.add(word)
            before = word
            if set(word) <= _CONTROL:
                first = not set(word) & set("<>")
            elif first and re.match(r"\w+=", word):
                continue
            elif first and (word not in _PLAIN or "`" in outer):
                return set(), word
            else:
                if first:
                    program, first = word, False
                if _reads_what_is_there(program, word, tree):
                    return set(), program
                reads |= {name for name in _named(word) if os.path.isfile(os.path.join(tree, name))}
    return reads - writes, ""


def _reads_what_is_there(program: str, word: str, tree: str) -> bool:
    """Whether a word makes a program read files that are not named in the command."""
    if program in ("cp", "grep") and re.fullmatch(
        r"-[A-Za-z]*[rRa]\w*|--(recursive|archive|dereference-recursive)", word
    ):
        return True
    return re.search(r"[*?[]", word) is not None and any(iglob(word, root_dir=tree))


def _named(word: str) -> set[str]:
    """The parts of a word that may be file names, also after an option, as in ``--add-section=.data=FILE`` and ``-fFILE``."""
    return {
        word,
        word.rpartition("=")[2],
        word[1:] if word.startswith("@") else word[2:] if word.startswith("-") else word,
    }


def _substitutions(line: str) -> tuple[str, list[str]]:
    """A shell line without its ``$(…)``, and their contents."""
    found: list[str] = []
    while (start := line.find("$(")) >= 0:
        end, depth = start + 2, 1
        while depth and end < len(line):
            if line[end] == "'":
                end = max(line.find("'", end + 1), end)
            depth += {"(": 1, ")": -1}.get(line[end], 0)
            end += 1
        found.append(line[start + 2 : end - 1])
        line = f"{line[:start]}-{line[end:]}"
    return line, found


def _expanded(text: str, variables: Mapping[str, str], depth: int = 0) -> str | None:
    """The text with make's variables expanded; None if it calls a function."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "\0"
        return variables.get(found[1] or found[2], "")

    while depth < 20 and "$" in text:
        text = _REFERENCE.sub(value, text)
        depth += 1
        if re.search(r"\$[({]", text) and not _REFERENCE.search(text):
            return None
    return None if "$" in text else text.replace("\0", "$")


def _included(text: str) -> Iterable[str]:
    return (word for words in _INCLUDE.findall(text) for word in _words(words.split("#")[0]) if "$" not in word)


def _looks_around(texts: Iterable[str], recipes: str) -> bool:
    """Whether the rules depend on a list of files or a program's output that make looks up while it runs.

    A variable that is expanded late does no harm if nothing relevant refers to it.
    """
    late: dict[str, str] = {}
    counts = [recipes]
    for text in texts:
        if _SEARCHES.search(text):
            return True
        for line in text.replace("\\\n", " ").split("\n"):
            if line.startswith("\t"):
                continue  # relevant recipes are known from the database
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


def _taken(values: Mapping[str, str], texts: Iterable[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    names = make_references("\n".join(texts)) & environment.keys() - AMBIENT
    # A makefile that sets a variable ignores the environment; one that appends to it has the environment's value first.
    return tuple(
        sorted(name for name in names if environment[name] and values.get(name, "").startswith(environment[name]))
    )


def _variables(printed: str, texts: Iterable[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The environment variables that can affect make: those that rules refer to, including make's own, and every set variable whose name
    appears anywhere."""
    without = re.sub(r"^# environment\n.*\n", "", printed, flags=re.MULTILINE)
    text = "\n".join([without, *texts])
    words = set(re.findall(r"\w+", text))
    return tuple(sorted({*OF_MAKE, *make_references(text), *((environment.keys() & words) - AMBIENT)}))
