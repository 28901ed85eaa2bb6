"""Gather what an IGVM file was made of, and write its provenance."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

from coconut_tasks import __version__
from coconut_tasks.actions.link import guess_link, guessed_link, link_at
from coconut_tasks.actions.measure import pages_of
from coconut_tasks.dataclass import dataclass
from coconut_tasks.effects.place import write_whole
from coconut_tasks.errors import StepError
from coconut_tasks.evidence.link import Link
from coconut_tasks.evidence.pages import Blocks, blocks_of, page_texts
from coconut_tasks.evidence.statement import ImageBuild, Material, Tool, files_text, materials_of, statement
from coconut_tasks.inputs.commit import find_source, folders_inside, state_of_paths
from coconut_tasks.inputs.discovered import Inputs
from coconut_tasks.inputs.git import Repository, SourceRevision, find_repository, repository_fault
from coconut_tasks.inputs.toolchain import find_program, program_version
from coconut_tasks.layout import VERSION_FILE
from coconut_tasks.steps.action import Provenance
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.workspace import Workspace


def write_provenance(action: Provenance, workspace: Workspace) -> Inputs:
    """Write the statement. Returns as inputs the files that say which commit the tree is at.

    Raises:
        StepError: the tree is in a repository that git refuses to read.
    """
    links = [link_at(workspace.path(link), workspace) for link in action.links]
    read = _read(links, workspace)
    measurement = _json(action.measurement, workspace) if action.measurement else None
    recipe = workspace.path(action.recipe)
    content = workspace.recipe_texts[recipe]
    now = _now(recipe, workspace)
    digest = _recipe_digest(recipe, now, workspace)
    if now != digest:
        workspace.files.distrust(recipe)  # it is being edited: the image was made from what was read before
    repository = _repository(workspace)
    if not repository.commit and (fault := repository_fault(workspace.tree, workspace.environment)):
        raise StepError("git-does-not-tell", f"cannot get the commit of {workspace.tree} from git: {fault}")
    source, files = _source_and_files(read, repository, recipe, digest, workspace)
    text = statement(
        ImageBuild(
            image=action.shown,
            sha256=workspace.sha256(action.igvm),
            recipe=_recipe_name(action, workspace),
            recipe_sha256=digest.partition(":")[2],
            content=json.loads(content),
            target=action.target,
            options=dict(action.options),
            links=links,
            builder={"coconut-tasks": __version__},
            tools=_tools(links, workspace),
            source=source,
            measurement=measurement,
            measurement_sha256=workspace.sha256(action.measurement) if action.measurement else "",
            pages=_pages(action, measurement, workspace) if measurement else {},
        ),
        files,
    )
    write_whole(Path(workspace.path(action.output)), text)
    return Inputs(files=tuple(repository.files))


def prepare_provenance(action: Provenance, workspace: Workspace) -> None:
    """Prepare what a statement shares with others in the run, once all steps are done except the two that make and measure the image."""
    paths = [workspace.path(link) for link in action.links if link not in action.own_links]
    if not all(map(workspace.files.known, paths)):
        return
    _prepare(action, [link_at(path, workspace) for path in paths], workspace, rehearsal=False)
    _blocks(action, workspace)


def rehearse_provenance(action: Provenance, step: Step, last: bytes, inputs: Set[str], workspace: Workspace) -> None:
    """The same while the step is running, assuming that it reads the same files as last time. If it does not, nothing is lost.

    ``last`` is the text of its last link, and ``inputs`` are the files that it is known to read.
    """
    guess_link(step, last, inputs, workspace)
    for name, path in action.parts:
        if os.path.exists(workspace.path(path)):
            _blocks_of(name, workspace.path(path), workspace)
    links = []
    for spelt in action.links:
        if spelt in action.own_links:
            continue
        path = workspace.path(spelt)
        found = link_at(path, workspace) if os.path.exists(path) else guessed_link(spelt, workspace)
        if found is None:
            return  # of a step that is not done yet; its own rehearsal comes later
        links.append(found)
    _prepare(action, links, workspace, rehearsal=True)


def _prepare(action: Provenance, links: Sequence[Link], workspace: Workspace, *, rehearsal: bool) -> None:
    recipe = workspace.path(action.recipe)
    read = _read(links, workspace)
    repository = _repository(workspace)
    digest = _recipe_digest(recipe, workspace.files.known(recipe), workspace)
    _source_and_files(read, repository, recipe, digest, workspace, rehearsal=rehearsal)
    _tools(links, workspace)


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """What the steps of an image read. The images of a run usually share all of it."""

    materials: Mapping[str, Material]
    made: Set[str]
    """The materials that the steps' own build scripts wrote."""


def _read(links: Sequence[Link], workspace: Workspace) -> _Read:
    products = {name for link in links for name in link.products}
    read = [(link, frozenset(products.intersection(link.materials))) for link in links]
    # A step that reads only what others made adds nothing. The steps that belong to one image only are of this kind.
    adding = [
        (link.step, id(link.materials), tuple(link.own), own) for link, own in read if len(own) < len(link.materials)
    ]

    def gather() -> _Read:
        materials = materials_of(links)
        made = materials.keys() & {name for link in links for name in link.own}
        for link in links:
            made -= link.materials.keys() - set(link.own)  # to this step, it is a source
        return _Read(materials, made)

    # Links are kept for the whole run, so id() is a valid key for their materials.
    return workspace.shared(("read", *adding), gather)


