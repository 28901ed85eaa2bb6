"""cargo's configuration files: which count, what they include, and the values that are needed here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coconut_tasks.inputs.environment import cargo_home
from coconut_tasks.inputs.paths import joined
from coconut_tasks.inputs.text import read_text

_MAY_HAVE_TARGET = re.compile(r"""\b(target|include)["']?\s*=""")


def configurations(tree: str, environment: Mapping[str, str]) -> list[Path]:
    """The cargo configuration files that count in a tree, existing or not, nearest first."""
    folders = [folder / ".cargo" for folder in (Path(tree), *Path(tree).parents)] + [Path(cargo_home(environment))]
    return [folder / name for folder in folders for name in ("config", "config.toml")]


def included_configurations(path: str, depth: int = 0) -> Iterator[str]:
    """The files that a configuration file includes (``include``, in cargo since 1.94)."""
    text = read_text(path)
    if "include" not in text or depth > 10:
        return
    import tomllib

    try:
        entries: Any = tomllib.loads(text).get("include", [])
    except ValueError:
        return
    for entry in [entries] if isinstance(entries, str | dict) else entries if isinstance(entries, list) else []:
        name = entry.get("path") if isinstance(entry, dict) else entry
        if isinstance(name, str):
            included = joined(os.path.dirname(path), name)
            yield included
            yield from included_configurations(included, depth + 1)


def configured_variables(tree: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables in the ``[env]`` tables of cargo's configuration, with their values as text; the nearest file wins."""
    import tomllib

    found: dict[str, str] = {}
    for file in map(str, configurations(tree, environment)):
        for path in (file, *included_configurations(file)):
            text = read_text(path)
            if not re.search(r"^\s*\[?\s*env\b", text, re.MULTILINE):
                continue
            try:
                table = tomllib.loads(text)["env"]
                found = {name: json.dumps(value, sort_keys=True) for name, value in table.items()} | found
            except (ValueError, KeyError, TypeError, AttributeError):  # cargo reports what is wrong
                continue
    return found


def default_target(tree: str, environment: Mapping[str, str]) -> str | None:
    """The target that cargo builds for if the command names none, from ``CARGO_BUILD_TARGET`` or the nearest configuration's
    ``build.target``; None for the host."""
    if named := environment.get("CARGO_BUILD_TARGET"):
        return named
    for path in map(str, configurations(tree, environment)):
        if not _MAY_HAVE_TARGET.search(read_text(path)):
            continue
        for file in (path, *included_configurations(path)):
            if found := _build_target(read_text(file)):
                return found
    return None


def configured_target_folder(tree: str, environment: Mapping[str, str]) -> str | None:
    """cargo's target folder from the nearest configuration's ``build.target-dir``, absolute; None if there is none."""
    import tomllib

    for path in map(str, configurations(tree, environment)):
        for file in (path, *included_configurations(path)):
            text = read_text(file)
            if "target-dir" not in text:
                continue
            try:
                # It is relative to the parent of the .cargo folder.
                return joined(os.path.dirname(os.path.dirname(file)), tomllib.loads(text)["build"]["target-dir"])
            except (ValueError, KeyError, TypeError):  # cargo reports what is wrong
                continue
    return None


def _build_target(text: str) -> str | None:
    import tomllib

    try:
        found = tomllib.loads(text)["build"]["target"]
        return found if isinstance(found, str) else " ".join(found)
    except (ValueError, KeyError, TypeError):
        return None  # cargo reports what is wrong
