"""The recipe's ``kernel`` section."""

from __future__ import annotations

from coconut_tasks.plan.ground import Ground
from coconut_tasks.plan.items import plan_item
from coconut_tasks.recipe import Kernel
from coconut_tasks.step import Step


def plan_kernel(kernel: Kernel, ground: Ground) -> dict[str, Step]:
    """A step for each kernel part that the recipe has, by its name."""
    parts = [part for part in (kernel.svsm, kernel.loader, kernel.tdx_stage1) if part is not None]
    return {part.name: plan_item("kernel", part, ground, publish=True) for part in parts}
