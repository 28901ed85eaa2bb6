"""What a cargo item reads, learnt from cargo itself after a build.

cargo's messages name every package and build script of the build, fresh or not. From them come the folders of the path packages, whose
files all count; the dep-info files (``NAME.d``, in Makefile syntax) name what is read beyond those; ``output`` files of build
scripts hold the ``rerun-if`` lines; ``# env-dep`` lines of rustc's own dep-info name variables. The rest of what cargo looks at,
manifests, lock file and configuration, is looked for on the way up from each package.

Not covered, because nothing names it: a file outside of its package that a build script reads without telling cargo.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from glob import escape, glob
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from coconut_tasks.inputs.files import Walker
from coconut_tasks.inputs.known import Inputs

CONFIGURATION = (
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
    ".cargo/config",
    "rust-toolchain.toml",
    "rust-toolchain",
)
_RERUN = re.compile(r"cargo::?rerun-if-(changed|env-changed)=(.*)")


@dataclass(frozen=True, slots=True)
class Program:
    """An executable that a cargo run made."""

    name: str
    test: bool
    path: str


@dataclass(frozen=True, slots=True)
class ScriptOutput:
    """What cargo kept of a build script's run."""

    written_ns: int
    """When, in ns since the epoch; 0 where there is nothing."""
    rerun: tuple[tuple[str, str], ...]
    """Pairs of ``changed`` or ``env-changed`` and the path or variable."""


def parse_messages(text: str) -> list[dict[str, Any]]:
    """cargo's JSON messages, one a line; lines that are none (output of a build script under ``-vv``) are left out."""
    messages = []
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict) and "reason" in message:
                messages.append(message)
    return messages


def programs(messages: Iterable[Mapping[str, Any]]) -> list[Program]:
    """The executables that cargo names, fresh ones too."""
    return [
        Program(message["target"]["name"], bool(message["profile"]["test"]), message["executable"])
        for message in messages
        if message["reason"] == "compiler-artifact"
        and message.get("executable")
        and "custom-build" not in message["target"]["kind"]
    ]


def cargo_inputs(
    messages: Iterable[Mapping[str, Any]], program: str, tree: str, environment: Mapping[str, str], walker: Walker
) -> Inputs:
    """Everything that the build behind the messages read; ``program`` is the executable that it made."""
    messages = list(messages)
    artifacts = [message for message in messages if message["reason"] == "compiler-artifact"]
    folders = _folders(messages)
    own = path_packages(messages)
    found = _Found(set(own.values()))
    for message in artifacts:
        package = message["package_id"]
        for depfile in _depfiles(message):
            found.read_rustc_depfile(depfile, workspace_root(own[package]) if package in own else None)
    for message in messages:
        if message["reason"] == "build-script-executed":
            package = message["package_id"]
            folder = folders.get(package) or _folder_of(package)
            found.read_build_output(script_output(message), folder, follow=package in own or folder is None)
    if (
        os.path.basename(os.path.dirname(program)) != "deps"
    ):  # a test program has rustc's own dep-info only, which was read
        found.read_cargo_depfile(f"{program}.d")
    found.files |= set(configuration_files([tree, *own.values()], environment))
    # What a build script generated is made of the inputs, not one of them; another variant may have put its own there since.
    generated = tuple(
        message["out_dir"] + os.sep for message in messages if message["reason"] == "build-script-executed"
    )
    roots = sorted(root for root in found.roots if not f"{root}{os.sep}".startswith(generated))
    walked = {file for root in roots for file in walker.files(root)}
    files = sorted(file for file in found.files - walked if not file.startswith(generated))
    return Inputs(tuple(roots), tuple(files), tuple(sorted(found.variables)), found.complete)


