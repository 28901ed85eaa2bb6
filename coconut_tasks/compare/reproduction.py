"""What came out of two builds of the same."""

from __future__ import annotations

from pathlib import Path

from coconut_tasks.compare.spots import Spot
from coconut_tasks.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Different:
    """A file that is not the same in both builds."""

    step: str
    """Which makes it; empty for one in the output folder that no step of the plan names."""
    files: tuple[Path, Path]
    spots: tuple[Spot, ...]
    """Empty where one of the two files is missing."""
    paths: tuple[str, ...] = ()
    """Texts in the first file that begin with the folder of that build."""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What came out of two builds."""

    compared: int
    """How many files."""
    differences: tuple[Different, ...]
    """In the order of the data: a cause stands before what it leads to."""
    digests: tuple[tuple[str, str], ...]
    """The name below the output folder and the launch digest of each measured file, by the first build."""
    copies: tuple[tuple[str, Path], ...]
    """What the two builds are called, and their folders."""
