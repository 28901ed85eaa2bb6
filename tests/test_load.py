"""Recipe text in, recipe or exact messages out."""

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
    """Errors and warnings."""
    warnings: list[Problem] = []
    try:
        load_recipe("r.json", text.encode(), lenient=lenient, warn=warnings.append)
    except RecipeError as error:
        return str(error).splitlines(), list(map(str, warnings))
    return [], list(map(str, warnings))


ERRORS = [
    # Shape.
    ("[]", "1:1: /: [] is not an object: members in braces"),
    (
        '{"kernel": {"svsm": {}}}',
        "1:1: /: 'igvm' is missing: The IGVM files to make: one target for each hypervisor. "
        "An empty object builds the parts only",
    ),
    ('{"igvm": {}}', "1:1: /: 'kernel' is missing: The COCONUT kernel and the boot stages that load it"),
    (kernel(""), "1:24: /kernel: 'svsm' is missing: The COCONUT kernel itself"),
    (svsm('"type": "crago"'), "2:9: /kernel/svsm/type: type is 'crago': cargo, make or test (did you mean 'cargo'?)"),
    (svsm('"type": 3'), "2:9: /kernel/svsm/type: 3 is not a string: text in double quotes"),
    (svsm('"binary": "treu"'), "2:11: /kernel/svsm/binary: 'treu' is not a boolean: true or false"),
    (svsm('"binary": "true"'), "2:11: /kernel/svsm/binary: 'true' is not a boolean: true or false, without quotes"),
    (svsm('"binary": null'), "2:11: /kernel/svsm/binary: null is not a boolean: true or false"),
    (qemu('"policy": null'), '2:11: /igvm/qemu/policy: null is not a string: text in double quotes, as "0x30000"'),
    (kernel('"svsm": null'), "2:9: /kernel/svsm: null is not an object: members in braces"),
    (
        svsm('"type": "make", "output_file": null'),
        "1:33: /kernel/svsm: type is make, but there is no output_file: an output_file, the make target",
    ),
    (
        svsm('"features": ["vtpm"]'),
        '2:13: /kernel/svsm/features: […] is not a string: text in double quotes, as "vtpm,enable-gdb"',
    ),
    (svsm('"manifest": ""'), "2:13: /kernel/svsm/manifest: manifest is '': at least one character"),
    (svsm('"env": {"A": 1}'), "2:14: /kernel/svsm/env/A: 1 is not a string: text in double quotes"),
    (svsm('"env": 1'), '2:8: /kernel/svsm/env: 1 is not an object: members in braces, as {"LINK_TEST": "1"}'),
    (qemu('"comport": "5"'), "2:12: /igvm/qemu/comport: comport is '5': 1, 2, 3 or 4"),
    (qemu('"comport": 0'), "2:12: /igvm/qemu/comport: comport is 0: 1, 2, 3 or 4"),
    (qemu('"comport": true'), "2:12: /igvm/qemu/comport: comport is true: 1, 2, 3 or 4"),
    (qemu('"measure": "save"'), "2:12: /igvm/qemu/measure: measure is 'save': print"),
    (qemu('"platforms": []'), "2:14: /igvm/qemu/platforms: platforms is []: at least one of native, snp, tdp or vsm"),
    (
        qemu('"platforms": ["snp", "sve"]'),
        "2:22: /igvm/qemu/platforms/1: platforms has 'sve': native, snp, tdp or vsm",
    ),
    (
        qemu('"platforms": ["snp", "tdp", "snp"]'),
        "2:29: /igvm/qemu/platforms/2: platforms has 'snp' again: each entry once",
    ),
    (
        qemu('"policy": "0x10000000000000000"'),
        "2:11: /igvm/qemu/policy: policy is '0x10000000000000000': a hexadecimal number of at most 64 bits, as 0x30000",
    ),
    (
        qemu('"policy": "0X30000"'),
        "2:11: /igvm/qemu/policy: policy is '0X30000': a hexadecimal number of at most 64 bits, as 0x30000",
    ),
    (
        qemu('"policy": "-1"'),
        "2:11: /igvm/qemu/policy: policy is '-1': a hexadecimal number of at most 64 bits, as 0x30000",
    ),
    (
        qemu('"policy": "0x30000\\n"'),
        "2:11: /igvm/qemu/policy: '0x30000\\n' has the control character U+000A: no control characters",
    ),
    (
        qemu('"policy": 196608'),
        '2:11: /igvm/qemu/policy: 196608 is not a string: text in double quotes, as "0x30000"',
    ),
    (firmware('"command": []'), "2:12: /firmware/command: command is []: at least one entry"),
    (firmware('"command": ["make", ""]'), "2:21: /firmware/command/1: command has '': at least one character"),
    (
        firmware('"command": "make"'),
        "2:12: /firmware/command: 'make' is not a list: entries in brackets, as " + '["make", "-C", "edk2"]',
    ),
    # Names of fields.
    (
        qemu('"polcy": "0x30000"'),
        "2:1: /igvm/qemu/polcy: 'polcy' is not a field: output, platforms, policy, comport, measure, check-kvm, "
        "measure-native-zeroes, no-vtom (did you mean 'policy'?)",
    ),
    (
        qemu('"check_kvm": true'),
        "2:1: /igvm/qemu/check_kvm: 'check_kvm' is not a field: output, platforms, policy, comport, measure, "
        "check-kvm, measure-native-zeroes, no-vtom (did you mean 'check-kvm'?)",
    ),
    (
        svsm('"feature": "vtpm"'),
        "2:1: /kernel/svsm/feature: 'feature' is not a field: type, output_file, manifest, features, "
        "no_default_features, binary, objcopy, env, toolchain (did you mean 'features'?)",
    ),
    (
        svsm('"path": "/init"'),
        "2:1: /kernel/svsm/path: 'path' is not a field: type, output_file, manifest, features, "
        "no_default_features, binary, objcopy, env, toolchain",
    ),
    (
        kernel('"svsm": {}, "tdx_stage1": {}'),
        "2:13: /kernel/tdx_stage1: 'tdx_stage1' is not a field: svsm, bldr, stage2, tdx-stage1 "
        "(did you mean 'tdx-stage1'?)",
    ),
    (
        igvm('"hyperv": {}'),
        "2:1: /igvm/hyperv: 'hyperv' is not a field: qemu, hyper-v, vanadium (did you mean 'hyper-v'?)",
    ),
    (
        '{"igvm": {}, "kernel": {"svsm": {}},\n"a/b~": 1}',
        "2:1: /a~1b~0: 'a/b~' is not a field: igvm, kernel, firmware, fs",
    ),
    (
        svsm('"binary": true,\n"binary": false'),
        "3:1: /kernel/svsm/binary: the same name is already on line 2, column 1: each name once in an object",
    ),
    # Fields and types of build.
    (
        svsm('"type": "make"'),
        "1:33: /kernel/svsm: type is make, but there is no output_file: an output_file, the make target",
    ),
    (
        svsm('"output_file": "bin/x"'),
        "2:1: /kernel/svsm/output_file: output_file is for type make, and type is cargo: type make, or no output_file",
    ),
    (
        svsm('"type": "test", "output_file": "bin/x"'),
        "2:17: /kernel/svsm/output_file: output_file is for type make, and type is test: type make, or no output_file",
    ),
    (
        svsm('"toolchain": "nightly"'),
        "2:1: /kernel/svsm/toolchain: toolchain is for type test, and type is cargo: type test, or no toolchain",
    ),
    (
        svsm('"type": "make", "output_file": "x", "toolchain": "nightly"'),
        "2:37: /kernel/svsm/toolchain: toolchain is for type test, and type is make: type test, or no toolchain",
    ),
    (
        svsm('"type": "test", "toolchain": "+nightly"'),
        "2:30: /kernel/svsm/toolchain: toolchain is '+nightly': a name without white space or '+', as nightly",
    ),
    (
        svsm('"type": "test", "toolchain": "my nightly"'),
        "2:30: /kernel/svsm/toolchain: toolchain is 'my nightly': a name without white space or '+', as nightly",
    ),
    (
        kernel('"svsm": {}, "bldr": {}, "stage2": {}'),
        "2:25: /kernel/stage2: both stage2 and bldr are here: one loader: bldr in today's trees, stage2 in older ones",
    ),
    (
        kernel('"svsm": {}, "stage2": {}, "bldr": {}'),
        "2:27: /kernel/bldr: both stage2 and bldr are here: one loader: bldr in today's trees, stage2 in older ones",
    ),
    # Words that tools take for something else.
    *(
        (
            text,
            f"{place}: '{word}' begins with a dash, so a tool takes it for an option: "
            "a first character that is not a dash",
        )
        for text, place, word in [
            (svsm('"features": "a, -b"'), "2:13: /kernel/svsm/features", "-b"),
            (svsm('"manifest": "-m"'), "2:13: /kernel/svsm/manifest", "-m"),
            (svsm('"type": "make", "output_file": "-B"'), "2:32: /kernel/svsm/output_file", "-B"),
            (svsm('"objcopy": "--help"'), "2:12: /kernel/svsm/objcopy", "--help"),
            (svsm('"type": "test", "toolchain": "-n"'), "2:30: /kernel/svsm/toolchain", "-n"),
            (qemu('"output": "-x.igvm"'), "2:11: /igvm/qemu/output", "-x.igvm"),
            (firmware('"file": "-x"'), "2:9: /firmware/file", "-x"),
            (firmware('"command": ["-x"]'), "2:13: /firmware/command/0", "-x"),
            (modules('"-x": {"path": "x"}'), "2:1: /fs/modules/-x", "-x"),
        ]
    ),
    (
        modules('"a": {"path": "/bin/-x"}'),
        "2:15: /fs/modules/a/path: '-x' begins with a dash, so a tool takes it for an option: no dash there",
    ),
    (
        svsm('"type": "make", "output_file": "A=b"'),
        "2:32: /kernel/svsm/output_file: 'A=b' has '=', so make takes it for a variable: a name without '='",
    ),
    *(
        (text, f"{place}: '{word}' has the control character U+{code}: no control characters")
        for text, place, word, code in [
            (svsm('"manifest": "a\\nb"'), "2:13: /kernel/svsm/manifest", "a\\nb", "000A"),
            (svsm('"type": "make", "output_file": "a\\u0000"'), "2:32: /kernel/svsm/output_file", "a\\x00", "0000"),
            (svsm('"objcopy": "a\\tb"'), "2:12: /kernel/svsm/objcopy", "a\\tb", "0009"),
            (svsm('"features": "a\\u001bb"'), "2:13: /kernel/svsm/features", "a\\x1bb", "001B"),
            (svsm('"env": {"A\\u0000": ""}'), "2:9: /kernel/svsm/env/A\\x00", "A\\x00", "0000"),
            (qemu('"output": "a\\u007f"'), "2:11: /igvm/qemu/output", "a\\x7f", "007F"),
            (firmware('"file": "a\\nb"'), "2:9: /firmware/file", "a\\nb", "000A"),
            (firmware('"env": "a\\nb"'), "2:8: /firmware/env", "a\\nb", "000A"),
            (firmware('"command": ["a\\nb"]'), "2:13: /firmware/command/0", "a\\nb", "000A"),
            (modules('"a\\u0001": {"path": "x"}'), "2:1: /fs/modules/a\\x01", "a\\x01", "0001"),
            (modules('"a": {"path": "a\\u0085b"}'), "2:15: /fs/modules/a/path", "a\\x85b", "0085"),
        ]
    ),
    (
        svsm('"env": {"A": "\\u0000"}'),
        "2:14: /kernel/svsm/env/A: '\\x00' has the character U+0000: a value without it",
    ),
    (
        firmware('"command": ["sh", "a\\u0000"]'),
        "2:19: /firmware/command/1: 'a\\x00' has the character U+0000: an argument without it",
    ),
    (
        svsm('"env": {"A=B": "1"}'),
        "2:9: /kernel/svsm/env/A=B: 'A=B' is not the name of a variable: a name without '='",
    ),
    (svsm('"env": {"": "1"}'), "2:9: /kernel/svsm/env/: '' is not the name of a variable: a name without '='"),
    (firmware('"env": "A=B"'), "2:8: /firmware/env: 'A=B' is not the name of a variable: a name without '='"),
    # Paths in the tree.
    (
        svsm('"manifest": "/Cargo.toml"'),
        "2:13: /kernel/svsm/manifest: '/Cargo.toml' is an absolute path: a path in the source tree",
    ),
    (
        svsm('"manifest": "a/../../Cargo.toml"'),
        "2:13: /kernel/svsm/manifest: 'a/../../Cargo.toml' leaves the source tree: a path in the source tree",
    ),
    (
        svsm('"type": "make", "output_file": "/x"'),
        "2:32: /kernel/svsm/output_file: '/x' is an absolute path: a path in the source tree",
    ),
    (
        svsm('"type": "make", "output_file": ".."'),
        "2:32: /kernel/svsm/output_file: '..' leaves the source tree: a path in the source tree",
    ),
    (
        svsm('"type": "make", "output_file": "bin/"'),
        "2:32: /kernel/svsm/output_file: 'bin/' is a folder: the name of a file",
    ),
    # Modules.
    *(
        (
            modules(f'"{name}": {{"path": "x"}}'),
            f"2:1: /fs/modules/{name.replace('/', '~1')}: '{name}' cannot be a module's name: "
            "the name of a cargo package or binary, without / = : * , and white space",
        )
        for name in ("", "a/b", "a b", "a=b", "a:b", "a*", "a,b", ".", "..")
    ),
    (
        modules('"a": {"path": "/"}'),
        "2:15: /fs/modules/a/path: '/' is the root of the image: a file in the image, as /init",
    ),
    (
        modules('"a": {"path": "x/.."}'),
        "2:15: /fs/modules/a/path: 'x/..' is the root of the image: a file in the image, as /init",
    ),
    (
        modules('"a": {"path": "/../x"}'),
        "2:15: /fs/modules/a/path: '/../x' leaves the image: a path that stays inside, as /init",
    ),
    (modules('"a": {"path": ""}'), "2:15: /fs/modules/a/path: path is '': at least one character"),
    (
        modules('"a": {"path": "init"}, "b": {"path": "//./init"}'),
        "2:38: /fs/modules/b/path: the path 'init' is also that of a: a path of its own for each module",
    ),
    (
        modules('"a": {"path": "b"}, "b": {}'),
        "2:21: /fs/modules/b: the path 'b' is also that of a: a path of its own for each module",
    ),
    (
        modules('"a": {"path": "init"}, "b": {"path": "init/x"}'),
        "2:38: /fs/modules/b/path: the path 'init/x' is inside 'init', which is the file of a: "
        "a path of its own for each module",
    ),
    (
        modules('"a": {"path": "/test/x"}, "test": {}'),
        "2:27: /fs/modules/test: the path 'test' is a folder, because a is at 'test/x': "
        "a path of its own for each module",
    ),
    # Outputs.
    (qemu('"output": "/x"'), "2:11: /igvm/qemu/output: '/x' is an absolute path: a path in bin/"),
    (qemu('"output": "a/../../x"'), "2:11: /igvm/qemu/output: 'a/../../x' leaves bin/: a path in bin/"),
    (qemu('"output": "."'), "2:11: /igvm/qemu/output: '.' is a folder: the name of a file"),
    (qemu('"output": "a/.."'), "2:11: /igvm/qemu/output: 'a/..' is a folder: the name of a file"),
    (qemu('"output": "a/"'), "2:11: /igvm/qemu/output: 'a/' is a folder: the name of a file"),
    (qemu('"output": ""'), "2:11: /igvm/qemu/output: output is '': at least one character"),
    (
        qemu('"output": "a/../.coconut/x"'),
        "2:11: /igvm/qemu/output: 'a/../.coconut/x' is in the state folder: a path outside .coconut",
    ),
    *(
        (
            qemu(f'"output": "{name}"'),
            f"2:11: /igvm/qemu/output: bin/{first} is a file of every build: "
            "a name other than svsm, stage2, bldr, tdx-stage1, svsm-fs.bin",
        )
        for name, first in [
            ("svsm", "svsm"),
            ("./stage2", "stage2"),
            ("bldr", "bldr"),
            ("tdx-stage1", "tdx-stage1"),
            ("svsm-fs.bin", "svsm-fs.bin"),
            ("svsm/x.igvm", "svsm"),
        ]
    ),
    (
        igvm('"qemu": {"output": "x"}, "hyper-v": {"output": "./x"}'),
        "2:48: /igvm/hyper-v/output: the IGVM file is bin/x, and bin/x is the IGVM file of qemu: "
        "an output of its own for each target",
    ),
    (
        igvm('"hyper-v": {"output": "coconut-qemu.igvm"}, "qemu": {}'),
        "2:45: /igvm/qemu: the IGVM file is bin/coconut-qemu.igvm, and bin/coconut-qemu.igvm is the IGVM file of "
        "hyper-v: an output of its own for each target",
    ),
    (
        igvm('"qemu": {"output": "x"}, "hyper-v": {"output": "x.launch-digest.hex"}'),
        "2:48: /igvm/hyper-v/output: the IGVM file is bin/x.launch-digest.hex, and bin/x.launch-digest.hex is "
        "the launch digest of qemu: an output of its own for each target",
    ),
    (
        igvm('"qemu": {"output": "x.launch-digest.json"}, "hyper-v": {"output": "x"}'),
        "2:67: /igvm/hyper-v/output: the launch digest is bin/x.launch-digest.json, and bin/x.launch-digest.json is "
        "the IGVM file of qemu: an output of its own for each target",
    ),
    (
        igvm('"qemu": {"output": "x"}, "hyper-v": {"output": "x.corim"}'),
        "2:48: /igvm/hyper-v/output: the IGVM file is bin/x.corim, and bin/x.corim is the CoRIM of qemu: "
        "an output of its own for each target",
    ),
    (
        igvm('"qemu": {"output": "x"}, "hyper-v": {"output": "x.corim.sig"}'),
        "2:48: /igvm/hyper-v/output: the IGVM file is bin/x.corim.sig, and bin/x.corim.sig is a signature of qemu: "
        "an output of its own for each target",
    ),
    (
        igvm('"qemu": {"output": "x"}, "hyper-v": {"output": "x/y"}'),
        "2:48: /igvm/hyper-v/output: the IGVM file is bin/x/y, and bin/x, which is in the way, is the IGVM file of "
        "qemu: an output of its own for each target",
    ),
]


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_one_mistake_has_one_message(text: str, message: str) -> None:
    assert outcome(text) == ([f"r.json:{message}"], [])


