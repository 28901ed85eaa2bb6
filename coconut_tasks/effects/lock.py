"""One run at a time in an output folder.

The lock is the kernel's (``flock``), so a killed run leaves none. Child processes inherit it: while an orphaned cargo still writes, the
next run waits. The lock file says who holds the lock and counts the runs, so that a run notices if another one came between its checks and
its work.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from coconut_tasks.effects.place import make_cache_folder


class RunLock:
    """The lock of one output folder, as it was when this object was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _number_if_free(path)
        self.descriptor: int | None = None
        """The open file while the lock is held."""

    def acquire(self, tell: Callable[[str], None]) -> bool:
        """Wait for the lock; False if another run held it after this object was made, so everything must be looked up again.

        Raises:
            OSError: the lock file cannot be created.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if not _try_for_a_moment(descriptor):
            tell(f"waiting for another run in {self._path.parent.parent}: {_read(self._path)[1]}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        number, _ = _read(self._path)
        text = f"{number + 1}\nprocess {os.getpid()}: {shlex.join(sys.argv)}\n".encode(errors="replace")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0)
        if number != self._seen:
            os.close(descriptor)
            return False
        self.descriptor = descriptor
        return True


@contextmanager
def alone_in(folder: str) -> Iterator[None]:
    """Keep other runs of this program out of a folder, without writing to it."""
    make_cache_folder(Path(folder))
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not _try_for_a_moment(descriptor):
            print(f"waiting for another run that builds in {folder}", file=sys.stderr, flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _number_if_free(path: Path) -> int | None:
    """How many runs there were; None during a run, since it may change anything that is looked up now."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return _read(path)[0]
    except BlockingIOError:
        return None
    except OSError:
        return 0


def _try_for_a_moment(descriptor: int) -> bool:
    # A process that only reads holds a shared lock for an instant.
    for _ in range(20):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.005)
        else:
            return True
    return False


def _read(path: Path) -> tuple[int, str]:
    try:
        number, _, who = path.read_text(errors="replace").partition("\n")
        return int(number), who.strip()
    except (OSError, ValueError):
        return 0, "unknown"
