"""A run, as its command asked for it, and what comes of it: what its command, supervisor and reporter have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field

from coconut_tasks.dataclass import dataclass
from coconut_tasks.records.store import Store
from coconut_tasks.tasks.node import Node
from coconut_tasks.workspace.session import Session


@dataclass(slots=True)
class Run:
    """One run of doit on our tasks."""

    session: Session
    store: Store
    jobs: int = 1
    """How many steps may run at once."""
    quiet: bool = False
    """Nothing is said where nothing is to be done."""
    check: Callable[[Sequence[Node]], object] | None = None
    """Raises UsageError for steps that the command can do nothing with."""
    steps: list[Node] = field(default_factory=list)
    """Every step that the run needs, each after those that it needs."""
    began: bool = False
    """doit has chosen the tasks; what is wrong from here on is no longer wrong use."""
    internal_error: bool = False
    """There was an error that is not a step's own failure."""
    source_told: bool = False
    """The user knows which tree is built."""
