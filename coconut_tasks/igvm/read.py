"""Reads IGVM files from the disk."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from coconut_tasks.igvm import MAGIC
from coconut_tasks.igvm.parse import FIXED_SIZE, fixed_header, ignore, refuse

_AT_ONCE = 1 << 20
"""Bytes."""
_START = FIXED_SIZE + 8
"""Bytes of the longer fixed header."""


def read_igvm(path: Path, *, lenient: bool = False) -> bytearray:
    """The bytes of a file, up to the size in its header: a file of another kind is not read to its end, which may never come. ``lenient``
    as for ``parse``.

    Raises:
        IgvmError: it does not begin like an IGVM file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return _rest(file, file.read(_START), lenient=lenient)


def read_igvm_or_start(path: Path | int, most: int, *, lenient: bool = False) -> bytearray:
    """An IGVM file as ``read_igvm`` reads it, or at most ``most`` bytes of any other file. It is opened once, so it can be a pipe.
    A number is an open file's descriptor, which stays open.

    Raises:
        IgvmError: it has the magic number of an IGVM file, but not its fixed header.
        OSError: it cannot be read.
    """
    with open(path, "rb", closefd=not isinstance(path, int)) as file:
        start = file.read(_START)
        if start[: len(MAGIC)] == MAGIC:
            return _rest(file, start, lenient=lenient)
        return bytearray(start) + file.read(max(most - len(start), 0))


def _rest(file: BinaryIO, start: bytes, *, lenient: bool) -> bytearray:
    data = bytearray(start)
    # One byte more, to detect a file that is too long.
    size = fixed_header(start, ignore if lenient else refuse).total_file_size + 1
    while len(data) < size and (more := file.read(min(size - len(data), _AT_ONCE))):
        data += more
    return data
