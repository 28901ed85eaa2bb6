"""Rules for recipes that the schema cannot express: names that tools misread, paths that lead out, clashes.

The rules take a document of any shape: they skip values of the wrong type, which the schema reports.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from coconut_tasks.layout import BESIDE, FS_IMAGE, HEX, SIDECARS, STATE_FOLDER, image_path, output_name
from coconut_tasks.options import split_list
from coconut_tasks.recipe.diagnostic import Diagnostic, Path
from coconut_tasks.recipe.model import TARGETS
from coconut_tasks.wording import either, printable, shown

PARTS = ("svsm", "stage2", "bldr", "tdx-stage1")
"""The kernel parts; each is also the name of its file below ``bin/``."""
_OWN_FILES = (*PARTS, FS_IMAGE)
_MODULE_NAME = re.compile(r"[^/\s=:*,]+")
_CARGO_ONLY = ("manifest", "binary", "no_default_features")


def rule_diagnostics(document: object) -> Iterator[Diagnostic]:
    """Everything in a document that breaks a rule, whether or not it fits the schema."""
    kernel = _object(document, "kernel")
    for name in PARTS:
        if name in kernel:
            yield from _component(("kernel", name), _object(kernel, name))
    if "stage2" in kernel and "bldr" in kernel:
        second = [name for name in kernel if name in ("stage2", "bldr")][1]
        remedy = "keep bldr for current trees, stage2 for older ones"
        yield Diagnostic("two-loaders", ("kernel", second), "both stage2 and bldr are given", remedy, at_key=True)
    modules = _object(_object(document, "fs"), "modules")
    for name in modules:
        yield from _module_name(name)
        yield from _component(("fs", "modules", name), _object(modules, name))
        for place, text in _texts(("fs", "modules", name), _object(modules, name), "path"):
            yield from _image_path(place, text)
    yield from _image(modules)
    yield from _firmware(_object(document, "firmware"))
    igvm = _object(document, "igvm")
    targets = {name: item for name, item in igvm.items() if name in TARGETS}
    for name in targets:
        yield from _target(("igvm", name), _object(targets, name))
    yield from _outputs(targets)


def _object(value: object, key: str) -> dict[str, Any]:
    member = value.get(key) if isinstance(value, dict) else None
    return member if isinstance(member, dict) else {}


def _texts(path: Path, item: dict[str, Any], *names: str) -> Iterator[tuple[Path, str]]:
    for name in names:
        if isinstance(item.get(name), str) and item[name]:
            yield (*path, name), item[name]


def _characters(path: Path, text: str, *, at_key: bool = False) -> Iterator[Diagnostic]:
    control = next((c for c in text if ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0), None)
    if control is not None:
        wrong = f"{shown(text)} contains the control character U+{ord(control):04X}"
        yield Diagnostic("control-character", path, wrong, "remove it", at_key=at_key)


def _word(path: Path, text: str, *, at_key: bool = False) -> Iterator[Diagnostic]:
    """A word that becomes an argument of a tool."""
    yield from _characters(path, text, at_key=at_key)
    if text.startswith("-"):
        yield Diagnostic("leading-dash", path, _begins_with_a_dash(text), "remove the dash", at_key=at_key)


def _begins_with_a_dash(text: str) -> str:
    return f"{shown(text)} begins with a dash, so tools would read it as an option"


def _variable(path: Path, name: str, *, at_key: bool = False) -> Iterator[Diagnostic]:
    yield from _characters(path, name, at_key=at_key)
    if not name or "=" in name:
        wrong = f"{shown(name)} is not a valid variable name"
        yield Diagnostic("wrong-variable-name", path, wrong, "expected a name without '='", at_key=at_key)


def _component(path: Path, item: dict[str, Any]) -> Iterator[Diagnostic]:
    # For other types, output_file itself is the mistake, whatever its value.
    made = ("output_file",) if item.get("type") == "make" else ()
    for place, text in _texts(path, item, *made, "manifest", "objcopy", "toolchain"):
        yield from _word(place, text)
    for place, text in _texts(path, item, *made, "manifest"):
        yield from _inside(place, text, "the source tree")
    for place, text in _texts(path, item, *made):
        if "=" in text:
            wrong = f"{shown(text)} contains '=', so make would read it as a variable"
            yield Diagnostic("equal-sign", place, wrong, "expected a name without '='")
    for place, text in _texts(path, item, "toolchain"):
        if re.search(r"[\s+]", text):
            remedy = "expected a name without white space or '+', for example nightly"
            yield Diagnostic("wrong-toolchain-name", place, f"toolchain is {shown(text)}", remedy)
    for place, text in _texts(path, item, "features"):
        for feature in dict.fromkeys(split_list(text)):
            yield from _word(place, feature)
    variables = _object(item, "env")
    for name, value in variables.items():
        yield from _variable((*path, "env", name), name, at_key=True)
        if isinstance(value, str) and "\0" in value:
            wrong = f"{shown(value)} contains the character U+0000"
            yield Diagnostic("control-character", (*path, "env", name), wrong, "remove it")
    yield from _fields_of_type(path, item)


def _fields_of_type(path: Path, item: dict[str, Any]) -> Iterator[Diagnostic]:
    type_ = item.get("type", "cargo")
    if type_ not in ("cargo", "make", "test"):
        return  # Which fields belong here is not known.
    given = {field for field, value in item.items() if value is not None}
    if type_ == "make" and "output_file" not in given:
        yield Diagnostic("no-output-file", path, "missing field 'output_file', the make target", "type make needs it")
    for field, owner in (("output_file", "make"), ("toolchain", "test")):
        if field in given and type_ != owner:
            wrong = f"{field} is only for type {owner}, but type is {type_}"
            # xbuild refuses a toolchain for `cargo build`.
            passed_over = (field, type_) != ("toolchain", "cargo")
            remedy = f"use type {owner}, or remove {field}"
            yield Diagnostic("field-of-other-type", (*path, field), wrong, remedy, at_key=True, passed_over=passed_over)
    for field in _CARGO_ONLY:
        if field in given and type_ == "make":
            remedy = f"remove {field}, or use type cargo"
            wrong = f"type make ignores {field}"
            yield Diagnostic("ignored-field", (*path, field), wrong, remedy, at_key=True, warning=True)


def _is_module_name(name: str) -> bool:
    return _MODULE_NAME.fullmatch(name) is not None and name not in (".", "..")


def _module_name(name: str) -> Iterator[Diagnostic]:
    path = ("fs", "modules", name)
    yield from _word(path, name, at_key=True)
    if not _is_module_name(name):
        wrong = f"{shown(name)} is not a valid module name"
        remedy = "expected the name of a cargo package or binary, without white space and / = : * ,"
        yield Diagnostic("wrong-module-name", path, wrong, remedy, at_key=True)


def _image(modules: dict[str, Any]) -> Iterator[Diagnostic]:
    """Each module's place in the image, compared with those of the modules before it."""
    taken: dict[str, str] = {}
    for name, item in modules.items():
        if not _has_place(name, item):
            continue
        place = image_path(name, item)
        for other, owner in taken.items():
            if place == other:
                wrong = f"module {owner} has the path {shown(place)} too"
            elif _within(place, other):
                wrong = f"the path {shown(place)} is inside {shown(other)}, the file of module {owner}"
            elif _within(other, place):
                wrong = f"the path {shown(place)} is a folder, because module {owner} is at {shown(other)}"
            else:
                continue
            given = item.get("path") is not None
            where: Path = ("fs", "modules", name, "path") if given else ("fs", "modules", name)
            yield Diagnostic("module-paths-clash", where, wrong, "give each module its own path", at_key=not given)
        taken.setdefault(place, name)


