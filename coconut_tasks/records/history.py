"""What is remembered of earlier runs to be shown: times and sizes. Nothing is decided by it, and all of it may be deleted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from coconut_tasks.effects.place import read_object, write_cache
from coconut_tasks.records.sizes import Sizes
from coconut_tasks.records.timeline import Timeline, as_json, from_json

_KEPT = 1000
"""How many durations are kept: of the steps that ran last."""


class History:
    """The files of one state folder."""

    def __init__(self, state: Path) -> None:
        self._run, self._durations, self._sizes = (
            state / name for name in ("last-run.json", "durations.json", "sizes.json")
        )

    def last_run(self) -> Timeline | None:
        """The last run that built something; None if there was none."""
        try:
            return from_json(read_object(self._run))
        except ValueError:
            return None

    def record_run(self, timeline: Timeline) -> None:
        """Keep a run as the last one."""
        write_cache(self._run, json.dumps(as_json(timeline)).encode())

    def durations(self) -> dict[str, float]:
        """Seconds of the last good run, by ``Step.record``; the latest last."""
        return {
            name: float(seconds)
            for name, seconds in read_object(self._durations).items()
            if isinstance(seconds, int | float)
        }

    def record_durations(self, seconds: Mapping[str, float]) -> None:
        """Add the steps that ran now."""
        kept = {name: value for name, value in self.durations().items() if name not in seconds}
        write_cache(self._durations, json.dumps(dict([*kept.items(), *seconds.items()][-_KEPT:])).encode())

    def before(self, place: str, now: Sizes) -> Sizes | None:
        """The sizes of the build before the one that is there now: the last one that had another content."""
        found = [sizes for sizes in self._known(place) if sizes.digest != now.digest]
        return found[-1] if found else None

    def record_sizes(self, files: Iterable[tuple[str, Sizes]]) -> None:
        """Keep what each IGVM file, by its name below ``bin/``, is now, and what it was before."""
        all_files = read_object(self._sizes)
        for place, now in files:
            before = self.before(place, now)
            all_files[place] = [sizes.as_json() for sizes in (before, now) if sizes]
        write_cache(self._sizes, json.dumps(all_files).encode())

    def _known(self, place: str) -> list[Sizes]:
        try:
            return [Sizes.from_json(value) for value in read_object(self._sizes).get(place, ())]
        except (KeyError, TypeError, ValueError):
            return []


def expected_seconds(record: str, durations: Mapping[str, float]) -> float | None:
    """How long a step took last time, this variant or, if that has never been built, the one that was built last."""
    if record in durations:
        return durations[record]
    name = record.partition("#")[0]
    return next((value for key, value in reversed(list(durations.items())) if key.partition("#")[0] == name), None)
