"""What makes which step stale, with real builds of the sample. The result must always be that of a clean build."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    OTHER_FLAGS,
    QEMU,
    Outcome,
    Site,
    at_work,
    host_triple,
    kernel_with_a_makefile,
    makefile_with_a_variable,
    remove_what_was_made,
)

from coconut_tasks.actions.perform import perform
from coconut_tasks.errors import StepError
from coconut_tasks.freshness.staleness import Cause, check_staleness, input_files, signature
from coconut_tasks.inputs.discovered import Inputs
from coconut_tasks.records.record import Record
from coconut_tasks.records.variants import KEPT
from coconut_tasks.steps.action import FirmwareImage, FsImage
from coconut_tasks.steps.command import Command
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.workspace import open_workspace

pytestmark = [pytest.mark.long, pytest.mark.freshness]
OLD = 1_500_000_000


def kernel_text(site: Site) -> Path:
    return site.tree / "kernel" / "src" / "main.rs"


def insert(path: Path, text: str) -> str:
    """The file's text with one more line at its end."""
    return path.read_text() + text


CHANGE = '\n#[used]\npub static MARK: [u8; 16] = *b"{:16}";\n'


@pytest.mark.usefixtures("release_crates")
@pytest.mark.parametrize("profile", [(), ("RELEASE=1",)])
def test_a_source_that_is_replaced_by_one_with_an_older_time_is_seen(profile: tuple[str, ...], site: Site) -> None:
    """cargo compares times and does not notice it."""
    recipe = site.recipe()
    site.build(recipe, *profile)
    path = kernel_text(site)
    new = path.with_name("new.rs")
    new.write_text(insert(path, CHANGE.format("an older file")))
    os.utime(new, (OLD, OLD))
    new.replace(path)
    outcome = site.build(recipe, *profile)
    assert outcome.built == {"kernel:svsm", "igvm:qemu", "measure:qemu", "provenance:qemu"}
    assert b"an older file" in (site.bin / "svsm").read_bytes()


def test_an_older_source_is_seen_by_a_variant_that_is_new(site: Site, registry_crates: Path, tmp_path: Path) -> None:
    """What cargo compiled for one variant is not used for another one that was never built."""
    site.target = shutil.copytree(registry_crates, tmp_path / "target")
    shared = site.tree / "common" / "src" / "lib.rs"
    site.build(site.recipe())
    shared.write_text(insert(shared, '\n#[unsafe(no_mangle)]\npub static SHARED_MARK: [u8; 8] = *b"replaced";\n'))
    os.utime(shared, (OLD, OLD))
    content = deepcopy(QEMU)
    content["kernel"]["svsm"] = {"features": "vtpm,enable-gdb"}
    site.build(site.recipe(content))
    kept = site.contents()["svsm"]
    for folder in (site.bin, site.target):
        shutil.rmtree(folder)
    shutil.copytree(registry_crates, site.target)
    site.build(site.recipe(content))
    assert site.contents()["svsm"] == kept


def same_as_clean(site: Site, *words: str) -> None:
    """A clean build has the same files."""
    kept = site.contents()
    shutil.rmtree(site.bin)
    for place in ("debug", "release", "x86_64-unknown-linux-gnu", "x86_64-unknown-none"):
        for part in (".fingerprint", "build"):
            for folder in (site.target / place).rglob(part):
                for package in folder.iterdir():
                    if package.name.startswith(("svsm", "bldr", "release", "userinit", "tdx-stage1")):
                        shutil.rmtree(package)
    site.build(*words)
    assert site.contents() == kept


@pytest.mark.parametrize("switches", [("VERBOSE=1",), ("OFFLINE=1",), ("VERBOSE=1", "OFFLINE=1")])
def test_how_tools_talk_and_how_things_are_fetched_changes_no_byte(switches: tuple[str, ...], site: Site) -> None:
    """The words are only in the commands, which the plan shows."""
    content = deepcopy(QEMU)
    content["kernel"]["tdx-stage1"] = {"type": "make", "output_file": "bin/stage1-trampoline", "objcopy": "binary"}
    recipe = site.recipe(content)
    site.build(recipe)
    outcome = site.build(recipe, *switches)
    assert (outcome.built, outcome.placed) == (set(), set())
    path = kernel_text(site)
    path.write_text(insert(path, CHANGE.format("new code")))
    words = {"VERBOSE=1": "-vv", "OFFLINE=1": "--locked --offline"}
    planned = site.build("plan", recipe, *switches).out
    assert site.build(recipe, *switches).built == KERNEL
    for text in (planned, site.log("kernel:svsm")):
        assert {switch for switch, word in words.items() if f" {word}" in text} == set(switches)
    assert site.build(recipe).built == set()
    same_as_clean(site, recipe)


