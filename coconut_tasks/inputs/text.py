"""The text of files that tools write and read."""

from __future__ import annotations

from pathlib import Path


def read_text(path: str) -> str:
    """A file's text; empty where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
