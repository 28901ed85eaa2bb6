"""The revision number of each kind of step fixes what this program makes of given bytes, checked with tools that make fixed bytes.

A newer version of the program must not consider outputs of an older one up to date if it would make different ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import DODO, QEMU, Outcome, Site
from igvm_files import igvm, page, platform

from coconut_tasks.igvm.launch import MeasureOptions
from coconut_tasks.igvm.measure import measure
from coconut_tasks.plan.items import TOOLS
from coconut_tasks.steps import action
from coconut_tasks.steps.action import Action

MADE = {
    "CargoItem": (2, "c108dafbf11844a0"),
    "MakeItem": (2, "21a751b33616f742"),
    "FsImage": (1, "42761b55e590f957"),
    "FirmwareImage": (1, "4f094613819026db"),
    "IgvmImage": (1, "77249cb818687919"),
    "Measurement": (2, "a6cd3fecc85e83b8"),
    "Provenance": (2, "acffc86971f67041"),
    "VersionFile": (1, "be57cc7bd4593e22"),
}
"""Kind of action → its revision, and the digest of what it makes here."""
STEPS = {
    "CargoItem": {"kernel:svsm", "kernel:bldr", "module:userinit", *(f"tool:{name}" for name in TOOLS)},
    "MakeItem": {"kernel:tdx-stage1"},
    "FsImage": {"fs:image"},
    "FirmwareImage": {"firmware:guest"},
    "IgvmImage": {"igvm:qemu"},
    "Measurement": {"measure:qemu"},
    "Provenance": {"provenance:qemu"},
    "VersionFile": set(),  # its text itself is compared
}

# Without what differs between machines or is not part of the bytes.
TOLD = """told() {
    [ -z "$SOURCE_DATE_EPOCH" ] || gcc -c x.c
    [ -z "$SOURCE_DATE_EPOCH" ] || env | grep -v -e ^PATH= -e ^PWD= -e ^OLDPWD= -e ^SHLVL= -e ^_= | LC_ALL=C sort
    umask
}
"""
PROGRAMS = {
    "rustc": """case $1 in
    -vV) printf 'rustc 1.0.0\\ncommit-hash: 0123\\nhost: x86_64-unknown-linux-gnu\\n' ;;
    --print) echo "$HOME/sysroot" ;;
esac""",
    "cargo": """[ "$1" != -V ] || { echo cargo 1.0.0; exit; }
target=target
for word; do
    case $before in
        --package|--bin) name=$word ;;
        --config) config=$word; target=$(sed -n 's/^target-dir = "\\(.*\\)"$/\\1/p' "$word") ;;
    esac
    before=$word
done
program=$PWD/$target/debug/$name
[ "$target" = target ] || program=$target/debug/$name
mkdir -p "${program%/*}"
if [ -f "tools/$name" ]; then cp "tools/$name" "$program"; else
    { echo "$@"; told; [ -z "$config" ] || cat "$config"; } > "$program"
    chmod 755 "$program"
