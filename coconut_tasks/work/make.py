"""Build a make item."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from coconut_tasks.effects.place import read_object, write_whole
from coconut_tasks.effects.process import run
from coconut_tasks.errors import StepError
from coconut_tasks.inputs.environment import asked_environment
from coconut_tasks.inputs.known import Inputs
from coconut_tasks.inputs.make import make_inputs
from coconut_tasks.step import MakeItem
from coconut_tasks.work.objcopy import objcopy
from coconut_tasks.world import World


def build_make_item(work: MakeItem, key: str, world: World, log: Path) -> Inputs:
    """Run make and copy the result with objcopy; the result says what was read.

    make looks at times only. A file that is there because another variant (say, with RELEASE=1), other variables or another hand made it
    would be taken as good, so make is told to make it anew unless all that is as it was when it was last made.

    Raises:
        StepError: make or objcopy failed, or make did not make the file.
    """
    made = Path(world.path(work.made))
    maker = world.state / "made.json"
    argv = work.build.argv
    with world.alone_with_cargo():  # a rule may call cargo; and two variants write the same file
        if made.exists() and not _made_alike(read_object(maker).get(work.made), key, world, str(made)):
            argv = (argv[0], "--always-make", *argv[1:])
        run(replace(work.build, argv=argv), world.tree, world.environment, log)
        if world.files.look_again(str(made)) is None:
            raise StepError(f"make ended well, but made no {work.made}\n  command: {work.build}\n  log: {log}")
        objcopy(work.objcopy, made, Path(world.path(work.output)), world, log)
        inputs = make_inputs(work.build, work.made, world.tree, world.environment)
        last = {
            "key": key,
            "digest": world.files.digest(str(made)),
            "variables": asked_environment(world.environment, inputs.variables),
            "names": list(inputs.variables),
        }
        makers = {**read_object(maker), work.made: last}
        write_whole(maker, json.dumps(makers, indent=1, sort_keys=True).encode())
        return inputs


def _made_alike(last: object, key: str, world: World, made: str) -> bool:
    if not isinstance(last, dict) or not isinstance(last.get("names"), list):
        return False
    variables = asked_environment(world.environment, last["names"])
    return (last.get("key"), last.get("digest"), last.get("variables")) == (key, world.files.digest(made), variables)
