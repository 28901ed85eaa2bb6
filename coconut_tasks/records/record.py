"""What the last good run of a step left, as doit's backend keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coconut_tasks.dataclass import dataclass
from coconut_tasks.inputs.discovered import Inputs
from coconut_tasks.inputs.files import FileState, recorded_state
from coconut_tasks.records.store import FILES, VALUES


@dataclass(frozen=True, slots=True)
class Record:
    """What the last good run of a step left."""

    signature: Mapping[str, Any]
    inputs: Inputs
    files: Mapping[str, FileState]
    """The state of every input that existed."""
    outputs: Mapping[str, FileState]
    published: Mapping[str, FileState]


def record_values(
    tree: str,
    signature: Mapping[str, Any],
    inputs: Inputs,
    outputs: Mapping[str, FileState],
    published: Mapping[str, FileState],
) -> dict[str, Any]:
    """What is kept of a good run in ``tree``, beside the states of its inputs, which doit sets."""
    return {
        "tree": tree,
        "signature": signature,
        "inputs": inputs.as_json(),
        "outputs": outputs,
        "published": published,
    }


def read_record(row: Mapping[str, Any], tree: str) -> Record | None:
    """The record in a row of the store; None where there is none, where it is not of this program, and where it is of another checkout."""
    values: Any = row.get(VALUES)
    try:
        if values["tree"] != tree:
            return None  # of a checkout that was copied or moved: what it says of files is about the other one
        return Record(
            signature=values["signature"],
            inputs=Inputs.from_json(values["inputs"]),
            files={path: recorded_state(row[path]) for path in row[FILES]},
            outputs={path: recorded_state(state) for path, state in values["outputs"].items()},
            published={path: recorded_state(state) for path, state in values["published"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
