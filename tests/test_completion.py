"""Completion with TAB: the candidates, and the three shells that show them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import forks
import pytest
from conftest import DODO, QEMU, environment, has
from terminal import Terminal

from coconut_tasks.commands.candidates import Candidate, CommandLine, Flag, Known, candidates, own_tasks
from coconut_tasks.commands.verify import VerifyCommand
from coconut_tasks.options import Options
from coconut_tasks.tasks.table import COCONUT
from coconut_tasks.variables import SWITCHES, variables_of

ROOT = Path(__file__).parent.parent
ASK = [sys.executable, "-P", "-m", "coconut_tasks.commands.completion"]
COMMANDS = {
    "run": CommandLine(
        "[TASK/TARGET...]", "run tasks", (Flag(("-n", "--process"), "", "N"),), tuple(variables_of("run"))
    ),
    "list": CommandLine("[TASK ...]", "list tasks", (Flag(("--all",), "all"),), tuple(variables_of("list"))),
    "verify": CommandLine(VerifyCommand.doc_usage, "compare", (), tuple(variables_of("verify"))),
    "help": CommandLine("[TASK] [COMMAND]"),
    "validate": CommandLine(
        "FILE...",
        "check",
        (Flag(("--format",), "", "WORD", ("text", "github")), Flag(("-f", "--file"), "", "FILE")),
        ("RECIPE", "LENIENT"),
    ),
    "new": CommandLine("[NEW_FILE]", "", (Flag(("--target",), "", "NAME,...", ("qemu", "hyper-v")),)),
    "completion": CommandLine("bash|zsh|fish"),
}
TYPED = {
    "doit vali": "doit validate ",
    "doit RECIPE=config/on": "doit RECIPE=config/one.json ",
    "doit RECIPE=config/one.json,co": "doit RECIPE=config/one.json,config/two.json ",
    "doit RECIPE=config/one.json kernel:bl": "doit RECIPE=config/one.json kernel:bldr ",
    "doit info igvm:q": "doit info igvm:qemu ",
    "doit SVS": "doit SVSM=",
    "doit SVSM=tre": "doit SVSM=tree/",
    "doit BIN=my\\ fo": "doit BIN=my\\ folder/",
    "doit validate --form": "doit validate --format=",
    "doit validate --format=sar": "doit validate --format=sarif ",
    "doit validate config/tw": "doit validate config/two.json ",
    "./doitw completion fi": "./doitw completion fish ",
    "coconut-build --offl": "coconut-build --offline ",
    "coconut-build --svsm tre": "coconut-build --svsm tree/",
    "coconut-build config/on": "coconut-build config/one.json ",
    "coconut repro": "coconut reproduce ",
    "coconut build --rel": "coconut build --release ",
    "coconut why --svsm tre": "coconut why --svsm tree/",
    "coconut plan config/on": "coconut plan config/one.json ",
    "coconut info config/one.json kernel:sv": "coconut info config/one.json kernel:svsm ",
    "coconut build -r -f attest config/tw": "coconut build -r -f attest config/two.json ",
    "coconut completion z": "coconut completion zsh ",
    "coconut help vali": "coconut help validate ",
    "coconut cache st": "coconut cache stats ",
    "coconut cache gc --si": "coconut cache gc --size=",
    "coconut cache check config/one.json kernel:sv": "coconut cache check config/one.json kernel:svsm ",
    "doit cache ch": "doit cache check ",
}
"""What is typed before TAB, and the line after it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    for name in ("one", "two"):
        (tmp_path / "config" / f"{name}.json").write_text(json.dumps(QEMU))
    (tmp_path / "config" / "package.json").write_text('{"name": "no recipe"}')
    (tmp_path / "tree" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "my folder").mkdir()
    (tmp_path / "dodo.py").write_text(DODO + 'def task_own():\n    """my own\n\n    More."""\n')
    return tmp_path


def values(folder: Path, *words: str, known: Known | None = None) -> list[str]:
    known = known or Known(COMMANDS, folder / "dodo.py")
    return [one.value for one in candidates(words, Options(workdir=str(folder)), known)]


def answers(folder: Path, *words: str) -> list[str]:
    """The output of the program that the shells call."""
    done = subprocess.run([*ASK, *words], cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.partition("\t")[0] for line in done.stdout.splitlines()]


