"""Bad input, broken tools, missing things: a clear error, the right status, and nothing lost. All with real builds of the sample."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import QEMU, Site, has

from coconut_tasks.tasks.namespace import dodo


def kernel(**fields: Any) -> dict[str, Any]:
    content = deepcopy(QEMU)
    content["kernel"]["svsm"] = fields
    return content


def firmware(**fields: Any) -> dict[str, Any]:
    return {**deepcopy(QEMU), "firmware": fields}


def path_without(folder: Path, *missing: str) -> str:
    """A PATH with everything but some programs."""
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            link = folder / program.name
            if program.name not in missing and not link.is_symlink():
                link.symlink_to(program)
    return str(folder)


# Errors before anything is built: status 2


@pytest.mark.parametrize(
    ("text", "place", "id", "nearest"),
    [
        ('{\n  "igvm": {},\n  "kernel" {}\n}', "r.json:3:12: /kernel", "missing-colon", '    "kernel" {}'),
        ('{"igvm": {}, "igvm": {}, "kernel": {"svsm": {}}}', "r.json:1:14: /igvm", "duplicate-name", ""),
        (
            '{"igvm": {"qemu": {"polcy": "0x1"}}, "kernel": {"svsm": {}}}',
            "r.json:1:20: /igvm/qemu/polcy",
            "unknown-field",
            "'policy'",
        ),
        ('{"igvm": {"qmeu": {}}, "kernel": {"svsm": {}}}', "r.json:1:11: /igvm/qmeu", "unknown-field", "'qemu'"),
        (
            '{"igvm": {}, "kernel": {"svsm": {"binary": "yes"}}}',
            "r.json:1:44: /kernel/svsm/binary",
            "wrong-type",
            "true or false",
        ),
        (
            '{"igvm": {}, "kernel": {"svsm": {}}, "firmware": {"command": []}}',
            "r.json:1:62: /firmware/command",
            "empty-list",
            "",
        ),
        (
            '{"igvm": {"qemu": {"output": "../x"}}, "kernel": {"svsm": {}}}',
            "r.json:1:30: /igvm/qemu/output",
            "path-leads-out",
            "",
        ),
        (
            '{"igvm": {"qemu": {"output": "/x"}}, "kernel": {"svsm": {}}}',
            "r.json:1:30: /igvm/qemu/output",
            "path-leads-out",
            "",
        ),
        (
            '{"igvm": {}, "kernel": {"svsm": {}}, "fs": {"modules": {"a": {"path": "/../x"}}}}',
            "r.json:1:71: /fs/modules/a/path",
            "path-leads-out",
            "",
        ),
        (
            '{"igvm": {}, "kernel": {"svsm": {}}, "fs": {"modules": {"--config": {}}}}',
            "r.json:1:57: /fs/modules/--config",
            "leading-dash",
            "",
        ),
        ('{"igvm": {}}', "r.json:1:1: /", "missing-field", "'kernel'"),
        ("", "r.json:1:1: /", "empty-file", ""),
    ],
)
def test_a_wrong_recipe_is_told_with_its_place(text: str, place: str, id: str, nearest: str, site: Site) -> None:
    (site.folder / "r.json").write_text(text)
    for words in (["RECIPE=r.json"], ["list", "RECIPE=r.json"]):
        outcome = site.doit(*words)
        assert (outcome.status, outcome.ids) == (2, {id})
        assert f"{place}: " in outcome.err and nearest in outcome.err
    assert not site.bin.exists()


def test_all_problems_of_all_recipes_are_told_at_once(site: Site) -> None:
    (site.folder / "a.json").write_text('{"igvm": {"qemu": {"polcy": "0x1", "comport": "9"}}, "kernel": {}}')
    (site.folder / "b.json").write_text("[]")
    outcome = site.doit("RECIPE=a.json,b.json,c.json")
    assert outcome.status == 2
    lines = outcome.err.splitlines()
    assert [(line.split(": ")[1], line.rpartition("  ")[2]) for line in lines] == [
        ("RECIPE", "[no-such-recipe]"),
        ("a.json:1:20", "[unknown-field]"),
        ("a.json:1:47", "[no-such-choice]"),
        ("a.json:1:64", "[missing-field]"),
        ("b.json:1:1", "[wrong-type]"),
    ]


def test_unknown_fields_are_warnings_on_demand(site: Site) -> None:
    content = deepcopy(QEMU)
    content["igvm"]["qemu"]["polcy"] = "0x1"
    recipe = site.recipe(content)
    assert site.doit("list", recipe).status == 2
    for _ in range(2):  # each time
        outcome = site.doit("plan", recipe, "LENIENT=1")
        assert (outcome.status, outcome.ids) == (0, {"unknown-field"})
        (line,) = outcome.told("unknown-field")
        assert line.startswith("warning: r.json:") and ": /igvm/qemu/polcy: " in line and "'policy'" in line


@pytest.mark.parametrize(
    ("words", "id", "told"),
    [
        (["RECIP=r.json"], "no-such-variable", "RECIP: … 'RECIPE'"),
        (["RELEASE=treu"], "not-a-switch", "RELEASE: 'treu' … 'true'"),
        (["RECIPE=rr.json"], "no-such-recipe", "RECIPE: 'rr.json': … 'r.json'"),
        (["RECIPE=."], "no-such-recipe", "RECIPE: '.': … folder"),
        (["kernel:svms", "RECIPE=r.json"], "no-such-task", "'kernel:svms' … 'kernel:svsm'"),
        (["info", "kernel:svms", "RECIPE=r.json"], "no-such-task", "'kernel:svms' … 'kernel:svsm'"),
        (["list", "kernel:svms", "RECIPE=r.json"], "no-such-task", "'kernel:svms' … 'kernel:svsm'"),
        (["forget", "kernel:svms", "RECIPE=r.json"], "no-such-task", "'kernel:svms' … 'kernel:svsm'"),
        (["clean", "kernel:svms", "RECIPE=r.json"], "no-such-task", "'kernel:svms' … 'kernel:svsm'"),
        (["run", "--no-such-option"], "no-such-option", "run … --no-such-option… 'doit run --help'"),
        (["BIN=."], "bin-holds-the-tree", "BIN: "),
        (["RECIPE=" + "r" * 300], "system-refused", "File name too long"),
        (["RECIPE=r.json", "BIN=" + "b" * 300], "system-refused", "File name too long"),
        (["-P", "process", "-n", "2", "RECIPE=r.json"], "process-runner", "-P: 'process'"),
        (["-n", "-1", "RECIPE=r.json"], "wrong-number", "-n: -1"),
        (["--backend", "sqlite3", "RECIPE=r.json"], "other-backend", "--backend: "),
        (["list", "--backend=json", "RECIPE=r.json"], "other-backend", "--backend: "),
    ],
)
def test_wrong_use_is_told_with_the_nearest_right_word(words: list[str], id: str, told: str, site: Site) -> None:
    site.recipe()
    (site.folder / "svsm" / "r.json").unlink(missing_ok=True)
    if "BIN=." in words:
        words = ["BIN=svsm"]
    outcome = site.doit(*words)
    assert (outcome.status, outcome.ids) == (2, {id}), outcome.text
    (line,) = outcome.told(id)
    assert has(line, told), line


TWO = {**deepcopy(QEMU), "kernel": {"svsm": {"manifest": "none"}}, "firmware": {"file": "no/such.fd"}}
DIGEST = "ab" * 48
DOIT = [sys.executable, "-m", "doit"]
BUILD = [sys.executable, "-c", "import sys; from coconut_tasks.commands.build import main; sys.exit(main())"]
MEASURE = [sys.executable, "-m", "coconut_tasks.commands.measure"]


@pytest.mark.parametrize(
    ("argv", "status", "ids"),
    [
        # From the command line and from recipes.
        ([*DOIT, "RECIP=x", "RELEASE=treu"], 2, ["no-such-variable", "not-a-switch"]),
        ([*DOIT, "list", "--no-such"], 2, ["no-such-option"]),
        ([*DOIT, "no-such", "neither", "RECIPE=good.json"], 2, ["no-such-task", "no-such-task"]),
        ([*DOIT, "RECIPE=bad.json,torn.json"], 2, ["unknown-field", "missing-comma"]),
        ([*DOIT, "RECIPE=none.json,bad.json"], 2, ["no-such-recipe", "unknown-field"]),
        # Errors before the first step of a run, with any reporter; and a step that fails.
        ([*DOIT, "RECIPE=two.json"], 2, ["manifest-missing", "firmware-unusable"]),
        ([*DOIT, "-r", "zero", "RECIPE=two.json"], 2, ["manifest-missing", "firmware-unusable"]),
        ([*DOIT, "verify", "version", f"EXPECT={DIGEST}", "RECIPE=good.json"], 2, ["nothing-measured"]),
        ([*DOIT, "firmware", "RECIPE=fails.json"], 1, ["command-failed"]),
        # Commands that need no dodo.py.
        ([*DOIT, "validate", "bad.json", "torn.json", "none.json"], 2, ["unknown-field", "missing-comma", "unreadable-file"]),
        ([*DOIT, "inspect", "good.json", "none.igvm"], 2, ["not-igvm", "system-refused"]),
        ([*DOIT, "diff", "good.json"], 2, ["wrong-words"]),
        ([*DOIT, "new", "--loader=none", "--module=a/b", "--firmware=-x"], 2, ["wrong-module-name"]),
        # argparse's own errors, and later ones.
        ([*BUILD], 2, ["wrong-words"]),
        ([*BUILD, "--ofline", "good.json"], 2, ["no-such-option"]),
        ([*BUILD, "good.json", "--svsm"], 2, ["option-and-value"]),
        ([*BUILD, "-n", "0", "good.json"], 2, ["wrong-number"]),
        ([*BUILD, "-f", ":x", "good.json"], 2, ["not-a-feature"]),
        ([*BUILD, "bad.json", "torn.json"], 2, ["unknown-field", "missing-comma"]),
        ([*BUILD, "two.json"], 2, ["manifest-missing", "firmware-unusable"]),
        ([*MEASURE], 2, ["wrong-words"]),
        ([*MEASURE, "--bear", "a.igvm"], 2, ["no-such-option"]),
        ([*MEASURE, "a.igvm", "b.igvm"], 2, ["wrong-words"]),
        ([*MEASURE, "--bare", "--json", "a.igvm"], 2, ["option-and-value"]),
        ([*MEASURE, "none.igvm"], 2, ["system-refused"]),
        ([*MEASURE, "good.json"], 1, ["not-igvm"]),
    ],
    ids=lambda value: " ".join(value[3 if "-c" in value or "-m" in value else 0 :]) if isinstance(value, list) else None,
)  # fmt: skip
def test_every_error_begins_with_that_word(argv: list[str], status: int, ids: list[str], site: Site) -> None:
    site.recipe(QEMU, "good.json")
    site.recipe(TWO, "two.json")
    site.recipe({**QEMU, "fwimrare": {}}, "bad.json")
    site.recipe(firmware(command=["false"]), "fails.json")
    (site.folder / "torn.json").write_text('{"igvm": {} "kernel": {}}')
    outcome = site.run(argv, {"SVSM": str(site.tree)})
    assert outcome.status == status, outcome.text
    with_id = [
        line for line in (*outcome.out.splitlines(), *outcome.err.splitlines()) if re.search(r"  \[[a-z-]+\]$", line)
    ]
    assert [line.rpartition("  ")[2] for line in with_id] == [f"[{id}]" for id in ids], outcome.text
    assert [line for line in with_id if not line.startswith("error: ")] == []
    assert "usage: " not in outcome.text


def test_the_programs_name_the_nearest_option(site: Site) -> None:
    for program, word, nearest in ((BUILD, "--ofline", "--offline"), (MEASURE, "--bear", "--bare")):
        (line,) = site.run([*program, word, "x"]).told("no-such-option")
        assert has(line, f" {word} (did you mean '{nearest}'?)")


def test_a_wrong_tree_is_an_error(site: Site) -> None:
    site.tree_name = "nowhere"
    outcome = site.doit(site.recipe())
    assert (outcome.status, outcome.ids) == (2, {"no-svsm-tree"})
    assert outcome.err.startswith("error: SVSM: 'nowhere' ")


@pytest.mark.parametrize(
    ("content", "place", "id"),
    [
        (kernel(manifest="kernle/Cargo.toml"), "kernel:svsm: … 'kernle/Cargo.toml'", "manifest-missing"),
        (firmware(file="no/such.fd"), "firmware:guest: …/no/such.fd", "firmware-unusable"),
    ],
)
def test_what_a_recipe_names_and_is_not_there_is_told_before_anything_is_built(
    content: dict[str, Any], place: str, id: str, site: Site
) -> None:
    outcome = site.doit(site.recipe(content))
    assert (outcome.status, outcome.ids) == (2, {id})
    (line,) = outcome.told(id)
    assert has(line, place), line
    assert not outcome.built
    # Steps that do not need it can still be built.
    assert site.doit("list", site.recipe(content)).status == 0
    assert site.doit("kernel:bldr", site.recipe(content)).status == 0


@pytest.mark.parametrize(
    ("value", "path", "found"),
    [
        ("fw.fd ", "{}/fw.fd ", "not exist…white space"),
        ("fw.fd\n", "{}/fw.fd\\n", "not exist…white space"),
        ("~nobody-of-that-name/fw.fd", "{}/~nobody-of-that-name/fw.fd", "not exist"),
        ("fw.fd/x", "{}/fw.fd/x", "not exist"),
        ("a-folder", "{}/a-folder", " folder"),
        ("a-pipe", "{}/a-pipe", " pipe"),
        ("/dev/null", "/dev/null", " device"),
        ("/dev/zero", "/dev/zero", " device"),
        ("a-link", "{}/a-link", "broken link"),
        ("a-loop", "{}/a-loop", " (Too many levels of symbolic links)"),
        ("an-empty", "{}/an-empty", " empty"),
        ("x" * 300, "{}/" + "x" * 300, " (File name too long)"),
    ],
)
def test_a_firmware_that_cannot_be_taken_is_told_in_one_line_before_anything_is_built(
    value: str, path: str, found: str, site: Site
) -> None:
    (site.folder / "fw.fd").write_bytes(b"firmware")
    (site.folder / "a-folder").mkdir()
    (site.folder / "an-empty").touch()
    (site.folder / "a-link").symlink_to("nowhere")
    (site.folder / "a-loop").symlink_to("a-loop")
    os.mkfifo(site.folder / "a-pipe")
    recipe = site.recipe(firmware(env="FW_FILE"))
    outcome = site.doit("firmware:guest", recipe, env={"FW_FILE": value})
    assert (outcome.status, outcome.built) == (2, set())
    (line,) = outcome.told("firmware-unusable")
    assert line.startswith("error: firmware:guest: ") and line.endswith("(from FW_FILE)")
    assert f": {path.format(site.folder)}{', ' if 'white' in found else ' ('}" in line
    assert has(line, found), line
    why = site.build("why", recipe, env={"FW_FILE": value})
    assert why.told("firmware-unusable") == [f"note: a build would fail immediately: {line.removeprefix('error: ')}"]


def test_a_firmware_that_becomes_a_pipe_is_not_waited_for(site: Site) -> None:
    image = site.folder / "fw.fd"
    image.write_bytes(b"firmware")
    recipe = site.recipe(firmware(env="FW_FILE"))
    env: dict[str, str | None] = {"FW_FILE": "~/fw.fd", "HOME": str(site.folder)}
    assert site.build("firmware:guest", recipe, env=env).built == {"firmware:guest"}
    assert site.build("firmware:guest", recipe, env=env).built == set()
    image.unlink()
    os.mkfifo(image)
    assert site.doit("firmware:guest", recipe, env=env).status == 2
    assert f"firmware:guest runs: {image} changed" in site.build("why", "firmware:guest", recipe, env=env).out


@pytest.mark.parametrize(
    ("program", "how"),
    [
        ("cargo", "https://rustup.rs"),
        ("objcopy", "apt-get install binutils"),
        ("make", "apt-get install make"),
        ("cc", "apt-get install gcc"),
    ],
)
def test_a_missing_tool_is_named_with_what_installs_it(program: str, how: str, site: Site, tmp_path: Path) -> None:
    content = deepcopy(QEMU)
    content["kernel"]["tdx-stage1"] = {"type": "make", "output_file": "bin/stage1-trampoline", "objcopy": "binary"}
    outcome = site.doit(site.recipe(content), env={"PATH": path_without(tmp_path, program)})
    assert (outcome.status, outcome.ids) == (2, {"tool-missing"}), outcome.text
    assert program in outcome.err and how in outcome.err
    assert not outcome.built
    if program == "make":
        assert site.doit("list", site.recipe(content), env={"PATH": str(tmp_path)}).status == 0


def test_a_real_tree_needs_the_bare_metal_target(site: Site) -> None:
    """Only the sample gets a stand-in for a missing target."""
    manifest = site.tree / "Cargo.toml"
    manifest.write_text(manifest.read_text().replace("sample = true", "sample = false"))
    sysroot = site.run(["rustc", "--print", "sysroot"]).out.strip()
    target = Path(sysroot) / "lib/rustlib/x86_64-unknown-none"
    outcome = site.doit("kernel:svsm", site.recipe())
    if target.exists():
        assert outcome.status == 0
    else:
        assert (outcome.status, outcome.ids) == (2, {"target-missing"})
        assert " x86_64-unknown-none" in outcome.err


def test_an_item_whose_recipe_builds_the_standard_library_needs_no_installed_target(site: Site) -> None:
    """Then cargo itself decides."""
    manifest = site.tree / "Cargo.toml"
    manifest.write_text(manifest.read_text().replace("sample = true", "sample = false"))
    content = kernel(env={"CARGO_UNSTABLE_BUILD_STD": "core,alloc"})
    outcome = site.doit("kernel:svsm", site.recipe(content))
    assert outcome.status != 2, outcome.text
    assert "target-missing" not in outcome.ids


def test_a_compiler_that_rustup_does_not_have_is_named_with_what_installs_it(site: Site) -> None:
    if site.run(["sh", "-c", "command -v rustup"]).status:
        pytest.skip("a cargo without rustup has no toolchains")
    (site.tree / "rust-toolchain.toml").write_text('[toolchain]\nchannel = "1.50.0"\n')
    outcome = site.doit("kernel:svsm", site.recipe(), env={"RUSTUP_AUTO_INSTALL": "0"})
    assert (outcome.status, outcome.ids) == (2, {"toolchain-does-not-run"})
    assert re.search(r": rustup .* \(`cargo -V` .*'1\.50\.0", outcome.err), outcome.err


def test_another_reporter_changes_nothing_but_the_report(site: Site) -> None:
    content = firmware(file="no/such.fd")
    outcome = site.doit("-r", "executed-only", site.recipe(content))
    assert outcome.status == 2
    assert outcome.ids == {"firmware-unusable"}
    assert site.doit("-r", "zero", "kernel:bldr", site.recipe()).status == 0
    assert (site.bin / ".coconut" / "lock").exists()
    assert site.doit("-r", "json", "kernel:svsm", site.recipe(kernel(features="no-such-feature"))).status == 1


def test_a_recipe_that_may_not_be_read_is_told(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """For root, nothing is unreadable, so the operating system's answer is simulated."""

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    site.recipe()
    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.chdir(site.folder)
    with pytest.raises(SystemExit) as end:
        dodo(["RECIPE=r.json", f"SVSM={site.tree}"])
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: {site.folder}/r.json: Permission denied  [system-refused]\n"


