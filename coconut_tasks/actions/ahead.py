"""Imports and makes what the rest of a run needs, while a tool is at work and this process has nothing to do."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from contextlib import suppress

from coconut_tasks.steps.action import Provenance
from coconut_tasks.workspace.workspace import Workspace

_MODULES = (
    "coconut_tasks.actions.cargo_traces",
    "coconut_tasks.actions.igvm_image",
    "coconut_tasks.actions.measure",
    "coconut_tasks.igvm.snp",
    "cbor2",
    "coconut_tasks.actions.provenance",
    "coconut_tasks.actions.link",
    "coconut_tasks.tasks.record_run",
)
_HEAD_START_S = {True: 0.1, False: 0.02}
"""In which the tool is started, by whether that is cargo: more is to be done before it starts, and it takes its time."""


def get_ahead(workspace: Workspace, *, cargo: bool, then: Callable[[], None] | None) -> None:
    """Import it, once in a run, and do what is wanted ``then``, if anything is."""
    if _is_first(workspace, "got ahead") or then is not None:
        thread = threading.Timer(_HEAD_START_S[cargo], _get, (then,))
        thread.daemon = True  # a run may end before
        thread.start()


def prepare_ahead(action: Provenance, workspace: Workspace) -> None:
    """Begin with what the statements of a run have in common, once in a run: ``action`` is one of them, of an image that is being built."""
    if _is_first(workspace, "prepared ahead"):
        threading.Thread(target=_prepare, args=(action, workspace)).start()


def _is_first(workspace: Workspace, what: str) -> bool:
    """Whether this is the first time in a run that it is asked of ``what``."""
    asked: list[object] = workspace.shared(what, list)
    asked.append(None)
    return len(asked) == 1


def _prepare(action: Provenance, workspace: Workspace) -> None:
    from coconut_tasks.actions.provenance import prepare_provenance

    with suppress(Exception):  # the step itself will meet it again, and tell it
        prepare_provenance(action, workspace)


def _get(then: Callable[[], None] | None) -> None:
    for name in _MODULES:
        importlib.import_module(name)
    if then is not None:
        with suppress(Exception):  # as above
            then()
