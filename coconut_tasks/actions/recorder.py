"""A wrapper for ``cargo`` that notes what a make rule asks cargo to build and what cargo reports that it built.

Only cargo knows the inputs of its programs; make knows only that a rule calls it. The recorder is a script in the state folder that comes
first in PATH while make runs.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from coconut_tasks.dataclass import dataclass
from coconut_tasks.effects.place import write_whole
from coconut_tasks.inputs.toolchain import find_program
from coconut_tasks.workspace.workspace import Workspace

_SCRIPT = """#!/bin/sh
# Written by coconut-tasks: notes what a make rule asks cargo to build.
note={notes}/$$
printf '%s\\0' "$PWD" "$@" > "$note.call"
subcommand=
for word; do
    case $word in
        [+-]*) ;;
        *) subcommand=$word; break ;;
    esac
done
case $subcommand in
    build|b|rustc|test|t|run|r) ;;
    *) exec {cargo} "$@" ;;
esac
case " $* " in
    *" --message-format"*) wanted=1 ;;
    *)
        wanted=
        left=$#
        placed=
        for word; do
            if [ -z "$placed" ] && [ "$word" = -- ]; then set -- "$@" {format}; placed=1; fi
            set -- "$@" "$word"
        done
        [ -n "$placed" ] || set -- "$@" {format}
        shift "$left"
        ;;
esac
{cargo} "$@" > "$note.messages"
status=$?
if [ -n "$wanted" ]; then cat "$note.messages"; else grep -v '^{{"reason":' "$note.messages"; fi
exit $status
"""
_FORMAT = "--message-format=json-render-diagnostics"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of cargo."""

    folder: str
    """The working folder."""
    words: tuple[str, ...]
    """The words after ``cargo``."""
    printed: str | None
    """Its messages; None if the subcommand builds nothing or its messages cannot be read."""

    @property
    def manifest(self) -> str | None:
        """The manifest that it names."""
        return self._value("--manifest-path")

    @property
    def triple(self) -> str | None:
        """The target that it names."""
        return self._value("--target")

    def _value(self, option: str) -> str | None:
        for word, following in zip(self.words, (*self.words[1:], ""), strict=True):
            if word == option:
                return following
            if word.startswith(f"{option}="):
                return word.partition("=")[2]
        return None


class Recorder:
    """Keeps its notes in a subfolder, which is emptied first."""

    def __init__(self, folder: Path, workspace: Workspace) -> None:
        self._notes = folder / "notes"
        self._programs = folder / "programs"
        cargo = find_program("cargo", workspace.tree, workspace.environment)
        self._path = workspace.environment.get("PATH", "")
        shutil.rmtree(self._notes, ignore_errors=True)
        if cargo is not None:
            self._notes.mkdir(parents=True)
            text = _SCRIPT.format(notes=shlex.quote(str(self._notes)), cargo=shlex.quote(cargo), format=_FORMAT)
            write_whole(self._programs / "cargo", text.encode(errors="surrogateescape"), program=True)
            self._path = os.pathsep.join((str(self._programs), self._path))

    @property
    def environment(self) -> dict[str, str]:
        """The variables to set for the recorded process."""
        return {"PATH": self._path}

    def calls(self) -> list[Call]:
        """Every call so far."""
        found = []
        for note in sorted(self._notes.glob("*.call")):
            folder, *words = os.fsdecode(note.read_bytes()).split("\0")[:-1]
            messages = note.with_suffix(".messages")
            text = messages.read_text(errors="surrogateescape") if messages.exists() else ""
            found.append(Call(folder, tuple(words), text if '{"reason":' in text else None))
        return found
