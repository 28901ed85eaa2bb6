"""A cargo unit as one file: a tar archive without times, owners and anything else that differs between two builds of the same."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path


class BadArchive(Exception):
    """An archive has something that no unit has, for example a path that leads out of its folder."""


def pack(folder: Path, names: Iterable[str], archive: Path) -> None:
    """Put files, and folders with all in them, into a new archive; ``names`` are relative to ``folder``. Links stay links, of both kinds:
    cargo makes a hard link to a build script again if it finds two files, and then it is another file."""
    seen: dict[tuple[int, int], str] = {}
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(set(names)):
            _add(tar, folder, name, seen)


def _add(tar: tarfile.TarFile, folder: Path, name: str, seen: dict[tuple[int, int], str]) -> None:
    path = folder / name
    found = path.lstat()
    entry = tarfile.TarInfo(name)
    entry.mode = 0o755 if found.st_mode & 0o111 else 0o644
    if stat.S_ISLNK(found.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
        tar.addfile(entry)
    elif stat.S_ISDIR(found.st_mode):
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)
        for inner in sorted(os.listdir(path)):
            _add(tar, folder, f"{name}/{inner}", seen)
    elif (first := seen.setdefault((found.st_dev, found.st_ino), name)) != name:
        entry.type, entry.linkname = tarfile.LNKTYPE, first
        tar.addfile(entry)
    elif stat.S_ISREG(found.st_mode):
        entry.size = found.st_size
        with path.open("rb") as file:
            tar.addfile(entry, file)


def unpack(archive: Path, folder: Path, time_ns: int, umask: int) -> None:
    """Write what an archive has into a new folder, each file with the same modification time.

    Raises:
        BadArchive: it has a path that leads out of the folder, or something else that ``pack`` does not write.
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True)
    folders = {""}
    files: set[str] = set()
    try:
        with tarfile.open(archive, "r:") as tar:
            for entry in tar:
                _extract(tar, entry, folder, folders, files, time_ns, umask)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BadArchive(str(error)) from error


def _extract(
    tar: tarfile.TarFile,
    entry: tarfile.TarInfo,
    folder: Path,
    folders: set[str],
    files: set[str],
    time_ns: int,
    umask: int,
) -> None:
    name = entry.name
    parent = os.path.dirname(name)
    # A folder in the way is one that this archive has itself, so no link is followed.
    parents = parent.split("/") if parent else []
    for depth in range(1, len(parents) + 1):
        above = "/".join(parents[:depth])
        if above not in folders:
            (folder / above).mkdir(mode=0o777)
            folders.add(above)
    if name != os.path.normpath(name) or name.startswith(("/", "..")) or os.path.lexists(folder / name):
        raise BadArchive(f"the path {name!r}")
    path = folder / name
    if entry.isdir():
        path.mkdir(mode=0o777)
        folders.add(name)
    elif entry.issym():
        os.symlink(entry.linkname, path)
        os.utime(path, ns=(time_ns, time_ns), follow_symlinks=False)
    elif entry.islnk() and entry.linkname in files:
        os.link(folder / entry.linkname, path)
    elif entry.isreg():
        files.add(name)
        source = tar.extractfile(entry)
        with path.open("xb") as file:
            shutil.copyfileobj(source or io.BytesIO(), file, 1 << 20)
        path.chmod((0o777 if entry.mode & 0o111 else 0o666) & ~umask)
        os.utime(path, ns=(time_ns, time_ns))
    else:
        raise BadArchive(f"the kind of {name!r}")
