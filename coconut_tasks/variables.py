"""The single list of what a user can ask for: variables, flags, help, provenance options and what is kept from makefiles come from it."""

from __future__ import annotations

from coconut_tasks.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Variable:
    """Something that a user can ask for: a word ``NAME=value`` of doit, a flag of ``coconut``."""

    name: str
    """In lower case, a field of ``Options``; but ``RECIPE`` is ``recipes``."""
    about: str
    is_switch: bool = False
    """Yes or no."""
    flags: tuple[str, ...] = ()
    """Of ``coconut``; none for RECIPE, which is a plain word there."""
    xbuild: tuple[str, ...] = ()
    """Of ``coconut-build``, where xbuild has other ones."""
    metavar: str = ""
    """The name of the flag's value in the help."""
    changes_bytes: bool = False
    """What is built depends on it, so provenance names it."""
    known_to_makefiles: bool = False
    """Makefiles may use the name too: from the environment, perhaps by accident, it would change what make builds, but not cargo."""

    @property
    def field(self) -> str:
        """Its field of ``Options``."""
        return "recipes" if self.name == "RECIPE" else self.name.lower()


TABLE = (
    Variable("RECIPE", "build recipes, separated by commas or spaces"),
    Variable(
        "SVSM",
        "the SVSM source tree (default: $SVSM, the checkout around the current folder, or the sample)",
        flags=("--svsm",),
        metavar="PATH",
    ),
    Variable(
        "BIN",
        "the output folder (default: bin/ of the checkout being built)",
        flags=("--out",),
        xbuild=("--bin",),
        metavar="PATH",
    ),
    Variable("RELEASE", "release profile", True, ("-r", "--release"), changes_bytes=True, known_to_makefiles=True),
    Variable(
        "FEATURES",
        "more cargo features, [pkg:]feature, separated by commas or spaces; pkg defaults to svsm",
        flags=("-f", "--features"),
        xbuild=("-f", "--feature"),
        metavar="[PKG:]FEAT,...",
        changes_bytes=True,
        known_to_makefiles=True,
    ),
    Variable(
        "ALL_FEATURES",
        "all features of every cargo item, instead of the recipe's",
        True,
        ("--all-features",),
        ("-a", "--all-features"),
        changes_bytes=True,
        known_to_makefiles=True,
    ),
    Variable("OFFLINE", "cargo --locked --offline", True, ("--offline",), ("-o", "--offline"), known_to_makefiles=True),
    Variable("VERBOSE", "more output from commands and tools", True, ("-v", "--verbose"), known_to_makefiles=True),
    Variable(
        "REPRODUCIBLE",
        "bytes that do not depend on where, when and by whom they were built",
        True,
        ("--reproducible",),
        changes_bytes=True,
        known_to_makefiles=True,
    ),
    Variable("LENIENT", "only warn about what the old builders ignore in a recipe", True, ("--lenient",)),
    Variable("SAMPLE", "without an SVSM tree, build the sample that comes with coconut-tasks", True, ("--sample",)),
    Variable("ASK_CARGO", "run cargo for every cargo item, whatever is known of its inputs", True, ("--ask-cargo",)),
    Variable(
        "EXPECT",
        "the expected launch digest, or a file that has one",
        flags=("--expect",),
        metavar="DIGEST",
    ),
)
BY_NAME = {one.name: one for one in TABLE}
VARIABLES = {one.name: f"1: {one.about}" if one.is_switch else one.about for one in TABLE}
"""The variables of a command line, with their help."""
VERIFY = "verify"
"""The only command that uses ``EXPECT``."""
SWITCHES = tuple(one.name for one in TABLE if one.is_switch)
"""The variables that are yes or no."""


def flag_of(word: str) -> Variable | None:
    """What a flag of ``coconut`` or ``coconut-build`` asks for."""
    return next((one for one in TABLE if word in (*one.flags, *one.xbuild)), None)


def variables_of(command: str) -> dict[str, str]:
    """The variables that a command on tasks uses, with their help."""
    return {name: about for name, about in VARIABLES.items() if name != "EXPECT" or command == VERIFY}
