"""What this machine's folders are called in a reproducible build, and the cargo configuration that passes this to rustc.

cargo joins lists of ``rustflags`` under the same key in all its configuration files, the nearest file's last. Strings are not joined: the
nearest file wins, and a list together with a string is an error. cargo uses ``build.rustflags`` only for a triple without flags in any
``target`` table; all tables that match are joined (all observed with cargo 1.95). So ours go under each key that exists, and under
``build``. A RUSTFLAGS variable would replace them all. If several prefixes match, rustc and gcc use the last one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from coconut_tasks.errors import StepError
from coconut_tasks.inputs.cargo_config import included_configurations
from coconut_tasks.inputs.environment import cargo_home
from coconut_tasks.inputs.text import read_text
from coconut_tasks.inputs.toolchain import Toolchain

Prefix = tuple[str, str]
"""A path on this machine, and its replacement."""
Flags = Mapping[str, Sequence[str] | str]
"""``rustflags`` by TOML table, for example ``[target."cfg(unix)"]``: a list, or the string in the nearest file."""
_BUILD = "[build]"


def machine_prefixes(tree: str, bin: str, target: str, environment: Mapping[str, str]) -> Iterator[Prefix]:
    """The folders of a build and cargo's own, each also with symbolic links resolved."""
    home = cargo_home(environment)
    yield from _both(home, "/cargo")
    for name in ("registry", "git"):  # these may be links, for example to a shared disk
        yield from _both(os.path.join(home, name), f"/cargo/{name}")
    yield from _both(tree, "/svsm")
    yield from _both(bin, "/bin")
    yield from _both(target, "/target")


def toolchain_prefixes(toolchain: Toolchain) -> Iterator[Prefix]:
    """Give the standard library's sources the same names whether they are installed or not."""
    yield from _both(toolchain.sysroot, "/sysroot")
    source = os.path.join(toolchain.sysroot, "lib", "rustlib", "src", "rust")
    yield from _both(source, f"/rustc/{toolchain.commit}" if toolchain.commit else "/rustc")


def by_length(prefixes: Iterable[Prefix]) -> list[Prefix]:
    """Each once, the longest last, since the last match is used; without the root folder, which would match everything."""
    return sorted({pair for pair in prefixes if len(pair[0]) > 1}, key=lambda pair: (len(pair[0]), pair))


def pattern(prefixes: Iterable[Prefix]) -> str:
    """A regular expression for a path that begins with one of the prefixes, which is its first group. It matches at the start of a path or
    after a one-letter option, as in ``-L/home/me/svsm``, but not in the middle of another path."""
    folders = "|".join(re.escape(path) for path, _ in reversed(by_length(prefixes)))
    return rf"(?:(?<![\w.])|(?<=-[A-Z]))({folders})(?![\w.-])"


def read_configurations(files: Sequence[str]) -> Flags:
    """The ``rustflags`` in configuration files, nearest first, and in the files that they include."""
    import tomllib

    found: dict[str, Sequence[str] | str] = {}
    for file in files:
        for path in (file, *included_configurations(file)):
            try:
                content = tomllib.loads(read_text(path))
            except ValueError:
                continue  # cargo reports it better
            for table, values in _tables(content):
                flags = values.get("rustflags") if isinstance(values, dict) else None
                if isinstance(flags, str | list):
                    found.setdefault(table, flags)
    return found


def cargo_config(prefixes: Sequence[Prefix], target: str, flags: Flags) -> str:
    """The text of a configuration file with the prefixes and the target folder, for a cargo that also reads ``flags``.

    Raises:
        StepError: a path contains a space, and flags are written as a string.
    """
    ours = [f"--remap-path-prefix={path}={name}" for path, name in prefixes]
    lines = ["# coconut-tasks"]
    for table in sorted({_BUILD, *flags}):
        theirs = flags.get(table, [])
        lines += ["", table]
        if isinstance(theirs, str):
            if blank := next((path for path, _ in prefixes if any(map(str.isspace, path))), None):
                raise StepError(
                    "blank-in-a-flag",
                    f"REPRODUCIBLE: '{blank}' contains a space, and the rustflags of {table} in cargo's configuration are a string, "
                    "which cargo splits at spaces: write them as a list",
                )
            lines.append(f"rustflags = {_toml(' '.join([theirs, *ours]))}")
        else:
            lines += ["rustflags = [", *(f"    {_toml(flag)}," for flag in ours), "]"]
        if table == _BUILD:
            lines.append(f"target-dir = {_toml(target)}")
    return "\n".join(lines) + "\n"


def _both(path: str, name: str) -> Iterator[Prefix]:
    yield path, name
    yield os.path.realpath(path), name


def _tables(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield _BUILD, content.get("build")
    targets = content.get("target")
    for key, values in targets.items() if isinstance(targets, dict) else ():
        yield f"[target.{_toml(key)}]", values


def _toml(text: str) -> str:
    # A JSON string is a TOML basic string, except for DEL, which JSON does not escape.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
