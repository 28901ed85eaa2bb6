"""Plans compared as values: what the command tables do not show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from coconut_tasks.errors import UsageError
from coconut_tasks.layout import SIDECARS, Layout
from coconut_tasks.options import Options, parse_features
from coconut_tasks.plan.context import PlanContext
from coconut_tasks.plan.firmware import unset_variable
from coconut_tasks.plan.plan import Plan, plan_recipes
from coconut_tasks.recipe.load import load_recipe
from coconut_tasks.recipe.model import BuildType, Component, Firmware, Recipe, Target
from coconut_tasks.steps.action import CargoItem, FirmwareImage, FsImage, IgvmImage, Measurement, Provenance
from coconut_tasks.steps.command import Command
from coconut_tasks.steps.step import Step, direct_needs
from coconut_tasks.tools.cargo import cargo_command
from coconut_tasks.tools.igvmbuilder import Parts, igvmbuilder_command
from coconut_tasks.tools.make import make_command

RECIPE: dict[str, Any] = {
    "igvm": {"qemu": {"output": "a.igvm"}},
    "kernel": {"svsm": {"features": "vtpm"}, "bldr": {"manifest": "boot/bldr/Cargo.toml", "binary": True}},
}


def recipe(source: str = "a.json", **changes: Any) -> Recipe:
    return load_recipe(source, json.dumps({**RECIPE, **changes}).encode())


def context(**options: Any) -> PlanContext:
    return PlanContext(Options(workdir="/home/me", **options), Layout("bin"))


def plan(*recipes: Recipe, **options: Any) -> Plan:
    return plan_recipes(recipes or (recipe(),), context(**options))


def step(found: Plan, name: str) -> Step:
    (only,) = [step for step in found.steps if step.name == name]
    return only


def keys(found: Plan) -> dict[str, str]:
    return {step.name: step.key for step in found.steps}


def changed(old: Plan, new: Plan) -> set[str]:
    """Names of the steps that have another variant in the new plan, or are in only one of the two."""
    return {name for name, _ in keys(old).items() ^ keys(new).items()}


def test_steps_come_after_what_they_read() -> None:
    seen: set[str] = set()
    for found in plan(recipe(fs={"modules": {"init": {}, "more": {}}})).steps:
        assert set(found.inputs) <= seen
        seen |= set(found.outputs)


def test_the_same_ground_and_recipe_give_the_same_plan() -> None:
    assert plan() == plan()
    # Also in another process, where sets have another order.
    code = "from test_plan import *; print(plan(recipe(**EVERY), features=parse_features('a,b,c,d,packit:e,packit:f')))"
    plans = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(plans) == 1


def test_the_order_of_keys_in_a_recipe_changes_nothing() -> None:
    turned = {key: dict(reversed(value.items())) for key, value in reversed(RECIPE.items())}
    assert plan(load_recipe("a.json", json.dumps(turned).encode())) == plan()


@pytest.mark.parametrize(
    ("igvm", "stale"),
    [
        ({"policy": "0x30001"}, {"igvm:qemu", "measure:qemu", "provenance:qemu"}),
        ({"comport": "3"}, {"igvm:qemu", "measure:qemu", "provenance:qemu"}),
        ({"no-vtom": True}, {"igvm:qemu", "measure:qemu", "provenance:qemu"}),
        ({"platforms": ["snp"]}, {"igvm:qemu", "measure:qemu", "provenance:qemu"}),
        ({"measure-native-zeroes": True}, {"measure:qemu", "provenance:qemu"}),
        ({"check-kvm": True}, {"measure:qemu", "provenance:qemu"}),
        ({"measure": "print"}, set()),
    ],
)
def test_a_changed_igvm_field_makes_another_variant_of_just_the_steps_that_see_it(igvm: Any, stale: set[str]) -> None:
    new = plan(recipe(igvm={"qemu": {"output": "a.igvm", **igvm}}))
    assert changed(plan(), new) == stale


def test_a_feature_makes_another_variant_of_its_part_and_of_what_holds_it() -> None:
    new = plan(features=parse_features("attest"))
    assert changed(plan(), new) == {"kernel:svsm", "igvm:qemu", "measure:qemu", "provenance:qemu"}


def test_a_release_build_shares_nothing_with_a_debug_build() -> None:
    assert changed(plan(), plan(release=True)) == set(keys(plan())) - {"version:git"}


MADE = {"type": "make", "output_file": "out/stage1"}


def test_how_tools_talk_and_how_things_are_fetched_makes_no_other_variant() -> None:
    every = recipe(kernel={"svsm": {}, "tdx-stage1": MADE}, fs={"modules": {"init": {}}})
    plain, loud = plan(every), plan(every, verbose=True, offline=True)
    assert changed(plain, loud) == set()
    for one, other in zip(plain.steps, loud.steps, strict=True):
        assert (one.inputs, one.outputs) == (other.inputs, other.outputs)
        assert [command.deciding for command in one.commands] == [command.deciding for command in other.commands]
    words = [word for step in loud.steps for command in step.commands for word in command.argv]
    assert {"-vv", "--locked", "--offline", "V=2", "--verbose"} <= set(words)


def test_a_word_that_only_looks_like_one_of_ours_decides() -> None:
    """They are known by their positions. Today no such recipe gets this far, since its words are checked."""
    for verbose in (False, True):
        options = Options(verbose=verbose)
        item = Component("V=2", type=BuildType.MAKE, output_file="V=2")
        assert make_command(item, (), options).deciding == ("make", "V=2")
        assert cargo_command(Component("-vv"), (), options, None).deciding[-2:] == ("--package", "-vv")
        parts = Parts("--verbose")
        assert "--verbose" in igvmbuilder_command("x", Target("qemu", "o"), parts, "o", verbose=verbose).deciding


def test_variants_never_share_a_file() -> None:
    debug = {output for found in plan().steps for output in found.outputs}
    release = {output for found in plan(release=True).steps for output in found.outputs}
    assert debug & release == {"release/src/git_version.rs"}


def test_another_tree_is_another_variant() -> None:
    other = plan_recipes([recipe()], replace(context(), tree="/other"))
    assert changed(plan(), other) == set(keys(plan()))


def test_kernel_parts_images_and_measurements_are_shown_in_bin() -> None:
    shown = {place for found in plan(recipe(fs={"modules": {"init": {}}})).steps for _, place in found.publish}
    papers = [f"a.igvm{end}" for end in SIDECARS]
    assert shown == {f"bin/{name}" for name in ["svsm", "bldr", "svsm-fs.bin", "a.igvm", *papers]}


def test_modules_are_laid_out_by_their_paths() -> None:
    found = plan(recipe(fs={"modules": {"z": {"path": "/init"}, "a": {"path": "/test/a"}, "m": {}}}))
    action = step(found, "fs:image").action
    assert isinstance(action, FsImage)
    assert [path for path, _ in action.files] == ["init", "m", "test/a"]


def test_what_is_packed_is_laid_out_beside_the_image_and_so_is_removed_with_it() -> None:
    action = step(plan(recipe(fs={"modules": {"init": {}}})), "fs:image").action
    assert isinstance(action, FsImage)
    assert PurePosixPath(action.root).parent == PurePosixPath(action.output).parent


def test_a_module_at_another_path_is_the_same_build() -> None:
    old, new = (plan(recipe(fs={"modules": {"init": {"path": path}}})) for path in ("/init", "/sbin/init"))
    assert changed(old, new) == {"fs:image", "igvm:qemu", "measure:qemu", "provenance:qemu"}


def test_a_target_without_a_platform_that_measures_has_no_measurement() -> None:
    found = plan(recipe(igvm={"hyper-v": {"platforms": ["native"]}}))
    assert {"tool:igvmbuilder", "igvm:hyper-v"} <= keys(found).keys()
    assert not {"tool:igvmmeasure", "measure:hyper-v"} & keys(found).keys()


def test_a_target_without_snp_is_measured_without_igvmmeasure() -> None:
    found = plan(recipe(igvm={"hyper-v": {"platforms": ["vsm", "native", "tdp"]}}))
    assert "tool:igvmmeasure" not in keys(found)
    measured = step(found, "measure:hyper-v")
    assert isinstance(measured.action, Measurement) and not measured.action.commands
    assert [platform for platform, _ in measured.action.hexes] == ["tdp", "vsm"]
    assert measured.inputs == step(found, "igvm:hyper-v").outputs[:1]
    ends = [".mrtd.hex", ".boot-digest.hex", ".launch-digest.json", ".reference-values.json", ".corim"]
    assert [place for _, place in measured.publish] == [f"bin/coconut-hyper-v.igvm{end}" for end in ends]
    action = step(found, "igvm:hyper-v").action
    assert isinstance(action, IgvmImage)
    assert "--policy" not in action.build.argv


def test_a_provenance_is_of_the_steps_that_its_own_image_is_made_by() -> None:
    found = plan(recipe(igvm={"qemu": {}, "hyper-v": {"platforms": ["native"]}}, fs={"modules": {"init": {}}}))
    made = {name: step(found, f"provenance:{name}").action for name in ("qemu", "hyper-v")}
    links = {step.link: step.name for step in found.steps if step.link}
    both = {"kernel:svsm", "kernel:bldr", "tool:packit", "module:init", "fs:image", "tool:igvmbuilder"}
    assert {
        name: {links[link] for link in action.links} for name, action in made.items() if isinstance(action, Provenance)
    } == {
        "qemu": both | {"igvm:qemu", "tool:igvmmeasure", "measure:qemu"},
        "hyper-v": both | {"igvm:hyper-v"},
    }
    for action in made.values():
        assert isinstance(action, Provenance)
        assert [name for name, _ in action.parts] == ["kernel:svsm", "kernel:bldr", "fs:image"]
    assert isinstance(made["hyper-v"], Provenance) and made["hyper-v"].measurement is None


def test_what_was_asked_for_beside_the_recipe_is_in_the_provenance() -> None:
    found = plan(
        release=True, offline=True, verbose=True, reproducible=True, features=parse_features("attest, packit:x")
    )
    action = step(found, "provenance:qemu").action
    assert isinstance(action, Provenance)
    assert dict(action.options) == {"RELEASE": "1", "REPRODUCIBLE": "1", "FEATURES": "svsm:attest,packit:x"}
    assert changed(plan(features=parse_features("nobody:x")), plan()) == {"provenance:qemu"}


def test_the_picture_is_not_full_of_what_is_on_paper() -> None:
    assert direct_needs(plan().steps)["provenance:qemu"] == ("igvm:qemu", "measure:qemu", "kernel:svsm", "kernel:bldr")


def test_a_recipe_without_targets_builds_its_parts() -> None:
    assert set(keys(plan(recipe(igvm={})))) == {"version:git", "kernel:svsm", "kernel:bldr"}


def test_a_tree_without_the_release_crate_has_no_version_step() -> None:
    found = plan_recipes([recipe()], replace(context(), has_version_file=False))
    assert "version:git" not in keys(found)
    assert not any(step.after for step in found.steps)


def test_the_target_triple_is_the_grounds() -> None:
    found = plan_recipes([recipe()], replace(context(), triple="x86_64-unknown-linux-gnu"))
    action = step(found, "kernel:svsm").action
    assert isinstance(action, CargoItem)
    assert "x86_64-unknown-linux-gnu" in action.build.argv


def test_host_tools_are_not_built_for_a_default_target() -> None:
    host = "x86_64-unknown-linux-gnu"
    modules = recipe(fs={"modules": {"init": {}}})
    plain = plan(modules)
    found = plan_recipes([modules], replace(context(), host=host))
    assert {name for name in changed(plain, found) if name.startswith(("kernel:", "module:"))} == set()
    works = {step.name: step.action for step in found.steps if isinstance(step.action, CargoItem)}
    named = {name: action.build.argv[action.build.argv.index("--target") + 1] for name, action in works.items()}
    assert named == {name: host if name.startswith("tool:") else "x86_64-unknown-none" for name in works}


# Firmware


def firmware(value: Any, **environment: str) -> tuple[FirmwareImage, Plan]:
    found = plan(recipe(firmware=value), environment=environment)
    action = step(found, "firmware:guest").action
    assert isinstance(action, FirmwareImage)
    return action, found


def test_a_firmware_file_wins_over_the_variable() -> None:
    action, found = firmware({"file": "fw/OVMF.fd", "env": "FW_FILE"}, FW_FILE="/other.fd")
    assert (action.source, action.variable) == ("fw/OVMF.fd", None)
    assert step(found, "firmware:guest").inputs == ("fw/OVMF.fd",)


def test_a_firmware_variable_is_relative_to_where_the_user_stands() -> None:
    action, found = firmware({"env": "FW_FILE"}, FW_FILE="OVMF.fd")
    assert action.source == "/home/me/OVMF.fd"
    igvm = step(found, "igvm:qemu").action
    assert isinstance(igvm, IgvmImage)
    assert igvm.build.argv[igvm.build.argv.index("--firmware") + 1] == action.output


def test_without_the_firmware_variable_the_image_has_no_firmware() -> None:
    found = plan(recipe(firmware={"env": "FW_FILE"}), environment={"FW_FILE": ""})
    assert not [one for one in found.steps if one.stage == "firmware"]
    igvm = step(found, "igvm:qemu").action
    assert isinstance(igvm, IgvmImage)
    assert "--firmware" not in igvm.build.argv


def test_a_firmware_command_runs_without_its_variable_too() -> None:
    action, found = firmware({"env": "FW_FILE", "command": ["./fetch.sh"]})
    assert (action.command, action.source) == (Command(("./fetch.sh",)), None)
    igvm = step(found, "igvm:qemu").action
    assert isinstance(igvm, IgvmImage)
    assert "--firmware" not in igvm.build.argv


def test_a_firmware_command_makes_its_file_no_input_known_beforehand() -> None:
    action, found = firmware({"command": ["./fetch.sh", "a b"], "file": "fw.fd"})
    assert action.command is not None
    assert action.command.argv == ("./fetch.sh", "a b")
    assert step(found, "firmware:guest").inputs == ()


def test_a_firmware_command_alone_puts_no_firmware_into_the_image() -> None:
    _, found = firmware({"command": ["true"]})
    igvm = step(found, "igvm:qemu").action
    assert isinstance(igvm, IgvmImage)
    assert "--firmware" not in igvm.build.argv
    assert step(found, "firmware:guest").outputs == (step(found, "firmware:guest").link,)


def test_an_empty_firmware_object_is_no_firmware() -> None:
    assert "firmware:guest" not in keys(plan(recipe(firmware={})))


# Several recipes


def test_what_recipes_share_is_one_step() -> None:
    other = recipe("b.json", igvm={"hyper-v": {"output": "b.igvm"}})
    names = [step.name for step in plan(recipe(), other).steps]
    assert sorted(names) == sorted(set(names))
    assert {"igvm:qemu", "igvm:hyper-v", "kernel:svsm"} <= set(names)


def test_where_recipes_differ_each_is_built_and_the_last_is_shown() -> None:
    other = recipe("x/b.json", igvm={"hyper-v": {"output": "b.igvm"}}, kernel={"svsm": {"features": "more"}})
    found = plan(recipe(), other)
    first, last = step(found, "kernel:svsm@a"), step(found, "kernel:svsm@b")
    assert first.publish == ()
    assert last.publish == ((last.outputs[0], "bin/svsm"),)
    assert first.outputs[0] in step(found, "igvm:qemu").inputs
    assert last.outputs[0] in step(found, "igvm:hyper-v").inputs


def test_recipes_of_one_name_are_told_apart() -> None:
    other = recipe("x/a.json", igvm={"hyper-v": {"output": "b.igvm"}}, kernel={"svsm": {}})
    assert {"kernel:svsm@a", "kernel:svsm@x/a"} <= keys(plan(recipe(), other)).keys()


def test_no_two_tasks_have_one_name_and_none_has_an_equal_sign() -> None:
    """doit reads a word with an equal sign as a variable, and refuses duplicate names."""
    names = ["d1/x.json", "d2/x.json", "x-1.json", "sp:c=e.json", "d1/x.recipe", "m.json"]
    recipes = [
        recipe(
            name,
            igvm={"qemu": {"output": f"{i}.igvm"}},
            kernel={"svsm": {"features": f"f{i}"}},
            fs={"modules": {"userinit": {"features": f"f{i}"}, "userinit@m": {}}},
        )
        for i, name in enumerate(names)
    ]
    steps = plan(*recipes).steps
    assert len({step.name for step in steps}) == len(steps)
    assert not [step.name for step in steps if "=" in step.name]


def test_an_output_inside_of_another_recipes_output_is_an_error() -> None:
    for inner, outer in (("a.json", "b.json"), ("b.json", "a.json")):
        one = recipe(outer, igvm={"qemu": {"output": "o.igvm"}})
        two = recipe(inner, igvm={"qemu": {"output": "o.igvm/sub"}})
        with pytest.raises(UsageError, match=r"^bin/o.igvm/sub .* bin/o.igvm .*\b[ab] and [ab]\b") as error:
            plan(*sorted((one, two), key=lambda r: r.source))
        assert error.value.id == "recipes-clash"


def test_two_recipes_that_make_one_file_differently_are_an_error() -> None:
    other = recipe("b.json", igvm={"qemu": {"output": "a.igvm", "policy": "0x30001"}})
    with pytest.raises(UsageError, match=r"^bin/a.igvm: a and b ") as error:
        plan(recipe(), other)
    assert error.value.id == "recipes-clash"


def test_two_recipes_that_measure_one_file_differently_are_an_error() -> None:
    other = recipe("b.json", igvm={"qemu": {"output": "a.igvm", "check-kvm": True}})
    with pytest.raises(UsageError, match=r"^bin/a.igvm.launch-digest.hex: a and b ") as error:
        plan(recipe(), other)
    assert error.value.id == "recipes-clash"


def test_two_equal_recipes_are_no_error() -> None:
    assert keys(plan(recipe(), recipe("b.json"))) == keys(plan())


def test_make_must_not_write_where_a_copy_is_placed() -> None:
    made = recipe(kernel={"svsm": {"type": "make", "output_file": "bin/svsm"}})
    with pytest.raises(UsageError, match=r"^bin/svsm: kernel:svsm ") as error:
        plan(made)
    assert error.value.id == "made-in-place"


# Features that nothing uses


def test_a_feature_of_an_item_that_is_not_built_is_warned_about() -> None:
    warnings = plan(features=parse_features("attest,bldr:x,igvmbuilder:y,packit:y,svms:z")).warnings
    packit, svms = warnings  # without modules there is no packit
    assert packit.id == svms.id == "unused-feature"
    assert packit.text.startswith("feature packit:y ") and svms.text.startswith("feature svms:z ")
    assert "'svsm'" in svms.text


def test_features_beside_all_features_are_warned_about() -> None:
    made = recipe(kernel={"svsm": {}, "tdx-stage1": {"type": "make", "output_file": "out", "features": "alpha"}})
    planned = plan(made, features=parse_features("attest,tdx-stage1:beta"), all_features=True)
    (warning,) = planned.warnings
    assert warning.id == "unused-feature"
    assert warning.text.startswith("feature svsm:attest ")
    # make cannot ask for all features.
    (stage1,) = [step for step in planned.steps if step.name == "kernel:tdx-stage1"]
    assert stage1.commands[0].env == (("FEATURES", "alpha,beta"), ("FEATURES_TEST", "alpha,beta"))


@pytest.mark.parametrize(
    ("path", "kernel", "told"),
    [("/init", {}, False), ("/bin/init", {}, True), ("/bin/init", {"type": "test"}, False), ("init", {}, False)],
)
def test_an_image_in_which_nothing_is_started_is_warned_about(path: str, kernel: dict[str, str], told: bool) -> None:
    modules = {"a": {"path": path}, "b": {"path": "/b"}}
    warnings = plan(recipe(fs={"modules": modules}, kernel={"svsm": kernel})).warnings
    assert [warning.id for warning in warnings] == ["no-init"] * told
    assert all(warning.text.startswith("a.json: ") and f"{path}, /b" in warning.text for warning in warnings)


# What each step reads, what makes it another variant, and its name

EVERY: dict[str, Any] = {
    "kernel": {"svsm": {"features": "vtpm"}, "bldr": {"manifest": "boot/bldr/Cargo.toml"}, "tdx-stage1": MADE},
    "fs": {"modules": {"init": {}, "more": {"path": "/bin/more"}}},
    "firmware": {"file": "fw.fd", "env": "FW_FILE"},
}
"""A recipe with a step of each kind."""


def test_each_step_reads_what_its_commands_are_given() -> None:
    found = plan(recipe(**EVERY))
    made = {one.name: one.outputs[0] for one in found.steps}
    parts = ("kernel:svsm", "kernel:bldr", "kernel:tdx-stage1", "firmware:guest", "fs:image")
    igvm = step(found, "igvm:qemu")
    assert (igvm.inputs[0], set(igvm.inputs[1:])) == (made["tool:igvmbuilder"], {made[name] for name in parts})
    assert {one.name: one.inputs for one in found.steps if one.stage not in ("provenance", "igvm")} == {
        **{name: () for name in made if name.startswith(("version:", "tool:", "kernel:", "module:"))},
        "firmware:guest": ("fw.fd",),
        "fs:image": (made["tool:packit"], made["module:more"], made["module:init"]),
        "measure:qemu": (made["tool:igvmmeasure"], made["igvm:qemu"]),
    }


def test_whatever_may_read_the_version_file_comes_after_it() -> None:
    found = plan(recipe(**EVERY))
    after = {one.name for one in found.steps if one.after == ("release/src/git_version.rs",)}
    assert after == {one.name for one in found.steps if one.stage in ("tool", "kernel", "module")}
    assert {one.after for one in found.steps if one.name not in after} == {()}


def test_each_step_says_what_it_makes() -> None:
    found = plan(recipe(**EVERY), environment={"FW_FILE": "/fw"})
    assert {one.name: one.doc for one in found.steps} == {
        "version:git": "the version from git describe",
        "tool:igvmbuilder": "the host tool igvmbuilder",
        "tool:igvmmeasure": "the host tool igvmmeasure",
        "tool:packit": "the host tool packit",
        "kernel:svsm": "the kernel part svsm, built by cargo",
        "kernel:bldr": "the kernel part bldr, built by cargo",
        "kernel:tdx-stage1": "the kernel part tdx-stage1, made by make out/stage1",
        "module:init": "the user-space module init, built by cargo",
        "module:more": "the user-space module more, built by cargo",
        "fs:image": "the file-system image of 2 modules",
        "firmware:guest": "the guest firmware from fw.fd",
        "igvm:qemu": "the IGVM file a.igvm for qemu",
        "measure:qemu": "the launch measurement of a.igvm for snp, tdp and vsm",
        "provenance:qemu": "what a.igvm was made of, as an in-toto statement",
    }
    single = plan(recipe(fs={"modules": {"init": {}}}, kernel={"svsm": {"type": "test"}}))
    assert step(single, "fs:image").doc == "the file-system image of 1 module"
    assert step(single, "kernel:svsm").doc == "the kernel part svsm, cargo's test program"
    assert (
        step(firmware({"env": "FW_FILE"}, FW_FILE="/fw")[1], "firmware:guest").doc == "the guest firmware from $FW_FILE"
    )
    alone = firmware({"command": ["./fetch.sh"]})[1]
    assert step(alone, "firmware:guest").doc == "the firmware command, which places no image"


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ("svsm", {"env": {"FLAVOUR": "1"}}),
        ("svsm", {"objcopy": "binary"}),
        ("svsm", {"type": "test"}),
        ("tdx-stage1", {"env": {"FLAVOUR": "1"}}),
        ("tdx-stage1", {"objcopy": "binary"}),
        ("tdx-stage1", {"output_file": "out/other"}),
    ],
)
def test_each_choice_of_an_item_makes_another_variant_of_it(part: str, field: dict[str, Any]) -> None:
    kernel = {**EVERY["kernel"], part: {**EVERY["kernel"][part], **field}}
    images = {"igvm:qemu", "measure:qemu", "provenance:qemu"}
    assert changed(plan(recipe(**EVERY)), plan(recipe(**{**EVERY, "kernel": kernel}))) == {f"kernel:{part}", *images}


def test_a_reproducible_build_shares_no_item_with_another_and_all_of_cargo_gets_its_configuration() -> None:
    plain, found = plan(recipe(**EVERY)), plan(recipe(**EVERY), reproducible=True)
    items = {name for name in keys(plain) if name.startswith(("tool:", "kernel:", "module:"))}
    # make's too: its command is the same, but its environment differs.
    assert items <= changed(plain, found)
    argvs = [command.argv for one in found.steps for command in one.commands if command.argv[0] == "cargo"]
    assert argvs and all("bin/.coconut/reproducible/config.toml" in argv for argv in argvs)
    assert not any("--config" in command.argv for one in plain.steps for command in one.commands)


def test_a_kernel_part_and_a_module_of_one_name_and_command_share_no_file() -> None:
    found = plan(recipe(kernel={"svsm": {}}, fs={"modules": {"svsm": {}, "init": {}}}))
    assert step(found, "kernel:svsm").commands[0] == step(found, "module:svsm").commands[0]
    outputs = [output for one in found.steps for output in one.outputs]
    assert len(outputs) == len(set(outputs))


def test_another_packit_makes_another_image_of_the_same_modules() -> None:
    modules = recipe(fs={"modules": {"init": {}}})
    assert changed(plan(modules), plan(modules, features=parse_features("packit:x"))) == {
        *("tool:packit", "fs:image", "igvm:qemu", "measure:qemu", "provenance:qemu")
    }


def test_another_tree_is_another_variant_of_each_kind_of_step() -> None:
    other = plan_recipes([recipe(**EVERY)], replace(context(), tree="/other"))
    assert changed(plan(recipe(**EVERY)), other) == set(keys(other))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"file": "a"}, {"file": "b"}),
        ({"file": "a", "command": ["x"]}, {"file": "a", "command": ["y"]}),
        ({"file": "a", "command": ["x"]}, {"file": "a"}),
        ({"command": ["x"]}, {"command": ["y"]}),
        ({"env": "ONE"}, {"env": "OTHER"}),
        ({"env": "ONE"}, {"file": "/fw"}),
    ],
)
def test_other_firmware_or_another_way_to_come_by_it_is_another_variant(old: Any, new: Any) -> None:
    """Even if nothing of it is in the image: the provenance records the command."""
    plans = [plan(recipe(firmware=value), environment={"ONE": "/fw", "OTHER": "/fw"}) for value in (old, new)]
    assert {"firmware:guest", "provenance:qemu"} <= changed(*plans)
    files = [{output for one in found.steps if one.stage == "firmware" for output in one.outputs} for found in plans]
    assert not files[0] & files[1]


@pytest.mark.parametrize(
    ("value", "environment", "unset"),
    [
        (None, {}, None),
        (Firmware(), {}, None),
        (Firmware(env="FW_FILE"), {}, "FW_FILE"),
        (Firmware(env="FW_FILE"), {"FW_FILE": ""}, "FW_FILE"),
        (Firmware(env="FW_FILE"), {"FW_FILE": "/fw"}, None),
        (Firmware(env="FW_FILE"), {"OTHER": "/fw"}, "FW_FILE"),
        (Firmware(env="FW_FILE", file="fw.fd"), {}, None),
        (Firmware(file="fw.fd"), {}, None),
    ],
)
def test_a_firmware_variable_that_is_not_set_is_told_where_it_counts(
    value: Firmware | None, environment: dict[str, str], unset: str | None
) -> None:
    assert unset_variable(value, context(environment=environment)) == unset


def test_what_a_cargo_item_is_beside_its_commands() -> None:
    built = {"type": "test", "toolchain": "nightly", "env": {"CARGO_UNSTABLE_BUILD_STD": "core"}}
    parts = recipe(kernel={"svsm": built, "bldr": EVERY["kernel"]["bldr"]})
    found = plan_recipes([parts], replace(context(), host="x86_64-unknown-linux-gnu"))
    told = {
        one.component: (a.program, a.toolchain, a.triple, a.builds_std, a.manifest, a.test, a.needed_target)
        for one in found.steps
        if isinstance(a := one.action, CargoItem)
    }
    bare, host = "x86_64-unknown-none", "x86_64-unknown-linux-gnu"
    assert told == {
        "svsm": ("svsm", "nightly", bare, True, None, True, None),
        "bldr": ("bldr", None, bare, False, "boot/bldr/Cargo.toml", False, bare),
        "igvmbuilder": ("igvmbuilder", None, host, False, None, False, None),
        "igvmmeasure": ("igvmmeasure", None, host, False, None, False, None),
    }


def test_a_provenance_has_the_links_of_what_makes_and_measures_its_image_alone() -> None:
    found = plan(recipe(igvm={"qemu": {}, "hyper-v": {"platforms": ["vsm"]}, "vanadium": {"platforms": ["native"]}}))
    links = {one.link: one.name for one in found.steps if one.link}
    own = {one.component: one.action.own_links for one in found.steps if isinstance(one.action, Provenance)}
    assert {name: [links[link] for link in mine] for name, mine in own.items()} == {
        "qemu": ["igvm:qemu", "measure:qemu"],
        "hyper-v": ["igvm:hyper-v", "measure:hyper-v"],
        "vanadium": ["igvm:vanadium"],
    }


def test_a_provenance_reads_the_image_its_measurement_the_recipe_all_links_and_the_parts() -> None:
    found = plan_recipes([replace(recipe(**EVERY), path="a.json")], context(all_features=True))
    paper, (igvm, measured) = (
        step(found, "provenance:qemu"),
        (step(found, f"{stage}:qemu") for stage in ("igvm", "measure")),
    )
    assert isinstance(measured.action, Measurement)
    links = [one.link for one in found.steps if one.link]
    assert len(links) == len(found.steps) - 2  # none of the version file, and none of the provenance itself
    assert isinstance(paper.action, Provenance) and [*paper.action.links] == links
    parts = [one.outputs[0] for one in found.steps if one.outputs and one.outputs[0] in igvm.inputs[1:]]
    assert [path for _, path in paper.action.parts] == parts
    assert list(paper.inputs) == [igvm.outputs[0], measured.action.json, "a.json", *links, *parts]
    assert dict(paper.action.options) == {"ALL_FEATURES": "1"}


def test_a_module_that_is_called_as_the_measuring_tool_is_in_each_provenance() -> None:
    modules: dict[str, Any] = {"init": {}, "igvmmeasure": {}}
    found = plan(recipe(igvm={"hyper-v": {"platforms": ["vsm"]}}, fs={"modules": modules}))
    paper = step(found, "provenance:hyper-v").action
    assert isinstance(paper, Provenance) and step(found, "module:igvmmeasure").link in paper.links


def test_a_recipe_in_another_file_is_another_provenance_of_the_same_image() -> None:
    plans = [plan_recipes([replace(recipe(), path=path)], context()) for path in ("a.json", "b.json")]
    assert changed(*plans) == {"provenance:qemu"}


# Names of several recipes' steps


@pytest.mark.parametrize(
    ("sources", "labels"),
    [
        (["a.json", "x/b.json"], ["a", "b"]),
        (["d1/x.json", "d2/x.json", "e/y.json"], ["d1/x", "d2/x", "y"]),
        (["a/c/x.json", "b/c/x.json", "b/d/x.json"], ["a/c/x", "b/c/x", "d/x"]),
        (["/x.json", "/d/x.json"], ["x", "d/x"]),
        (["x.json", "d/x.json"], ["x", "d/x"]),
        (["a=b.json", "c.json"], ["a-b", "c"]),
        (["d/x.json", "d/x.recipe", "y.json"], ["d/x-1", "d/x-2", "y"]),
        (["y.json", "d/x.json", "d/x.recipe"], ["y", "d/x-2", "d/x-3"]),
    ],
)
def test_a_recipe_is_called_by_its_file_and_as_many_folders_as_tell_it_apart(
    sources: list[str], labels: list[str]
) -> None:
    recipes = [
        recipe(source, igvm={}, kernel={"svsm": {"features": f"f{number}"}}) for number, source in enumerate(sources)
    ]
    names = [one.name for one in plan(*recipes).steps if one.component == "svsm"]
    assert names == [f"kernel:svsm@{label}" for label in labels]


def test_a_name_that_is_taken_gets_a_mark_and_so_on() -> None:
    """A module may have the name that a step of another recipe would get."""
    modules: list[dict[str, Any]] = [
        {"x": {"features": "one"}, "x@a": {}, "x@a'": {}},
        {"x": {"features": "two"}},
        {"x": {"features": "three"}},
    ]
    recipes = [
        recipe(source, igvm={}, fs={"modules": {"init": {}, **named}})
        for source, named in zip(("a.json", "a''.json", "b.json"), modules, strict=True)
    ]
    names = [one.name for one in plan(*recipes).steps if one.stage == "module" and one.component != "init"]
    assert sorted(names) == ["module:x@a", "module:x@a'", "module:x@a''", "module:x@a'''", "module:x@b"]
    # No mark if it is not needed.
    alone = plan(recipe(igvm={}, fs={"modules": {"init": {}, "x": {}, "x@": {}}}))
    assert {"module:x", "module:x@"} <= keys(alone).keys()


# Recipes that want the same place


@pytest.mark.parametrize("turned", [False, True])
def test_an_image_where_another_recipe_has_a_paper_is_an_error(turned: bool) -> None:
    paper = recipe("a.json", igvm={"qemu": {"output": "a.igvm"}})
    image = recipe("b.json", igvm={"qemu": {"output": "a.igvm.provenance.json"}})
    told = "b and a" if turned else "a and b"
    with pytest.raises(UsageError, match=rf"^bin/a.igvm.provenance.json: {told} [^\n]*$") as error:
        plan(*((image, paper) if turned else (paper, image)))
    assert [fault.id for fault in error.value.faults] == ["recipes-clash"]


@pytest.mark.parametrize("file", ["bin/svsm", "./bin/a.igvm", "bin/a.igvm.corim", "out/../out/stage1"])
def test_firmware_is_not_taken_from_where_this_run_makes_it(file: str) -> None:
    made = recipe(kernel={"svsm": {}, "tdx-stage1": MADE}, firmware={"file": file})
    with pytest.raises(UsageError) as error:
        plan(made)
    assert error.value.id == "firmware-is-output" and str(error.value).startswith(f"{os.path.normpath(file)}: ")
    plan(recipe(kernel={"svsm": {}, "tdx-stage1": MADE}, firmware={"file": "out/stage2"}))


def test_a_feature_of_a_module_is_used_and_that_of_what_is_no_item_is_not() -> None:
    modules = recipe(fs={"modules": {"init": {}}})
    assert plan(modules, features=parse_features("init:x,packit:y")).warnings == ()
    for name in ("qemu", "image", "git"):
        (warning,) = plan(modules, features=parse_features(f"{name}:x")).warnings
        assert warning.id == "unused-feature" and warning.text.startswith(f"feature {name}:x ")