def test_an_output_folder_that_cannot_be_written_is_told(site: Site) -> None:
    script = str(Path(sys.executable).with_name("coconut-build"))
    outcome = site.run([script, "--bin", "bin", "config/qemu.json"], cwd=Path("/proc"))
    assert (outcome.status, outcome.ids) == (2, {"bin-not-writable"}), outcome.text
    assert ": /proc/bin" in outcome.err


def test_a_failure_says_how_much_was_not_reached(site: Site) -> None:
    outcome = site.doit("-n", "0", site.recipe(kernel(features="no-such-feature")))
    assert outcome.status == 1
    assert re.search(r"^\d+ built, 1 failed \(kernel:svsm\), \d+ not reached, in ", outcome.out, re.MULTILINE), (
        outcome.out
    )


def test_a_test_item_without_a_test_program_is_told_as_such(site: Site) -> None:
    content = {**deepcopy(QEMU), "fs": {"modules": {"hello": {"type": "test"}}}}
    outcome = site.doit("module:hello", site.recipe(content))
    assert (outcome.status, "program-not-made" in outcome.ids) == (1, True)
    (line,) = outcome.told("program-not-made")
    assert line.startswith("error: module:hello failed: ") and " test program" in line
    assert "required-features" not in outcome.out


def test_a_missing_toolchain_is_named_with_what_installs_it(site: Site) -> None:
    outcome = site.doit(site.recipe(kernel(type="test", toolchain="no-such-toolchain")))
    assert outcome.status == 2
    (id,) = outcome.ids & {"toolchain-missing", "toolchain-does-not-run"}  # depends on whose cargo is there
    (line,) = outcome.told(id)
    assert " 'no-such-toolchain' " in line and " no-such-toolchain" in line


