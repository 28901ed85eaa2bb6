"""The main job with real builds of the sample: cargo, make, objcopy, and the sample's own tools."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import DODO, QEMU, Outcome, Site, copy_sample, has, host_triple

from coconut_tasks import __version__
from coconut_tasks.layout import CORIM, DIGEST_JSON, HEX, REFERENCE_VALUES, SIDECARS
from coconut_tasks.options import from_words
from coconut_tasks.package import data_path
from coconut_tasks.workspace.session import open_session

pytestmark = [pytest.mark.long, pytest.mark.freshness]
ALL_STEPS = {
    "version:git", "tool:igvmbuilder", "tool:igvmmeasure", "tool:packit", "kernel:svsm", "kernel:bldr", "kernel:tdx-stage1",
    "module:userinit", "module:hello", "fs:image", "firmware:guest", "igvm:qemu", "igvm:hyper-v", "measure:qemu", "measure:hyper-v",
    "provenance:qemu", "provenance:hyper-v",
}  # fmt: skip
FULL: dict[str, Any] = {
    "igvm": {
        "qemu": {"output": "q.igvm", "platforms": ["tdp", "snp", "native"], "check-kvm": True},
        "hyper-v": {"platforms": ["vsm", "snp"], "comport": "3", "no-vtom": True},
    },
    "kernel": {
        "svsm": {"features": "vtpm, enable-gdb"},
        "bldr": {"manifest": "boot/bldr/Cargo.toml", "binary": True, "objcopy": "binary"},
        "tdx-stage1": {"type": "make", "output_file": "bin/stage1-trampoline", "objcopy": "binary"},
    },
    "firmware": {"file": "fw.bin"},
    "fs": {"modules": {"userinit": {"path": "/init"}, "hello": {"path": "/bin/hello"}}},
}


def changed(*path: str, value: Any) -> dict[str, Any]:
    """The small recipe with one field set."""
    content = deepcopy(QEMU)
    place = content
    for key in path[:-1]:
        place = place.setdefault(key, {})
    place[path[-1]] = value
    return content


# The whole path


def test_a_recipe_becomes_images_and_measurements_and_a_second_run_builds_nothing(site: Site) -> None:
    (site.tree / "fw.bin").write_bytes(os.urandom(10_000))
    recipe = site.recipe(FULL)
    first = site.build(recipe)
    assert first.built == ALL_STEPS
    parts = "svsm bldr tdx-stage1 svsm-fs.bin q.igvm coconut-hyper-v.igvm"
    beside = [f"q.igvm{end}" for end in SIDECARS if end != HEX["vsm"]]
    beside += [f"coconut-hyper-v.igvm{end}" for end in SIDECARS if end != HEX["tdp"]]
    assert set(site.contents()) == {*parts.split(), *beside}
    assert set(first.digests) == {"q.igvm", "coconut-hyper-v.igvm"}

    before = site.contents()
    second = site.build(recipe)
    assert second.built == second.placed == set()
    line, images = second.out.splitlines()
    assert line.startswith(f"up to date: all 17 steps; source: {site.tree} (SVSM)")
    short = {name: digest[:16] for name, digest in first.digests.items()}
    mrtd, boot = (before[name].decode()[:16] for name in ("q.igvm.mrtd.hex", "coconut-hyper-v.igvm.boot-digest.hex"))
    q = f"bin/q.igvm {short['q.igvm']}… (MRTD {mrtd}…)"
    hyper_v = f"bin/coconut-hyper-v.igvm {short['coconut-hyper-v.igvm']}… (VBS boot digest {boot}…)"
    assert images == f"launch digests: {hyper_v}, {q}"
    assert second.err == ""
    assert site.contents() == before


def test_the_measurement_is_on_disk_with_all_that_it_depends_on(site: Site) -> None:
    content = changed("igvm", "qemu", "measure-native-zeroes", value=True)
    content["igvm"]["qemu"]["policy"] = "0x30001"
    outcome = site.build(site.recipe(content))
    igvm = site.bin / "q.igvm"
    digest = (site.bin / "q.igvm.launch-digest.hex").read_text()
    assert digest == outcome.digests["q.igvm"] + "\n"
    found = json.loads((site.bin / "q.igvm.launch-digest.json").read_text())
    tool, ours = found.pop("tool"), {"name": "coconut-tasks", "version": __version__}
    mrtd = (site.bin / "q.igvm.mrtd.hex").read_text()
    assert found == {
        "format": 2,
        "digest": digest.strip(),
        "algorithm": "sha384",
        "kind": "SEV-SNP launch digest",
        "target": "qemu",
        "platform": "snp",
        "platforms": ["snp", "tdp"],
        "policy": "0x30001",
        "check_kvm": True,
        "measure_native_zeroes": True,
        "reproducible": False,
        "checked_by": ours,
        "measurements": [
            {
                "platform": "snp", "digest": digest.strip(), "algorithm": "sha384", "kind": "SEV-SNP launch digest",
                "computed_by": [tool, ours],
            },
            {
                "platform": "tdp", "digest": mrtd.strip(), "algorithm": "sha384", "kind": "TDX MRTD",
                "computed_by": [ours], "two_pass": False,
            },
        ],
        "igvm": {
            "file": "q.igvm",
            "size": igvm.stat().st_size,
            "sha256": hashlib.sha256(igvm.read_bytes()).hexdigest(),
        },
    }  # fmt: skip
    program = site.tree / tool["command"][0]
    assert (tool["name"], tool["sha256"]) == ("igvmmeasure", hashlib.sha256(program.read_bytes()).hexdigest())
    # The command run by hand prints the same digest.
    printed = subprocess.run(tool["command"], cwd=site.tree, capture_output=True, text=True, check=True).stdout
    assert f"Launch Digest: {digest.strip().upper()}" in printed


def test_one_task_builds_just_what_it_needs(site: Site) -> None:
    (site.tree / "fw.bin").write_bytes(b"x" * 4096)
    recipe = site.recipe(FULL)
    assert site.build("kernel:tdx-stage1", recipe).built == {"version:git", "kernel:tdx-stage1"}
    assert site.build("igvm:qemu", recipe).built == ALL_STEPS - {
        "version:git", "kernel:tdx-stage1", "tool:igvmmeasure", "igvm:hyper-v", "measure:qemu", "measure:hyper-v",
        "provenance:qemu", "provenance:hyper-v",
    }  # fmt: skip
    assert set(site.contents()) == {"svsm", "bldr", "tdx-stage1", "svsm-fs.bin", "q.igvm"}


@pytest.mark.parametrize("name", sorted(path.name for path in data_path("config").glob("*.json")))
def test_our_own_recipes_work_on_the_sample(name: str, site: Site) -> None:
    outcome = site.build(f"RECIPE=config/{name}")
    targets = json.loads((data_path("config") / name).read_text())["igvm"]
    assert set(outcome.digests) == {target["output"] for target in targets.values()}
    again = site.build(f"RECIPE=config/{name}")
    assert again.built == set()


def test_with_no_recipe_the_default_is_built_and_announced(site: Site) -> None:
    outcome = site.build("igvm:qemu")
    assert "; config/qemu.json (default); debug" in outcome.err
    assert (site.bin / "coconut-qemu.igvm").exists()


def test_the_tree_that_was_taken_is_said_in_one_line(site: Site) -> None:
    recipe = site.recipe()
    assert site.doit("list", recipe).err == site.doit("why", recipe).err == ""  # nothing is built
    first = site.build(recipe, "kernel:bldr").err.splitlines()
    assert len(first) == 1
    assert first[0].startswith(f"source: {site.tree} (SVSM)")


# Every field reaches the image


@pytest.mark.parametrize(
    ("path", "value", "built"),
    [
        (("igvm", "qemu", "policy"), "0x30001", {"igvm:qemu", "measure:qemu", "provenance:qemu"}),
        (("igvm", "qemu", "comport"), "2", {"igvm:qemu", "measure:qemu", "provenance:qemu"}),
        (("igvm", "qemu", "platforms"), ["snp"], {"igvm:qemu", "measure:qemu", "provenance:qemu"}),
        (("igvm", "qemu", "no-vtom"), True, {"igvm:qemu", "measure:qemu", "provenance:qemu"}),
        (("igvm", "qemu", "measure-native-zeroes"), True, {"measure:qemu", "provenance:qemu"}),
        (("igvm", "qemu", "check-kvm"), False, {"measure:qemu", "provenance:qemu"}),
        (
            ("kernel", "svsm", "features"),
            "vtpm,enable-gdb",
            {"kernel:svsm", "igvm:qemu", "measure:qemu", "provenance:qemu"},
        ),
        (
            ("kernel", "svsm", "features"),
            "vtpm\tenable-gdb",
            {"kernel:svsm", "igvm:qemu", "measure:qemu", "provenance:qemu"},
        ),
        (
            ("kernel", "svsm", "objcopy"),
            "elf64-little",
            {"kernel:svsm", "igvm:qemu", "measure:qemu", "provenance:qemu"},
        ),
        (
            ("kernel", "svsm", "env"),
            {"CARGO_PROFILE_DEV_OPT_LEVEL": "1"},
            {"kernel:svsm", "igvm:qemu", "measure:qemu", "provenance:qemu"},
        ),
        (
            ("kernel", "tdx-stage1"),
            {"manifest": "stage1/Cargo.toml", "binary": True, "objcopy": "binary"},
            {"kernel:tdx-stage1", "igvm:qemu", "measure:qemu", "provenance:qemu"},
        ),
        (
            ("fs",),
            {"modules": {"userinit": {"path": "/init"}}},
            {"module:userinit", "tool:packit", "fs:image", "igvm:qemu", "measure:qemu", "provenance:qemu"},
        ),
        (("firmware",), {"file": "../fw.bin"}, {"firmware:guest", "igvm:qemu", "measure:qemu", "provenance:qemu"}),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else None,
)
def test_a_field_changes_the_image_or_its_measurement_and_nothing_else_is_built(
    path: tuple[str, ...], value: Any, built: set[str], site: Site
) -> None:
    (site.folder / "fw.bin").write_bytes(b"firmware" * 1000)
    site.build(site.recipe())
    before = site.contents()
    outcome = site.build(site.recipe(changed(*path, value=value)))
    assert outcome.built == built
    after = site.contents()
    assert (after["q.igvm"] != before["q.igvm"]) == ("igvm:qemu" in built)
    # The policy, other platforms' parts, and igvmmeasure's checks are not part of what SEV-SNP measures at launch.
    if path[-1] not in ("check-kvm", "policy", "platforms", "tdx-stage1"):
        assert after["q.igvm.launch-digest.hex"] != before["q.igvm.launch-digest.hex"]
    # And back: everything still exists.
    back = site.build(site.recipe())
    assert back.built == set()
    kept = {name: content for name, content in site.contents().items() if name in before}
    assert kept == before


def test_a_loader_of_an_old_recipe_works_too(site: Site) -> None:
    content = deepcopy(QEMU)
    content["kernel"] = {"svsm": {}, "stage2": {"manifest": "kernel/Cargo.toml", "binary": True, "objcopy": "binary"}}
    site.build(site.recipe(content))
    assert (site.bin / "stage2").stat().st_size > 0


def test_test_programs_are_what_cargo_names(site: Site) -> None:
    content = deepcopy(QEMU)
    content["kernel"]["svsm"] = {"type": "test", "no_default_features": True, "env": {"LINK_TEST": "1"}}
    content["fs"] = {"modules": {"uapi_tester": {"type": "test", "path": "/test/uapi_tester"}}}
    site.build(site.recipe())
    normal = site.contents()["svsm"]
    site.build(site.recipe(content))
    assert site.contents()["svsm"] != normal
    assert site.build(site.recipe(content)).built == set()


def test_a_toolchain_of_the_recipe_is_the_one_that_cargo_runs(site: Site) -> None:
    """With rustup, a toolchain by name; otherwise the installed one, by version."""
    content = deepcopy(QEMU)
    named = site.run(["sh", "-c", "rustup show active-toolchain"]).out.split()
    toolchain = named[0] if named else site.run(["rustc", "-V"]).out.split()[1]
    content["kernel"]["svsm"] = {"type": "test", "toolchain": toolchain}
    outcome = site.build("kernel:svsm", site.recipe(content))
    assert f"kernel:svsm: cargo +{toolchain} test --no-run" in outcome.out
    assert site.build("kernel:svsm", site.recipe(content)).built == set()


def test_a_toolchain_of_the_recipe_is_found_where_cargo_is_not_rustups(site: Site, tmp_path: Path) -> None:
    """As with Debian's cargo in PATH and a toolchain from rustup."""
    real = Path(site.run(["rustc", "--print", "sysroot"]).out.strip(), "bin")
    cargo = real / "cargo" if (real / "cargo").exists() else shutil.which("cargo")  # they may be installed separately
    theirs = tmp_path / "rustup" / "toolchains" / f"mine-{host_triple()}" / "bin"
    texts = {
        tmp_path
        / "bin"
        / "cargo": f'#!/bin/sh\ncase $1 in +*) echo "error: no such command: \\`$1\\`" >&2; exit 101;; esac\n'
        f'exec {cargo} "$@"\n',
        tmp_path / "bin" / "rustc": f'#!/bin/sh\nexec {real}/rustc "$@"\n',
        theirs / "cargo": f'#!/bin/sh\nexec {cargo} "$@"\n',
        theirs / "rustc": f'#!/bin/sh\ntouch {tmp_path}/asked\nexec {real}/rustc "$@"\n',
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    env: dict[str, str | None] = {
        "PATH": f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}",
        "RUSTUP_HOME": str(tmp_path / "rustup"),
    }
    content = deepcopy(QEMU)
    content["fs"] = {"modules": {"uapi_tester": {"type": "test", "toolchain": "mine", "path": "/init"}}}
    recipe = site.recipe(content)
    (site.tree / "rust-toolchain.toml").write_text('[toolchain]\nchannel = "1.50.0"\n')
    told = site.build("kernel:bldr", recipe, env=env)
    (note,) = told.told("toolchain-overlooked")
    assert note.startswith("note: ") and "'1.50.0'" in note
    (site.tree / "rust-toolchain.toml").unlink()
    assert "toolchain-overlooked" not in site.build("kernel:bldr", recipe, env=env).ids
    assert "cargo +mine test" in site.doit("plan", "module:uapi_tester", recipe, env=env).out
    (tmp_path / "asked").unlink()
    site.build("module:uapi_tester", recipe, env=env)
    assert site.log("module:uapi_tester").startswith(f"$ {theirs}/cargo test --no-run ")
    assert (tmp_path / "asked").exists()
    assert site.build("module:uapi_tester", recipe, env=env).built == set()
    # The same program cleans what cargo considers fresh by its time.
    source = site.tree / "user" / "uapi_tester" / "src" / "main.rs"
    source.write_text(source.read_text() + "// older\n")
    os.utime(source, (1e9, 1e9))
    site.build("module:uapi_tester", recipe, env=env)
    assert f"$ {theirs}/cargo clean " in site.log("module:uapi_tester")
    (theirs / "rustc").write_text(texts[theirs / "rustc"].replace("exec", "echo 'rustc 9.9.9'; exec"))
    why = site.doit("why", "module:uapi_tester", recipe, env=env)
    assert (why.status, " → 9.9.9\n" in why.out) == (0, True), why.text
    shutil.rmtree(tmp_path / "rustup" / "toolchains")
    for command in ("why", "plan", "list"):
        words = [command, recipe] if command == "list" else [command, "module:uapi_tester", recipe]
        assert site.doit(*words, env=env).status == 0
    outcome = site.doit("module:uapi_tester", recipe, env=env)
    assert (outcome.status, outcome.ids) == (2, {"toolchain-missing"})
    assert "'mine' " in outcome.err and f" {tmp_path}/bin/cargo " in outcome.err


