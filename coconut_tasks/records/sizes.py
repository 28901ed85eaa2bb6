"""The sizes of an IGVM file and its parts when it was built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coconut_tasks.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """One build of an IGVM file; all numbers are bytes."""

    digest: str
    """Digest of the file's content: two builds with one digest are the same."""
    whole: int
    parts: Mapping[str, int]
    """The files in it, by the name of the step that made each; zero pages take no space in the file."""
    modules: Mapping[str, int]
    """The programs in the file-system image, by their path in it."""

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        return {
            "digest": self.digest,
            "whole": self.whole,
            "parts": dict(self.parts),
            "modules": dict(self.modules),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sizes:
        """From the record."""
        return cls(str(value["digest"]), int(value["whole"]), dict(value["parts"]), dict(value["modules"]))
