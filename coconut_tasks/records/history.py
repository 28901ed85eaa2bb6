"""Times and sizes from earlier runs, for display only: nothing is decided by them, and all of it may be deleted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from coconut_tasks.dataclass import dataclass
from coconut_tasks.effects.place import read_object, write_cache
from coconut_tasks.records.sizes import Sizes
from coconut_tasks.records.timeline import Timeline, as_json, from_json


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a run exchanged with a cache."""

    began: float
    """Seconds since the epoch."""
    cache: str
    """The address, for users."""
    hits: int
    """Steps whose outputs were taken from it."""
    misses: int
    """Steps that it did not have."""
    received: int
    """Bytes of blobs, crates included."""
    sent: int


N = TypeVar("N", int, float)
_KEPT = 1000
"""Of how many steps durations and crates are kept: those that ran last."""
_KEPT_SIZES = 100
"""Of how many images."""


class History:
    """The files of one state folder."""

    def __init__(self, state: Path) -> None:
        self._run, self._durations, self._crates, self._sizes, self._exchange = (
            state / name for name in ("last-run.json", "durations.json", "crates.json", "sizes.json", "last-cache.json")
        )

    def last_run(self) -> Timeline | None:
        """The last run that built something; None if there was none."""
        try:
            return from_json(read_object(self._run))
        except ValueError:
            return None

    def record_run(self, timeline: Timeline) -> None:
        """Save a run as the last one."""
        write_cache(self._run, json.dumps(as_json(timeline)).encode())

    def durations(self) -> dict[str, float]:
        """Seconds of the last good run, by ``Step.record``; the latest last."""
        return _numbers(self._durations)

    def record_durations(self, seconds: Mapping[str, float]) -> None:
        """Add the steps that ran now."""
        _add(self._durations, seconds)

    def crates(self) -> dict[str, int]:
        """How many crates cargo named in the last good run, by ``Step.record``; the latest last."""
        return {record: int(number) for record, number in _numbers(self._crates).items()}

    def record_crates(self, crates: Mapping[str, int]) -> None:
        """Add the steps that cargo built now."""
        if crates:
            _add(self._crates, crates)

    def sizes(self, record: str) -> list[Sizes]:
        """The last good build of an IGVM file, by its step's ``Step.record``, preceded by the build before with other content."""
        return self._known(record, read_object(self._sizes))

    def record_sizes(self, files: Mapping[str, Sizes]) -> None:
        """Add the IGVM files that are up to date now."""
        kept = read_object(self._sizes)
        for record, now in files.items():
            before = [sizes for sizes in self._known(record, kept) if sizes.digest != now.digest][-1:]
            kept.pop(record, None)  # the latest last
            kept[record] = [sizes.as_json() for sizes in (*before, now)]
        write_cache(self._sizes, json.dumps(dict(list(kept.items())[-_KEPT_SIZES:])).encode())

    def last_exchange(self) -> Exchange | None:
        """What the last run that asked a cache exchanged with it; None if there was none."""
        try:
            return Exchange(**read_object(self._exchange))
        except TypeError:
            return None

    def record_exchange(self, exchange: Exchange) -> None:
        """Save it as the last one."""
        write_cache(self._exchange, json.dumps(asdict(exchange)).encode())

    @staticmethod
    def _known(record: str, files: Mapping[str, Any]) -> list[Sizes]:
        try:
            return [Sizes.from_json(value) for value in files.get(record, ())]
        except (KeyError, TypeError, ValueError):
            return []


def expected(record: str, known: Mapping[str, N]) -> N | None:
    """What is known of a step's last run: of this variant or, if that has never been built, of the one that was built last."""
    if record in known:
        return known[record]
    name = record.partition("#")[0]
    return next((value for key, value in reversed(list(known.items())) if key.partition("#")[0] == name), None)


def _numbers(file: Path) -> dict[str, float]:
    return {name: float(value) for name, value in read_object(file).items() if isinstance(value, int | float)}


def _add(file: Path, numbers: Mapping[str, float]) -> None:
    kept = {name: value for name, value in _numbers(file).items() if name not in numbers}
    write_cache(file, json.dumps(dict([*kept.items(), *numbers.items()][-_KEPT:])).encode())
