"""The files that come with this project: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def data_path(name: str) -> Path:
    """A file or folder of ours, for example ``schema``, ``config/qemu.json`` or ``sample``."""
    installed = PACKAGE / name
    return installed if installed.exists() else PACKAGE.parent / name


def is_of_a_checkout(path: Path) -> bool:
    """Whether ``data_path`` found it in a checkout, not in an installed package."""
    return PACKAGE not in path.parents
