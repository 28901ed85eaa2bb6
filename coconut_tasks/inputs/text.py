"""The text of files that tools write and read."""

from __future__ import annotations


def read_text(path: str) -> str:
    """A file's text; empty where there is none."""
    try:
        # A build has hundreds of them, and Python's text files take three times as long to set up.
        with open(path, "rb", buffering=0) as file:
            return file.read().decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    except OSError:
        return ""
