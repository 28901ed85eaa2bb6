"""What a linker reads and no tool reports: linker scripts are not in rustc's dep-info, and cargo does not relink if one changes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from coconut_tasks.inputs.paths import joined
from coconut_tasks.inputs.text import read_text

_MOST = 1 << 20
"""The most bytes of a linker script."""
_INCLUDE = re.compile(r'^\s*INCLUDE\s+"?([^\s";]+)', re.MULTILINE)


def linked_files(flags: Iterable[str], folders: Sequence[str]) -> set[str]:
    """The files that flags name for the linker, and those that linker scripts among them include.

    ``flags`` are rustc's, or a build script's values of ``rustc-link-arg=``; relative names may start in any of ``folders``. The linker
    itself is not an input.
    """
    left = [word for flag in flags if "linker=" not in flag for word in _words(flag)]
    found: set[str] = set()
    while left:
        word = left.pop()
        for path in {joined(folder, word) for folder in folders if word and os.path.isfile(os.path.join(folder, word))}:
            if path not in found:
                found.add(path)
                left += _INCLUDE.findall(read_text(path)) if os.path.getsize(path) < _MOST else []
    return found


def _words(flag: str) -> set[str]:
    """The parts of a flag that may be file names, as in ``-Clink-arg=-Wl,-T,FILE`` and ``svsm=-TFILE``."""
    return {
        word.removeprefix("-T")
        for word in (*re.split(r"[\s,=]+", flag), flag.rpartition("=")[2], flag.partition("-T")[2])
    }
