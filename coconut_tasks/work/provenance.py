"""Put together what an IGVM file was made of, and write it down."""

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
from coconut_tasks.dataclass import dataclass
from coconut_tasks.effects.place import write_whole
from coconut_tasks.errors import StepError
from coconut_tasks.inputs.commit import find_source, folders_inside, state_of_paths
from coconut_tasks.inputs.git import Repository, Source, find_repository, repository_fault
from coconut_tasks.inputs.known import Inputs
from coconut_tasks.inputs.toolchain import find_program, program_version
from coconut_tasks.layout import VERSION_FILE
from coconut_tasks.papers.link import Link
from coconut_tasks.papers.pages import Blocks, blocks_of, page_texts
from coconut_tasks.papers.statement import Build, Material, Tool, files_text, materials_of, statement
from coconut_tasks.step import Provenance, Step
from coconut_tasks.work.link import guess_link, guessed_link, link_at
from coconut_tasks.work.measure import pages_of
from coconut_tasks.world import World


def write_provenance(work: Provenance, world: World) -> Inputs:
    """Write the statement. The files that say which commit the tree is at are read too; they are the result.

    Raises:
        StepError: the tree is in a repository that git does not speak of.
    """
    links = [link_at(world.path(link), world) for link in work.links]
    read = _read(links, world)
    measurement = _json(work.measurement, world) if work.measurement else None
    recipe = world.path(work.recipe)
    content = world.recipe_texts[recipe]
    now = _now(recipe, world)
    digest = _recipe_digest(recipe, now, world)
    if now != digest:
        world.files.distrust(recipe)  # somebody is at work on it: the image is of what was read before
    repository = _repository(world)
    if not repository.commit and (fault := repository_fault(world.tree, world.environment)):
        raise StepError(f"git does not tell which commit {world.tree} is at: {fault}")
    source, files = _source_and_files(read, repository, recipe, digest, world)
    text = statement(
        Build(
            image=work.shown,
            sha256=world.sha256(work.igvm),
            recipe=_recipe_name(work, world),
            recipe_sha256=digest.partition(":")[2],
            content=json.loads(content),
            target=work.target,
            options=dict(work.options),
            links=links,
            builder={"coconut-tasks": __version__},
            tools=_tools(links, world),
            source=source,
            measurement=measurement,
            measurement_sha256=world.sha256(work.measurement) if work.measurement else "",
            pages=_pages(work, measurement, world) if measurement else (),
        ),
        files,
    )
    write_whole(Path(world.path(work.output)), text)
    return Inputs(files=tuple(repository.files))


def prepare_provenance(work: Provenance, world: World) -> None:
    """Make all that a statement shares with others of the run, if all steps are done but the two that are about the image itself."""
    paths = [world.path(link) for link in work.links if link not in work.own_links]
    if not all(map(world.files.known, paths)):
        return
    _prepare(work, [link_at(path, world) for path in paths], world, rehearsal=False)
    _blocks(work, world)


def rehearse_provenance(work: Provenance, step: Step, last: bytes, inputs: Set[str], world: World) -> None:
    """The same while the step is at work, of what it reads now if that is what it read last time. Where it is not, nothing is lost.

    ``last`` is the text of its last link, and ``inputs`` are the files that it is known to read.
    """
    guess_link(step, last, inputs, world)
    for name, path in work.parts:
        if os.path.exists(world.path(path)):
            _blocks_of(name, world.path(path), world)
    links = []
    for spelt in work.links:
        if spelt in work.own_links:
            continue
        path = world.path(spelt)
        found = link_at(path, world) if os.path.exists(path) else guessed_link(spelt, world)
        if found is None:
            return  # of another step that is still to be done; its own rehearsal comes later
        links.append(found)
    _prepare(work, links, world, rehearsal=True)


def _prepare(work: Provenance, links: Sequence[Link], world: World, *, rehearsal: bool) -> None:
    recipe = world.path(work.recipe)
    read = _read(links, world)
    repository = _repository(world)
    digest = _recipe_digest(recipe, world.files.known(recipe), world)
    _source_and_files(read, repository, recipe, digest, world, rehearsal=rehearsal)
    _tools(links, world)


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """What the steps of an image read. The images of a run mostly have all of it in common."""

    materials: Mapping[str, Material]
    made: Set[str]
    """Those that the steps' own build scripts wrote."""


