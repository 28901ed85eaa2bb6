"""``coconut``: doit's tasks, sessions and records, with flags and recipes as plain words."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import DODO, QEMU, Outcome, Site, environment, has
from doit.cmd_clean import Clean
from doit.cmd_forget import Forget
from doit.cmd_info import Info
from doit.cmd_list import List
from doit.cmd_run import Run

from coconut_tasks.called import Called
from coconut_tasks.commands.build import xbuild
from coconut_tasks.commands.coconut import command_of
from coconut_tasks.tasks import loader
from coconut_tasks.tasks.table import COCONUT, GROUPS, MEASURE, PLUGINS, REFUSED
from coconut_tasks.variables import BY_NAME, TABLE

PROGRAM = str(Path(sys.executable).with_name("coconut"))
PATH = {"PATH": f"{Path(PROGRAM).parent}:{os.environ['PATH']}"}
"""The environment of a user with the program in PATH."""
NAMES = [name for name in COCONUT if name != MEASURE]


def coconut(site: Site, *words: str) -> Outcome:
    return site.run([PROGRAM, *words], dict(PATH))


@pytest.fixture
def place(tmp_path: Path) -> Site:
    """A folder without a dodo.py, with nothing built."""
    return Site(tmp_path, tmp_path / "target")


def flags(command: Any) -> list[str]:
    options = command.cmdparser.options
    return [f"-{one.short}" for one in options if one.short] + [f"--{one.long}" for one in options if one.long]


def test_it_builds_what_doit_builds_and_they_share_records(site: Site) -> None:
    site.recipe()
    (site.folder / "dodo.py").unlink()
    first = coconut(site, "build", "r.json", "--svsm", "svsm", "--out=bin")
    assert first.status == 0, first.text
    assert first.digests.keys() == {"q.igvm"}
    (site.folder / "dodo.py").write_text(DODO)
    again = site.build("RECIPE=r.json")
    assert (again.built, again.digests) == (set(), first.digests)
    options = ("--svsm=svsm", "--out=bin", "-f", "enable-gdb")
    assert has(coconut(site, "why", "r.json", *options).out, "kernel:svsm…igvm:qemu")
    site.build("RECIPE=r.json", "FEATURES=enable-gdb")
    other = coconut(site, "build", *options, "r.json", "-j1", "igvm")
    assert (other.status, other.built) == (0, set())
    assert coconut(site, "list", "r.json", *options, "--status").out.count("\nU ") > 5


def test_a_group_is_as_its_steps_are(site: Site) -> None:
    site.recipe()
    site.build("RECIPE=r.json", "kernel:svsm")

    def states() -> dict[str, str]:
        out = coconut(site, "list", "-s", "r.json", "--svsm=svsm", "--out=bin").out
        return {name: state for state, name in re.findall(r"^(\w) (\S+)", out, re.MULTILINE)}

    found = states()
    assert (found["kernel:svsm"], found["kernel:bldr"], found["kernel"]) == ("U", "R", "R")
    site.build("RECIPE=r.json", "kernel")
    assert (states()["kernel"], states()["igvm"]) == ("U", "R")


def test_what_an_earlier_build_left_is_said_so_in_the_last_line(site: Site) -> None:
    site.recipe()
    site.build("RECIPE=r.json")
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + '\ncompile_error!("no");\n')
    outcome = coconut(site, "build", "r.json", "--svsm=svsm", "--out=bin")
    assert outcome.status == 1
    assert has(outcome.out.splitlines()[-1], "bin/q.igvm …earlier")
    (site.bin / "q.igvm").unlink()
    assert "q.igvm" not in coconut(site, "build", "r.json", "--svsm=svsm", "--out=bin").out


def test_the_lines_of_a_run_name_the_variant(site: Site) -> None:
    site.recipe()
    words = ("build", "r.json", "--svsm=svsm", "--out=bin")
    first = coconut(site, *words)
    assert first.err.splitlines()[0].endswith("; r.json; debug")
    assert has(first.out, "bin/q.igvm: …iB, debug, launch")
    other = coconut(site, *words, "-f", "enable-gdb", "igvm")
    assert other.err.splitlines()[0].endswith("; r.json; debug, features svsm:enable-gdb")


def test_a_dry_run_is_a_plan(site: Site) -> None:
    site.recipe()
    words = ("r.json", "--svsm=svsm", "--out=bin")
    planned = coconut(site, "plan", *words)
    assert planned.status == 0
    assert coconut(site, "build", "-n", *words) == planned
    assert (
        coconut(site, "build", *words, "--dry-run", "kernel:bldr").out
        == coconut(site, "plan", *words, "kernel:bldr").out
    )
    assert not site.bin.exists()


def test_variables_may_stand_for_flags(site: Site) -> None:
    site.recipe()
    by_flags = coconut(site, "plan", "r.json", "--svsm=svsm", "--out=bin", "--release", "--offline")
    by_words = coconut(site, "plan", "RECIPE=r.json", "SVSM=svsm", "BIN=bin", "RELEASE=1", "OFFLINE=1")
    assert by_flags.status == 0
    assert by_flags.out == by_words.out == site.doit("plan", "RECIPE=r.json", "RELEASE=1", "OFFLINE=1").out
    twice = coconut(site, "plan", "r.json", "SVSM=svsm", "--svsm=svsm")
    assert (twice.status, twice.ids) == (2, {"variable-twice"})


def test_each_command_has_help_of_its_own(place: Site) -> None:
    for name in COCONUT:
        asked = coconut(place, name, "--help")
        assert (asked.status, asked.err) == (0, ""), name
        assert f"coconut {name}" in asked.out
        assert not re.search(r"\bdoit\b(?!,|w)", asked.out), name
        assert coconut(place, "help", name) == asked


def test_help_alone_is_the_table_of_all_commands(place: Site) -> None:
    table = coconut(place)
    assert (table.status, table.err) == (0, "")
    assert [name for name in COCONUT if f"\n  {name} " not in table.out] == []
    assert has(table.out, "--release…exit status…2")
    assert coconut(place, "--help") == coconut(place, "help") == coconut(place, "-h") == table
    assert coconut(place, "--version").out.startswith("coconut-tasks ")


def test_an_example_of_doit_has_no_option_that_coconut_takes_for_another(place: Site) -> None:
    assert "--all " not in coconut(place, "list", "--help").out


@pytest.mark.parametrize("width", [50, 80])
def test_help_is_as_wide_as_the_terminal(width: int, place: Site) -> None:
    for words in ((), ("verify", "--help")):
        out = place.run([PROGRAM, *words], {"COLUMNS": str(width)}).out
        prose = [
            line
            for line in out.partition("\nexamples\n")[0].splitlines()
            if "--features" not in line and " [" not in line
        ]
        assert max(map(len, prose)) <= width


def test_every_command_is_in_one_group() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {*COCONUT, *PLUGINS["COMMAND"]} - REFUSED.keys()


@pytest.mark.parametrize("name", NAMES)
def test_no_two_options_of_a_command_have_one_flag(name: str) -> None:
    found = flags(command_of(name))
    assert len(found) == len(set(found))
    assert "-h" not in found


def test_the_flags_of_xbuild_are_xbuilds() -> None:
    found = flags(xbuild())
    assert len(found) == len(set(found))
    assert {"-r", "-a", "-f", "-v", "-o", "-p", "-n", "--release", "--all-features", "--feature", "--offline"} <= set(
        found
    )


def test_every_option_of_doit_is_spelt_or_left_out() -> None:
    of_doit = {one["name"] for command in (Run, List, Info, Clean, Forget) for one in command.cmd_options}
    of_doit |= {one["name"] for one in Run.base_options}
    assert of_doit - loader._HIDDEN - loader._SPELT.keys() == set()


@pytest.mark.parametrize(
    ("words", "id", "pieces"),
    [
        (["bild"], "no-such-command", "'coconut --help'"),
        (["bild"], "no-such-command", "did you mean 'build'"),
        (["auto"], "no-such-command", "'coconut watch'"),
        (["r.json"], "no-such-command", "'coconut build r.json'"),
        (["igvm:qemu"], "no-such-command", "'coconut build igvm:qemu'"),
        (["--release"], "no-such-option", "'coconut build --release"),
        (["build", "--bin=x"], "no-such-option", "'--out'"),
        (["build", "--feature=x"], "no-such-option", "'--features'"),
        (["list", "--all"], "no-such-option", "--all"),
        (["build", "-c", "r.json"], "no-such-option", "'-k'"),
        (["why", "--relase"], "no-such-option", "'--release'"),
        (["build", "igmv:qemu"], "no-such-task", "'igvm:qemu'"),
        (["build", "kernal"], "no-such-task", "'kernel'"),
        (["log", "svsm"], "no-such-task", "'kernel:svsm'"),
        (["why", "qemu"], "no-such-task", "'igvm:qemu'…'config/qemu.json'"),
        (["plan", "build"], "no-such-task", "'coconut build'"),
        (["build", "V=1"], "no-such-variable", "V: "),
        (["-C", "x", "build"], "no-such-option", "--svsm"),
        (["build", "-C", "x"], "no-such-option", "--svsm"),
        (["build", "x.igvm"], "no-such-task", "'coconut measure x.igvm'"),
        (["verify", "/no/such"], "no-launch-digest", "'/no/such'"),
        (["build", "-j"], "option-and-value", "-j …an argument"),
        (["help", "wy"], "no-such-topic", "'why'"),
        (["build", "--svsm="], "empty-variable", "--svsm"),
        (["build", "-j", "x"], "wrong-number", "-j: 'x'"),
        (["build", "-f", "a:"], "not-a-feature", "--features: "),
    ],
)
def test_a_guess_gets_an_answer(words: list[str], id: str, pieces: str, place: Site) -> None:
    (place.folder / "r.json").write_text("{}")
    if id in ("no-such-task", "no-launch-digest"):
        words = [*words, "config/qemu.json", "--svsm", str(Path(__file__).parent.parent / "sample")]
    outcome = coconut(place, *words)
    assert (outcome.status, outcome.out, outcome.ids) == (2, "", {id})
    assert outcome.err.startswith("error: ")
    assert has(outcome.err, pieces)


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        (["build"], "'doit RECIPE=…'"),
        (["auto"], "'doit watch'"),
        (["r.json"], "'doit RECIPE=r.json'"),
        (["-j4"], "'-n N'"),
        (["--dry-run"], "'doit plan'"),
        (["--verbose"], "VERBOSE=1"),
        (["-B"], "'-a'"),
        (["--release"], "RELEASE=1"),
        (["why", "--features=x"], "FEATURES="),
        (["help", "nope"], "'doit help'"),
        (["igvm:qemu", "plan"], "'doit plan'"),
        (["measure", "x.igvm"], "'doit inspect x.igvm'"),
        (["-n"], "'doit plan'"),
        (["RECIPE=qemu"], "config/qemu.json"),
        (["RECIPE=config/*.json"], "RECIPE=config/…,config/hyperv.json,"),
        (["RECIPE=r.jsn"], "'r.json'"),
    ],
)
def test_a_guess_of_doits_command_line_gets_an_answer(words: list[str], pieces: str, place: Site) -> None:
    (place.folder / "r.json").write_text("{}")
    (place.folder / "dodo.py").write_text(DODO)
    outcome = place.run(
        [str(Path(PROGRAM).with_name("doit")), *words, f"SVSM={Path(__file__).parent.parent / 'sample'}"],
        dict(PATH),
    )
    assert outcome.status == 2
    assert outcome.err.startswith("error: ")
    assert has(outcome.err, pieces)


def test_without_a_dodo_file_doit_says_what_to_do(place: Site) -> None:
    for words in ((), ("list",), ("why",), ("igvm:qemu",)):
        outcome = place.run([sys.executable, "-m", "doit", *words])
        assert (outcome.status, outcome.ids) == (2, {"no-dodo-file"})
        assert "coconut build" in outcome.err
    other = place.run([sys.executable, "-m", "doit", "-f", "other.py"])
    assert (other.status, other.ids) == (3, set())


def test_a_setting_is_shown_as_it_can_be_typed() -> None:
    doit, own, old = Called(), Called("coconut", True), Called("coconut-build", True, True)
    assert doit.setting("RELEASE", "1") == "RELEASE=1"
    assert own.setting("RELEASE", "1") == old.setting("RELEASE", "1") == "--release"
    assert (own.setting("BIN", "out"), old.setting("BIN", "out")) == ("--out out", "--bin out")
    assert (doit.setting("RECIPE", "a"), own.setting("RECIPE", "a")) == ("RECIPE=a", "a")
    assert (doit.command("build"), doit.command("why", "x")) == ("doit", "doit why x")
    assert (own.command("build", "x"), old.command("why")) == ("coconut build x", "coconut why")


def test_flags_of_variables_are_named_once() -> None:
    names = [flag for one in TABLE for flag in one.flags]
    assert len(names) == len(set(names))
    assert [one.name for one in TABLE if not one.flags] == ["RECIPE"]
    assert BY_NAME["EXPECT"].flags == ("--expect",)


def test_the_wrapper_is_what_hints_name_in_its_clone(place: Site) -> None:
    wrapper = Path(__file__).parent.parent / "doitw"
    outcome = place.run([str(wrapper), "help", "nope"], {**environment(place.target), "PATH": "/usr/bin:/bin"})
    assert has(outcome.err, f"'{wrapper.name}") or has(outcome.err, "doitw help'")


def test_verify_knows_a_recipe_from_what_is_expected(site: Site) -> None:
    site.recipe()
    options = ("--svsm=svsm", "--out=bin")
    digest = coconut(site, "build", "r.json", *options).digests["q.igvm"]
    printed = coconut(site, "log", "r.json", *options, "measure:qemu").out
    (site.folder / "printed.txt").write_text(printed)
    sidecars = [f"bin/q.igvm{end}" for end in (".launch-digest.hex", ".launch-digest.json", ".provenance.json", "")]
    whole = sidecars[1:]  # these have the MRTD, too
    for words in (
        [digest],
        [f"sha384:{digest}"],
        [printed],
        ["printed.txt"],
        ["--expect", digest],
        *([one] for one in sidecars),
    ):
        outcome = coconut(site, "verify", "r.json", *words, *options)
        assert (outcome.status, outcome.out.count("verified: bin/q.igvm ")) == (0, 1 + (words[0] in whole)), (
            outcome.text
        )
    missing = coconut(site, "verify", "r.json", *options)
    assert (missing.status, missing.ids) == (2, {"nothing-expected"})
    assert missing.err.startswith("error: --expect: ") and "did you mean" not in missing.err
    near = coconut(site, "verify", "r.json", digest[1:], *options)
    assert (near.status, near.ids) == (2, {"no-launch-digest"}) and "95 hex digits" in near.err


def test_hints_are_command_lines_for_the_same_build(site: Site) -> None:
    site.recipe()
    options = ("--svsm=svsm", "--out=bin", "--release", "-f", "a,b")
    outcome = coconut(site, "info", "r.json", *options)
    assert (outcome.status, outcome.ids) == (2, {"wrong-words"})
    assert has(outcome.err, "coconut info r.json igvm:qemu --svsm svsm --out bin --release --features svsm:a,svsm:b")
    told = site.doit("info", "RECIPE=r.json", "RELEASE=1").err
    assert has(told, "doit info igvm:qemu RECIPE=r.json SVSM=svsm BIN=bin RELEASE=1")


def test_a_dry_run_of_everything_is_the_plan_of_everything(site: Site) -> None:
    site.recipe()
    site.build("RECIPE=r.json")
    words = ("build", "r.json", "--svsm=svsm", "--out=bin", "--dry-run")
    assert coconut(site, *words).out.startswith("# nothing to do")
    assert coconut(site, *words, "-B").out.count("\n# copied to ") > 4
    found = json.loads(coconut(site, *words, "-B", "--json").out)
    assert found["schema"].endswith("#plan") and {step["fate"] for step in found["steps"]} == {"runs"}
    assert json.loads(coconut(site, *words, "--json").out)["steps"][0]["fate"] == "up-to-date"


def test_help_explains_messages_in_the_words_of_the_program(place: Site) -> None:
    # Outside of a tree, where no task can be loaded.
    asked = coconut(place, "help", "[NO-SOURCE-TREE]", "nothing-expected")
    assert (asked.status, asked.err) == (0, "")
    assert has(asked.out, "no-source-tree: …--svsm PATH…nothing-expected: …--expect")
    assert not re.search(r"doit|SVSM=|EXPECT", asked.out)
    unknown = coconut(place, "help", "no-such-word")
    assert (unknown.status, unknown.ids) == (2, {"no-such-topic"})


def test_a_feature_that_changes_nothing_is_not_said_of_an_image(site: Site) -> None:
    site.recipe()
    outcome = coconut(site, "build", "r.json", "--svsm=svsm", "--out=bin", "-f", "nobody:a,enable-gdb")
    assert outcome.ids == {"unused-feature"}
    assert has(outcome.out, "bin/q.igvm: …iB, debug, features svsm:enable-gdb, launch")


def test_notes_on_the_next_build_are_for_commands_on_builds(site: Site) -> None:
    site.recipe({**QEMU, "firmware": {"env": "FW_FILE"}})
    options = ("r.json", "--svsm=svsm", "--out=bin")
    assert coconut(site, "why", *options).ids == coconut(site, "plan", *options).ids == {"no-firmware"}
    quiet = coconut(site, "build", *options, "kernel:bldr", "-q")
    assert quiet.ids == {"no-firmware"}
    assert coconut(site, "build", *options, "kernel:bldr", "-q").text.strip() == ""
    assert coconut(site, "build", *options, "kernel:bldr").ids == {"no-firmware"}
    for command in ("list", "info", "clean", "log"):
        assert coconut(site, command, *options, *(["igvm:qemu"] if command == "info" else [])).err == ""
