"""From recipes and options to steps: pure, no disk, no process. One module for each section of the recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from posixpath import normpath

from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import Fault, UsageError, did_you_mean
from coconut_tasks.options import ExtraFeature
from coconut_tasks.plan.context import PlanContext
from coconut_tasks.plan.firmware import plan_firmware
from coconut_tasks.plan.fs import plan_fs
from coconut_tasks.plan.igvm import plan_igvm, plan_measurement
from coconut_tasks.plan.items import plan_tool, plan_version
from coconut_tasks.plan.kernel import plan_kernel
from coconut_tasks.plan.provenance import linked, plan_provenance
from coconut_tasks.recipe.model import BuildType, Component, Recipe, Target
from coconut_tasks.steps.action import FirmwareImage
from coconut_tasks.steps.step import Step
from coconut_tasks.tools.igvmbuilder import Parts


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps of a run, each before those that read its outputs, and warnings for the user."""

    steps: tuple[Step, ...]
    warnings: tuple[Fault, ...] = ()
    unused: tuple[ExtraFeature, ...] = ()
    """The entries of ``FEATURES`` that change no step."""


def plan_recipe(recipe: Recipe, context: PlanContext) -> tuple[Step, ...]:
    """The steps of one recipe, in the order of the data."""
    kernel = plan_kernel(recipe.kernel, context)
    fs = plan_fs(recipe.modules, context)
    firmware = plan_firmware(recipe.firmware, context)
    loader = recipe.kernel.loader
    stage1 = kernel.get("tdx-stage1")
    parts = Parts(
        kernel=kernel["svsm"].outputs[0],
        loader=(loader.name, kernel[loader.name].outputs[0]) if loader else None,
        tdx_stage1=stage1.outputs[0] if stage1 else None,
        firmware=firmware[0].outputs[0] if firmware and firmware[0].outputs else None,
        filesystem=fs[-1].outputs[0] if fs else None,
    )
    steps = [*plan_version(context), *kernel.values(), *fs, *firmware]
    made: list[tuple[Target, Step, Step | None]] = []
    for target in recipe.targets:
        builder, measurer = plan_tool("igvmbuilder", context), plan_tool("igvmmeasure", context)
        igvm = linked(plan_igvm(target, parts, builder.outputs[0], context), context)
        measured = [linked(step, context) for step in plan_measurement(target, igvm, measurer.outputs[0], context)]
        steps += [builder, igvm]
        if measured:
            steps += [*((measurer,) if measurer.outputs[0] in measured[0].inputs else ()), *measured]
        made.append((target, igvm, measured[0] if measured else None))
    each = tuple({step.record: linked(step, context) for step in steps}.values())
    return (*each, *(plan_provenance(target, igvm, measured, each, recipe, context) for target, igvm, measured in made))


def plan_recipes(recipes: Sequence[Recipe], context: PlanContext) -> Plan:
    """The steps of several recipes in one graph. What they share is one step.

    If recipes differ in a part, ``bin/`` shows the part of the last one, as if they had been built one after the other.

    Raises:
        UsageError: two recipes name the same IGVM file but make it differently, or make would write a file that is placed in ``bin/``.
    """
    labels = _labels([recipe.source for recipe in recipes])
    planned: dict[str, Step] = {}
    label_of: dict[str, str] = {}
    publisher: dict[str, Step] = {}
    for recipe, label in zip(recipes, labels, strict=True):
        for step in plan_recipe(recipe, context):
            planned.setdefault(step.record, step)
            label_of.setdefault(step.record, label)
            publisher |= dict.fromkeys((place for _, place in step.publish), step)
    clashes = list(_clashes(planned.values(), label_of))
    if clashes:
        raise UsageError.of(dict.fromkeys(clashes))
    counts = Counter(step.name for step in planned.values())
    taken = set(counts)
    steps = []
    for record, step in planned.items():
        shown = tuple(pair for pair in step.publish if publisher[pair[1]].record == record)
        label = label_of[record] if counts[step.name] > 1 else ""
        while label and f"{step.name}@{label}" in taken:  # a module may have that name
            label += "'"
        steps.append(replace(step, publish=shown, label=label))
        taken.add(steps[-1].name)
    unused = dict(_unused_features(recipes, steps, context))
    return Plan(tuple(steps), (*unused.values(), *_without_init(recipes)), tuple(unused))


