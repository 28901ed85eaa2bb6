"""Run a command: no shell, output kept in a log, a failure told as it was."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from coconut_tasks.effects.stopwatch import lap
from coconut_tasks.errors import Fault, StepError
from coconut_tasks.layout import VERSION_FILE
from coconut_tasks.steps.command import Command

_TAIL_LINES = 60
_REFUSED = re.compile(r"Read-only file system|Permission denied|os error (30|13)\b|ReadOnlyFilesystem|PermissionDenied")
_SCRIPT = re.compile(r"failed to run custom build command for `(\S+)")
_running: set[subprocess.Popen[bytes]] = set()
_over = threading.Event()
_lock = threading.Lock()


class CommandFailed(StepError):
    """A program that ran and ended with another status than 0."""

    def __init__(self, faults: Iterable[Fault], printed: str) -> None:
        """``faults`` are at least one: how it ended, and why, as far as that is known."""
        faults = tuple(faults)
        super().__init__(faults[0].id, "\n".join(fault.text for fault in faults))
        self.faults = faults
        self.printed = printed
        """What was on standard output until then."""


def run(
    command: Command,
    tree: str,
    environment: Mapping[str, str],
    log: Path,
    *,
    umask: int = -1,
    talk: Mapping[str, str] = MappingProxyType({}),
    descriptors: Iterable[int] = (),
    hear: Callable[[bytes], None] | None = None,
) -> str:
    """Run in the tree and return what was printed on standard output; both streams go to the log. ``umask`` is what the
    child gets; -1 for the one of this process. ``talk`` are variables that it gets unless ``environment`` has them, ``descriptors`` files
    that it gets open. ``hear`` gets each line of standard output as soon as it is printed.

    Raises:
        CommandFailed: the program ended with another status than 0: the exact command, the status, the end of the output.
        StepError: it could not be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(f"$ {command}\n".encode(errors="surrogateescape"))
        file.flush()
        start = file.tell()
        try:
            with _lock:  # of two, the end of the run and a new process, one sees the other
                if _over.is_set():
                    raise StepError("run-is-over", "the run is over")
                process = subprocess.Popen(
                    command.argv,
                    cwd=tree,
                    env={**talk, **environment, **dict(command.env)},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=file,
                    pass_fds=tuple(descriptors),
                    umask=umask,
                    # A group of its own, so that what the command started can be ended with it.
                    process_group=0,
                )
                _running.add(process)
        except OSError as error:
            raise StepError(
                "command-not-started",
                f"cannot run it: {error.strerror}: {error.filename}\n  command: {command}\n  in: {tree}",
            ) from error
        try:
            with lap(str(command)):
                printed = _printed(process, hear)
        except BaseException:
            _end([process])  # nobody waits for it any longer
            raise
        finally:
            with _lock:
                _running.discard(process)
    with log.open("ab") as file:
        file.write(_readable(printed))
    if process.returncode != 0:
        said = _said(log, start)
        more = f"\n  command: {command}\n  in: {tree}\n  log: {log}\n{_tail(said)}".rstrip()
        faults = [_how_it_ended(process.returncode, more), *_not_written(said, tree)]
        raise CommandFailed(faults, printed.decode(errors="replace"))
    return printed.decode(errors="replace")


def _printed(process: subprocess.Popen[bytes], hear: Callable[[bytes], None] | None) -> bytes:
    """All of its standard output, once it has ended."""
    if hear is None:
        return process.communicate()[0]
    assert process.stdout is not None
    lines = []
    with process.stdout:
        for line in process.stdout:
            hear(line)
            lines.append(line)
    process.wait()
    return b"".join(lines)


def warn(id: str, text: str, log: Path) -> None:
    """Add a line to a step's log that its user is shown, however the step ends; ``id`` as in ``Fault``."""
    with log.open("ab") as file:
        file.write(f"{Fault(id, f'warning: {text}').shown}\n".encode(errors="surrogateescape"))


def stop_all() -> None:
    """End every process that still runs, and wait for it: this run is over, and nothing of it may write any longer."""
    with _lock:
        _over.set()
        left = list(_running)
    _end(left)


def _end(left: list[subprocess.Popen[bytes]]) -> None:
    for process in left:
        _signal_group(process, signal.SIGTERM)
    for process in left:
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _how_it_ended(status: int, more: str) -> Fault:
    if status >= 0:
        return Fault("command-failed", f"exit status {status}{more}")
    name = f" ({signal.Signals(-status).name})" if -status in set(signal.Signals) else ""
    return Fault("command-killed", f"ended by signal {-status}{name}{more}")


def _readable(printed: bytes) -> bytes:
    # cargo's messages are for programs; everything else is kept.
    return b"".join(line for line in printed.splitlines(keepends=True) if not line.startswith(b'{"reason":'))


def _said(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")


def _not_written(said: str, tree: str) -> Iterator[Fault]:
    """What to do about a command that writes into a source tree which may not be written; nothing where that is not its fault."""
    if not _REFUSED.search(said) or os.access(tree, os.W_OK):
        return
    if f"{tree}/target" in said:
        yield Fault(
            "target-not-writable",
            f"the source tree {tree} cannot be written, and cargo's target folder is in it: CARGO_TARGET_DIR=FOLDER names another",
        )
        return
    script = _SCRIPT.search(said)
    # Its own words, a panic, do not name the file.
    file = f" ({VERSION_FILE})" if script and script[1] == "release" else ""
    writer = f"the build script of {script[1]}" if script else "this command"
    yield Fault(
        "tree-not-writable",
        f"the source tree {tree} cannot be written, and {writer} writes into it{file}: make it writable, or build a copy of it",
    )


def _tail(said: str) -> str:
    lines = said.splitlines()
    left_out = len(lines) - _TAIL_LINES
    shown = [f"({left_out} more lines before these, in the log)"] if left_out > 0 else []
    return "\n".join(shown + lines[-_TAIL_LINES:])
