"""Take a step's result from the cache, and put a result there."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from coconut_tasks import __version__
from coconut_tasks.cache.cache import Cache
from coconut_tasks.cache.keys import (
    Listing,
    first_key,
    listing_of,
    located,
    read_listing,
    second_key,
    surroundings,
    umask,
    version_content,
)
from coconut_tasks.cache.open import open_store
from coconut_tasks.cache.settings import cache_folder, find_settings
from coconut_tasks.cache.store import Blob, CachedFile, CacheFault, Result
from coconut_tasks.cache.toolset import Toolset
from coconut_tasks.effects.place import beside
from coconut_tasks.effects.stopwatch import lap
from coconut_tasks.errors import Fault, UsageError
from coconut_tasks.evidence.statement import BUILDER
from coconut_tasks.freshness.staleness import input_files
from coconut_tasks.inputs.discovered import Reading
from coconut_tasks.inputs.files import CLOCK_LAG_NS, EXECUTABLE, FileState
from coconut_tasks.inputs.text import read_text
from coconut_tasks.layout import VERSION_FILE
from coconut_tasks.steps.action import CargoItem, MakeItem
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.run_state import FromCache
from coconut_tasks.workspace.workspace import Workspace

_LISTINGS = 8
"""How many lists are kept under a first key: there is another one for each set of dependencies."""
_OUTPUT = "output"
_NAMES_PROGRAMS = re.compile(r"build\.rs|(GNUm|[mM])akefile(\..+)?|.*\.(mk|mak)|config(\.toml)?")
"""Files of a package whose words may be programs, besides the sources of its build script."""


def cache_of(workspace: Workspace) -> Cache | None:
    """The cache of the run; None if it is off. Opened by the first step that asks."""

    def open() -> Cache | None:
        def tell(why: str) -> None:
            workspace.say(Fault("cache-off", f"warning: {why}").shown)

        try:
            settings = find_settings(workspace.options)
            return None if settings is None else Cache(open_store(settings), tell, write=settings.write)
        except (UsageError, CacheFault) as error:
            tell(f"the cache is not used: {error}")
            return None

    if workspace.run_state.cache is None:
        workspace.run_state.cache = workspace.shared("cache", open)
    cache: Cache | None = workspace.run_state.cache
    return cache


def toolset_of(workspace: Workspace) -> Toolset:
    """The tools of this machine, as they were when the run first asked."""
    without = workspace.reproducible.compilers if workspace.reproducible is not None else ""
    memory = Path(cache_folder(workspace.options.environment), "tools.json")
    return workspace.shared("toolset", lambda: Toolset(workspace.environment, memory, without))


def has_cache(step: Step) -> bool:
    """Whether results of such a step are kept: only of what takes long to make."""
    return isinstance(step.action, CargoItem | MakeItem)


def find(step: Step, workspace: Workspace, *, ahead: bool = False) -> tuple[str, Listing, Result] | None:
    """The key, the list and the result of a step in the cache; None if there is none. Nothing is fetched.

    ``ahead`` says that the version file may still have to be written.
    """
    cache = cache_of(workspace)
    if cache is None or not has_cache(step):
        return None
    toolset = toolset_of(workspace)
    first = first_key(step, surroundings(step, workspace, toolset), workspace)
    listed = cache.result(first)
    for listing in _listings(listed):
        key = second_key(
            first,
            listing,
            step,
            workspace,
            toolset,
            {workspace.path(VERSION_FILE): version_content(workspace)} if ahead else {},
        )
        result = cache.result(key) if key is not None else None
        if key is not None and result is not None and [file.path for file in result.files] == [_OUTPUT]:
            return key, listing, result
    return None


def take(step: Step, workspace: Workspace, log: Path) -> Reading | None:
    """Make a step's output from the cache, and return what it was made of; None if it has to be built."""
    started_ns = time.time_ns() - CLOCK_LAG_NS
    cache = cache_of(workspace)
    if cache is None or not has_cache(step):
        return None
    with lap(f"looking into the cache {cache.shown}"):
        found = find(step, workspace)
        toolset_of(workspace).save()
        if found is None:
            cache.traffic.misses += 1
            return None
        key, listing, result = found
        file = result.files[0]
        output = Path(workspace.path(_output(step)))
        with beside(output, program=file.executable) as temporary:
            temporary.unlink()
            fetched = cache.fetch({file.blob: temporary})
            if fetched:
                temporary.chmod((0o777 if file.executable else 0o666) & ~workspace.shared("umask", umask))
            else:
                temporary.touch()  # it is removed with what failed
        if not fetched:
            output.unlink(missing_ok=True)
            cache.traffic.misses += 1
            return None
    cache.traffic.hits += 1
    workspace.run_state.cached[step.name] = FromCache(key, result.builder, cache.shown)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(
        f"taken from the cache {cache.shown}\n  action: {key}\n  built by: {result.builder}\n",
        encoding="utf-8",
        errors="surrogateescape",
    )
    inputs = located(listing.inputs, workspace)
    paths = inputs.paths(workspace.walker)
    made = {workspace.path(VERSION_FILE)} & paths
    made |= {path for path in paths if listing.made.get(workspace.named(path), "-") == workspace.files.digest(path)}
    # What counts are the stats by which the key was found, perhaps from the start of the run: a later edit is for the next run to notice.
    return Reading(inputs, started_ns, looked=input_files(step, inputs, workspace), made=made)


