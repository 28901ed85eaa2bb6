"""A step of the plan: data that says what it runs, reads and makes. Nothing here touches the disk."""

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
"""The groups of steps, with what each makes, in build order."""


@dataclass(frozen=True, slots=True)
class Step:
    """One node of the graph."""

    stage: str
    """One of ``STAGES``."""
    component: str
    key: str
    """Digest of the choices that define this variant of the step: commands, environment, names. Two variants never share a file or a
    record."""
    doc: str
    action: Action
    inputs: tuple[str, ...]
    """The inputs that are known before anything ran; ``inputs`` discovers what else a build reads."""
    outputs: tuple[str, ...]
    """The files that the step makes, below the state folder."""
    publish: tuple[tuple[str, str], ...] = ()
    """Pairs of an output and the file below ``bin/`` that it is copied to."""
    after: tuple[str, ...] = ()
    """Files that must exist before the step runs, but are not necessarily its inputs."""
    link: str = ""
    """The output that records what the step was made of, for the provenance (``evidence.link``); empty if there is none."""
    label: str = ""
    """Distinguishes variants of a step in one run; empty if there is only one."""

    @property
    def name(self) -> str:
        """The task's name, for example ``kernel:svsm`` or ``kernel:svsm@hyperv``."""
        return self.part + (f"@{self.label}" if self.label else "")

    @property
    def record(self) -> str:
        """The key of this variant's record, whatever the task is called in this run."""
        return f"{self.part}#{self.key}"

    @property
    def file_name(self) -> str:
        """The stem of the names of files that belong to it but are outside its folder."""
        return f"{self.stage}-{self.component}-{self.key}".replace("/", "-")

    @property
    def part(self) -> str:
        """The name that all variants of a step share, for example ``kernel:svsm``."""
        return f"{self.stage}:{self.component}"

    @property
    def commands(self) -> tuple[Command, ...]:
        """Every process that it starts, in order."""
        return self.action.commands

    @property
    def makes(self) -> tuple[str, ...]:
        """Every file that it writes, as the commands spell it."""
        return (*self.outputs, *self.action.made_in_tree)


def direct_needs(steps: Iterable[Step]) -> dict[str, tuple[str, ...]]:
    """For each step's name, the names of the other steps that make its inputs or must come before it.

    Links do not count: a step that reads one also reads that step's other outputs, and a picture with links would show little else.
    """
    steps = list(steps)
    makers = {output: step.name for step in steps for output in step.outputs if output != step.link}
    return {
        step.name: tuple(dict.fromkeys(makers[path] for path in (*step.inputs, *step.after) if path in makers))
        for step in steps
    }
