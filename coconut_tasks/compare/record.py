"""A build's record: a SLSA provenance statement, or the JSON file of a launch measurement."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from coconut_tasks.compare.image import of_igvm
from coconut_tasks.compare.side import NATIVE_ZERO, BuildStep, Given, Page, Side, launch_digest_of
from coconut_tasks.errors import CoconutError, UsageError
from coconut_tasks.evidence.pages import read_page
from coconut_tasks.evidence.statement import BUILD_TYPE, LAUNCH_DIGESTS, PREDICATE
from coconut_tasks.igvm.platforms import MEASURED
from coconut_tasks.igvm.snp import PAGE_KINDS
from coconut_tasks.inputs.git import SourceRevision
from coconut_tasks.wording import MEASUREMENTS, both

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
    measurements = list(given.get("measurements").entries())
    # Format 1 is about one platform alone.
    told = {one.get("platform").text() or "snp": one.get("digest") for one in measurements or [given]}
    return Side(
        name,
        "a launch measurement",
        digests=_digests(told),
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
    told = _digests({word: subject.get("digest", name) for word, name in LAUNCH_DIGESTS.items()})
    for word, digest in told.items():
        if (measured := side.digests.get(word, digest)) != digest:
            term = MEASUREMENTS[word]
            side = _doubting(side, f"its subject has {term} {digest}, but its measurement has {measured}")
    side = replace(side, digests={**side.digests, **told})
    if "snp" in side.pages and launch_digest_of(side.pages["snp"]) != side.digests.get("snp"):
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
            case "measurement":
                side = _with_measurement(side, one.get("annotations"))
            case _:
                pass
    return replace(side, parts=parts or None)


def _with_measurement(side: Side, notes: Given) -> Side:
    word = notes.get("platform").text()
    if word not in MEASURED:
        return side
    if notes.get("pages").value is not None:
        pages = tuple(_page(entry, word) for entry in notes.get("pages").entries())
        side = replace(side, pages={**side.pages, word: pages})
    if word == "snp":  # no setting is about another platform
        side = replace(side, settings={**(side.settings or {}), **_settings(notes)})
    return replace(side, digests={**side.digests, **_digests({word: notes.get("digest")})})


def _digests(given: Mapping[str, Given]) -> dict[str, str]:
    found = {word: given[word].hex(2 * one.size) for word, one in MEASURED.items() if word in given}
    return {word: digest for word, digest in found.items() if digest}


def _page(given: Given, word: str) -> Page:
    found = read_page(given.text() or "")
    if found is None or (word == "snp" and found[0].kind not in PAGE_KINDS):
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
    pages = dict(image.pages)
    otherwise = []
    for word, recorded in side.pages.items():
        if word in pages and (named := _with_parts(pages[word], recorded)) is not None:
            pages[word] = named
        elif word in pages:
            otherwise.append(word)
    if otherwise:
        what = f"the recorded pages of {both(otherwise)}" if len(side.pages) > 1 else "the recorded pages"
        side = _doubting(side, f"{what} differ from those of the image beside it")
    for word, digest in image.digests.items():
        if side.digests.get(word, digest) != digest:
            side = _doubting(side, f"the image beside it has {MEASUREMENTS[word]} {digest}")
    return replace(
        side,
        digests={**image.digests, **side.digests},
        settings={**(image.settings or {}), **(side.settings or {})},
        pages=pages,
        registers=image.registers,
        headers=image.headers,
        data=data,
    )


def _with_parts(pages: Sequence[Page], recorded: Sequence[Page]) -> tuple[Page, ...] | None:
    """The pages with the parts that the record names; None if it is about other pages."""
    if [one[:3] for one in pages] != [one[:3] for one in recorded]:
        return None
    return tuple(one._replace(part=known.part, offset=known.offset) for one, known in zip(pages, recorded, strict=True))


def _doubting(side: Side, doubt: str) -> Side:
    return replace(side, doubts=(*side.doubts, doubt))


def _plain(step: str | None) -> str:
    """``kernel:svsm`` for ``kernel:svsm@hyperv``: a statement is about one image, however many recipes its run had."""
    return (step or "").partition("@")[0]
