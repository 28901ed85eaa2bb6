"""Where the steps of a run work: folders, environment, and what was looked up before the first step."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from coconut_tasks.dataclass import dataclass
from coconut_tasks.effects.lock import RunLock, alone_in
from coconut_tasks.effects.placed import Placed
from coconut_tasks.effects.process import CommandFailed, run
from coconut_tasks.effects.stopwatch import lap
from coconut_tasks.errors import Fault
from coconut_tasks.inputs.environment import cargo_environment, cargo_home, rustup_home
from coconut_tasks.inputs.files import Files, Walker
from coconut_tasks.inputs.git import missing_submodules
from coconut_tasks.inputs.toolchain import Toolchain, Toolchains, program_identity
from coconut_tasks.inputs.version import describe
from coconut_tasks.layout import STATE_FOLDER
from coconut_tasks.options import Options
from coconut_tasks.steps.command import Command
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.run_state import RunState

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reproducible:
    """What a reproducible build needs besides its commands."""

    config: str
    """The file of cargo's configuration, spelt as in the commands."""
    target: str
    """cargo's target folder, absolute."""
    compilers: str
    """The first folder in PATH, absolute."""
    prefixes: tuple[tuple[str, str], ...]
    """Pairs of a path on this machine and its replacement in what is built."""
    toolchains: tuple[str | None, ...]
    """The names of all toolchains that the items use; None is the tree's own."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """One run's view, made once everything is looked up. ``tree`` is absolute; the paths of steps are relative to it."""

    tree: str
    bin: str
    """The output folder, absolute."""
    environment: Mapping[str, str]
    files: Files
    walker: Walker
    lock: RunLock
    """The output folder's lock."""
    placed: Placed
    """The files in the output folder that are ours."""
    toolchains: Toolchains
    recipes: tuple[str, ...] = ()
    """The recipes as the user named them."""
    recipe_texts: Mapping[str, bytes] = field(default_factory=dict)
    """The content of each recipe's file as it was read, by its absolute path; the file may have changed since."""
    options: Options = field(default_factory=Options)
    """What the user asked for."""
    ask_cargo: bool = False
    """Whether every cargo item starts cargo, even if its inputs are known."""
    reproducible: Reproducible | None = None
    """The settings of a reproducible build; None for any other."""
    run_state: RunState = field(default_factory=RunState)
    """Everything that changes during the run."""
    _cargo_lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, line: str) -> None:
        """Show the user a line."""
        self.run_state.say(line)

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """See ``RunState.shared``."""
        return self.run_state.shared(key, make)

    def path(self, spelt: str) -> str:
        """The absolute path for a step's path."""
        return os.path.normpath(os.path.join(self.tree, spelt))

    def sha256(self, spelt: str) -> str:
        """The SHA-256 of an existing file, in hex."""
        digest = self.files.digest(self.path(spelt))
        assert digest is not None
        return digest.partition(":")[2]

    def named(self, path: str) -> str:
        """The name of an absolute path in links and statements, which is the same in each clone and for each user.

        Relative to the tree for files in or beside it; ``bin`` stands for the output folder, and ``$CARGO_HOME``, ``$RUSTUP_HOME`` and
        ``$HOME`` for theirs.
        """
        for folder, start, name in self._names:
            if path.startswith(start) or path == folder:
                found = f"{name}/{path[len(start) :]}"
                # Most paths need no normalization.
                folded = name != "." or path == folder or "/." in path or "//" in path
                found = os.path.normpath(found) if folded else found[2:]
                # A tree may have a folder bin that is not the output folder.
                return f"./{found}" if name == "." and f"{found}/".startswith("bin/") else found
        return path

    def located(self, name: str) -> str:
        """The absolute path for a name from ``named``."""
        if name.startswith(("bin/", "$")):
            first, _, rest = name.partition("/")
            for folder, called in self._folders():
                if called == first:
                    return os.path.normpath(os.path.join(folder, rest))
        # Most are relative to the tree and need no normalization.
        return os.path.normpath(os.path.join(self.tree, name)) if name.startswith((".", "/")) else f"{self.tree}/{name}"

    def neutral(self, value: str | None) -> str | None:
        """A variable's value without known paths of this machine."""
        if not value or self.reproducible is None:
            return value and self.named(value)
        from coconut_tasks.reproducible.remap import pattern  # imported here: other runs need none of it

        names = dict(self.reproducible.prefixes)
        return self.named(re.sub(pattern(names.items()), lambda match: names[match[1]], value))

    @cached_property
    def _names(self) -> tuple[tuple[str, str, str], ...]:
        """Folders, the start of each path in them, and their names."""
        return tuple((folder, folder + os.sep, name) for folder, name in self._folders())

    def _folders(self) -> Iterator[tuple[str, str]]:
        yield self.bin, "bin"
        yield self.tree, "."
        home = self.environment.get("HOME", "")
        yield cargo_home(self.environment), "$CARGO_HOME"
        yield rustup_home(self.environment), "$RUSTUP_HOME"
        for folder, name in ((os.path.dirname(self.tree), os.pardir), (home, "$HOME")):
            if len(folder) > 1:
                yield folder, name

    @property
    def state(self) -> Path:
        """The state folder."""
        return state_folder(self.bin)

    def log(self, step: Step) -> Path:
        """The log of a step's last run; each variant has its own."""
        return self.state / "logs" / f"{step.file_name}.log"

    def run(
        self,
        command: Command,
        log: Path,
        more: Mapping[str, str] | None = None,
        hear: Callable[[bytes], None] | None = None,
    ) -> str:
        """Run a command in the tree, like ``effects.process.run``; ``more`` is added to its environment, but is not part of the command.

        If cargo is not rustup's, the toolchain's own cargo replaces ``cargo +NAME``.
        """
        umask = -1 if self.reproducible is None else 0o022
        environment = {**self.environment, **(more or {})}
        state = self.run_state
        toolchain = self.toolchain(command.toolchain) if command.toolchain else None
        if toolchain is not None and toolchain.program:
            command = Command((toolchain.program, *command.argv[2:]), command.env)
            environment = toolchain.environment(environment)
        try:
            return run(
                command,
                self.tree,
                environment,
                log,
                umask=umask,
                talk=state.talk,
                descriptors=state.descriptors,
                hear=hear,
            )
        except CommandFailed as error:
            if "No such file or directory" not in str(error) or not (missing := missing_submodules(self.tree)):
                raise
            why = f"empty submodules: {', '.join(missing)}: git submodule update --init"
            raise CommandFailed([*error.faults, Fault("submodule-missing", why)], error.printed) from error

    @contextmanager
    def alone_with_cargo(self) -> Iterator[None]:
        """Held while cargo builds and its program is taken: another item, or another run with a different output folder, may put a program
        of the same name in the same place in cargo's target folder."""
        with ExitStack() as held:
            with lap("waiting for cargo's target folder", waiting=True):
                held.enter_context(self._cargo_lock)
                held.enter_context(alone_in(self.cargo_place))
            yield

    @property
    def cargo_place(self) -> str:
        """The folder whose lock (``alone_in``) who uses cargo's target folder holds."""
        return self.path(self.environment.get("CARGO_TARGET_DIR") or ".")

    @cached_property
    def cargo_variables(self) -> Mapping[str, str | None]:
        """cargo's and rustc's own variables, looked up once."""
        return cargo_environment(self.environment, ())

    def toolchain(self, name: str | None = None) -> Toolchain | None:
        """The Rust toolchain that runs in the tree."""
        return self.toolchains.find(name)

    def program_identity(self, name: str) -> str:
        """Distinguishes versions of an installed program."""
        return self.shared(("identity", name), lambda: program_identity(name, self.tree, self.environment))

    @property
    def version(self) -> str:
        """The tree's version from git, asked once in a run."""
        return self.shared("version", lambda: describe(self.tree, self.environment))

    def ask_version_ahead(self) -> None:
        """Start asking git for the version while this process does other things."""
        threading.Thread(target=lambda: self.version, daemon=True).start()

    @property
    def builds_std(self) -> bool:
        """Whether cargo builds the standard library itself, so no target has to be installed."""
        if "CARGO_UNSTABLE_BUILD_STD" in self.environment:
            return True
        try:
            return "build-std" in Path(self.tree, ".cargo", "config.toml").read_text(encoding="utf-8")
        except OSError:
            return False


def open_workspace(tree: str, bin: str, environment: Mapping[str, str], **more: Any) -> Workspace:
    """A new workspace; ``more`` are further fields."""
    folder = state_folder(bin)
    given: dict[str, Any] = {
        "files": Files(),
        "walker": Walker(tree, [bin]),
        "lock": RunLock(folder / "lock"),
        "placed": Placed(bin, folder),
        "toolchains": Toolchains(tree, environment, folder),
    }
    return Workspace(tree, bin, environment, **{**given, **more})


def state_folder(bin: str) -> Path:
    """The state folder of an output folder."""
    return Path(bin, STATE_FOLDER)
