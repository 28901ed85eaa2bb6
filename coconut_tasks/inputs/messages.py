"""cargo's JSON messages about a build: its programs, its packages, and the paths of their traces.

There is a message for every artifact of the build, fresh or not. The traces are rustc's dep-info beside an artifact (``CRATE-HASH.d``), and
the ``output`` file of a build script's run.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from coconut_tasks.dataclass import dataclass
from coconut_tasks.inputs.text import decoded, read_bytes, read_text

Message = Mapping[str, Any]
_STAMP = "invoked.timestamp"
_HASH = 16
"""How many hex digits distinguish cargo's units of a crate."""
_NUMBER = re.compile(rf"[0-9a-f]{{{_HASH}}}")
_PRINTED = re.compile(rb"cargo::?(?:rerun-if-(changed|env-changed)|rustc-(link-arg|link-search)[\w-]*)=(.*)")


@dataclass(frozen=True, slots=True)
class Program:
    """An executable from a cargo build."""

    name: str
    test: bool
    path: str
    library: bool = False
    """Whether it is from a library: its tests, if ``test`` is set."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A crate that was compiled, now or earlier."""

    package: str
    """cargo's package id."""
    artifact: str
    """One of its files, if possible the one with its hash in the name."""
    depinfo: tuple[str, ...]
    """rustc's dep-info of this unit, or of all units of the crate if it is ambiguous; empty if there is none."""
    exact: bool
    """Whether ``depinfo`` is only of this unit."""
    fresh: bool
    """Whether cargo did not need to compile it."""
    stamp: str = ""
    """The file whose time is when rustc started on it; empty if there is none."""
    links: bool = False
    """Whether it is a program, which the linker makes of all its dependencies."""
    script: bool = False
    """Whether it is a build script."""


@dataclass(frozen=True, slots=True)
class ScriptRun:
    """A run of a build script, now or earlier: a package has one for each set of features, target and profile."""

    package: str
    out_dir: str
    output: str
    """The file in which cargo keeps its output."""
    rerun: tuple[tuple[str, str], ...]
    """Pairs of ``changed`` or ``env-changed`` and the path or variable."""
    link: tuple[tuple[str, str], ...] = ()
    """Pairs of ``link-arg`` or ``link-search`` and the linker's argument."""

    @property
    def stamp(self) -> str:
        """The file whose time is when the script started."""
        return os.path.join(os.path.dirname(self.out_dir), _STAMP)

    @property
    def ended_ns(self) -> int:
        """When the script ended: cargo then writes ``output``, and sets its modification time to the start of the script."""
        try:
            return os.stat(self.output).st_ctime_ns
        except OSError:
            return 0


def parse_messages(text: str) -> list[dict[str, Any]]:
    """cargo's JSON messages, one per line. Other lines, for example a build script's output with ``-vv``, are skipped."""
    messages = []
    for line in text.split("\n"):  # a path may contain other characters that Python takes for line ends
        if line.startswith("{"):
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict) and "reason" in message:
                messages.append(message)
    return messages


def programs(messages: Iterable[Message]) -> list[Program]:
    """The executables that cargo names, including fresh ones."""
    return [
        Program(
            message["target"]["name"],
            bool(message["profile"]["test"]),
            message["executable"],
            "lib" in message["target"]["kind"],
        )
        for message in messages
        if message["reason"] == "compiler-artifact"
        and message.get("executable")
        and "custom-build" not in message["target"]["kind"]
    ]


def package_name(package_id: str) -> str:
    """The name in a package id: ``path+file:///tree/kernel#svsm@0.1.0``, ``….#0.1.0`` for a folder with the package's name, or
    ``svsm 0.1.0 (…)`` from older versions of cargo."""
    url, _, rest = package_id.partition("#")
    if " " in url:
        return url.partition(" ")[0]
    name, at, _ = rest.rpartition("@")
    return name if at else unquote(url.partition("?")[0].rstrip("/").rpartition("/")[2])


def own_packages(messages: Iterable[Message], cargo_home: str) -> dict[str, str]:
    """Folders of the packages whose files may change, by package id: all except those that cargo fetched, which the lock file pins."""
    fetched = tuple(os.path.join(cargo_home, name, "") for name in ("registry", "git"))
    folders = {
        m["package_id"]: os.path.dirname(m["manifest_path"]) for m in messages if m["reason"] == "compiler-artifact"
    }
    return {package: folder for package, folder in folders.items() if not folder.startswith(fetched)}


def units(messages: Sequence[Message], runs: Iterable[ScriptRun]) -> list[Unit]:
    """The crates of a build; ``runs`` are those of its build scripts."""
    artifacts = [message for message in messages if message["reason"] == "compiler-artifact" and message["filenames"]]
    folders = {os.path.dirname(file) for message in artifacts for file in message["filenames"]}
    # With build.build-dir, intermediate files are not beside the programs, but always beside the build scripts.
    profiles = {str(Path(run.out_dir).parents[2]) for run in runs} | folders
    deps = sorted(folders | {os.path.join(profile, "deps") for profile in profiles})
    return [_unit(message, deps) for message in artifacts]


