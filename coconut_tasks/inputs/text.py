"""The text of files that tools write and read."""

from __future__ import annotations


def read_bytes(path: str) -> bytes:
    """A file's content; empty where there is none."""
    try:
        # A build has hundreds of them, and Python's text files take three times as long to set up.
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


def read_text(path: str) -> str:
    """A file's text; empty where there is none."""
    return decoded(read_bytes(path)).replace("\r\n", "\n")


def decoded(text: bytes) -> str:
    """Text of a tool, which may name files whose names are no UTF-8."""
    return text.decode("utf-8", "surrogateescape")
