"""Why a step is stale and what a run would do, only from records and files: without tools, each branch is tested quickly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coconut_tasks import __version__
from coconut_tasks.freshness.forecast import Assessment, Fate, Forecast, forecast
from coconut_tasks.freshness.staleness import (
    OURSELVES,
    Cause,
    Reason,
    Verdict,
    check_staleness,
    input_files,
    signature,
)
from coconut_tasks.inputs.discovered import Inputs
from coconut_tasks.inputs.files import ABSENT, FileState
from coconut_tasks.records.record import Record
from coconut_tasks.steps.action import (
    Action,
    CargoItem,
    FirmwareImage,
    FsImage,
    IgvmImage,
    MakeItem,
    Measurement,
    Provenance,
    VersionFile,
)
from coconut_tasks.steps.command import Command
from coconut_tasks.steps.step import Step
from coconut_tasks.workspace.workspace import Workspace, open_workspace

KEY = "0" * 12
OTHER_KEY = "1" * 12
OUTPUT = f"../bin/.coconut/parts/fw-{KEY}/fw.bin"
SHOWN = "../bin/fw.bin"
NOTHING = Inputs()
FIRMWARE = Step(
    "firmware",
    "guest",
    KEY,
    "",
    FirmwareImage(None, "src/fw.fd", None, OUTPUT),
    ("src/fw.fd",),
    (OUTPUT,),
    ((OUTPUT, SHOWN),),
)
"""A step that reads a file, makes another one and places it in ``bin/``."""


class Ground:
    """A tree and an output folder beside it, in which ``FIRMWARE`` ran successfully."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tree, self.bin = folder, folder / "svsm", folder / "bin"
        self.source, self.shown = self.tree / "src" / "fw.fd", self.bin / "fw.bin"
        self.output = self.bin / ".coconut" / "parts" / f"fw-{KEY}" / "fw.bin"
        self.environment: dict[str, str] = {"HOME": str(folder), "PATH": str(folder / "programs")}
        self.more: dict[str, Any] = {}
        for path in (self.source, self.output, self.shown):
            self.write(path, "first")

    def write(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def workspace(self) -> Workspace:
        """As at the start of a run, before files are read."""
        return open_workspace(str(self.tree), str(self.bin), self.environment, **self.more)

    def state(self, path: Path, *, trusted: bool = True) -> FileState:
        files = self.workspace().files
        return (files.stat(str(path)) if trusted else None, files.digest(str(path)) or "")

    def record(self, step: Step = FIRMWARE, inputs: Inputs = NOTHING, *, trusted: bool = True) -> Record:
        """The record of a run that has just succeeded."""
        workspace = self.workspace()
        spelt = {name: self.state(Path(workspace.path(name)), trusted=trusted) for name in step.outputs}
        return Record(
            signature(step, inputs, workspace),
            inputs,
            {path: self.state(Path(path), trusted=trusted) for path in input_files(step, inputs, workspace)},
            spelt,
            {place: self.state(Path(workspace.path(place)), trusted=trusted) for _, place in step.publish},
        )

    def judge(self, record: Record | None, step: Step = FIRMWARE, *, brief: bool = False) -> Verdict:
        """In the next run."""
        workspace = self.workspace()
        inputs = input_files(step, record.inputs if record else NOTHING, workspace)
        if brief:
            return check_staleness(step, record, inputs, workspace, brief=True)
        return check_staleness(step, record, inputs, workspace)

    def said(self, record: Record | None, step: Step = FIRMWARE) -> list[str]:
        return list(map(str, self.judge(record, step).reasons))


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


# Files


@pytest.mark.parametrize("trusted", [True, False])
def test_a_step_as_its_last_good_run_left_it_is_up_to_date(trusted: bool, ground: Ground) -> None:
    verdict = ground.judge(ground.record(trusted=trusted))
    assert verdict.reasons == []
    # A file recorded without a stat is read, and then its stat is known.
    every = {str(path) for path in (ground.source, ground.output, ground.shown)}
    assert verdict.touched == (set() if trusted else every)


def test_files_that_are_touched_are_no_reason_and_are_remembered(ground: Ground) -> None:
    record = ground.record()
    for path in (ground.source, ground.output, ground.shown):
        os.utime(path, (1, 1))
    verdict = ground.judge(record)
    assert (verdict.reasons, verdict.touched) == (
        [],
        {str(path) for path in (ground.source, ground.output, ground.shown)},
    )


@pytest.mark.parametrize("text", ["other", ""])
@pytest.mark.parametrize("trusted", [True, False])
def test_a_file_that_holds_something_else_or_became_empty_is_a_change(text: str, trusted: bool, ground: Ground) -> None:
    record = ground.record(trusted=trusted)
    ground.source.write_text(text)
    verdict = ground.judge(record)
    assert verdict.reasons == [Reason(Cause.INPUT_CHANGED, "src/fw.fd", file=str(ground.source))]
    assert str(verdict.reasons[0]) == "src/fw.fd changed"
    assert not verdict.only_places and str(ground.source) not in verdict.touched


@pytest.mark.parametrize("trusted", [True, False])
def test_an_input_of_the_plan_that_is_gone_is_a_change_however_it_was_recorded(trusted: bool, ground: Ground) -> None:
    record = ground.record(trusted=trusted)
    ground.source.unlink()
    assert ground.said(record) == ["src/fw.fd changed"]


def test_an_input_that_was_not_there_and_is_not_there_is_no_change(ground: Ground) -> None:
    ground.source.unlink()
    record = replace(ground.record(), files={str(ground.source): ABSENT})
    assert ground.judge(record).reasons == []
    ground.write(ground.source, "now it is")
    assert ground.said(record) == ["src/fw.fd changed"]


def test_inputs_that_come_go_and_change_are_told_in_this_order_each_sorted(ground: Ground) -> None:
    package = ground.tree / "pkg"
    for name in "abcdefghij":
        ground.write(package / name, name)
    inputs = Inputs(roots=(str(package),))
    record = ground.record(inputs=inputs)
    for name in "abcd":
        (package / name).unlink()
    for name in "hgfe":
        (package / name).write_text("other")
    for name in "ponm":
        ground.write(package / name, "new")
    assert ground.said(record) == [
        *(f"pkg/{name} is a new input" for name in "mnop"),
        *(f"pkg/{name} is no longer an input" for name in "abcd"),
        *(f"pkg/{name} changed" for name in "efgh"),
    ]
    assert [reason.file for reason in ground.judge(record).reasons][:1] == [str(package / "m")]


def test_of_what_was_found_out_only_files_that_exist_are_inputs_and_of_the_plan_all(ground: Ground) -> None:
    there, missing = ground.write(ground.tree / "there", ""), ground.tree / "missing"
    ground.source.unlink()
    inputs = Inputs(files=(str(there), str(missing)))
    assert input_files(FIRMWARE, inputs, ground.workspace()) == {str(there), str(ground.source)}


def test_files_are_named_from_the_tree_from_beside_the_output_folder_or_in_full(ground: Ground) -> None:
    others = [ground.write(ground.folder / name, "") for name in ("bin/x/y", "svsm/x/y", "bin2/y", "svsm2/y")]
    record = ground.record(inputs=Inputs(files=tuple(map(str, others))))
    for path in others:
        path.write_text("other")
    full = [f"{path} changed" for path in others[2:]]
    assert sorted(ground.said(record)) == sorted(["bin/x/y changed", "x/y changed", *full])


def test_in_an_output_folder_inside_of_the_tree_a_file_is_named_from_beside_that(tmp_path: Path) -> None:
    ground = Ground(tmp_path)
    ground.bin = ground.tree / "out" / "bin"
    file = ground.write(ground.bin / "x", "")
    record = ground.record(FIRMWARE_ALONE, Inputs(files=(str(file),)))
    file.write_text("other")
    assert ground.said(record, FIRMWARE_ALONE) == ["bin/x changed"]


FIRMWARE_ALONE = replace(FIRMWARE, inputs=(), outputs=(), publish=())


# Outputs


@pytest.mark.parametrize("trusted", [True, False])
def test_an_output_that_is_missing_or_another_one_is_a_reason_to_build(trusted: bool, ground: Ground) -> None:
    record = ground.record(trusted=trusted)
    ground.output.write_text("a user's")
    verdict = ground.judge(record)
    named = f"bin/.coconut/parts/fw-{KEY}/fw.bin"
    assert verdict.reasons == [Reason(Cause.OUTPUT_CHANGED, named, file=str(ground.output))]
    assert str(verdict.reasons[0]) == f"{named} changed after it was built" and not verdict.only_places
    ground.output.unlink()
    assert ground.judge(record).reasons == [Reason(Cause.OUTPUT_MISSING, named, file=str(ground.output))]
    assert ground.said(record) == [f"{named} is missing"]


def test_an_output_that_the_record_does_not_know_is_not_as_it_was_built(ground: Ground) -> None:
    record = replace(ground.record(), outputs={}, published={})
    assert [reason.cause for reason in ground.judge(record).reasons] == [Cause.OUTPUT_CHANGED, Cause.NOT_PUBLISHED]
    ground.shown.unlink()
    assert [reason.cause for reason in ground.judge(record).reasons] == [Cause.OUTPUT_CHANGED, Cause.NOT_PUBLISHED]


def test_what_is_on_record_of_good_outputs_need_not_be_read_by_who_comes_next(ground: Ground) -> None:
    record, workspace = ground.record(), ground.workspace()
    check_staleness(FIRMWARE, record, {str(ground.source)}, workspace)
    for path in (ground.output, ground.shown):
        assert workspace.files.known(str(path)) == record.outputs[OUTPUT][1]


def test_every_output_is_looked_at(ground: Ground) -> None:
    names = [f"../bin/.coconut/parts/fw-{KEY}/{name}" for name in ("a", "b", "c")]
    step = replace(FIRMWARE, outputs=tuple(names), publish=((names[0], "../bin/a"), (names[2], "../bin/c")))
    paths = [ground.write(ground.tree / name, name) for name in names]
    for path in (paths[0], paths[2]):
        ground.write(ground.bin / path.name, path.read_text())
    record = ground.record(step)
    assert ground.said(record, step) == []
    paths[0].unlink()
    paths[2].write_text("x")
    for name in ("a", "c"):
        (ground.bin / name).unlink()
    assert [reason.cause for reason in ground.judge(record, step).reasons] == [
        Cause.OUTPUT_MISSING,
        Cause.OUTPUT_CHANGED,
        Cause.NOT_PUBLISHED,
        Cause.NOT_PUBLISHED,
    ]


def test_a_published_file_that_is_gone_is_seen_behind_one_that_is_there(ground: Ground) -> None:
    step = replace(FIRMWARE, publish=((OUTPUT, SHOWN), (OUTPUT, "../bin/second")))
    second = ground.write(ground.bin / "second", "first")
    record = ground.record(step)
    second.unlink()
    assert ground.said(record, step) == ["bin/second is missing or differs from what was built"]


@pytest.mark.parametrize("trusted", [True, False])
def test_a_published_file_that_is_gone_or_another_one_is_only_placed_again(trusted: bool, ground: Ground) -> None:
    record = ground.record(trusted=trusted)
    for spoil in (lambda: ground.shown.write_text("a user's"), ground.shown.unlink):
        spoil()
        verdict = ground.judge(record)
        assert verdict.reasons == [Reason(Cause.NOT_PUBLISHED, "bin/fw.bin", file=str(ground.shown))]
        assert ground.said(record) == ["bin/fw.bin is missing or differs from what was built"]
        assert verdict.only_places and verdict.reasons[0].only_places
        assert str(ground.shown) not in verdict.touched


def test_a_published_file_is_ours_where_it_holds_the_same_whoever_placed_it(
    ground: Ground,
) -> None:
    verdict = ground.judge(replace(ground.record(), published={}))
    assert (verdict.reasons, verdict.touched) == ([], {str(ground.shown)})


def test_nothing_is_only_placed_where_something_is_built(ground: Ground) -> None:
    assert not Verdict().only_places
    record = ground.record()
    ground.shown.unlink()
    ground.source.write_text("other")
    verdict = ground.judge(record)
    assert [reason.only_places for reason in verdict.reasons] == [False, True]
    assert not verdict.only_places


def test_in_brief_outputs_are_judged_all_the_same_while_nothing_else_is_a_reason(ground: Ground) -> None:
    record = ground.record()
    ground.output.unlink()
    ground.shown.unlink()
    causes = [Cause.OUTPUT_MISSING, Cause.NOT_PUBLISHED]
    assert [reason.cause for reason in ground.judge(record, brief=True).reasons] == causes
    ground.source.write_text("other")
    assert [reason.cause for reason in ground.judge(record, brief=True).reasons] == [Cause.INPUT_CHANGED]
    assert [reason.cause for reason in ground.judge(record).reasons] == [Cause.INPUT_CHANGED, *causes]


# Commands, environment, tools


CARGO = Step(
    "kernel",
    "svsm",
    KEY,
    "",
    CargoItem(
        Command(("cargo", "+nightly", "build", "-vv"), (("A", "1"),), aside=(3,), toolchain="nightly"),
        Command(("cargo", "clean")),
        "svsm",
        "built",
        Command(("objcopy", "built", "out")),
        "out",
        toolchain="nightly",
    ),
    (),
    (),
)
MAKE = Step(
    "kernel",
    "stage1",
    KEY,
    "",
    MakeItem(Command(("make", "x")), "x", Command(("objcopy", "x", "out")), "out"),
    (),
    (),
)
MEASURE = Step(
    "measure",
    "qemu",
    KEY,
    "",
    Measurement(
        Command(("tools/igvmmeasure", "o.igvm")),
        "image",
        "tools/igvmmeasure",
        "o.igvm",
        "qemu",
        ("snp",),
        "0x30000",
        False,
        False,
        (("snp", "hex"),),
        *("json", "rvs", "corim"),
    ),
    ("image", "tools/igvmmeasure"),
    ("hex", "json", "rvs", "corim"),
)
PAPER = Step(
    "provenance",
    "qemu",
    KEY,
    "",
    Provenance("image", "o.igvm", "qemu", "r.json", (), (), (), (), None, "paper"),
    ("image",),
    ("paper",),
)


def test_the_signature_of_a_cargo_item(ground: Ground) -> None:
    names: list[str | None] = []

    def find(name: str | None) -> Any:
        names.append(name)
        return SimpleNamespace(rustc="rustc 1", cargo="cargo 1")

    ground.more = {"toolchains": SimpleNamespace(find=find)}
    objcopy = ground.write(ground.folder / "programs" / "objcopy", "#!/bin/sh\n")
    objcopy.chmod(0o755)
    ground.environment |= {"RUSTFLAGS": "-Cx", "LOGO": "a", "OTHER": "b", "CARGO_TERM_COLOR": "always"}
    folder = ground.write(ground.tree / "made" / "sub" / "file", "").parent.parent
    found = signature(
        CARGO, Inputs(folders=(str(folder),), variables=("LOGO", "UNSET", "CARGO_HOME")), ground.workspace()
    )
    # Their digests have no other source; that they distinguish folders is tested below.
    assert list(found.pop("folders")) == [str(folder)]
    assert found == {
        "commands": [[["A=1"], ["cargo", "+nightly", "build"]], [[], ["objcopy", "built", "out"]]],
        "revision": CargoItem.revision,
        "environment": {
            "RUSTFLAGS": "-Cx",
            "LOGO": "a",
            "UNSET": None,
            "CARGO_HOME": str(ground.folder / ".cargo"),
        },
        "tools": {
            "rustc": "rustc 1",
            "cargo": "cargo 1",
            "objcopy": f"{objcopy} {objcopy.stat().st_size} {objcopy.stat().st_mtime_ns}",
        },
    }
    assert set(names) == {"nightly"}


def test_the_signature_of_a_make_item(ground: Ground) -> None:
    ground.environment |= {"RUSTFLAGS": "-Cx", "FLAVOUR": "a", "OTHER": "b"}
    found = signature(MAKE, Inputs(variables=("FLAVOUR", "UNSET")), ground.workspace())
    assert found == {
        "commands": [[[], ["make", "x"]], [[], ["objcopy", "x", "out"]]],
        "revision": MakeItem.revision,
        "environment": {"FLAVOUR": "a"},
        "tools": {"make": "missing", "objcopy": "missing"},
        "folders": {},
    }


def test_a_toolchain_that_is_not_there_is_told_as_missing(ground: Ground) -> None:
    ground.more = {"toolchains": SimpleNamespace(find=lambda name: None)}
    tools = signature(CARGO, Inputs(), ground.workspace())["tools"]
    assert tools == {"rustc": "missing", "cargo": "missing", "objcopy": "missing"}


def test_papers_name_this_program_and_the_provenance_the_repository(ground: Ground) -> None:
    ground.environment |= {"GIT_DIR": "/elsewhere", "RUSTFLAGS": "-Cx"}
    workspace = ground.workspace()
    paper, measure = (signature(step, Inputs(variables=("RUSTFLAGS",)), workspace) for step in (PAPER, MEASURE))
    assert (paper["environment"], paper["tools"]) == ({"GIT_DIR": "/elsewhere"}, {OURSELVES: __version__})
    assert (measure["environment"], measure["tools"]) == ({}, {OURSELVES: __version__})
    plain = signature(FIRMWARE, Inputs(variables=("RUSTFLAGS",)), workspace)
    assert (plain["commands"], plain["environment"], plain["tools"]) == ([], {}, {})


def test_what_is_no_installed_program_is_no_tool_of_a_step(ground: Ground) -> None:
    """A host tool is an input; the recipe's own command runs each time."""
    action = FirmwareImage(Command(("./fetch.sh", "make")), "src/fw.fd", None, OUTPUT)
    assert signature(replace(FIRMWARE, action=action), Inputs(), ground.workspace())["tools"] == {}


def test_other_folders_in_a_folder_that_is_looked_through_are_told(ground: Ground) -> None:
    folder = ground.tree / "made"
    for name in ("a", "b", "a/b"):
        (folder / name).mkdir(parents=True)
    record = ground.record(inputs=Inputs(folders=(str(folder),)))
    assert ground.judge(record).reasons == []
    (folder / "c").mkdir()
    (reason,) = ground.judge(record).reasons
    assert (reason.cause, reason.subject) == (Cause.FOLDERS, str(folder))
    assert str(reason) == f"folders were added to or removed from {folder}"
    (folder / "c").rmdir()
    (folder / "\udcff").mkdir()  # a name that is not text
    assert [reason.cause for reason in ground.judge(record).reasons] == [Cause.FOLDERS]
    (folder / "\udcff").rmdir()
    (folder / "a" / "b").rmdir()
    assert [reason.cause for reason in ground.judge(record).reasons] == [Cause.FOLDERS]


def stale(ground: Ground, step: Step = FIRMWARE, **changes: Any) -> list[str]:
    """The reasons if this was different in the last run's signature."""
    record = ground.record(step)
    return ground.said(replace(record, signature={**record.signature, **changes}), step)


def test_what_changed_of_environment_tools_and_revision_is_told_as_old_and_new(ground: Ground) -> None:
    ground.environment |= {"GIT_DIR": "/elsewhere"}
    step = replace(PAPER, inputs=(), outputs=())
    assert stale(ground, step) == []
    assert stale(ground, step, environment={}) == ["environment variable GIT_DIR: unset → '/elsewhere'"]
    assert stale(ground, step, environment={"GIT_WORK_TREE": "/t", "GIT_DIR": "/x"}, tools={OURSELVES: "0.1"}) == [
        "environment variable GIT_DIR: '/x' → '/elsewhere'",
        "environment variable GIT_WORK_TREE: '/t' → unset",
        f"coconut-tasks 0.1 → {__version__}",
    ]
    assert stale(ground, step, revision=1) == ["this version of coconut-tasks builds it differently (revision 1 → 2)"]


def rustc(release: str, commit: str, llvm: str) -> str:
    return f"rustc {release} ({commit} 2026-01-01)\nbinary: rustc\nrelease: {release}\nLLVM version: {llvm}"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"rustc": rustc("1.95.0", "a", "20")}, {"rustc": rustc("1.96.0", "b", "21")}, ["rustc 1.95.0 → 1.96.0"]),
        # The difference is shown, even if it is only the commit or LLVM.
        (
            {"rustc": rustc("1.97.0-nightly", "a", "20")},
            {"rustc": rustc("1.97.0-nightly", "b", "20")},
            ["rustc 1.97.0-nightly (a 2026-01-01) → 1.97.0-nightly (b 2026-01-01)"],
        ),
        (
            {"rustc": rustc("1.95.0", "a", "20")},
            {"rustc": rustc("1.95.0", "a", "21")},
            ["rustc LLVM version: 20 → LLVM version: 21"],
        ),
        ({"rustc": rustc("1.95.0", "a", "20")}, {"rustc": "missing"}, ["rustc 1.95.0 → missing"]),
        # Both belong to the toolchain, which is one reason. cargo alone has its own.
        (
            {"rustc": rustc("1.95.0", "a", "20"), "cargo": "cargo 1.95.0 (c d)"},
            {"rustc": rustc("1.96.0", "b", "20"), "cargo": "cargo 1.96.0 (e f)"},
            ["rustc 1.95.0 → 1.96.0"],
        ),
        ({"cargo": "cargo 1.95.0 (c d)"}, {"cargo": "cargo 1.96.0 (e f)"}, ["cargo 1.95.0 → 1.96.0"]),
        ({"make": "/usr/bin/my make 1 2"}, {"make": "/opt/make 1 2"}, ["make /usr/bin/my make → /opt/make"]),
        ({"make": "/usr/bin/make 1 2"}, {"make": "/usr/bin/make 1 3"}, ["the program /usr/bin/make changed"]),
        ({}, {"objcopy": "/usr/bin/objcopy 1 2"}, ["objcopy none → /usr/bin/objcopy"]),
    ],
)
def test_a_changed_tool_is_one_line_with_both_versions(
    old: dict[str, str], new: dict[str, str], said: list[str], ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = ground.record()
    record = replace(record, signature={**record.signature, "tools": old})
    now = {**record.signature, "tools": new}
    monkeypatch.setattr("coconut_tasks.freshness.staleness.signature", lambda *_: now)
    assert ground.said(record) == said


def test_a_variable_that_was_not_set_and_is_not_there_any_more_is_no_change(ground: Ground) -> None:
    assert stale(ground, environment={"UNSET": None}) == []


def test_another_command_is_told_by_its_words(ground: Ground) -> None:
    other = [[[], ["make", "y"]], [[], ["objcopy", "x", "out"]]]
    assert stale(ground, MAKE, commands=other) == ["command changed: 'y' → 'x'"]
    # The same words, but grouped differently.
    split = [[[], ["make"]], [["x"], ["objcopy", "x", "out"]]]
    assert stale(ground, MAKE, commands=split) == ["command changed: the same words are grouped differently"]


def test_a_variable_of_a_command_decides_and_words_that_only_talk_do_not(ground: Ground) -> None:
    assert isinstance(CARGO.action, CargoItem) and CARGO.action.objcopy is not None
    step = replace(CARGO, action=replace(CARGO.action, toolchain=None))
    ground.more = {"toolchains": SimpleNamespace(find=lambda name: None)}
    record = ground.record(step)
    for build, told in (
        (replace(CARGO.action.build, argv=("cargo", "+nightly", "build", "-q")), []),
        (replace(CARGO.action.build, env=(("A", "2"),)), ["command changed: 'A=1' → 'A=2'"]),
    ):
        assert ground.said(record, replace(step, action=replace(CARGO.action, toolchain=None, build=build))) == told


# A variant that never ran


def new(step: Step, other: Mapping[str, Any] | None, ground: Ground) -> str:
    (reason,) = check_staleness(step, None, frozenset(), ground.workspace(), lambda: other).reasons
    return str(reason)


def test_a_step_without_a_record_is_new_or_a_new_variant(ground: Ground) -> None:
    (reason,) = check_staleness(MAKE, None, frozenset(), ground.workspace()).reasons
    assert (reason.cause, str(reason)) == (Cause.NEW, "never built")
    assert new(MAKE, {"commands": [[[], ["make", "y"]], [[], ["objcopy", "x", "out"]]]}, ground) == "never built with x"
    same = {"commands": [[[], ["make", "x"]], [[], ["objcopy", "x", "out"]]]}
    assert new(MAKE, same, ground) == "never built from these files"
    # A variant that ran is not compared with others.
    ran = check_staleness(MAKE, None, frozenset(), ground.workspace(), lambda: same, ran=lambda: True).reasons
    assert [reason.cause for reason in ran] == [Cause.NO_RECORD]


def test_a_steps_own_folder_is_no_difference_and_that_of_another_part_is(ground: Ground) -> None:
    def image(own: str, kernel: str) -> tuple[str, ...]:
        parts = "../bin/.coconut/parts"
        return ("igvmbuilder", "--kernel", f"{parts}/svsm-{kernel}/svsm", "-o", f"{parts}/qemu-{own}/q.igvm")

    output = image(KEY, KEY)[-1]
    step = Step("igvm", "qemu", KEY, "", IgvmImage(Command(image(KEY, KEY)), output), (), (output,))
    old = [[[], list(image(OTHER_KEY, OTHER_KEY))]]
    assert new(step, {"commands": old}, ground) == "never built with this svsm"
    assert stale(ground, step, commands=old)[0] == "command changed: a different svsm"


# Steps that run each time


@pytest.mark.parametrize(
    ("step", "complete", "ask_cargo", "told"),
    [
        (CARGO, True, False, []),
        (CARGO, False, False, [str(Reason(Cause.UNKNOWN_INPUTS, "cargo"))]),
        (CARGO, True, True, [str(Reason(Cause.UNKNOWN_INPUTS, "cargo"))]),
        (MAKE, True, True, []),
        (MAKE, False, False, [str(Reason(Cause.UNKNOWN_INPUTS, "make"))]),
        (FIRMWARE, False, True, []),
    ],
)
def test_what_is_not_known_is_asked_for_each_time(
    step: Step, complete: bool, ask_cargo: bool, told: list[str], ground: Ground
) -> None:
    ground.more = {"toolchains": SimpleNamespace(find=lambda name: None), "ask_cargo": ask_cargo}
    assert ground.said(ground.record(step, Inputs(complete=complete)), step) == told


# The version file


def test_the_version_file_is_judged_by_its_text_whatever_is_on_record(ground: Ground) -> None:
    step = Step("version", "git", KEY, "", VersionFile("src/version.rs"), (), ("src/version.rs",))
    workspace = ground.workspace()
    workspace.shared("version", lambda: "1.0-5")
    for record in (None, ground.record(FIRMWARE)):
        (reason,) = check_staleness(step, record, frozenset(), workspace).reasons
        assert (reason.cause, reason.subject) == (Cause.VERSION, "src/version.rs")
        assert str(reason) == "the version changed"
    file = ground.write(ground.tree / "src" / "version.rs", '// ours\npub const GIT_VERSION: &str = "1.0-5";\n')
    assert check_staleness(step, None, frozenset(), workspace).reasons == []
    file.write_text('pub const GIT_VERSION: &str = "1.0-4";\n')
    assert [reason.cause for reason in check_staleness(step, None, frozenset(), workspace).reasons] == [Cause.VERSION]


# What a run would do


def assess(
    name: str,
    action: Action,
    *,
    reads: tuple[str, ...] = (),
    makes: tuple[str, ...] = (),
    reasons: tuple[Reason, ...] = (),
    after: tuple[str, ...] = (),
    roots: tuple[str, ...] = (),
    ignored: bool = False,
) -> Assessment:
    stage, _, component = name.partition(":")
    step = Step(stage, component, KEY, "", action, reads, makes, after=after)
    inputs = frozenset(f"/t/{path}" for path in reads)
    found = Assessment(step, reasons, inputs, tuple(f"/t/{root}" for root in roots), len(reads))
    return replace(found, ignored=True) if ignored else found


def coming(*assessments: Assessment) -> dict[str, Forecast]:
    return forecast(assessments, lambda path: f"/t/{path}")


def fates(*assessments: Assessment) -> dict[str, Fate]:
    return {name: one.fate for name, one in coming(*assessments).items()}


KERNEL, IMAGE, DIGEST = FsImage((), "", Command(("k",)), "k"), IgvmImage(Command(("b",)), "i"), MEASURE.action
SOURCE = Reason(Cause.INPUT_CHANGED, "main.rs", file="/t/main.rs")
UNPLACED = Reason(Cause.NOT_PUBLISHED, "bin/k", file="/t/bin/k")


def chain(
    *reasons: Reason, image: tuple[Reason, ...] = (), ignored: bool = False
) -> tuple[Assessment, Assessment, Assessment]:
    """A kernel, its image, and the image's measurement."""
    return (
        assess("kernel:svsm", KERNEL, reads=("main.rs",), makes=("k",), reasons=reasons, ignored=ignored),
        assess("igvm:qemu", IMAGE, reads=("k", "tool"), makes=("i",), reasons=image),
        assess("measure:qemu", DIGEST, reads=("i",), makes=("d",)),
    )


def test_the_words_that_the_json_of_a_plan_has_do_not_change() -> None:
    assert [fate.value for fate in Fate] == [
        *("runs", "comes from the cache", "is restored", "may run", "is up to date", "is ignored (doit ignore)")
    ]


def test_what_has_no_reason_and_reads_nothing_new_rests() -> None:
    found = coming(*chain())
    assert {(one.fate, one.reasons, one.because) for one in found.values()} == {(Fate.RESTS, (), ())}
    assert {name: one.inputs for name, one in found.items()} == {"kernel:svsm": 1, "igvm:qemu": 2, "measure:qemu": 1}
    assert [one.step.name for one in found.values()] == list(found)


def test_what_reads_what_is_made_anew_may_run_and_so_on() -> None:
    found = coming(*chain(SOURCE))
    assert found["kernel:svsm"] == Forecast(found["kernel:svsm"].step, Fate.RUNS, ("main.rs changed",), 1)
    for name, before in (("igvm:qemu", "kernel:svsm"), ("measure:qemu", "igvm:qemu")):
        assert (found[name].fate, found[name].because) == (Fate.MAYBE, (before,))
        assert found[name].reasons == (f"if {before} changes",)
    assert [found[name].inputs for name in ("igvm:qemu", "measure:qemu")] == [2, 1]


def test_a_reason_of_its_own_is_certain_and_so_is_told_alone() -> None:
    policy = Reason(Cause.COMMAND, "--policy")
    found = coming(*chain(SOURCE, image=(policy,)))["igvm:qemu"]
    assert (found.fate, found.reasons) == (Fate.RUNS, ("command changed: --policy",))
    assert found.because == ("kernel:svsm",)
    assert found.inputs == 2


def test_a_file_that_is_made_anew_before_may_well_be_as_it_was_then() -> None:
    gone = Reason(Cause.INPUT_CHANGED, "bin/k", file="/t/k")
    assert fates(*chain(SOURCE, image=(gone,)))["igvm:qemu"] is Fate.MAYBE
    other = Reason(Cause.INPUT_CHANGED, "bin/tool", file="/t/tool")
    assert fates(*chain(SOURCE, image=(gone, other)))["igvm:qemu"] is Fate.RUNS
    # A file that its step only places again is not rebuilt.
    assert fates(*chain(UNPLACED, image=(gone,)))["igvm:qemu"] is Fate.RUNS
    assert fates(*chain(image=(gone,)))["igvm:qemu"] is Fate.RUNS


def test_what_is_only_placed_again_makes_nobody_run() -> None:
    found = coming(*chain(UNPLACED))
    assert {name: one.fate for name, one in found.items()} == {
        "kernel:svsm": Fate.PLACES,
        "igvm:qemu": Fate.RESTS,
        "measure:qemu": Fate.RESTS,
    }
    assert found["kernel:svsm"].reasons == ("bin/k is missing or differs from what was built",)
    assert found["igvm:qemu"].reasons == ()


def test_papers_go_before_their_image_is_placed_and_are_placed_behind_it() -> None:
    placed = Reason(Cause.NOT_PUBLISHED, "bin/i", file="/t/bin/i")
    found = coming(*chain(image=(placed,)))
    assert (found["measure:qemu"].fate, found["measure:qemu"].reasons) == (Fate.PLACES, ("igvm:qemu is restored",))
    # Other files stay.
    other = assess("fs:image", KERNEL, reads=("i",), makes=("x",))
    assert fates(*chain(image=(placed,)), other)["fs:image"] is Fate.RESTS
    # The statement's own reason is not shown twice.
    own = assess("measure:other", DIGEST, reads=("i",), makes=("e",), reasons=(UNPLACED,))
    assert coming(*chain(image=(placed,)), own)["measure:other"].reasons == (str(UNPLACED),)
    # A tool that is restored is not an image.
    tool = assess("tool:igvmmeasure", KERNEL, makes=("i",), reasons=(UNPLACED,))
    assert fates(tool, assess("measure:qemu", DIGEST, reads=("i",)))["measure:qemu"] is Fate.RESTS


def test_what_an_ignored_step_makes_is_waited_for_by_nobody() -> None:
    found = coming(
        *chain(SOURCE, ignored=True), assess("tool:x", KERNEL, reads=("x",), makes=("y",), reasons=(SOURCE,))
    )
    assert {name: one.fate for name, one in found.items()} == {
        "kernel:svsm": Fate.IGNORED,
        "igvm:qemu": Fate.IGNORED,
        "measure:qemu": Fate.IGNORED,
        "tool:x": Fate.RUNS,
    }
    assert (found["kernel:svsm"].reasons, found["kernel:svsm"].inputs) == ((), 1)


@pytest.mark.parametrize("reads", [(), ("v.rs",)])
def test_ignored_is_passed_on_by_order_alone_and_nothing_else_is(reads: tuple[str, ...]) -> None:
    version = assess("version:git", VersionFile("v.rs"), makes=("v.rs",), reasons=(Reason(Cause.VERSION, "v.rs"),))
    kernel = assess("kernel:svsm", KERNEL, reads=reads, makes=("k",), after=("v.rs", "w.rs"))
    assert fates(replace(version, ignored=True), kernel)["kernel:svsm"] is Fate.IGNORED
    found = coming(version, kernel)["kernel:svsm"]
    assert found.fate is (Fate.RUNS if reads else Fate.RESTS)


def test_a_version_file_that_is_written_is_another_one_for_certain() -> None:
    version = assess("version:git", VersionFile("v.rs"), makes=("v.rs",), reasons=(Reason(Cause.VERSION, "v.rs"),))
    kernel = assess("kernel:svsm", KERNEL, reads=("v.rs",), makes=("k",))
    found = coming(version, kernel)["kernel:svsm"]
    assert (found.fate, found.reasons) == (Fate.RUNS, ("version:git rewrites v.rs",))
    assert (found.because, found.inputs) == (("version:git",), 1)
    stale = replace(kernel, reasons=(SOURCE,))
    assert coming(version, stale)["kernel:svsm"].reasons == ("main.rs changed", "version:git rewrites v.rs")


def test_a_file_in_a_folder_of_which_every_file_counts_is_read() -> None:
    """Also one that does not exist yet."""
    made = assess("kernel:a", KERNEL, makes=("pkg/made",), reasons=(SOURCE,))
    for roots, fate in ((("pkg",), Fate.MAYBE), (("pk",), Fate.RESTS), (("pkg/made",), Fate.RESTS), ((), Fate.RESTS)):
        assert fates(made, assess("kernel:b", KERNEL, roots=roots))["kernel:b"] is fate


def test_what_make_writes_in_the_tree_is_read_too() -> None:
    made = assess("kernel:stage1", MAKE.action, makes=("out",), reasons=(SOURCE,))
    assert fates(made, assess("kernel:b", KERNEL, reads=("x",)))["kernel:b"] is Fate.MAYBE


def test_of_several_steps_before_each_is_named_once() -> None:
    first = assess("kernel:a", KERNEL, makes=("a", "a2"), reasons=(SOURCE,))
    second = assess("kernel:b", KERNEL, makes=("b",), reasons=(SOURCE,))
    placed = assess("kernel:c", KERNEL, makes=("c",), reasons=(UNPLACED,))
    found = coming(first, second, placed, assess("igvm:qemu", IMAGE, reads=("a", "a2", "b", "c")))["igvm:qemu"]
    assert found.because == ("kernel:a", "kernel:b")
    assert found.reasons == ("if kernel:a or kernel:b changes",)
