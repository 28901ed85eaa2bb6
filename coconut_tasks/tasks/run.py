"""A run, as its command asked for it, and what comes of it: what its command, supervisor and reporter have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field

from coconut_tasks.dataclass import dataclass
from coconut_tasks.records.store import Store
from coconut_tasks.tasks.node import Node, StepResult
from coconut_tasks.workspace.session import Session

GOOD = (StepResult.BUILT, StepResult.PLACED, StepResult.FRESH)
"""What a step made is as a build from nothing would make it."""


@dataclass(frozen=True, slots=True)
class Image:
    """An IGVM file that a run built, or found up to date."""

    node: Node
    """Of the step that makes it."""
    output: str
    """As the step spells it."""
    place: str
    """Below ``bin/``, as the step spells it."""
    digest: str | None
    """Its launch digest in hex; None if this run has not measured it."""

    @property
    def path(self) -> str:
        """In the output folder, absolute."""
        return self.node.workspace.path(self.place)


def images_of(steps: Sequence[Node]) -> Iterator[Image]:
    """Each IGVM file among what steps made that is there and good."""
    good = [node for node in steps if node.result in GOOD]
    digests = dict(measured for node in good if (measured := node.digest()))
    for node in good:
        if node.step.action.is_image:
            for output, place in node.step.publish:
                yield Image(node, output, place, digests.get(node.workspace.path(place)))


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
