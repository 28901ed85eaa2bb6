"""Files are replaced atomically: written beside their place, then renamed. A reader sees the old file or the new one, never a part."""

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
"""For each folder that was written to, the temporary files that killed runs had left there."""
_MARK = ".coconut-"


@contextmanager
def beside(target: Path, *, program: bool = False) -> Iterator[Path]:
    """An empty file next to ``target``, with mode 0666, or 0777 for a program, less the umask; renamed to ``target`` at the end, or removed
    after an exception."""
    temporary = target.with_name(f".{target.name}{_MARK}{os.urandom(8).hex()}")
    _unfinished.add(temporary)
    try:
        _create(temporary, target, 0o777 if program else 0o666)
        yield temporary
        os.replace(temporary, target)  # its error names the target too
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
    # Let the kernel apply the umask: a program cannot read it without setting it for all threads.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        os.close(os.open(temporary, flags, mode))
    except FileNotFoundError:  # the folder was removed in the meantime
        folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, flags, mode))


def discard_unfinished() -> None:
    """Remove files that are being written now: the run ends here, and so do the threads that write them."""
    for temporary in list(_unfinished):
        temporary.unlink(missing_ok=True)


def make_cache_folder(folder: Path) -> None:
    """Make a folder of things that can be made again, if it is missing, as cargo makes its target folder: the file in it tells cargo,
    backups and other tools that it is not a source folder (https://bford.info/cachedir/)."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")


def write_whole(target: Path, content: bytes, *, program: bool = False) -> None:
    """Write a file of mode 0666, or 0777 for a program, less the umask."""
    with beside(target, program=program) as temporary:
        temporary.write_bytes(content)


def write_cache(target: Path, content: bytes) -> None:
    """Write a file that only saves time; errors are ignored."""
    with suppress(OSError):
        # Readers can do without the file, and renaming over an existing file takes ten times as long.
        target.unlink(missing_ok=True)
        write_whole(target, content)


def copy_whole(source: Path, target: Path) -> None:
    """Copy content and executable bit."""
    with beside(target, program=bool(source.stat().st_mode & 0o111)) as temporary:
        shutil.copyfile(source, temporary)


def own_inode(path: Path) -> None:
    """Before a file is written in place: break hard links to other checkouts, which ``cp -al`` makes."""
    with suppress(OSError):  # if it cannot be copied, it cannot be written either
        if path.stat().st_nlink > 1:
            copy_whole(path, path)


def link_or_copy(source: Path, target: Path) -> None:
    """Make the file available at ``target`` too, for reading only, as it is before ``source`` changes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # for example on another file system
        copy_whole(source, target)


def lay_down(files: Iterable[tuple[Path, str]], root: Path) -> None:
    """Recreate the folder ``root`` with these files, each at its path in it, the same on every machine.

    Files are copied in the given order, with mode 0644, or 0755 for programs, whatever the umask; folders have 0755. All times are 0.
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
    """The JSON object in one of our own files; empty if the file is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
