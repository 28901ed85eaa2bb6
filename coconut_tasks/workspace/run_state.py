"""Everything that changes during a run; the rest of a workspace is immutable."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import field
from typing import Any, TypeVar

from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import tell_line

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FromCache:
    """Where a step's result is from if it was not built here."""

    action: str
    """The key of the result: a SHA-256 in hex."""
    builder: str
    """Who built it."""
    cache: str
    """The address, for users."""


class _Once:
    """A value that is made once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made = False
        self.value: Any = None


@dataclass(slots=True)
class RunState:
    """The state of one run; its steps share it between threads."""

    say: Callable[[str], None] = tell_line
    """Shows the user a line while steps run."""
    begin: Callable[[str], None] = lambda name: None
    """Called with the name of a step that a cache may have, when it has not: now it is built."""
    talk: dict[str, str] = field(default_factory=dict)
    """Variables that each command gets unless the user set them: they only change its messages, and are in no signature."""
    descriptors: set[int] = field(default_factory=set)
    """Open files that each command inherits: the lock of the output folder."""
    crates: dict[str, int] = field(default_factory=dict)
    """How many crates cargo has reported as built or up to date so far, by step."""
    cached: dict[str, FromCache] = field(default_factory=dict)
    """The steps whose results were taken from the cache, by name."""
    cache: Any = None
    """The ``cache.cache.Cache``, once a step asked for it, unless it is off."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _shared: dict[Hashable, _Once] = field(default_factory=dict)

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """A value that steps of a run share, made by the first that asks; ``key`` must identify everything that it depends on."""
        with self._lock:
            once = self._shared.setdefault(key, _Once())
        with once.lock:  # a second caller waits instead of making it too
            if not once.made:
                once.value, once.made = make(), True
        found: T = once.value
        return found
