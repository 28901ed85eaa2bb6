"""An IGVM file's provenance: an in-toto statement (version 1) with SLSA's build provenance (version 1) as its predicate.

``docs/provenance.md`` describes it. The same build gives the same bytes, so it has no time of day and no random number: a step that was up
to date may have run long before. Importing in-toto's library takes longer than making all statements of a run, so only the tests use it, to
check what is written here.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple
from urllib.parse import quote

from coconut_tasks.dataclass import dataclass
from coconut_tasks.evidence.link import Link
from coconut_tasks.inputs.git import SourceRevision

BUILD_TYPE = "urn:coconut-tasks:build:v1"
"""Defines the meaning of the fields of ``buildDefinition``; a change of meaning is a new version."""
BUILDER = "urn:coconut-tasks:builder"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
LAUNCH_DIGESTS = {"snp": "sevSnpLaunchDigest", "tdp": "tdxMrtd", "vsm": "vbsBootDigest"}
"""Names of the subject's digests that platforms report: of the measured pages, not of the file's bytes."""


@dataclass(frozen=True, slots=True)
class Tool:
    """An installed program."""

    name: str
    identity: str
    """As in links."""
    version: str
    """What it prints as its version."""
    sha256: str = ""
    """Digest of the program's file, if that file is what runs."""


