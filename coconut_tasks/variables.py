"""What a user can ask for. Variables, flags, help, provenance options and what is hidden from makefiles all come from this list."""

from __future__ import annotations

from coconut_tasks.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Variable:
    """Something that a user can ask for: ``NAME=value`` with doit, a flag of ``coconut``."""

    name: str
    """In lower case, the name of the field of ``Options``, except that ``RECIPE`` is ``recipes``."""
    about: str
    is_switch: bool = False
    """Whether the value is yes or no."""
    flags: tuple[str, ...] = ()
    """The flags of ``coconut``; none for RECIPE, which is a plain word there."""
    xbuild: tuple[str, ...] = ()
    """The flags of ``coconut-build`` if they are different, as in xbuild."""
    metavar: str = ""
    """The name of the flag's value in help."""
    changes_bytes: bool = False
    """Whether the output depends on it, so that provenance includes it."""
    known_to_makefiles: bool = False
    """Whether makefiles may use the name too: from the environment, perhaps by accident, it would affect make, but not cargo."""

    @property
    def field(self) -> str:
        """The name of its field of ``Options``."""
        return "recipes" if self.name == "RECIPE" else self.name.lower()


TABLE = (
    Variable("RECIPE", "the recipes to build, separated by commas or spaces"),
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
    Variable(
        "RELEASE",
        "build with the release profile",
        True,
        ("-r", "--release"),
        changes_bytes=True,
        known_to_makefiles=True,
    ),
    Variable(
        "FEATURES",
        "more cargo features, [pkg:]feature, separated by commas or spaces; pkg defaults to svsm",
        flags=("-f", "--features"),
        xbuild=("-f", "--feature"),
        metavar="LIST",
        changes_bytes=True,
        known_to_makefiles=True,
    ),
    Variable(
        "ALL_FEATURES",
        "enable all features of every cargo item, instead of the recipe's",
        True,
        ("--all-features",),
        ("-a", "--all-features"),
        changes_bytes=True,
        known_to_makefiles=True,
    ),
    Variable(
        "OFFLINE",
        "run cargo with --locked --offline",
        True,
        ("--offline",),
        ("-o", "--offline"),
        known_to_makefiles=True,
    ),
    Variable("VERBOSE", "show more output of commands and tools", True, ("-v", "--verbose"), known_to_makefiles=True),
    Variable(
        "REPRODUCIBLE",
        "make the output independent of where, when and by whom it is built",
        True,
        ("--reproducible",),
        changes_bytes=True,
        known_to_makefiles=True,
    ),
    Variable("LENIENT", "only warn about what the old builders ignore in a recipe", True, ("--lenient",)),
    Variable("SAMPLE", "build the sample that comes with coconut-tasks if there is no SVSM tree", True, ("--sample",)),
    Variable("ASK_CARGO", "run cargo for every cargo item, even if no known input changed", True, ("--ask-cargo",)),
    Variable(
        "CACHE",
        "share finished work: a folder, http(s)://…, grpc(s)://…, or 1 for a folder in ~/.cache (default: 0)",
        flags=("--cache",),
        metavar="WHERE",
    ),
    Variable(
        "CACHE_WRITE",
        "0: only read from the cache",
        flags=("--cache-write",),
        metavar="0|1",
    ),
    Variable(
        "EXPECT",
        "the expected launch digest, or a file that contains it",
        flags=("--expect",),
        metavar="DIGEST",
    ),
)
BY_NAME = {one.name: one for one in TABLE}
VARIABLES = {one.name: f"1: {one.about}" if one.is_switch else one.about for one in TABLE}
"""The variables, with their help."""
VERIFY = "verify"
"""The only command that uses ``EXPECT``."""
SWITCHES = tuple(one.name for one in TABLE if one.is_switch)
"""The variables that are yes or no."""


def flag_of(word: str) -> Variable | None:
    """The variable of a flag of ``coconut`` or ``coconut-build``."""
    return next((one for one in TABLE if word in (*one.flags, *one.xbuild)), None)


def variables_of(command: str) -> dict[str, str]:
    """The variables that a command on tasks uses, with their help."""
    return {name: about for name, about in VARIABLES.items() if name != "EXPECT" or command == VERIFY}
