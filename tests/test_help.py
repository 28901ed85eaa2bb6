"""The help of each of our commands has a purpose, usage, options, and examples that work."""

from __future__ import annotations

import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import forks
import pytest
from conftest import DODO, Outcome, environment, has
from doit.cmd_base import get_loader
from doit.doit_cmd import DoitMain

from coconut_tasks.explanations import explanations
from coconut_tasks.options import from_words
from coconut_tasks.tasks.command import OwnCommand, options_first
from coconut_tasks.tasks.table import PLUGINS, REFUSED
from coconut_tasks.variables import VARIABLES

OURS = {name: place.partition(":") for name, place in PLUGINS["COMMAND"].items() if name not in REFUSED}


def doit(folder: Path, *words: str) -> Outcome:
    argv = [sys.executable, "-m", "doit", *words]
    done = forks.run(argv, folder, environment(folder))
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dodo.py").write_text(DODO)
    return tmp_path


def command_class(name: str) -> Any:
    module, _, attribute = OURS[name]
    return getattr(import_module(module), attribute)


def command(name: str) -> Any:
    main = DoitMain(config_filenames=())
    commands = main.get_cmds()
    return command_class(name)(task_loader=get_loader({}, None, commands), cmds=commands, config={}, bin_name="doit")


@pytest.mark.parametrize("name", OURS)
def test_help_says_purpose_usage_options_and_an_example(name: str, folder: Path) -> None:
    asked = doit(folder, name, "--help")
    assert (asked.status, asked.err) == (0, "")
    assert asked.out.startswith(f"doit {name}: ")
    for heading in ("\nusage\n", "\noptions\n", "\nexamples\n  "):
        assert heading in asked.out
    assert "config: " not in asked.out
    assert max(map(len, asked.out.splitlines())) <= 120
    assert doit(folder, "help", name).out == asked.out
    assert doit(folder, name, "-h").out == asked.out


@pytest.mark.parametrize("name", OURS)
def test_each_example_is_a_command_line_that_is_understood(name: str) -> None:
    examples = command_class(name).examples
    assert examples
    for example in examples:
        line, _, _ = example.partition("  # ")
        line = line.removeprefix("source <(").removesuffix(")").partition(" > ")[0]
        program, *words = shlex.split(line)
        assert program == "doit"
        variables = [word for word in words if "=" in word and not word.startswith("-")]
        from_words(variables, {}, "/")
        words = [word for word in words if word not in variables]
        spoken = words.pop(0) if words and words[0] in OURS else "run"
        assert spoken == name
        one = command(name)
        one.cmdparser.parse(options_first(words, one.cmdparser) if isinstance(one, OwnCommand) else words)


@pytest.mark.parametrize("name", ["run", "list", "info", "clean", "forget", "verify"])
def test_commands_on_tasks_list_the_variables(name: str, folder: Path) -> None:
    text = doit(folder, name, "--help").out
    missing = [variable for variable in VARIABLES if f"  {variable}=…" not in text]
    assert missing == ([] if name == "verify" else ["EXPECT"])


def test_help_is_given_behind_other_words_too(folder: Path) -> None:
    for words in (["igvm:qemu", "--help"], ["RECIPE=no-such.json", "--help"], ["run", "kernel", "-h"]):
        outcome = doit(folder, *words)
        assert (outcome.status, outcome.out.partition(": ")[0]) == (0, "doit run")
    assert doit(folder, "validate", "x.json", "--help").out.startswith("doit validate: ")


def test_the_list_of_commands_has_ours_and_says_how_to_read_on(folder: Path) -> None:
    text = doit(folder, "--help").out
    assert [name for name in OURS if f" {name} " not in text] == []
    assert [name for name in REFUSED if f" {name} " in text] == []
    assert has(text, "RECIPE=…exit status…doit help COMMAND")
    assert doit(folder, "help").out == text


def test_help_is_given_where_no_dodo_file_is(tmp_path: Path) -> None:
    assert doit(tmp_path, "run", "--help").out.startswith("doit run: ")
    assert doit(tmp_path, "validate", "--help").status == 0


