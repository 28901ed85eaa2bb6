"""A process to run: an argv, what is added to its environment, and which of its words decide what is made."""

from __future__ import annotations

import shlex

from coconut_tasks.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A process to run: an argv, never a shell string, and what is added to its environment."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    aside: tuple[int, ...] = ()
    """The places in ``argv`` of words that only change how the tool talks or fetches. They are known by their places: a word of the
    recipe may look the same."""
    toolchain: str | None = None
    """The Rust toolchain that the second word asks for, as in ``cargo +nightly``."""

    @property
    def deciding(self) -> tuple[str, ...]:
        """The words that can change what is made: what keys and records know of the command."""
        return tuple(word for place, word in enumerate(self.argv) if place not in self.aside)

    def __str__(self) -> str:
        """The command as one copyable shell line."""
        words = [f"{name}={shlex.quote(value)}" for name, value in self.env]
        return " ".join([*(["env", *words] if words else []), shlex.join(self.argv)])
