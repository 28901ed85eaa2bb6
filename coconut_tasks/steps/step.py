"""A step of the plan: data that says what is run, what it reads and what it makes. Nothing here touches the disk."""

from __future__ import annotations

from collections.abc import Iterable

from coconut_tasks.dataclass import dataclass
from coconut_tasks.steps.action import Action
from coconut_tasks.steps.command import Command

STAGES = {
    "version": "the tree's version file",
    "tool": "the host tools that build and measure images",
    "kernel": "the kernel parts",
    "module": "the user-space modules",
    "fs": "the file-system image",
    "firmware": "the guest firmware",
    "igvm": "the IGVM files",
    "measure": "the launch measurements",
    "provenance": "what the IGVM files were made of",
}
"""The groups that steps come in, with what each makes, in the order of the data."""


@dataclass(frozen=True, slots=True)
class Step:
    """One node of the graph."""

    stage: str
    """One of ``STAGES``."""
    component: str
    key: str
    """Digest of the choices that make this variant of the step: commands, environment, names. Two variants never share a
    file or a record."""
    doc: str
    action: Action
    inputs: tuple[str, ...]
    """The files that are known to be read before anything ran; what a build reads beyond them is found out by ``inputs``."""
    outputs: tuple[str, ...]
    """The files that the step makes, below the state folder."""
    publish: tuple[tuple[str, str], ...] = ()
    """Pairs of an output and the file below ``bin/`` that it is copied to."""
    after: tuple[str, ...] = ()
    """Files that must be in place before the step runs, without being its inputs for certain."""
    link: str = ""
    """One of the outputs: what the step was made of, for the provenance (``evidence.link``); empty where none is kept."""
    label: str = ""
    """Tells the variants of a step in one run apart; empty where there is only one."""

    @property
    def name(self) -> str:
        """The task's name, as ``kernel:svsm`` or ``kernel:svsm@hyperv``."""
        return self.part + (f"@{self.label}" if self.label else "")

    @property
    def record(self) -> str:
        """The key of what is remembered about this variant, whatever the task is called in this run."""
        return f"{self.part}#{self.key}"

    @property
    def file_name(self) -> str:
        """What files of its own that are not in its folder are called, without an ending."""
        return f"{self.stage}-{self.component}-{self.key}".replace("/", "-")

    @property
    def part(self) -> str:
        """What the variants of a step have in common, as ``kernel:svsm``."""
        return f"{self.stage}:{self.component}"

    @property
    def commands(self) -> tuple[Command, ...]:
        """Every process that the step starts, in order."""
        return self.action.commands

    @property
    def makes(self) -> tuple[str, ...]:
        """Every file that the step writes, as the commands spell it."""
        return (*self.outputs, *self.action.made_in_tree)


def direct_needs(steps: Iterable[Step]) -> dict[str, tuple[str, ...]]:
    """By the name of each step, the names of those among them that make what it reads, or that it must come after.

    Links do not count: who reads one reads what came of that step, too, and a picture with them would show little else.
    """
    steps = list(steps)
    makers = {output: step.name for step in steps for output in step.outputs if output != step.link}
    return {
        step.name: tuple(dict.fromkeys(makers[path] for path in (*step.inputs, *step.after) if path in makers))
        for step in steps
    }
