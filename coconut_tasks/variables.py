"""All that a user can ask for, once: variables, flags, help, what a statement tells and what a makefile does not get are made of it."""

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
        "BIN",
        "the output folder (default: bin/ of the checkout that is built)",
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
    Variable("ASK_CARGO", "every cargo item asks cargo, whatever is known of its inputs", True, ("--ask-cargo",)),
    Variable(
        "EXPECT",
        "the launch digest that is expected, or a file that has one",
        flags=("--expect",),
        metavar="DIGEST",
    ),
)
BY_NAME = {one.name: one for one in TABLE}
VARIABLES = {one.name: f"1: {one.about}" if one.is_switch else one.about for one in TABLE}
"""The variables of a command line, and what they mean."""
VERIFY = "verify"
"""The one command that looks at ``EXPECT``."""
SWITCHES = tuple(one.name for one in TABLE if one.is_switch)
"""The variables that are yes or no."""


def flag_of(word: str) -> Variable | None:
    """What a flag of ``coconut`` or ``coconut-build`` asks for."""
    return next((one for one in TABLE if word in (*one.flags, *one.xbuild)), None)


def variables_of(command: str) -> dict[str, str]:
    """The variables that a command on tasks looks at, and what they mean."""
    return {name: about for name, about in VARIABLES.items() if name != "EXPECT" or command == VERIFY}
