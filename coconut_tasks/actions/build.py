"""Do a whole step: its action, its record and its files in ``bin/``."""

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

# A run that only places files again does not need the rest, so it is imported where it is used.


@dataclass(frozen=True, slots=True)
class Done:
    """A successful step, for the record."""

    inputs: Set[str]
    """Absolute paths of every file that it read."""
    states: Mapping[str, FileState]
    """The states of those files."""
    values: Mapping[str, Any]
    """Everything else in the record."""


def place_again(step: Step, inputs: Set[str], workspace: Workspace, store: Store) -> Done:
    """Only copy a step's files to ``bin/`` again: they did not change since the last successful run."""
    values = {**store.get(step.name, VALUES), "published": publish(step, workspace)}
    return Done(inputs, workspace.files.states(inputs, Since(0, workspace.files.seen())), values)


def build(
    step: Step,
    last: Record | None,
    known: Set[str],
    statement: Provenance | None,
    workspace: Workspace,
    store: Store,
    *,
    use_cache: bool = True,
) -> Done:
    """Build a step. ``use_cache`` says that a result from the cache will do.

    ``last`` is the record of its last successful run, ``known`` are its ``input_files`` by that record, and ``statement`` writes a
    provenance statement that will include it.

    Raises:
        StepError: it failed, or a file that this program did not make is in the place of one of its files.
    """
    from coconut_tasks.actions.perform import perform

    is_cargos = isinstance(step.action, CargoItem)
    if is_cargos or step.action.is_image or isinstance(step.action, MakeItem):
        get_ahead(workspace, cargo=is_cargos, then=_rehearsal(step, last, known, statement, workspace))
    if step.action.is_image and statement is not None:
        prepare_ahead(statement, workspace)
    files = workspace.files
    if last is not None:
        # The files in bin/ are compared with what is made.
        places = {workspace.path(place): state for place, state in last.published.items()}
        files.know_all(chain(last.files.items(), places.items()))
    # Files seen before show what the step read; the others are judged by their age.
    before = files.seen()
    started_ns = time.time_ns() - CLOCK_LAG_NS
    # Dropped first, so that a run killed from here on leaves no record for a partial output.
    store.drop(step.name)
    reading = perform(step, workspace, first=last is None, use_cache=use_cache)
    found = reading.inputs
    inputs = input_files(step, found, workspace)
    # Only this step's files: a copy of everything for each of many steps would use too much memory.
    own = {path: before[path] for path in inputs if path in before}
    since = Since(reading.started_ns or started_ns, own, reading.vouched, reading.looked)
    signed = signature(step, found, workspace)
    # A later edit is for the next run to notice.
    states = files.states(inputs, since)
    if may_be_cached(step, workspace) and step.name not in workspace.run_state.cached:
        from coconut_tasks.actions.cached import keep

        keep(step, reading, since.started_ns, states, workspace)
    if step.link:
        from coconut_tasks.actions.link import write_link

        write_link(step, signed, states, reading.made, workspace)
    if last is None:
        from coconut_tasks.records.variants import drop_old_variants

        drop_old_variants(step, store, workspace)
    outputs = {output: files.state(workspace.path(output)) for output in step.outputs}
    cached = workspace.run_state.cached.get(step.name)
    values = record_values(workspace.tree, signed, found, outputs, publish(step, workspace), cached)
    return Done(inputs, states, values)


def may_be_cached(step: Step, workspace: Workspace) -> bool:
    """Whether a cache is on, as far as that is known without importing anything."""
    return isinstance(step.action, CargoItem | MakeItem) and workspace.run_state.cache is not None


def _rehearsal(
    step: Step, last: Record | None, known: Set[str], statement: Provenance | None, workspace: Workspace
) -> Callable[[], None] | None:
    """A function that prepares statements while a tool is running, on the assumption that it reads the same files as last time."""
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
