"""The recipe's ``kernel`` section."""

from __future__ import annotations

from coconut_tasks.plan.context import PlanContext
from coconut_tasks.plan.items import plan_item
from coconut_tasks.recipe.model import Kernel
from coconut_tasks.steps.step import Step


def plan_kernel(kernel: Kernel, context: PlanContext) -> dict[str, Step]:
    """A step for each kernel part of the recipe, by name."""
    parts = [part for part in (kernel.svsm, kernel.loader, kernel.tdx_stage1) if part is not None]
    return {part.name: plan_item("kernel", part, context, publish=True) for part in parts}