def path_packages(messages: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The folders of the path packages that a build took in, by their package id."""
    return {package: folder for package, folder in _folders(messages).items() if _is_path_package(package)}


def script_output(message: Mapping[str, Any]) -> ScriptOutput:
    """Of the run that a ``build-script-executed`` message speaks of."""
    path = Path(message["out_dir"]).parent / "output"
    rerun = tuple((kind, value.strip()) for kind, value in _RERUN.findall(_text(str(path))))
    return ScriptOutput(path.stat().st_mtime_ns if path.exists() else 0, rerun)


def workspace_root(folder: str) -> str:
    """The folder of the workspace that a package is in: the nearest manifest above it that has a ``[workspace]`` table."""
    for parent in (Path(folder), *Path(folder).parents):
        if re.search(r"^\s*\[workspace[\].]", _text(str(parent / "Cargo.toml")), re.MULTILINE):
            return str(parent)
    return folder


def configuration_files(folders: Iterable[str], environment: Mapping[str, str]) -> Iterator[str]:
    """Manifests, lock files, toolchain files and cargo's configuration on the way up from folders, there or not."""
    ways_up = {str(parent) for folder in folders for parent in (Path(folder), *Path(folder).parents)}
    for folder in sorted(ways_up):
        for name in CONFIGURATION:
            yield os.path.join(folder, name)
    home = environment.get("CARGO_HOME") or os.path.join(environment.get("HOME", ""), ".cargo")
    for name in ("config.toml", "config"):
        yield os.path.join(home, name)


def parse_depfile(text: str) -> tuple[list[str], list[str]]:
    """Prerequisites and ``env-dep`` names of a dep-info file.

    Makefile syntax, in which cargo and rustc write a blank as ``\\ `` and leave every other character as it is.
    """
    files: list[str] = []
    variables = []
    for line in text.splitlines():
        if line.startswith("# env-dep:"):
            variables.append(line.removeprefix("# env-dep:").partition("=")[0])
        elif line and not line.startswith("#"):
            target, _, rest = line.replace("\\ ", "\0").partition(": ")
            if target and rest:
                files += [word.replace("\0", " ") for word in rest.split()]
    return files, variables


class _Found:
    """What is gathered from the files that a build left."""

    def __init__(self, roots: set[str]) -> None:
        self.roots = roots
        self.files: set[str] = set()
        self.variables: set[str] = set()
        self.complete = True

    def read_rustc_depfile(self, path: str, workspace: str | None) -> None:
        """rustc runs in the workspace's folder; None: a fetched package, whose files the lock file fixes."""
        files, variables = parse_depfile(_text(path))
        self.variables |= set(variables)
        if workspace is not None:
            self.files |= {os.path.normpath(os.path.join(workspace, file)) for file in files}

    def read_cargo_depfile(self, path: str) -> None:
        files, _ = parse_depfile(_text(path))
        for file in files:
            if not os.path.isabs(file):
                self.complete = False  # build.dep-info-basedir is set: nothing says what it was
            elif os.path.isdir(file):
                self.roots.add(os.path.normpath(file))
            else:
                self.files.add(os.path.normpath(file))

    def read_build_output(self, output: ScriptOutput, folder: str | None, *, follow: bool) -> None:
        for kind, value in output.rerun:
            if kind == "env-changed":
                self.variables.add(value)
            elif folder is None:
                self.complete = False
            elif follow or os.path.isabs(value):
                target = os.path.normpath(os.path.join(folder, value))
                (self.roots if os.path.isdir(target) else self.files).add(target)


def _folders(messages: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {
        message["package_id"]: os.path.dirname(message["manifest_path"])
        for message in messages
        if message["reason"] == "compiler-artifact"
    }


def _is_path_package(package_id: str) -> bool:
    return package_id.startswith("path+") or "(path+" in package_id


def _folder_of(package_id: str) -> str | None:
    if not package_id.startswith("path+"):
        return None
    return unquote(urlsplit(package_id.removeprefix("path+")).path) or None


def _depfiles(message: Mapping[str, Any]) -> Iterator[str]:
    # A final program has no hash in its name, so all of its crate's dep-info files are taken: too many inputs do no harm.
    crate = str(message["target"]["name"]).replace("-", "_")
    folders = {os.path.dirname(file) for file in message["filenames"]}
    for folder in folders | {os.path.join(folder, "deps") for folder in folders}:
        yield from glob(os.path.join(escape(folder), f"{escape(crate)}-*.d"))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
