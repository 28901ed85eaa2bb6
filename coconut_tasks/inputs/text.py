"""The text of files that tools write and read."""

from __future__ import annotations


def read_bytes(path: str) -> bytes:
    """A file's content; empty if it cannot be read."""
    try:
        # A build reads hundreds of files, and Python's text files take three times as long to open.
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


def read_text(path: str) -> str:
    """A file's text; empty if it cannot be read."""
    return decoded(read_bytes(path)).replace("\r\n", "\n")


def decoded(text: bytes) -> str:
    """A tool's output as text; it may contain file names that are not UTF-8."""
    return text.decode("utf-8", "surrogateescape")
