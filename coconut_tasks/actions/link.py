"""Write down what a step was made of, and guess it while its command is still running."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from coconut_tasks.effects.place import write_whole
from coconut_tasks.evidence.link import Link, link_text, read_link
from coconut_tasks.freshness.staleness import OURSELVES
from coconut_tasks.inputs.files import ABSENT, MOVED, VERSION_CONTROL, FileState
from coconut_tasks.layout import VERSION_FILE
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.workspace import Workspace

T = TypeVar("T")
_OF_GIT = re.compile(rf"{os.sep}({'|'.join(map(re.escape, VERSION_CONTROL))})({os.sep}|$)")


def write_link(
    step: Step, signed: Mapping[str, Any], states: Mapping[str, FileState], own: Iterable[str], workspace: Workspace
) -> None:
    """Write the link of a successful step.

    ``signed`` is its signature, ``states`` are the states of its inputs, and ``own`` are the inputs that its build scripts wrote.
    """
    files, path = workspace.files, workspace.path(step.link)
    made = {output: files.digest(output) for output in map(workspace.path, step.outputs) if output != path}
    materials = _materials({path: None if state is MOVED else state[1] for path, state in states.items()}, workspace)
    guess = _guesses(workspace).get(step.link)
    cached = workspace.run_state.cached.get(step.name)
    link = Link(
        step.part,
        [{"argv": list(command.deciding), "env": dict(command.env)} for command in step.commands],
        _ordered({name: workspace.neutral(value) for name, value in signed["environment"].items()}),
        # The statement names its builder once, not as a tool of each step.
        _ordered({name: identity for name, identity in signed["tools"].items() if name != OURSELVES}),
        # Keep the same object, since what was prepared from the guess is found by it.
        guess.materials if guess is not None and guess.materials == materials else materials,
        _ordered({workspace.named(path): digest or "" for path, digest in made.items()}),
        sorted(map(workspace.named, own)),
        {"action": cached.action, "builder": cached.builder} if cached is not None else None,
    )
    write_whole(Path(path), link_text(link))
    files.look_again(path)
    workspace.shared(_key(path, workspace), lambda: link)


def link_at(path: str, workspace: Workspace) -> Link:
    """The link in a file, read once in a run."""
    return workspace.shared(_key(path, workspace), lambda: read_link(Path(path).read_bytes()))


def guess_link(step: Step, text: bytes, inputs: Set[str], workspace: Workspace) -> None:
    """Guess the link of a running step: its last link (``text``), with the ``inputs`` as they were when it started."""
    last = read_link(text)
    materials = _materials({path: workspace.files.known(path) or ABSENT[1] for path in inputs}, workspace)
    # Files that were edited since are no longer the scripts' own; the version file is written again after each commit.
    own = [name for name in last.own if name == VERSION_FILE or last.materials.get(name) == materials.get(name)]
    _guesses(workspace)[step.link] = replace(last, materials=materials, own=own)


def guessed_link(spelt: str, workspace: Workspace) -> Link | None:
    """The guess of a link; None if there is none."""
    return _guesses(workspace).get(spelt)


def _materials(digests: Mapping[str, str | None], workspace: Workspace) -> dict[str, str | None]:
    """The digests by the files' names in links."""
    names: dict[str, str | None] = workspace.shared("names of materials", dict)
    for path in digests.keys() - names.keys():
        # git's own files differ between clones; the commit is named separately.
        names[path] = None if _OF_GIT.search(path) else workspace.named(path)
    return _ordered({name: digest for path, digest in digests.items() if (name := names[path]) is not None})


def _ordered(items: Mapping[str, T]) -> dict[str, T]:
    """In the order in which a link's text has it."""
    return dict(sorted(items.items()))


def _guesses(workspace: Workspace) -> dict[str, Link]:
    return workspace.shared("guessed links", dict)


def _key(path: str, workspace: Workspace) -> tuple[str, str, str | None]:
    return "link", path, workspace.files.digest(path)
