"""Import and prepare what the rest of a run needs while a tool is running and this process is idle."""

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
"""Time for the tool to start, by whether it is cargo: before cargo starts there is more to do, and cargo runs longer."""


def get_ahead(workspace: Workspace, *, cargo: bool, then: Callable[[], None] | None) -> None:
    """Import the modules, once in a run, and call ``then`` if it is given."""
    if _is_first(workspace, "got ahead") or then is not None:
        thread = threading.Timer(_HEAD_START_S[cargo], _get, (then,))
        thread.daemon = True  # the run may end first
        thread.start()


def prepare_ahead(action: Provenance, workspace: Workspace) -> None:
    """Start on what the run's statements have in common, once in a run; ``action`` writes the statement of an image that is being built."""
    if _is_first(workspace, "prepared ahead"):
        threading.Thread(target=_prepare, args=(action, workspace)).start()


def _is_first(workspace: Workspace, what: str) -> bool:
    """Whether this is the first call in a run for ``what``."""
    asked: list[object] = workspace.shared(what, list)
    asked.append(None)
    return len(asked) == 1


def _prepare(action: Provenance, workspace: Workspace) -> None:
    from coconut_tasks.actions.provenance import prepare_provenance

    with suppress(Exception):  # the step itself will meet and report it
        prepare_provenance(action, workspace)


def _get(then: Callable[[], None] | None) -> None:
    for name in _MODULES:
        importlib.import_module(name)
    if then is not None:
        with suppress(Exception):  # as above
            then()
