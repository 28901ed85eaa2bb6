"""Files are put in place whole: written beside, then renamed. Who looks sees the old file or the new one, never a part."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_unfinished: set[Path] = set()
_left: dict[Path, list[str]] = {}
"""Of each folder that was written to, what runs that were killed had left there before."""
_MARK = ".coconut-"


@contextmanager
def beside(target: Path, *, program: bool = False) -> Iterator[Path]:
    """An empty file next to ``target`` to write to, of mode 0666, or 0777 for a program, less the umask; renamed to it at the end, or
    removed if anything was raised."""
    temporary = target.with_name(f".{target.name}{_MARK}{os.urandom(8).hex()}")
    _unfinished.add(temporary)
    try:
        _create(temporary, target, 0o777 if program else 0o666)
        yield temporary
        os.replace(temporary, target)  # an error of it names the target too
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        _unfinished.discard(temporary)


def _create(temporary: Path, target: Path, mode: int) -> None:
    folder = target.parent
    if folder not in _left:
        folder.mkdir(parents=True, exist_ok=True)
        _left[folder] = [name for name in os.listdir(folder) if _MARK in name]
    for name in _left[folder]:
        if name.startswith(f".{target.name}{_MARK}"):
            target.with_name(name).unlink(missing_ok=True)
    # The kernel applies the umask, which no program can ask for without setting it for all its threads.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        os.close(os.open(temporary, flags, mode))
    except FileNotFoundError:  # somebody removed the folder meanwhile
        folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, flags, mode))


def discard_unfinished() -> None:
    """Remove what is being written at this moment: the run ends here, and the threads that write with it."""
    for temporary in list(_unfinished):
        temporary.unlink(missing_ok=True)


def write_whole(target: Path, content: bytes, *, program: bool = False) -> None:
    """Write a file of mode 0666, or 0777 for a program, less the umask."""
    with beside(target, program=program) as temporary:
        temporary.write_bytes(content)


def write_cache(target: Path, content: bytes) -> None:
    """Write a file that only saves time, if that can be done."""
    with suppress(OSError):
        # Who finds none can do without, and to rename over a file takes ten times as long.
        target.unlink(missing_ok=True)
        write_whole(target, content)


def copy_whole(source: Path, target: Path) -> None:
    """Copy content and executable bit."""
    with beside(target, program=bool(source.stat().st_mode & 0o111)) as temporary:
        shutil.copyfile(source, temporary)


def own_inode(path: Path) -> None:
    """Before a file is written in place: make it one that no other checkout shares, as ``cp -al`` leaves it."""
    with suppress(OSError):  # who cannot make another one cannot write into this one either
        if path.stat().st_nlink > 1:
            copy_whole(path, path)


def link_or_copy(source: Path, target: Path) -> None:
    """Make the file appear at ``target``, too, for who only reads it, and before ``source`` can change."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # on another file system, say
        copy_whole(source, target)


def lay_down(files: Iterable[tuple[Path, str]], root: Path) -> None:
    """Make a folder anew that holds these files, each at its path in it, and that is the same for everybody.

    Files are laid down in the order in which they are given, with the mode 0644, or 0755 where they are programs, whatever the umask;
    folders have 0755, and all have the time 0.
    """
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for source, path in files:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755 if stat.S_IMODE(source.stat().st_mode) & 0o111 else 0o644)
        os.utime(target, (0, 0))
    for folder, _, _ in os.walk(root, topdown=False):
        os.chmod(folder, 0o755)
        os.utime(folder, (0, 0))


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of our own; empty if there is none, or the file is damaged: nothing is known then."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