def test_a_phony_make_item_asks_make_each_time_and_its_content_decides(site: Site) -> None:
    content = deepcopy(QEMU)
    content["kernel"]["svsm"] = {"type": "make", "output_file": "bin/test-kernel.elf"}
    first = site.build(site.recipe(content))
    assert {"kernel:svsm", "igvm:qemu"} <= first.built
    again = site.build(site.recipe(content))
    assert again.built == {"kernel:svsm"}
    assert again.digests == first.digests


# Profiles, features, recipes: nothing is overwritten


@pytest.mark.usefixtures("release_crates")
def test_build_a_then_b_then_a_again_gives_as_files_and_builds_nothing(site: Site) -> None:
    (site.tree / "fw.bin").write_bytes(b"x" * 4096)
    recipe = site.recipe(FULL)
    site.build(recipe)
    debug = site.contents()
    assert "measure:qemu" in site.build(recipe, "RELEASE=1").built
    release = site.contents()
    assert all(
        release[name] != debug[name] for name in ("svsm", "bldr", "tdx-stage1", "q.igvm", "q.igvm.launch-digest.hex")
    )
    for words, expected in (((), debug), (("RELEASE=1",), release), ((), debug)):
        outcome = site.build(recipe, *words)
        assert outcome.built == set()
        assert site.contents() == expected
        assert site.build(recipe, *words).placed == set()


