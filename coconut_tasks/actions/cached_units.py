"""Restore cargo's units from the cache before a build, and keep them after it.

Nothing here can fail a build: what cannot be restored is made, and what cannot be kept is made elsewhere again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from coconut_tasks.actions.cached import builder_id, cache_of, toolset_of
from coconut_tasks.actions.cargo_traces import Built, build_environment
from coconut_tasks.cache.archive import BadArchive, pack, unpack
from coconut_tasks.cache.cache import Cache
from coconut_tasks.cache.keys import first_key, surroundings, umask
from coconut_tasks.cache.store import Blob, CachedFile, Result, blob_of
from coconut_tasks.cache.unit_notes import UnitNotes, identity
from coconut_tasks.cache.units import (
    INCREMENTAL,
    CachedUnit,
    Sources,
    UnitPlace,
    is_as_noted,
    list_text,
    names_in,
    note_of,
    place_of,
    read_list,
    units_key,
)
from coconut_tasks.effects.place import make_cache_folder
from coconut_tasks.effects.stopwatch import lap
from coconut_tasks.inputs.artifacts import Artifact
from coconut_tasks.inputs.cargo import workspace_root
from coconut_tasks.inputs.cargo_config import configured_target_folder
from coconut_tasks.inputs.environment import asked_environment, cargo_home
from coconut_tasks.inputs.files import CLOCK_LAG_NS
from coconut_tasks.inputs.fingerprints import Fingerprints, facts_of
from coconut_tasks.inputs.messages import ScriptRun, Unit, written_ns
from coconut_tasks.inputs.paths import joined
from coconut_tasks.inputs.scripts import untold_variables
from coconut_tasks.inputs.version import DIRTY
from coconut_tasks.steps.action import CargoItem
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.workspace import Workspace

_LIST = "list"
_LONG_NS = 2_000_000_000
_SPOOL = "cache"
"""In the state folder: archives that wait to be sent."""
_RESTORE = ".coconut-tasks.restore"
"""In the target folder: archives that were fetched."""


class CachedUnits:
    """The units of one item: ``restore`` before cargo runs, ``keep`` after it."""

    def __init__(self, step: Step, action: CargoItem, workspace: Workspace, cache: Cache) -> None:
        self._step, self._action, self._workspace, self._cache = step, action, workspace, cache
        around = surroundings(step, workspace, toolset_of(workspace))
        self._tools = hashlib.sha256(json.dumps(around, sort_keys=True).encode()).hexdigest()
        release = "--release" in action.build.argv
        self._target = target_folder_of(action, workspace)
        # cargo's own notes have the flags that rename paths in a reproducible build, so its units fit at one place only.
        place = (workspace.tree, self._target)
        self._keys = (
            units_key(first_key(step, around, workspace), place),
            units_key("", step.part, self._tools, release, place),  # for other features, other flags
        )
        self._began_ns = time.time_ns()
        self._before = _incremental(self._target)
        self._restored: list[Path] = []

    def restore(self) -> None:
        """Restore the units that are missing and fit."""
        with suppress(OSError, sqlite3.Error), lap(f"restoring crates from the cache {self._cache.shown}"):
            make_cache_folder(Path(self._target))
            with UnitNotes(self._target) as notes:
                if notes.list_of(self._keys[0]) is not None:
                    return
                folder = Path(self._target, _RESTORE)
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                try:
                    self._restore(notes, folder)
                finally:
                    shutil.rmtree(folder, ignore_errors=True)

    def _restore(self, notes: UnitNotes, folder: Path) -> None:
        result = next(filter(None, map(self._cache.result, self._keys)), None)
        if result is None or [file.path for file in result.files] != [_LIST]:
            return
        listed = folder / _LIST
        if not self._cache.fetch({result.files[0].blob: listed}):
            return
        wanted = [unit for unit in read_list(listed.read_bytes()) if self._is_wanted(unit)]
        archives = {unit.blob: folder / unit.blob.sha256 for unit in wanted}
        fetched = self._cache.fetch_some(archives)
        with ExitStack() as held:
            # As cargo does it, the host's first: else two could wait for each other.
            for profile in sorted({unit.profile for unit in wanted}, key=lambda name: (name.count("/"), name)):
                held.enter_context(_cargo_lock(Path(self._target, profile)))
            time_ns = self._time_ns(notes)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                there = list(
                    pool.map(
                        lambda unit: unit.blob in fetched and self._place(unit, archives[unit.blob], time_ns), wanted
                    )
                )
        placed = [unit for unit, is_there in zip(wanted, there, strict=True) if is_there]
        self._restored = [Path(self._target, unit.profile, unit.mark) for unit in placed]
        self._before = _incremental(self._target)
        with Fingerprints(self._target) as fingerprints:
            for unit in placed:
                self._vouch(unit, notes, fingerprints)
        if all(there):
            notes.note_list(self._keys[0], result.files[0].blob.sha256)

    def _time_ns(self, notes: UnitNotes) -> int:
        """The time of all restored files: before that of everything else that cargo made, or will make, in the target folder.

        cargo then makes a restored unit again if it needs one that was made here, perhaps from other sources than those it was made with.
        """
        time_ns = notes.restored_ns()
        if time_ns is None:
            time_ns = min(time.time_ns() - CLOCK_LAG_NS, *(ns - 1 for ns in _made_ns(self._target)))
            notes.note_restored_ns(time_ns)
        return time_ns

    def undo(self) -> bool:
        """Have cargo make what was restored: a build failed, perhaps since a script wrote something that was not. False if nothing was."""
        for fingerprint in self._restored:
            shutil.rmtree(fingerprint, ignore_errors=True)
        undone, self._restored = bool(self._restored), []
        return undone

    def _is_wanted(self, unit: CachedUnit) -> bool:
        if os.path.lexists(os.path.join(self._target, unit.profile, unit.mark)):
            return False
        if unit.stem.startswith(INCREMENTAL):
            # What is compiled on top of it is not shared. So for a commit it is compiled from nothing, for all who build that commit.
            return not self._cache.is_written or self._workspace.version.endswith(DIRTY)
        if unit.sources is None:
            return True
        files, located = self._workspace.files, self._workspace.located
        values = self._values(unit.sources.variables)
        return is_as_noted(unit.sources, lambda name: files.digest(located(name)), values)

    def _values(self, names: Iterable[str]) -> Mapping[str, str | None]:
        return asked_environment(build_environment(self._action, self._workspace), names)

    def _place(self, unit: CachedUnit, archive: Path, time_ns: int) -> bool:
        profile = Path(self._target, unit.profile)
        part = archive.with_name(f"{archive.name}.{os.path.basename(unit.stem)}")
        try:
            unpack(archive, part, time_ns, self._workspace.shared("umask", umask))
            for name in names_in(part / "deps"):
                if f"-{unit.stem[-16:]}" not in name:
                    raise BadArchive(name)
                (profile / "deps").mkdir(parents=True, exist_ok=True)
                os.replace(part / "deps" / name, profile / "deps" / name)
            for inner in (f"build/{unit.stem}", unit.mark):  # cargo's own word for "done" comes last
                if (part / inner).is_dir():
                    (profile / inner).parent.mkdir(parents=True, exist_ok=True)
                    shutil.rmtree(profile / inner, ignore_errors=True)
                    (part / inner).rename(profile / inner)
        except (BadArchive, OSError):
            return False
        return (profile / unit.mark).is_dir()

    def _vouch(self, unit: CachedUnit, notes: UnitNotes, fingerprints: Fingerprints) -> None:
        if unit.stem.startswith(INCREMENTAL):
            return
        profile = Path(self._target, unit.profile)
        mark = identity(UnitPlace(profile, unit.stem, (f".fingerprint/{unit.stem}",)))
        notes.note_tools(mark, self._tools)
        notes.note_blob(mark, unit.blob)
        if (own := unit.sources) is not None and own.files:
            with suppress(OSError):
                found = (profile / own.file).stat()
                artifact = os.path.join(self._target, own.artifact)
                paths = map(self._workspace.located, own.files)
                facts = facts_of(
                    {path: self._workspace.files.digest(path) for path in paths}, self._values(own.variables)
                )
                fingerprints.vouch(f"{artifact} {found.st_ino} {found.st_mtime_ns} {found.st_size}", artifact, facts)

    def keep(self, built: Built) -> bool:
        """Keep the units of a build. Returns whether all of it was made by the present tools, and none on top of an earlier one."""
        if built.target != self._target:
            return False
        try:
            with lap(f"keeping crates for the cache {self._cache.shown}"), UnitNotes(self._target) as notes:
                return self._keep(built, notes)
        except (OSError, sqlite3.Error):
            return False

    def _keep(self, built: Built, notes: UnitNotes) -> bool:
        build = built.build
        every: list[Unit | ScriptRun] = [*(unit for unit, _ in build.units), *(run for run, _ in build.runs)]
        clean: list[tuple[Unit | ScriptRun, UnitPlace, str]] = []
        all_known, some_new = True, False
        on_top = self._made_on_top(built)
        for unit in every:
            place = place_of(unit)
            mark = identity(place) if place is not None else ""
            tools = notes.tools(mark)
            if place is not None and tools is None and _is_new(place, self._began_ns):
                tools = "" if unit.package in build.own and _crate(unit) in on_top else self._tools
                notes.note_tools(mark, tools)
                some_new |= unit.package not in build.own or _took_long(unit)
            if place is None or tools != self._tools:
                all_known = False
            elif not isinstance(unit, Unit) or not unit.links:
                clean.append((unit, place, mark))
        if self._cache.is_written and (some_new or notes.list_of(self._keys[0]) is None):
            self._send(clean, built, notes)
        return all_known

    def _made_on_top(self, built: Built) -> set[str]:
        """The crates of own packages of which one may have been compiled on top of an earlier state, and so into other pieces.

        rustc keeps such a state in a folder with the crate's name and a hash of its own. A crate that was compiled from nothing has a
        new one. cargo does this for packages that it did not fetch.
        """
        units = [unit for unit, _ in built.build.own_units]
        compiled = Counter(
            _crate(unit) for unit in units if (place := place_of(unit)) and _is_new(place, self._began_ns)
        )
        new = Counter(map(_crate_of, _incremental(self._target) - self._before))
        before = set(map(_crate_of, self._before))
        return {crate for crate, count in compiled.items() if crate in before and new[crate] < count}

    def _send(self, clean: list[tuple[Unit | ScriptRun, UnitPlace, str]], built: Built, notes: UnitNotes) -> None:
        good = {e.artifact: e for e in built.good}
        known = {mark: blob for _, _, mark in clean if (blob := notes.blob(mark)) is not None}
        missing = self._cache.missing(known.values())
        spool = self._workspace.state / _SPOOL / self._step.file_name
        shutil.rmtree(spool, ignore_errors=True)
        spool.mkdir(parents=True)
        units: dict[str, CachedUnit] = {}
        contents: dict[Blob, Path | bytes] = {}
        for unit, place, mark in clean:
            sources = None
            if unit.package in built.build.own:
                e = good.get(unit.output if isinstance(unit, ScriptRun) else unit.artifact)
                if e is None or (sources := self._sources(e, place, built)) is None:
                    continue
            elif isinstance(unit, ScriptRun):
                if self._reads_elsewhere(unit):
                    continue
                sources = self._variables(unit, place, built)
            blob = known.get(mark)
            if blob is None or blob in missing:
                archive = spool / place.stem
                pack(place.profile, place.files, archive)
                blob = blob_of(archive)
                contents[blob] = archive
                notes.note_blob(mark, blob)
            profile = os.path.relpath(place.profile, self._target)
            units[f"{profile}/{place.stem}"] = CachedUnit(profile, place.stem, blob, sources)
        for folder in map(Path, _incremental(self._target) - self._before):  # not one on top of an earlier state
            profile = os.path.relpath(folder.parent.parent, self._target)
            archive = spool / folder.name
            pack(folder.parent.parent, [f"{INCREMENTAL}{folder.name}"], archive)
            blob = blob_of(archive)
            contents[blob] = archive
            units[f"{profile}/{folder.name}"] = CachedUnit(profile, f"{INCREMENTAL}{folder.name}", blob, None)
        text = list_text([units[name] for name in sorted(units)])
        listed = blob_of(text)
        contents[listed] = text
        notes.note_list(self._keys[0], listed.sha256)
        builder = builder_id(self._workspace.options.environment)
        result = Result((CachedFile(_LIST, listed),), b"{}", builder)

        def make() -> tuple[dict[str, Result], Mapping[Blob, Path | bytes]]:
            return dict.fromkeys(self._keys, result), contents

        self._cache.keep(make, lambda: shutil.rmtree(spool, ignore_errors=True))

    def _reads_elsewhere(self, run: ScriptRun) -> bool:
        """Whether the script of a fetched package told cargo of a file that is neither fetched, nor made, nor one of the system's tools.

        cargo compares only times, and what is restored is newer than all.
        """
        own = (cargo_home(self._workspace.environment), self._target, "/usr")
        paths = [value for kind, value in run.rerun if kind == "changed"]
        out = [path for path in map(os.path.normpath, paths) if path.startswith(("/", ".."))]
        return not all(path.startswith(tuple(f"{folder}{os.sep}" for folder in own)) for path in out)

    def _variables(self, run: ScriptRun, place: UnitPlace, built: Built) -> Sources | None:
        """What decides about a run of a fetched package, besides what cargo watches."""
        names = sorted(untold_variables(run, built.build.sources_of_fetched(run.package)))
        if not names:
            return None
        artifact = os.path.relpath(run.output, self._target)
        return Sources((), tuple(names), note_of({}, self._values(names)), artifact, f"{place.files[0]}/output")

    def _sources(self, e: Artifact, place: UnitPlace, built: Built) -> Sources | None:
        files = self._workspace.files
        folder = os.path.join(built.build.own[e.package], "")
        if e.ended_ns is not None and any(path.startswith(folder) for path in built.made):
            return None  # the script wrote into the source, where nothing is restored
        try:
            stat = os.stat(e.artifact)
            file = next(name for name in _files(place) if os.path.samestat(os.stat(place.profile / name), stat))
        except (OSError, StopIteration):
            return None
        named = {self._workspace.named(path): files.digest(path) for path in e.files}
        names = sorted(e.variables.keys() | e.asked)
        note = note_of(named, self._values(names))
        return Sources(tuple(sorted(named)), tuple(names), note, os.path.relpath(e.artifact, self._target), file)


def units_of(step: Step, action: CargoItem, workspace: Workspace) -> CachedUnits | None:
    """The cached units of an item; None if no cache is on."""
    cache = cache_of(workspace)
    return CachedUnits(step, action, workspace, cache) if cache is not None and cache.is_read else None


def target_folder_of(action: CargoItem | None, workspace: Workspace) -> str:
    """Where cargo will build, as far as that can be known before; without an item, where it builds in the tree."""
    if workspace.reproducible is not None:
        return workspace.reproducible.target
    environment = workspace.environment
    for name in ("CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"):
        if value := environment.get(name):
            return joined(workspace.tree, value)
    if configured := configured_target_folder(workspace.tree, environment):
        return configured
    named = action.manifest if action is not None else None
    manifest = os.path.dirname(joined(workspace.tree, named)) if named else workspace.tree
    return os.path.join(workspace_root(manifest), "target")


def _incremental(target: str) -> set[str]:
    """The folders in which rustc keeps what it knows of a crate, to compile it faster the next time."""
    return {str(place) for part in ("*", "*/*") for place in Path(target).glob(f"{part}/incremental/*")}


def _made_ns(target: str) -> Iterator[int]:
    """When cargo began with, or ended, each unit that is in a target folder; a time far ahead if there is none."""
    yield 1 << 62
    for part in ("*", "*/*"):
        for path in Path(target).glob(f"{part}/.fingerprint/*/*"):
            yield path.stat().st_mtime_ns


def _crate_of(folder: str) -> str:
    return os.path.basename(folder).rpartition("-")[0]


def _crate(unit: Unit | ScriptRun) -> str:
    if isinstance(unit, ScriptRun):
        return ""
    name = os.path.basename(unit.depinfo[0]) if unit.depinfo else ""
    return name.rpartition("-")[0]


def _took_long(unit: Unit | ScriptRun) -> bool:
    """Whether it is a run of a build script after which the list is sent again: not for one that runs each time and does little."""
    return isinstance(unit, ScriptRun) and unit.ended_ns - written_ns(unit.stamp) > _LONG_NS


def _is_new(place: UnitPlace, began_ns: int) -> bool:
    folder = place.profile / place.files[-1]
    return any((folder / name).stat().st_mtime_ns >= began_ns - CLOCK_LAG_NS for name in names_in(folder))


def _files(place: UnitPlace) -> Iterator[str]:
    """The files of a unit that can be its artifact."""
    for name in place.files[:-1]:
        yield name
        for inner in names_in(place.profile / name):
            yield f"{name}/{inner}"


@contextmanager
def _cargo_lock(profile: Path) -> Iterator[None]:
    """Keep cargo out of a profile's folder, by its own lock."""
    profile.mkdir(parents=True, exist_ok=True)
    with (profile / ".cargo-lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
