"""The task graph as a picture (SVG) and as text for other tools (DOT, Mermaid)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What a run would do with a step now."""

    STALE = "stale"
    """It would run."""
    MAYBE = "may run"
    """It would run if a step that it needs makes something else than last time."""
    FRESH = "up to date"


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One step."""

    name: str
    """The task's name, as ``kernel:svsm``."""
    stage: str
    """As in ``Step.stage``."""
    doc: str
    state: State
    reason: str = ""
    """Why it is stale, in a sentence; empty for one that is up to date."""
    needs: tuple[str, ...] = ()
    """Names of the steps that must be done before it; each is a node of the graph."""
