"""What of a file this program does not understand, for who shows it: each thing once, with the place where it is first."""

from __future__ import annotations

from coconut_tasks.errors import sentence
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.parse import IgvmFile
from coconut_tasks.igvm.rules import unknown_platform
from coconut_tasks.igvm.values import NAMES, OPTIONAL, Header, OptionalHeader, SupportedPlatform

MOST_NOTES = 20
"""Limit on the notes of one file; the rest is counted."""


class Notes:
    """Give ``add`` to ``IgvmFile.headers`` of a lenient file, and each header to ``see``."""

    def __init__(self, file: IgvmFile) -> None:
        self._found: dict[str, list[int]] = {}
        """What it is → where it is first, and how often."""
        self._more = 0
        self._damaged = False
        self._newer = False
        for doubt in file.doubts:
            self.add(doubt)

    def add(self, doubt: IgvmError) -> None:
        """Take what is not understood, and what everything that tells a digest refuses."""
        if doubt.id == "igvm-checksum":
            self._damaged = True
        else:
            self._newer = True
        self._note(doubt.offset, sentence(doubt.wrong, doubt.remedy))

    def see(self, header: Header) -> None:
        match header:
            case SupportedPlatform():
                newer = unknown_platform(header)
                if newer is not None:
                    self.add(newer)
            case OptionalHeader() if header.header_type & ~OPTIONAL not in NAMES:
                self._note(header.offset, f"unknown header type {header.header_type:#x}, which loaders may skip")
            case _:
                pass

    def texts(self) -> list[str]:
        """One sentence each. The last one is about digests, if the file has none."""
        found = [
            f"at {first:#x}: {text}" + (f" ({count} headers)" if count > 1 else "")
            for text, (first, count) in self._found.items()
        ]
        if self._more:
            found.append(f"{self._more} more of that kind")
        if self._newer or self._damaged:
            after = "; a newer version of this program may know more" if self._newer else ""
            found.append(f"so this program tells no digest of the file{after}")
        return found

    def _note(self, offset: int, text: str) -> None:
        known = self._found.get(text)
        if known is not None:
            known[1] += 1
        elif len(self._found) < MOST_NOTES:
            self._found[text] = [offset, 1]
        else:
            self._more += 1


def notes_of(file: IgvmFile) -> list[str]:
    """All notes on a file.

    Raises:
        IgvmError: the file is broken.
    """
    notes = Notes(file)
    for header in file.headers(notes.add):
        notes.see(header)
    return notes.texts()