def test_features_of_the_command_line_reach_their_package(site: Site) -> None:
    site.build(site.recipe())
    outcome = site.build(site.recipe(), "FEATURES=enable-gdb")
    assert outcome.built == {"kernel:svsm", "igvm:qemu", "measure:qemu", "provenance:qemu"}
    same = site.build(site.recipe(changed("kernel", "svsm", "features", value="vtpm,enable-gdb")))
    assert same.built == {"provenance:qemu"}, "the same build, asked for in another way"


def test_a_feature_that_nothing_uses_is_warned_about(site: Site) -> None:
    outcome = site.doit("plan", site.recipe(), "FEATURES=svms:enable-gdb")
    (line,) = outcome.told("unused-feature")
    assert line.startswith("warning: feature svms:enable-gdb ") and "'svsm'" in line


def test_all_features_take_the_place_of_the_recipes(site: Site) -> None:
    site.build(site.recipe())
    before = site.contents()["svsm"]
    site.build(site.recipe(), "ALL_FEATURES=1")
    assert site.contents()["svsm"] != before


def test_two_recipes_in_one_run(site: Site) -> None:
    other = changed("kernel", "svsm", "features", value="vtpm,enable-gdb")
    other["igvm"] = {"hyper-v": {"output": "h.igvm", "platforms": ["snp"]}}
    site.recipe(other, "b.json")
    outcome = site.build(site.recipe() + ",b.json")
    assert {"kernel:svsm@r", "kernel:svsm@b", "igvm:qemu", "igvm:hyper-v"} <= outcome.built
    together = site.contents()
    site.build("RECIPE=r.json")
    assert site.contents()["q.igvm"] == together["q.igvm"]
    assert site.build("RECIPE=b.json").built == set()
    assert site.contents() == together


