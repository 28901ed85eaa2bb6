"""A process to run: an argv, additions to its environment, and which of its words affect the output."""

from __future__ import annotations

import shlex

from coconut_tasks.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A process to run: an argv, never a shell string, and additions to its environment."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    aside: tuple[int, ...] = ()
    """Indices in ``argv`` of words that affect only what the tool prints or how it fetches. They are indices because a word from the
    recipe may look the same."""
    toolchain: str | None = None
    """The Rust toolchain that the second word selects, for example ``nightly`` for ``cargo +nightly``."""

    @property
    def deciding(self) -> tuple[str, ...]:
        """The words that can affect the output: these are in keys and records."""
        return tuple(word for place, word in enumerate(self.argv) if place not in self.aside)

    def __str__(self) -> str:
        """The command as one line that can be pasted into a shell."""
        words = [f"{name}={shlex.quote(value)}" for name, value in self.env]
        return " ".join([*(["env", *words] if words else []), shlex.join(self.argv)])
