"""What a recipe must keep to and the schema cannot say: names that tools misread, paths that leave their place,
clashes.

The rules look at a document of any shape: what has the wrong type is the schema's to report, and they step over it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from coconut_tasks.layout import BESIDE, FS_IMAGE, SIDECARS, STATE_FOLDER, image_path, output_name
from coconut_tasks.options import split_list
from coconut_tasks.recipe.diagnostic import Diagnostic, Path
from coconut_tasks.recipe.model import TARGETS
from coconut_tasks.wording import printable, shown

PARTS = ("svsm", "stage2", "bldr", "tdx-stage1")
"""The kernel parts; each is also the name of its file below ``bin/``."""
_OWN_FILES = (*PARTS, FS_IMAGE)
_MODULE_NAME = re.compile(r"[^/\s=:*,]+")
_CARGO_ONLY = ("manifest", "binary", "no_default_features")


def rule_diagnostics(document: object) -> Iterator[Diagnostic]:
    """All that breaks a rule in a document, whether or not it fits the schema."""
    kernel = _object(document, "kernel")
    for name in PARTS:
        if name in kernel:
            yield from _component(("kernel", name), _object(kernel, name))
    if "stage2" in kernel and "bldr" in kernel:
        second = [name for name in kernel if name in ("stage2", "bldr")][1]
        wrong = "both stage2 and bldr are here"
        yield Diagnostic(
            "two-loaders",
            ("kernel", second),
            wrong,
            "one loader: bldr in today's trees, stage2 in older ones",
            at_key=True,
        )
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
        wrong = f"{shown(text)} has the control character U+{ord(control):04X}"
        yield Diagnostic("control-character", path, wrong, "no control characters", at_key=at_key)


def _word(path: Path, text: str, *, at_key: bool = False) -> Iterator[Diagnostic]:
    """A word that becomes an argument of a tool."""
    yield from _characters(path, text, at_key=at_key)
    if text.startswith("-"):
        wrong = f"{shown(text)} begins with a dash, so a tool takes it for an option"
        yield Diagnostic("leading-dash", path, wrong, "a first character that is not a dash", at_key=at_key)


def _variable(path: Path, name: str, *, at_key: bool = False) -> Iterator[Diagnostic]:
    yield from _characters(path, name, at_key=at_key)
    if not name or "=" in name:
        wrong = f"{shown(name)} is not the name of a variable"
        yield Diagnostic("wrong-variable-name", path, wrong, "a name without '='", at_key=at_key)


def _component(path: Path, item: dict[str, Any]) -> Iterator[Diagnostic]:
    # Of another type's output_file, all that there is to say is that it is there.
    made = ("output_file",) if item.get("type") == "make" else ()
    for place, text in _texts(path, item, *made, "manifest", "objcopy", "toolchain"):
        yield from _word(place, text)
    for place, text in _texts(path, item, *made, "manifest"):
        yield from _inside(place, text, "the source tree")
    for place, text in _texts(path, item, *made):
        if "=" in text:
            wrong = f"{shown(text)} has '=', so make takes it for a variable"
            yield Diagnostic("equal-sign", place, wrong, "a name without '='")
    for place, text in _texts(path, item, "toolchain"):
        if re.search(r"[\s+]", text):
            allowed = "a name without white space or '+', as nightly"
            yield Diagnostic("wrong-toolchain-name", place, f"toolchain is {shown(text)}", allowed)
    for place, text in _texts(path, item, "features"):
        for feature in dict.fromkeys(split_list(text)):
            yield from _word(place, feature)
    variables = _object(item, "env")
    for name, value in variables.items():
        yield from _variable((*path, "env", name), name, at_key=True)
        if isinstance(value, str) and "\0" in value:
            wrong = f"{shown(value)} has the character U+0000"
            yield Diagnostic("control-character", (*path, "env", name), wrong, "a value without it")
    yield from _fields_of_type(path, item)


def _fields_of_type(path: Path, item: dict[str, Any]) -> Iterator[Diagnostic]:
    type_ = item.get("type", "cargo")
    if type_ not in ("cargo", "make", "test"):
        return  # Nobody knows which fields were meant to be here.
    given = {field for field, value in item.items() if value is not None}
    if type_ == "make" and "output_file" not in given:
        wrong = "type is make, but there is no output_file"
        yield Diagnostic("no-output-file", path, wrong, "an output_file, the make target")
    for field, owner in (("output_file", "make"), ("toolchain", "test")):
        if field in given and type_ != owner:
            wrong = f"{field} is for type {owner}, and type is {type_}"
            # xbuild refuses another toolchain where it would run `cargo build`.
            passed_over = (field, type_) != ("toolchain", "cargo")
            allowed = f"type {owner}, or no {field}"
            yield Diagnostic(
                "field-of-other-type", (*path, field), wrong, allowed, at_key=True, passed_over=passed_over
            )
    for field in _CARGO_ONLY:
        if field in given and type_ == "make":
            wrong = f"type is make, which ignores {field}"
            allowed = f"type cargo, or no {field}"
            yield Diagnostic("ignored-field", (*path, field), wrong, allowed, at_key=True, warning=True)


def _is_module_name(name: str) -> bool:
    return _MODULE_NAME.fullmatch(name) is not None and name not in (".", "..")


def _module_name(name: str) -> Iterator[Diagnostic]:
    path = ("fs", "modules", name)
    yield from _word(path, name, at_key=True)
    if not _is_module_name(name):
        allowed = "the name of a cargo package or binary, without / = : * , and white space"
        wrong = f"{shown(name)} cannot be a module's name"
        yield Diagnostic("wrong-module-name", path, wrong, allowed, at_key=True)


def _image(modules: dict[str, Any]) -> Iterator[Diagnostic]:
    """The modules' places in the image, against those of the modules before them."""
    taken: dict[str, str] = {}
    for name, item in modules.items():
        if not _has_place(name, item):
            continue
        place = image_path(name, item)
        for other, owner in taken.items():
            if place == other:
                wrong = f"the path {shown(place)} is also that of {owner}"
            elif _within(place, other):
                wrong = f"the path {shown(place)} is inside {shown(other)}, which is the file of {owner}"
            elif _within(other, place):
                wrong = f"the path {shown(place)} is a folder, because {owner} is at {shown(other)}"
            else:
                continue
            given = item.get("path") is not None
            where: Path = ("fs", "modules", name, "path") if given else ("fs", "modules", name)
            yield Diagnostic("module-paths-clash", where, wrong, "a path of its own for each module", at_key=not given)
        taken.setdefault(place, name)