def _has_place(name: str, item: object) -> bool:
    """Whether a module has a place in the image; if not, its path or its name was already reported."""
    if not isinstance(item, dict):
        return False
    path = item.get("path")
    if path is not None:
        return isinstance(path, str) and path != "" and not any(_image_path((), path))
    return _is_module_name(name)


def _image_path(where: Path, text: str) -> Iterator[Diagnostic]:
    yield from _characters(where, text)
    place = posixpath.normpath(text.lstrip("/"))
    if place == ".":
        wrong = f"{shown(text)} is the root of the image"
        yield Diagnostic("is-a-folder", where, wrong, "expected a file in the image, for example /init")
    elif _leaves(place):
        wrong = f"{shown(text)} points outside the image"
        yield Diagnostic("path-leads-out", where, wrong, "expected a path inside it, for example /init")
    for part in place.split("/"):
        if part.startswith("-"):
            yield Diagnostic("leading-dash", where, _begins_with_a_dash(part), "remove the dash")


def _firmware(firmware: dict[str, Any]) -> Iterator[Diagnostic]:
    path = ("firmware",)
    for place, text in _texts(path, firmware, "env"):
        yield from _variable(place, text)
    for place, text in _texts(path, firmware, "file"):
        yield from _word(place, text)
    command = firmware.get("command")
    for i, word in enumerate(command if isinstance(command, list) else []):
        if not isinstance(word, str):
            continue
        if i == 0:
            yield from _word((*path, "command", i), word)
        elif "\0" in word:
            # Other control characters are fine: an argument may be a script of several lines.
            wrong = f"{shown(word)} contains the character U+0000"
            yield Diagnostic("control-character", (*path, "command", i), wrong, "remove it")


