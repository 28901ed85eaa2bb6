"""A recipe with all defaults filled in, which is a recipe with the same meaning."""

from __future__ import annotations

from typing import Any

from coconut_tasks.recipe.model import Component, Recipe, Target


def recipe_json(recipe: Recipe) -> dict[str, Any]:
    """The recipe in the format of ``schema/recipe.schema.json``. Fields without a value or a default are left out."""
    kernel = (recipe.kernel.svsm, recipe.kernel.loader, recipe.kernel.tdx_stage1)
    firmware = recipe.firmware
    found: dict[str, Any] = {
        "igvm": {target.name: _target(target) for target in recipe.targets},
        "kernel": {part.name: _component(part) for part in kernel if part is not None},
        "fs": {
            "modules": {
                one.component.name: {"path": f"/{one.path}", **_component(one.component)} for one in recipe.modules
            }
        },
    }
    if firmware is not None:
        command = list(firmware.command) if firmware.command else None
        found["firmware"] = _named({"env": firmware.env, "file": firmware.file, "command": command})
    return found


def _target(target: Target) -> dict[str, Any]:
    return {
        "output": target.output,
        "platforms": [str(platform) for platform in target.platforms],
        "policy": target.policy,
        **_named({"comport": target.comport}),
        "check-kvm": target.check_kvm,
        "measure-native-zeroes": target.measure_native_zeroes,
        "no-vtom": target.no_vtom,
    }


def _component(item: Component) -> dict[str, Any]:
    found = {
        "type": str(item.type),
        **_named({"output_file": item.output_file, "manifest": item.manifest}),
        "features": ",".join(item.features),
        "no_default_features": item.no_default_features,
        "binary": item.binary,
        "objcopy": item.objcopy,
        "env": dict(item.env),
        **_named({"toolchain": item.toolchain}),
    }
    if item.type == "make":  # make does not use them
        del found["no_default_features"], found["binary"]
    return found


def _named(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
