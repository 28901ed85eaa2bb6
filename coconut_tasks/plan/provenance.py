"""The step that records what an IGVM file was made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from coconut_tasks.layout import PROVENANCE, key_of
from coconut_tasks.plan.context import PlanContext
from coconut_tasks.recipe.model import Recipe, Target
from coconut_tasks.steps.action import Measurement, Provenance
from coconut_tasks.steps.step import Step
from coconut_tasks.variables import TABLE


def linked(step: Step, context: PlanContext) -> Step:
    """The step, which now also records what it was made of.

    The version file's step does not: the file may be up to date without it, and what reads the file records it as a file anyway.
    """
    if step.link or step.action.writes_source:
        return step
    link = context.layout.link(step.file_name)
    return replace(step, outputs=(*step.outputs, link), link=link)


def plan_provenance(
    target: Target, igvm: Step, measured: Step | None, made_by: Sequence[Step], recipe: Recipe, context: PlanContext
) -> Step:
    """The provenance of one target's IGVM file. ``made_by`` are all steps of the recipe, in the order of the data, linked."""
    own = [step for step in made_by if _concerns(step, igvm, measured)]
    file = igvm.outputs[0]
    measurement = measured.action.json if measured is not None and isinstance(measured.action, Measurement) else None
    links = tuple(step.link for step in own if step.link)
    own_links = tuple(step.link for step in (igvm, measured) if step is not None and step.link)
    options = tuple(_options(context))
    key = key_of("provenance", igvm.key, measured.key if measured else None, recipe.path, options, links)
    output = context.layout.variant(f"provenance-{target.name}", key, target.output + PROVENANCE)
    parts = tuple(
        (step.name, path) for step in own for path in step.outputs if path in igvm.inputs and step.stage != "tool"
    )
    action = Provenance(
        file, target.output, target.name, recipe.path, options, links, own_links, parts, measurement, output
    )
    inputs = tuple(filter(None, (file, measurement, recipe.path, *links, *(path for _, path in parts))))
    published = ((output, context.layout.published(target.output + PROVENANCE)),)
    doc = f"what {target.output} was made of, as an in-toto statement"
    return Step("provenance", target.name, key, doc, action, inputs, (output,), published)


def _concerns(step: Step, igvm: Step, measured: Step | None) -> bool:
    """Whether the file is made or measured with a step, which is not the case for those of other targets."""
    if step.component == "igvmmeasure" and step.stage == "tool":
        return measured is not None and step.outputs[0] in measured.inputs
    return not (step.action.is_image or step.action.is_about_an_image) or step in (igvm, measured)


def _options(context: PlanContext) -> Iterable[tuple[str, str]]:
    given = context.options
    for one in TABLE:
        value = getattr(given, one.field)
        if one.changes_bytes and value:
            yield one.name, "1" if one.is_switch else ",".join(map(str, value))