def split(line: str) -> list[str]:
    """Split like a shell: words end at blanks without a backslash."""
    return re.split(r"(?<!\\) +", line)


@pytest.mark.parametrize("typed", TYPED)
def test_a_line_has_one_candidate_that_fits(typed: str, folder: Path) -> None:
    last = split(TYPED[typed].rstrip(" "))[-1].replace("\\", "")
    assert answers(folder, *split(typed)) == [last]


def test_nothing_typed_offers_commands_groups_own_tasks_and_variables(folder: Path) -> None:
    found = values(folder, "doit", "")
    assert {*COMMANDS, "own", "kernel", "igvm", "measure", *(f"{name}=" for name in variables_of("run"))} <= set(found)
    assert not any(":" in value for value in found)


def test_a_group_that_is_typed_offers_its_steps(folder: Path) -> None:
    assert values(folder, "doit", "RECIPE=config/one.json", "kernel") == ["kernel", "kernel:svsm", "kernel:bldr"]


def test_the_tasks_are_those_of_the_recipes_on_the_line(folder: Path) -> None:
    other = {**QEMU, "igvm": {"hyper-v": {}}}
    (folder / "config" / "two.json").write_text(json.dumps(other))
    assert values(folder, "doit", "RECIPE=config/two.json", "igvm:") == ["igvm:hyper-v"]
    assert values(folder, "doit", "RECIPE=config/one.json,config/two.json", "igvm:") == ["igvm:qemu", "igvm:hyper-v"]


@pytest.mark.parametrize("stem", ["recipe", "test-recipe"])
def test_the_tasks_are_those_that_doit_lists(stem: str, folder: Path) -> None:
    recipes = "RECIPE=config/one.json,config/two.json"
    changed = {**QEMU, "igvm": {"vanadium": {}}, "kernel": {"svsm": {"features": "enable-gdb"}}}
    (folder / "config" / "two.json").write_text(json.dumps(changed if stem == "recipe" else QEMU))
    argv = [sys.executable, "-m", "doit", "list", "--all", "-q", recipes]
    listed = forks.run(argv, folder, environment(folder))
    tasks = {line.strip() for line in listed.stdout.splitlines()}
    letters = {name[0] for name in tasks}
    found = {value for letter in letters for value in values(folder, "doit", recipes, letter)}
    assert found - set(COMMANDS) == tasks


def test_a_value_is_offered_once_in_a_list(folder: Path) -> None:
    assert values(folder, "doit", "RECIPE=") == ["RECIPE=config/one.json", "RECIPE=config/two.json"]
    assert values(folder, "doit", "RECIPE=./config/one.json,") == ["RECIPE=./config/one.json,config/two.json"]
    assert values(folder, "doit", "new", "--target=qemu,") == ["--target=qemu,hyper-v"]
    assert "RECIPE=" not in values(folder, "doit", "RECIPE=config/one.json", "")


def test_recipes_are_found_from_where_a_path_begins(folder: Path) -> None:
    assert values(folder, "doit", f"RECIPE={folder}/config/o") == [f"RECIPE={folder}/config/one.json"]
    assert values(folder / "tree", "doit", "RECIPE=../config/t") == ["RECIPE=../config/two.json"]
    assert values(folder, "doit", "RECIPE=tree/d") == ["RECIPE=tree/deep/"]


def test_where_no_recipe_is_those_of_this_project_are_offered(tmp_path: Path) -> None:
    assert "RECIPE=config/qemu.json" in values(tmp_path, "doit", "RECIPE=c")


def test_options_and_their_values_are_those_of_the_command(folder: Path) -> None:
    assert values(folder, "doit", "validate", "--") == ["--format=", "--file=", "--help"]
    assert values(folder, "doit", "--") == ["--process=", "--help"]
    assert values(folder, "doit", "validate", "--format=") == ["--format=text", "--format=github"]
    assert values(folder, "doit", "validate", "--format", "g") == ["github"]
    assert values(folder, "doit", "validate", "-f", "config/p") == ["config/package.json"]
    assert values(folder, "doit", "validate", "config/one.json", "L") == ["LENIENT="]


