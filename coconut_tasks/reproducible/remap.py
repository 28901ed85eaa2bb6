"""What folders of this machine are called in a reproducible build, and cargo's configuration that says so to rustc.

cargo joins lists of ``rustflags`` under the same key of all its configuration files, the nearest file's last. Texts are not joined: the
nearest file's counts, and a list and a text are an error. It takes ``build.rustflags`` only for a triple that no ``target`` table has
flags for; all tables that fit are joined (all seen with cargo 1.95). So ours go under each key that is there, and under ``build``. A
RUSTFLAGS variable would replace them all. Of several prefixes that fit, rustc and gcc take the last one.
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
"""A path of this machine, and what it is called instead."""
Flags = Mapping[str, Sequence[str] | str]
"""``rustflags`` of configuration files by their table in TOML, as ``[target."cfg(unix)"]``: a list, or the text of the nearest file."""
_BUILD = "[build]"


def machine_prefixes(tree: str, bin: str, target: str, environment: Mapping[str, str]) -> Iterator[Prefix]:
    """The folders of a build, and cargo's own; each also by its path without links."""
    home = cargo_home(environment)
    yield from _both(home, "/cargo")
    for name in ("registry", "git"):  # these may be links, as to a disk that is shared
        yield from _both(os.path.join(home, name), f"/cargo/{name}")
    yield from _both(tree, "/svsm")
    yield from _both(bin, "/bin")
    yield from _both(target, "/target")


def toolchain_prefixes(toolchain: Toolchain) -> Iterator[Prefix]:
    """The standard library's sources, where they are installed, are called as where they are not."""
    yield from _both(toolchain.sysroot, "/sysroot")
    source = os.path.join(toolchain.sysroot, "lib", "rustlib", "src", "rust")
    yield from _both(source, f"/rustc/{toolchain.commit}" if toolchain.commit else "/rustc")


def by_length(prefixes: Iterable[Prefix]) -> list[Prefix]:
    """Each once, the longest last, since the last one that fits is taken; never the root, which everything is in."""
    return sorted({pair for pair in prefixes if len(pair[0]) > 1}, key=lambda pair: (len(pair[0]), pair))


def pattern(prefixes: Iterable[Prefix]) -> str:
    """A regular expression for a path that begins with one of the prefixes, which is its first group: by itself or after an option of one
    letter, as in ``-L/home/me/svsm``, but not in the middle of another path."""
    folders = "|".join(re.escape(path) for path, _ in reversed(by_length(prefixes)))
    return rf"(?:(?<![\w.])|(?<=-[A-Z]))({folders})(?![\w.-])"


def read_configurations(files: Sequence[str]) -> Flags:
    """The ``rustflags`` of configuration files, the nearest first, and of those that they include."""
    import tomllib

    found: dict[str, Sequence[str] | str] = {}
    for file in files:
        for path in (file, *included_configurations(file)):
            try:
                content = tomllib.loads(read_text(path))
            except ValueError:
                continue  # cargo will say it better
            for table, values in _tables(content):
                flags = values.get("rustflags") if isinstance(values, dict) else None
                if isinstance(flags, str | list):
                    found.setdefault(table, flags)
    return found


def cargo_config(prefixes: Sequence[Prefix], target: str, flags: Flags) -> str:
    """The text of a configuration file with the prefixes and the target folder, to be given to a cargo that has read ``flags``.

    Raises:
        StepError: a path with a blank, where the flags are written as one text.
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
                    f"REPRODUCIBLE: '{blank}' has a blank in it, and rustflags of {table} in cargo's configuration is one text, "
                    "which is split at blanks: write it as a list",
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
    # A JSON text is a basic string of TOML, but for DEL, which JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
