"""A folder that is empty for a while."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

ASIDE = ".coconut-tasks.aside"
"""In the folder: what was in it."""
_DROPPED = ".coconut-tasks.dropped"
"""In the folder: what was made meanwhile, until it is removed."""
_TAG = "CACHEDIR.TAG"
"""Stays, since it says that the folder has no sources."""


@contextmanager
def emptied(folder: Path, alone: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Set aside what is in the folder, and bring it back at the end; what was made meanwhile is removed.

    ``alone`` keeps others out of the folder, at the beginning and at the end only. Nothing is copied, so it takes no time and no room.
    What an earlier process that was killed had set aside is brought back first.
    """
    existed = folder.exists()
    with alone():
        if existed:
            with _unbroken():
                _bring_back(folder)
                shutil.rmtree(folder / _DROPPED, ignore_errors=True)
                (folder / ASIDE).mkdir()
                _move(folder, folder / ASIDE)
    try:
        yield
    finally:
        with ExitStack() as held:
            with suppress(KeyboardInterrupt):  # who does not want to wait gets the folder back all the same
                held.enter_context(alone())
            if existed:
                with _unbroken():
                    (folder / _DROPPED).mkdir(exist_ok=True)
                    _move(folder, folder / _DROPPED)
                    _bring_back(folder)
            shutil.rmtree(folder / _DROPPED if existed else folder, ignore_errors=True)


def _move(folder: Path, inner: Path) -> None:
    for name in os.listdir(folder):
        if name not in (ASIDE, _DROPPED, _TAG):
            (folder / name).rename(inner / name)


def _bring_back(folder: Path) -> None:
    aside = folder / ASIDE
    for name in os.listdir(aside) if aside.is_dir() else ():
        # After a kill, what has the same name was made meanwhile.
        if (there := folder / name).is_dir() and not there.is_symlink():
            shutil.rmtree(there)
        (aside / name).replace(there)
    with suppress(FileNotFoundError):
        aside.rmdir()


@contextmanager
def _unbroken() -> Iterator[None]:
    """Signals wait until the end: half of it would be worse than all or nothing."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