def test_switches_are_1_or_0(folder: Path) -> None:
    assert values(folder, "doit", "RELEASE=") == ["RELEASE=1", "RELEASE=0"]
    for name in SWITCHES:
        assert values(folder, "doit", f"{name}=") == [f"{name}=1", f"{name}=0"]


def test_a_new_recipe_goes_into_a_folder(folder: Path) -> None:
    assert values(folder, "doit", "new", "c") == ["config/"]


def test_the_tasks_of_a_foreign_dodo_file_are_asked_of_doit(folder: Path) -> None:
    (folder / "dodo.py").write_text("print('noise')\ndef task_theirs():\n    return {'actions': ['true']}\n")
    assert answers(folder, "doit", "the") == ["theirs"]
    assert answers(folder, "doit", "RECI") == []
    (folder / "dodo.py").write_text("raise SystemExit('broken')")
    assert answers(folder, "doit", "the") == []
    known = Known(COMMANDS, is_ours=False, other_tasks=lambda: [Candidate("a:b"), Candidate("a")])
    assert values(folder, "doit", "list", "", known=known)[:1] == ["a"]


def test_a_dodo_file_of_ours_is_read_and_not_run(folder: Path) -> None:
    assert own_tasks(folder / "dodo.py") == {"own": "my own"}
    (folder / "dodo.py").write_text("def")
    assert own_tasks(folder / "dodo.py") == own_tasks(folder / "none.py") == {}


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"kernel": 1, "igvm": {"x": {}}}', '{"igvm": {}, "kernel": {}}'])
def test_a_broken_recipe_or_line_is_silent_and_the_rest_is_offered(content: str, folder: Path) -> None:
    (folder / "config" / "one.json").write_text(content)
    assert "run" in answers(folder, "doit", "RECIPE=config/one.json", "RELEASE=x", "r")
    assert answers(folder, "doit", "RECIPE=config/one.json", "igvm:") == []
    assert answers(folder, "doit", "SVSM=/none", "BIN=/dev/null", "kernel:") == []
    assert answers(folder) == []


def test_nothing_is_written_and_nothing_built(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    for words in (("doit", "k"), ("doit", "RECIPE="), ("doit", "info", "igvm:")):
        answers(folder, *words)
    assert sorted(folder.rglob("*")) == before


def test_it_is_quick_in_a_large_folder(folder: Path) -> None:
    for one in range(20):
        for two in range(30):
            (folder / f"d{one}" / f"e{two}" / "f").mkdir(parents=True)
    took = []
    for _ in range(3):
        started = os.times()
        answers(folder, "doit", "RECIPE=config/o")
        answers(folder, "doit", "k")
        ended = os.times()  # its own processor time, since other tests run too
        taken = ended.children_user + ended.children_system - started.children_user - started.children_system
        took.append(taken / 2)
    assert min(took) < 0.5


def test_doitw_knows_its_tasks_in_any_folder(tmp_path: Path) -> None:
    doitw = Path(__file__).parent.parent / "doitw"
    assert answers(tmp_path, str(doitw), "soa") == ["soak"]
    assert answers(tmp_path, str(doitw), "igvm:") == ["igvm:qemu"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "id", "said"),
    [
        ([], "wrong-words", " bash, zsh …fish; …: doit completion bash"),
        (["fsh"], "no-such-choice", "'fsh'…bash, zsh…fish…'fish'"),
    ],
)
def test_a_shell_that_there_is_not_is_told(words: list[str], id: str, said: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "doit", "completion", *words]
    done = forks.run(argv, tmp_path, environment(tmp_path))
    assert done.returncode == 2
    assert done.stderr.endswith(f"  [{id}]\n") and has(done.stderr, said), done.stderr


def script(shell: str, folder: Path) -> Path:
    argv = [sys.executable, "-m", "doit", "completion", shell]
    path = folder.with_name(f"script.{shell}")
    path.write_bytes(subprocess.run(argv, cwd=folder, env=environment(folder), capture_output=True, check=True).stdout)
    return path


def shell_environment(folder: Path) -> dict[str, str]:
    return {**environment(folder), "HOME": str(folder), "PS1": "ready> ", "LC_ALL": "C.UTF-8", "INPUTRC": "/dev/null"}


