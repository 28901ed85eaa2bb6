"""``new``: create a recipe. It needs no dodo.py and works in any folder."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from coconut_tasks.called import called
from coconut_tasks.errors import EXIT_USAGE, UsageError
from coconut_tasks.tasks.command import OwnCommand, switch

if TYPE_CHECKING:
    from coconut_tasks.recipe.starter import Answers

T = TypeVar("T")


class NewCommand(OwnCommand):
    """``new``: without options it asks questions if standard input is a terminal."""

    name = "new"
    doc_purpose = "create a recipe from options, or by asking questions"
    doc_usage = "[NEW_FILE]"
    doc_description = """
        Without options, it asks a few questions on a terminal. Otherwise each option has a sensible default.
        Without NEW_FILE, it chooses a free name in config/, or in configs/ if only that exists.
        It overwrites an existing file only with --force.

        Exit status: 0 success, 2 nothing was written.
    """
    cmd_options = (
        {
            "name": "target",
            "long": "target",
            "type": list,
            "default": [],
            "metavar": "NAME,...",
            "choices": [("qemu", ""), ("hyper-v", ""), ("vanadium", "")],
            "help": "hypervisors; can be given several times [default: qemu]",
        },
        {
            "name": "platforms",
            "long": "platforms",
            "type": list,
            "default": [],
            "metavar": "NAME,...",
            "choices": [("native", ""), ("snp", ""), ("tdp", ""), ("vsm", "")],
            "help": "platforms [default: those that fit each hypervisor]",
        },
        {
            "name": "loader",
            "long": "loader",
            "default": "bldr",
            "metavar": "WORD",
            "choices": [("bldr", ""), ("stage2", ""), ("none", "")],
            "help": "what loads the kernel; older trees need stage2 [default: bldr]",
        },
        switch("tdx", "also support Intel TDX: add tdp and tdx-stage1"),
        {
            "name": "features",
            "long": "features",
            "default": "vtpm",
            "metavar": "FEATURE,...",
            "help": "cargo features of the kernel, or 'none' [default: vtpm]",
        },
        {
            "name": "module",
            "long": "module",
            "type": list,
            "default": [],
            "metavar": "NAME,...",
            "help": "user-space modules, or 'none'; can be given several times [default: userinit]",
        },
        {
            "name": "firmware",
            "long": "firmware",
            "default": "none",
            "metavar": "PATH",
            "help": "guest firmware: a path, env:VARIABLE for a path from the environment, or 'none' [default: none]",
        },
        switch("force", "overwrite an existing file"),
    )
    examples = (
        "doit new  # ask questions",
        "doit new --target qemu --tdx --features vtpm,enable-gdb config/mine.json",
        "doit new --target hyper-v --firmware env:HV_FW_FILE config/hv.json",
    )

    def execute(self, opt_values: Any, pos_args: Sequence[str]) -> int:
        from coconut_tasks.effects.place import write_whole
        from coconut_tasks.recipe.starter import free_name, recipe_text, schema_for

        _, words = self.given_variables()
        names = [*pos_args, *words]
        if len(names) > 1:
            raise UsageError(
                "wrong-words",
                f"new: {len(names)} files given; expected one, for example: {called().command('new', 'config/mine.json')}",
            )
        # doit does not note that a list option was given.
        chosen = (
            opt_values._non_default_keys & _ANSWERS
            or opt_values["target"] + opt_values["platforms"] + opt_values["module"]
        )
        name = names[0] if names else None
        if opt_values["force"] and name is None:
            raise UsageError(
                "wrong-words",
                f"new: --force needs a file, for example: {called().command('new', '--force', 'mine.json')}",
            )
        _may_write(name, opt_values["force"])
        if not chosen and sys.stdin.isatty():
            try:
                answers, name = _asked(name)
            except (EOFError, KeyboardInterrupt) as end:
                print("\ncancelled; nothing was written")
                return EXIT_USAGE if isinstance(end, EOFError) else 128 + signal.SIGINT
        else:
            answers = _from_options(opt_values)
        if name is None:
            name = free_name(answers.targets, Path())
        path = Path(name)
        text = recipe_text(answers, schema_for(path))
        write_whole(path, text.encode())
        print(f"{name} is written; next: {_next_command(name)}")
        return 0


def _may_write(name: str | None, force: bool) -> None:
    if name is None:
        return
    path = Path(name)
    if path.is_dir() or name.endswith("/"):
        raise UsageError(
            "is-a-folder", f"new: '{name}' is a folder; name a file in it, for example {name.rstrip('/')}/mine.json"
        )
    if path.suffix != ".json":
        from coconut_tasks.recipe.starter import usual_folder

        right = path.with_suffix(".json")
        example = right if "/" in name else usual_folder(Path()) / right
        raise UsageError("not-a-json-name", f"new: '{name}': expected a name that ends in .json, for example {example}")
    if path.exists() and not force:
        raise UsageError(
            "file-exists", f"new: '{name}' already exists; choose another name, or overwrite it with --force"
        )


def _from_options(given: Any) -> Answers:
    from coconut_tasks.recipe import starter

    answers = starter.with_loader(starter.Answers(tdx=given["tdx"]), given["loader"])
    if given["target"]:
        answers = starter.with_targets(answers, ",".join(given["target"]))
    if given["platforms"]:
        answers = starter.with_platforms(answers, ",".join(given["platforms"]))
    answers = starter.with_features(answers, given["features"])
    if given["module"]:
        answers = starter.with_modules(answers, ",".join(given["module"]))
    return starter.with_firmware(answers, given["firmware"])


_ANSWERS = {"loader", "tdx", "features", "firmware"}


def _asked(name: str | None) -> tuple[Answers, str]:
    """The user's answers and the file name."""
    from coconut_tasks.recipe import starter

    with suppress(ImportError):
        import readline  # noqa: F401  # gives input() line editing

    answers = starter.Answers()
    print("A first recipe. Press Enter to accept the value in brackets, Ctrl-C to cancel.")
    for question in starter.QUESTIONS:
        answers = _ask(question.text, question.default, partial(question.take, answers))
    return answers, name or _ask("File", starter.free_name(answers.targets, Path()), _free_file)


def _ask(text: str, default: str, take: Callable[[str], T]) -> T:
    while True:
        answer = input(f"{text} [{default}]: ").strip() or default
        try:
            return take(answer)
        except UsageError as error:
            print(error.labelled)


def _free_file(name: str) -> str:
    _may_write(name, force=False)
    return name


def _next_command(name: str) -> str:
    """The command that builds the recipe from here: doit if there is a dodo.py of ours, otherwise coconut."""
    from coconut_tasks.tasks.dodo_file import dodo_file, is_ours

    word = shlex.quote(name)
    how = called()
    if not how.is_coconut and not is_ours(dodo_file()):
        return f"coconut build {word}"
    return how.command("build", how.setting("RECIPE", word))
