"""The files that come with this project: beside the package in a checkout, inside it where it is installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def data_path(name: str) -> Path:
    """A file or folder of ours: ``schema``, ``config/qemu.json``, ``sample``."""
    installed = PACKAGE / name
    return installed if installed.exists() else PACKAGE.parent / name


def is_of_a_checkout(path: Path) -> bool:
    """Whether ``data_path`` found it in a checkout, and not in an installed package."""
    return PACKAGE not in path.parents
