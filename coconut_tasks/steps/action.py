"""What each kind of step does, as values: what is run, what it reads and what it makes. The room ``actions`` does it.

Every path is a string in the one spelling that the commands use: relative to the source tree, which is the working folder of
every command, or absolute.
"""

from __future__ import annotations

from typing import ClassVar

from coconut_tasks.dataclass import dataclass
from coconut_tasks.steps.command import Command


class Action:
    """What all of them can be asked."""

    revision: ClassVar[int]
    """What this program itself does to the bytes, beyond the commands: which program is taken, the environment and the configuration of a
    reproducible build, how modules are laid down, what is written. Who changes it so that the same inputs give other bytes raises the
    number: what an older version of this program made is stale then. ``tests/test_revisions.py`` tells."""
    is_image: ClassVar[bool] = False
    """It makes an IGVM file: what stands beside it speaks of its bytes, and goes before it does."""
    is_about_an_image: ClassVar[bool] = False
    """It writes what stands beside an IGVM file."""
    writes_source: ClassVar[bool] = False
    """It writes a file of the tree that git, and not a record, says is right."""

    @property
    def commands(self) -> tuple[Command, ...]:
        """Every process that it starts, in order."""
        return ()

    @property
    def made_in_tree(self) -> tuple[str, ...]:
        """What it makes beside the step's outputs."""
        return ()

    def asked_each_time(self, *, known: bool, ask_cargo: bool) -> str | None:
        """The program that every run has to ask, as far as that goes for what it reads: whether that is ``known``; None for no program.

        ``ask_cargo`` as in ``Options``.
        """
        return None


@dataclass(frozen=True, slots=True)
class CargoItem(Action):
    """Build with cargo, take the program from where cargo says it is, and copy it with objcopy."""

    revision: ClassVar[int] = 2
    build: Command
    clean: Command
    """Removes what cargo made, once options ``--package=NAME`` follow."""
    program: str
    """Name of the binary that must come out of the build."""
    built: str
    """Where the program is put as cargo made it."""
    objcopy: Command | None
    """From ``built`` to ``output``; None for a host tool, which is used as cargo made it."""
    output: str
    toolchain: str | None = None
    """The Rust toolchain that the recipe names."""
    triple: str | None = None
    """The target that the command names."""
    builds_std: bool = False
    """The recipe has cargo build the standard library, so that no target need be installed."""
    manifest: str | None = None
    """The manifest that the item is built from, where the recipe names one."""
    test: bool = False
    """The program is the package's test executable."""

    @property
    def commands(self) -> tuple[Command, ...]:
        return (self.build, self.objcopy) if self.objcopy else (self.build,)

    @property
    def needed_target(self) -> str | None:
        """The target of which the standard library must be installed; None for a host tool, since cargo can build for its host."""
        return None if self.objcopy is None or self.builds_std else self.triple

    def asked_each_time(self, *, known: bool, ask_cargo: bool) -> str | None:
        return self.build.argv[0] if ask_cargo or not known else None


@dataclass(frozen=True, slots=True)
class MakeItem(Action):
    """Build with make and copy the result with objcopy."""

    revision: ClassVar[int] = 2
    build: Command
    made: str
    """The file that make makes: the recipe's ``output_file``."""
    objcopy: Command
    output: str

    @property
    def commands(self) -> tuple[Command, ...]:
        return (self.build, self.objcopy)

    @property
    def made_in_tree(self) -> tuple[str, ...]:
        return (self.made,)

    def asked_each_time(self, *, known: bool, ask_cargo: bool) -> str | None:
        return None if known else self.build.argv[0]


@dataclass(frozen=True, slots=True)
class FsImage(Action):
    """Lay out the modules in a folder and pack it."""

    revision: ClassVar[int] = 1
    files: tuple[tuple[str, str], ...]
    """Pairs of a path in the image and the file that goes there, sorted."""
    root: str
    """The folder that is packed; made anew each time."""
    pack: Command
    output: str

    @property
    def commands(self) -> tuple[Command, ...]:
        return (self.pack,)


@dataclass(frozen=True, slots=True)
class FirmwareImage(Action):
    """Run the recipe's command, then take the firmware file."""

    revision: ClassVar[int] = 1
    command: Command | None
    source: str | None
    """The file's path; None where the command is all."""
    variable: str | None
    """The environment variable that names the file, where one does."""
    output: str

    @property
    def commands(self) -> tuple[Command, ...]:
        return (self.command,) if self.command else ()

    def asked_each_time(self, *, known: bool, ask_cargo: bool) -> str | None:
        return self.command.argv[0] if self.command else None


@dataclass(frozen=True, slots=True)
class IgvmImage(Action):
    """Put the parts together with igvmbuilder."""

    revision: ClassVar[int] = 1
    is_image: ClassVar[bool] = True
    build: Command
    output: str

    @property
    def commands(self) -> tuple[Command, ...]:
        return (self.build,)


@dataclass(frozen=True, slots=True)
class Measurement(Action):
    """Ask igvmmeasure for the launch digest and write it down."""

    revision: ClassVar[int] = 1
    is_about_an_image: ClassVar[bool] = True
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

    @property
    def commands(self) -> tuple[Command, ...]:
        return (self.measure,)


@dataclass(frozen=True, slots=True)
class Provenance(Action):
    """Say of an IGVM file what it was made of, and how."""

    revision: ClassVar[int] = 2
    is_about_an_image: ClassVar[bool] = True
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
class VersionFile(Action):
    """Write the tree's version file where its text changed."""

    revision: ClassVar[int] = 1
    writes_source: ClassVar[bool] = True
    output: str
