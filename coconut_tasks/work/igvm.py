"""Put an IGVM file together."""

from __future__ import annotations

from pathlib import Path

from coconut_tasks.errors import StepError
from coconut_tasks.igvm import MAGIC
from coconut_tasks.step import IgvmFile
from coconut_tasks.world import World


def build_igvm(work: IgvmFile, world: World, log: Path) -> None:
    """Run igvmbuilder.

    Raises:
        StepError: it failed, or what it wrote is no IGVM file.
    """
    output = Path(world.path(work.output))
    output.parent.mkdir(parents=True, exist_ok=True)
    world.run(work.build, log)
    if output.is_file():
        with output.open("rb") as file:
            start = file.read(4)
        if start != MAGIC:
            raise StepError(
                f"igvmbuilder ended well, but {work.output} is no IGVM file: it starts with {start!r}\n  log: {log}"
            )