SAME_KERNEL = {"kernel:svsm", "provenance:qemu"}
KERNEL = {"kernel:svsm", "igvm:qemu", "measure:qemu", "provenance:qemu"}


@pytest.mark.parametrize(
    ("name", "built"),
    [("touch", set()), ("comment", SAME_KERNEL), ("unread", SAME_KERNEL), ("code", KERNEL)],
)
def test_content_decides_how_far_a_change_of_a_source_goes(name: str, built: set[str], site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    path = kernel_text(site)
    match name:
        case "touch":
            os.utime(path)
        case "comment":  # at the end, so that no line number changes
            path.write_text(insert(path, "\n// a comment\n"))
        case "unread":
            (site.tree / "kernel" / "NOTES").write_text("cargo watches the package, so it is asked")
        case "code":
            path.write_text(insert(path, CHANGE.format("new code")))
    assert site.build(recipe).built == built
    assert site.build(recipe).built == set()
    same_as_clean(site, recipe)


@pytest.mark.parametrize(
    ("file", "old", "new", "task"),
    [
        ("kernel/svsm.lds", None, "\n/* a comment */\n", "kernel:svsm"),
        ("kernel/Cargo.toml", None, "\n[package.metadata.x]\n", "kernel:svsm"),
        (".cargo/config.toml", None, "\n[env]\nX = '1'\n", "kernel:svsm"),
        ("common/src/lib.rs", None, CHANGE.format("common"), "kernel:bldr"),
        ("boot/bldr/src/main.rs", None, CHANGE.format("loader"), "kernel:bldr"),
        ("tools/igvmmeasure/src/main.rs", None, "\n// a comment\n", "tool:igvmmeasure"),
        ("tools/igvmbuilder/src/main.rs", "fn main()", "#[inline(never)]\nfn main()", "tool:igvmbuilder"),
    ],
)  # fmt: skip
def test_every_file_that_a_build_reads_makes_it_stale(
    file: str, old: str | None, new: str, task: str, site: Site
) -> None:
    recipe = site.recipe()
    site.build(recipe)
    path = site.tree / file
    path.write_text(path.read_text().replace(old, new) if old else insert(path, new))
    assert task in site.build(recipe).built
    assert site.build(recipe).built == set()
    same_as_clean(site, recipe)


@pytest.mark.parametrize("name", ["kernel/rust-toolchain.toml", "kernel/.cargo/config.toml", "kernel/build/extra"])
def test_a_file_that_was_not_there_makes_stale_what_would_read_it(name: str, site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    path = site.tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    assert "kernel:svsm" in site.build(recipe).built
    path.unlink()
    assert "kernel:svsm" in site.build(recipe).built


def test_a_lock_file_that_cargo_itself_rewrites_is_asked_about_once_more(site: Site) -> None:
    """It changed during the build, and it is unknown who changed it."""
    recipe = site.recipe()
    site.build(recipe)
    lock = site.tree / "Cargo.lock"
    lock.write_text(insert(lock, "\n# cargo takes this line out\n"))
    first = site.build(recipe).built
    assert first
    assert not first & {"igvm:qemu", "measure:qemu"}
    assert "takes this line out" not in lock.read_text()
    assert not site.build(recipe).built & {"igvm:qemu", "measure:qemu"}
    assert site.build(recipe).built == set()


def test_a_file_outside_of_its_package_counts(site: Site) -> None:
    main = kernel_text(site)
    main.write_text(insert(main, '\n#[used]\nstatic TEXT: &[u8] = include_bytes!("../../text.txt");\n'))
    text = site.tree / "text.txt"
    text.write_text("first content")
    recipe = site.recipe()
    site.build(recipe)
    text.write_text("other content")
    assert site.build(recipe).built == KERNEL
    assert b"other content" in (site.bin / "svsm").read_bytes()


def test_a_linked_source_counts(site: Site) -> None:
    main = kernel_text(site)
    real = site.folder / "real.rs"
    shutil.move(main, real)
    main.symlink_to(real)
    recipe = site.recipe()
    site.build(recipe)
    real.write_text(insert(real, CHANGE.format("through a link")))
    assert site.build(recipe).built == KERNEL
    other = site.folder / "other.rs"
    other.write_text(insert(real, CHANGE.format("elsewhere").replace("MARK", "MARK2")))
    main.unlink()
    main.symlink_to(other)
    assert site.build(recipe).built == KERNEL
    assert b"elsewhere" in (site.bin / "svsm").read_bytes()


@pytest.mark.usefixtures("crates_of_other_flags")
@pytest.mark.parametrize("name", ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "LOGO", "WATCHED"])
def test_a_variable_that_a_build_reads_makes_it_stale(name: str, site: Site) -> None:
    main, script = kernel_text(site), site.tree / "kernel" / "build.rs"
    main.write_text(insert(main, '\n#[used]\nstatic LOGO: Option<&str> = option_env!("LOGO");\n'))
    script.write_text(
        script.read_text().replace("fn main() {", 'fn main() {\n    println!("cargo:rerun-if-env-changed=WATCHED");')
    )
    recipe = site.recipe()
    value = OTHER_FLAGS if "FLAGS" in name else "a value"
    site.build(recipe)
    assert "kernel:svsm" in site.build(recipe, env={name: value}).built
    assert site.build(recipe, env={name: value}).built == set()
    if name == "LOGO":
        assert b"a value" in (site.bin / "svsm").read_bytes()
    assert "kernel:svsm" in site.build(recipe).built


@pytest.mark.parametrize("other", [{"FLAVOUR": "1"}, {"MAKEFLAGS": "FLAVOUR=1"}, {"GNUMAKEFLAGS": "FLAVOUR=1"}])
def test_a_variable_that_a_build_scripts_makefile_reads_reaches_the_program(
    other: dict[str, str | None], site: Site
) -> None:
    kernel_with_a_makefile(site)
    recipe = site.recipe()
    first = site.build(recipe)
    assert b"profile-usual" in (site.bin / "svsm").read_bytes()
    assert site.build(recipe, env=other).built == KERNEL
    assert b"profile-other" in (site.bin / "svsm").read_bytes()
    assert site.build(recipe, env=other).built == set()
    site.build(recipe)
    assert b"profile-usual" in (site.bin / "svsm").read_bytes()
    assert site.build(recipe).digests == first.digests
    assert b"profile-usual" in (site.bin / "svsm").read_bytes()


def test_another_terminal_is_no_reason_to_build(site: Site) -> None:
    kernel_with_a_makefile(site)
    makefile = site.tree / "kernel" / "Makefile"
    makefile.write_text(makefile.read_text() + "\nPATH := $(PATH):/opt\nX := $$HOME $(SHELL) $(PWD) $(TERM)\n")
    site.build(site.recipe())
    env: dict[str, str | None] = {
        "PATH": f"{os.environ['PATH']}:/nowhere",
        "TERM": "other",
        "PWD": "/",
        "SHELL": "/bin/x",
    }
    assert site.build(site.recipe(), env=env).built == set()


def test_a_variable_of_the_recipe_that_cargo_does_not_watch_reaches_the_program(site: Site) -> None:
    kernel_with_a_makefile(site)
    content = deepcopy(QEMU)
    content["kernel"]["svsm"]["env"] = {"FLAVOUR": "1"}
    for recipe, profile in ((site.recipe(), b"usual"), (site.recipe(content, "r2.json"), b"other")):
        site.build(recipe)
        assert b"profile-" + profile in (site.bin / "svsm").read_bytes()
    assert site.build(site.recipe()).built == set()
    assert b"profile-usual" in (site.bin / "svsm").read_bytes()


def test_what_a_build_script_made_for_another_hand_is_not_taken_as_ours(site: Site) -> None:
    kernel_with_a_makefile(site)
    site.build(site.recipe())
    log = site.log("kernel:svsm")
    command = log.splitlines()[0].removeprefix("$ ").split()
    shutil.rmtree(site.bin)
    (site.tree / "kernel" / "build.rs").touch()
    assert site.run(command, env={"FLAVOUR": "1"}, cwd=site.tree).status == 0
    assert any(b"profile-other" in path.read_bytes() for path in site.target.glob("*/debug/svsm"))
    site.build(site.recipe())
    assert b"profile-usual" in (site.bin / "svsm").read_bytes()


def test_variables_that_cannot_reach_the_build_make_nothing_stale(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    free = {"CARGO_TERM_COLOR": "always", "HOME2": "x", "MAKEFLAGS": "-j3", "LANG": "C"}
    assert site.build(recipe, env={**free}).built == set()


@pytest.mark.parametrize("value", ["1", "0"])
def test_an_option_of_ours_that_the_session_exports_builds_no_half_of_it(value: str, site: Site) -> None:
    recipe = site.recipe(MAKE)
    site.build(recipe)
    outcome = site.build(recipe, env={"RELEASE": value, "FEATURES": "x", "V": value})
    assert outcome.built == set()
    for name, option in (("RELEASE", "RELEASE"), ("FEATURES", "FEATURES"), ("V", "VERBOSE")):
        (note,) = [note for note in outcome.told("variable-does-nothing") if note.startswith(f"note: {name} ")]
        assert f"'doit {option}=…'" in note
    asked = site.build(recipe, "VERBOSE=1", env={"V": value})
    assert "variable-does-nothing" not in asked.ids


def test_a_recipe_and_an_output_folder_of_the_environment_are_not_passed_over_in_silence(site: Site) -> None:
    environment: dict[str, str | None] = {"RECIPE": "x", "BIN": "x"}
    bare = site.run([sys.executable, "-m", "doit", "plan", f"SVSM={site.tree}"], environment)
    said = site.doit("plan", site.recipe(), env=environment)
    for name in environment:
        noted = [note for note in bare.told("variable-does-nothing") if note.startswith(f"note: {name} ")]
        assert len(noted) == 1 and f"'doit {name}=…'" in noted[0]
    assert "variable-does-nothing" not in said.ids


# make


MAKE: dict[str, Any] = {
    "igvm": {},
    "kernel": {"svsm": {}, "tdx-stage1": {"type": "make", "output_file": "bin/stage1-trampoline", "objcopy": "binary"}},
}


@pytest.mark.parametrize("file", ["stage1/stage1.S", "stage1/stage1.inc", "stage1/stage1.lds", "Makefile"])
def test_what_a_rule_names_makes_its_item_stale(file: str, site: Site) -> None:
    recipe = site.recipe(MAKE)
    site.build(recipe)
    path = site.tree / file
    path.write_text(insert(path, "\n" if file == "Makefile" else "\n/* a comment */\n"))
    assert site.build(recipe).built == {"kernel:tdx-stage1"}
    assert site.build(recipe).built == set()


def test_a_variable_that_a_makefile_refers_to_makes_its_item_stale(site: Site) -> None:
    makefile_with_a_variable(site)
    recipe = site.recipe(MAKE)
    site.build(recipe)
    debug = site.contents()["tdx-stage1"]
    assert site.build(recipe, env={"FLAVOUR": "1"}).built == {"kernel:tdx-stage1"}
    assert site.contents()["tdx-stage1"] != debug
    assert site.build(recipe).built == {"kernel:tdx-stage1"}
    assert site.contents()["tdx-stage1"] == debug


def test_a_made_file_of_another_hand_is_not_taken_as_ours(site: Site) -> None:
    """make compares only times, so it considers a file from `make RELEASE=1` up to date."""
    recipe = site.recipe(MAKE)
    site.build(recipe)
    good, made = site.contents(), site.tree / "bin" / "stage1-trampoline"
    ours = made.read_bytes()
    shutil.rmtree(site.bin)
    assert site.run(["make", "-B", "bin/stage1-trampoline", "RELEASE=1"], cwd=site.tree).status == 0
    assert made.read_bytes() != ours
    site.build(recipe)
    assert site.contents() == good


# Outputs


@pytest.mark.parametrize("how", ["delete", "edit", "cut", "same size and time"])
@pytest.mark.parametrize("where", ["bin", "state"])
def test_an_output_that_is_not_as_it_was_built_comes_back(how: str, where: str, site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    good = site.contents()
    (part,) = site.bin.glob(".coconut/parts/svsm-*/svsm")
    for path in (
        [site.bin / "svsm", site.bin / "q.igvm", site.bin / "q.igvm.launch-digest.json"] if where == "bin" else [part]
    ):
        content, found = path.read_bytes(), path.stat()
        match how:
            case "delete":
                path.unlink()
            case "edit":
                path.write_bytes(content + b"x")
            case "cut":
                path.write_bytes(content[: len(content) // 2])
            case _:
                path.write_bytes(b"x" + content[1:])
                os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    outcome = site.build(recipe)
    assert site.contents() == good
    if where == "bin":
        assert (outcome.built, outcome.placed) == (
            set(),
            {"kernel:svsm", "igvm:qemu", "measure:qemu", "provenance:qemu"},
        )
    else:
        assert outcome.built == {"kernel:svsm"}
    assert site.build(recipe).built == set()


# Firmware


def test_outputs_are_not_read_once_it_is_clear_that_they_are_made_anew(tmp_path: Path) -> None:
    source, output = tmp_path / "source", tmp_path / "output"
    for path in (source, output):
        path.write_text("first")
    action = FirmwareImage(None, "source", None, "output")
    step = Step("firmware", "env", "0" * 12, "", action, ("source",), ("output",))
    workspace = open_workspace(str(tmp_path), str(tmp_path / "bin"), {})
    files = {path: (None, workspace.files.digest(str(path)) or "") for path in (source, output)}
    record = Record(
        signature(step, Inputs(), workspace), Inputs(), {str(source): files[source]}, {"output": files[output]}, {}
    )
    source.write_text("second")
    output.write_text("a user's")
    for brief, causes in ((False, [Cause.INPUT_CHANGED, Cause.OUTPUT_CHANGED]), (True, [Cause.INPUT_CHANGED])):
        workspace = open_workspace(str(tmp_path), str(tmp_path / "bin"), {})
        verdict = check_staleness(step, record, input_files(step, Inputs(), workspace), workspace, brief=brief)
        assert [reason.cause for reason in verdict.reasons] == causes
        assert (workspace.files.known(str(output)) is None) == brief


def test_what_an_earlier_run_left_is_not_taken_for_what_a_command_made(tmp_path: Path) -> None:
    workspace = open_workspace(str(tmp_path), str(tmp_path / "bin"), {**os.environ})
    output = "bin/.coconut/parts/fs/fs.bin"
    action = FsImage((), "bin/.coconut/parts/fs/root", Command(("true",)), output)
    step = Step("fs", "fs", "0" * 12, "", action, (), (output,))
    (tmp_path / output).parent.mkdir(parents=True)
    (tmp_path / output).write_text("of an earlier run")
    with pytest.raises(StepError, match=output) as error:
        perform(step, workspace, first=False)
    assert error.value.id == "file-not-made"


def test_firmware_is_taken_by_content(site: Site) -> None:
    firmware = site.folder / "fw.bin"
    firmware.write_bytes(b"one" * 2000)
    recipe = site.recipe({**deepcopy(QEMU), "firmware": {"env": "FW_FILE"}})
    env: dict[str, str | None] = {"FW_FILE": "fw.bin"}
    site.build(recipe, env=env)
    firmware.touch()
    assert site.build(recipe, env=env).built == set()
    firmware.write_bytes(b"two" * 2000)
    assert site.build(recipe, env=env).built == {"firmware:guest", "igvm:qemu", "measure:qemu", "provenance:qemu"}
    # A link to another file with the same time and size, as in reproducible builds.
    for content in (b"two", b"six"):
        firmware.unlink()
        firmware.symlink_to(content.decode())
        (site.folder / content.decode()).write_bytes(content * 2000)
        os.utime(firmware, (OLD, OLD))
        changed = {"firmware:guest", "igvm:qemu", "measure:qemu", "provenance:qemu"} if content == b"six" else set()
        assert site.build(recipe, env=env).built == changed
    firmware.unlink()
    outcome = site.doit(recipe, env=env)
    (line,) = outcome.told("firmware-unusable")
    assert outcome.status == 2 and "firmware:guest: " in line and f": {firmware} " in line and "not exist" in line


def test_without_the_firmware_variable_there_is_an_image_and_a_note_in_each_run(site: Site) -> None:
    recipe = site.recipe({**deepcopy(QEMU), "firmware": {"env": "FW_FILE"}})
    first = site.build(recipe)
    second = site.build(recipe)
    for outcome in (first, second):
        (note,) = outcome.told("no-firmware")
        assert note.startswith("note: FW_FILE ") and " FW_FILE=FILE " in note
    assert second.built == set()
    without = site.build(site.recipe(QEMU))
    assert without.digests == first.digests
    (site.folder / "fw.bin").write_bytes(bytes(range(256)) * 16)
    withal = site.build(site.recipe({**deepcopy(QEMU), "firmware": {"env": "FW_FILE"}}), env={"FW_FILE": "fw.bin"})
    assert note not in withal.text
    assert withal.digests != first.digests


@pytest.mark.parametrize("how", ["configuration", "included", "variable", "reproducible"])
def test_a_default_target_does_not_reach_the_host_tools(how: str, site: Site) -> None:
    """Host tools cannot be built for this target, which the sample's configuration has."""
    configuration = site.tree / ".cargo" / "config.toml"
    default = '[build]\ntarget = "x86_64-unknown-none"\n'
    plain = configuration.read_text().replace(default, "")
    if how == "included":
        configuration.write_text(f'include = ["more.toml"]\n{plain}')
        configuration.with_name("more.toml").write_text(default)
    elif how == "variable":
        configuration.write_text(plain)
    env: dict[str, str | None] = {"CARGO_BUILD_TARGET": "x86_64-unknown-none"} if how == "variable" else {}
    words, tools = ["tool", site.recipe()], ["igvmbuilder", "igvmmeasure"]
    if how == "reproducible":  # packit needs no crates from the registry, which such a build would compile again
        recipe = site.recipe({**QEMU, "fs": {"modules": {"userinit": {"path": "/init"}}}})
        words, tools = ["tool:packit", recipe, "REPRODUCIBLE=1"], ["packit"]
    site.build(*words, env=env)
    for tool in tools:
        argv = f"$ cargo build --message-format=json-render-diagnostics --package {tool} --target {host_triple()}"
        assert argv in site.log(f"tool:{tool}")
    assert site.build(*words, env=env).built == set()


# Changes during a run


def test_an_edit_that_rustc_is_still_to_read_is_in_the_build(site: Site) -> None:
    """The script edits a source that cargo has not reached yet. Sources that rustc has read: test_settling, test_cargo_freshness."""
    script = site.tree / "kernel" / "build.rs"
    edit = r"\n#[used]\nstatic EDITED: [u8; 8] = *b\"in time!\";\n"
    script.write_text(
        script.read_text().replace(
            "fn main() {",
            'fn main() {\n    println!("cargo:rerun-if-changed=build.rs");\n'
            '    let main = std::fs::read_to_string("src/main.rs").unwrap();\n'
            f'    if !main.contains("EDITED") {{ std::fs::write("src/main.rs", main + "{edit}").unwrap(); }}',
        )
    )
    recipe = site.recipe()
    site.build(recipe)
    assert b"in time!" in (site.bin / "svsm").read_bytes()
    assert site.build(recipe).built == set()


# Queries and failures


def test_cargo_can_be_asked_for_every_item_and_content_decides(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    outcome = site.build(recipe, "ASK_CARGO=1")
    assert outcome.built == {"kernel:svsm", "kernel:bldr", "tool:igvmbuilder", "tool:igvmmeasure"}


@pytest.mark.parametrize("words", [(), ("run", "--continue")])
def test_a_failure_and_its_repair_build_nothing_else_again(words: tuple[str, ...], site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    main = kernel_text(site)
    good = main.read_text()
    main.write_text(good + "this is no Rust")
    assert site.doit(*words, recipe).status == 1
    main.write_text(good)
    assert site.build(recipe).built == {"kernel:svsm"}


def test_of_each_step_the_variants_that_were_built_last_are_kept(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    state = site.bin / ".coconut"
    (first,) = (state / "parts").glob("qemu-*")
    # As if many had been built since then; building each would take a minute.
    with closing(sqlite3.connect(state / "state.sqlite3")) as store, store:
        (data,) = store.execute("select data from records where record like 'igvm:qemu#%'").fetchone()
        for number in range(KEPT):
            key = f"{number:012}"
            copied = data.replace(first.name, f"qemu-{key}")
            values = (f"igvm:qemu#{key}", hashlib.sha256(copied.encode()).hexdigest(), copied)
            store.execute("insert into records values (?, ?, ?)", values)
            shutil.copytree(first, state / "parts" / f"qemu-{key}")
            (state / "logs" / f"igvm-qemu-{key}.log").touch()
    # From records that were moved aside, and from a variant that failed.
    for key in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"):
        (state / "parts" / f"qemu-{key}").mkdir()
        (state / "logs" / f"igvm-qemu-{key}.log").touch()
    (state / "links" / "igvm-qemu-aaaaaaaaaaaa.json").touch()
    (state / "parts" / "qemu-x-000000000000").mkdir()
    # Building a known variant removes nothing, even after an edit.
    main = kernel_text(site)
    main.write_text(insert(main, CHANGE.format("an edit")))
    site.build(recipe)
    assert len(list((state / "parts").glob("qemu-*"))) == KEPT + 4
    other = deepcopy(QEMU)
    other["igvm"]["qemu"]["policy"] = "0x30001"
    site.build(site.recipe(other))
    kept = {path.name for path in (state / "parts").glob("qemu-*")} - {"qemu-x-000000000000"}
    assert len(kept) == KEPT
    assert first.name in kept  # it was built second to last
    assert not kept & {"qemu-000000000000", "qemu-000000000001", "qemu-aaaaaaaaaaaa"}
    assert (state / "parts" / "qemu-x-000000000000").exists()  # of another step
    logs = {path.name for path in (state / "logs").glob("igvm-qemu-*")}
    assert len(logs) == KEPT + 1
    assert "igvm-qemu-bbbbbbbbbbbb.log" in logs
    assert not (state / "links" / "igvm-qemu-aaaaaaaaaaaa.json").exists()
    assert len(list((state / "parts").glob("svsm-*"))) == 1
    assert site.build(site.recipe()).built == set()


# Places


def test_two_trees_with_one_output_folder_do_not_mix(site: Site) -> None:
    other = site.folder / "other"
    shutil.copytree(site.tree, other, ignore=shutil.ignore_patterns("bin"))
    main = other / "kernel" / "src" / "main.rs"
    main.write_text(insert(main, CHANGE.format("the other tree")))
    recipe = site.recipe()
    site.build(recipe)
    first = site.contents()
    site.tree_name = "other"
    site.build(recipe)
    assert b"the other tree" in (site.bin / "svsm").read_bytes()
    site.tree_name = "svsm"
    again = site.build(recipe)
    assert again.built == set()
    assert site.contents() == first


def test_names_with_blanks_and_other_letters(site: Site) -> None:
    tree = site.folder / "der Baum ü"
    shutil.copytree(site.tree, tree, ignore=shutil.ignore_patterns("bin"))
    site.tree_name = tree.name
    recipe = site.recipe(name="mein rezept é.json")
    (tree / "kernel" / "letra_ñ.txt").write_text("")
    words = (recipe, "BIN=sälida")
    plain: dict[str, str | None] = dict.fromkeys(("LANG", "LC_CTYPE", "PYTHONUTF8", "PYTHONIOENCODING"))
    in_c, in_utf8 = {**plain, "LC_ALL": "C"}, {**plain, "LC_ALL": "C.UTF-8"}
    assert site.build(*words, env=in_c).built >= KERNEL
    papers = (site.folder / "sälida" / "q.igvm.provenance.json").read_text()
    assert "kernel/letra_ñ.txt" in json.dumps(json.loads(papers), ensure_ascii=False)
    for env in (in_c, in_utf8):
        again = site.build(*words, env=env)
        assert again.built == set() and "; mein rezept é.json; " in again.out
        planned = json.loads(site.build("plan", "--json", *words, env=env).out)["steps"]
        assert {step["fate"] for step in planned} == {"up-to-date"}
        for report in ("graph", "timeline"):
            assert "sälida/" in site.build(report, *words, env=env).text
    (tree / "kernel" / "letra_ñ.txt").write_text("x")
    assert "kernel:svsm runs: kernel/letra_ñ.txt changed" in site.build("why", *words, env=in_c).out
    assert "kernel:svsm" in site.build(*words, env=in_c).built
    assert site.build(*words, env=in_utf8).built == set()
    in_ascii = site.doit(*words, env={**in_c, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert (in_ascii.status, in_ascii.built) == (2, set())
    (line,) = in_ascii.told("wrong-locale")
    assert " ascii " in line and " LC_ALL=C.UTF-8, " in line


# Records


@pytest.mark.parametrize("name", ["state.sqlite3", "valid.json", "toolchains.json", "made.json", "lock"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff garbage", b"[]", b"null", b'{"a": 1}'])
def test_damaged_state_is_no_traceback_and_no_wrong_up_to_date(name: str, content: bytes, site: Site) -> None:
    recipe = site.recipe(MAKE)
    site.build("kernel:tdx-stage1", recipe)
    for end in ("", "-wal", "-shm"):
        (site.bin / ".coconut" / f"{name}{end}").unlink(missing_ok=True)
    (site.bin / ".coconut" / name).write_bytes(content)
    source = site.tree / "stage1" / "stage1.S"
    source.write_text(insert(source, "\n/* a comment */\n"))
    outcome = site.build("kernel:tdx-stage1", recipe)
    assert "kernel:tdx-stage1" in outcome.built
    assert site.build("kernel:tdx-stage1", recipe).built == set()


@pytest.mark.parametrize("content", [b"", b"\x00\xff garbage"])
def test_damaged_notes_on_cargos_artifacts_cost_a_compilation_and_nothing_else(content: bytes, site: Site) -> None:
    remove_what_was_made(site.tree)
    recipe = site.recipe()
    first = site.build(recipe)
    notes = site.target / ".coconut-tasks.sqlite3"
    notes.write_bytes(content)
    again = site.build(recipe, "ASK_CARGO=1")
    # make's files in the source may now be the user's, so they are reported.
    assert again.built == {"kernel:svsm", "kernel:bldr", "tool:igvmbuilder", "tool:igvmmeasure", "provenance:qemu"}
    assert "cargo clean" in site.log("kernel:svsm")
    assert again.digests == first.digests
    assert site.build(recipe).built == set()


REFUSALS = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static int refused(int file, const char *state) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    long length = readlink(link, path, sizeof path);
    const char *disk = getenv("DISK"), *is = getenv("DISK_IS");
    return disk && is && !strcmp(is, state) && length >= (long)strlen(disk) && !strncmp(path, disk, strlen(disk));
}
#define WRITES(name, number, words, ...) \\
    long name words { if (refused(to, "full")) { errno = ENOSPC; return -1; } return syscall(number, __VA_ARGS__); }
WRITES(write, SYS_write, (int to, const void *data, size_t size), to, data, size)
WRITES(writev, SYS_writev, (int to, const void *data, int parts), to, data, parts)
WRITES(pwrite, SYS_pwrite64, (int to, const void *data, size_t size, off_t at), to, data, size, at)
WRITES(pwrite64, SYS_pwrite64, (int to, const void *data, size_t size, off_t at), to, data, size, at)
WRITES(sendfile, SYS_sendfile, (int to, int from, off_t *at, size_t size), to, from, at, size)
WRITES(sendfile64, SYS_sendfile, (int to, int from, off_t *at, size_t size), to, from, at, size)
WRITES(copy_file_range, SYS_copy_file_range, (int from, off_t *a, int to, off_t *b, size_t size, unsigned flags),
       from, a, to, b, size, flags)
static int read_only(int folder, const char *path) {
    int file = syscall(SYS_openat, folder, path, O_PATH);
    char parent[4096];
    snprintf(parent, sizeof parent, "%s", path);
    char *end = strrchr(parent, '/');
    if (end) *end = 0;
    if (file < 0) file = syscall(SYS_openat, folder, end ? parent : ".", O_PATH);
    int found = file >= 0 && refused(file, "read-only");
    close(file);
    return found;
}
#define OPENS(name, words, folder) \\
    int name words { \\
        va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); \\
        if (flags & (O_WRONLY | O_RDWR | O_CREAT) && read_only(folder, path)) { errno = EROFS; return -1; } \\
        return syscall(SYS_openat, folder, path, flags, mode); }
OPENS(open, (const char *path, int flags, ...), AT_FDCWD)
OPENS(open64, (const char *path, int flags, ...), AT_FDCWD)
OPENS(openat, (int in, const char *path, int flags, ...), in)
OPENS(openat64, (int in, const char *path, int flags, ...), in)
"""
"""The kernel's errors for files on a full or read-only disk, for use where no disk can be mounted."""
ENTER = ["nsenter", "--mount", *(["--user", "--preserve-credentials"] if os.geteuid() else []), "--wd=.", "--target"]
UNSHARE = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() else [])]


@pytest.fixture(params=["mounted", "pretended"])
def with_disk(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[Callable[..., Outcome]]:
    """Run a command while the folder ``disk`` is a disk that is full, no longer full, or read-only.

    It is mounted in a namespace of its own, for which root is not needed where a user may have a namespace of users. Where nothing can be
    mounted, as in most containers, both parameters are the same.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    mountable = subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True)
    if request.param == "mounted" and mountable.returncode == 0:
        wait = ["sh", "-c", 'mount -t tmpfs tmpfs "$0" && touch mounted && exec sleep infinity', str(disk)]
        with at_work([*UNSHARE, *wait], tmp_path, os.environ) as process:
            deadline = time.monotonic() + 30
            while not (tmp_path / "mounted").exists():
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.01)
            enter = [*ENTER, str(process.pid)]

            def run(state: str, *argv: str) -> Outcome:
                options = {"full": "rw,size=200k", "usual": "rw,size=200m", "read-only": "ro"}[state]
                # By default, mount repeats the owner that it finds, whose number does not exist in the namespace.
                remount = ["mount", "--options-mode", "ignore", "-o", f"remount,{options}", str(disk)]
                done = site.run([*enter, *remount])
                assert done.status == 0, done.text
                return site.run([*enter, *argv])

            yield run
    else:
        (tmp_path / "refusals.c").write_text(REFUSALS)
        library = str(tmp_path / "refusals.so")
        subprocess.run(["cc", "-O1", "-w", "-shared", "-fPIC", "-o", library, "refusals.c"], cwd=tmp_path, check=True)
        preloaded: dict[str, str | None] = {"LD_PRELOAD": library, "DISK": f"{disk}/"}
        yield lambda state, *argv: site.run(list(argv), {**preloaded, "DISK_IS": state})


def test_a_full_disk_is_told_and_leaves_no_wrong_record(
    with_disk: Callable[..., Outcome], site: Site, tmp_path: Path
) -> None:
    argv = site.argv(site.recipe(), f"BIN={tmp_path / 'disk' / 'out'}")
    outcome = with_disk("full", *argv)
    assert outcome.status in (1, 2), outcome.text
    assert "No space left on device" in outcome.text or "is full" in outcome.text
    done = with_disk("usual", *argv)
    assert done.status == 0, done.text
    assert "out/q.igvm: " in done.out
    assert with_disk("usual", *argv).built == set()
    source = kernel_text(site)
    source.write_text(insert(source, CHANGE.format("read only")))
    read_only = with_disk("read-only", *argv)
    assert read_only.status in (1, 2), read_only.text
    (line,) = read_only.told("records-not-writable")
    assert str(tmp_path / "disk" / "out") in line and " BIN=PATH" in line
