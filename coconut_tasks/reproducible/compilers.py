"""The C compilers of a reproducible build: for each that PATH finds, a script that also says what the machine's folders are called.

A makefile, cmake or ``configure`` sets the flags as it likes, and no variable reaches the compiler by all of them. Its name does: nearly
all look it up in PATH. GCC knows ``-ffile-prefix-map`` since version 8, clang since version 10.
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
    """Names and texts of the scripts for ``folder``, which ``path`` may name, too.

    ``prefixes`` are pairs of a path of this machine and what it is called instead; of several that fit, the last one counts. They stand in
    front of a command's own flags, so those have the last word.
    """
    flags = shlex.join(f"-ffile-prefix-map={old}={new}" for old, new in prefixes)
    for name, compiler in sorted(_found(path, folder).items()):
        # By the name that was found and not by where its links lead: ccache, clang and GCC look at what they are called.
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
