"""The environment variables that reach a build."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping

_CARGO = re.compile(
    r"CARGO_|RUSTC|RUSTFLAGS$|RUSTDOC|RUSTUP_TOOLCHAIN$|CARGO$|RUSTUP_HOME$|(HOST_|TARGET_)?(CC|CXX|AR|CFLAGS|LD)(_|$)"
)
_NOT_IN_OUTPUT = re.compile(r"CARGO_(TERM|NET|HTTP|REGISTR|LOG|ALIAS)")
"""Variables of cargo that change how it talks and fetches, but never what it makes."""
_SECRET = re.compile(r"TOKEN|SECRET|PASS|CREDENTIAL|_KEY$", re.IGNORECASE)
# Few runs need the others: they are compiled where they are used.
_MAKE_REFERENCE = r"(?m)\$\$[({]?([A-Za-z_]\w*)|\$[({](\w+)|\$([A-Za-z_])|(?:ifn?def|export)\s+(\w+)|^\s*(\w+)\s*\?="
_JOBS = r"(?<!\S)(--jobserver-\S+|(-j|--jobs)([= ]?\d+)?(?!\S))\s*"
OF_MAKE = ("MAKEFLAGS", "GNUMAKEFLAGS", "MAKEFILES")
"""What make itself takes from the environment, whatever its makefiles say."""


def cargo_environment(
    environment: Mapping[str, str], more: Iterable[str], *, own: bool = True
) -> dict[str, str | None]:
    """What cargo and rustc can see: their own variables (with ``own``), and ``more`` names that a build asked for (None: not set)."""
    names = {name for name in environment if _CARGO.match(name) and not _NOT_IN_OUTPUT.match(name)} if own else set()
    values = {name: _value(name, environment.get(name)) for name in sorted(names.union(more))}
    # Set or not, there is one, with a configuration that counts.
    return values | {"CARGO_HOME": cargo_home(environment)}


def cargo_home(environment: Mapping[str, str]) -> str:
    """cargo's own folder: configuration, fetched packages."""
    return environment.get("CARGO_HOME") or os.path.join(environment.get("HOME", ""), ".cargo")


def rustup_home(environment: Mapping[str, str]) -> str:
    """rustup's own folder: settings, toolchains."""
    return environment.get("RUSTUP_HOME") or os.path.join(environment.get("HOME", ""), ".rustup")


_KEPT = (
    r"PATH|HOME|USER|LOGNAME|TMPDIR|CARGO_HOME|RUSTUP_.*|CARGO_(HTTP|NET|REGISTRY|REGISTRIES|TERM)_.*"
    r"|(?i:(https?|ftp|all|no)_proxy)|SSL_CERT_(FILE|DIR)|CURL_CA_BUNDLE|NIX_SSL_CERT_FILE|SSH_AUTH_SOCK"
    r"|GIT_(DIR|WORK_TREE|COMMON_DIR|CEILING_DIRECTORIES|SSH|SSH_COMMAND|SSL_CAINFO|CONFIG.*)|SOURCE_DATE_EPOCH"
)
"""What a reproducible build may see of the user's environment: where programs are, and how things are fetched."""
_NO_COMMIT = 315532800
"""1980-01-01, the first day that every archive format can express."""


def reproducible_environment(
    environment: Mapping[str, str], also: Iterable[str], commit: int | None, compilers: str
) -> dict[str, str]:
    """The environment of a reproducible build.

    ``also`` are more names of the user's environment that are kept, ``commit`` is when the tree's commit was made (seconds since 1970),
    and ``compilers`` is the folder in which PATH looks first.
    """
    names = {name for name in environment if re.fullmatch(_KEPT, name)} | (set(also) & environment.keys())
    kept = {name: environment[name] for name in sorted(names)}
    epoch = kept.get("SOURCE_DATE_EPOCH") or str(_NO_COMMIT if commit is None else commit)
    fixed = {"LC_ALL": "C", "TZ": "UTC", "SOURCE_DATE_EPOCH": epoch, "CARGO_INCREMENTAL": "0"}
    return {**kept, **fixed, "PATH": os.pathsep.join((compilers, kept.get("PATH") or os.defpath))}


def asked_environment(environment: Mapping[str, str], names: Iterable[str]) -> dict[str, str | None]:
    """The named variables, where the environment sets them."""
    values = ((name, _value(name, environment.get(name))) for name in sorted(set(names)))
    return {name: value for name, value in values if value is not None}


AMBIENT = frozenset(
    {
        *("PATH", "HOME", "PWD", "OLDPWD", "SHELL", "USER", "LOGNAME", "TERM", "TMPDIR", "LANG", "LANGUAGE"),
        *("MAKE", "MAKELEVEL", "MFLAGS", "SHLVL", "_"),
    }
)
"""Variables that every session sets in its own way. The text of makefiles is full of them; as inputs, each new terminal would build
anew."""


def make_references(makefile: str) -> set[str]:
    """The variables that the text of a makefile refers to, and those that its recipes' shell does; the environment can set each of them.

    ``$X`` is the variable of one letter for make, ``$$NAME`` one for the shell.
    """
    return {name for found in re.findall(_MAKE_REFERENCE, makefile) for name in found if name}


def without_jobs(flags: str) -> str:
    """Options of make without how many jobs there may be at once, and where they are counted."""
    return re.sub(_JOBS, "", flags).strip()


def _value(name: str, value: str | None) -> str | None:
    if name in OF_MAKE and value is not None:
        value = without_jobs(value) or None
    # The state folder is no place for secrets: a digest tells just as well whether one changed.
    if value is None or not _SECRET.search(name):
        return value
    return "sha256:" + hashlib.sha256(value.encode(errors="surrogateescape")).hexdigest()
