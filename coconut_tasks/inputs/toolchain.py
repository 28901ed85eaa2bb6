"""Which compiler really runs, and which programs a command finds: asked once, then cached by the identity of the files."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from coconut_tasks.dataclass import dataclass
from coconut_tasks.effects.place import read_object, write_cache
from coconut_tasks.errors import Fault
from coconut_tasks.inputs.cargo_config import configurations
from coconut_tasks.inputs.environment import cargo_home, rustup_home
from coconut_tasks.inputs.text import read_text

_NOT_RUSTUPS = re.compile(r"no such (sub)?command: `\+")
"""What cargo replies to ``+NAME`` if it is not rustup's."""
_DECIDING_VARIABLES = ("PATH", "RUSTUP_TOOLCHAIN", "RUSTUP_HOME", "RUSTC", "CARGO_BUILD_RUSTC", "CARGO_HOME", "HOME")


@dataclass(frozen=True, slots=True)
class Toolchain:
    """The Rust toolchain that cargo uses in a tree."""

    rustc: str
    """``rustc -vV`` in full: release, commit, host, LLVM."""
    cargo: str
    """``cargo -V``."""
    sysroot: str
    program: str = ""
    """Replaces ``cargo +NAME`` if cargo is not rustup's: the toolchain's own cargo, or ``cargo`` if that belongs to the toolchain; else
    empty."""

    @property
    def commit(self) -> str:
        """The commit that rustc was built from; empty if rustc does not know it."""
        found = next((line[13:] for line in self.rustc.splitlines() if line.startswith("commit-hash: ")), "")
        return "" if found == "unknown" else found

    @property
    def host(self) -> str:
        """The host's target triple."""
        return next((line[6:] for line in self.rustc.splitlines() if line.startswith("host: ")), "")

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """The environment for ``program``, which finds its rustc in PATH."""
        return _first_in_path(self.program, given) if os.path.isabs(self.program) else dict(given)

    def is_of(self, name: str) -> bool:
        """Whether rustup would give it this name, by channel or by version."""
        name = name.removesuffix(f"-{self.host}")
        rustc = next((line[9:] for line in self.rustc.splitlines() if line.startswith("release: ")), "")
        for release in (rustc, "".join(self.cargo.split()[1:2])):
            version, _, channel = release.partition("-")
            channel = channel.partition(".")[0] or "stable"
            if name != channel and not (channel == "stable" and f"{version}.".startswith(f"{name}.")):
                return False
        return True

    def has_target(self, triple: str) -> bool:
        """Whether the standard library for a target is installed; cargo can build for it then."""
        return os.path.isdir(os.path.join(self.sysroot, "lib", "rustlib", triple, "lib"))


class Toolchains:
    """The toolchains of a tree, each looked up once."""

    def __init__(self, tree: str, environment: Mapping[str, str], state: Path) -> None:
        """``state`` is the state folder, where answers are cached."""
        self._tree, self._environment, self._cache = tree, environment, state / "toolchains.json"
        self._found: dict[str | None, Toolchain | None] = {}

    def find(self, name: str | None = None) -> Toolchain | None:
        """The toolchain that ``cargo``, or ``cargo +name``, runs; None if there is none that works."""
        if name not in self._found:
            self._found[name] = find_toolchain(self._tree, self._environment, self._cache, name)
        return self._found[name]


def find_program(name: str, tree: str, environment: Mapping[str, str]) -> str | None:
    """The file that a command's first word runs: a path relative to the tree, or a program in PATH."""
    if "/" in name:
        path = os.path.join(tree, name)
        return path if os.path.isfile(path) else None
    return shutil.which(name, path=environment.get("PATH"))


def program_identity(name: str, tree: str, environment: Mapping[str, str]) -> str:
    """Distinguishes versions of an installed program without running it."""
    path = find_program(name, tree, environment)
    if path is None:
        return "missing"
    found = os.stat(path)
    return f"{os.path.realpath(path)} {found.st_size} {found.st_mtime_ns}"


