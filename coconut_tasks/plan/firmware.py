"""The recipe's ``firmware`` section."""

from __future__ import annotations

from coconut_tasks.layout import key_of
from coconut_tasks.plan.ground import Ground
from coconut_tasks.recipe import Firmware
from coconut_tasks.step import Command, FirmwareImage, Step


def plan_firmware(firmware: Firmware | None, ground: Ground) -> tuple[Step, ...]:
    """The step that takes the firmware; nothing where the recipe names neither a file nor a variable.

    The file is copied into the state folder first, so that the file that was built in is the file that was looked at.
    """
    if firmware is None or (firmware.file is None and firmware.env is None and firmware.command is None):
        return ()
    variable = firmware.env if firmware.file is None else None
    source = firmware.file
    if variable is not None and (value := ground.options.environment.get(variable)):
        source = ground.options.absolute(value)
    command = Command(firmware.command) if firmware.command else None
    key = key_of("firmware", firmware.command, source, variable, ground.tree)
    output = ground.layout.variant("firmware", key, "firmware.bin")
    where = firmware.file or (f"${variable}" if variable else "nowhere")
    doc = f"the guest firmware from {where}" if source or variable else "the firmware command, which places no image"
    inputs = (source,) if source and not command else ()
    work = FirmwareImage(command, source, variable, output)
    outputs = (output,) if source or variable else ()
    return (Step("firmware", "guest", key, doc, work, inputs, outputs),)
