"""Paths from tools, made absolute."""

from __future__ import annotations

import os
from collections.abc import Sequence


def joined(base: str, path: str) -> str:
    """``path`` relative to ``base``. ``..`` is resolved only if the result names the same file, so not after a link to a folder."""
    whole = os.path.join(base, path)
    folded = os.path.normpath(whole)
    return folded if ".." not in whole or os.path.realpath(folded) == os.path.realpath(whole) else whole


def first_that_exists(bases: Sequence[str], path: str) -> set[str]:
    """A relative path joined to each base where it exists; joined to the first base if it exists nowhere."""
    if os.path.isabs(path):
        return {joined("/", path)}
    found = {place for base in bases if os.path.exists(place := joined(base, path))}
    return found or {joined(bases[0], path)}
