"""What is wrong in an IGVM file."""

from __future__ import annotations

from coconut_tasks.errors import CoconutError


class IgvmError(CoconutError):
    """A file that no loader may take, or one that cannot be measured."""

    def __init__(self, id: str, offset: int, found: str, allowed: str) -> None:
        super().__init__(id, f"at {offset:#x}: {found}: {allowed}")
        self.offset = offset
        """Where in the file, in bytes; that of the header where a whole header is meant."""
        self.found = found
        """What is there."""
        self.allowed = allowed
        """What could be there."""
