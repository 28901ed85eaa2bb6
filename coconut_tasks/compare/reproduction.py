"""The result of building the same twice."""

from __future__ import annotations

from pathlib import Path

from coconut_tasks.compare.spots import Spot
from coconut_tasks.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Different:
    """A file that differs between the two builds."""

    step: str
    """The step that makes it; empty for a file in the output folder that no step of the plan names."""
    files: tuple[Path, Path]
    spots: tuple[Spot, ...]
    """Empty if one of the two files is missing."""
    paths: tuple[str, ...] = ()
    """Texts in the first file that begin with the folder of that build."""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The result of two builds."""

    compared: int
    """How many files."""
    differences: tuple[Different, ...]
    """In build order: a cause comes before its effects."""
    digests: tuple[tuple[str, str, str], ...]
    """The name below the output folder, the platform and the digest of each launch measurement, by the first build."""
    copies: tuple[tuple[str, Path], ...]
    """The names of the two builds, and their folders."""
