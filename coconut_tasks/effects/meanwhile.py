"""Do part of a step in another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from coconut_tasks.effects.stopwatch import current, joined

T = TypeVar("T")


class Meanwhile(Generic[T]):
    """Starts at once; its commands count as the step's."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._watch = current()
        self._error: BaseException | None = None
        # A run that was interrupted does not wait for it.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with joined(self._watch):
                self._result = self._work()
        except BaseException as error:
            self._error = error

    def wait(self) -> None:
        """Wait until it is done, whether it succeeded or not."""
        self._thread.join()

    def result(self) -> T:
        """Wait for the result. Raises what the work raised."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._result
