"""An IGVM file's provenance: an in-toto statement (version 1) with SLSA's build provenance (version 1) as its predicate.

``docs/provenance.md`` says what is where. The library of in-toto checks names and types; the same build gives the same bytes, so there is
no time of day and no random number in it: a step that was up to date may have run long before.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from coconut_tasks.inputs.git import Source
from coconut_tasks.papers.link import Link

BUILD_TYPE = "urn:coconut-tasks:build:v1"
"""How the fields of ``buildDefinition`` are to be understood; a change of meaning is another version."""
BUILDER = "urn:coconut-tasks:builder"
PREDICATE = "https://slsa.dev/provenance/v1"
LAUNCH_DIGEST = "sevSnpLaunchDigest"
"""The subject's digest that SEV-SNP reports: of the pages that are measured, not of the file's bytes."""


@dataclass(frozen=True, slots=True)
class Tool:
    """An installed program."""

    name: str
    identity: str
    """What links say of it."""
    version: str
    """What it says of itself."""
    sha256: str = ""
    """Of the program's file, where that is what runs."""


@dataclass(frozen=True, slots=True)
class Build:
    """All that a statement is made of."""

    image: str
    """The IGVM file's name below the output folder."""
    sha256: str
    recipe: str
    """The recipe's name."""
    recipe_sha256: str
    content: Any
    """The recipe as JSON."""
    target: str
    options: Mapping[str, str]
    links: Sequence[Link]
    """In the order of the data."""
    builder: Mapping[str, str]
    """The versions of the programs that built."""
    tools: Sequence[Tool] = ()
    source: Source | None = None
    """None without git."""
    measurement: Mapping[str, Any] | None = None
    """What the file ``.launch-digest.json`` holds; None for a target without SEV-SNP."""
    measurement_sha256: str = ""
    pages: Sequence[str] = ()
    """By ``papers.pages``."""


def statement(build: Build) -> bytes:
    """The statement as JSON text.

    Raises:
        ValueError: something is missing that in-toto demands.
    """
    # The protocol-buffer classes take a while to import, and nothing else needs them.
    from google.protobuf.json_format import MessageToDict, ParseDict
    from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
    from in_toto_attestation.v1.statement import Statement

    digests = {"sha256": build.sha256}
    if build.measurement is not None:
        digests[LAUNCH_DIGEST] = build.measurement["digest"]
    subject = ResourceDescriptor(build.image, digest=digests)
    provenance = ParseDict(_as_text(_predicate(build)), Provenance())
    found = Statement([subject.pb], PREDICATE, MessageToDict(provenance))
    found.validate()
    # Its maps have no order of their own, and all its numbers are floating-point ones. So the recipe, which may have others, comes last.
    told = _whole_numbers(MessageToDict(found.pb))
    told["predicate"]["buildDefinition"]["externalParameters"]["recipe"]["content"] = _as_text(build.content)
    return (json.dumps(told, indent=1, sort_keys=True) + "\n").encode()


def _predicate(build: Build) -> dict[str, Any]:
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "recipe": {"name": build.recipe, "content": {}},
                "target": build.target,
                "options": dict(build.options),
            },
            "internalParameters": {"steps": [_step(link) for link in build.links]},
            "resolvedDependencies": list(_dependencies(build)),
        },
        "runDetails": {
            "builder": {"id": BUILDER, "version": dict(build.builder)},
            "byproducts": list(_byproducts(build)),
        },
    }


def _step(link: Link) -> dict[str, Any]:
    return {"name": link.step, "commands": list(link.commands), "environment": dict(link.environment)}


def _dependencies(build: Build) -> Iterator[dict[str, Any]]:
    if (source := build.source) is not None:
        changes = {"modified": list(source.modified), "diff": source.diff} if source.modified else {}
        yield {
            "name": "source tree",
            "digest": {"gitCommit": source.commit},
            "annotations": {"kind": "source", **changes},
        }
    yield {"name": build.recipe, "digest": {"sha256": build.recipe_sha256}, "annotations": {"kind": "recipe"}}
    for tool in build.tools:
        users = [link.step for link in build.links if link.tools.get(tool.name) == tool.identity]
        file = {"digest": {"sha256": tool.sha256}} if tool.sha256 else {"uri": _package(tool)}
        yield {"name": tool.name, **file, "annotations": {"kind": "tool", "version": tool.version, "steps": users}}
    made = {name for link in build.links for name in link.products}
    readers: dict[str, list[str]] = {}
    found: dict[str, str | None] = {}
    for link in build.links:
        for name, digest in link.materials.items():
            if name not in made:
                readers.setdefault(name, []).append(link.step)
                # Two steps that read different things of one file: it changed in between.
                found[name] = digest if found.get(name, digest) == digest else None
    for name, steps in readers.items():
        yield _file(name, found[name], {"kind": "file", "steps": steps})


def _byproducts(build: Build) -> Iterator[dict[str, Any]]:
    for link in build.links:
        # What is written about the image is no part of it.
        kind = "paper" if link.step.startswith("measure:") else "part"
        for name, digest in link.products.items():
            yield _file(link.step, digest, {"kind": kind, "file": name})
    if build.measurement is not None:
        names = ("digest", "platform", "policy", "check_kvm", "measure_native_zeroes")
        settings = {name: build.measurement[name] for name in names}
        notes = {"kind": "measurement", **settings, "pages": list(build.pages)}
        yield _file(f"{build.image}.launch-digest.json", f"sha256:{build.measurement_sha256}", notes)


def _package(tool: Tool) -> str:
    """A package URL, as ``pkg:generic/rustc@1.95.0``."""
    found = re.match(rf"{re.escape(tool.name)} ([\w.+-]+)", tool.version)
    return f"pkg:generic/{quote(tool.name)}" + (f"@{quote(found[1])}" if found else "")


def _file(name: str, digest: str | None, notes: Mapping[str, Any]) -> dict[str, Any]:
    kind, _, content = (digest or "").partition(":")
    executable = {"executable": True} if kind == "sha256x" else {}
    return {
        "name": name,
        # in-toto demands one of uri, digest and content.
        **({"digest": {"sha256": content}} if content else {"uri": f"file:{quote(os.fsencode(name))}"}),
        "annotations": {**notes, **executable},
    }


def _as_text(value: Any) -> Any:
    """A file's name need not be text, and a number in a recipe may be too large for one; a statement is JSON."""
    if isinstance(value, dict):
        return {_as_text(name): _as_text(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_text(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return os.fsencode(value).decode(errors="backslashreplace") if isinstance(value, str) else value


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _whole_numbers(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
