"""What changes while a run is at work: all of it is here, and the rest of a workspace stays as it was made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import field
from typing import Any, TypeVar

from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import tell_line

T = TypeVar("T")


class _Once:
    """Something that is made once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made = False
        self.value: Any = None


@dataclass(slots=True)
class RunState:
    """Of one run; its steps share it, from several threads."""

    say: Callable[[str], None] = tell_line
    """Shows the user a line while steps run."""
    talk: dict[str, str] = field(default_factory=dict)
    """Variables that each command gets unless the user set them: they only change how it talks, and are in no signature."""
    descriptors: set[int] = field(default_factory=set)
    """Files that each command gets open: the lock of the output folder."""
    crates: dict[str, int] = field(default_factory=dict)
    """How many crates cargo named so far as built or up to date, by the name of the step."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _shared: dict[Hashable, _Once] = field(default_factory=dict)

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """What several steps of a run make of the same things, which ``key`` has to name all: made by the first of them."""
        with self._lock:
            once = self._shared.setdefault(key, _Once())
        with once.lock:  # who comes second waits for it, and need not make it as well
            if not once.made:
                once.value, once.made = make(), True
        found: T = once.value
        return found
