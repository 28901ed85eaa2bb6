"""How long a server may take, and what ends a transfer that takes longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from coconut_tasks.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """In seconds, and bytes for each second. Tests have shorter ones."""

    connect: float = 3.0
    silence: float = 10.0
    """Without a byte."""
    base: float = 20.0
    rate: float = 1 << 20
    """What a transfer must be as fast as, when the base is over."""

    def total(self, size: int) -> float:
        """The most that a transfer of so many bytes may take."""
        return self.base + size / self.rate


class Watch:
    """Ends a transfer from another thread when its time is over, since a blocked call cannot look at a clock.

    Use it with ``with``; ``ended`` then says why, or is empty.
    """

    def __init__(self, end: Callable[[], object], total: float, silence: float | None = None) -> None:
        """``end`` is called once, from another thread, and must not wait."""
        self.ended = ""
        self.end, self._total, self._silence = end, total, silence
        self._start = self._last = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="coconut-cache-watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def touch(self) -> None:
        """Bytes were seen."""
        self._last = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the time is over, which a loop may ask too."""
        return time.monotonic() >= self._start + self._total

    @property
    def overdue(self) -> str:
        """What is said if the time is over."""
        return f"it took longer than {self._total:.3g} s"

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            if self.is_over:
                self.ended = self.overdue
            elif self._silence is not None and now >= self._last + self._silence:
                self.ended = f"no answer for {self._silence:.3g} s"
            if self.ended:
                self.end()
                return
            until = self._start + self._total
            if self._silence is not None:
                until = min(until, self._last + self._silence)
            if self._done.wait(max(until - now, 0.001)):
                return
