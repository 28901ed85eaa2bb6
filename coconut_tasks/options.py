"""What the user asked for: the only reader of command-line values and of the environment.

All front ends end in ``from_pairs``: the ``NAME=value`` words of ``doit``, and the flags of ``coconut`` and ``coconut-build``. Nothing else
looks at ``os.environ`` or ``sys.argv``, except to start this program again, to know under which name it was called, and whether a stream
shows colours.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field

from coconut_tasks.called import called
from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import Fault, UsageError, did_you_mean
from coconut_tasks.variables import SWITCHES, TABLE, VARIABLES
from coconut_tasks.wording import either

DEFAULT_PACKAGE = "svsm"
"""The package of a ``FEATURES`` entry without one, as in xbuild."""


CACHE_VARIABLES = (
    "COCONUT_CACHE",
    "COCONUT_CACHE_WRITE",
    "COCONUT_CACHE_HEADERS",
    "COCONUT_CACHE_CA",
    "COCONUT_CACHE_CERTIFICATE",
    "COCONUT_CACHE_KEY",
)
"""Variables of the environment that ``cache.settings`` reads."""
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
    """Everything that a user can ask for, checked; ``environment`` is the process environment at the start."""

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
    cache: str | None = None
    """Where finished work is shared: a folder, a URL, ``1`` for the user's own folder, ``0`` or empty for none; None if not given."""
    cache_write: bool | None = None
    """Whether what is built is put there; None if not given."""
    cache_variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The variables of the environment about the cache. Builds do not get them: they may have secrets."""
    expect: str | None = None
    """The launch digest to compare a build with, or a file with one."""
    environment: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "."
    """The folder in which the user started: relative paths on the command line and in variables start there."""
    is_copy: bool = False
    """Whether the tree is a copy, and GIT_DIR names the repository of the original."""

    def absolute(self, path: str) -> str:
        """A path from the user, made absolute."""
        return os.path.normpath(os.path.join(self.workdir, os.path.expanduser(path)))

    @property
    def may_use_a_cache(self) -> bool:
        """Whether anything is said about a cache; ``cache.settings`` knows what."""
        said = self.cache is not None or bool(self.cache_variables)
        return said or os.path.exists(configuration_file(self.environment))

    @property
    def variant(self) -> str:
        """How it is built, as people say it: ``release, features svsm:attest, reproducible``."""
        features = f"features {','.join(map(str, self.features))}" if self.features else ""
        every = "all features" if self.all_features else ""
        profile = "release" if self.release else "debug"
        return ", ".join(filter(None, (profile, every or features, "reproducible" if self.reproducible else "")))

    def line(self, command: str, *words: str) -> str:
        """A command line for the same recipes, tree and variant, to be pasted."""
        values: dict[str, str] = {one.name: "1" for one in TABLE if one.is_switch and getattr(self, one.field)}
        values |= {"RECIPE": ",".join(self.recipes), "FEATURES": ",".join(map(str, self.features))}
        values |= {"SVSM": self.svsm or "", "BIN": self.bin or ""}
        if self.svsm == self.environment.get("SVSM"):
            del values["SVSM"]
        how = called()
        if how.is_coconut:
            recipes = [shlex.quote(name) for name in self.recipes]
            del values["RECIPE"]
            words = (*recipes, *words)
        given = [how.setting(name, shlex.quote(values[name])) for name in VARIABLES if values.get(name)]
        return how.command(command, *words, *given)


def user_folder(environment: Mapping[str, str], variable: str, default: str) -> str:
    """The folder ``coconut-tasks`` in one of the XDG base directories; ``default`` is relative to HOME."""
    base = environment.get(variable) or os.path.join(environment.get("HOME", os.sep), default)
    return os.path.join(base, "coconut-tasks")


def configuration_file(environment: Mapping[str, str]) -> str:
    """The user's configuration file; it need not exist."""
    return os.path.join(user_folder(environment, "XDG_CONFIG_HOME", ".config"), "config.toml")


def split_list(text: str) -> tuple[str, ...]:
    """The words of a list separated by commas, ASCII white space, or both; other white space stays in its word, to be reported."""
    return tuple(filter(None, _SEPARATORS.split(text)))


