"""``doit validate``: checks recipes without a build, for people, GitHub and code scanning."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import forks
import jsonschema
import pytest
from conftest import QEMU, Outcome, environment, has

from coconut_tasks.errors import Problem
from coconut_tasks.reports.problems import Reported, as_github, as_sarif, as_text, summary

ROOT = Path(__file__).parent.parent
UNKNOWN = {**QEMU, "igvn": {}}
DUPLICATE = '{"igvm": {}, "kernel": {"svsm": {"binary": true, "binary": "no"}}}'
WARNED = deepcopy(QEMU)
WARNED["igvm"]["qemu"] |= {"platforms": ["native"], "measure": "print"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recipes of all kinds, and somebody else's dodo.py."""
    for name, content in {"good": QEMU, "unknown": UNKNOWN, "warned": WARNED}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content, indent=4))
    (tmp_path / "duplicate.json").write_text(DUPLICATE)
    (tmp_path / "broken.json").write_text('{\n  "igvm": {,}\n}\n')
    (tmp_path / "dodo.py").write_text("raise RuntimeError('nobody may load this')")
    return tmp_path


def validate(folder: Path, *words: str) -> Outcome:
    argv = [sys.executable, "-m", "doit", "validate", *words]
    done = forks.run(argv, folder, environment(folder))
    assert "Traceback" not in done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_valid_recipes_end_with_0_in_any_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outcome = validate(folder, "good.json")
    assert (outcome.status, outcome.out, outcome.err) == (0, "1 recipe is valid\n", "")
    elsewhere = tmp_path_factory.mktemp("empty")
    outcome = validate(elsewhere, *(str(path) for path in (ROOT / "config").glob("*.json")))
    assert (outcome.status, outcome.out) == (0, "5 recipes are valid\n")
    assert list(elsewhere.iterdir()) == []


def test_all_problems_of_all_files_are_told_at_once(folder: Path) -> None:
    outcome = validate(
        folder, "unknown.json", "good.json", "broken.json", "duplicate.json", "none.json", "unknown.json"
    )
    assert outcome.status == 2
    lines = [line for line in outcome.out.splitlines() if not line.startswith(" ")]
    found = [
        re.fullmatch(r"error: (\w+\.json):(\d+):(\d+): (/\S*): ([^;]+; )?(.+)  \[\S+\]", line) for line in lines[:-2]
    ]
    assert [match and match[1] for match in found] == [
        "unknown.json",
        "broken.json",
        "duplicate.json",
        "duplicate.json",
    ]
    assert "/igvn: " in lines[0] and lines[0].endswith("(did you mean 'igvm'?)  [unknown-field]")
    assert re.fullmatch(r"error: none\.json: [^:/]+  \[unreadable-file\]", lines[-2])
    assert outcome.ids == {"unknown-field", "no-json-name", "duplicate-name", "unreadable-file", "wrong-type"}
    assert lines[-1] == "5 problems in 4 of 5 recipes"


def test_a_file_that_cannot_be_read_is_named_without_a_line_of_it(folder: Path) -> None:
    (folder / "test").mkdir()
    assert validate(folder, "test").out.startswith("error: test: is a folder; ")
    assert " test/*.json  [" in validate(folder, "test", "good.json").out
    assert "'good.json'" in validate(folder, "godo.json").out
    annotation = validate(folder, "--format=github", "test").out
    assert annotation.startswith("::error file=test,line=1,col=1,title=recipe%3A unreadable-file::is a folder; ")


def test_warnings_are_told_and_do_not_fail(folder: Path) -> None:
    outcome = validate(folder, "warned.json", "good.json")
    assert outcome.status == 0
    assert outcome.out.startswith("warning: warned.json:")
    assert outcome.out.endswith("\n2 recipes are valid, 1 warning\n")


@pytest.mark.parametrize("word", ["--lenient", "LENIENT=1"])
@pytest.mark.parametrize("last", [False, True])
def test_leniency_makes_unknown_fields_warnings(word: str, last: bool, folder: Path) -> None:
    outcome = validate(folder, *sorted([word, "unknown.json"], reverse=(word[0] == "-") == last))
    assert (outcome.status, outcome.out.splitlines()[-1]) == (0, "1 recipe is valid, 1 warning")


def test_the_recipes_of_a_build_command_are_taken_too(folder: Path) -> None:
    assert validate(folder, "RECIPE=good.json,unknown.json").out.endswith("1 problem in 1 of 2 recipes\n")


def test_a_file_name_that_looks_like_a_variable_is_a_file(folder: Path) -> None:
    shutil.copy(folder / "unknown.json", folder / "a=b.json")
    assert validate(folder, "a=b.json").out.startswith("error: a=b.json:")