def program_version(name: str, tree: str, environment: Mapping[str, str]) -> str:
    """The first line of an installed program's ``--version``; empty if there is none."""
    try:
        done = subprocess.run([name, "--version"], cwd=tree, env=dict(environment), capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.partition("\n")[0].strip()


def find_toolchain(tree: str, environment: Mapping[str, str], cache: Path, name: str | None = None) -> Toolchain | None:
    """The toolchain that ``cargo`` (or ``cargo +name``) runs in the tree; None if there is none that works.

    A cargo that is not rustup's does not know ``+name``. It is used itself if it belongs to that toolchain, for example in a Nix shell;
    else the toolchain's own cargo is used, from where rustup installed it. The answer is kept in ``cache``, with the identity of every file
    that decides it: the programs, rustup's settings, the tree's toolchain files and cargo's configuration.
    """
    programs = [find_program(program, tree, environment) for program in ("cargo", "rustc")]
    key = json.dumps([tree, name, *programs, *(environment.get(v) for v in _DECIDING_VARIABLES)])
    known = read_object(cache)
    entry = known.get(key)
    with suppress(KeyError, TypeError, AttributeError):  # damaged: ask again
        if entry is not None and all(_identity(path) == identity for path, identity in entry["files"].items()):
            return Toolchain(**entry["toolchain"])
    toolchain = _ask(tree, environment, name)
    if toolchain is None:
        return None
    files = _deciding_files(tree, environment, toolchain)
    entry = {"toolchain": asdict(toolchain), "files": {path: _identity(path) for path in files}}
    if cache.parent.is_dir():
        write_cache(cache, json.dumps({**known, key: entry}).encode())
    return toolchain


def toolchain_fault(tree: str, environment: Mapping[str, str], name: str | None = None) -> Fault:
    """Why there is no toolchain that works, and what would help."""
    plus = [f"+{name}"] if name else []
    what = f"the Rust toolchain '{name}' does not work" if name else "cargo or rustc does not work in the tree"
    how = (
        f"rustup toolchain install {name}"
        if name
        else "install Rust: https://rustup.rs, or: apt-get install cargo rustc"
    )
    for argv in (["cargo", *plus, "-V"], [_rustc(tree, environment), "-vV"]):
        try:
            done = subprocess.run(argv, cwd=tree, env=dict(environment), capture_output=True, text=True)
        except OSError as error:
            return Fault("toolchain-does-not-run", f"cannot run {argv[0]}: {error.strerror}: {how}")
        if name and _NOT_RUSTUPS.search(done.stderr):
            cargo = find_program("cargo", tree, environment)
            return Fault(
                "toolchain-missing",
                f"the Rust toolchain '{name}' is missing: {cargo} belongs neither to rustup nor to that toolchain, and "
                f"{rustup_home(environment)}/toolchains has no working copy: {_by_rustup(f'toolchain install {name}', environment)}; "
                "or put the cargo of that toolchain first in PATH",
            )
        if done.returncode != 0:
            # rustup itself suggests a command, for example: help: run `rustup toolchain install 1.80.0` to install it
            advice = re.search(r"[`'](rustup [^`']+)[`']", done.stderr)
            said = next((line.removeprefix("error: ") for line in done.stderr.splitlines() if line.strip()), "nothing")
            told = f"{what}: {advice.group(1) if advice else how} (`{shlex.join(argv)}` says: {said})"
            return Fault("toolchain-does-not-run", told)
    return Fault("toolchain-does-not-run", f"{what}: {how}")


def overlooked_choice(tree: str, environment: Mapping[str, str], toolchain: Toolchain) -> Fault | None:
    """A note if cargo ignores the toolchain that the tree selects, since it is not rustup's and reads no toolchain file."""
    for folder in (Path(tree), *Path(tree).parents):
        for file in (folder / "rust-toolchain", folder / "rust-toolchain.toml"):  # in rustup's order
            if not file.is_file():
                continue
            channel = _channel(read_text(str(file)))
            if channel is None or "RUSTUP_TOOLCHAIN" in environment:
                return None
            if toolchain.is_of(re.sub(r"-\d{4}-\d\d-\d\d", "", channel)):  # a nightly's version does not have its date
                return None
            # rustup may install a toolchain that is asked for, but not one with this name.
            if not _NOT_RUSTUPS.search(_run(["cargo", "+of-no-name", "-V"], tree, environment).stderr):
                return None
            cargo = find_program("cargo", tree, environment)
            return Fault(
                "toolchain-overlooked",
                f"note: {file} selects the Rust toolchain '{channel}', but only rustup reads this file, and {cargo} ({toolchain.cargo}) "
                "is not managed by rustup, so it is ignored. With another compiler the launch digest usually differs",
            )
    return None


def _channel(text: str) -> str | None:
    """The channel in a toolchain file, in TOML or the old one-line form; None if it names a folder or nothing."""
    import tomllib

    try:
        found = tomllib.loads(text)["toolchain"]["channel"]
    except tomllib.TOMLDecodeError:
        found = text.strip()
    except (KeyError, TypeError):
        return None
    return found if isinstance(found, str) and re.fullmatch(r"[\w.-]+", found) else None


def target_fault(toolchain: Toolchain, triple: str, environment: Mapping[str, str], name: str | None = None) -> Fault:
    """Why a toolchain cannot build for a target, and what would help."""
    what = f"the Rust target {triple} is not installed"
    add = f"target add {triple}" + (f" --toolchain {name}" if name else "")
    if toolchain.sysroot.startswith(os.path.join(rustup_home(environment), "toolchains", "")):
        return Fault("target-missing", f"{what}: rustup {add}")
    return Fault(
        "target-missing",
        f"{what}, and the Rust toolchain {toolchain.sysroot} is not managed by rustup: put a cargo with that target first in PATH, "
        f"for example rustup's: {_by_rustup(add, environment)}",
    )


def _by_rustup(words: str, environment: Mapping[str, str]) -> str:
    """A command of rustup, which may not be installed."""
    places = ("rustup", os.path.join(cargo_home(environment), "bin", "rustup"))
    there = any(find_program(place, "/", environment) for place in places)
    first = "" if there else "install rustup (https://rustup.rs), then: "
    return f"{first}rustup {words}"


def _ask(tree: str, environment: Mapping[str, str], name: str | None) -> Toolchain | None:
    said = _run(["cargo", *([f"+{name}"] if name else []), "-V"], tree, environment)
    if said.returncode == 0:
        # As rustup's cargo passes it on; a rustc that is given by a path is not rustup's and does not know `+name`.
        return _with_rustc(said.stdout, tree, {**environment, "RUSTUP_TOOLCHAIN": name} if name else environment)
    return _ask_without_rustup(tree, environment, name) if name and _NOT_RUSTUPS.search(said.stderr) else None


def _ask_without_rustup(tree: str, environment: Mapping[str, str], name: str) -> Toolchain | None:
    own = _ask(tree, environment, None)
    if own is None or own.is_of(name):
        return own and replace(own, program="cargo")
    folder = Path(rustup_home(environment), "toolchains")
    ours = re.compile(
        rf"{re.escape(name)}(-[a-z]\w*(-\w+)+)?"
    )  # a host may follow; with a date it is another toolchain
    entries = [entry for entry in sorted(os.listdir(folder)) if ours.fullmatch(entry)] if folder.is_dir() else []
    for entry in sorted(entries, key=lambda entry: entry not in (name, f"{name}-{own.host}")):
        program = str(folder / entry / "bin" / "cargo")
        inner = _first_in_path(program, environment)
        said = _run([program, "-V"], tree, inner)
        if said.returncode == 0 and (found := _with_rustc(said.stdout, tree, inner)) is not None:
            return replace(found, program=program)
    return None


def _with_rustc(cargo: str, tree: str, environment: Mapping[str, str]) -> Toolchain | None:
    rustc = _rustc(tree, environment)
    version, sysroot = (_run([rustc, *words], tree, environment) for words in (["-vV"], ["--print", "sysroot"]))
    if version.returncode or sysroot.returncode:
        return None
    return Toolchain(rustc=version.stdout.strip(), cargo=cargo.strip(), sysroot=sysroot.stdout.strip())


def _run(argv: list[str], tree: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(argv, cwd=tree, env=dict(environment), capture_output=True, text=True)
    except OSError as error:
        return subprocess.CompletedProcess(argv, 127, "", error.strerror)


def _first_in_path(program: str, environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which cargo finds the rustc beside it first."""
    return {**environment, "PATH": f"{os.path.dirname(program)}{os.pathsep}{environment.get('PATH', '')}"}


def _rustc(tree: str, environment: Mapping[str, str]) -> str:
    """The compiler that cargo runs: from ``RUSTC``, ``CARGO_BUILD_RUSTC``, the nearest configuration's ``build.rustc``, or ``rustc``."""
    named = environment.get("RUSTC") or environment.get("CARGO_BUILD_RUSTC")
    if named:
        return named
    import tomllib

    for path in configurations(tree, environment):
        try:
            rustc = tomllib.loads(path.read_text(encoding="utf-8"))["build"]["rustc"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        # A path with a slash is relative to the parent of the .cargo folder.
        return os.path.normpath(path.parent.parent / rustc) if os.sep in str(rustc) else str(rustc)
    return "rustc"


def _deciding_files(tree: str, environment: Mapping[str, str], toolchain: Toolchain) -> list[str]:
    home = rustup_home(environment)
    files = [os.path.join(home, "settings.toml"), os.path.join(toolchain.sysroot, "bin", "rustc")]
    programs = ("cargo", "rustc", _rustc(tree, environment))
    for seen in (environment, toolchain.environment(environment)):
        files += [path for program in programs if (path := find_program(program, tree, seen))]
    for folder in (Path(tree), *Path(tree).parents):
        files += [str(folder / "rust-toolchain.toml"), str(folder / "rust-toolchain")]
    return files + [str(path) for path in configurations(tree, environment)]


def _identity(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return "missing"
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
