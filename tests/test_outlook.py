"""`doit why`, `plan` and `graph` before a run, compared with what the run then does; and their text."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import QEMU, Outcome, Site, has

from coconut_tasks.freshness.staleness import Cause, Reason
from coconut_tasks.steps.command_diff import command_diff, what_is_new

MODULES: dict[str, Any] = {**deepcopy(QEMU), "fs": {"modules": {"userinit": {"path": "/init"}}}}
MAKE: dict[str, Any] = {"type": "make", "output_file": "bin/stage1-trampoline", "objcopy": "binary"}


def edit(site: Site, name: str, text: str = "\n// edited\n") -> None:
    path = site.tree / name
    path.write_text(path.read_text() + text)


def no_change(site: Site) -> None:
    pass


def comment(site: Site) -> None:
    edit(site, "kernel/src/main.rs")


def other_code(site: Site) -> None:
    edit(site, "kernel/src/main.rs", '\n#[used]\nstatic MORE: [u8; 5] = *b"12345";\n')


def shared_code(site: Site) -> None:
    edit(site, "common/src/lib.rs")


def module_code(site: Site) -> None:
    edit(site, "user/userinit/src/main.rs", '\n#[used]\nstatic MORE: [u8; 5] = *b"12345";\n')


def tool_code(site: Site) -> None:
    edit(site, "tools/igvmmeasure/src/main.rs")


def make_source(site: Site) -> None:
    edit(site, "stage1/stage1.S", "\n/* edited */\n")


def features(site: Site) -> None:
    content = deepcopy(MODULES)
    content["kernel"]["svsm"]["features"] = "vtpm,enable-gdb"
    content["kernel"]["tdx-stage1"] = MAKE
    site.recipe(content)


def policy(site: Site) -> None:
    content = deepcopy(MODULES)
    content["igvm"]["qemu"]["policy"] = "0x30001"
    content["kernel"]["tdx-stage1"] = MAKE
    site.recipe(content)


def another_module(site: Site) -> None:
    content = deepcopy(MODULES)
    content["fs"]["modules"]["hello"] = {"path": "/bin/hello"}
    content["kernel"]["tdx-stage1"] = MAKE
    site.recipe(content)


def published_file_gone(site: Site) -> None:
    (site.bin / "svsm").unlink()


def image_gone(site: Site) -> None:
    (site.bin / "q.igvm").unlink()


def digest_gone(site: Site) -> None:
    (site.bin / "q.igvm.launch-digest.hex").unlink()


def part_damaged(site: Site) -> None:
    (part,) = (site.bin / ".coconut" / "parts").glob("bldr-*/bldr")
    part.write_bytes(b"damaged")


def version_file_gone(site: Site) -> None:
    (site.tree / "release" / "src" / "git_version.rs").unlink()


def all_gone(site: Site) -> None:
    shutil.rmtree(site.bin)


def forgotten(site: Site) -> None:
    site.build("forget", "kernel:bldr", "RECIPE=r.json")


def all_ignored(site: Site) -> None:
    edit(site, "kernel/src/main.rs")
    site.build("ignore", "version:git", "RECIPE=r.json")


def ignored(site: Site) -> None:
    edit(site, "kernel/src/main.rs")
    site.build("ignore", "kernel:svsm", "RECIPE=r.json")


CHANGES: list[Callable[[Site], None]] = [
    no_change, comment, other_code, shared_code, module_code, tool_code, make_source, features, policy, another_module,
    published_file_gone, image_gone, digest_gone, part_damaged, version_file_gone, all_gone, forgotten, ignored, all_ignored,
]  # fmt: skip


def prepared(site: Site) -> str:
    content = deepcopy(MODULES)
    content["kernel"]["tdx-stage1"] = MAKE
    recipe = site.recipe(content)
    site.build(recipe)
    return recipe


def of(cause: Cause, subject: str = "") -> str:
    """The text of a reason."""
    return str(Reason(cause, subject))


def fates(site: Site, recipe: str, *words: str) -> dict[str, str]:
    """What `doit plan --json` says about each step."""
    return {
        step["name"]: step["fate"] for step in json.loads(site.build("plan", "--json", recipe, *words).out)["steps"]
    }


def told_by_why(outcome: Outcome) -> dict[str, str]:
    """What `doit why` says about each step, in the words of the plan."""
    found = re.findall(r"^(\S+) (runs|may run|is restored|is ignored)(?=[:, ])", outcome.out, re.MULTILINE)
    words = {"runs": "runs", "may run": "may-run", "is restored": "placed", "is ignored": "ignored"}
    told = {name: words[fate] for name, fate in found}
    for line in outcome.out.splitlines():
        if line.startswith("up to date: "):
            told |= dict.fromkeys(line.rpartition("(")[2].rstrip(")").split(", "), "up-to-date")
    return told


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_why_and_plan_agree_with_each_other_and_with_the_run(change: Callable[[Site], None], site: Site) -> None:
    recipe = prepared(site)
    change(site)
    before = site.contents()
    planned = fates(site, recipe)
    assert told_by_why(site.build("why", recipe)) == planned
    script = site.build("plan", recipe).out
    assert site.contents() == before  # neither ran anything
    commands = planned_commands(json.loads(site.build("plan", "--json", recipe).out))
    shown = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert shown[1:] == [line for lines in commands.values() for line in lines]

    outcome = site.build("run", recipe)
    certain = {name for name, fate in planned.items() if fate == "runs"}
    perhaps = {name for name, fate in planned.items() if fate == "may-run"}
    placed = {name for name, fate in planned.items() if fate == "placed"}
    assert certain <= outcome.built <= certain | perhaps
    assert placed <= outcome.placed <= placed | perhaps
    if change is other_code:
        assert outcome.built == {"kernel:svsm", "igvm:qemu", "measure:qemu", "provenance:qemu"}
        assert certain == {"kernel:svsm"} and perhaps == {"igvm:qemu", "measure:qemu", "provenance:qemu"}
    if change is comment:
        assert outcome.built == {"kernel:svsm", "provenance:qemu"}  # steps that may run need not run
    for name in outcome.built:
        assert ran(site, name) == commands[name], name
    # After the run, nothing is left to do.
    if change in (ignored, all_ignored):
        assert f"{list(planned.values()).count('ignored')} ignored" in outcome.out
    rest = {"ignored"} if change in (ignored, all_ignored) else set()
    assert set(fates(site, recipe).values()) <= {"up-to-date", *rest}


def planned_commands(plan: dict[str, Any]) -> dict[str, list[str]]:
    """The steps that are shown."""
    steps = [step for step in plan["steps"] if step["fate"] not in ("up-to-date", "placed", "ignored")]
    return {step["name"]: [command["line"] for command in step["commands"]] for step in steps}


def ran(site: Site, name: str) -> list[str]:
    """The commands in the step's log, without what a plan cannot know: what was cleaned because it was doubtful, and that
    objcopy writes beside its output first."""
    logs = sorted((site.bin / ".coconut" / "logs").glob(f"{name.replace(':', '-')}-*.log"), key=os.path.getmtime)
    lines = [line[2:] for log in logs[-1:] for line in log.read_text().splitlines() if line.startswith("$ ")]
    lines = [re.sub(r" --always-make", "", line) for line in lines]
    lines = [line for line in lines if " clean " not in line]
    lines = [re.sub(r"^(objcopy .* )(/\S+)/\.(\S+)\.coconut-\S+$", r"\1\2/\3", line) for line in lines]
    return list(dict.fromkeys(line.replace(f"{site.bin}/", "../bin/") for line in lines))


def test_who_only_lists_steps_leaves_no_git_at_work(repository: Site, tmp_path: Path) -> None:
    git, calls = shutil.which("git"), tmp_path / "calls"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text(f'#!/bin/sh\necho "$*" >> {calls}\nexec {git} "$@"\n')
    (tmp_path / "bin" / "git").chmod(0o755)
    env: dict[str, str | None] = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    for words in (["list", "--all"], ["clean", "--dry-run"], ["why"]):
        calls.write_text("")
        assert repository.doit(*words, repository.recipe(), env=env).status == 0
        assert ("describe" in calls.read_text()) == (words == ["why"])


def test_a_plan_can_be_copied_into_a_shell(site: Site) -> None:
    """It leaves out only what the comments in between say."""
    recipe = site.recipe()
    script = site.build("plan", recipe, "kernel:svsm").out
    first = script.split("# the program that cargo names")[0]
    program = site.target / "x86_64-unknown-linux-gnu" / "debug" / "svsm"
    program.unlink(missing_ok=True)  # from an earlier test
    done = site.run(["bash", "-euc", first])
    assert done.status == 0, done.text
    assert program.exists()
    assert subprocess.run(["bash", "-n", "-c", script]).returncode == 0


def test_a_plan_of_nothing_says_so(site: Site) -> None:
    recipe = prepared(site)
    assert site.build("plan", recipe).out == "# nothing to do: all 12 steps are up to date\n"
    plan = json.loads(site.build("plan", "--json", recipe).out)
    assert plan["tree"] == str(site.tree) and plan["recipes"] == ["r.json"]


def test_why_names_what_changed_as_old_and_new(site: Site) -> None:
    recipe = prepared(site)
    features(site)
    why = site.build("why", recipe).out
    assert "kernel:svsm runs: " + of(Cause.NEW_VARIANT, "with --features vtpm,enable-gdb\n") in why
    assert f"igvm:qemu runs: {of(Cause.NEW_VARIANT, 'with this svsm')}\n" in why
    edit(site, "kernel/src/main.rs")
    assert f"kernel:svsm runs: {of(Cause.NEW_VARIANT, 'with ')}" in site.build("why", recipe, "kernel:svsm").out
    prepared(site)
    (site.bin / "svsm").write_bytes(b"mine")
    edit(site, "boot/bldr/src/main.rs")
    edit(site, "common/src/lib.rs")
    why = site.build("why", recipe).out
    assert "kernel:bldr runs:\n  boot/bldr/src/main.rs changed\n  common/src/lib.rs changed\n" in why
    assert "igvm:qemu may run: if kernel:svsm, kernel:bldr or fs:image changes\n" in why


def test_ignored_steps_are_told_as_such(site: Site) -> None:
    recipe = prepared(site)
    site.build("ignore", "kernel:svsm", recipe)
    assert site.build("plan", recipe).out == "# nothing to do\n# up to date: 8\n# ignored (doit ignore): 4\n"
    assert site.build("graph", "--format=mermaid", recipe).out.count("<br/>ignored") == 4
    ignored, image = site.build(recipe).out.splitlines()
    assert ignored.startswith("8 up to date, 4 ignored ") and has(image, "bin/q.igvm …earlier")


def test_what_would_end_a_run_at_once_is_told_before(site: Site) -> None:
    recipe = site.recipe({**QEMU, "firmware": {"file": "no/such.fd"}})
    for command in ("why", "plan"):
        outcome = site.build(command, recipe)
        (line,) = outcome.told("firmware-unusable")
        assert line.startswith("note: a build would fail immediately: firmware:guest: ") and "/no/such.fd" in line
    assert site.doit(recipe).status == 2


def test_a_failed_or_forgotten_step_is_not_compared_with_another_variant(site: Site) -> None:
    recipe = prepared(site)
    site.build("kernel:bldr", "ALL_FEATURES=1", recipe)
    site.build("forget", "kernel:bldr", recipe)
    edit(site, "kernel/src/main.rs", "this is no Rust")
    assert site.doit("kernel:svsm", recipe).status == 1
    why = site.build("why", recipe).out
    assert f"kernel:bldr runs: {of(Cause.NO_RECORD)}\n" in why
    assert f"kernel:svsm runs: {of(Cause.NO_RECORD)}\n" in why


def test_an_image_of_other_modules_is_told_as_such(site: Site) -> None:
    recipe = prepared(site)
    another_module(site)
    assert f"fs:image runs: {of(Cause.NEW_VARIANT, 'from these files')}\n" in site.build("why", recipe).out


def test_why_of_one_task_says_why_it_is_not_stale_and_looks_at_what_it_needs(site: Site) -> None:
    recipe = prepared(site)
    why = site.build("why", recipe, "measure:qemu").out
    assert "measure:qemu is up to date: command, tools, environment, outputs and 2 inputs unchanged\n" in why
    edit(site, "kernel/src/main.rs")
    why = site.build("why", recipe, "measure:qemu").out
    assert "kernel:svsm runs: kernel/src/main.rs changed\n" in why
    assert "module:userinit" in site.build("why", recipe, "module:userinit").out
    assert "kernel:svsm" not in site.build("why", recipe, "module:userinit").out


def test_an_environment_variable_and_a_tool_are_told_with_both_values(site: Site, tmp_path: Path) -> None:
    recipe = prepared(site)
    why = site.doit("why", recipe, env={"RUSTFLAGS": "-Cdebuginfo=0"}).out
    assert str(Reason(Cause.ENVIRONMENT, "RUSTFLAGS", "unset", "'-Cdebuginfo=0'")) in why
    other = tmp_path / "objcopy"
    other.write_text(f'#!/bin/sh\nexec {shutil.which("objcopy")} "$@"\n')
    other.chmod(0o755)
    env: dict[str, str | None] = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    why = site.doit("why", recipe, env=env).out
    (line,) = [line for line in why.splitlines() if "objcopy" in line]
    found = re.fullmatch(rf"4 steps run: objcopy /\S+ → {re.escape(str(other))} \((.+)\)", line)
    assert found is not None and set(found[1].split(", ")) == {
        "kernel:svsm",
        "kernel:bldr",
        "kernel:tdx-stage1",
        "module:userinit",
    }
    assert "kernel:bldr runs: objcopy " in site.doit("why", recipe, "kernel:bldr", env=env).out


def test_many_reasons_are_cut_unless_the_step_is_named(site: Site) -> None:
    for i in range(15):
        (site.tree / "kernel" / "src" / f"new{i}.rs").write_text("")
    recipe = prepared(site)
    for i in range(15):
        (site.tree / "kernel" / "src" / f"new{i}.rs").write_text("// x")
    brief = site.build("why", recipe).out
    assert "  and 5 more: doit why kernel:svsm\n" in brief
    assert brief.count(".rs changed") == 10
    assert site.build("why", recipe, "kernel:svsm").out.count(".rs changed") == 15


@pytest.mark.parametrize("command", ["why", "plan", "log", "graph", "size", "timeline"])
def test_a_task_that_is_none_and_a_wrong_variable_are_told(command: str, site: Site) -> None:
    recipe = site.recipe()
    if command != "timeline":
        outcome = site.doit(command, recipe, "kernel:svms")
        assert (outcome.status, outcome.ids) == (2, {"no-such-task"})
        (line,) = outcome.told("no-such-task")
        assert line.startswith("error: 'kernel:svms' ") and "'kernel:svsm'" in line
    outcome = site.doit(command, recipe, "RELAESE=1")
    assert (outcome.status, outcome.ids) == (2, {"no-such-variable"})
    (line,) = outcome.told("no-such-variable")
    assert line.startswith("error: RELAESE: ") and "'RELEASE'" in line
    assert not site.bin.exists()


# Differences in words


def command(*argv: str, env: tuple[str, ...] = ()) -> list[tuple[list[str], list[str]]]:
    return [(list(env), list(argv))]


def variant(name: str, key: str, file: str) -> str:
    return f"../bin/.coconut/parts/{name}-{key * 12}/{file}"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (command("cargo", "build"), command("cargo", "build"), ""),
        (command("cargo", "build"), command("cargo", "build", "--release"), "'--release' added"),
        (command("cargo", "-v", "build"), command("cargo", "build"), "'-v' removed"),
        (command("c", "--features", "a"), command("c", "--features", "a,b"), "--features 'a' → 'a,b'"),
        (command("make", env=("FEATURES=a",)), command("make", env=("FEATURES=b",)), "'FEATURES=a' → 'FEATURES=b'"),
        (
            command("igvmbuilder", "--kernel", variant("svsm", "a", "svsm")),
            command("igvmbuilder", "--kernel", variant("svsm", "b", "svsm")),
            "a different svsm",
        ),
        (
            command("igvmbuilder", "--policy", "0x1", "-o", variant("qemu", "a", "q.igvm")),
            command("igvmbuilder", "--policy", "0x2", "-o", variant("qemu", "b", "q.igvm")),
            "--policy '0x1' → '0x2'",
        ),
        (command("cargo", "build"), command("make", "x", env=("FEATURES=",)), "different programs"),
        (command("i", "--native", "--snp", "q"), command("i", "--tdp", "q"), "'--native' → '--tdp', '--snp' removed"),
        (command("i", "q.igvm"), command("i", "--check-kvm", "q.igvm"), "'--check-kvm' added"),
        (
            command("i", variant("m", "a", "q.igvm"), "measure"),
            command("i", "--check-kvm", variant("q", "b", "q.igvm"), "measure"),
            "'--check-kvm' added",
        ),
    ],
)  # fmt: skip
def test_only_what_differs_is_said(old: Any, new: Any, said: str) -> None:
    assert command_diff(old, new, [variant("qemu", "b", "q.igvm").rpartition("/")[0]]) == said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (command("cargo", "build"), command("cargo", "build"), ""),
        (command("cargo", "build"), command("cargo", "build", "--release"), "with --release"),
        (command("cargo", "-v", "build"), command("cargo", "build"), "without -v"),
        (command("c", "--features", "a"), command("c", "--features", "a,b"), "with --features a,b"),
        (command("c", "--bin", "a b"), command("c", "--bin", "c d"), "with --bin 'c d'"),
        (command("make", env=("FEATURES=a",)), command("make", env=("FEATURES=b",)), "with FEATURES=b"),
        (
            command("igvmbuilder", "--kernel", variant("svsm", "a", "svsm")),
            command("igvmbuilder", "--kernel", variant("svsm", "b", "svsm")),
            "with this svsm",
        ),
        (command("cargo", "build"), command("make", "x"), "with these programs"),
        (command("i", "--native", "--snp", "q"), command("i", "--tdp", "q"), "with --tdp, without --native, --snp"),
    ],
)  # fmt: skip
def test_of_a_new_variant_only_what_is_new_is_said(old: Any, new: Any, said: str) -> None:
    assert what_is_new(old, new, []) == said
