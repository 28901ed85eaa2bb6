"""``--json``: each document is valid by the schema, and nothing else is on standard output."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import QEMU, Outcome, Site, at_work, environment
from jsonschema import Draft202012Validator
from test_safety import slow, wait_for

from coconut_tasks.layout import HEX
from coconut_tasks.package import data_path
from coconut_tasks.recipe.load import load_recipe
from coconut_tasks.reports.failure import failure_annotation
from coconut_tasks.reports.recipe import recipe_json
from coconut_tasks.reports.results import SCHEMA, VERSION

ROOT = Path(__file__).parent.parent
RESULTS: dict[str, Any] = json.loads((data_path("schema") / "results.schema.json").read_text())
KINDS = [one["$ref"].rpartition("/")[2] for one in RESULTS["oneOf"]]
ERROR = '\nfn wrong() -> u8 { "" }\n'


def document(outcome: Outcome, kind: str) -> Any:
    """The single document on standard output, which is valid by its part of the schema."""
    found = json.loads(outcome.out)
    assert found["schema"] == f"{SCHEMA}#{kind}", outcome.text
    check(found)
    return found


def check(found: Any) -> None:
    kind = found["schema"].partition("#")[2]
    Draft202012Validator({**RESULTS, "oneOf": [{"$ref": f"#{kind}"}]}).validate(found)
    Draft202012Validator(RESULTS).validate(found)  # it is not valid as another kind


def edit(site: Site, name: str, text: str = "\n#[used]\nstatic MORE: [u8; 3] = [1, 2, 3];\n") -> None:
    path = site.tree / name
    path.write_text(path.read_text() + text)


def by_name(found: Any) -> dict[str, Any]:
    return {step["name"]: step for step in found["steps"]}


# The schema


def objects(part: Any) -> Any:
    """All objects that a schema describes."""
    if isinstance(part, dict):
        if part.get("type") == "object":
            yield part
        for inner in part.values():
            yield from objects(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from objects(inner)


def test_the_schema_is_one_and_lets_no_unknown_field_through() -> None:
    Draft202012Validator.check_schema(RESULTS)
    assert RESULTS["$id"] == SCHEMA and RESULTS["$defs"]["version"]["const"] == VERSION
    for kind in KINDS:
        part = RESULTS["$defs"][kind]
        assert part["$anchor"] == kind and part["properties"]["schema"]["const"] == f"{SCHEMA}#{kind}"
        assert list(part["properties"])[:2] == ["schema", "version"] == part["required"][:2]
    loose = [part for part in objects(RESULTS["$defs"]) if "additionalProperties" not in part]
    assert loose == [RESULTS["$defs"]["header"]]  # each type of header has its own fields
    described = [part for part in objects(RESULTS["$defs"]) if part.get("properties")]
    assert all("description" in field or "$ref" in field or "const" in field or "type" in field
               for part in described for field in part["properties"].values())  # fmt: skip


def test_each_example_of_the_page_is_by_the_schema_and_has_every_word() -> None:
    page = (ROOT / "docs" / "json.md").read_text()
    found = {
        kind: json.loads(text)
        for kind, text in re.findall(r"\n## (\w+)\n(?:(?!\n## ).)*?```json\n(.*?)```", page, re.DOTALL)
    }
    for kind, example in found.items():
        assert example["schema"] == f"{SCHEMA}#{kind}"
        check(example)
    assert set(found) == {*KINDS} - {"inspect", "diff", "measure"}
    for words in (RESULTS["$defs"]["fate"], RESULTS["$defs"]["step"]["properties"]["result"]):
        assert all(f"| `{word}`" in page or f", `{word}` |" in page for word in words["enum"])


# Runs


def test_a_build_names_each_image_and_each_step(site: Site) -> None:
    recipe = site.recipe()
    outcome = site.doit("--json", recipe)
    found = document(outcome, "build")
    assert (outcome.status, found["status"]) == (0, 0)
    assert (found["tree"], found["recipes"]) == (str(site.tree), ["r.json"])
    (image,) = found["images"]
    data = (site.bin / "q.igvm").read_bytes()
    assert image == {
        "path": str(site.bin / "q.igvm"),
        "step": "igvm:qemu",
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "digest": (site.bin / "q.igvm.launch-digest.hex").read_text().strip(),
        "target": "qemu",
        "variant": {"release": False, "features": [], "all_features": False, "reproducible": False},
        "measurements": [
            {"platform": platform, "digest": (site.bin / f"q.igvm{HEX[platform]}").read_text().strip()}
            for platform in ("snp", "tdp")
        ],
    }
    steps = by_name(found)
    assert list(steps)[-1] == "provenance:qemu" and steps["kernel:svsm"]["stage"] == "kernel"
    assert all(step["result"] == "built" and step["reasons"] and step["message"] is None for step in found["steps"])
    assert steps["kernel:svsm"]["seconds"] > 0
    assert Path(steps["kernel:svsm"]["log"]).read_text().startswith("$ cargo build ")
    assert steps["version:git"]["log"] is None  # it starts no process
    # The usual report is on standard error.
    assert "kernel:svsm: done in " in outcome.err and "bin/q.igvm: " in outcome.err and "source: " in outcome.err

    again = document(site.build("--json", recipe), "build")
    assert again["images"] == found["images"]
    assert {(step["result"], step["seconds"], *step["reasons"]) for step in again["steps"]} == {("up-to-date", 0)}

    (site.bin / "q.igvm").unlink()
    placed = by_name(document(site.build("--json", recipe), "build"))
    assert placed["igvm:qemu"]["result"] == "placed" and "q.igvm" in placed["igvm:qemu"]["reasons"][0]

    # Only the image, which is not measured.
    alone = document(site.build("--json", "igvm:qemu", "FEATURES=enable-gdb", recipe), "build")
    (image,) = alone["images"]
    assert (image["digest"], image["variant"]["features"]) == (None, ["svsm:enable-gdb"])


def test_a_failed_step_is_told_with_its_reason_and_what_needs_it_is_not_run(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    edit(site, "kernel/src/main.rs", ERROR)
    outcome = site.doit("run", "--json", "-c", recipe)
    found = document(outcome, "build")
    assert (outcome.status, found["status"], found["images"]) == (1, 1, [])
    steps = by_name(found)
    failed, image = steps["kernel:svsm"], steps["igvm:qemu"]
    assert failed["result"] == "failed" and failed["reasons"] == ["kernel/src/main.rs changed"]
    assert "error[E0308]" in failed["message"] and failed["seconds"] > 0
    assert (image["result"], image["reasons"], image["seconds"]) == ("not-run", ["kernel:svsm failed"], 0)
    assert steps["measure:qemu"]["reasons"] == ["igvm:qemu was not run"]
    assert steps["kernel:bldr"]["result"] == "up-to-date"
    site.build("ignore", "kernel:bldr", recipe)
    steps = by_name(document(site.doit("--json", "-c", recipe), "build"))
    assert steps["kernel:bldr"]["result"] == "ignored"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_still_says_what_it_did(number: int, site: Site) -> None:
    recipe = slow(site)
    pipe = subprocess.PIPE
    argv = site.argv("-n", "2", "--json", recipe)
    with at_work(argv, site.folder, environment(site.target), stdout=pipe, stderr=pipe) as run:
        wait_for(site.tree / "started", run)
        os.kill(run.pid, number)
        out, err = run.communicate(timeout=60)
    found = document(Outcome(run.returncode, out, err), "build")
    assert found["status"] == run.returncode == 128 + number
    assert by_name(found)["firmware:guest"]["result"] == "interrupted" and found["images"] == []
    assert by_name(found)["igvm:qemu"]["result"] == "not-run"


def test_what_prevents_a_run_is_in_the_document_with_its_id(site: Site, tmp_path: Path) -> None:
    recipe = site.recipe()
    site.bin.mkdir()
    (site.bin / "q.igvm").write_text("mine")
    found = document(outcome := site.doit("--json", recipe), "errors")
    assert (outcome.status, found["status"], found["command"]) == (2, 2, "run")
    assert {error["id"] for error in found["errors"]} == {"foreign-file"} == outcome.ids
    assert str(site.bin / "q.igvm") in found["errors"][0]["message"]


@pytest.mark.parametrize(
    ("words", "id"),
    [
        (["--json", "igvm:qmeu"], "no-such-task"),
        (["run", "--json", "--nope"], "no-such-option"),
        (["why", "--json", "nope"], "no-such-task"),
        (["list", "--json", "RELESE=1"], "no-such-variable"),
        (["info", "--json"], "wrong-words"),
        (["info", "--json", "mine"], "no-step-asked"),
        (["list", "--json", "mine"], "no-step-asked"),
        (["size", "--json"], "nothing-built"),
        (["verify", "--json"], "nothing-expected"),
        (["validate", "--json"], "wrong-words"),
        (["validate", "--format=json"], "wrong-words"),
        (["inspect", "--json"], "wrong-words"),
        (["diff", "--json", "none", "none"], "system-refused"),
    ],
)  # fmt: skip
def test_wrong_use_is_a_document_too(words: list[str], id: str, site: Site) -> None:
    dodo = site.folder / "dodo.py"
    dodo.write_text(dodo.read_text() + "def task_mine():\n    return {'actions': None}\n")
    own = words[0] in ("validate", "inspect", "diff")
    argv = [sys.executable, "-m", "doit", *words] if own else site.argv(*words, site.recipe())
    outcome = site.run(argv)
    found = document(outcome, "errors")
    assert (outcome.status, found["status"]) == (2, 2)
    assert [error["id"] for error in found["errors"]] == [id]
    assert found["errors"][0]["message"] in outcome.err


def test_a_wrong_recipe_is_told_with_its_place(site: Site) -> None:
    (site.folder / "r.json").write_text('{"igvm": {"qemu": {"polcy": "0x1"}}, "kernel": {"svsm": {}}}')
    (error,) = document(site.doit("--json", "RECIPE=r.json"), "errors")["errors"]
    assert (error["id"], error["file"], error["line"], error["column"]) == ("unknown-field", "r.json", 1, 20)
    assert error["pointer"] == "/igvm/qemu/polcy"


def test_on_the_tasks_of_others_there_is_an_error(site: Site, tmp_path: Path) -> None:
    (tmp_path / "dodo.py").write_text("def task_x():\n    return {'actions': ['true']}\n")
    for words in (["--json"], ["list", "--json"], ["info", "--json", "x"]):
        outcome = site.run([sys.executable, "-m", "doit", *words], cwd=tmp_path)
        assert outcome.status == 2
        assert [error["id"] for error in document(outcome, "errors")["errors"]] == ["no-step-asked"]


def test_what_other_tasks_print_is_not_in_the_document(site: Site) -> None:
    dodo = site.folder / "dodo.py"
    dodo.write_text(
        dodo.read_text()
        + "def task_mine():\n    return {'actions': ['echo out', lambda: print('too')], 'verbosity': 2}\n"
    )
    # doit leaves its pipes to garbage collection.
    outcome = site.build("--json", "mine", "version:git", site.recipe(), env={"PYTHONWARNINGS": "ignore"})
    assert document(outcome, "build")["steps"][0]["name"] == "version:git"
    assert "out\n" in outcome.err and "too\n" in outcome.err


def test_a_run_without_json_imports_none_of_it(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    program = """
import sys
from doit.doit_cmd import DoitMain
DoitMain().run(sys.argv[1:])
print([name for name in sys.modules if name.startswith("coconut_tasks.reports") or "json_output" in name or "outcomes" in name])
"""
    for words, expected in (([], "[]"), (["--json"], "results")):
        outcome = site.run([sys.executable, "-c", program, *site.argv(*words, recipe)[3:]])
        assert expected in outcome.out.splitlines()[-1], outcome.text


# Reports


def test_why_plan_list_and_info_tell_the_same_of_a_step(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    edit(site, "kernel/src/main.rs")
    why = by_name(document(site.build("why", "--json", recipe), "why"))
    assert why["kernel:svsm"] == {
        "name": "kernel:svsm", "fate": "runs", "reasons": ["kernel/src/main.rs changed"], "because_of": [],
    }  # fmt: skip
    assert (why["igvm:qemu"]["fate"], why["igvm:qemu"]["because_of"]) == ("may-run", ["kernel:svsm"])
    assert (why["kernel:bldr"]["fate"], why["kernel:bldr"]["reasons"]) == ("up-to-date", [])
    plan = by_name(document(site.build("plan", "--json", recipe), "plan"))
    assert {name: {key: step[key] for key in why[name]} for name, step in plan.items()} == why

    listed = by_name(document(site.build("list", "--json", recipe), "list"))
    assert list(listed) == list(why)
    assert listed["kernel:svsm"].keys() == {"name", "stage", "doc"}
    states = by_name(document(site.build("list", "--json", "--status", "kernel", recipe), "list"))
    assert {name: step["fate"] for name, step in states.items()} == {"kernel:svsm": "runs", "kernel:bldr": "up-to-date"}

    info = by_name(document(site.build("info", "--json", "igvm:qemu", recipe), "info"))
    assert list(info) == ["igvm:qemu"]
    image = info["igvm:qemu"]
    assert set(image["needs"]) == {"tool:igvmbuilder", "kernel:svsm", "kernel:bldr"}
    assert image["places"] == [str(site.bin / "q.igvm")]
    output = image["outputs"][0]
    assert Path(output).read_bytes() == (site.bin / "q.igvm").read_bytes()
    assert all(os.path.isabs(path) and os.path.exists(path) for path in image["inputs"])
    (command,) = image["commands"]
    assert command["argv"][0].endswith("/igvmbuilder") and command["argv"][-1] == "qemu"
    assert {key: image[key] for key in why["igvm:qemu"]} == why["igvm:qemu"]
    assert Path(image["log"]).is_file()
    group = by_name(document(site.build("info", "--json", "--no-status", "kernel", recipe), "info"))
    assert set(group) == {"kernel:svsm", "kernel:bldr"} and "fate" not in group["kernel:svsm"]


def test_ignored_and_missing_steps_have_words_of_their_own(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    site.build("ignore", "kernel:bldr", recipe)
    (site.bin / "svsm").unlink()
    why = by_name(document(site.build("why", "--json", recipe), "why"))
    assert (why["kernel:bldr"]["fate"], why["kernel:svsm"]["fate"]) == ("ignored", "placed")


@pytest.mark.usefixtures("release_crates")
def test_sizes_are_of_the_file_that_was_built_last(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    (image,) = document(site.build("size", "--json", recipe), "size")["images"]
    assert (image["path"], image["in_bin"], image["before"]) == (str(site.bin / "q.igvm"), True, None)
    assert image["now"]["whole"] == (site.bin / "q.igvm").stat().st_size
    site.build("RELEASE=1", recipe)
    (image,) = document(site.build("size", "--json", recipe), "size")["images"]
    assert image["in_bin"] is False


def test_each_problem_of_a_recipe_has_its_place(site: Site) -> None:
    (site.folder / "wrong.json").write_text('{\n  "igvm": {"qemu": {"polcy": "0x1"}},\n  "kernel": {"svsm": {}}\n}')
    site.recipe()
    for words in (["--json"], ["--format=json"]):
        outcome = site.run([sys.executable, "-m", "doit", "validate", *words, "wrong.json", "r.json"])
        found = document(outcome, "validate")
        assert (outcome.status, found["status"], found["recipes"]) == (2, 2, ["wrong.json", "r.json"])
        (problem,) = found["problems"]
        assert problem == {
            "id": "unknown-field", "level": "error", "file": "wrong.json", "line": 2, "column": 21,
            "pointer": "/igvm/qemu/polcy", "message": problem["message"], "remedy": problem["remedy"],
        }  # fmt: skip
        assert "'polcy'" in problem["message"] and "'policy'" in problem["remedy"]
    assert (
        document(site.run([sys.executable, "-m", "doit", "validate", "--json", "r.json"]), "validate")["problems"] == []
    )


def test_verify_tells_what_was_expected_and_what_changed(site: Site) -> None:
    recipe = site.recipe()
    digest = site.build(recipe).digests["q.igvm"]
    (site.folder / "old.json").write_bytes((site.bin / "q.igvm.provenance.json").read_bytes())
    same = document(site.build("verify", "--json", recipe, f"EXPECT={digest}"), "verify")
    assert same["verified"] == [{
        "image": str(site.bin / "q.igvm"), "platform": "snp", "digest": digest, "expected": [digest], "expected_by": "EXPECT",
        "matches": True, "note": None, "changes": None,
    }]  # fmt: skip
    edit(site, "kernel/src/main.rs")
    outcome = site.doit("verify", "--json", recipe, "EXPECT=old.json")
    found = document(outcome, "verify")
    verified, for_tdx = found["verified"]
    assert (for_tdx["platform"], for_tdx["matches"]) == ("tdp", False)
    assert (outcome.status, found["status"], verified["matches"], verified["expected"]) == (1, 1, False, [digest])
    assert verified["digest"] == found["images"][0]["digest"] != digest
    assert verified["changes"]["changes"]["files"][0]["subject"] == "kernel/src/main.rs"
    assert digest in outcome.err
    edit(site, "kernel/src/main.rs", ERROR)
    failed = document(site.doit("verify", "--json", recipe, f"EXPECT={digest}"), "verify")
    assert (failed["status"], failed["verified"]) == (1, None)


def test_the_tools_for_images_have_the_same_head(site: Site) -> None:
    site.build(site.recipe())
    inspected = site.run([sys.executable, "-m", "doit", "inspect", "--json", "bin/q.igvm"])
    found = document(inspected, "inspect")
    measure = [sys.executable, "-m", "coconut_tasks.commands.measure", "--json", "--check-kvm", "bin/q.igvm"]
    measured = document(site.run(measure), "measure")
    assert measured["digest"] == found["files"][0]["launch_digest"]["digest"]
    # diff reads the output of inspect.
    (site.folder / "q.json").write_text(inspected.out)
    diff = site.run([sys.executable, "-m", "doit", "diff", "--json", "q.json", "bin/q.igvm"])
    assert (diff.status, document(diff, "diff")["same"]) == (0, True)


def test_nobody_has_to_read_to_the_end(site: Site) -> None:
    site.build(site.recipe())
    for words in (
        ["inspect", "--json", *["bin/q.igvm"] * 50],
        ["why", "--json", "SVSM=svsm", "BIN=bin", "RECIPE=r.json"],
    ):
        command = f'"{sys.executable}" -m doit {" ".join(words)} | head -c 1'
        outcome = site.run(["bash", "-c", command])
        assert (outcome.status, outcome.out) == (0, "{"), outcome.text
        assert "Broken" not in outcome.err


# Recipes


def test_coconut_build_prints_recipes_with_defaults_and_reports_on_standard_error(site: Site) -> None:
    site.recipe(name="svsm/r.json")
    script = str(Path(sys.executable).with_name("coconut-build"))
    outcome = site.run([script, "-p", "r.json"], cwd=site.tree)
    assert outcome.status == 0, outcome.text
    (recipe,) = json.loads(outcome.out)
    assert recipe["igvm"]["qemu"]["policy"] == "0x30000" and recipe["kernel"]["bldr"]["objcopy"] == "binary"
    assert "kernel:svsm: done in " in outcome.err and "launch digest " in outcome.err


RECIPES: list[Any] = [
    QEMU,
    {"igvm": {}, "kernel": {"svsm": {}}},
    {
        "igvm": {"hyper-v": {"comport": "3", "platforms": ["vsm", "native"], "no-vtom": True}},
        "kernel": {
            "svsm": {"type": "test", "toolchain": "nightly", "env": {"B": "1", "A": "2"}, "features": "a b,a"},
            "stage2": {"no_default_features": True},
            "tdx-stage1": {"type": "make", "output_file": "bin/stage1"},
        },
        "firmware": {"env": "FW_FILE", "command": ["make", "-C", "edk2"]},
        "fs": {"modules": {"userinit": {"path": "/init"}, "extra": {}}},
    },
    {"igvm": {}, "kernel": {"svsm": {}}, "firmware": {}},
    *(json.loads(path.read_text()) for path in sorted((ROOT / "config").glob("*.json"))),
]


@pytest.mark.parametrize("content", RECIPES)
def test_a_recipe_with_its_defaults_is_a_recipe_of_the_same_meaning(content: Any) -> None:
    recipe = load_recipe("r.json", json.dumps(content).encode())
    full = recipe_json(recipe)
    assert load_recipe("r.json", json.dumps(full).encode()) == recipe
    assert recipe_json(recipe) == recipe_json(load_recipe("r.json", json.dumps(full).encode()))
    assert deepcopy(full)["kernel"]["svsm"]["objcopy"] == "elf64-x86-64"


# Annotations


def test_a_failed_step_is_an_annotation_in_github_actions(site: Site) -> None:
    recipe = site.recipe()
    edit(site, "kernel/src/main.rs", ERROR)
    line = len((site.tree / "kernel/src/main.rs").read_text().splitlines())
    here: dict[str, str | None] = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(site.folder)}
    outcome = site.doit("kernel:svsm", recipe, env=here)
    (said,) = [one for one in outcome.out.splitlines() if one.startswith("::")]
    start = f"::error file=svsm/kernel/src/main.rs,line={line},col=20,title=kernel%3Asvsm failed::error[E0308]: "
    assert said.startswith(start)
    assert "kernel:svsm failed: " in outcome.out
    away: dict[str, str | None] = {"GITHUB_ACTIONS": None}
    assert "::error" not in site.doit("kernel:svsm", recipe, env=away).text
    outcome = site.doit("--json", "kernel:svsm", recipe, env=here)
    assert said in outcome.err and document(outcome, "build")


LOG = """$ cargo build
error: could not find it
warning: unused
 --> src/a.rs:1:2
\x1b[1m\x1b[91merror[E0308]\x1b[0m: mismatched 100%
   \x1b[94m--> \x1b[0msrc/b,c.rs:3:4
error[E0001]: later
 --> src/d.rs:5:6
"""


@pytest.mark.parametrize(
    ("log", "top", "said"),
    [
        (LOG, "/w", "::error file=tree/src/b%2Cc.rs,line=3,col=4,title=s%3Ap failed::error[E0308]: mismatched 100%25"),
        (LOG, "/w/tree/x", "::error title=s%3Ap failed::error[E0308]: mismatched 100%25 (src/b,c.rs:3:4)"),
        ("error: no place\n", "/w", "::error title=s%3Ap failed::exit status 1"),
        ("", "/w", "::error title=s%3Ap failed::exit status 1"),
    ],
)
def test_an_annotation_has_the_place_of_the_first_error_that_has_one(log: str, top: str, said: str) -> None:
    assert failure_annotation("s:p", "exit status 1\n  command: x", log, "/w/tree", top) == said
