"""What this run was asked for: the only reader of command-line values and of the environment.

Two front ends fill the same ``Options``: the ``NAME=value`` words of ``doit`` (``from_words``) and the flags of ``coconut-build`` (its own
module). Nothing else looks at ``os.environ`` or ``sys.argv``, but for programs of their own, and to start this one again.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field

from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import Fault, UsageError, did_you_mean

DEFAULT_PACKAGE = "svsm"
"""The package of a ``FEATURES`` entry that names none, as in xbuild."""


@dataclass(frozen=True, slots=True)
class Variable:
    """Something that a user can ask for, as a word ``NAME=value`` of doit or by a flag of ``coconut-build``."""

    name: str
    """In lower case, a field of ``Options``; but ``RECIPE`` is ``recipes``."""
    about: str
    is_switch: bool = False
    """Yes or no."""
    flags: tuple[str, ...] = ()
    """Of ``coconut-build``; none where it has another way."""
    metavar: str = ""
    """What the flag's value is called."""
    changes_bytes: bool = False
    """What is built depends on it, so a statement names it."""
    known_to_makefiles: bool = False
    """Makefiles may know the name, too: in the environment, where nobody may have meant it, they would build by it, and cargo would not."""

    @property
    def field(self) -> str:
        """Of ``Options``."""
        return "recipes" if self.name == "RECIPE" else self.name.lower()


TABLE = (
    Variable("RECIPE", "build recipes, separated by commas or spaces"),
    Variable(
        "SVSM",
        "the SVSM source tree (default: $SVSM, the checkout that one stands in, the sample tree)",
        flags=("--svsm",),
        metavar="PATH",
    ),
    Variable(
        "BIN", "the output folder (default: bin/ of the checkout that is built)", flags=("--bin",), metavar="PATH"
    ),
    Variable("RELEASE", "release profile", True, ("-r", "--release"), changes_bytes=True, known_to_makefiles=True),
    Variable(
        "FEATURES",
        "more cargo features, [pkg:]feature, separated by commas or spaces; pkg defaults to svsm",
        flags=("-f", "--feature"),
        metavar="[PKG:]FEAT,...",
        changes_bytes=True,
        known_to_makefiles=True,
    ),
    Variable(
        "ALL_FEATURES",
        "all features of every cargo item, instead of the recipe's",
        True,
        ("-a", "--all-features"),
        changes_bytes=True,
        known_to_makefiles=True,
    ),
    Variable("OFFLINE", "cargo --locked --offline", True, ("-o", "--offline"), known_to_makefiles=True),
    Variable("VERBOSE", "commands and tools say more", True, ("-v", "--verbose"), known_to_makefiles=True),
    Variable(
        "REPRODUCIBLE",
        "bytes that do not depend on where, when and by whom they are built",
        True,
        ("--reproducible",),
        changes_bytes=True,
        known_to_makefiles=True,
    ),
    Variable("LENIENT", "what the old builders pass over in a recipe is a warning", True, ("--lenient",)),
    Variable(
        "SAMPLE", "where no SVSM tree is, the sample that an installed coconut-tasks brings along", True, ("--sample",)
    ),
    Variable("ASK_CARGO", "every cargo item asks cargo, whatever is known of its inputs", True),
    Variable("EXPECT", "the launch digest that is expected, or a file that names one"),
)
"""All that there is, once: variables, flags, help, what a statement tells and what a makefile does not get are made of it."""
BY_NAME = {one.name: one for one in TABLE}
VARIABLES = {one.name: f"1: {one.about}" if one.is_switch else one.about for one in TABLE}
"""The variables of a command line, and what they mean."""
VERIFY = "verify"
"""The one command that looks at ``EXPECT``."""
SWITCHES = tuple(one.name for one in TABLE if one.is_switch)
"""The variables that are yes or no."""
_SEPARATORS = re.compile(r"[,\s]+", re.ASCII)
_SWITCHES = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class ExtraFeature:
    """One entry of ``FEATURES``."""

    package: str
    feature: str

    def __str__(self) -> str:
        return f"{self.package}:{self.feature}"


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that a user can ask for, checked; ``environment`` is the process environment as it was at the start."""

    recipes: tuple[str, ...] = ()
    svsm: str | None = None
    bin: str | None = None
    release: bool = False
    features: tuple[ExtraFeature, ...] = ()
    all_features: bool = False
    offline: bool = False
    verbose: bool = False
    reproducible: bool = False
    lenient: bool = False
    sample: bool = False
    ask_cargo: bool = False
    expect: str | None = None
    """The launch digest, or the file with one, that a build is to be compared with."""
    environment: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "."
    """The folder that the user stood in: relative paths of the command line and of variables start there."""
    is_copy: bool = False
    """Whether the tree is a copy, and GIT_DIR names the repository of the one that it was copied from."""

    def absolute(self, path: str) -> str:
        """A path that the user gave, made absolute."""
        return os.path.normpath(os.path.join(self.workdir, os.path.expanduser(path)))


def variables_of(command: str) -> dict[str, str]:
    """The variables that a command on tasks looks at, and what they mean."""
    return {name: about for name, about in VARIABLES.items() if name != "EXPECT" or command == VERIFY}


def split_list(text: str) -> tuple[str, ...]:
    """The words of a list separated by commas, ASCII white space, or both; other white space is left in its word, to be found there."""
    return tuple(filter(None, _SEPARATORS.split(text)))


def parse_features(text: str, source: str = "FEATURES") -> tuple[ExtraFeature, ...]:
    """Entries of ``[pkg:]feature``; ``svsm:a,b`` is two: ``a`` and ``b``, both of svsm. ``source`` is what the user wrote them in.

    Raises:
        UsageError: an entry has no feature, no package before its colon, or would be read as an option.
    """
    entries = []
    for word in split_list(text):
        package, colon, feature = word.rpartition(":")
        package = package if colon else DEFAULT_PACKAGE
        if not feature or not package or word.startswith("-") or feature.startswith("-") or not word.isprintable():
            raise UsageError(
                "not-a-feature", f"{source}: {word!r} is not a feature: [pkg:]feature, as attest or userinit:extra"
            )
        entries.append(ExtraFeature(package, feature))
    return tuple(dict.fromkeys(entries))


def parse_switch(name: str, value: str) -> bool:
    """A yes-or-no value; the empty string is no, as ``RELEASE=`` in a shell.

    Raises:
        UsageError: any other word.
    """
    if value == "":
        return False
    if value.lower() not in _SWITCHES:
        raise UsageError(
            "not-a-switch", f"{name}: '{value}' is neither yes nor no: 1 or 0{did_you_mean(value, _SWITCHES)}"
        )
    return _SWITCHES[value.lower()]


def assignments(words: Iterable[str]) -> list[tuple[str, str]]:
    """The ``NAME=value`` words of a command line, by doit's own rule: no leading dash, an equal sign anywhere."""
    pairs = (word.partition("=") for word in words if "=" in word and not word.startswith("-"))
    return [(name, value) for name, _, value in pairs]