def rustflags(unit: Unit) -> list[str]:
    """The flags of a unit from the session and cargo's configuration, as recorded by cargo; empty if there is no record."""
    folder = os.path.dirname(unit.stamp)
    for name in _names_in(folder) if folder else ():
        if name.endswith(".json"):
            try:
                return [str(flag) for flag in json.loads(read_text(os.path.join(folder, name)))["rustflags"]]
            except (ValueError, KeyError, TypeError):
                continue
    return []


def script_runs(messages: Iterable[Message]) -> list[ScriptRun]:
    """The runs of build scripts whose results a build used."""
    runs = []
    for message in messages:
        if message["reason"] == "build-script-executed":
            output = os.path.join(os.path.dirname(message["out_dir"]), "output")
            # A script that calls make may print a million bytes.
            printed = [[*map(decoded, found)] for found in _PRINTED.findall(read_bytes(output))]
            rerun = tuple((kind, value.strip()) for kind, _, value in printed if kind)
            link = tuple((kind, value.strip()) for _, kind, value in printed if kind)
            runs.append(ScriptRun(message["package_id"], message["out_dir"], output, rerun, link))
    return runs


def target_folder(messages: Iterable[Message], triple: str | None) -> str | None:
    """cargo's target folder, found from the path of an artifact; None if there is none. ``triple`` is the value of ``--target``."""
    for message in messages:
        if message["reason"] == "compiler-artifact" and message["filenames"]:
            folder = Path(message["filenames"][0]).parent
            if folder.parent.name == "build":
                folder = folder.parents[1]
            profile = folder.parent if folder.name in ("deps", "examples") else folder
            return str(profile.parents[1] if profile.parent.name == triple else profile.parent)
    return None


def written_ns(path: str) -> int:
    """When a file was last written; 0 if it does not exist."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _unit(message: Message, deps: Sequence[str]) -> Unit:
    package, files, fresh = message["package_id"], message["filenames"], bool(message["fresh"])
    artifact = files[-1]
    if "custom-build" in message["target"]["kind"]:
        folder = os.path.dirname(artifact)
        beside = [os.path.join(folder, name) for name in _names_in(folder) if name.endswith(".d")]
        stamp = _stamp(os.path.dirname(os.path.dirname(folder)), package, folder[-_HASH:])
        return Unit(package, artifact, tuple(sorted(beside)), bool(beside), fresh, stamp, script=True)
    links = bool(message.get("executable"))
    crate = str(message["target"]["name"]).replace("-", "_")
    for file in files:
        if stem := _stem(file, crate):
            return _hashed(package, file, stem, deps, fresh, links)
    # A final program has no hash in its name, but is a hard link to a file that has.
    candidates = [os.path.join(folder, name) for folder in deps for name in _names_in(folder) if f"{crate}-" in name]
    inode, ending = _inode(artifact), os.path.splitext(artifact)[1]
    for file in candidates:
        same = inode is not None and os.path.splitext(file)[1] == ending and _inode(file) == inode
        if same and (stem := _stem(file, crate)):
            return _hashed(package, file, stem, deps, fresh, links)
    every = tuple(sorted(file for file in candidates if file.endswith(".d")))
    return Unit(package, artifact, every, False, fresh, links=links)


def _stem(file: str, crate: str) -> str:
    """``CRATE-HASH`` from ``libCRATE-HASH.rlib`` and from ``CRATE-HASH``; empty for any other name."""
    name = os.path.basename(file)
    if not name.startswith(f"{crate}-"):
        name = name.removeprefix("lib")
    found = _NUMBER.match(name, len(crate) + 1) if name.startswith(f"{crate}-") else None
    return found.string[: found.end()] if found else ""


def _hashed(package: str, file: str, stem: str, deps: Sequence[str], fresh: bool, links: bool) -> Unit:
    # It is usually beside its artifact.
    places = (f"{folder}{os.sep}{stem}.d" for folder in (os.path.dirname(file), *deps))
    there = next(filter(os.path.isfile, places), "")
    stamp = _stamp(os.path.dirname(os.path.dirname(there)), package, stem[-_HASH:]) if there else ""
    return Unit(package, file, (there,) if there else (), bool(there), fresh, stamp, links)


def _stamp(profile: str, package: str, hash: str) -> str:
    """The file that cargo writes right before it starts rustc (observed with cargo 1.95 and 1.96)."""
    return os.path.join(profile, ".fingerprint", f"{package_name(package)}-{hash}", _STAMP)


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
