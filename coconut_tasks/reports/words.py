"""Numbers as people read them."""

from __future__ import annotations


def human(size: int) -> str:
    """Bytes as ``512 B``, ``1.2 KiB``, ``3.4 MiB``."""
    if size < 1024:
        return f"{size} B"
    value, unit = size / 1024, "KiB"
    if value >= 1024:
        value, unit = value / 1024, "MiB"
    return f"{value:.1f} {unit}"


def seconds_in_words(seconds: float) -> str:
    """``4 s``, ``2 min 5 s``."""
    whole = max(round(seconds), 1)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"