needs = {
    shell: pytest.mark.skipif(
        shutil.which(shell) is None, reason=f"{shell} is not here; its candidates are tested above"
    )
    for shell in ("bash", "zsh", "fish")
}


def after_tab(it: Terminal, typed: str) -> str:
    """The line after TAB: one more letter shows whether a new word starts, and printf shows the line."""
    it.type(f"{typed}\tx\x01printf '<%s>\\n' '\x05'\n")
    return it.see(r"^<(.*)x>$")[1]


@needs["bash"]
@pytest.mark.parametrize("breaks", ["", "COMP_WORDBREAKS=' '\n"], ids=["usual word breaks", "no word breaks"])
def test_bash_completes(breaks: str, folder: Path) -> None:
    argv = ["bash", "--norc", "--noprofile", "-i"]
    with Terminal(argv, folder, shell_environment(folder)) as it:
        it.type(f"source {script('bash', folder)}\n{breaks}PS1='ok> '\n")
        it.see("^ok> ")
        assert {typed: after_tab(it, typed) for typed in TYPED} == TYPED


@needs["bash"]
def test_bash_shows_all_that_fit(folder: Path) -> None:
    with Terminal(["bash", "--norc", "--noprofile", "-i"], folder, shell_environment(folder)) as it:
        it.type(f"source {script('bash', folder)}\n")
        it.type("doit RECIPE=\t\t\t")
        it.see(r"config/one.json +config/two.json")
        assert "Traceback" not in it.text


@needs["zsh"]
def test_zsh_completes(folder: Path) -> None:
    with Terminal(["zsh", "-f", "-i"], folder, shell_environment(folder)) as it:
        it.type(f"bindkey -e; unsetopt prompt_sp zle_bracketed_paste; PS1='ok''> '; source {script('zsh', folder)}\n")
        it.see("ok> ")
        assert {typed: after_tab(it, typed) for typed in TYPED} == TYPED


@needs["fish"]
@pytest.mark.parametrize("typed", TYPED)
def test_fish_completes(typed: str, folder: Path) -> None:
    code = "source $argv[1]; complete -C $argv[2]"
    argv = ["fish", "--no-config", "-c", code, str(script("fish", folder)), typed]
    done = subprocess.run(argv, cwd=folder, env=shell_environment(folder), capture_output=True, text=True)
    assert done.stderr == ""
    last = split(TYPED[typed].rstrip(" "))[-1]
    assert [line.partition("\t")[0].replace("\\", "") for line in done.stdout.splitlines()] == [last.replace("\\", "")]


@needs["bash"]
def test_bash_is_silent_where_python_is_gone(folder: Path) -> None:
    path = script("bash", folder)
    path.write_text(path.read_text().replace(sys.executable, "/gone/python"))
    with Terminal(["bash", "--norc", "--noprofile", "-i"], folder, shell_environment(folder)) as it:
        it.type(f"source {path}; PS1='ok''> '\n")
        it.see("^ok> ")
        assert after_tab(it, "doit vali") == "doit vali"
        assert "gone" not in it.text
        assert os.path.basename(path) not in it.text


def test_verify_has_a_variable_of_its_own_that_names_a_file(folder: Path) -> None:
    (folder / "good.json").write_text("{}")
    assert "EXPECT=" in values(folder, "doit", "verify", "E")
    assert "EXPECT=" not in values(folder, "doit", "run", "E")
    assert values(folder, "doit", "verify", "EXPECT=go") == ["EXPECT=good.json"]
    offered = values(folder, "doit", "verify", "")
    assert not [one for one in offered if "FILE" in one or one.endswith(".json")]


def test_coconut_offers_each_command_first_and_recipes_and_steps_after_it(folder: Path) -> None:
    assert [name for name in COCONUT if name not in answers(folder, "coconut", "")] == []
    found = answers(folder, "coconut", "build", "--svsm", str(ROOT / "sample"), "config/one.json", "igvm")
    assert {"igvm", "igvm:qemu"} <= set(found)
    assert "config/two.json" in answers(folder, "coconut", "list", "")
    assert answers(folder, "coconut", "graph", "--format=s") == ["--format=svg"]