def test_two_recipes_that_name_one_output_differently_are_an_error(site: Site) -> None:
    site.recipe(changed("igvm", "qemu", "policy", value="0x1"), "b.json")
    outcome = site.doit(site.recipe() + ",b.json")
    assert (outcome.status, outcome.ids) == (2, {"recipes-clash"})
    assert "bin/q.igvm: r and b " in outcome.err


# doit's own commands


def test_a_reader_that_goes_away_does_not_stop_the_build(site: Site) -> None:
    recipe = site.recipe()
    words = f"{sys.executable} -m doit {recipe} SVSM=svsm BIN=bin"
    outcome = site.run(["sh", "-c", f"{words} | true; {words} list --all | true"])
    assert outcome.err.count("\n") == 1, outcome.err  # the line about the source tree
    assert site.build(recipe).built == set()


def test_another_dodo_in_the_same_environment_is_just_doits(tmp_path: Path, site: Site) -> None:
    (tmp_path / "dodo.py").write_text("def task_a():\n    return {'actions': [['false']]}\n")
    outcome = site.run([sys.executable, "-m", "doit", "b"], cwd=tmp_path)
    assert outcome.status == 3
    assert outcome.err.startswith('ERROR: Invalid parameter: "b". Must be a command, task, or a target.\n')
    code = (
        "import sys, doit.doit_cmd\n"
        "doit.doit_cmd.DoitMain().run(['list'])\n"
        "print(*sorted(m for m in sys.modules if 'coconut_tasks.' in m or m == 'sqlite3'))\n"
    )
    loaded = site.run([sys.executable, "-c", code], cwd=tmp_path).out.splitlines()[-1].split()
    names = ["dataclass", "errors", "records", "records.store", "tasks", "tasks.doit_commands", "tasks.task_command"]
    assert loaded == [f"coconut_tasks.{name}" for name in names]