# Steps that fail: status 1, the exact command, its status and its output


@pytest.mark.parametrize(
    ("content", "task", "id", "expected"),
    [
        (
            kernel(features="no-such-feature"),
            "kernel:svsm",
            "command-failed",
            [
                "exit status 101",
                "command: cargo build --message-format=json-render-diagnostics --package svsm",
                "--features no-such-feature",
                "error: ",
            ],
        ),
        (
            {**QEMU, "fs": {"modules": {"no-such-crate": {}}}},
            "module:no-such-crate",
            "command-failed",
            [
                "exit status 101",
                "command: cargo build --message-format=json-render-diagnostics --package no-such-crate",
                "error: ",
            ],
        ),
        (
            kernel(type="make", output_file="bin/no-such-rule"),
            "kernel:svsm",
            "command-failed",
            [
                "exit status 2",
                "command: env FEATURES='' FEATURES_TEST='' make bin/no-such-rule",
                "No rule to make target",
            ],
        ),
        (
            kernel(objcopy="no-such-format"),
            "kernel:svsm",
            "command-failed",
            ["exit status 1", "command: objcopy -O no-such-format --strip-debug", "objcopy: "],
        ),
        (
            firmware(command=["sh", "-c", "echo out; echo why >&2; exit 3"], file="fw"),
            "firmware:guest",
            "command-failed",
            ["exit status 3", "command: sh -c 'echo out; echo why >&2; exit 3'", "why", "out"],
        ),
        (
            firmware(command=["no-such-program"], file="fw"),
            "firmware:guest",
            "command-not-started",
            ["No such file or directory: no-such-program"],
        ),
        (
            firmware(command=["true"], file="fw"),
            "firmware:guest",
            "firmware-unusable",
            ["/fw"],
        ),
    ],
    ids=["feature", "crate", "make", "objcopy", "firmware command", "no program", "no firmware"],
)
def test_a_failed_tool_is_told_as_it_was(
    content: dict[str, Any], task: str, id: str, expected: list[str], site: Site
) -> None:
    outcome = site.doit(task, site.recipe(content))
    assert (outcome.status, id in outcome.ids) == (1, True), outcome.text
    assert f"{task} failed: " in outcome.out
    for part in expected:
        assert part in outcome.out
    assert task not in outcome.built


