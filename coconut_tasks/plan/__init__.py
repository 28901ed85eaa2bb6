"""From recipes and options to steps: pure, no disk, no process. One module for each section of the recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from posixpath import normpath

from coconut_tasks.errors import UsageError, did_you_mean
from coconut_tasks.plan.firmware import plan_firmware
from coconut_tasks.plan.fs import plan_fs
from coconut_tasks.plan.ground import Ground
from coconut_tasks.plan.igvm import plan_igvm, plan_measurement
from coconut_tasks.plan.items import TOOLS, plan_tool, plan_version
from coconut_tasks.plan.kernel import plan_kernel
from coconut_tasks.recipe import Component, Recipe
from coconut_tasks.step import MakeItem, Step
from coconut_tasks.tools.igvmbuilder import Parts


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps of a run, each before those that read what it makes, and what the user should be told about it."""

    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()


def plan_recipe(recipe: Recipe, ground: Ground) -> tuple[Step, ...]:
    """The steps of one recipe, in the order of the data."""
    kernel = plan_kernel(recipe.kernel, ground)
    fs = plan_fs(recipe.modules, ground)
    firmware = plan_firmware(recipe.firmware, ground)
    loader = recipe.kernel.loader
    stage1 = kernel.get("tdx-stage1")
    parts = Parts(
        kernel=kernel["svsm"].outputs[0],
        loader=(loader.name, kernel[loader.name].outputs[0]) if loader else None,
        tdx_stage1=stage1.outputs[0] if stage1 else None,
        firmware=firmware[0].outputs[0] if firmware and firmware[0].outputs else None,
        filesystem=fs[-1].outputs[0] if fs else None,
    )
    steps = [*plan_version(ground), *kernel.values(), *fs, *firmware]
    for target in recipe.targets:
        builder, measurer = plan_tool("igvmbuilder", ground), plan_tool("igvmmeasure", ground)
        igvm = plan_igvm(target, parts, builder.outputs[0], ground)
        measurement = plan_measurement(target, igvm, measurer.outputs[0], ground)
        steps += [builder, igvm, *((measurer, *measurement) if measurement else ())]
    return tuple({step.record: step for step in steps}.values())


def plan_recipes(recipes: Sequence[Recipe], ground: Ground) -> Plan:
    """The steps of several recipes in one graph. What they share is one step.

    Where recipes differ in a part, the part of the last one is what ``bin/`` shows, as if they had been built one after the other.

    Raises:
        UsageError: two recipes name the same IGVM file, but make it differently; or make would write a file that is placed in ``bin/``.
    """
    labels = _labels([recipe.source for recipe in recipes])
    planned: dict[str, Step] = {}
    label_of: dict[str, str] = {}
    publisher: dict[str, Step] = {}
    clashes = []
    for recipe, label in zip(recipes, labels, strict=True):
        for step in plan_recipe(recipe, ground):
            planned.setdefault(step.record, step)
            label_of.setdefault(step.record, label)
            for _, place in step.publish:
                other = publisher.get(place)
                if other is not None and other.record != step.record and step.stage in ("igvm", "measure"):
                    clashes.append(
                        f"{place}: {label_of[other.record]} and {label} make it differently: one output each"
                    )
                publisher[place] = step
    clashes += [
        f"{step.work.made}: {step.name} makes it, but its copy is placed there: another output_file"
        for step in planned.values()
        if isinstance(step.work, MakeItem) and normpath(step.work.made) in publisher
    ]
    if clashes:
        raise UsageError("\n".join(dict.fromkeys(clashes)))
    names = Counter(step.name for step in planned.values())
    steps = []
    for record, step in planned.items():
        shown = tuple(pair for pair in step.publish if publisher[pair[1]].record == record)
        label = label_of[record] if names[step.name] > 1 else ""
        steps.append(replace(step, publish=shown, label=label))
    return Plan(tuple(steps), tuple(_unused_features(recipes, ground)))


def _labels(sources: Sequence[str]) -> list[str]:
    stems = [PurePosixPath(source).stem for source in sources]
    return [stem if stems.count(stem) == 1 else f"{stem}-{stems[: i + 1].count(stem)}" for i, stem in enumerate(stems)]


def _unused_features(recipes: Sequence[Recipe], ground: Ground) -> list[str]:
    entries = ground.options.features
    if entries and ground.options.all_features:
        return [
            f"{', '.join(map(str, entries))}: not used: ALL_FEATURES takes the place of every other choice of features"
        ]
    built = {component.name for recipe in recipes for component in _components(recipe)} | set(TOOLS)
    return [
        f"{entry}: not used: no item of the recipe is called '{entry.package}'{did_you_mean(entry.package, built)}"
        for entry in entries
        if entry.package not in built
    ]


def _components(recipe: Recipe) -> tuple[Component, ...]:
    kernel = recipe.kernel
    parts = (kernel.svsm, kernel.loader, kernel.tdx_stage1)
    return (*(part for part in parts if part), *(module.component for module in recipe.modules))
