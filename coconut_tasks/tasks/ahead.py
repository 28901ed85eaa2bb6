"""Imports what the rest of a run needs, while a tool is at work and this process has nothing to do."""

from __future__ import annotations

import importlib
import threading

_MODULES = (
    "coconut_tasks.work.igvm",
    "coconut_tasks.work.measure",
    "coconut_tasks.igvm.snp",
    "cbor2",
    "coconut_tasks.work.provenance",
    "coconut_tasks.papers.link",
    "coconut_tasks.tasks.remember",
)
_HEAD_START_S = 0.02
"""In which the tool is started."""
_begun = threading.Event()


def import_ahead() -> None:
    """Begin with it, once in a run."""
    if not _begun.is_set():
        _begun.set()
        thread = threading.Timer(_HEAD_START_S, _import)
        thread.daemon = True  # a run may end before
        thread.start()


def _import() -> None:
    for name in _MODULES:
        importlib.import_module(name)
