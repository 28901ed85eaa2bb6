"""What a run would do, without running it: which steps will run, and which depend on what another step makes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from enum import Enum

from coconut_tasks.dataclass import dataclass
from coconut_tasks.freshness.staleness import Reason
from coconut_tasks.steps.step import Step
from coconut_tasks.wording import either


class Fate(Enum):
    """What becomes of a step in a run."""

    RUNS = "runs"
    CACHED = "comes from the cache"
    """It would run, but the cache has its result."""
    PLACES = "is restored"
    """Nothing is built; files are only copied to ``bin/`` again."""
    MAYBE = "may run"
    """It runs only if what another step makes changes, which nobody knows until that step has run."""
    RESTS = "is up to date"
    IGNORED = "is ignored (doit ignore)"


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is known about a step before a run."""

    step: Step
    reasons: tuple[Reason, ...]
    """From ``check_staleness``; empty if the step is up to date now."""
    inputs: frozenset[str]
    """Every file that it reads or looks for, as absolute paths."""
    roots: tuple[str, ...]
    """Folders in which every file is an input, even one that does not exist yet."""
    count: int
    """How many of the inputs exist."""
    cached: bool = False
    """The cache has the result that it would have if it ran."""
    ignored: bool = False
    """The user ran ``doit ignore`` on it."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run would do with a step."""

    step: Step
    fate: Fate
    reasons: tuple[str, ...]
    """One sentence each: why it runs, or may run."""
    inputs: int
    """How many files it reads."""
    because: tuple[str, ...] = ()
    """Names of the steps that run, or may run, before it and make files that it reads."""
    shared: bool = False
    """Every reason is a tool or an environment variable, so other steps are likely to have the same ones."""


def forecast(assessments: Iterable[Assessment], absolute: Callable[[str], str]) -> dict[str, Forecast]:
    """Forecasts by task name. In ``assessments`` each step comes after the steps that it needs.

    ``absolute`` is ``Workspace.path``.
    """
    found: dict[str, Forecast] = {}
    moving: dict[str, Forecast] = {}
    for assessment in assessments:
        after = [absolute(path) for path in assessment.step.after]
        coming = _forecast(assessment, moving, after)
        found[assessment.step.name] = coming
        if coming.fate is not Fate.RESTS:  # what needs an ignored step is ignored too
            moving |= {absolute(path): coming for path in assessment.step.makes}
    return found


def _forecast(assessment: Assessment, moving: Mapping[str, Forecast], after: Iterable[str]) -> Forecast:
    step, reads = assessment.step, assessment.count
    ahead = [source for path, source in moving.items() if _reads(assessment, path)]
    # doit ignores whatever comes after an ignored step, whether it reads its files or not.
    waited = [moving[path] for path in after if path in moving]
    if assessment.ignored or any(source.fate is Fate.IGNORED for source in (*ahead, *waited)):
        return Forecast(step, Fate.IGNORED, (), reads)
    sources = {source.step.name: source for source in ahead if source.fate is not Fate.PLACES}
    because = tuple(sources)
    remade = {path for path, source in moving.items() if source.step.name in sources}
    sentences = [str(reason) for reason in assessment.reasons]
    # An input that changed, but that another step is about to make again, may turn out unchanged.
    builds = any(not reason.only_places and reason.file not in remade for reason in assessment.reasons)
    # Such a step only runs if its text changes.
    written = [source for source in sources.values() if source.step.action.writes_source]
    if builds or written:
        sentences += [f"{source.step.name} rewrites {source.step.outputs[0]}" for source in written]
        shared = not written and all(reason.is_shared for reason in assessment.reasons)
        fate = Fate.CACHED if assessment.cached else Fate.RUNS
        return Forecast(step, fate, tuple(sentences), reads, because, shared and not assessment.cached)
    if sources:
        sentences = [f"if {either(list(because))} changes"]
        return Forecast(step, Fate.MAYBE, tuple(sentences), reads, because)
    if not sentences and step.action.is_about_an_image:
        # Before an IGVM file is placed, the files that describe it are removed.
        sentences = [f"{made.name} is restored" for source in ahead if (made := source.step).action.is_image]
    return Forecast(step, Fate.PLACES if sentences else Fate.RESTS, tuple(sentences), reads)


def _reads(assessment: Assessment, path: str) -> bool:
    return path in assessment.inputs or any(path.startswith(root + os.sep) for root in assessment.roots)


def always(found: Forecast) -> Forecast:
    """The same for a run of steps that are up to date too."""
    if found.fate in (Fate.RUNS, Fate.IGNORED):
        return found
    return replace(found, fate=Fate.RUNS, reasons=("up to date, but --always runs it",), shared=False)
