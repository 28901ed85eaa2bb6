"""A build's record: a SLSA provenance statement, or the JSON file of a launch measurement."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from coconut_tasks.compare.image import of_igvm
from coconut_tasks.compare.side import NATIVE_ZERO, BuildStep, Given, Page, Side, digest_of
from coconut_tasks.errors import CoconutError, UsageError
from coconut_tasks.evidence.pages import read_page
from coconut_tasks.evidence.statement import BUILD_TYPE, LAUNCH_DIGESTS, PREDICATE
from coconut_tasks.inputs.git import SourceRevision

Beside = Callable[[str], bytes | bytearray | None]
"""The content of a file of that name in the same folder; None if it cannot be read."""
_PREDICATE = re.compile(rf"{re.escape(PREDICATE)}(\.\d+)?")


def of_measurement(name: str, given: Given) -> Side:
    """A ``.launch-digest.json``, or what ``coconut-measure --json`` prints.

    Raises:
        UsageError: a value is not of the type that it should have.
    """
    platforms = list(given.get("platforms").texts()) or None
    settings = _known({"target": given.get("target").text(), **_settings(given), "platforms": platforms})
    return Side(
        name,
        "a launch measurement",
        digest=given.get("digest").hex(96),
        sha256=given.get("igvm", "sha256").hex(64),
        settings=settings,
    )


def of_statement(name: str, given: Given, beside: Beside) -> Side:
    """A provenance statement, with the content of its image if that is beside the statement.

    Raises:
        UsageError: it is not about a build, or a value has the wrong type.
    """
    kind = given.get("predicateType").text() or "nothing"
    if not _PREDICATE.fullmatch(kind):
        raise UsageError("not-comparable", f"{name}: a statement of type {kind}; expected SLSA provenance v1")
    subject = next(given.get("subject").entries(), Given(name, None, "/subject"))
    definition = given.get("predicate", "buildDefinition")
    side = Side(name, "a provenance statement", sha256=subject.get("digest", "sha256").hex(64))
    built_by = definition.get("buildType").text()
    if built_by in (None, BUILD_TYPE):
        side = _with_parameters(side, definition)
    else:
        side = replace(side, doubts=(f"its build type is {built_by}, so options and commands are unknown",))
    side = _with_dependencies(side, definition.get("resolvedDependencies"))
    side = _with_products(side, given.get("predicate", "runDetails", "byproducts"))
    told = subject.get("digest", LAUNCH_DIGESTS["snp"]).hex(96)
    if told and side.digest and told != side.digest:
        side = _doubting(side, f"its subject has launch digest {told}, but its measurement has {side.digest}")
    side = replace(side, digest=told or side.digest)
    if side.pages is not None and digest_of(side.pages) != side.digest:
        side = _doubting(side, "its launch digest does not match the recorded pages")
    return _with_image(side, subject.get("name").text() or "", beside)


def _with_parameters(side: Side, definition: Given) -> Side:
    outer = definition.get("externalParameters")
    steps = None
    if (inner := definition.get("internalParameters", "steps")).value is not None:
        steps = {_plain(step.get("name").text()): _step(step) for step in inner.entries()}
    options = None
    if outer.get("options").value is not None:
        options = {option: value.text() or "" for option, value in outer.get("options").members()}
    return replace(
        side,
        settings=_known({"target": outer.get("target").text()}) or None,
        recipe_name=outer.get("recipe", "name").text() or "",
        recipe=outer.get("recipe", "content").object(),
        options=options,
        steps=steps,
    )


def _step(step: Given) -> BuildStep:
    commands = []
    for command in step.get("commands").entries():
        env = [f"{variable}={value.text()}" for variable, value in command.get("env").members()]
        commands.append((env, command.get("argv").texts()))
    return BuildStep(commands, {variable: value.text() for variable, value in step.get("environment").members()})


def _with_dependencies(side: Side, given: Given) -> Side:
    if given.value is None:
        return side
    tools: dict[str, dict[str, str]] = {}
    files: dict[str, str] = {}
    readers: dict[str, tuple[str, ...]] = {}
    for one in given.entries():
        name = one.get("name").text() or one.get("uri").text() or ""
        notes = one.get("annotations")
        steps = tuple(map(_plain, notes.get("steps").texts()))
        match notes.get("kind").text():
            case "source":
                side = replace(side, source=_source(one))
            case "recipe":
                side = replace(side, recipe_sha256=one.get("digest", "sha256").hex(64))
            case "tool":
                version = notes.get("version").text() or _digest(one)
                tools.setdefault(name, {}).update(dict.fromkeys(steps or ("",), version))
            case _:
                mode = ", executable" if _executable(one) else ""
                digest = _digest(one)
                files[name] = f"{digest}{mode}" if digest else ""
                readers[name] = steps
    # A statement that names no file at all says nothing about files.
    return replace(side, tools=tools or None, files=files or None, file_steps=readers or None)


def _source(one: Given) -> SourceRevision:
    notes = one.get("annotations")
    commit = one.get("digest", "gitCommit").text() or ""
    return SourceRevision(commit, tuple(sorted(notes.get("modified").texts())), notes.get("diff").text() or "")


def _digest(one: Given) -> str:
    digests = {kind: value.text() or "" for kind, value in one.get("digest").members()}
    kind = "sha256" if "sha256" in digests else min(digests, default="")
    return f"{kind}:{digests[kind].lower()}" if kind else ""


def _executable(one: Given) -> bool:
    return bool(one.get("executable").flag() or one.get("annotations", "executable").flag())


def _with_products(side: Side, given: Given) -> Side:
    parts: dict[str, str] = {}
    for one in given.entries():
        match one.get("annotations", "kind").text():
            case "part":
                name, file = _plain(one.get("name").text()), one.get("annotations", "file").text() or ""
                if name in parts:
                    name = f"{name} {posixpath.basename(file)}"
                parts[name] = _digest(one)
            case "measurement" if one.get("annotations", "platform").text() == "snp":
                side = _with_measurement(side, one.get("annotations"))
            case _:
                pass
    return replace(side, parts=parts or None)


def _with_measurement(side: Side, notes: Given) -> Side:
    pages = None
    if notes.get("pages").value is not None:
        pages = tuple(_page(entry) for entry in notes.get("pages").entries())
    settings = {**(side.settings or {}), **_settings(notes)}
    return replace(side, digest=notes.get("digest").hex(96), settings=settings, pages=pages)


def _page(given: Given) -> Page:
    found = read_page(given.text() or "")
    if found is None:
        raise given.wrong("a page, as '0x1000 normal SHA384 kernel:svsm+0x0'")
    page, part, offset = found
    return Page(page.gpa, page.kind, page.content, part, offset)


def _settings(given: Given) -> dict[str, Any]:
    found = {
        "platform": given.get("platform").text(),
        "policy": _policy(given.get("policy")),
        "check_kvm": given.get("check_kvm").flag(),
        NATIVE_ZERO: given.get(NATIVE_ZERO).flag(),
    }
    return _known(found)


def _known(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _policy(given: Given) -> str | None:
    return None if given.value is None else hex(given.number())


def _with_image(side: Side, name: str, beside: Beside) -> Side:
    """The side with what the image shows. The image is used as it is, since its bytes are those that the statement is about."""
    # A name in a foreign statement must not lead out of the folder.
    if not side.sha256 or not name or name in (".", "..") or "/" in name or "\0" in name:
        return side
    data = beside(name)
    if data is None or sha256(data).hexdigest() != side.sha256:
        return side
    try:
        image = of_igvm(name, data, native_zero=bool(side.native_zero))
    except CoconutError:
        return side
    doubts = side.doubts
    pages = image.pages
    if side.pages is not None and pages is not None:
        if [(one.gpa, one.kind, one.content) for one in side.pages] == [
            (one.gpa, one.kind, one.content) for one in pages
        ]:
            pages = tuple(
                replace(one, part=known.part, offset=known.offset) for one, known in zip(pages, side.pages, strict=True)
            )
        else:
            doubts = (*doubts, "the recorded pages differ from those of the image beside it")
    if side.digest and image.digest and image.digest != side.digest:
        doubts = (*doubts, f"the image beside it has launch digest {image.digest}")
    settings = {**(image.settings or {}), **(side.settings or {})}
    digest = side.digest or image.digest
    return replace(side, digest=digest, settings=settings, pages=pages, headers=image.headers, data=data, doubts=doubts)


def _doubting(side: Side, doubt: str) -> Side:
    return replace(side, doubts=(*side.doubts, doubt))


def _plain(step: str | None) -> str:
    """``kernel:svsm`` for ``kernel:svsm@hyperv``: a statement is about one image, however many recipes its run had."""
    return (step or "").partition("@")[0]