def _has_place(name: str, item: object) -> bool:
    """Whether a module is somewhere in the image; else something was already found against its path or its name."""
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
        yield Diagnostic("is-a-folder", where, wrong, "a file in the image, as /init")
    elif _leaves(place):
        wrong = f"{shown(text)} leaves the image"
        yield Diagnostic("path-leads-out", where, wrong, "a path that stays inside, as /init")
    for part in place.split("/"):
        if part.startswith("-"):
            wrong = f"{shown(part)} begins with a dash, so a tool takes it for an option"
            yield Diagnostic("leading-dash", where, wrong, "no dash there")


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
            # Not the other control characters: an argument may be a script of several lines.
            wrong = f"{shown(word)} has the character U+0000"
            yield Diagnostic("control-character", (*path, "command", i), wrong, "an argument without it")


def _target(path: Path, target: dict[str, Any]) -> Iterator[Diagnostic]:
    for place, text in _texts(path, target, "output"):
        yield from _word(place, text)
        yield from _inside(place, text, "bin/")
        first = posixpath.normpath(text).split("/")[0]
        if first == STATE_FOLDER:
            wrong = f"{shown(text)} is in the state folder"
            yield Diagnostic("reserved-output", place, wrong, f"a path outside {STATE_FOLDER}")
        elif first in _OWN_FILES:
            allowed = f"a name other than {', '.join(_OWN_FILES)}"
            yield Diagnostic("reserved-output", place, f"bin/{first} is a file of every build", allowed)
    for place, text in _texts(path, target, "policy"):
        # A line break at the end is nothing to the schema's pattern: '$' matches before it.
        yield from _characters(place, text)
    platforms = target.get("platforms")
    if "measure" in target and isinstance(platforms, list) and platforms and "snp" not in platforms:
        wrong = "there is no launch digest to print without the platform snp"
        allowed = "snp among the platforms, or no measure"
        yield Diagnostic("nothing-to-measure", (*path, "measure"), wrong, allowed, at_key=True, warning=True)


def _outputs(targets: dict[str, Any]) -> Iterator[Diagnostic]:
    """What each target writes below ``bin/``, against what those before it write."""
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
            also = f"bin/{clash}" if file == clash else f"bin/{clash}, which is in the way,"
            wrong = f"{what} is bin/{printable(file)}, and {printable(also)} is {written[clash]}"
            yield Diagnostic("outputs-clash", where, wrong, "an output of its own for each target", at_key=not given)
            break  # Two equal outputs have equal digests: said once.
        for file, what in mine.items():
            written.setdefault(file, f"{what} of {name}")


def _inside(path: Path, text: str, folder: str) -> Iterator[Diagnostic]:
    """The name of a file in a folder."""
    if text.startswith("/"):
        yield Diagnostic("path-leads-out", path, f"{shown(text)} is an absolute path", f"a path in {folder}")
    elif _leaves(posixpath.normpath(text)):
        yield Diagnostic("path-leads-out", path, f"{shown(text)} leaves {folder}", f"a path in {folder}")
    elif text.endswith(("/", "/.", "/..")) or posixpath.normpath(text) == ".":
        yield Diagnostic("is-a-folder", path, f"{shown(text)} is a folder", "the name of a file")


def _leaves(normal: str) -> bool:
    return normal == ".." or normal.startswith("../")


def _within(inner: str, outer: str) -> bool:
    return inner.startswith(f"{outer}/")