def _source_and_files(
    read: _Read, repository: Repository, recipe: str, digest: str, workspace: Workspace, *, rehearsal: bool = False
) -> tuple[SourceRevision | None, bytes]:
    source = _source(read, repository, recipe, digest, workspace, rehearsal=rehearsal)
    return source, _files_text(read, read.made if source is None else source.generated, workspace)


def _files_text(read: _Read, generated: Set[str], workspace: Workspace) -> bytes:
    def put() -> bytes:
        return files_text({name: one for name, one in read.materials.items() if name not in generated})

    return workspace.shared(("files", read, frozenset(generated)), put)


def _source(
    read: _Read, repository: Repository, recipe: str, digest: str, workspace: Workspace, *, rehearsal: bool
) -> SourceRevision | None:
    paths = workspace.shared(("paths", read), lambda: {name: workspace.located(name) for name in read.materials})
    folders = workspace.shared(
        ("folders", read, repository.top), lambda: folders_inside(repository.top, (*paths.values(), recipe))
    )

    def ask() -> SourceRevision | None:
        contents = {name: one.digest for name, one in read.materials.items() if name != VERSION_FILE}
        contents[workspace.named(recipe)] = digest
        where = {name: paths.get(name, recipe) for name in contents}
        cache = workspace.state / "commit.json"
        return find_source(repository, workspace.environment, where, contents, cache, read.made & where.keys())

    # A symbolic link may appear or vanish between a rehearsal and the end of the step; all statements of the run share one state.
    links = workspace.shared(("links", read, rehearsal), lambda: state_of_paths(folders))
    return workspace.shared(("source", read, repository.commit, repository.top, recipe, digest, links), ask)


def _repository(workspace: Workspace) -> Repository:
    """The repository's state now; git is asked again if a file that decides it changed."""

    def ask() -> tuple[Repository, Hashable]:
        started_ns = time.time_ns()
        found = find_repository(workspace.tree, workspace.environment)
        return found, state_of_paths(found.files, started_ns)

    found, state = workspace.shared("repository", ask)
    return found if state_of_paths(found.files) == state else find_repository(workspace.tree, workspace.environment)


def _recipe_digest(path: str, now: str | None, workspace: Workspace) -> str:
    """The digest of the text that was read; ``now`` is the file's digest, which says whether it is executable."""
    kind, _, _ = (now or "sha256:").partition(":")
    return f"{kind}:{hashlib.sha256(workspace.recipe_texts[path]).hexdigest()}"


def _now(path: str, workspace: Workspace) -> str | None:
    workspace.files.look_again(path)
    return workspace.files.digest(path)


def _recipe_name(action: Provenance, workspace: Workspace) -> str:
    # Do not disclose the path of a recipe outside the tree and the checkout.
    name = workspace.named(workspace.path(action.recipe))
    return os.path.basename(name) if os.path.isabs(name) else name


def _pages(action: Provenance, measurement: Mapping[str, Any], workspace: Workspace) -> dict[str, list[str]]:
    blocks, native_zero = _blocks(action, workspace), measurement.get("measure_native_zeroes", False)
    platforms = [one["platform"] for one in measurement["measurements"]]
    return {
        platform: list(page_texts(pages_of(action.igvm, platform, native_zero, workspace), blocks))
        for platform in platforms
    }


def _blocks(action: Provenance, workspace: Workspace) -> Blocks:
    parts = [(name, workspace.path(path)) for name, path in action.parts]

    def gather() -> Blocks:
        found: dict[str, list[tuple[str, int]]] = {}
        for name, path in parts:
            for content, places in _blocks_of(name, path, workspace).items():
                found.setdefault(content, []).extend(places)
        return found

    # The run's images share most parts.
    return workspace.shared(("blocks", *((name, workspace.files.digest(path)) for name, path in parts)), gather)


def _blocks_of(name: str, path: str, workspace: Workspace) -> Blocks:
    key = ("blocks of", name, workspace.files.digest(path))
    return workspace.shared(key, lambda: blocks_of({name: Path(path).read_bytes()}))


def _tools(links: Iterable[Link], workspace: Workspace) -> list[Tool]:
    named = sorted({pair for link in links for pair in link.tools.items()})
    return [workspace.shared(("tool", *pair), partial(_tool, *pair, workspace)) for pair in named]


def _tool(name: str, identity: str, workspace: Workspace) -> Tool:
    """An installed tool. rustc and cargo are identified by their version, other programs also by their file's digest."""
    program = find_program(name, workspace.tree, workspace.environment)
    if name in ("rustc", "cargo") or program is None:
        return Tool(name, identity, identity)
    return Tool(name, identity, program_version(name, workspace.tree, workspace.environment), workspace.sha256(program))


def _json(spelt: str, workspace: Workspace) -> Any:
    return json.loads(Path(workspace.path(spelt)).read_bytes())