def _read(links: Sequence[Link], world: World) -> _Read:
    products = {name for link in links for name in link.products}
    read = [(link, frozenset(products.intersection(link.materials))) for link in links]
    # A step that reads only what others made adds nothing, as those do that only one image has.
    adding = [
        (link.step, id(link.materials), tuple(link.own), own) for link, own in read if len(own) < len(link.materials)
    ]

    def gather() -> _Read:
        materials = materials_of(links)
        made = materials.keys() & {name for link in links for name in link.own}
        for link in links:
            made -= link.materials.keys() - set(link.own)  # to this step, it is a source
        return _Read(materials, made)

    # Links are kept for the run, so that an identity stands for one's materials.
    return world.shared(("read", *adding), gather)


def _source_and_files(
    read: _Read, repository: Repository, recipe: str, digest: str, world: World, *, rehearsal: bool = False
) -> tuple[Source | None, bytes]:
    source = _source(read, repository, recipe, digest, world, rehearsal=rehearsal)
    return source, _files_text(read, read.made if source is None else source.generated, world)


def _files_text(read: _Read, generated: Set[str], world: World) -> bytes:
    def put() -> bytes:
        return files_text({name: one for name, one in read.materials.items() if name not in generated})

    return world.shared(("files", read, frozenset(generated)), put)


def _source(
    read: _Read, repository: Repository, recipe: str, digest: str, world: World, *, rehearsal: bool
) -> Source | None:
    paths = world.shared(("paths", read), lambda: {name: world.located(name) for name in read.materials})
    folders = world.shared(
        ("folders", read, repository.top), lambda: folders_inside(repository.top, (*paths.values(), recipe))
    )

    def ask() -> Source | None:
        contents = {name: one.digest for name, one in read.materials.items() if name != VERSION_FILE}
        contents[world.named(recipe)] = digest
        where = {name: paths.get(name, recipe) for name in contents}
        cache = world.state / "commit.json"
        return find_source(repository, world.environment, where, contents, cache, read.made & where.keys())

    # A link may be laid down, or go, between a rehearsal and the end of the step; all statements of the run are of one moment.
    links = world.shared(("links", read, rehearsal), lambda: state_of_paths(folders))
    return world.shared(("source", read, repository.commit, repository.top, recipe, digest, links), ask)


def _repository(world: World) -> Repository:
    """What git says of it as of now; it is asked again if a file changed that says so."""

    def ask() -> tuple[Repository, Hashable]:
        started_ns = time.time_ns()
        found = find_repository(world.tree, world.environment)
        return found, state_of_paths(found.files, started_ns)

    found, state = world.shared("repository", ask)
    return found if state_of_paths(found.files) == state else find_repository(world.tree, world.environment)


def _recipe_digest(path: str, now: str | None, world: World) -> str:
    """Of the text that was read; ``now`` is that of the file, which tells whether it is a program."""
    kind, _, _ = (now or "sha256:").partition(":")
    return f"{kind}:{hashlib.sha256(world.recipe_texts[path]).hexdigest()}"


def _now(path: str, world: World) -> str | None:
    world.files.look_again(path)
    return world.files.digest(path)


def _recipe_name(work: Provenance, world: World) -> str:
    # Where a recipe is that belongs to neither the tree nor the checkout is nobody's business.
    name = world.named(world.path(work.recipe))
    return os.path.basename(name) if os.path.isabs(name) else name


def _pages(work: Provenance, measurement: Mapping[str, Any], world: World) -> list[str]:
    pages = pages_of(work.igvm, measurement["measure_native_zeroes"], world)
    return list(page_texts(pages, _blocks(work, world)))


def _blocks(work: Provenance, world: World) -> Blocks:
    parts = [(name, world.path(path)) for name, path in work.parts]

    def gather() -> Blocks:
        found: dict[str, list[tuple[str, int]]] = {}
        for name, path in parts:
            for content, places in _blocks_of(name, path, world).items():
                found.setdefault(content, []).extend(places)
        return found

    # Most parts are those of the run's other images, too.
    return world.shared(("blocks", *((name, world.files.digest(path)) for name, path in parts)), gather)


def _blocks_of(name: str, path: str, world: World) -> Blocks:
    key = ("blocks of", name, world.files.digest(path))
    return world.shared(key, lambda: blocks_of({name: Path(path).read_bytes()}))


def _tools(links: Iterable[Link], world: World) -> list[Tool]:
    named = sorted({pair for link in links for pair in link.tools.items()})
    return [world.shared(("tool", *pair), partial(_tool, *pair, world)) for pair in named]


def _tool(name: str, identity: str, world: World) -> Tool:
    """An installed tool. rustc and cargo say their version; of others, the program's file is named by its digest, too."""
    program = find_program(name, world.tree, world.environment)
    if name in ("rustc", "cargo") or program is None:
        return Tool(name, identity, identity)
    return Tool(name, identity, program_version(name, world.tree, world.environment), world.sha256(program))


def _json(spelt: str, world: World) -> Any:
    return json.loads(Path(world.path(spelt)).read_bytes())
