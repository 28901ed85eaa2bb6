"""The recipe's ``fs`` section."""

from __future__ import annotations

from coconut_tasks.layout import FS_IMAGE, key_of
from coconut_tasks.plan.context import PlanContext
from coconut_tasks.plan.items import plan_item, plan_tool
from coconut_tasks.recipe.model import Module
from coconut_tasks.steps.action import FsImage
from coconut_tasks.steps.step import Step
from coconut_tasks.tools.packit import packit_command


def plan_fs(modules: tuple[Module, ...], context: PlanContext) -> tuple[Step, ...]:
    """packit, the modules and the image, in this order; nothing for a recipe without modules."""
    if not modules:
        return ()
    packit = plan_tool("packit", context)
    steps = [plan_item("module", module.component, context, publish=False) for module in modules]
    files = tuple(sorted((module.path, step.outputs[0]) for module, step in zip(modules, steps, strict=True)))
    key = key_of("fs", packit.outputs, files)
    root, output = context.layout.variant("fs", key, "root"), context.layout.variant("fs", key, FS_IMAGE)
    action = FsImage(files, root, packit_command(packit.outputs[0], root, output), output)
    inputs = (*packit.outputs, *(file for _, file in files))
    published = ((output, context.layout.published(FS_IMAGE)),)
    doc = f"the file-system image of {len(files)} module{'s' if len(files) > 1 else ''}"
    return (packit, *steps, Step("fs", "image", key, doc, action, inputs, (output,), published))