def source_of_tool(site: Site, name: str) -> Path:
    return site.tree / "tools" / name / "src" / "main.rs"


@pytest.mark.parametrize(
    ("tool", "code", "task", "id", "message"),
    [
        ("igvmbuilder", "fn main() {}", "igvm:qemu", "file-not-made", ""),
        (
            "igvmbuilder",
            'fn main() { let a: Vec<String> = std::env::args().collect(); std::fs::write(&a[3], b"MGVI----").unwrap(); }',
            "igvm:qemu",
            "no-igvm-made",
            "'MGVI'",
        ),
        ("igvmbuilder", "fn main() { std::process::exit(9) }", "igvm:qemu", "command-failed", "exit status 9"),
        ("igvmbuilder", "fn main() { std::process::abort() }", "igvm:qemu", "command-killed", "SIGABRT"),
        ("igvmmeasure", "fn main() {}", "measure:qemu", "no-digest-printed", ""),
        (
            "igvmmeasure",
            'fn main() { println!("Launch Digest: 12"); }',
            "measure:qemu",
            "no-digest-printed",
            "it printed: Launch Digest: 12",
        ),
        (
            "igvmmeasure",
            'fn main() { println!("Launch Digest: {}", "0A".repeat(48)); }',
            "measure:qemu",
            "digests-disagree",
            "",
        ),
        ("packit", "fn main() {}", "fs:image", "file-not-made", ""),
    ],
)  # fmt: skip
def test_a_tool_that_does_not_do_its_work_fails_its_step_and_the_last_good_files_stay(
    tool: str, code: str, task: str, id: str, message: str, site: Site
) -> None:
    recipe = site.recipe({**deepcopy(QEMU), "fs": {"modules": {"userinit": {"path": "/init"}}}})
    site.build(recipe)
    good = site.contents()
    source_of_tool(site, tool).write_text(code)
    outcome = site.doit(recipe)
    assert outcome.status == 1, outcome.text
    assert re.search(rf"^error: {task} failed: .*  \[{id}\]$", outcome.out, re.MULTILINE), outcome.out
    assert message in outcome.out
    assert "launch digest" not in outcome.out
    assert site.contents() == good
    # The next run considers nothing done.
    again = site.doit(recipe)
    assert again.status == 1
    assert f"{task} failed: " in again.out


