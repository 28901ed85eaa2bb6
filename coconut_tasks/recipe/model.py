"""A checked recipe as plain values: one frozen class for each JSON object, no I/O.

Field names are the JSON keys in snake_case. Each default here is the format's own, so a ``Recipe`` is complete.
"""

from __future__ import annotations

from enum import StrEnum

from coconut_tasks.dataclass import dataclass


class BuildType(StrEnum):
    """How a component is built."""

    CARGO = "cargo"
    MAKE = "make"
    TEST = "test"


class Platform(StrEnum):
    """A platform that an IGVM file supports, in the order of the flags for ``igvmbuilder``."""

    NATIVE = "native"
    SNP = "snp"
    TDP = "tdp"
    VSM = "vsm"


TARGETS = ("qemu", "hyper-v", "vanadium")
"""The hypervisors that an IGVM file can be for."""


@dataclass(frozen=True, slots=True)
class Component:
    """A COCONUT build item (COBI): one thing that cargo or make builds."""

    name: str
    """The key in the recipe: a kernel part, or a module's package or binary name."""
    type: BuildType = BuildType.CARGO
    output_file: str | None = None
    """make only: the make target, which is also the file it makes; relative to the tree."""
    manifest: str | None = None
    """``--manifest-path``, relative to the tree."""
    features: tuple[str, ...] = ()
    """Cargo features in the recipe's order, without duplicates."""
    no_default_features: bool = False
    binary: bool = False
    """True: ``--bin NAME``; False: ``--package NAME``."""
    objcopy: str = "elf64-x86-64"
    """BFD target name for ``objcopy -O``."""
    env: tuple[tuple[str, str], ...] = ()
    """Extra environment of the build command, sorted by name."""
    toolchain: str | None = None
    """test only: ``cargo +TOOLCHAIN``."""


@dataclass(frozen=True, slots=True)
class Module:
    """A user-space module and its place in the file-system image."""

    component: Component
    path: str
    """Path inside the image: relative, normalised, with ``/``, never leading out of the image."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """The kernel parts; each component's name is its key: ``svsm``, ``stage2`` or ``bldr``, ``tdx-stage1``."""

    svsm: Component
    loader: Component | None = None
    """``bldr`` in today's recipes, ``stage2`` in older ones; never both."""
    tdx_stage1: Component | None = None


@dataclass(frozen=True, slots=True)
class Firmware:
    """Where the guest firmware comes from; ``file`` wins over ``env``; with neither, there is no firmware."""

    env: str | None = None
    file: str | None = None
    command: tuple[str, ...] | None = None
    """An argv to run first, in the tree, without a shell."""


@dataclass(frozen=True, slots=True)
class Target:
    """One IGVM file: a hypervisor and its parameters."""

    name: str
    """One of ``TARGETS``."""
    output: str
    """File name below ``bin/``; default ``coconut-<target>.igvm``."""
    platforms: tuple[Platform, ...] = (Platform.SNP, Platform.TDP, Platform.VSM)
    """In the order of ``Platform``: the recipe's order does not matter."""
    policy: str = "0x30000"
    """SEV-SNP guest policy: a hex number of up to 64 bits, as written in the recipe."""
    comport: int | None = None
    """Serial port 1 to 4 of the console; None leaves igvmbuilder's own default."""
    check_kvm: bool = False
    measure_native_zeroes: bool = False
    no_vtom: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole recipe."""

    source: str
    """The path by which the user named it."""
    kernel: Kernel
    targets: tuple[Target, ...] = ()
    """Sorted by name: the recipe's order does not matter."""
    firmware: Firmware | None = None
    modules: tuple[Module, ...] = ()
    """Sorted by name."""
    path: str = ""
    """The path of its file, spelt as in commands; empty if there is no file."""
