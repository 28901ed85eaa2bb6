"""Put together what an IGVM file was made of, and write it down."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from coconut_tasks import __version__
from coconut_tasks.effects.place import write_whole
from coconut_tasks.igvm.snp import Options, measured_pages
from coconut_tasks.inputs.git import Source, commit_files, find_commit
from coconut_tasks.inputs.known import Inputs
from coconut_tasks.inputs.toolchain import find_program, program_version
from coconut_tasks.layout import VERSION_FILE
from coconut_tasks.papers.link import Link, read_link
from coconut_tasks.papers.pages import page_texts
from coconut_tasks.papers.statement import Build, Tool, statement
from coconut_tasks.step import Provenance
from coconut_tasks.world import World


def write_provenance(work: Provenance, world: World) -> Inputs:
    """Write the statement. The files that say which commit the tree is at are read too; they are the result."""
    links = [read_link(Path(world.path(link)).read_bytes()) for link in work.links]
    measurement = _json(work.measurement, world) if work.measurement else None
    recipe = world.path(work.recipe)
    content = world.recipe_texts[recipe]
    sha256 = hashlib.sha256(content).hexdigest()
    if (_now(recipe, world) or "").partition(":")[2] != sha256:
        world.files.distrust(recipe)  # somebody is at work on it: the image is of what was read before
    text = statement(
        Build(
            image=work.shown,
            sha256=world.sha256(work.igvm),
            recipe=_recipe_name(work, world),
            recipe_sha256=sha256,
            content=json.loads(content),
            target=work.target,
            options=dict(work.options),
            links=links,
            builder={"coconut-tasks": __version__},
            tools=_tools(links, world),
            source=_source(work, links, world),
            measurement=measurement,
            measurement_sha256=world.sha256(work.measurement) if work.measurement else "",
            pages=_pages(work, measurement, world) if measurement else (),
        )
    )
    write_whole(Path(world.path(work.output)), text)
    return Inputs(files=tuple(commit_files(world.tree, world.environment)))


def _source(work: Provenance, links: Sequence[Link], world: World) -> Source | None:
    made = {VERSION_FILE, *(name for link in links for name in link.products)}
    materials = {pair for link in links for pair in link.materials.items() if pair[0] not in made}
    read = {name: world.located(name) for name, _ in materials}
    recipe = world.path(work.recipe)
    # What is there now need not be what a step read: somebody may have switched to another commit since.
    changed = [name for name, digest in materials if digest is None or _now(read[name], world) != digest]
    return find_commit(world.tree, world.environment, {**read, world.named(recipe): recipe}, changed)


def _now(path: str, world: World) -> str | None:
    world.files.look_again(path)
    return world.files.digest(path)


def _recipe_name(work: Provenance, world: World) -> str:
    # Where a recipe is that belongs to neither the tree nor the checkout is nobody's business.
    name = world.named(world.path(work.recipe))
    return os.path.basename(name) if os.path.isabs(name) else name


def _pages(work: Provenance, measurement: Mapping[str, Any], world: World) -> list[str]:
    data = Path(world.path(work.igvm)).read_bytes()
    # As the measure step did it, which the digest was checked by.
    options = Options(native_zero=measurement["measure_native_zeroes"], check_id_block=False, tolerant=True)
    parts = {name: Path(world.path(path)).read_bytes() for name, path in work.parts}
    return list(page_texts(data, measured_pages(data, options), parts))


def _tools(links: Iterable[Link], world: World) -> list[Tool]:
    """Installed tools. rustc and cargo say their version; of others, the program's file is named by its digest, too."""
    found = []
    for name, identity in sorted({pair for link in links for pair in link.tools.items()}):
        program = find_program(name, world.tree, world.environment)
        if name in ("rustc", "cargo") or program is None:
            found.append(Tool(name, identity, identity))
        else:
            version = program_version(name, world.tree, world.environment)
            found.append(Tool(name, identity, version, world.sha256(program)))
    return found


def _json(spelt: str, world: World) -> Any:
    return json.loads(Path(world.path(spelt)).read_bytes())
