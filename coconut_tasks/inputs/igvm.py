"""An IGVM file from the disk."""

from __future__ import annotations

from pathlib import Path

from coconut_tasks.igvm.parse import FIXED_SIZE, fixed_header

_AT_ONCE = 1 << 20
"""Bytes."""


def read_igvm(path: Path) -> bytearray:
    """The bytes of a file, and no more than it says that it has: one that is no IGVM file is not read to its end, which may never come.

    Raises:
        IgvmError: it does not begin as an IGVM file does.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = bytearray(file.read(FIXED_SIZE + 8))
        # One byte more, so that what is too long is seen.
        size = fixed_header(bytes(data)).total_file_size + 1
        while len(data) < size and (more := file.read(min(size - len(data), _AT_ONCE))):
            data += more
    return data