def test_two_digests_that_disagree_are_both_told_with_their_commands_file_and_log(site: Site) -> None:
    recipe = site.recipe()
    right = site.build(recipe).digests["q.igvm"]
    source_of_tool(site, "igvmmeasure").write_text('fn main() { println!("Launch Digest: {}", "0A".repeat(48)); }')
    shutil.rmtree(site.bin)
    outcome = site.doit(recipe)
    assert outcome.status == 1
    lines = [line.strip() for line in outcome.out.splitlines()]
    assert f"igvmmeasure:   {'0a' * 48}" in lines
    assert f"coconut-tasks: {right}" in lines
    for name in ("file: ", "log: "):
        named = next(line.removeprefix(name) for line in lines if line.startswith(name))
        assert Path(named).is_file()
    theirs, ours = (shlex.split(line.removeprefix("command: ")) for line in lines if line.startswith("command: "))
    assert theirs[1:] == ["--check-kvm", theirs[2], "measure"]
    # Run by hand, our program says the same.
    assert ours[0] == "coconut-measure"
    done = site.run([sys.executable, "-m", "coconut_tasks.commands.measure", *ours[1:], "--bare"])
    assert done.out == f"{right}\n"
    assert not [name for name in site.contents() if name.startswith("q.igvm.")]


def test_a_failed_build_leaves_no_measurement_that_looks_new(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    before = site.contents()
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + "\nthis is no Rust\n")
    outcome = site.doit(recipe)
    assert outcome.status == 1
    assert "kernel:svsm failed: exit status 101" in outcome.out
    assert "this is no Rust" in outcome.out
    assert not outcome.digests
    assert site.contents() == before


