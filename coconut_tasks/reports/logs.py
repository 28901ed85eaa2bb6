"""The list of logs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from coconut_tasks.wording import human


def list_of_logs(logs: Sequence[tuple[str, float, int]]) -> str:
    """A line for each log, the latest last. A log is the step's name, the time when it was written (seconds since the epoch), and its size
    in bytes."""
    if not logs:
        return "no step has run yet\n"
    width = max(len(name) for name, _, _ in logs)
    lines = [
        f"{datetime.fromtimestamp(when):%Y-%m-%d %H:%M:%S}  {name:<{width}}  {human(size)}"
        for name, when, size in sorted(logs, key=lambda log: log[1])
    ]
    return "\n".join(lines) + "\n"
