"""Run a command without a shell, keep its output in a log, and report a failure exactly."""

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
    """A program ran and its exit status was not 0."""

    def __init__(self, faults: Iterable[Fault], printed: str) -> None:
        """``faults`` has at least one: how it ended, and why, as far as that is known."""
        faults = tuple(faults)
        super().__init__(faults[0].id, "\n".join(fault.text for fault in faults))
        self.faults = faults
        self.printed = printed
        """What it had written to standard output."""


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
    """Run in the tree and return what was printed to standard output; both streams go to the log. ``umask`` is the child's; -1 for the one
    of this process. ``talk`` are variables that the child gets unless ``environment`` sets them, ``descriptors`` files that it inherits.
    ``hear`` gets each line of standard output as soon as it is printed.

    Raises:
        CommandFailed: the exit status was not 0; the message has the exact command, the status and the end of the output.
        StepError: it could not be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(f"$ {command}\n".encode(errors="surrogateescape"))
        file.flush()
        start = file.tell()
        try:
            with _lock:  # so that either the end of the run sees a new process, or the process sees the end
                if _over.is_set():
                    raise StepError("run-is-over", "the run was interrupted; this command was not started")
                process = subprocess.Popen(
                    command.argv,
                    cwd=tree,
                    env={**talk, **environment, **dict(command.env)},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=file,
                    pass_fds=tuple(descriptors),
                    umask=umask,
                    # Its own process group, so that everything it starts can be ended with it.
                    process_group=0,
                )
                _running.add(process)
        except OSError as error:
            raise StepError(
                "command-not-started",
                f"cannot run the command: {error.strerror}: {error.filename}\n  command: {command}\n  in: {tree}",
            ) from error
        try:
            with lap(str(command)):
                printed = _printed(process, hear)
        except BaseException:
            _end([process])  # nothing waits for it any more
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
    """Add a warning to a step's log, which the user sees however the step ends; ``id`` as in ``Fault``."""
    with log.open("ab") as file:
        file.write(f"{Fault(id, f'warning: {text}').shown}\n".encode(errors="surrogateescape"))


def stop_all() -> None:
    """End every process that is still running, and wait for it: the run is over, and none of its processes may write any more."""
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
    return Fault("command-killed", f"killed by signal {-status}{name}{more}")


def _readable(printed: bytes) -> bytes:
    # cargo's JSON messages are for programs; keep everything else.
    return b"".join(line for line in printed.splitlines(keepends=True) if not line.startswith(b'{"reason":'))


def _said(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")


def _not_written(said: str, tree: str) -> Iterator[Fault]:
    """What to do if a command failed because it writes into a read-only source tree; nothing for any other failure."""
    if not _REFUSED.search(said) or os.access(tree, os.W_OK):
        return
    if f"{tree}/target" in said:
        yield Fault(
            "target-not-writable",
            f"the source tree {tree} is not writable and contains cargo's target folder: set CARGO_TARGET_DIR=FOLDER to use another",
        )
        return
    script = _SCRIPT.search(said)
    # Its own message, a panic, does not name the file.
    file = f" ({VERSION_FILE})" if script and script[1] == "release" else ""
    writer = f"the build script of {script[1]}" if script else "this command"
    yield Fault(
        "tree-not-writable",
        f"the source tree {tree} is not writable, and {writer} writes into it{file}: make it writable, or build a copy of it",
    )


def _tail(said: str) -> str:
    lines = said.splitlines()
    left_out = len(lines) - _TAIL_LINES
    shown = [f"({left_out} more lines before these, in the log)"] if left_out > 0 else []
    return "\n".join(shown + lines[-_TAIL_LINES:])
