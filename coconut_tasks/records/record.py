"""The record of a step's last successful run, as doit's backend keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from coconut_tasks.dataclass import dataclass
from coconut_tasks.inputs.discovered import Inputs
from coconut_tasks.inputs.files import FileState, recorded_state
from coconut_tasks.records.store import FILES, VALUES
from coconut_tasks.workspace.run_state import FromCache


@dataclass(frozen=True, slots=True)
class Record:
    """The record of a step's last successful run."""

    signature: Mapping[str, Any]
    inputs: Inputs
    files: Mapping[str, FileState]
    """The state of every input that existed."""
    outputs: Mapping[str, FileState]
    published: Mapping[str, FileState]
    cached: FromCache | None = None
    """Where its outputs are from if it was not built here."""


def record_values(
    tree: str,
    signature: Mapping[str, Any],
    inputs: Inputs,
    outputs: Mapping[str, FileState],
    published: Mapping[str, FileState],
    cached: FromCache | None = None,
) -> dict[str, Any]:
    """What is recorded about a successful run in ``tree``, in addition to the states of its inputs, which doit sets."""
    return {
        "tree": tree,
        "signature": signature,
        "inputs": inputs.as_json(),
        "outputs": outputs,
        "published": published,
        **({} if cached is None else {"cached": asdict(cached)}),
    }


def read_record(row: Mapping[str, Any], tree: str) -> Record | None:
    """The record in a row of the store; None if there is none, or if it is from another program or checkout."""
    values: Any = row.get(VALUES)
    try:
        if values["tree"] != tree:
            return None  # the checkout was copied or moved, so this is about the other one's files
        return Record(
            signature=values["signature"],
            inputs=Inputs.from_json(values["inputs"]),
            files={path: recorded_state(row[path]) for path in row[FILES]},
            outputs={path: recorded_state(state) for path, state in values["outputs"].items()},
            published={path: recorded_state(state) for path, state in values["published"].items()},
            cached=FromCache(**values["cached"]) if "cached" in values else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
