"""From recipe text to a checked ``Recipe``. Everything that is wrong is reported at once, each with its line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from coconut_tasks.errors import Problem, RecipeError
from coconut_tasks.layout import image_path, output_name
from coconut_tasks.options import split_list
from coconut_tasks.recipe.model import TARGETS, BuildType, Component, Firmware, Kernel, Module, Platform, Recipe, Target


def ignore(problem: Problem) -> None:
    """Drop a warning."""


def load_recipe(
    source: str, data: bytes, *, lenient: bool = False, valid: bool = False, warn: Callable[[Problem], None] = ignore
) -> Recipe:
    """The recipe in a file's text; ``source`` is the file as the user named it.

    With ``valid``, the caller knows that ``check`` accepted this very text without a warning: it is not checked again.

    Raises:
        RecipeError: everything that is wrong, as in ``check``.
    """
    return build(source, json.loads(data) if valid else check(source, data, lenient=lenient, warn=warn))


def check(source: str, data: bytes, *, lenient: bool = False, warn: Callable[[Problem], None] = ignore) -> Any:
    """The document in a recipe's text, fit for ``build``.

    ``warn`` gets what is odd but can be built, and with ``lenient`` also what the old builders ignore.

    Raises:
        RecipeError: everything that is wrong, in the order of the text. Text that is not JSON has one problem.
    """
    # Imported here: a run whose recipes are known to be valid needs none of it.
    from coconut_tasks.recipe.diagnostic import Diagnostic
    from coconut_tasks.recipe.positions import Position, child, parse
    from coconut_tasks.recipe.rules import rule_diagnostics
    from coconut_tasks.recipe.schema import schema_diagnostics
    from coconut_tasks.wording import printable

    document = parse(source, data)
    errors: list[tuple[Position, Problem]] = []
    warnings: list[tuple[Position, Problem]] = []

    def place(position: Position) -> str:
        return f"{source}:{position.line}:{position.column}"

    def sort_in(diagnostic: Diagnostic) -> None:
        pointer = ""
        for part in diagnostic.path:
            pointer = child(pointer, part)
        position = (document.keys if diagnostic.at_key else document.values)[pointer]
        harmless = diagnostic.warning or (diagnostic.passed_over and lenient)
        found = Problem(diagnostic.id, place(position), printable(pointer), diagnostic.wrong, diagnostic.remedy)
        (warnings if harmless else errors).append((position, found))

    for diagnostic in schema_diagnostics(document.value):
        sort_in(diagnostic)
    for diagnostic in rule_diagnostics(document.value):
        sort_in(diagnostic)
    for pointer, first, again in document.duplicates:
        wrong = f"duplicate field, already on line {first.line}, column {first.column}"
        remedy = "the last one counts" if lenient else "remove one of them"
        found = Problem("duplicate-name", place(again), printable(pointer), wrong, remedy)
        (warnings if lenient else errors).append((again, found))
    for _, problem in sorted(warnings, key=lambda pair: pair[0]):
        warn(problem)
    if errors:
        raise RecipeError(problem for _, problem in sorted(errors, key=lambda pair: pair[0]))
    return document.value


def build(source: str, document: dict[str, Any]) -> Recipe:
    """The recipe in a document that ``check`` accepted; unknown fields are ignored."""
    kernel = document["kernel"]
    loader = next((name for name in ("bldr", "stage2") if name in kernel), None)
    firmware = document.get("firmware")
    modules = document.get("fs", {}).get("modules", {})
    return Recipe(
        source=source,
        kernel=Kernel(
            svsm=_component("svsm", kernel["svsm"]),
            loader=_component(loader, kernel[loader]) if loader else None,
            tdx_stage1=_component("tdx-stage1", kernel["tdx-stage1"]) if "tdx-stage1" in kernel else None,
        ),
        targets=tuple(_target(name, document["igvm"][name]) for name in sorted(TARGETS) if name in document["igvm"]),
        firmware=None if firmware is None else _firmware(firmware),
        modules=tuple(Module(_component(name, item), image_path(name, item)) for name, item in sorted(modules.items())),
    )


def _component(name: str, item: dict[str, Any]) -> Component:
    plain = ("output_file", "manifest", "no_default_features", "binary", "objcopy", "toolchain")
    return Component(
        name,
        type=BuildType(item.get("type", BuildType.CARGO)),
        features=tuple(dict.fromkeys(split_list(item.get("features") or ""))),
        env=tuple(sorted(item.get("env", {}).items())),
        **_given(item, plain),
    )


def _firmware(item: dict[str, Any]) -> Firmware:
    command: dict[str, Any] = {"command": tuple(item["command"])} if item.get("command") else {}
    return Firmware(**command, **_given(item, ("env", "file")))


def _target(name: str, item: dict[str, Any]) -> Target:
    changed: dict[str, Any] = {}
    if "platforms" in item:
        changed["platforms"] = tuple(platform for platform in Platform if platform in item["platforms"])
    if item.get("comport"):
        changed["comport"] = int(item["comport"])
    plain = ("policy", "check-kvm", "measure-native-zeroes", "no-vtom")
    return Target(name, output_name(name, item), **changed, **_given(item, plain))


def _given(item: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The fields that are set, by the name of their attribute; the rest, null included, have the defaults of the classes."""
    return {key.replace("-", "_"): item[key] for key in keys if item.get(key) is not None}
