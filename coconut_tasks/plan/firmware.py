"""The recipe's ``firmware`` section."""

from __future__ import annotations

from coconut_tasks.layout import key_of
from coconut_tasks.plan.context import PlanContext
from coconut_tasks.recipe.model import Firmware
from coconut_tasks.steps.action import FirmwareImage
from coconut_tasks.steps.command import Command
from coconut_tasks.steps.step import Step


def plan_firmware(firmware: Firmware | None, context: PlanContext) -> tuple[Step, ...]:
    """The step that takes the firmware; none if there is nothing to take.

    The file is first copied into the state folder: the file that is checked is the one that is built in. An unset variable means an image
    without firmware, as in build.py and xbuild.
    """
    if firmware is None:
        return ()
    variable = firmware.env if firmware.file is None else None
    source = firmware.file
    if variable is not None and (value := context.options.environment.get(variable)):
        source = context.options.absolute(value)
    if source is None and firmware.command is None:
        return ()
    command = Command(firmware.command) if firmware.command else None
    key = key_of("firmware", firmware.command, source, variable, context.tree)
    output = context.layout.variant("firmware", key, "firmware.bin")
    where = firmware.file or f"${variable}"
    doc = f"the guest firmware from {where}" if source else "the firmware command, which places no image"
    inputs = (source,) if source and not command else ()
    action = FirmwareImage(command, source, variable, output)
    outputs = (output,) if source else ()
    return (Step("firmware", "guest", key, doc, action, inputs, outputs),)


def unset_variable(firmware: Firmware | None, context: PlanContext) -> str | None:
    """The variable that should name the firmware image but is unset; None if there is no such variable."""
    if firmware is None or firmware.file is not None or firmware.env is None:
        return None
    return None if context.options.environment.get(firmware.env) else firmware.env
