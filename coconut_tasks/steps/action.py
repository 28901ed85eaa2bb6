"""What each kind of step does, as values: what it runs, reads and makes. The package ``actions`` does it.

Every path is spelled as in the commands: relative to the source tree, which is the working folder of every command, or absolute.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from coconut_tasks.dataclass import dataclass
from coconut_tasks.steps.command import Command


class Action:
    """What every action has."""

    revision: ClassVar[int]
    """Stands for what this program itself does to the bytes, apart from the commands: which program it takes, the environment and
    configuration of a reproducible build, how modules are laid out, what is written. Raise it with a change that makes other bytes from
    the same inputs, so that everything made by an older version is stale. ``tests/test_revisions.py`` checks this."""
    is_image: ClassVar[bool] = False
    """It makes an IGVM file: the files beside it describe its bytes, and are removed before it is replaced."""
    is_about_an_image: ClassVar[bool] = False
    """It writes a file that describes an IGVM file and is placed beside it."""
    writes_source: ClassVar[bool] = False
    """It writes a file in the tree whose right content comes from git, not from a record."""

    @property
    def commands(self) -> tuple[Command, ...]:
        """Every process that it starts, in order."""
        return ()

    @property
    def made_in_tree(self) -> tuple[str, ...]:
        """The files that it makes in addition to the step's outputs."""
        return ()

    def asked_each_time(self, *, known: bool, ask_cargo: bool) -> str | None:
        """The program that every run has to start to find out whether anything changed; None if there is none.

        ``known`` says whether all its inputs are known; ``ask_cargo`` is as in ``Options``.
        """
        return None


@dataclass(frozen=True, slots=True)
class CargoItem(Action):
    """Build with cargo, take the program from where cargo says that it is, and copy it with objcopy."""

    revision: ClassVar[int] = 2
    build: Command
    clean: Command
    """Removes what cargo made for the packages in the options ``--package=NAME``, which are to be appended."""
    program: str
    """Name of the binary that the build must produce."""
    built: str
    """Where the program is put, as cargo made it."""
    objcopy: Command | None
    """From ``built`` to ``output``; None for a host tool, which is used as cargo made it."""
    output: str
    toolchain: str | None = None
    """The Rust toolchain that the recipe names."""
    triple: str | None = None
    """The target that the command names."""
    builds_std: bool = False
    """The recipe makes cargo build the standard library, so no target has to be installed."""
    manifest: str | None = None
    """The item's manifest, if the recipe names one."""
    test: bool = False
    """The program is the package's test executable."""

    @property
    def commands(self) -> tuple[Command, ...]:
        return (self.build, self.objcopy) if self.objcopy else (self.build,)

    @property
    def needed_target(self) -> str | None:
        """The target whose standard library must be installed; None for a host tool, since cargo can always build for its host."""
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
    """The folder that is packed; recreated each time."""
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
    """The file's path; None if there is only a command."""
    variable: str | None
    """The environment variable that names the file, if any."""
    output: str

    @property
    def commands(self) -> tuple[Command, ...]:
        return (self.command,) if self.command else ()

    def asked_each_time(self, *, known: bool, ask_cargo: bool) -> str | None:
        return self.command.argv[0] if self.command else None


@dataclass(frozen=True, slots=True)
class IgvmImage(Action):
    """Assemble the parts with igvmbuilder."""

    revision: ClassVar[int] = 1
    is_image: ClassVar[bool] = True
    build: Command
    output: str

    @property
    def commands(self) -> tuple[Command, ...]:
        return (self.build,)


class PlatformDigest(NamedTuple):
    """The measurement of an image for one platform."""

    platform: str
    """The recipe's word."""
    digest: str
    """In hex."""


@dataclass(frozen=True, slots=True)
class Measurement(Action):
    """Measure an IGVM file for each of its platforms that measures, and write that down."""

    revision: ClassVar[int] = 2
    is_about_an_image: ClassVar[bool] = True
    measure: Command | None
    """The command of igvmmeasure; None without SEV-SNP, since it measures nothing else."""
    igvm: str
    """The file that is measured."""
    tool: str | None
    """igvmmeasure, if it measures the file."""
    shown: str
    """The file's name below ``bin/``, as the measurement gives it."""
    target: str
    platforms: tuple[str, ...]
    policy: str
    check_kvm: bool
    native_zero: bool
    hexes: tuple[tuple[str, str], ...]
    """Each platform that measures, and the file for its digest as text."""
    json: str
    reference_values: str
    corim: str

    @property
    def commands(self) -> tuple[Command, ...]:
        return () if self.measure is None else (self.measure,)


@dataclass(frozen=True, slots=True)
class Provenance(Action):
    """Write down what an IGVM file was made of, and how."""

    revision: ClassVar[int] = 2
    is_about_an_image: ClassVar[bool] = True
    igvm: str
    """The file that it describes."""
    shown: str
    """Its name below ``bin/``."""
    target: str
    recipe: str
    """The recipe's file."""
    options: tuple[tuple[str, str], ...]
    """Pairs of a variable and its value: what the user asked for in addition to the recipe."""
    links: tuple[str, ...]
    """The links of all steps that made the file, in build order."""
    own_links: tuple[str, ...]
    """Those of them that are about this file only: the ones of the steps that make and measure it."""
    parts: tuple[tuple[str, str], ...]
    """Pairs of a step's name and the output of it that goes into the IGVM file."""
    measurement: str | None
    """The launch measurement's JSON file; None for a target without one."""
    output: str


@dataclass(frozen=True, slots=True)
class VersionFile(Action):
    """Write the tree's version file if its text changed."""

    revision: ClassVar[int] = 1
    writes_source: ClassVar[bool] = True
    output: str
