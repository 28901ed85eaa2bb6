"""Write down what a step was made of, and guess it while its command is still at work."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from coconut_tasks.effects.place import write_whole
from coconut_tasks.inputs.files import ABSENT, MOVED, VERSION_CONTROL, State
from coconut_tasks.papers.link import Link, link_text, read_link
from coconut_tasks.staleness import OURSELVES
from coconut_tasks.step import Step
from coconut_tasks.world import World

T = TypeVar("T")
_OF_GIT = re.compile(rf"{os.sep}({'|'.join(map(re.escape, VERSION_CONTROL))})({os.sep}|$)")


def write_link(
    step: Step, signed: Mapping[str, Any], states: Mapping[str, State], own: Iterable[str], world: World
) -> None:
    """Write a step's link: it ended well.

    ``signed`` is its signature, ``states`` are those of its inputs, and ``own`` are the inputs that its build scripts wrote themselves.
    """
    files, path = world.files, world.path(step.link)
    made = {output: files.digest(output) for output in map(world.path, step.outputs) if output != path}
    materials = _materials({path: None if state is MOVED else state[1] for path, state in states.items()}, world)
    guess = _guesses(world).get(step.link)
    link = Link(
        f"{step.stage}:{step.component}",
        [{"argv": list(command.deciding), "env": dict(command.env)} for command in step.commands],
        _ordered({name: world.neutral(value) for name, value in signed["environment"].items()}),
        # The statement names its builder once, and not as a tool of a step.
        _ordered({name: identity for name, identity in signed["tools"].items() if name != OURSELVES}),
        # What was made of the guess holds for the same object.
        guess.materials if guess is not None and guess.materials == materials else materials,
        _ordered({world.named(path): digest or "" for path, digest in made.items()}),
        sorted(map(world.named, own)),
    )
    write_whole(Path(path), link_text(link))
    files.look_again(path)
    world.shared(_key(path, world), lambda: link)


def link_at(path: str, world: World) -> Link:
    """The link in a file, read once in a run."""
    return world.shared(_key(path, world), lambda: read_link(Path(path).read_bytes()))


def guess_link(step: Step, text: bytes, inputs: Set[str], world: World) -> None:
    """Guess the link of a step that is at work: the last one, whose ``text`` this is, with the ``inputs`` as they were when it began."""
    last = read_link(text)
    materials = _materials({path: world.files.known(path) or ABSENT[1] for path in inputs}, world)
    # What somebody else wrote since is no longer the scripts' own.
    own = [name for name in last.own if last.materials.get(name) == materials.get(name)]
    _guesses(world)[step.link] = replace(last, materials=materials, own=own)


def guessed_link(spelt: str, world: World) -> Link | None:
    """The guess of a link; None where there is none."""
    return _guesses(world).get(spelt)


def _materials(digests: Mapping[str, str | None], world: World) -> dict[str, str | None]:
    """The digests by what the files are called on paper."""
    names: dict[str, str | None] = world.shared("names of materials", dict)
    for path in digests.keys() - names.keys():
        # git's own files are of one clone, with its times and its user; the commit is named by itself.
        names[path] = None if _OF_GIT.search(path) else world.named(path)
    return _ordered({name: digest for path, digest in digests.items() if (name := names[path]) is not None})


def _ordered(items: Mapping[str, T]) -> dict[str, T]:
    """As it is read back from a link's text."""
    return dict(sorted(items.items()))


def _guesses(world: World) -> dict[str, Link]:
    return world.shared("guessed links", dict)


def _key(path: str, world: World) -> tuple[str, str, str | None]:
    return "link", path, world.files.digest(path)
