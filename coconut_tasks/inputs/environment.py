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
"""cargo's variables that affect its messages and downloads, but never its output."""
_SECRET = re.compile(r"TOKEN|SECRET|PASS|CREDENTIAL|_KEY$", re.IGNORECASE)
# Few runs need the others: they are compiled where they are used.
_MAKE_REFERENCE = r"(?m)\$\$[({]?([A-Za-z_]\w*)|\$[({](\w+)|\$([A-Za-z_])|(?:ifn?def|export)\s+(\w+)|^\s*(\w+)\s*\?="
_JOBS = r"(?<!\S)(--jobserver-\S+|(-j|--jobs)([= ]?\d+)?(?!\S))\s*"
OF_MAKE = ("MAKEFLAGS", "GNUMAKEFLAGS", "MAKEFILES")
"""The variables that make itself reads, whatever its makefiles say."""


def cargo_environment(
    environment: Mapping[str, str], more: Iterable[str], *, own: bool = True
) -> dict[str, str | None]:
    """The relevant variables of cargo and rustc: their own (with ``own``), and ``more`` names that a build asked for (None: not set)."""
    names = {name for name in environment if _CARGO.match(name) and not _NOT_IN_OUTPUT.match(name)} if own else set()
    values = {name: _value(name, environment.get(name)) for name in sorted(names.union(more))}
    # The folder exists whether the variable is set or not, and its configuration counts.
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
"""The part of the user's environment that a reproducible build may see: where programs are, and how to download."""
_NO_COMMIT = 315532800
"""1980-01-01, the first day that every archive format can express."""


def reproducible_environment(
    environment: Mapping[str, str], also: Iterable[str], commit: int | None, compilers: str
) -> dict[str, str]:
    """The environment of a reproducible build.

    ``also`` are further variables of the user that are kept, ``commit`` is the time of the tree's commit (seconds since 1970), and
    ``compilers`` is the folder to put first in PATH.
    """
    names = {name for name in environment if re.fullmatch(_KEPT, name)} | (set(also) & environment.keys())
    kept = {name: environment[name] for name in sorted(names)}
    epoch = kept.get("SOURCE_DATE_EPOCH") or str(_NO_COMMIT if commit is None else commit)
    fixed = {"LC_ALL": "C", "TZ": "UTC", "SOURCE_DATE_EPOCH": epoch, "CARGO_INCREMENTAL": "0"}
    return {**kept, **fixed, "PATH": os.pathsep.join((compilers, kept.get("PATH") or os.defpath))}


def asked_environment(environment: Mapping[str, str], names: Iterable[str]) -> dict[str, str | None]:
    """The named variables that are set."""
    values = ((name, _value(name, environment.get(name))) for name in sorted(set(names)))
    return {name: value for name, value in values if value is not None}


AMBIENT = frozenset(
    {
        *("PATH", "HOME", "PWD", "OLDPWD", "SHELL", "USER", "LOGNAME", "TERM", "TMPDIR", "LANG", "LANGUAGE"),
        *("MAKE", "MAKELEVEL", "MFLAGS", "SHLVL", "_"),
    }
)
"""Variables that differ between sessions. Makefiles are full of them; if they were inputs, each new terminal would rebuild everything."""


def make_references(makefile: str) -> set[str]:
    """The variables that a makefile or its recipes' shell refers to; the environment can set each of them.

    ``$X`` is a one-letter variable of make, ``$$NAME`` a variable of the shell.
    """
    return {name for found in re.findall(_MAKE_REFERENCE, makefile) for name in found if name}


def without_jobs(flags: str) -> str:
    """make's options without the number of jobs and the jobserver."""
    return re.sub(_JOBS, "", flags).strip()


def _value(name: str, value: str | None) -> str | None:
    if name in OF_MAKE and value is not None:
        value = without_jobs(value) or None
    # Keep secrets out of the state folder: a digest shows a change just as well.
    if value is None or not _SECRET.search(name):
        return value
    return "sha256:" + hashlib.sha256(value.encode(errors="surrogateescape")).hexdigest()
