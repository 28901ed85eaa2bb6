"""Find out which dodo.py doit loads, without loading it."""

from __future__ import annotations

from pathlib import Path

from coconut_tasks.options import process_environment


def dodo_file() -> Path:
    """The file that doit loads unless an option names another; it may not exist."""
    return Path(process_environment().get("DOIT_FILE") or "dodo.py")


def is_ours(dodo: Path) -> bool:
    """Whether a dodo.py uses this project."""
    try:
        return "coconut_tasks" in dodo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def is_of_others() -> bool:
    """Whether doit loads a dodo.py without tasks of this project."""
    dodo = dodo_file()
    return dodo.exists() and not is_ours(dodo)
