"""A step of the plan: data that says what is run, what it reads and what it makes. Nothing here touches the disk.

Every path is a string in the one spelling that the commands use: relative to the source tree, which is the working folder of
every command, or absolute.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from coconut_tasks.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A process to run: an argv, never a shell string, and what is added to its environment."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    aside: tuple[int, ...] = ()
    """The places in ``argv`` of words that only change how the tool talks or fetches. They are known by their places: a word of the
    recipe may look the same."""

    @property
    def deciding(self) -> tuple[str, ...]:
        """The words that can change what is made: what keys and records know of the command."""
        return tuple(word for place, word in enumerate(self.argv) if place not in self.aside)

    @property
    def toolchain(self) -> str | None:
        """The Rust toolchain that is asked for, as in ``cargo +nightly``."""
        word = self.argv[1] if len(self.argv) > 1 else ""
        return word[1:] if self.argv[0] == "cargo" and word.startswith("+") else None

    def __str__(self) -> str:
        """The command as one copyable shell line."""
        words = [f"{name}={shlex.quote(value)}" for name, value in self.env]
        return " ".join([*(["env", *words] if words else []), shlex.join(self.argv)])


@dataclass(frozen=True, slots=True)
class CargoItem:
    """Build with cargo, take the program from where cargo says it is, and copy it with objcopy."""

    build: Command
    program: str
    """Name of the binary that must come out of the build."""
    test: bool
    """The program is the package's test executable."""
    manifest: str | None
    """The manifest that the item is built from, where the recipe names one."""
    built: str
    """Where the program is put as cargo made it."""
    objcopy: Command | None
    """From ``built`` to ``output``; None for a host tool, which is used as cargo made it."""
    output: str


@dataclass(frozen=True, slots=True)
class MakeItem:
    """Build with make and copy the result with objcopy."""

    build: Command
    made: str
    """The file that make makes: the recipe's ``output_file``."""
    objcopy: Command
    output: str


@dataclass(frozen=True, slots=True)
class FsImage:
    """Lay out the modules in a folder and pack it."""

    files: tuple[tuple[str, str], ...]
    """Pairs of a path in the image and the file that goes there, sorted."""
    root: str
    """The folder that is packed; made anew each time."""
    pack: Command
    output: str


@dataclass(frozen=True, slots=True)
class FirmwareImage:
    """Run the recipe's command, then take the firmware file."""

    command: Command | None
    source: str | None
    """The file's path; None where the command is all."""
    variable: str | None
    """The environment variable that names the file, where one does."""
    output: str


@dataclass(frozen=True, slots=True)
class IgvmFile:
    """Put the parts together with igvmbuilder."""

    build: Command
    output: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """Ask igvmmeasure for the launch digest and write it down."""

    measure: Command
    igvm: str
    """The file that is measured."""
    tool: str
    """The program that measures."""
    shown: str
    """The file name below ``bin/`` that the measurement speaks of."""
    target: str
    platforms: tuple[str, ...]
    policy: str
    check_kvm: bool
    native_zero: bool
    hex: str
    json: str
    reference_values: str
    corim: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Say of an IGVM file what it was made of, and how."""

    igvm: str
    """The file that it is about."""
    shown: str
    """Its name below ``bin/``."""
    target: str
    recipe: str
    """The recipe's file."""
    options: tuple[tuple[str, str], ...]
    """Pairs of a variable and its value: what the user asked for beyond the recipe."""
    links: tuple[str, ...]
    """Of all steps that the file is made by, in the order of the data."""
    own_links: tuple[str, ...]
    """Those of them that are about this file alone: of what makes it, and of what measures it."""
    parts: tuple[tuple[str, str], ...]
    """Pairs of a step's name and the file of it that is put into the IGVM file."""
    measurement: str | None
    """The launch measurement as JSON; None for a target that has none."""
    output: str


@dataclass(frozen=True, slots=True)
class VersionFile:
    """Write the tree's version file where its text changed."""

    output: str


Work = CargoItem | MakeItem | FsImage | FirmwareImage | IgvmFile | Measurement | Provenance | VersionFile

REVISIONS: dict[type[Work], int] = {
    CargoItem: 2,
    MakeItem: 2,
    FsImage: 1,
    FirmwareImage: 1,
    IgvmFile: 1,
    Measurement: 1,
    Provenance: 2,
    VersionFile: 1,
}
"""What this program itself does to the bytes of each kind of step, beyond the commands: which program is taken, the environment and the
configuration of a reproducible build, how modules are laid down, what is written. Who changes it so that the same inputs give other
bytes raises the number: what an older version of this program made is stale then. ``tests/test_revisions.py`` tells."""


@dataclass(frozen=True, slots=True)
class Step:
    """One node of the graph."""

    stage: str
    """``tool``, ``version``, ``kernel``, ``module``, ``fs``, ``firmware``, ``igvm``, ``measure`` or ``provenance``."""
    component: str
    key: str
    """Digest of the choices that make this variant of the step: commands, environment, names. Two variants never share a
    file or a record."""
    doc: str
    work: Work
    inputs: tuple[str, ...]
    """The files that are known to be read before anything ran; what a build reads beyond them is found out by ``inputs``."""
    outputs: tuple[str, ...]
    """The files that the step makes, below the state folder."""
    publish: tuple[tuple[str, str], ...] = ()
    """Pairs of an output and the file below ``bin/`` that it is copied to."""
    after: tuple[str, ...] = ()
    """Files that must be in place before the step runs, without being its inputs for certain."""
    link: str = ""
    """One of the outputs: what the step was made of, for the provenance (``papers.link``); empty where none is kept."""
    label: str = ""
    """Tells the variants of a step in one run apart; empty where there is only one."""

    @property
    def name(self) -> str:
        """The task's name, as ``kernel:svsm`` or ``kernel:svsm@hyperv``."""
        return f"{self.stage}:{self.component}" + (f"@{self.label}" if self.label else "")

    @property
    def record(self) -> str:
        """The key of what is remembered about this variant, whatever the task is called in this run."""
        return f"{self.stage}:{self.component}#{self.key}"

    @property
    def file_name(self) -> str:
        """What files of its own that are not in its folder are called, without an ending."""
        return f"{self.stage}-{self.component}-{self.key}".replace("/", "-")

    @property
    def commands(self) -> tuple[Command, ...]:
        """Every process that the step starts, in order."""
        work = self.work
        match work:
            case CargoItem() | MakeItem():
                return (work.build, *((work.objcopy,) if work.objcopy else ()))
            case FsImage():
                return (work.pack,)
            case FirmwareImage():
                return (work.command,) if work.command else ()
            case IgvmFile():
                return (work.build,)
            case Measurement():
                return (work.measure,)
            case Provenance() | VersionFile():
                return ()


def direct_needs(steps: Iterable[Step]) -> dict[str, tuple[str, ...]]:
    """By the name of each step, the names of those among them that make what it reads, or that it must come after.

    Links do not count: who reads one reads what came of that step, too, and a picture with them would show little else.
    """
    steps = list(steps)
    makers = {output: step.name for step in steps for output in step.outputs if output != step.link}
    return {
        step.name: tuple(dict.fromkeys(makers[path] for path in (*step.inputs, *step.after) if path in makers))
        for step in steps
    }
