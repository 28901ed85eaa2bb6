"""What is wrong in an IGVM file."""

from __future__ import annotations

from coconut_tasks.errors import CoconutError, sentence


class IgvmError(CoconutError):
    """A file that no loader may accept, or that cannot be measured."""

    def __init__(self, id: str, offset: int, wrong: str, remedy: str = "") -> None:
        """``wrong`` and ``remedy`` as in ``Problem``."""
        super().__init__(id, f"at {offset:#x}: {sentence(wrong, remedy)}")
        self.offset = offset
        """Where in the file, in bytes: the field, or the header that it concerns."""
        self.wrong = wrong
        self.remedy = remedy
