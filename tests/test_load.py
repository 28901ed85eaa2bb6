"""Recipe text in; a recipe, or messages with their place, out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coconut_tasks.errors import Problem, RecipeError
from coconut_tasks.layout import Layout
from coconut_tasks.options import Options
from coconut_tasks.plan.context import PlanContext
from coconut_tasks.plan.plan import plan_recipes
from coconut_tasks.recipe.load import build, check, load_recipe
from coconut_tasks.recipe.model import BuildType, Component, Firmware, Kernel, Module, Platform, Recipe, Target
from coconut_tasks.workspace.known_valid import DECIDING

RECIPES = sorted((Path(__file__).parent / "recipes").glob("*.json"))


def kernel(parts: str) -> str:
    """A recipe whose kernel parts are on line 2."""
    return '{"igvm": {}, "kernel": {\n' + parts + "\n}}"


def svsm(fields: str) -> str:
    """A recipe whose fields of the kernel are on line 2."""
    return '{"igvm": {}, "kernel": {"svsm": {\n' + fields + "\n}}}"


def igvm(targets: str) -> str:
    """A recipe whose targets are on line 2."""
    return '{"kernel": {"svsm": {}}, "igvm": {\n' + targets + "\n}}"


def qemu(fields: str) -> str:
    """A recipe whose fields of one target are on line 2."""
    return igvm('"qemu": {\n' + fields + "}").replace("\n", "", 1)


def firmware(fields: str) -> str:
    """A recipe whose firmware fields are on line 2."""
    return '{"igvm": {}, "kernel": {"svsm": {}}, "firmware": {\n' + fields + "\n}}"


def modules(items: str) -> str:
    """A recipe whose modules are on line 2."""
    return '{"igvm": {}, "kernel": {"svsm": {}}, "fs": {"modules": {\n' + items + "\n}}}"


def outcome(text: str, *, lenient: bool = False) -> tuple[list[str], list[str]]:
    """Errors and warnings: place, pointer and ID of each, and the word that may have been meant."""
    warnings: list[Problem] = []
    try:
        load_recipe("r.json", text.encode(), lenient=lenient, warn=warnings.append)
    except RecipeError as error:
        return list(map(in_short, error.problems)), list(map(in_short, warnings))
    return [], list(map(in_short, warnings))


def in_short(problem: Problem) -> str:
    nearest = re.search(r" \(did you mean ('.*')\?\)$", problem.remedy)
    end = f", {nearest[1]}" if nearest else ""
    return f"{problem.place.removeprefix('r.json:')}: {problem.pointer or '/'}: {problem.id}{end}"


ERRORS = [
    # Shape.
    ("[]", "1:1: /: wrong-type"),
    (
        '{"kernel": {"svsm": {}}}',
        "1:1: /: missing-field",
    ),
    ('{"igvm": {}}', "1:1: /: missing-field"),
    (kernel(""), "1:24: /kernel: missing-field"),
    (svsm('"type": "crago"'), "2:9: /kernel/svsm/type: no-such-choice, 'cargo'"),
    (svsm('"type": 3'), "2:9: /kernel/svsm/type: wrong-type"),
    (svsm('"binary": "treu"'), "2:11: /kernel/svsm/binary: wrong-type"),
    (svsm('"binary": "true"'), "2:11: /kernel/svsm/binary: wrong-type"),
    (svsm('"binary": null'), "2:11: /kernel/svsm/binary: wrong-type"),
    (qemu('"policy": null'), "2:11: /igvm/qemu/policy: wrong-type"),
    (kernel('"svsm": null'), "2:9: /kernel/svsm: wrong-type"),
    (
        svsm('"type": "make", "output_file": null'),
        "1:33: /kernel/svsm: no-output-file",
    ),
    (
        svsm('"features": ["vtpm"]'),
        "2:13: /kernel/svsm/features: wrong-type",
    ),
    (svsm('"manifest": ""'), "2:13: /kernel/svsm/manifest: empty-text"),
    (svsm('"env": {"A": 1}'), "2:14: /kernel/svsm/env/A: wrong-type"),
    (svsm('"env": 1'), "2:8: /kernel/svsm/env: wrong-type"),
    (qemu('"comport": "5"'), "2:12: /igvm/qemu/comport: no-such-choice"),
    (qemu('"comport": 0'), "2:12: /igvm/qemu/comport: no-such-choice"),
    (qemu('"comport": true'), "2:12: /igvm/qemu/comport: no-such-choice"),
    (qemu('"measure": "save"'), "2:12: /igvm/qemu/measure: no-such-choice"),
    (qemu('"platforms": []'), "2:14: /igvm/qemu/platforms: empty-list"),
    (
        qemu('"platforms": ["snp", "sve"]'),
        "2:22: /igvm/qemu/platforms/1: no-such-choice",
    ),
    (
        qemu('"platforms": ["snp", "tdp", "snp"]'),
        "2:29: /igvm/qemu/platforms/2: repeated-entry",
    ),
    (
        qemu('"policy": "0x10000000000000000"'),
        "2:11: /igvm/qemu/policy: wrong-form",
    ),
    (
        qemu('"policy": "0X30000"'),
        "2:11: /igvm/qemu/policy: wrong-form",
    ),
    (
        qemu('"policy": "-1"'),
        "2:11: /igvm/qemu/policy: wrong-form",
    ),
    (
        qemu('"policy": "0x30000\\n"'),
        "2:11: /igvm/qemu/policy: control-character",
    ),
    (
        qemu('"policy": 196608'),
        "2:11: /igvm/qemu/policy: wrong-type",
    ),
    (firmware('"command": []'), "2:12: /firmware/command: empty-list"),
    (firmware('"command": ["make", ""]'), "2:21: /firmware/command/1: empty-text"),
    (
        firmware('"command": "make"'),
        "2:12: /firmware/command: wrong-type",
    ),
    # Names of fields.
    (
        qemu('"polcy": "0x30000"'),
        "2:1: /igvm/qemu/polcy: unknown-field, 'policy'",
    ),
    (
        qemu('"check_kvm": true'),
        "2:1: /igvm/qemu/check_kvm: unknown-field, 'check-kvm'",
    ),
    (
        svsm('"feature": "vtpm"'),
        "2:1: /kernel/svsm/feature: unknown-field, 'features'",
    ),
    (
        svsm('"path": "/init"'),
        "2:1: /kernel/svsm/path: unknown-field",
    ),
    (
        kernel('"svsm": {}, "tdx_stage1": {}'),
        "2:13: /kernel/tdx_stage1: unknown-field, 'tdx-stage1'",
    ),
    (
        igvm('"hyperv": {}'),
        "2:1: /igvm/hyperv: unknown-field, 'hyper-v'",
    ),
    (
        '{"igvm": {}, "kernel": {"svsm": {}},\n"a/b~": 1}',
        "2:1: /a~1b~0: unknown-field",
    ),
    (
        svsm('"binary": true,\n"binary": false'),
        "3:1: /kernel/svsm/binary: duplicate-name",
    ),
    # Fields and types of build.
    (
        svsm('"type": "make"'),
        "1:33: /kernel/svsm: no-output-file",
    ),
    (
        svsm('"output_file": "bin/x"'),
        "2:1: /kernel/svsm/output_file: field-of-other-type",
    ),
    (
        svsm('"type": "test", "output_file": "bin/x"'),
        "2:17: /kernel/svsm/output_file: field-of-other-type",
    ),
    (
        svsm('"toolchain": "nightly"'),
        "2:1: /kernel/svsm/toolchain: field-of-other-type",
    ),
    (
        svsm('"type": "make", "output_file": "x", "toolchain": "nightly"'),
        "2:37: /kernel/svsm/toolchain: field-of-other-type",
    ),
    (
        svsm('"type": "test", "toolchain": "+nightly"'),
        "2:30: /kernel/svsm/toolchain: wrong-toolchain-name",
    ),
    (
        svsm('"type": "test", "toolchain": "my nightly"'),
        "2:30: /kernel/svsm/toolchain: wrong-toolchain-name",
    ),
    (
        kernel('"svsm": {}, "bldr": {}, "stage2": {}'),
        "2:25: /kernel/stage2: two-loaders",
    ),
    (
        kernel('"svsm": {}, "stage2": {}, "bldr": {}'),
        "2:27: /kernel/bldr: two-loaders",
    ),
    # Words that tools would misread.
    *(
        (
            text,
            f"{place}: leading-dash",
        )
        for text, place in [
            (svsm('"features": "a, -b"'), "2:13: /kernel/svsm/features"),
            (svsm('"manifest": "-m"'), "2:13: /kernel/svsm/manifest"),
            (svsm('"type": "make", "output_file": "-B"'), "2:32: /kernel/svsm/output_file"),
            (svsm('"objcopy": "--help"'), "2:12: /kernel/svsm/objcopy"),
            (svsm('"type": "test", "toolchain": "-n"'), "2:30: /kernel/svsm/toolchain"),
            (qemu('"output": "-x.igvm"'), "2:11: /igvm/qemu/output"),
            (firmware('"file": "-x"'), "2:9: /firmware/file"),
            (firmware('"command": ["-x"]'), "2:13: /firmware/command/0"),
            (modules('"-x": {"path": "x"}'), "2:1: /fs/modules/-x"),
        ]
    ),
    (
        modules('"a": {"path": "/bin/-x"}'),
        "2:15: /fs/modules/a/path: leading-dash",
    ),
    (
        svsm('"type": "make", "output_file": "A=b"'),
        "2:32: /kernel/svsm/output_file: equal-sign",
    ),
    *(
        (text, f"{place}: control-character")
        for text, place in [
            (svsm('"manifest": "a\\nb"'), "2:13: /kernel/svsm/manifest"),
            (svsm('"type": "make", "output_file": "a\\u0000"'), "2:32: /kernel/svsm/output_file"),
            (svsm('"objcopy": "a\\tb"'), "2:12: /kernel/svsm/objcopy"),
            (svsm('"features": "a\\u001bb"'), "2:13: /kernel/svsm/features"),
            (svsm('"env": {"A\\u0000": ""}'), "2:9: /kernel/svsm/env/A\\x00"),
            (qemu('"output": "a\\u007f"'), "2:11: /igvm/qemu/output"),
            (firmware('"file": "a\\nb"'), "2:9: /firmware/file"),
            (firmware('"env": "a\\nb"'), "2:8: /firmware/env"),
            (firmware('"command": ["a\\nb"]'), "2:13: /firmware/command/0"),
            (modules('"a\\u0001": {"path": "x"}'), "2:1: /fs/modules/a\\x01"),
            (modules('"a": {"path": "a\\u0085b"}'), "2:15: /fs/modules/a/path"),
        ]
    ),
    (
        svsm('"env": {"A": "\\u0000"}'),
        "2:14: /kernel/svsm/env/A: control-character",
    ),
    (
        firmware('"command": ["sh", "a\\u0000"]'),
        "2:19: /firmware/command/1: control-character",
    ),
    (
        svsm('"env": {"A=B": "1"}'),
        "2:9: /kernel/svsm/env/A=B: wrong-variable-name",
    ),
    (svsm('"env": {"": "1"}'), "2:9: /kernel/svsm/env/: wrong-variable-name"),
    (firmware('"env": "A=B"'), "2:8: /firmware/env: wrong-variable-name"),
    # Paths in the tree.
    (
        svsm('"manifest": "/Cargo.toml"'),
        "2:13: /kernel/svsm/manifest: path-leads-out",
    ),
    (
        svsm('"manifest": "a/../../Cargo.toml"'),
        "2:13: /kernel/svsm/manifest: path-leads-out",
    ),
    (
        svsm('"type": "make", "output_file": "/x"'),
        "2:32: /kernel/svsm/output_file: path-leads-out",
    ),
    (
        svsm('"type": "make", "output_file": ".."'),
        "2:32: /kernel/svsm/output_file: path-leads-out",
    ),
    (
        svsm('"type": "make", "output_file": "bin/"'),
        "2:32: /kernel/svsm/output_file: is-a-folder",
    ),
    # Modules.
    *(
        (
            modules(f'"{name}": {{"path": "x"}}'),
            f"2:1: /fs/modules/{name.replace('/', '~1')}: wrong-module-name",
        )
        for name in ("", "a/b", "a b", "a=b", "a:b", "a*", "a,b", ".", "..")
    ),
    (
        modules('"a": {"path": "/"}'),
        "2:15: /fs/modules/a/path: is-a-folder",
    ),
    (
        modules('"a": {"path": "x/.."}'),
        "2:15: /fs/modules/a/path: is-a-folder",
    ),
    (
        modules('"a": {"path": "/../x"}'),
        "2:15: /fs/modules/a/path: path-leads-out",
    ),
    (modules('"a": {"path": ""}'), "2:15: /fs/modules/a/path: empty-text"),
    (
        modules('"a": {"path": "init"}, "b": {"path": "//./init"}'),
        "2:38: /fs/modules/b/path: module-paths-clash",
    ),
    (
        modules('"a": {"path": "b"}, "b": {}'),
        "2:21: /fs/modules/b: module-paths-clash",
    ),
    (
        modules('"a": {"path": "init"}, "b": {"path": "init/x"}'),
        "2:38: /fs/modules/b/path: module-paths-clash",
    ),
    (
        modules('"a": {"path": "/test/x"}, "test": {}'),
        "2:27: /fs/modules/test: module-paths-clash",
    ),
    # Outputs.
    (qemu('"output": "/x"'), "2:11: /igvm/qemu/output: path-leads-out"),
    (qemu('"output": "a/../../x"'), "2:11: /igvm/qemu/output: path-leads-out"),
    (qemu('"output": "."'), "2:11: /igvm/qemu/output: is-a-folder"),
    (qemu('"output": "a/.."'), "2:11: /igvm/qemu/output: is-a-folder"),
    (qemu('"output": "a/"'), "2:11: /igvm/qemu/output: is-a-folder"),
    (qemu('"output": ""'), "2:11: /igvm/qemu/output: empty-text"),
    (
        qemu('"output": "a/../.coconut/x"'),
        "2:11: /igvm/qemu/output: reserved-output",
    ),
    *(
        (
            qemu(f'"output": "{name}"'),
            "2:11: /igvm/qemu/output: reserved-output",
        )
        for name in ("svsm", "./stage2", "bldr", "tdx-stage1", "svsm-fs.bin", "svsm/x.igvm")
    ),
    (
        igvm('"qemu": {"output": "x"}, "hyper-v": {"output": "./x"}'),
        "2:48: /igvm/hyper-v/output: outputs-clash",
    ),
    (
        igvm('"hyper-v": {"output": "coconut-qemu.igvm"}, "qemu": {}'),
        "2:45: /igvm/qemu: outputs-clash",
    ),
    (
        igvm('"qemu": {"output": "x"}, "hyper-v": {"output": "x.launch-digest.hex"}'),
        "2:48: /igvm/hyper-v/output: outputs-clash",
    ),
    (
        igvm('"qemu": {"output": "x.launch-digest.json"}, "hyper-v": {"output": "x"}'),
        "2:67: /igvm/hyper-v/output: outputs-clash",
    ),
    (
        igvm('"qemu": {"output": "x"}, "hyper-v": {"output": "x.corim"}'),
        "2:48: /igvm/hyper-v/output: outputs-clash",
    ),
    (
        igvm('"qemu": {"output": "x"}, "hyper-v": {"output": "x.corim.sig"}'),
        "2:48: /igvm/hyper-v/output: outputs-clash",
    ),
    (
        igvm('"qemu": {"output": "x"}, "hyper-v": {"output": "x/y"}'),
        "2:48: /igvm/hyper-v/output: outputs-clash",
    ),
]


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_one_mistake_has_one_message(text: str, message: str) -> None:
    assert outcome(text) == ([message], [])


WARNINGS = [
    (
        svsm('"type": "make", "output_file": "x", "manifest": "Cargo.toml"'),
        "2:37: /kernel/svsm/manifest: ignored-field",
    ),
    (
        svsm('"type": "make", "output_file": "x", "binary": true'),
        "2:37: /kernel/svsm/binary: ignored-field",
    ),
    (
        svsm('"type": "make", "output_file": "x", "no_default_features": false'),
        "2:37: /kernel/svsm/no_default_features: ignored-field",
    ),
    (
        qemu('"platforms": ["native"], "measure": "print"'),
        "2:26: /igvm/qemu/measure: nothing-to-measure",
    ),
]


@pytest.mark.parametrize(("text", "message"), WARNINGS)
def test_what_can_be_built_is_a_warning(text: str, message: str) -> None:
    assert outcome(text) == ([], [message])


FINE = [
    svsm('"features": ""'),
    svsm('"features": "dep/feat, a?/b"'),
    svsm('"manifest": "./a/../Cargo.toml"'),
    svsm('"env": {"A": "x\\n-y=z"}'),
    svsm('"type": "test", "manifest": "Cargo.toml", "binary": true'),
    svsm('"type": "make", "output_file": "x", "features": "a", "env": {}'),
    igvm('"qemu": {}, "hyper-v": {}, "vanadium": {}'),
    igvm('"qemu": {"output": "a/x.igvm"}, "hyper-v": {"output": "a/y.igvm"}'),
    qemu('"policy": "30000"'),
    qemu('"policy": "0x0000ffffFFFFffffFFFF"'),
    qemu('"platforms": ["native"]'),
    qemu('"no-vtom": true'),
    firmware(""),
    firmware('"file": "/usr/share/OVMF.fd"'),
    firmware('"command": ["sh", "-c", "a\\nb"]'),
    modules(""),
    modules('"uapi_tester": {"path": "/test/x"}, "a": {"path": "/test/y"}, "testing": {}'),
    '{"$schema": "x", "igvm": {}, "kernel": {"svsm": {}}, "fs": {}}',
    svsm('"output_file": null, "toolchain": null'),
    svsm('"type": "make", "output_file": "x", "manifest": null'),
    modules('"a": {"path": null}, "b": {"path": "/b"}'),
]


@pytest.mark.parametrize("text", FINE)
def test_nothing_is_said_about_a_good_recipe(text: str) -> None:
    assert outcome(text) == ([], [])


MANY = """\
{
  "igvm": {
    "qemu": {
      "polcy": "0x30000",
      "check-kvm": "treu",
      "output": "../x"
    }
  },
  "fs": {"modules": {"a b": {}}},
  "kernel": {
    "stage2": {"type": "make", "binary": true},
    "bldr": {"type": "crago"},
    "stage2": {"type": "make", "binary": true}
  },
  "fs": {"modules": {"a b": {}}}
}
"""


def test_all_mistakes_are_reported_in_the_order_of_the_text() -> None:
    assert outcome(MANY) == (
        [
            "4:7: /igvm/qemu/polcy: unknown-field, 'policy'",
            "5:20: /igvm/qemu/check-kvm: wrong-type",
            "6:17: /igvm/qemu/output: path-leads-out",
            "10:13: /kernel: missing-field",
            "12:5: /kernel/bldr: two-loaders",
            "12:22: /kernel/bldr/type: no-such-choice, 'cargo'",
            "13:5: /kernel/stage2: duplicate-name",
            "13:15: /kernel/stage2: no-output-file",
            "15:3: /fs: duplicate-name",
            "15:22: /fs/modules/a b: wrong-module-name",
        ],
        ["13:32: /kernel/stage2/binary: ignored-field"],
    )


NO_VALUES = """{
"igvm": {"qemu": {"comport": null}},
"kernel": {"svsm": {"output_file": null, "manifest": null, "features": null, "toolchain": null}},
"firmware": {"env": null, "file": null, "command": null},
"fs": {"modules": {"a": {"path": null}}}
}"""


def test_null_is_no_field_where_xbuild_takes_it() -> None:
    without = re.sub(r'"\w+": null(, )?', "", NO_VALUES)
    assert outcome(NO_VALUES) == ([], [])
    expected = load_recipe("r", without.encode())
    assert load_recipe("r", NO_VALUES.encode()) == expected
    assert load_recipe("r", NO_VALUES.encode(), valid=True) == expected
    assert expected.modules == (Module(Component("a"), "a"),)


TWICE = """{
"igvm": {},
"kernel": {
  "svsm": {"type": "make", "output_file": "bin/test-kernel.elf"},
  "svsm": {"features": "a", "features": "vtpm", "binary": false}
}}"""
"""Like configs/vanadium-test-target.json in SVSM f592ca18."""


def test_of_a_name_that_is_there_twice_lenient_takes_the_last_as_the_old_builders() -> None:
    places = ["5:3: /kernel/svsm: duplicate-name", "5:29: /kernel/svsm/features: duplicate-name"]
    assert outcome(TWICE) == (places, [])
    assert outcome(TWICE, lenient=True) == ([], places)
    recipe = load_recipe("r", TWICE.encode(), lenient=True)
    assert recipe.kernel.svsm == Component("svsm", features=("vtpm",))


def test_lenient_passes_over_what_the_type_of_an_item_has_no_use_for() -> None:
    cargo = svsm('"features": "a",\n"output_file": "/x"')
    made = svsm('"type": "make", "output_file": "x",\n"toolchain": "nightly"')
    for text, field in ((cargo, "output_file"), (made, "toolchain")):
        found = [f"3:1: /kernel/svsm/{field}: field-of-other-type"]
        assert outcome(text) == (found, [])
        assert outcome(text, lenient=True) == ([], found)
    with_it, without = (load_recipe("r", text.encode(), lenient=True) for text in (cargo, svsm('"features": "a"')))
    context = PlanContext(Options(), Layout("bin"))
    assert plan_recipes([with_it], context).steps == plan_recipes([without], context).steps
    # xbuild refuses it too: it would be built by another compiler than the recipe names
    assert outcome(svsm('"toolchain": "nightly"'), lenient=True)[0]


def test_lenient_makes_what_the_old_builders_pass_over_and_nothing_else_a_warning() -> None:
    warning = "2:1: /kernel/svsm/feature: unknown-field, 'features'"
    assert outcome(svsm('"feature": "a"'), lenient=True) == ([], [warning])
    text = svsm('"feature": "a", "binary": 1')
    assert outcome(text, lenient=True) == (["2:27: /kernel/svsm/binary: wrong-type"], [warning])
    assert load_recipe("r", svsm('"feature": "a"').encode(), lenient=True).kernel.svsm == Component("svsm")


@pytest.mark.parametrize(
    "unknown", ['"//": "a comment"', '"xen": {"platforms": 3}', '"xen": {"output": "-x"}', '"xen": {}']
)
def test_an_unknown_target_is_only_warned_about_on_demand_and_never_built(unknown: str) -> None:
    text = '{"igvm": {' + unknown + ', "qemu": {}}, "kernel": {"svsm": {}}}'
    errors, _ = outcome(text)
    assert len(errors) == 1
    assert outcome(text, lenient=True) == ([], errors)
    assert [target.name for target in load_recipe("r", text.encode(), lenient=True).targets] == ["qemu"]


def test_a_control_character_does_not_separate_features() -> None:
    errors, _ = outcome(svsm('"features": "a\\u001cb"'))
    assert errors == ["2:13: /kernel/svsm/features: control-character"]


def test_a_whole_recipe_in_canonical_order() -> None:
    document = {
        "kernel": {
            "tdx-stage1": {"type": "make", "output_file": "bin/stage1", "objcopy": "binary"},
            "svsm": {"features": "b, a\tb,,c ", "env": {"Z": "1", "A": "2"}, "no_default_features": True},
            "bldr": {"manifest": "boot/bldr/Cargo.toml", "binary": True},
        },
        "igvm": {
            "vanadium": {"comport": 3, "output": "./v.igvm", "measure-native-zeroes": True, "no-vtom": True},
            "qemu": {"platforms": ["tdp", "native", "snp"], "policy": "a0000", "comport": "4", "check-kvm": True},
        },
        "firmware": {"command": ["make", "fw"], "file": "fw.bin", "env": "FW"},
        "fs": {"modules": {"userinit": {"path": "//x/../init"}, "b": {"type": "test", "toolchain": "nightly"}}},
    }
    assert load_recipe("dir/r.json", json.dumps(document).encode()) == Recipe(
        source="dir/r.json",
        kernel=Kernel(
            svsm=Component("svsm", features=("b", "a", "c"), env=(("A", "2"), ("Z", "1")), no_default_features=True),
            loader=Component("bldr", manifest="boot/bldr/Cargo.toml", binary=True),
            tdx_stage1=Component("tdx-stage1", type=BuildType.MAKE, output_file="bin/stage1", objcopy="binary"),
        ),
        targets=(
            Target(
                "qemu",
                "coconut-qemu.igvm",
                platforms=(Platform.NATIVE, Platform.SNP, Platform.TDP),
                policy="a0000",
                comport=4,
                check_kvm=True,
            ),
            Target("vanadium", "v.igvm", comport=3, measure_native_zeroes=True, no_vtom=True),
        ),
        firmware=Firmware(env="FW", file="fw.bin", command=("make", "fw")),
        modules=(
            Module(Component("b", type=BuildType.TEST, toolchain="nightly"), "b"),
            Module(Component("userinit"), "init"),
        ),
    )


def test_the_old_loader_and_the_smallest_recipe() -> None:
    assert load_recipe("r", kernel('"svsm": {}, "stage2": {}').encode()) == Recipe(
        "r", Kernel(Component("svsm"), loader=Component("stage2"))
    )


def test_all_shipped_recipes_are_here() -> None:
    assert len(RECIPES) == 22


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_loads_without_a_word(path: Path) -> None:
    data = path.read_bytes()
    assert outcome(data.decode()) == ([], [])
    recipe = load_recipe(str(path), data)
    assert recipe == load_recipe(str(path), data, valid=True)
    assert {target.name for target in recipe.targets} == set(json.loads(data)["igvm"])


def test_check_and_build_are_the_halves_of_load() -> None:
    data = RECIPES[0].read_bytes()
    assert build("r", check("r", data)) == load_recipe("r", data)


def test_a_recipe_known_valid_needs_no_jsonschema() -> None:
    program = (
        "import sys; from coconut_tasks.recipe.load import load_recipe\n"
        "print(load_recipe('r', sys.stdin.buffer.read(), valid=True).kernel.svsm.name)\n"
        "heavy = ('jsonschema', 'coconut_tasks.recipe.positions', 'coconut_tasks.recipe.schema')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        input=RECIPES[0].read_bytes(),
        capture_output=True,
        cwd=Path(__file__).parent.parent,
        check=True,
    )
    assert run.stdout.decode().split("\n") == ["svsm", "[]", ""]


KEYS = [
    *("igvm", "kernel", "firmware", "fs", "modules", "qemu", "svsm", "bldr", "stage2", "type", "output_file", "env"),
    *("features", "toolchain", "path", "output", "platforms", "policy", "comport", "measure", "command", "file", "x"),
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["make", "test", "snp", "..", "a/../..", "/", "-x", ".coconut", "print", "1", "svsm"])
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner),
    max_leaves=30,
)
FIELDS = st.dictionaries(st.sampled_from(KEYS), DOCUMENTS, max_size=4)
NEAR_RECIPES = st.fixed_dictionaries(
    {
        "igvm": st.dictionaries(st.sampled_from(["qemu", "hyper-v", "vanadium", "xen", "//"]), FIELDS | DOCUMENTS),
        "kernel": st.fixed_dictionaries({"svsm": FIELDS}),
        "fs": st.fixed_dictionaries({"modules": st.dictionaries(st.text(), FIELDS)}),
        "firmware": FIELDS,
    }
)


@given(DOCUMENTS | NEAR_RECIPES, st.booleans())
def test_any_document_gives_a_recipe_or_messages(document: object, lenient: bool) -> None:
    data = json.dumps(document, allow_nan=True).replace("Infinity", "1e999").encode()
    try:
        recipe = load_recipe("r", data, lenient=lenient)
    except RecipeError as error:
        assert error.problems
        assert "\n" not in "".join(problem.wrong + problem.remedy for problem in error.problems)
    else:
        assert recipe == load_recipe("r", data, valid=True)


def test_what_was_found_valid_is_forgotten_when_any_module_that_decides_it_changes() -> None:
    code = (
        "import sys\n"
        "from coconut_tasks.errors import RecipeError\n"
        "from coconut_tasks.recipe.load import build, check\n"
        "build('r', check('r', b'{\"igvm\": {}, \"kernel\": {\"svsm\": {}}}'))\n"
        'try: check(\'r\', b\'{"igvm": {"qemu": {"polcy": 1}}, "kernel": {}}\')\n'
        "except RecipeError: pass\n"
        "print(*(name for name, one in sys.modules.items() if name.startswith('coconut_tasks.') and not hasattr(one, '__path__')))\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    deciding = {name.removeprefix("coconut_tasks.").replace(".", "/") for name in printed.split()}
    assert deciding == set(DECIDING)