@dataclass(frozen=True, slots=True)
class ImageBuild:
    """Everything that a statement is made of."""

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
    """In build order."""
    builder: Mapping[str, str]
    """Versions of the programs that built the image."""
    tools: Sequence[Tool] = ()
    source: SourceRevision | None = None
    """None without git."""
    measurement: Mapping[str, Any] | None = None
    """The content of ``.launch-digest.json``; None for a target without a platform that measures."""
    measurement_sha256: str = ""
    pages: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The measured pages of each platform, by ``evidence.pages``."""


class Material(NamedTuple):
    """A file that steps read and that none of them made."""

    digest: str | None
    """As in links; None if it is unknown what was read, or if steps read different content because it changed in between."""
    steps: tuple[str, ...]
    """The steps that read it."""


def materials_of(links: Iterable[Link]) -> dict[str, Material]:
    """All files of a statement by name, in its order."""
    links = list(links)
    made = {name for link in links for name in link.products}
    found: dict[str, Material] = {}
    for link in links:
        one = (link.step,)
        for name, digest in link.materials.items():
            if name in made:
                continue
            known = found.get(name)
            if known is None:
                found[name] = Material(digest, one)
            else:
                found[name] = Material(digest if known.digest == digest else None, known.steps + one)
    return found


def files_text(materials: Mapping[str, Material]) -> bytes:
    """The files as in a statement: resource descriptors as JSON, one per line."""
    quoted = json.JSONEncoder().encode
    lines: list[str] = []
    notes: dict[tuple[tuple[str, ...], bool], str] = {}
    for name, (digest, steps) in materials.items():
        kind, _, content = (digest or "").partition(":")
        if not content or not name.isascii():
            lines.append(_compact(_read(name, digest, steps)))
            continue
        # Most of a statement is this: write the same text without creating the objects.
        key = (steps, kind == "sha256x")
        if key not in notes:
            notes[key] = _compact(_read(name, digest, steps)["annotations"])
        lines.append(f'{{"annotations":{notes[key]},"digest":{{"sha256":"{content}"}},"name":{quoted(name)}}}')
    return ",\n".join(lines).encode()


def statement(build: ImageBuild, files: bytes | None = None) -> bytes:
    """The statement as JSON text, one line per resource. ``files`` is its ``files_text``, if the caller has it already."""
    if files is None:
        files = files_text(materials_of(build.links))
    digests = {"sha256": build.sha256}
    for one in _measurements(build):
        digests[LAUNCH_DIGESTS[one["platform"]]] = one["digest"]
    asked = {
        "recipe": {"name": build.recipe, "content": build.content},
        "target": build.target,
        "options": dict(build.options),
    }
    definition = _object(
        buildType=_text(BUILD_TYPE),
        externalParameters=_text(asked),
        internalParameters=_object(steps=_lines(map(_step, build.links))),
        resolvedDependencies=_lines(_dependencies(build), files),
    )
    details = _object(
        builder=_text({"id": BUILDER, "version": dict(build.builder)}),
        byproducts=_lines(_byproducts(build)),
    )
    text = _object(
        _type=_text(STATEMENT),
        subject=_lines([{"name": build.image, "digest": digests}]),
        predicateType=_text(PREDICATE),
        predicate=_object(buildDefinition=definition, runDetails=details),
    )
    return b"".join((*text, b"\n"))


# A statement is assembled from pieces of text, without copying the largest one, its files.


def _object(**members: Iterable[bytes]) -> Iterator[bytes]:
    start = "{"
    for name, value in members.items():
        yield f'{start}\n"{name}": '.encode()
        yield from value
        start = ","
    yield b"\n}"


def _lines(values: Iterable[Any], more: bytes = b"") -> Iterator[bytes]:
    """An array; ``more`` has further lines of it."""
    lines = ",\n".join(map(_compact, values)).encode()
    yield b"[\n" + lines + (b",\n" if lines and more else b"")
    yield more
    yield b"\n]"


def _text(value: Any) -> Iterator[bytes]:
    yield _compact(value).encode()


def _compact(value: Any) -> str:
    return json.dumps(_as_text(value), separators=(",", ":"), sort_keys=True)


def _step(link: Link) -> dict[str, Any]:
    return {"name": link.step, "commands": list(link.commands), "environment": dict(link.environment)}


def _dependencies(build: ImageBuild) -> Iterator[dict[str, Any]]:
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


def _byproducts(build: ImageBuild) -> Iterator[dict[str, Any]]:
    for link in build.links:
        # A sidecar of the image is not part of it.
        kind = "paper" if link.step.startswith("measure:") else "part"
        for name, digest in link.products.items():
            taken = {"cached": dict(link.cached)} if link.cached is not None else {}
            yield _file(link.step, digest, {"kind": kind, "file": name, **taken})
    for one in _measurements(build):
        assert build.measurement is not None
        platform = one["platform"]
        names = ("policy", "check_kvm", "measure_native_zeroes") if platform == "snp" else ()
        settings = {name: build.measurement[name] for name in names}
        notes = {"kind": "measurement", "digest": one["digest"], "platform": platform, **settings}
        notes["pages"] = list(build.pages[platform])
        yield _file(f"{build.image}.launch-digest.json", f"sha256:{build.measurement_sha256}", notes)


def _measurements(build: ImageBuild) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = build.measurement["measurements"] if build.measurement is not None else ()
    return found


def _read(name: str, digest: str | None, steps: Sequence[str]) -> dict[str, Any]:
    return _file(name, digest, {"kind": "file", "steps": list(steps)})


def _package(tool: Tool) -> str:
    """A package URL, for example ``pkg:generic/rustc@1.95.0``."""
    found = re.match(rf"{re.escape(tool.name)} ([\w.+-]+)", tool.version)
    return f"pkg:generic/{quote(tool.name)}" + (f"@{quote(found[1])}" if found else "")


def _file(name: str, digest: str | None, notes: Mapping[str, Any]) -> dict[str, Any]:
    kind, _, content = (digest or "").partition(":")
    executable = {"executable": True} if kind == "sha256x" else {}
    return {
        "name": name,
        # in-toto requires one of uri, digest and content.
        **({"digest": {"sha256": content}} if content else {"uri": f"file:{quote(os.fsencode(name))}"}),
        "annotations": {**notes, **executable},
    }


def _as_text(value: Any) -> Any:
    """The value without what JSON cannot express: a file name may not be text, and a number in a recipe may overflow to infinity."""
    if isinstance(value, dict):
        return {_as_text(name): _as_text(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_text(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str) and not value.isascii():
        try:
            return os.fsencode(value).decode(errors="backslashreplace")
        except UnicodeEncodeError:  # JSON can have a lone surrogate, which no file name has
            return value.encode(errors="backslashreplace").decode()
    return value
