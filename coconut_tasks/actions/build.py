"""Do a step whole: its action, what is to be remembered of it, its files in ``bin/``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from itertools import chain
from pathlib import Path
from typing import Any

from coconut_tasks.actions.ahead import get_ahead, prepare_ahead
from coconut_tasks.actions.publish import publish
from coconut_tasks.dataclass import dataclass
from coconut_tasks.freshness.staleness import input_files, signature
from coconut_tasks.inputs.files import CLOCK_LAG_NS, FileState, Since
from coconut_tasks.records.record import Record, record_values
from coconut_tasks.records.store import VALUES, Store
from coconut_tasks.steps.action import CargoItem, MakeItem, Provenance
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.workspace import Workspace

# What a run that only places files again does not need is imported when it is needed.


@dataclass(frozen=True, slots=True)
class Done:
    """A step that ended well, for the record."""

    inputs: Set[str]
    """Every file that it read, absolute."""
    states: Mapping[str, FileState]
    """Of those files."""
    values: Mapping[str, Any]
    """All else."""


def place_again(step: Step, inputs: Set[str], workspace: Workspace, store: Store) -> Done:
    """Only copy a step's files to ``bin/`` again: they are as the last good run left them."""
    values = {**store.get(step.name, VALUES), "published": publish(step, workspace)}
    return Done(inputs, workspace.files.states(inputs, Since(0, workspace.files.seen())), values)


def build(
    step: Step,
    last: Record | None,
    known: Set[str],
    statement: Provenance | None,
    workspace: Workspace,
    store: Store,
) -> Done:
    """Build a step.

    ``last`` is the record of its last good run, ``known`` are its ``input_files`` by that, and ``statement`` is one that will tell of it.

    Raises:
        StepError: it failed, or somebody else's file is where one of its files goes.
    """
    from coconut_tasks.actions.perform import perform

    is_cargos = isinstance(step.action, CargoItem)
    if is_cargos or step.action.is_image or isinstance(step.action, MakeItem):
        get_ahead(workspace, cargo=is_cargos, then=_rehearsal(step, last, known, statement, workspace))
    if step.action.is_image and statement is not None:
        prepare_ahead(statement, workspace)
    files = workspace.files
    if last is not None:
        # What lies in bin/ is compared with what is made.
        places = {workspace.path(place): state for place, state in last.published.items()}
        files.know_all(chain(last.files.items(), places.items()))
    # What was looked at before tells what the step saw; the rest is judged by its age.
    before = files.seen()
    started_ns = time.time_ns() - CLOCK_LAG_NS
    # Dropped first: a run that is killed from here on leaves no record that could vouch for half an output.
    store.drop(step.name)
    reading = perform(step, workspace, first=last is None)
    found = reading.inputs
    inputs = input_files(step, found, workspace)
    # Only what is this step's own: a copy of everything for each of many steps would fill the memory.
    own = {path: before[path] for path in inputs if path in before}
    since = Since(reading.started_ns or started_ns, own, reading.vouched, reading.looked)
    signed = signature(step, found, workspace)
    # What is written into them from now on is for the next run to see.
    states = files.states(inputs, since)
    if step.link:
        from coconut_tasks.actions.link import write_link

        write_link(step, signed, states, reading.made, workspace)
    if last is None:
        from coconut_tasks.records.variants import drop_old_variants

        drop_old_variants(step, store, workspace)
    outputs = {output: files.state(workspace.path(output)) for output in step.outputs}
    values = record_values(workspace.tree, signed, found, outputs, publish(step, workspace))
    return Done(inputs, states, values)


def _rehearsal(
    step: Step, last: Record | None, known: Set[str], statement: Provenance | None, workspace: Workspace
) -> Callable[[], None] | None:
    """What can be made of statements while a tool is at work, if it reads what it did the last time."""
    if statement is None or last is None or step.action.is_image:
        return None
    try:
        link = Path(workspace.path(step.link)).read_bytes()
    except OSError:
        return None

    def rehearse() -> None:
        from coconut_tasks.actions.provenance import rehearse_provenance

        rehearse_provenance(statement, step, link, known, workspace)

    return rehearse
