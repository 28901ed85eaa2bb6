"""``doit new``: create a recipe from options or by asking questions."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from conftest import DODO, Outcome, Site, environment, has
from terminal import Terminal

from coconut_tasks.package import data_path
from coconut_tasks.recipe.load import check
from coconut_tasks.recipe.model import TARGETS
from coconut_tasks.recipe.starter import LOADERS, Answers, recipe_text, schema_for

NEW = [sys.executable, "-m", "doit", "new"]


def new(folder: Path, *words: str) -> Outcome:
    done = subprocess.run(
        [*NEW, *words], cwd=folder, env=environment(folder), capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert "Traceback" not in done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


def asked(folder: Path, *words: str) -> Terminal:
    return Terminal([*NEW, *words], folder, environment(folder))


def recipe(path: Path) -> Any:
    return json.loads(path.read_bytes())


def valid(path: Path) -> bool:
    warnings: list[object] = []
    check(path.name, path.read_bytes(), warn=warnings.append)
    return not warnings


def test_without_options_the_usual_recipe_is_written_and_the_next_command_said(tmp_path: Path) -> None:
    (tmp_path / "dodo.py").write_text(DODO)
    outcome = new(tmp_path)
    assert outcome.status == 0, outcome.text
    assert outcome.out == "config/qemu.json is written; next: doit RECIPE=config/qemu.json\n"
    assert valid(tmp_path / "config" / "qemu.json")


def test_where_no_dodo_file_is_the_next_command_is_one_that_needs_none(tmp_path: Path) -> None:
    assert "next: coconut build my/own.json" in new(tmp_path, "my/own.json").out


def test_the_recipe_builds_on_the_sample(site: Site) -> None:
    assert site.doit("new", "--tdx", "--features=vtpm,enable-gdb", "n.json").status == 2  # new does not use SVSM=
    assert site.run([*NEW, "--tdx", "--features=vtpm,enable-gdb", "n.json"]).status == 0
    outcome = site.build("RECIPE=n.json")
    assert len(outcome.digests["coconut-qemu.igvm"]) == 96


def test_every_option_is_in_the_recipe(tmp_path: Path) -> None:
    words = [
        "--target",
        "qemu,hyper-v",
        "--target=vanadium",
        "--tdx",
        "--loader",
        "stage2",
        "--features",
        "a,b",
        "--firmware",
        "env:FW",
    ]
    assert new(tmp_path, "r.json", *words, "--module=userinit", "--module", "one,two").status == 0
    made = recipe(tmp_path / "r.json")
    assert list(made["igvm"]) == ["qemu", "hyper-v", "vanadium"]
    assert made["igvm"]["qemu"]["platforms"] == ["native", "snp", "tdp"]
    assert made["igvm"]["hyper-v"]["platforms"] == ["snp", "tdp", "vsm"]
    assert list(made["kernel"]) == ["svsm", "stage2", "tdx-stage1"]
    assert made["kernel"]["svsm"] == {"features": "a,b"}
    assert made["firmware"] == {"env": "FW"}
    assert made["fs"]["modules"] == {"userinit": {"path": "/init"}, "one": {}, "two": {}}
    assert new(tmp_path, "s.json", "--platforms=snp", "--firmware", "fw/OVMF.fd", "--loader=none").status == 0
    made = recipe(tmp_path / "s.json")
    assert made["firmware"] == {"file": "fw/OVMF.fd"}
    assert (made["igvm"]["qemu"]["platforms"], list(made["kernel"])) == (["snp"], ["svsm"])
    assert new(tmp_path, "t.json", "--module=none", "--features=none").status == 0
    assert "fs" not in recipe(tmp_path / "t.json")


@pytest.mark.parametrize("loader", LOADERS)
def test_all_answers_make_a_valid_recipe_without_warnings(loader: str) -> None:
    platforms = [(), ("snp",), ("native",), ("tdp", "vsm"), ("native", "snp", "tdp", "vsm")]
    modules: list[tuple[str, ...]] = [(), ("userinit",), ("a", "userinit")]
    targets = [*((target,) for target in TARGETS), TARGETS]
    for target, platform, tdx, module, firmware in product(
        targets, platforms, (False, True), modules, ("", "env:FW", "f")
    ):
        text = recipe_text(Answers(target, platform, tdx, loader, "vtpm", module, firmware), "x")
        warnings: list[object] = []
        check("", text.encode(), warn=warnings.append)
        assert not warnings


def test_a_file_that_is_there_is_kept_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("mine")
    outcome = new(tmp_path, "r.json")
    assert (outcome.status, (tmp_path / "r.json").read_text()) == (2, "mine")
    assert outcome.ids == {"file-exists"} and "'r.json' " in outcome.err and "--force" in outcome.err
    assert new(tmp_path, "--force", "r.json").status == 0
    assert valid(tmp_path / "r.json")


def test_a_name_that_is_taken_is_not_the_default(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    assert new(tmp_path, "qemu").told("not-a-json-name")[0].count(" configs/qemu.json") == 1
    assert [new(tmp_path).out.split()[0] for _ in range(3)] == [
        "configs/qemu.json",
        "configs/qemu-2.json",
        "configs/qemu-3.json",
    ]


@pytest.mark.parametrize(
    ("words", "id", "said"),
    [
        (["--target=qemo"], "no-such-choice", "'qemo'; … qemu, hyper-v or vanadium …'qemu'"),
        (["--platforms", "snp,tdx"], "no-such-choice", "'tdx'; … native, snp, tdp or vsm …'tdp'"),
        (["--loader=blr"], "no-such-choice", "--loader: …'blr'…bldr, stage2…none …'bldr'"),
        (["--features=-x"], "leading-dash", "'-x' "),
        (["--module=a/b"], "wrong-module-name", "'a/b' "),
        (["--firmware=env:"], "empty-text", "env "),
        (["--platform=snp", "--tgt=x"], "no-such-option", "new … --tgt"),
        (["--force"], "wrong-words", "new: --force "),
        (["a.json", "b.json"], "wrong-words", "2 files "),
        (["RELEASE=1", "a.json"], "variable-not-used", "RELEASE: … new, …no variables"),
        (["."], "is-a-folder", "'.' "),
        (["qemu"], "not-a-json-name", "'qemu'…config/qemu.json"),
        (["my/own.jsn", "--force"], "not-a-json-name", "'my/own.jsn'…my/own.json"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_right_and_nothing_is_written(
    words: list[str], id: str, said: str, tmp_path: Path
) -> None:
    outcome = new(tmp_path, *words)
    assert (outcome.status, outcome.ids) == (2, {id})
    assert has(outcome.err, said), outcome.err
    assert list(tmp_path.iterdir()) == []


def test_only_a_recipe_in_the_checkout_names_the_schema(tmp_path: Path) -> None:
    checkout = data_path("schema").parent
    assert schema_for(checkout / "config" / "new.json") == "../schema/recipe.schema.json"
    assert schema_for(tmp_path / "r.json") is None


def test_the_shipped_recipes_name_the_schema() -> None:
    recipes = [*data_path("config").glob("*.json")]
    assert recipes
    for path in recipes:
        assert (path.parent / recipe(path)["$schema"]).resolve() == data_path("schema") / "recipe.schema.json"


def test_on_a_terminal_empty_answers_take_the_defaults(tmp_path: Path) -> None:
    with asked(tmp_path) as it:
        for question in ("Hypervisors.*: $", "TDX.*: $", "features.*: $", "modules.*: $", "firmware.*: $"):
            it.see(question)
            it.type("\n")
        it.see(r"File \[config/qemu.json\]: $")
        it.type("\n")
        it.see("config/qemu.json is written; next: ")
        assert it.status() == 0
    made = tmp_path / "config" / "qemu.json"
    assert valid(made)
    new(tmp_path, "other.json")
    assert made.read_bytes() == (tmp_path / "other.json").read_bytes()


def test_a_wrong_answer_is_asked_again_with_what_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "taken.json").write_text("mine")
    with asked(tmp_path) as it:
        answers = [
            (
                "Hypervisors",
                "hyperv",
                r"error: .*'hyperv'; .* qemu, hyper-v or vanadium .*'hyper-v'.*  \[no-such-choice\]",
            ),
            ("Hypervisors", "qemu hyper-v", ""),
            ("TDX", "perhaps", r"'perhaps' .*\[not-a-switch\]"),
            ("TDX", "y", ""),
            ("features", "-x", r"'-x' .*\[leading-dash\]"),
            ("features", "enable-gdb", ""),
            ("modules", "a=b", r"'a=b' .*\[wrong-module-name\]"),
            ("modules", "none", ""),
            ("firmware", "env:FW_FILE", ""),
            ("File", "taken.json", r"'taken.json' .*\[file-exists\]"),
            ("File", "mine", r"'mine'.* config/mine\.json .*\[not-a-json-name\]"),
            ("File", "mine.json", "mine.json is written"),
        ]
        for question, answer, said in answers:
            it.see(f"{question}.*: $")
            it.type(f"{answer}\n")
            it.see(said)
        assert it.status() == 0
    made = recipe(tmp_path / "mine.json")
    assert list(made["igvm"]) == ["qemu", "hyper-v"]
    assert "tdx-stage1" in made["kernel"]
    assert (tmp_path / "taken.json").read_text() == "mine"


@pytest.mark.parametrize(("key", "status"), [("\x03", 130), ("\x04", 2)], ids=["ctrl-c", "end of input"])
def test_who_ends_the_questions_leaves_nothing_behind(key: str, status: int, tmp_path: Path) -> None:
    with asked(tmp_path) as it:
        it.see("Hypervisors.*: $")
        it.type("\n")
        it.see("TDX.*: $")
        it.type(key)
        it.see("cancelled; nothing was written")
        assert it.status() == status
        assert "Traceback" not in it.text
    assert list(tmp_path.iterdir()) == []


def test_options_on_a_terminal_ask_nothing(tmp_path: Path) -> None:
    with asked(tmp_path, "--loader=bldr", "r.json") as it:
        it.see("^r.json is written")
        assert it.status() == 0
    with asked(tmp_path, "--target", "qemu", "s.json") as it:
        it.see("^s.json is written")
        assert it.status() == 0