def test_a_dodo_file_of_others_keeps_the_help_of_doit(tmp_path: Path) -> None:
    (tmp_path / "dodo.py").write_text(
        "def task_x():\n"
        "    params = [{'name': 'host', 'short': 'h', 'default': ''}]\n"
        "    return {'actions': ['echo %(host)s'], 'params': params, 'verbosity': 2}\n"
    )
    assert doit(tmp_path, "help", "run").out.startswith("PURPOSE\n")
    assert doit(tmp_path, "run", "--help").out.startswith("PURPOSE\n")
    assert doit(tmp_path, "run", "--hlp").status == 3
    assert doit(tmp_path, "x", "-h", "there").out.endswith("there\n")


def test_a_misspelt_option_is_told_with_the_right_one(folder: Path) -> None:
    outcome = doit(folder, "list", "--al1")
    assert (outcome.status, outcome.ids) == (2, {"no-such-option"})
    assert "--al1 (did you mean '--all'?)" in outcome.err


def test_what_is_no_number_is_told_by_the_options_own_name(folder: Path) -> None:
    outcome = doit(folder, "run", "-n", "many")
    assert (outcome.status, outcome.ids) == (2, {"wrong-number"})
    assert outcome.err.startswith("error: -n: 'many' ")


def test_a_misspelt_command_is_told_with_the_right_one(folder: Path) -> None:
    outcome = doit(folder, "validat", "BIN=bin")
    assert (outcome.status, outcome.ids) == (2, {"no-such-task"})
    assert "'validat' " in outcome.err and "'validate'" in outcome.err


def test_an_id_is_explained_as_on_the_page(folder: Path, tmp_path: Path) -> None:
    entry = explanations()["no-such-recipe"]
    (tmp_path / "elsewhere").mkdir()
    for here in (folder, tmp_path / "elsewhere"):  # with and without a dodo.py
        asked = doit(here, "help", "no-such-recipe", "RECIPE=none.json")
        assert (asked.status, asked.err) == (0, "")
        assert " ".join(asked.out.split()) == f"no-such-recipe: {entry.means} why {entry.why} what to do {entry.do}"


def test_a_word_that_help_knows_nothing_of_is_told_with_the_nearest(folder: Path) -> None:
    assert doit(folder, "help", "igvm:qemu").out.startswith("igvm:qemu  ")
    for word, nearest in (("no-such-recip", "no-such-recipe"), ("igvm:qem", "igvm:qemu"), ("validat", "validate")):
        outcome = doit(folder, "help", word)
        assert (outcome.status, outcome.out, outcome.ids) == (2, "", {"no-such-topic"})
        assert f"(did you mean '{nearest}'?)" in outcome.err
    assert "no-such-topic" in doit(folder / "..", "help", "none").ids


def test_a_dodo_file_of_others_keeps_doits_help_on_words(tmp_path: Path) -> None:
    (tmp_path / "dodo.py").write_text("def task_stale():\n    return {'actions': ['true']}\n")
    assert doit(tmp_path, "help", "stale").out.startswith("stale  ")
    assert doit(tmp_path, "help", "no-such-recipe").out.startswith("doit -- automation tool")


def test_the_installed_commands_are_those_of_other_front_ends() -> None:
    installed = DoitMain(config_filenames=()).get_cmds()
    assert {name: getattr(installed[name], "location", None) for name in PLUGINS["COMMAND"]} == PLUGINS["COMMAND"]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_commands_of_doit_that_do_not_fit_these_tasks_are_refused(name: str, folder: Path, tmp_path: Path) -> None:
    for words in ((name,), (name, "--help")):
        outcome = doit(folder, *words)
        assert (outcome.status, outcome.ids) == (2, {"command-refused"})
        assert outcome.err.startswith(f"error: {name} ") and "use 'doit " in outcome.err
    if name in ("reset-dep", "strace"):  # the others load no dodo.py
        (elsewhere := tmp_path / "elsewhere").mkdir()
        outcome = doit(elsewhere, name, "-f", str(folder / "dodo.py"), "igvm")
        assert (outcome.status, outcome.out, outcome.ids) == (2, "", {"command-refused"})
        assert outcome.err.startswith(f"error: {name} ") and "use 'doit " in outcome.err
    (tmp_path / "dodo.py").write_text("def task_x():\n    return {'actions': ['true']}\n")
    assert "command-refused" not in doit(tmp_path, name).ids  # with other tasks it is doit's