def parse_features(text: str, source: str = "FEATURES") -> tuple[ExtraFeature, ...]:
    """Entries of ``[pkg:]feature``; ``svsm:a,b`` is two: ``a`` and ``b``, both of svsm. ``source`` is the variable or flag for messages.

    Raises:
        UsageError: an entry has no feature, no package before its colon, or begins with a dash.
    """
    entries = []
    for word in split_list(text):
        package, colon, feature = word.rpartition(":")
        package = package if colon else DEFAULT_PACKAGE
        if not feature or not package or word.startswith("-") or feature.startswith("-") or not word.isprintable():
            raise UsageError(
                "not-a-feature",
                f"{source}: {word!r} is not a feature; expected [pkg:]feature, for example attest or userinit:extra",
            )
        entries.append(ExtraFeature(package, feature))
    return tuple(dict.fromkeys(entries))


def parse_switch(name: str, value: str) -> bool:
    """A yes-or-no value; the empty string is no, as with ``RELEASE=`` in a shell.

    Raises:
        UsageError: any other word.
    """
    if value == "":
        return False
    if value.lower() not in _SWITCHES:
        raise UsageError(
            "not-a-switch", f"{name}: '{value}' is neither yes nor no; expected 1 or 0{did_you_mean(value, _SWITCHES)}"
        )
    return _SWITCHES[value.lower()]


def assignments(words: Iterable[str]) -> list[tuple[str, str]]:
    """The ``NAME=value`` words of a command line, by doit's own rule: no leading dash, an equal sign anywhere."""
    pairs = (word.partition("=") for word in words if "=" in word and not word.startswith("-"))
    return [(name, value) for name, _, value in pairs]


def from_words(words: Sequence[str], environment: Mapping[str, str], workdir: str) -> Options:
    """Options from the ``NAME=value`` words of a doit command line. Raises as ``from_pairs``."""
    return from_pairs(assignments(words), environment, workdir)


def from_pairs(
    pairs: Sequence[tuple[str, str]],
    environment: Mapping[str, str],
    workdir: str,
    recipes: Sequence[str] = (),
) -> Options:
    """Options from variables and their values; ``recipes`` are more of them, a path each.

    Raises:
        UsageError: every misspelt variable and wrong value, reported together.
    """
    option = called().option
    given = dict(pairs)
    wrong = [
        Fault(
            "no-such-variable",
            f"{name}: unknown variable; expected {either(list(VARIABLES))}{did_you_mean(name, VARIABLES)}",
        )
        for name in given
        if name not in VARIABLES
    ]

    counts = Counter(name for name, _ in pairs)
    wrong += [
        Fault("variable-twice", f"{option(name)}: given {count} times; give it once")
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
        features = parse_features(given.get("FEATURES", ""), option("FEATURES"))
    except UsageError as error:
        wrong.extend(error.faults)
    cache_write: bool | None = None
    try:
        cache_write = parse_switch("CACHE_WRITE", given["CACHE_WRITE"]) if "CACHE_WRITE" in given else None
    except UsageError as error:
        wrong.extend(error.faults)
    paths = ("RECIPE", "SVSM", "BIN", "EXPECT")
    empty = (name for name in paths if name in given and not split_list(given[name]))
    wrong += [
        Fault("empty-variable", f"{option(name)}: the value is missing; expected {VARIABLES[name]}") for name in empty
    ]
    if wrong:
        raise UsageError.of(wrong)
    return Options(
        recipes=(*recipes, *_recipes(given, environment, workdir)),
        svsm=given.get("SVSM", environment.get("SVSM") or None),
        bin=given.get("BIN"),
        expect=given.get("EXPECT"),
        features=features,
        cache=given.get("CACHE"),
        cache_write=cache_write,
        cache_variables={name: environment[name] for name in CACHE_VARIABLES if name in environment},
        environment=dict(environment),
        workdir=workdir,
        **switches,
    )


def _recipes(given: Mapping[str, str], environment: Mapping[str, str], workdir: str) -> tuple[str, ...]:
    word, tree = given.get("RECIPE", ""), given.get("SVSM", environment.get("SVSM", ""))

    def names(text: str) -> tuple[str, ...]:
        # A path may contain blanks and commas; if that file exists, it is meant.
        is_file = any(os.path.isfile(os.path.join(workdir, os.path.expanduser(start), text)) for start in ("", tree))
        return (text,) if is_file else ()

    parts = (part.strip() for part in word.split(","))
    return names(word) or tuple(name for part in parts for name in names(part) or split_list(part))


def process_environment() -> Mapping[str, str]:
    """The environment of this process."""
    return dict(os.environ)


def process_words() -> list[str]:
    """The command line of this process, without the program."""
    return sys.argv[1:]
