"""The C compilers of a reproducible build: for each compiler in PATH, a script that adds options to rename the machine's folders.

Makefiles, cmake and ``configure`` set flags as they like, so no variable reaches every compiler call. A script does, since nearly all of
them look up the compiler in PATH. GCC has ``-ffile-prefix-map`` since version 8, clang since version 10.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator

_DRIVER = re.compile(r"([\w.]+-)*(cc|gcc|g\+\+|c\+\+|clang|clang\+\+|cpp|c89|c99)(-\d[\d.]*)?")
"""``gcc``, ``x86_64-linux-gnu-gcc``, ``gcc-12``, ``clang++-19``, but not ``gcc-ar``."""
_SCRIPT = """#!/bin/sh
# coconut-tasks
here={here}
# What this compiler starts is not to come here again: ccache looks for the real compiler in PATH, others are scripts that call gcc.
case ":$PATH:" in
*":$here:"*)
    PATH=":$PATH:"
    PATH="${{PATH%%":$here:"*}}:${{PATH#*":$here:"}}"
    PATH="${{PATH#:}}"
    PATH="${{PATH%:}}"
    ;;
esac
exec {compiler} {flags} "$@"
"""


def compilers(path: str, folder: str, prefixes: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Names and texts of the scripts for ``folder``, which may itself be in ``path``.

    ``prefixes`` are pairs of a path on this machine and its replacement; if several match, the last one counts. They come before a
    command's own flags, which therefore take precedence.
    """
    flags = shlex.join(f"-ffile-prefix-map={old}={new}" for old, new in prefixes)
    for name, compiler in sorted(_found(path, folder).items()):
        # The name as found, with links unresolved: ccache, clang and GCC look at the name they are called by.
        yield name, _SCRIPT.format(here=shlex.quote(folder), compiler=shlex.quote(compiler), flags=flags)


def _found(path: str, folder: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for place in path.split(os.pathsep):
        if place == folder or not os.path.isabs(place):
            continue
        try:
            names = os.listdir(place)
        except OSError:
            continue
        for name in filter(_DRIVER.fullmatch, names):
            file = os.path.join(place, name)
            if name not in found and os.path.isfile(file) and os.access(file, os.X_OK):
                found[name] = file
    return found
