"""cargo's units as a cache keeps them: which files of a target folder belong to a unit, and the list of all units of an item.

A unit is a crate that was compiled, a build script that was compiled, or a run of a build script, with the folder that it filled. What
rustc keeps of an own crate, to compile it faster after an edit, travels like a unit.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from coconut_tasks.cache.store import Blob
from coconut_tasks.dataclass import dataclass
from coconut_tasks.inputs.messages import ScriptRun, Unit

FORMAT = 1
INCREMENTAL = "incremental/"
_STEM = re.compile(rf"[\w.+-]+-[0-9a-f]{{16}}|{INCREMENTAL}\w+-\w+")
_PROFILE = re.compile(r"[\w.+-]+(/[\w.+-]+)?")


@dataclass(frozen=True, slots=True)
class Sources:
    """What a unit of an own package is made of. For a fetched one cargo knows, except for variables that its script does not tell."""

    files: tuple[str, ...]
    """Their names (``Workspace.named``), sorted."""
    variables: tuple[str, ...]
    note: str
    """The digest of all their contents."""
    artifact: str
    """The path of the artifact by which the notes of ``inputs.fingerprints`` know the unit, relative to the target folder."""
    file: str
    """The path of the file in the archive that is this artifact; relative to the profile's folder."""


@dataclass(frozen=True, slots=True)
class CachedUnit:
    """A unit in the list."""

    profile: str
    """Its folder in the target folder: ``debug``, ``x86_64-unknown-none/release``."""
    stem: str
    """``PACKAGE-HASH``, by which cargo knows it; ``incremental/CRATE-HASH`` for what rustc keeps."""
    blob: Blob
    """Its archive."""
    sources: Sources | None
    """None for a fetched package, and for what rustc keeps."""

    @property
    def mark(self) -> str:
        """The folder, relative to the profile's, that says that the unit is there."""
        return self.stem if self.stem.startswith(INCREMENTAL) else f".fingerprint/{self.stem}"


@dataclass(frozen=True, slots=True)
class UnitPlace:
    """Where a unit is in a target folder."""

    profile: Path
    """Absolute."""
    stem: str
    files: tuple[str, ...]
    """Its files and folders, relative to ``profile``; cargo's fingerprint comes last."""


def place_of(unit: Unit | ScriptRun) -> UnitPlace | None:
    """Where a unit is; None if its files cannot be told from others."""
    if isinstance(unit, ScriptRun):
        folder = Path(unit.out_dir).parent
        return _place(folder.parent.parent, folder.name, (f"build/{folder.name}",))
    if not unit.exact or not unit.stamp:
        return None
    fingerprint = Path(unit.stamp).parent
    profile, stem = fingerprint.parent.parent, fingerprint.name
    if unit.script:
        return _place(profile, stem, (f"build/{stem}",))
    # The crate's files carry the hash, but the crate's name.
    number = stem[-16:]
    names = [f"deps/{name}" for name in names_in(profile / "deps") if f"-{number}" in name]
    return _place(profile, stem, tuple(names)) if names else None


def _place(profile: Path, stem: str, files: tuple[str, ...]) -> UnitPlace | None:
    fingerprint = f".fingerprint/{stem}"
    there = all((profile / name).exists() for name in (*files, fingerprint))
    return UnitPlace(profile, stem, (*files, fingerprint)) if there and _STEM.fullmatch(stem) else None


def note_of(files: Mapping[str, str | None], variables: Mapping[str, str | None]) -> str:
    """The digest of sources: contents by name, and values of variables."""
    facts = {"files": dict(files), "variables": dict(variables)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()


def units_key(first: str, *more: object) -> str:
    """The key of a list of units."""
    return hashlib.sha256(json.dumps(["units", FORMAT, first, *more], sort_keys=True).encode()).hexdigest()


def list_text(units: list[CachedUnit]) -> bytes:
    """The list as JSON."""
    return json.dumps([_as_json(unit) for unit in units], sort_keys=True).encode("utf-8", "surrogateescape")


def read_list(text: bytes) -> Iterator[CachedUnit]:
    """The units of a list; those that are not as ``list_text`` writes them are left out."""
    try:
        values = json.loads(text.decode("utf-8", "surrogateescape"))
    except ValueError:
        return
    for value in values if isinstance(values, list) else ():
        try:
            unit = _from_json(value)
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        if _STEM.fullmatch(unit.stem) and _PROFILE.fullmatch(unit.profile) and ".." not in unit.profile:
            yield unit


def _as_json(unit: CachedUnit) -> dict[str, Any]:
    value: dict[str, Any] = {"profile": unit.profile, "stem": unit.stem, "blob": [unit.blob.sha256, unit.blob.size]}
    if (own := unit.sources) is not None:
        value["sources"] = [list(own.files), list(own.variables), own.note, own.artifact, own.file]
    return value


def _from_json(value: Any) -> CachedUnit:
    sources = None
    if "sources" in value:
        files, variables, note, artifact, file = value["sources"]
        sources = Sources(tuple(map(str, files)), tuple(map(str, variables)), str(note), str(artifact), str(file))
    sha256, size = value["blob"]
    return CachedUnit(str(value["profile"]), str(value["stem"]), Blob(str(sha256), int(size)), sources)


def is_as_noted(sources: Sources, digest: Callable[[str], str | None], values: Mapping[str, str | None]) -> bool:
    """Whether the sources are the present ones; ``digest`` is of a name, ``values`` are those of all variables."""
    return note_of({name: digest(name) for name in sources.files}, values) == sources.note


def names_in(folder: Path) -> list[str]:
    """The names in a folder, sorted; none if it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
