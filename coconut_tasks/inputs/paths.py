"""Paths as tools write them down, made absolute."""

from __future__ import annotations

import os
from collections.abc import Sequence


def joined(base: str, path: str) -> str:
    """``path`` as seen from ``base``. ``..`` is folded only where that names the same file: not behind a link to a folder."""
    whole = os.path.join(base, path)
    folded = os.path.normpath(whole)
    return folded if ".." not in whole or os.path.realpath(folded) == os.path.realpath(whole) else whole


def first_that_exists(bases: Sequence[str], path: str) -> set[str]:
    """A relative path as seen from each base where it exists; from the first one where it exists nowhere."""
    if os.path.isabs(path):
        return {joined("/", path)}
    found = {place for base in bases if os.path.exists(place := joined(base, path))}
    return found or {joined(bases[0], path)}