@pytest.mark.parametrize(
    ("words", "id", "said"),
    [
        ([], "wrong-words", "validate: …: doit validate "),
        (["--format=githb", "good.json"], "no-such-choice", "--format: …'githb'…text, github, sarif…json …'github'"),
        (["good.json", "--lenent"], "no-such-option", "validate … --lenent …'--lenient'"),
        (["good.json", "--format"], "option-and-value", " --format "),
        (["good.json", "LENIENT=maybe"], "not-a-switch", "LENIENT: 'maybe' … 1 or 0"),
        (["good.json", "RELEASE=1"], "variable-not-used", "RELEASE: … validate, … RECIPE, LENIENT"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_is_right(words: list[str], id: str, said: str, folder: Path) -> None:
    outcome = validate(folder, *words)
    assert (outcome.status, outcome.out, outcome.ids) == (2, "", {id})
    assert has(outcome.err, said), outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    command = f"{sys.executable} -m doit validate --format=sarif unknown.json | head -c 1"
    done = subprocess.run(command, shell=True, cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{", "")


def test_github_gets_an_annotation_for_each_problem(folder: Path) -> None:
    outcome = validate(folder, "--format=github", "unknown.json", "warned.json", "broken.json")
    assert outcome.status == 2
    first, second, third, last = outcome.out.splitlines()
    assert first.startswith("::error file=unknown.json,line=22,col=5,title=recipe%3A unknown-field::/igvn: ")
    assert second.startswith("::warning file=warned.json,line=")
    assert third.startswith("::error file=broken.json,line=2,col=12,title=recipe%3A no-json-name::")
    assert last == "2 problems in 2 of 3 recipes, 1 warning"


def test_github_gets_its_own_marks_escaped() -> None:
    problem = Problem("x-y", "a,b:c%.json:3:4", "/x", "100%\r", "one: or, two")
    assert as_github([Reported(problem)]) == [
        "::error file=a%2Cb%3Ac%25.json,line=3,col=4,title=recipe%3A x-y::/x: 100%25%0D; one: or, two"
    ]


# What the specification (OASIS SARIF 2.1.0, sections 3.13 to 3.49) requires of the properties used here.
_TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
_URI = {"type": "string", "pattern": "^[A-Za-z0-9._~/%:-]+$"}
_REGION = {
    "type": "object",
    "required": ["startLine"],
    "properties": {"startLine": {"type": "integer", "minimum": 1}, "startColumn": {"type": "integer", "minimum": 1}},
    "additionalProperties": False,
}
_PLACE = {
    "type": "object",
    "required": ["artifactLocation", "region"],
    "properties": {
        "artifactLocation": {"type": "object", "required": ["uri"], "properties": {"uri": _URI}},
        "region": _REGION,
    },
    "additionalProperties": False,
}
_RESULT = {
    "type": "object",
    "required": ["message", "ruleId", "level", "locations"],
    "properties": {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": _TEXT,
        "locations": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "properties": {"physicalLocation": _PLACE}, "additionalProperties": False},
        },
    },
    "additionalProperties": False,
}
_RULE = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "string"}, "shortDescription": _TEXT, "help": _TEXT},
    "additionalProperties": False,
}
_DRIVER = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "rules": {"type": "array", "uniqueItems": True, "items": _RULE},
    },
    "additionalProperties": False,
}
_RUN = {
    "type": "object",
    "required": ["tool", "results"],
    "properties": {
        "tool": {"type": "object", "required": ["driver"], "properties": {"driver": _DRIVER}},
        "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
        "results": {"type": "array", "items": _RESULT},
    },
    "additionalProperties": False,
}
SARIF = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "items": _RUN},
    },
    "additionalProperties": False,
}


def sarif(text: str) -> Any:
    log = json.loads(text)
    jsonschema.validate(log, SARIF)
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
    return run["results"]


def test_code_scanning_gets_a_log_by_the_specification(folder: Path) -> None:
    names = ["unknown.json", "warned.json", "broken.json", "duplicate.json", "none.json", "good.json"]
    outcome = validate(folder, "--format=sarif", *names)
    assert (outcome.status, outcome.err) == (2, "")
    results = sarif(outcome.out)
    assert [(result["ruleId"], result["level"]) for result in results] == [
        ("unknown-field", "error"),
        ("nothing-to-measure", "warning"),
        ("no-json-name", "error"),
        ("duplicate-name", "error"),
        ("wrong-type", "error"),
        ("unreadable-file", "error"),
    ]
    place = results[0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "unknown.json"}, "region": {"startLine": 22, "startColumn": 5}}


def test_a_log_of_valid_recipes_has_no_results(folder: Path) -> None:
    outcome = validate(folder, "--format=sarif", "good.json")
    assert (outcome.status, sarif(outcome.out)) == (0, [])


@pytest.mark.parametrize("file", ["a b/ü%,:.json", "./r.json", "../r.json", "/tmp/a b.json"])
def test_file_names_become_uris(file: str) -> None:
    (result,) = sarif(as_sarif([Reported(Problem("x-y", f"{file}:1:2", "", "wrong", "right"))], {"x-y": ("a", "b")}))
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert unquote(uri).removeprefix("file://") == file.removeprefix("./")
    assert uri.startswith("file:///") == file.startswith("/")


def test_a_summary_counts_in_words() -> None:
    error, warning = (
        Reported(Problem("x", "a:1:1", "", "y", "z")),
        Reported(Problem("x", "a:2:1", "", "y", "z"), "warning"),
    )
    assert summary([], 3) == "3 recipes are valid"
    assert summary([error, error], 3) == "2 problems in 1 of 3 recipes"
    assert summary([error, warning, warning], 1) == "1 problem in 1 of 1 recipe, 2 warnings"
    assert as_text([warning]) == ["warning: a:2:1: /: y; z  [x]"]


def test_the_pre_commit_hook_runs_this_command() -> None:
    text = (ROOT / ".pre-commit-hooks.yaml").read_text()
    assert "language: python\n  entry: doit validate\n  types: [json]\n" in text
    files = re.search(r"files: (.+)", text)
    assert files is not None
    assert [bool(re.search(files[1], name)) for name in ("config/a.json", "x/configs/a.json", "myconfig/a.json")] == [
        True,
        True,
        False,
    ]
