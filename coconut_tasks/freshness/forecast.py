"""What a run would do, without running: which steps run for certain, and which do if another one makes something new."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from enum import Enum

from coconut_tasks.dataclass import dataclass
from coconut_tasks.freshness.staleness import Reason
from coconut_tasks.steps.step import Step


class Fate(Enum):
    """What becomes of a step in a run."""

    RUNS = "runs"
    PLACES = "is placed again"
    """Nothing is built; a file is only copied to ``bin/`` again."""
    MAYBE = "may run"
    """Whether it runs depends on what another step makes: nobody knows before whether that is another file than last time."""
    RESTS = "is up to date"
    IGNORED = "is ignored, as `doit ignore` asked"


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is known of a step before a run."""

    step: Step
    reasons: tuple[Reason, ...]
    """By ``staleness.judge``; none if it is up to date as things are."""
    inputs: frozenset[str]
    """Every file that it reads or looks for, absolute."""
    roots: tuple[str, ...]
    """Folders of which every file is an input, also one that is not there yet."""
    count: int
    """Of the inputs that are there."""
    ignored: bool = False
    """``doit ignore`` was said of it."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What will become of a step."""

    step: Step
    fate: Fate
    reasons: tuple[str, ...]
    """A sentence each: why it runs, or may run."""
    inputs: int
    """How many files it reads."""
    because: tuple[str, ...] = ()
    """Names of the steps whose files it reads and that run, or may run, before it."""


def forecast(assessments: Iterable[Assessment], absolute: Callable[[str], str]) -> dict[str, Forecast]:
    """By the task's name; ``assessments`` are in an order in which each step comes after those that it needs.

    ``absolute`` is ``Workspace.path``.
    """
    found: dict[str, Forecast] = {}
    moving: dict[str, Forecast] = {}
    for assessment in assessments:
        after = [absolute(path) for path in assessment.step.after]
        coming = _forecast(assessment, moving, after)
        found[assessment.step.name] = coming
        if coming.fate is not Fate.RESTS:  # what needs an ignored step is ignored, too
            moving |= {absolute(path): coming for path in assessment.step.makes}
    return found


def _forecast(assessment: Assessment, moving: Mapping[str, Forecast], after: Iterable[str]) -> Forecast:
    step, reads = assessment.step, assessment.count
    ahead = [source for path, source in moving.items() if _reads(assessment, path)]
    # doit passes it on to whatever comes after the step, read or not.
    waited = [moving[path] for path in after if path in moving]
    if assessment.ignored or any(source.fate is Fate.IGNORED for source in (*ahead, *waited)):
        return Forecast(step, Fate.IGNORED, (), reads)
    sources = {source.step.name: source for source in ahead if source.fate is not Fate.PLACES}
    because = tuple(sources)
    remade = {path for path, source in moving.items() if source.step.name in sources}
    sentences = [str(reason) for reason in assessment.reasons]
    # A file that is not as it was, and that is made anew before, may well be as it was then.
    builds = any(not reason.only_places and reason.file not in remade for reason in assessment.reasons)
    # Its text is known to be another one: it would not be written otherwise.
    written = [source for source in sources.values() if source.step.action.writes_source]
    if builds or written:
        sentences += [f"{source.step.outputs[0]} is written anew by {source.step.name}" for source in written]
        return Forecast(step, Fate.RUNS, tuple(sentences), reads, because)
    if sources:
        sentences = [f"if what it reads of {', '.join(because)} is not as it was"]
        return Forecast(step, Fate.MAYBE, tuple(sentences), reads, because)
    if not sentences and step.action.is_about_an_image:
        # Where an IGVM file is placed, what stands beside it goes first.
        sentences = [f"{made.name} is placed again" for source in ahead if (made := source.step).action.is_image]
    return Forecast(step, Fate.PLACES if sentences else Fate.RESTS, tuple(sentences), reads)


def _reads(assessment: Assessment, path: str) -> bool:
    return path in assessment.inputs or any(path.startswith(root + os.sep) for root in assessment.roots)