def keep(step: Step, reading: Reading, started_ns: int, states: Mapping[str, FileState], workspace: Workspace) -> None:
    """Put the result of a build into the cache, in the background, if it is known what it was made of."""
    cache = cache_of(workspace)
    if cache is None or not cache.is_written or not has_cache(step) or reading.tainted:
        return
    if not reading.inputs.complete or any(":" not in digest for _, digest in states.values()):
        return
    toolset = toolset_of(workspace)
    around = surroundings(step, workspace, toolset)
    output = workspace.path(_output(step))
    content = workspace.files.digest(output)
    stat = workspace.files.stat(output)
    assert content is not None and stat is not None
    file = CachedFile(_OUTPUT, Blob(content.partition(":")[2], stat[2]), content.startswith(EXECUTABLE))
    first = first_key(step, around, workspace)

    def make() -> tuple[dict[str, Result], Mapping[Blob, Path | bytes]] | None:
        # What was replaced during the build may have been used or not.
        now = Toolset(workspace.environment, toolset.memory, toolset.without)
        programs = {name: now.program(workspace.located(name)) for name in around["programs"]}
        if (now.others(), programs, *map(now.rust, _toolchains(step, workspace))) != (
            around["tools"],
            around["programs"],
            around["rust"],
        ):
            return None
        written = reading.made - {workspace.path(VERSION_FILE)}  # it is known by the version
        made = {path: states[path][1] for path in written if path in states}
        texts = [read_text(path) for path in {*reading.scripts, *filter(_names_programs, states)}]
        inputs = replace(reading.inputs, variables=tuple(sorted({*reading.untold, *reading.inputs.variables})))
        if reading.native or isinstance(step.action, MakeItem):
            inputs = replace(inputs, variables=tuple(sorted({*inputs.variables, "SOURCE_DATE_EPOCH"})))
        listing = listing_of(inputs, made, texts, workspace, now)
        if listing is None:
            return None
        if input_files(step, located(listing.inputs, workspace), workspace) - states.keys():
            return None  # its names lead elsewhere
        key = second_key(first, listing, step, workspace, now, {path: digest for path, (_, digest) in states.items()})
        if key is None or now.newest_program_ns >= started_ns:
            return None
        builder = builder_id(workspace.options.environment)
        listings = [listing, *(one for one in _listings(cache.result(first)) if one != listing)][:_LISTINGS]
        note = _note({"listings": [json.loads(one.text()) for one in listings]})
        return {key: Result((file,), _note({"step": step.part}), builder), first: Result((), note, builder)}, {
            file.blob: Path(output)
        }

    cache.keep(make)


def builder_id(environment: Mapping[str, str]) -> str:
    """Who builds here: this program, and the job if it is one of GitHub or GitLab."""
    run = [environment.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")]
    job = f"{run[0]}/{run[1]}/actions/runs/{run[2]}" if all(run) else environment.get("CI_JOB_URL", "")
    return f"{BUILDER} {__version__}" + (f" {job}" if job else "")


def _toolchains(step: Step, workspace: Workspace) -> list[Any]:
    return [workspace.toolchain(step.action.toolchain if isinstance(step.action, CargoItem) else None)]


def _names_programs(path: str) -> bool:
    return _NAMES_PROGRAMS.fullmatch(os.path.basename(path)) is not None


def _output(step: Step) -> str:
    return next(output for output in step.outputs if output != step.link)


def _listings(listed: Result | None) -> list[Listing]:
    try:
        values = json.loads(listed.note)["listings"] if listed is not None else []
        return [listing for value in values if (listing := read_listing(value)) is not None]
    except (ValueError, KeyError, TypeError):
        return []


def _note(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode("utf-8", "surrogateescape")