WARNINGS = [
    (
        svsm('"type": "make", "output_file": "x", "manifest": "Cargo.toml"'),
        "2:37: /kernel/svsm/manifest: type is make, which ignores manifest: type cargo, or no manifest",
    ),
    (
        svsm('"type": "make", "output_file": "x", "binary": true'),
        "2:37: /kernel/svsm/binary: type is make, which ignores binary: type cargo, or no binary",
    ),
    (
        svsm('"type": "make", "output_file": "x", "no_default_features": false'),
        "2:37: /kernel/svsm/no_default_features: type is make, which ignores no_default_features: "
        "type cargo, or no no_default_features",
    ),
    (
        qemu('"platforms": ["native"], "measure": "print"'),
        "2:26: /igvm/qemu/measure: there is no launch digest to print without the platform snp: "
        "snp among the platforms, or no measure",
    ),
]


@pytest.mark.parametrize(("text", "message"), WARNINGS)
def test_what_can_be_built_is_a_warning(text: str, message: str) -> None:
    assert outcome(text) == ([], [f"r.json:{message}"])


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
    fields = "output, platforms, policy, comport, measure, check-kvm, measure-native-zeroes, no-vtom"
    assert outcome(MANY) == (
        [
            f"r.json:4:7: /igvm/qemu/polcy: 'polcy' is not a field: {fields} (did you mean 'policy'?)",
            "r.json:5:20: /igvm/qemu/check-kvm: 'treu' is not a boolean: true or false",
            "r.json:6:17: /igvm/qemu/output: '../x' leaves bin/: a path in bin/",
            "r.json:10:13: /kernel: 'svsm' is missing: The COCONUT kernel itself",
            "r.json:12:5: /kernel/bldr: both stage2 and bldr are here: one loader: bldr in today's trees, "
            "stage2 in older ones",
            "r.json:12:22: /kernel/bldr/type: type is 'crago': cargo, make or test (did you mean 'cargo'?)",
            "r.json:13:5: /kernel/stage2: the same name is already on line 11, column 5: each name once in an object",
            "r.json:13:15: /kernel/stage2: type is make, but there is no output_file: an output_file, the make target",
            "r.json:15:3: /fs: the same name is already on line 9, column 3: each name once in an object",
            "r.json:15:22: /fs/modules/a b: 'a b' cannot be a module's name: "
            "the name of a cargo package or binary, without / = : * , and white space",
        ],
        [
            "r.json:13:32: /kernel/stage2/binary: type is make, which ignores binary: type cargo, or no binary",
        ],
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
"""As configs/vanadium-test-target.json was shipped in SVSM f592ca18."""


def test_of_a_name_that_is_there_twice_lenient_takes_the_last_as_the_old_builders() -> None:
    places = [
        ("r.json:5:3: /kernel/svsm: the same name is already on line 4, column 3: each name once in an object"),
        (
            "r.json:5:29: /kernel/svsm/features: the same name is already on line 5, column 12: each name once in an object"
        ),
    ]
    assert outcome(TWICE) == (places, [])
    assert outcome(TWICE, lenient=True) == ([], [f"{line}, and the last one counts" for line in places])
    recipe = load_recipe("r", TWICE.encode(), lenient=True)
    assert recipe.kernel.svsm == Component("svsm", features=("vtpm",))


def test_lenient_passes_over_what_the_type_of_an_item_has_no_use_for() -> None:
    cargo = svsm('"features": "a",\n"output_file": "/x"')
    made = svsm('"type": "make", "output_file": "x",\n"toolchain": "nightly"')
    for text, message in (
        (
            cargo,
            "3:1: /kernel/svsm/output_file: output_file is for type make, and type is cargo: type make, or no output_file",
        ),
        (made, "3:1: /kernel/svsm/toolchain: toolchain is for type test, and type is make: type test, or no toolchain"),
    ):
        assert outcome(text) == ([f"r.json:{message}"], [])
        assert outcome(text, lenient=True) == ([], [f"r.json:{message}"])
    with_it, without = (load_recipe("r", text.encode(), lenient=True) for text in (cargo, svsm('"features": "a"')))
    context = PlanContext(Options(), Layout("bin"))
    assert plan_recipes([with_it], context).steps == plan_recipes([without], context).steps
    # xbuild, too: it would be built by another compiler than the recipe says
    assert outcome(svsm('"toolchain": "nightly"'), lenient=True)[0]


def test_lenient_makes_what_the_old_builders_pass_over_and_nothing_else_a_warning() -> None:
    fields = "type, output_file, manifest, features, no_default_features, binary, objcopy, env, toolchain"
    warning = f"r.json:2:1: /kernel/svsm/feature: 'feature' is not a field: {fields} (did you mean 'features'?)"
    assert outcome(svsm('"feature": "a"'), lenient=True) == ([], [warning])
    text = svsm('"feature": "a", "binary": 1')
    assert outcome(text, lenient=True) == (
        ["r.json:2:27: /kernel/svsm/binary: 1 is not a boolean: true or false"],
        [warning],
    )
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
    assert len(errors) == 1
    assert "has the control character U+001C" in errors[0]


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
        assert "\n" not in "".join(problem.wrong + problem.allowed for problem in error.problems)
    else:
        assert recipe == load_recipe("r", data, valid=True)