def _without_init(recipes: Iterable[Recipe]) -> Iterator[Fault]:
    """SVSM's kernel starts ``/init``, and the guest fails without it (its ``kernel/src/svsm.rs``)."""
    for recipe in recipes:
        starts = (
            recipe.kernel.svsm.type is BuildType.CARGO
        )  # a test kernel does not, and a kernel built by make may not
        if starts and recipe.modules and not any(module.path == "init" for module in recipe.modules):
            paths = ", ".join(f"/{module.path}" for module in recipe.modules)
            yield Fault(
                "no-init",
                f"{recipe.source}: the file-system image has no /init, which SVSM starts; it has {paths}",
            )


def _clashes(steps: Iterable[Step], label_of: Mapping[str, str]) -> Iterator[Fault]:
    """Conflicts of two recipes over a path below ``bin/``, or of make and this program over a file."""
    steps = list(steps)
    places = [(place, step) for step in steps for _, place in step.publish]
    for i, (place, step) in enumerate(places):
        for other_place, other in places[:i]:
            files = "igvm" in (step.stage, other.stage) or "measure" in (step.stage, other.stage)
            recipes = f"{label_of[other.record]} and {label_of[step.record]}"
            if place == other_place and files:
                yield Fault(
                    "recipes-clash",
                    f"{place}: {recipes} both make this file, but differently; give each its own output",
                )
            elif place.startswith(f"{other_place}/") or other_place.startswith(f"{place}/"):
                inner, outer = max(place, other_place, key=len), min(place, other_place, key=len)
                yield Fault(
                    "recipes-clash",
                    f"{inner} would be inside the file {outer} ({recipes}); give each its own output",
                )
    sources = {
        normpath(step.action.source) for step in steps if isinstance(step.action, FirmwareImage) and step.action.source
    }
    made_by = {normpath(made): step for step in steps for made in step.action.made_in_tree}
    for place, _ in places:
        if made := made_by.get(place):
            yield Fault(
                "made-in-place",
                f"{place}: {made.name} makes this file where this program puts its copy; choose another output_file",
            )
    for file in sources & {*(place for place, _ in places), *made_by}:
        yield Fault(
            "firmware-is-output",
            f"{file}: this is the firmware to include, but a step of this run makes it; name a file that no step makes",
        )


def _labels(sources: Sequence[str]) -> list[str]:
    """A short name for each recipe: its file name, with as many folders as make it unique."""
    paths = [PurePosixPath(source).with_suffix("").parts for source in dict.fromkeys(sources)]
    labels = {}
    for source, path in zip(dict.fromkeys(sources), paths, strict=True):
        others = [other for other in paths if other is not path]
        length = next((n for n in range(1, len(path)) if all(other[-n:] != path[-n:] for other in others)), len(path))
        labels[source] = "/".join(part for part in path[-length:] if part != "/").replace("=", "-")
    counts = Counter(labels.values())
    numbers = {source: f"{label}-{i}" for i, (source, label) in enumerate(labels.items(), 1) if counts[label] > 1}
    return [numbers.get(source, labels[source]) for source in sources]


def _unused_features(
    recipes: Sequence[Recipe], steps: Iterable[Step], context: PlanContext
) -> Iterator[tuple[ExtraFeature, Fault]]:
    components = {component.name: component for recipe in recipes for component in _components(recipe)}
    built = components.keys() | {step.component for step in steps if step.stage == "tool"}
    for entry in context.options.features:
        made = entry.package in components and components[entry.package].type is BuildType.MAKE
        if entry.package not in built:
            nearest = did_you_mean(entry.package, built)
            what = f"feature {entry} is not used: the recipe has no item '{entry.package}'{nearest}"
            yield entry, Fault("unused-feature", what)
        elif context.options.all_features and not made:  # make has no such option, so it gets the features by name
            what = f"feature {entry} is not used: ALL_FEATURES replaces every other choice of features"
            yield entry, Fault("unused-feature", what)


def _components(recipe: Recipe) -> tuple[Component, ...]:
    kernel = recipe.kernel
    parts = (kernel.svsm, kernel.loader, kernel.tdx_stage1)
    return (*(part for part in parts if part), *(module.component for module in recipe.modules))
