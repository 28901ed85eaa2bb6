"""The environment variables that reach a build."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

_CARGO = re.compile(
    r"CARGO_|RUSTC|RUSTFLAGS$|RUSTDOC|RUSTUP_TOOLCHAIN$|CARGO$|RUSTUP_HOME$|(HOST_|TARGET_)?(CC|CXX|AR|CFLAGS|LD)(_|$)"
)
_NOT_IN_OUTPUT = re.compile(r"CARGO_(TERM|NET|HTTP|REGISTR|LOG|ALIAS)")
"""Variables of cargo that change how it talks and fetches, but never what it makes."""
_SECRET = re.compile(r"TOKEN|SECRET|PASS|CREDENTIAL|_KEY$", re.IGNORECASE)
_MAKE_REFERENCE = re.compile(r"\$[({](\w+)|(?:ifn?def|export)\s+(\w+)|^\s*(\w+)\s*\?=", re.MULTILINE)


def cargo_environment(environment: Mapping[str, str], more: Iterable[str]) -> dict[str, str | None]:
    """What cargo and rustc can see: their own variables, and ``more`` names that a build asked for (None: not set)."""
    own = {name for name in environment if _CARGO.match(name) and not _NOT_IN_OUTPUT.match(name)}
    return {name: _value(name, environment.get(name)) for name in sorted(own | set(more))}


def asked_environment(environment: Mapping[str, str], names: Iterable[str]) -> dict[str, str | None]:
    """The named variables, where the environment sets them."""
    return {name: _value(name, environment[name]) for name in sorted(set(names)) if name in environment}


def make_references(makefile: str) -> set[str]:
    """The variables that the text of a makefile refers to; the environment can set each of them."""
    return {name for found in _MAKE_REFERENCE.findall(makefile) for name in found if name}


def _value(name: str, value: str | None) -> str | None:
    # The state folder is no place for secrets: a digest tells just as well whether one changed.
    if value is None or not _SECRET.search(name):
        return value
    return "sha256:" + hashlib.sha256(value.encode(errors="surrogateescape")).hexdigest()
