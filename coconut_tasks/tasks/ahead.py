"""Imports and makes what the rest of a run needs, while a tool is at work and this process has nothing to do."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from contextlib import suppress

from coconut_tasks.step import Provenance
from coconut_tasks.world import World

_MODULES = (
    "coconut_tasks.work.cargo_traces",
    "coconut_tasks.work.igvm",
    "coconut_tasks.work.measure",
    "coconut_tasks.igvm.snp",
    "cbor2",
    "coconut_tasks.work.provenance",
    "coconut_tasks.work.link",
    "coconut_tasks.tasks.remember",
)
_HEAD_START_S = {True: 0.1, False: 0.02}
"""In which the tool is started, by whether that is cargo: more is to be done before it starts, and it takes its time."""
_begun = threading.Event()
_prepared = threading.Event()


def get_ahead(*, cargo: bool, then: Callable[[], None] | None) -> None:
    """Import it, once in a run, and do what is wanted ``then``, if anything is."""
    if then is not None or not _begun.is_set():
        _begun.set()
        thread = threading.Timer(_HEAD_START_S[cargo], _get, (then,))
        thread.daemon = True  # a run may end before
        thread.start()


def prepare_ahead(work: Provenance, world: World) -> None:
    """Begin with what the statements of a run have in common, once in a run: ``work`` is one of them, of an image that is being built."""
    if not _prepared.is_set():
        _prepared.set()
        threading.Thread(target=_prepare, args=(work, world)).start()


def _prepare(work: Provenance, world: World) -> None:
    from coconut_tasks.work.provenance import prepare_provenance

    with suppress(Exception):  # the step itself will meet it again, and tell it
        prepare_provenance(work, world)


def _get(then: Callable[[], None] | None) -> None:
    for name in _MODULES:
        importlib.import_module(name)
    if then is not None:
        with suppress(Exception):  # as above
            then()