def from_words(words: Sequence[str], environment: Mapping[str, str], workdir: str) -> Options:
    """Options from the ``NAME=value`` words of a doit command line.

    Raises:
        UsageError: every misspelt variable and wrong value, all in one message.
    """
    pairs = assignments(words)
    given = dict(pairs)
    wrong = [
        Fault("no-such-variable", f"{name}: no such variable{did_you_mean(name, VARIABLES)}: {', '.join(VARIABLES)}")
        for name in given
        if name not in VARIABLES
    ]

    counts = Counter(name for name, _ in pairs)
    wrong += [
        Fault("variable-twice", f"{name}: given {count} times: once, {VARIABLES[name]}")
        for name, count in counts.items()
        if count > 1 and name in VARIABLES
    ]

    def switch(name: str) -> bool:
        try:
            return parse_switch(name, given.get(name, ""))
        except UsageError as error:
            wrong.extend(error.faults)
            return False

    switches = {name.lower(): switch(name) for name in SWITCHES}
    features: tuple[ExtraFeature, ...] = ()
    try:
        features = parse_features(given.get("FEATURES", ""))
    except UsageError as error:
        wrong.extend(error.faults)
    paths = ("RECIPE", "SVSM", "BIN", "EXPECT")
    empty = (name for name in paths if name in given and not split_list(given[name]))
    wrong += [Fault("empty-variable", f"{name}: nothing after the equal sign: {VARIABLES[name]}") for name in empty]
    if wrong:
        raise UsageError.of(wrong)
    return Options(
        recipes=_recipes(given, environment, workdir),
        svsm=given.get("SVSM", environment.get("SVSM") or None),
        bin=given.get("BIN"),
        expect=given.get("EXPECT"),
        features=features,
        environment=dict(environment),
        workdir=workdir,
        **switches,
    )


def _recipes(given: Mapping[str, str], environment: Mapping[str, str], workdir: str) -> tuple[str, ...]:
    word, tree = given.get("RECIPE", ""), given.get("SVSM", environment.get("SVSM", ""))

    def names(text: str) -> tuple[str, ...]:
        # A path may have blanks and commas in it; where there is such a file, it is meant.
        is_file = any(os.path.isfile(os.path.join(workdir, os.path.expanduser(start), text)) for start in ("", tree))
        return (text,) if is_file else ()

    parts = (part.strip() for part in word.split(","))
    return names(word) or tuple(name for part in parts for name in names(part) or split_list(part))


def process_environment() -> Mapping[str, str]:
    """The environment of this process."""
    return dict(os.environ)


def process_words() -> list[str]:
    """The command line of this process, after the program."""
    return sys.argv[1:]