def test_a_new_image_never_stands_beside_an_old_measurement(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    source_of_tool(site, "igvmmeasure").write_text("fn main() {}")
    content = deepcopy(QEMU)
    content["igvm"]["qemu"]["policy"] = "0x30001"
    assert site.doit(site.recipe(content)).status == 1
    assert "q.igvm" in site.contents()
    assert not {name for name in site.contents() if name.startswith("q.igvm.")}
    # The old recipe's image and measurement return together.
    bring = site.doit("igvm:qemu", recipe)
    assert bring.status == 0


def test_a_measurement_alone_is_not_placed_beside_another_image(site: Site) -> None:
    content = deepcopy(QEMU)
    site.build(site.recipe(content))
    content["igvm"]["qemu"]["policy"] = "0x30001"
    site.build(site.recipe(content))
    beside = site.contents()
    outcome = site.doit("run", "--single", "measure:qemu", site.recipe())
    assert (outcome.status, outcome.ids) == (1, {"another-image"})
    assert site.contents() == beside
    site.build("measure:qemu", site.recipe())
    assert site.contents().keys() == beside.keys() - {"q.igvm.provenance.json"}


def test_with_continue_the_rest_is_built_and_the_status_is_that_of_a_failed_step(site: Site) -> None:
    content = kernel(features="no-such-feature")
    outcome = site.doit("run", "--continue", site.recipe(content))
    assert outcome.status == 1, outcome.text
    assert {"kernel:bldr", "tool:igvmbuilder", "tool:igvmmeasure"} <= outcome.built
    assert "1 failed (kernel:svsm)" in outcome.out
    assert "3 not run, since they need a failed step" in outcome.out


def test_a_package_without_the_program_is_told_as_such(site: Site) -> None:
    content = deepcopy(QEMU)
    content["fs"] = {"modules": {"svsm-common": {}}}
    outcome = site.doit("module:svsm-common", site.recipe(content))
    assert (outcome.status, "program-not-made" in outcome.ids) == (1, True)
    (line,) = outcome.told("program-not-made")
    assert "'svsm-common'" in line and line.endswith(": none") and "required-features" in outcome.out


def test_a_file_in_the_way_of_the_state_folder_is_told(site: Site) -> None:
    site.bin.mkdir()
    (site.bin / ".coconut").write_text("in the way")
    outcome = site.doit("kernel:bldr", site.recipe())
    assert (outcome.status, outcome.ids) == (2, {"bin-is-no-folder"})
    assert f"BIN: '{site.bin / '.coconut'}' " in outcome.err