def _target(path: Path, target: dict[str, Any]) -> Iterator[Diagnostic]:
    for place, text in _texts(path, target, "output"):
        yield from _word(place, text)
        yield from _inside(place, text, "bin/")
        first = posixpath.normpath(text).split("/")[0]
        if first == STATE_FOLDER:
            wrong = f"{shown(text)} is in the state folder"
            yield Diagnostic("reserved-output", place, wrong, f"expected a path outside {STATE_FOLDER}")
        elif first in _OWN_FILES:
            remedy = f"expected a name other than {either(list(_OWN_FILES))}"
            yield Diagnostic("reserved-output", place, f"bin/{first} is reserved for a part of the build", remedy)
    for place, text in _texts(path, target, "policy"):
        # The schema's pattern accepts a line break at the end: '$' matches before it.
        yield from _characters(place, text)
    platforms = target.get("platforms")
    if "measure" in target and isinstance(platforms, list) and platforms and not {*map(str, platforms)} & {*HEX}:
        wrong = "measure has no effect without a platform that measures"
        remedy = f"add {either(list(HEX))} to platforms, or remove measure"
        yield Diagnostic("nothing-to-measure", (*path, "measure"), wrong, remedy, at_key=True, warning=True)


def _outputs(targets: dict[str, Any]) -> Iterator[Diagnostic]:
    """What each target writes below ``bin/``, compared with what the targets before it write."""
    written: dict[str, str] = {}
    for name, item in targets.items():
        if not isinstance(item, dict) or not isinstance(item.get("output", ""), str) or item.get("output") == "":
            continue
        given = "output" in item
        where: Path = ("igvm", name, "output") if given else ("igvm", name)
        output = output_name(name, item)
        mine = {output: "the IGVM file", **{output + end: SIDECARS.get(end, "a signature") for end in BESIDE}}
        for file, what in mine.items():
            clash = next(
                (other for other in written if file == other or _within(file, other) or _within(other, file)), None
            )
            if clash is None:
                continue
            both = f"{what} and {written[clash]} would both be bin/{printable(file)}"
            folder = f"{what} bin/{printable(file)} and {written[clash]} bin/{printable(clash)} cannot both exist"
            wrong = both if file == clash else folder
            yield Diagnostic("outputs-clash", where, wrong, "give each target its own output", at_key=not given)
            break  # Equal outputs have equal sidecars: one message is enough.
        for file, what in mine.items():
            written.setdefault(file, f"{what} of {name}")


def _inside(path: Path, text: str, folder: str) -> Iterator[Diagnostic]:
    """Whether ``text`` names a file in a folder."""
    if text.startswith("/"):
        yield Diagnostic("path-leads-out", path, f"{shown(text)} is an absolute path", f"expected a path in {folder}")
    elif _leaves(posixpath.normpath(text)):
        yield Diagnostic("path-leads-out", path, f"{shown(text)} points outside {folder}", "expected a path inside it")
    elif text.endswith(("/", "/.", "/..")) or posixpath.normpath(text) == ".":
        yield Diagnostic("is-a-folder", path, f"{shown(text)} is a folder", "expected the name of a file")


def _leaves(normal: str) -> bool:
    return normal == ".." or normal.startswith("../")


def _within(inner: str, outer: str) -> bool:
    return inner.startswith(f"{outer}/")