fi
printf '{"reason":"compiler-artifact","package_id":"path+file://%s#%s@0.1.0","manifest_path":"%s/kernel/Cargo.toml",' "$PWD" "$name" "$PWD"
printf '"target":{"name":"%s","kind":["bin"]},"profile":{"test":false},"filenames":["%s"],' "$name" "$program"
printf '"executable":"%s","fresh":false}\\n' "$program\"""",
    "make": """case $* in
    --version) echo make 1.0 ;;
    *--print-data-base*) ;;
    *) { echo "$@"; told; } > stage1.bin ;;
esac""",
    "gcc": 'echo gcc "$@"',
    "objcopy": """[ "$1" != --version ] || { echo objcopy 1.0; exit; }
while [ $# -gt 2 ]; do shift; done
cat "$1" > "$2\"""",
}
HOST_TOOLS = {
    "packit": """cd "$3"
find . | LC_ALL=C sort | while read -r f; do
    stat -c "%n %F %a %Y" "$f"
    [ -d "$f" ] || cat "$f"
done > "$OLDPWD/$5\"""",
    "igvmbuilder": 'cat image.igvm > "$3"',
    "igvmmeasure": "echo Launch Digest: {digest}",
}
RECIPE = {
    "igvm": {"qemu": {"output": "q.igvm", "platforms": ["snp"]}},
    "kernel": {"svsm": {"features": "vtpm"}, "tdx-stage1": {"type": "make", "output_file": "stage1.bin"}},
    "fs": {"modules": {"init": {"path": "/sbin/init"}}},
    "firmware": {"file": "image.igvm"},
}
MAIN = "import sys, coconut_tasks; coconut_tasks.__version__ = '0'; from doit.__main__ import main; sys.exit(main())"


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tree, and tools that make the same bytes on any machine."""
    image = igvm(platform(), page(0x1000))
    tree = tmp_path / "svsm"
    for name, text in PROGRAMS.items():
        script(tmp_path / "programs" / name, TOLD + text)
    for name, text in HOST_TOOLS.items():
        script(tree / "tools" / name, text.replace("{digest}", measure(image, MeasureOptions()).digest.hex()))
    (tmp_path / "sysroot/lib/rustlib/x86_64-unknown-none/lib").mkdir(parents=True)
    for name in ("kernel", "release/src"):
        (tree / name).mkdir(parents=True)
    for name in ("Cargo.toml", "kernel/Cargo.toml", "release/Cargo.toml"):
        (tree / name).write_text('[workspace]\n[package]\nname = "svsm"\n')
    (tree / "image.igvm").write_bytes(image)
    (tmp_path / "dodo.py").write_text(DODO)
    (tree / "r.json").write_text(json.dumps(RECIPE))
    return tmp_path


def build(folder: Path, *words: str) -> None:
    environment = {
        "PATH": f"{folder}/programs:{os.environ['PATH']}",
        "HOME": str(folder),
        "GIT_CEILING_DIRECTORIES": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    argv = [sys.executable, "-c", MAIN, *words, "RECIPE=svsm/r.json", "SVSM=svsm", "BIN=bin"]
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, umask=0o027)
    assert done.returncode == 0, done.stdout + done.stderr


def made(folder: Path) -> dict[str, str]:
    """Kind of action → the result of its step, as text."""
    parts = folder / "bin" / ".coconut" / "parts"
    measurement = (folder / "bin" / "q.igvm.launch-digest.json").read_bytes()

    def shown(path: Path) -> str:
        text = path.read_bytes().decode("latin-1").replace(str(folder), "FOLDER")
        # A key distinguishes variants; it is in commands, which are in the measurement.
        text = re.sub(r"-[0-9a-f]{12}/", "-KEY/", text).replace(hashlib.sha256(measurement).hexdigest(), "MEASUREMENT")
        return f"{path.name} {stat.S_IMODE(path.stat().st_mode):o}\n{text}\n"

    def of(*patterns: str) -> str:
        found = [path for pattern in patterns for path in sorted(parts.glob(pattern), key=shown)]
        assert len(found) >= len(patterns)
        return "".join(map(shown, found))

    return {
        "CargoItem": of("svsm-*/svsm"),
        "MakeItem": of("tdx-stage1-*/tdx-stage1"),
        "FsImage": of("fs-*/svsm-fs.bin"),
        "FirmwareImage": of("firmware-*/firmware.bin"),
        "IgvmImage": of("qemu-*/q.igvm"),
        "Measurement": of("measure-qemu-*/*"),
        "Provenance": of("provenance-qemu-*/*"),
        "VersionFile": shown(folder / "svsm" / "release" / "src" / "git_version.rs"),
    }


def test_bytes_that_we_make_change_only_with_a_revision(folder: Path) -> None:
    build(folder)
    plain = made(folder)
    build(folder, "REPRODUCIBLE=1", "kernel")
    texts = {**plain, **{kind: made(folder)[kind] for kind in ("CargoItem", "MakeItem")}}
    assert texts.keys() == MADE.keys() == {kind.__name__ for kind in Action.__subclasses__()}
    for kind, text in texts.items():
        revision = getattr(action, kind).revision
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        assert (revision, digest) == MADE[kind], (
            f"what coconut-tasks itself does in a {kind} gives other bytes now: raise its revision in steps/action.py "
            f"(once for each released version is enough), and then write it and {digest!r} here. It makes:\n{text}"
        )


def test_a_raised_revision_makes_just_the_steps_of_its_kind_stale(site: Site) -> None:
    content: dict[str, Any] = deepcopy(QEMU)
    content["kernel"]["tdx-stage1"] = {"type": "make", "output_file": "bin/stage1-trampoline", "objcopy": "binary"}
    content["fs"] = {"modules": {"userinit": {"path": "/init"}}}
    content["firmware"] = {"file": "fw.bin"}
    (site.tree / "fw.bin").write_bytes(b"firmware")
    recipe = site.recipe(content)

    def newer(kind: str, *words: str) -> Outcome:
        raised = f"from coconut_tasks.steps import action; action.{kind}.revision += 1; {MAIN}"
        done = site.run([sys.executable, "-c", raised, *words, recipe, "SVSM=svsm", "BIN=bin"])
        assert done.status == 0, done.text
        return done

    newer("VersionFile")
    for kind, steps in STEPS.items():
        revision = getattr(action, kind).revision
        reason = f"this version of coconut-tasks builds it differently (revision {revision} → {revision + 1})"
        told = re.findall(r"^(\S+) runs: (.*)$", newer(kind, "why").out, re.MULTILINE)
        assert sorted(told) == sorted((name, reason) for name in steps)
    assert newer("FsImage").built == {"fs:image"}
    assert newer("FsImage").built == set()
