"""A run and its results: the state that its command, supervisor and reporter share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field

from coconut_tasks.dataclass import dataclass
from coconut_tasks.records.store import Store
from coconut_tasks.steps.action import PlatformDigest
from coconut_tasks.tasks.node import GOOD, Node
from coconut_tasks.workspace.session import Session


@dataclass(frozen=True, slots=True)
class Image:
    """An IGVM file that a run built, or found up to date."""

    node: Node
    """The step that makes it."""
    output: str
    """The output as the step spells it."""
    place: str
    """Its path in ``bin/``, as the step spells it."""
    digests: tuple[PlatformDigest, ...] = ()
    """Its launch measurements; none if this run has not measured it."""

    @property
    def path(self) -> str:
        """Its absolute path in the output folder."""
        return self.node.workspace.path(self.place)


def images_of(steps: Sequence[Node]) -> Iterator[Image]:
    """Each IGVM file of these steps that is up to date."""
    good = [node for node in steps if node.result in GOOD]
    digests = dict(measured for node in good if (measured := node.measured()))
    for node in good:
        if node.step.action.is_image:
            for output, place in node.step.publish:
                yield Image(node, output, place, digests.get(node.workspace.path(place), ()))


@dataclass(slots=True)
class Run:
    """One run of doit on our tasks."""

    session: Session
    store: Store
    jobs: int = 1
    """How many steps may run at once."""
    quiet: bool = False
    """Whether to print nothing if there is nothing to do."""
    check: Callable[[Sequence[Node]], object] | None = None
    """Raises UsageError for steps that the command cannot use."""
    steps: list[Node] = field(default_factory=list)
    """All steps of the run, each after those that it needs."""
    began: bool = False
    """Whether doit has selected the tasks; later errors are not wrong usage."""
    internal_error: bool = False
    """Whether there was an error other than the failure of a step."""
    source_told: bool = False
    """Whether the source line was printed."""
