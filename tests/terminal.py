"""A program on a pseudo-terminal, driven as a user drives it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r")


class Terminal:
    """``with Terminal(argv, folder, env) as it: it.type("x\\n"); it.see("answer")``."""

    def __init__(self, argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            argv,
            cwd=folder,
            env={**env, "TERM": "xterm", "COLUMNS": "200"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=lambda: _begin(theirs),
        )
        os.close(theirs)
        self.text = ""
        """All output, without colours and cursor movements."""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._ours)

    def type(self, keys: str) -> None:
        """Press keys: ``\\t`` is TAB, ``\\x03`` Ctrl-C, ``\\x04`` Ctrl-D."""
        if "\x03" in keys:  # Python loses a Ctrl-C between writing its prompt and waiting for keys.
            self._wait_for_sleep()
        os.write(self._ours, keys.encode())

    def see(self, pattern: str, seconds: float = 30) -> re.Match[str]:
        """Wait for a match of a regular expression in the output after the previous match."""
        end = time.monotonic() + seconds
        while True:
            if found := re.search(pattern, self.text, re.MULTILINE):
                self.text = self.text[found.end() :]
                return found
            assert time.monotonic() < end and self._read(), f"no {pattern!r} in {self.text!r}"

    def status(self, seconds: float = 30) -> int:
        """Wait for the end and return the exit status."""
        while self._read(seconds):
            pass
        return self._process.wait(seconds)

    def _wait_for_sleep(self, seconds: float = 30) -> None:
        """Return when the program waits (the state ``S`` of proc_pid_stat(5)) or has ended."""
        end = time.monotonic() + seconds
        while Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0] not in "SZ":
            assert time.monotonic() < end, "the program never waits"
            time.sleep(0.001)

    def _read(self, seconds: float = 1) -> bool:
        """Read the next output; False at the end of the program."""
        over = self._process.poll() is not None  # first, since its output up to then can still be read
        if not select.select([self._ours], [], [], seconds)[0]:
            return not over
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # On Linux, the other end is closed.
            return False
        self.text += _CONTROL.sub("", data.decode(errors="replace"))
        return bool(data)


def _begin(terminal: int) -> None:
    # A test run in the background may ignore Ctrl-C, and its children would inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.login_tty(terminal)