SURROUNDINGS = """
import gc, json, locale, os, signal, sys, threading, warnings
umask = os.umask(0)
os.umask(umask)
print(json.dumps({
    "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "warnings": [*sys.warnoptions, *map(str, warnings.filters)],
    "environment": dict(os.environ), "folder": os.getcwd(), "umask": umask, "threads": threading.active_count(),
    "files": os.listdir("/proc/self/fd"), "collects": gc.isenabled(),
    "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()], "locale": locale.setlocale(locale.LC_ALL),
    "terminal": [stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)], "errors": sys.stdout.errors,
    "buffered": [stream.line_buffering for stream in (sys.stdout, sys.stderr)],
    "modules": sorted(name for name in sys.modules if name.startswith(("coconut_tasks", "doit"))),
}))
"""


def test_a_run_of_these_tests_is_as_a_start_of_its_own(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the environment of a starting program, and what it has imported."""
    (site.folder / "dodo.py").write_text(DODO.replace("\n", SURROUNDINGS, 1))

    def found() -> list[Any]:
        outcomes = [site.doit("list", site.recipe(), env={"TERM": "dumb"}), site.doit("lits", site.recipe())]
        return [[outcome.status, outcome.err, *outcome.out.split("\n", 1)] for outcome in outcomes]

    ours = found()
    monkeypatch.setattr("forks.is_alike", lambda *_: False)
    theirs = found()
    for one, other in zip(ours, theirs, strict=True):
        assert json.loads(one.pop(2)) == json.loads(other.pop(2))
        assert one == other


def test_every_step_is_listed_with_a_line(site: Site) -> None:
    (site.tree / "fw.bin").write_bytes(b"x")
    outcome = site.build("list", "--all", site.recipe(FULL))
    # Each name has some text after it, otherwise there would be no pair.
    assert {name for name, _ in (line.split(None, 1) for line in outcome.out.splitlines())} >= ALL_STEPS
    assert not site.bin.exists()


def test_info_and_forget_take_the_variables(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    info = site.build("info", "kernel:svsm", recipe).out
    assert "\n  state    up to date\n" in info and "\n  makes    bin/svsm\n" in info
    assert "\n  cargo build --message-format=json-render-diagnostics " in info
    site.build("forget", "kernel:svsm", recipe)
    assert "kernel:svsm" in site.build(recipe).built


def test_clean_removes_just_what_was_built(site: Site) -> None:
    (site.tree / "fw.bin").write_bytes(b"x" * 4096)
    recipe = site.recipe(FULL)
    before = {path for path in site.folder.rglob("*") if path.is_file()}
    site.build(recipe)
    site.bin.joinpath("mine").write_text("keep")
    site.build("clean", recipe)
    after = {path for path in site.folder.rglob("*") if path.is_file() and ".coconut" not in path.parts}
    # The version file belongs to the source; files that make and cargo keep belong to them.
    kept = {site.bin / "mine", site.tree / "release" / "src" / "git_version.rs", site.tree / "bin" / "stage1.o"}
    assert after - before == kept
    assert before <= after
    assert list((site.bin / ".coconut").glob("parts/*")) == []
    assert site.build(recipe).built == ALL_STEPS - {"version:git"}


def test_clean_leaves_a_file_that_make_has_no_rule_for(site: Site) -> None:
    """A recipe may point at a file that is part of the source."""
    prebuilt = site.tree / "stage1" / "prebuilt.elf"
    shutil.copy("/bin/true", prebuilt)
    content = changed("kernel", "tdx-stage1", value={"type": "make", "output_file": "stage1/prebuilt.elf"})
    recipe = site.recipe(content)
    site.build("kernel:tdx-stage1", recipe)
    site.build("clean", "kernel:tdx-stage1", recipe)
    assert prebuilt.exists()
    assert not (site.bin / "tdx-stage1").exists()


@pytest.mark.parametrize("platforms", [["native"], ["vsm"], ["tdp"], ["native", "tdp", "vsm"]])
def test_a_target_without_snp_gets_no_policy_and_is_measured_for_what_it_is_for(
    platforms: list[str], site: Site
) -> None:
    outcome = site.build(site.recipe(changed("igvm", "qemu", "platforms", value=platforms)))
    assert "igvm:qemu" in outcome.built
    assert not outcome.digests and "tool:igvmmeasure" not in outcome.built
    measured = [*(HEX[platform] for platform in platforms if platform in HEX), DIGEST_JSON, REFERENCE_VALUES, CORIM]
    beside = {f"q.igvm{end}" for end in measured if platforms != ["native"]}
    assert set(site.contents()) == {"svsm", "bldr", "q.igvm", "q.igvm.provenance.json", *beside}
    if beside:  # what it does not say cannot be out of date when the recipe says something else
        told = json.loads((site.bin / f"q.igvm{DIGEST_JSON}").read_text())
        assert not {"digest", "platform", "policy", "check_kvm", "measure_native_zeroes"} & told.keys()
    assert site.build(site.recipe(changed("igvm", "qemu", "platforms", value=platforms))).built == set()


def test_a_recipe_without_targets_builds_its_parts(site: Site) -> None:
    site.build(site.recipe({**QEMU, "igvm": {}}))
    assert set(site.contents()) == {"svsm", "bldr"}


def test_features_of_a_make_item_reach_its_makefile(site: Site) -> None:
    makefile = site.tree / "Makefile"
    makefile.write_text(
        makefile.read_text()
        + "\nbin/features: FORCE | bin\n\tcp /bin/true $@\n\tprintf '%s' \"$(FEATURES);$(FEATURES_TEST)\" >> $@\n"
    )
    made = {"type": "make", "output_file": "bin/features", "features": "one two", "objcopy": "binary"}
    recipe = site.recipe(changed("kernel", "tdx-stage1", value={**made, "env": {"MORE": "1"}}))
    site.build("kernel:tdx-stage1", recipe, env={"FEATURES": "not-these"})
    assert (site.tree / "bin" / "features").read_bytes().endswith(b"one,two;one,two")
    recipe = site.recipe(changed("kernel", "tdx-stage1", value={**made, "features": ""}))
    site.build("kernel:tdx-stage1", recipe, env={"FEATURES": "not-these"})
    assert (site.tree / "bin" / "features").read_bytes().endswith(b";")


def test_the_firmwares_command_runs_first_and_its_file_wins_over_the_variable(site: Site) -> None:
    (site.folder / "env.fd").write_bytes(b"of the variable" * 300)
    content = changed(
        "firmware", value={"command": ["sh", "-c", "printf %5000s made > made.fd"], "file": "made.fd", "env": "FW_FILE"}
    )
    site.build(site.recipe(content), env={"FW_FILE": "env.fd"})
    (taken,) = site.bin.glob(".coconut/parts/firmware-*/firmware.bin")
    assert taken.read_bytes() == b"%5000s" % b"made"
    assert b"  made" in (site.bin / "q.igvm").read_bytes()


def test_a_program_by_its_binary_name(site: Site) -> None:
    content = changed("kernel", "svsm", "binary", value=True)
    content["fs"] = {"modules": {"hello": {"binary": True}}}
    outcome = site.build(site.recipe(content))
    assert {"kernel:svsm", "module:hello", "fs:image"} <= outcome.built


def test_info_of_a_stale_task_says_why_and_is_no_failure(site: Site) -> None:
    recipe = site.recipe()
    assert "\n  state    runs\n           never built\n" in site.build("info", "kernel:svsm", recipe).out
    site.build("kernel:svsm", recipe)
    (site.tree / "kernel" / "src" / "main.rs").write_text("// other")
    found = site.build("info", "kernel:svsm", recipe).out
    assert "\n  state    runs\n           kernel/src/main.rs changed\n" in found
    assert found.index("\ncommands") < found.index("\nreads:\n")
    *files, last = found.partition("\nreads:\n")[2].splitlines()
    assert files == sorted(files) and len(files) == 20
    every = json.loads(site.build("info", "--json", "kernel:svsm", recipe).out)["steps"][0]["inputs"]
    assert re.fullmatch(rf"  … and {len(every) - 20} .*--json .*", last)
    assert "state" not in site.build("info", "--no-status", "kernel:svsm", recipe).out
    # A stage means all its steps.
    stage = site.build("info", "kernel", recipe).out
    assert stage.count("\n  state    runs\n") == 2 and has(stage, "kernel:svsm: …kernel:bldr: …never built")


def test_the_commands_of_info_can_be_pasted(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    image = site.bin / "q.igvm"
    info = site.build("info", "igvm:qemu", recipe).out
    made = site.folder / info.partition("\n  keeps    ")[2].split()[0]
    assert made.read_bytes() == image.read_bytes()
    made.unlink()
    pasted = "\n".join(line for line in info.partition("\ncommands")[2].partition("\nreads:")[0].splitlines()[1:])
    assert site.run(["sh", "-ec", pasted]).status == 0
    assert made.read_bytes() == image.read_bytes()


def test_clean_names_what_it_removes_and_nothing_else(site: Site) -> None:
    recipe = site.recipe(FULL)
    (site.tree / "fw.bin").write_bytes(b"x" * 4096)
    site.build(recipe)

    def files() -> set[str]:
        return {os.path.relpath(path, site.folder) for path in site.folder.rglob("*") if path.is_file()}

    before = files()
    would = site.build("clean", "--dry-run", recipe).out.splitlines()
    assert before <= files()
    told = site.build("clean", recipe).out.splitlines()
    named = [line.removeprefix("removed ") for line in told]
    assert sorted(would) == sorted(f"would remove {name}" for name in named) and len({*named}) == len(named)
    gone = before - files()
    folders = [name for name in named if name not in gone]
    assert all(name in named or name.startswith(tuple(f"{folder}/" for folder in folders)) for name in gone)
    assert len(folders) == 1 and "/fs-" in folders[0] and not (site.folder / folders[0]).exists()
    assert {"bin/svsm", "bin/q.igvm", "bin/q.igvm.launch-digest.hex"} <= {*named}
    for words in (["clean"], ["clean", "--dry-run"]):
        assert site.build(*words, recipe).out == "nothing to remove\n"


def test_clean_goes_by_the_order_of_tasks_and_leaves_a_dodos_own_to_doit(site: Site) -> None:
    own = """
def task_own():
    return {"actions": ["true"], "targets": ["own.txt"], "task_dep": ["kernel:bldr"], "clean": True}
"""
    (site.folder / "dodo.py").write_text(DODO + own)
    recipe = site.recipe()
    site.build("kernel:bldr", recipe)
    (site.folder / "own.txt").touch()
    told = site.build("clean", "--clean-dep", "own", recipe).out.splitlines()
    assert told[:2] == ["own - removing file 'own.txt'", "removed bin/bldr"]
    assert not (site.folder / "own.txt").exists() and not (site.bin / "bldr").exists()


def test_what_clean_cannot_remove_ends_it(site: Site) -> None:
    recipe = site.recipe()
    site.build("kernel:bldr", recipe)
    (site.bin / "bldr").unlink()
    (part,) = (site.bin / ".coconut" / "parts").rglob("bldr")
    part.unlink()
    part.mkdir()
    outcome = site.doit("clean", "kernel:bldr", recipe)
    assert (outcome.status, outcome.ids) == (2, {"system-refused"}) and f"{part}: " in outcome.err
    assert part.is_dir()


def test_an_ignored_step_is_left_out_until_it_is_forgotten(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    (site.tree / "kernel" / "src" / "main.rs").write_text("// other")
    site.build("ignore", "kernel:svsm", recipe)
    assert "4 ignored (doit ignore)" in site.build(recipe).out
    site.build("forget", "kernel:svsm", recipe)
    assert site.doit(recipe).status == 1


def test_a_recipe_that_comes_with_the_package_is_not_mistaken_for_the_trees(site: Site) -> None:
    manifest = site.tree / "Cargo.toml"
    manifest.write_text(manifest.read_text().replace("sample = true", "sample = false"))
    outcome = site.doit("plan", "RECIPE=config/qemu.json")
    (note,) = outcome.told("borrowed-recipe")
    assert note.startswith("note: config/qemu.json ") and str(data_path("config/qemu.json")) in note
    assert "borrowed-recipe" not in site.doit("plan", f"RECIPE={data_path('config/qemu.json')}").ids


def test_a_dodo_may_have_tasks_of_its_own_with_files(site: Site) -> None:
    dodo, source, made = (site.folder / name for name in ("dodo.py", "in.txt", "out.txt"))
    own = """
def task_own():
    from shutil import copy
    return {"actions": [(copy, ("in.txt", "out.txt"))], "file_dep": ["in.txt"], "targets": ["out.txt"]}
"""
    dodo.write_text(DODO + own)
    source.write_text("first")
    recipe = site.recipe()
    site.build("own", recipe)
    assert made.read_text() == "first"
    first = made.stat()
    site.build("own", recipe)
    assert made.stat() == first
    source.write_text("second")
    site.build("own", recipe)
    assert made.read_text() == "second"


@pytest.mark.usefixtures("release_crates")
def test_clean_leaves_another_variants_files(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    site.build(recipe, "RELEASE=1")
    release = site.contents()
    site.build("clean", recipe)
    assert site.contents() == release


def test_a_dry_clean_removes_nothing(site: Site) -> None:
    site.build(site.recipe())
    before = site.contents()
    assert "would remove bin/q.igvm\n" in site.build("clean", "-n", site.recipe()).out
    assert site.contents() == before


# Places


def test_a_clone_elsewhere_runs_the_same_commands(tmp_path: Path) -> None:
    plans = []
    for name in ("one", "other/place"):
        copy_sample(tmp_path / name / "svsm")
        words = ["RECIPE=config/all-targets.json", "SVSM=svsm", "BIN=bin"]
        plans.append(open_session(from_words(words, os.environ, str(tmp_path / name))).plan)
    assert plans[0] == plans[1]
    assert len(plans[0].steps) > 10


def test_images_of_clean_builds_are_identical(
    tmp_path: Path, registry_crates: Path, request: pytest.FixtureRequest
) -> None:
    images: list[dict[str, bytes]] = []
    builds = request.config.getoption("--clean-builds")
    for number in range(builds):
        shutil.rmtree(tmp_path)
        copy_sample(tmp_path / "svsm")
        # The registry's crates for host tools are compiled elsewhere; in CI, with more builds, the first build compiles its own.
        if number or builds == 2:
            shutil.copytree(registry_crates, tmp_path / "target")
        (tmp_path / "dodo.py").write_text(DODO)
        clone = Site(tmp_path, tmp_path / "target")
        clone.build("RECIPE=config/all-targets.json")
        images.append({name: content for name, content in clone.contents().items() if ".igvm" in name})
    # All three are for snp and tdp, and one for vsm.
    assert len(images[0]) == 3 + 3 * (len(SIDECARS) - 1) + 1
    assert all(image == images[0] for image in images)


@pytest.mark.usefixtures("release_crates")
def test_coconut_build_in_a_checkout(site: Site) -> None:
    """The console script with xbuild's flags, called in the tree."""
    site.recipe(name="svsm/r.json")
    script = Path(sys.executable).with_name("coconut-build")

    def build(*words: str) -> Outcome:
        return site.run([str(script), *words, "r.json"], cwd=site.tree)

    first = build("-n", "2")
    assert first.status == 0, first.text
    assert first.err.startswith(f"source: {site.tree}, ") or first.err.startswith(f"source: {site.tree}; ")
    assert (site.tree / "bin" / "q.igvm").exists()
    assert build().built == set()
    release = build("-r", "-f", "enable-gdb", "-o", "-p")
    assert release.status == 0, release.text
    assert json.loads(release.out)[0]["igvm"]["qemu"]["output"] == "q.igvm"
    logs = (site.tree / "bin/.coconut/logs").glob("kernel-svsm-*.log")
    log = max(logs, key=lambda log: log.stat().st_mtime_ns).read_text()
    assert "--features vtpm,enable-gdb --release --locked --offline" in log
    # The same tasks: doit sees what the script built.
    doit = site.run([sys.executable, "-m", "doit", "-f", str(site.folder / "dodo.py"), "RECIPE=r.json"], cwd=site.tree)
    assert doit.built == set(), doit.text
    # Verbosity and how things are fetched change no byte.
    loud = build("-v", "-o")
    assert (loud.status, loud.built, loud.placed) == (0, set(), set()), loud.text
    assert build("-a").status == 0


def test_coconut_build_tells_wrong_use(site: Site) -> None:
    script = str(Path(sys.executable).with_name("coconut-build"))
    for words in ([], ["-n", "0", "r.json"], ["-f", ":x", "r.json"], ["missing.json"]):
        assert site.run([script, *words]).status == 2


def test_the_output_folder_can_be_elsewhere(site: Site, tmp_path: Path) -> None:
    site.build(site.recipe(), f"BIN={tmp_path / 'out'}")
    assert (tmp_path / "out" / "q.igvm").exists()
    assert not site.bin.exists()


def test_cargos_own_target_folder_is_found_wherever_it_is(site: Site) -> None:
    config = site.tree / ".cargo" / "config.toml"
    config.write_text(config.read_text().replace("[build]", '[build]\ntarget-dir = "elsewhere"'))
    site.build("kernel:svsm", site.recipe(), env={"CARGO_TARGET_DIR": None})
    assert (site.tree / "elsewhere").is_dir()
    shutil.rmtree(site.tree / "elsewhere")


def test_a_run_that_has_nothing_to_do_loads_only_what_it_needs(site: Site) -> None:
    recipe = site.recipe()
    for _ in range(2):
        site.build(recipe)
    code = (
        "import sys; sys.argv = ['doit', *sys.argv[1:]]\n"
        "from doit.doit_cmd import DoitMain\n"
        "assert DoitMain().run(sys.argv[1:]) == 0\n"
        "heavy = ('jsonschema', 'coconut_tasks.actions.perform', 'coconut_tasks.recipe.rules', 'coconut_tasks.recipe.schema',\n"
        "         'coconut_tasks.recipe.positions', 'cbor2', 'in_toto_attestation', 'google.protobuf',\n"
        "         'coconut_tasks.evidence', 'coconut_tasks.igvm.snp')\n"
        "loaded = [name for name in heavy if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    outcome = site.run([sys.executable, "-c", code, recipe, "SVSM=svsm", "BIN=bin"])
    assert outcome.status == 0, outcome.text
