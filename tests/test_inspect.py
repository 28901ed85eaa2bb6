"""``doit inspect`` and ``coconut-measure``: what they show, and how they end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from copy import deepcopy
from hashlib import sha384
from itertools import product
from pathlib import Path

import pytest
from conftest import QEMU, Outcome, Site, environment
from igvm_files import GOLDEN, TDX, area, data_at, header, igvm, insert, page, platform

from coconut_tasks.commands.candidates import CommandLine, Known, candidates
from coconut_tasks.commands.inspect import InspectCommand
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.parse import parse
from coconut_tasks.igvm.snp import launch_digest
from coconut_tasks.options import from_words
from coconut_tasks.reports.inspect import as_text

NAMES = sorted(path.name for path in GOLDEN.glob("*.igvm"))


def run(folder: Path, module: str, *words: str) -> Outcome:
    argv = [sys.executable, "-m", module, *words]
    done = subprocess.run(argv, cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


def inspect(folder: Path, *words: str) -> Outcome:
    return run(folder, "doit", "inspect", *words)


def measure(folder: Path, *words: str) -> Outcome:
    return run(folder, "coconut_tasks.commands.measure", *words)


@pytest.mark.parametrize(
    "words",
    [
        ("coconut_tasks.commands.measure", "--bare"),
        ("coconut_tasks.commands.measure", "--json"),
        ("doit", "inspect"),
        ("doit", "inspect", "--json"),
    ],
)
def test_what_cannot_be_written_to_the_end_is_no_success(words: tuple[str, ...]) -> None:
    """Else the file that a digest was to go to is empty, and nobody is told."""
    file = next(name for name in NAMES if measure(GOLDEN, name).status == 0)
    with open("/dev/full", "w") as full:
        argv = [sys.executable, "-m", *words, file]
        done = subprocess.run(argv, cwd=GOLDEN, env=environment(GOLDEN), stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "error: No space left on device  [system-refused]\n")


def test_pages_of_one_kind_that_follow_each_other_are_one_line() -> None:
    pages = [page(0x1000 * at) for at in range(1, 5)] + [
        page(0x9000),
        page(0xA000, flags=2),
        page(0xB000, flags=2, mask=3),
    ]
    file = parse(igvm(platform(), *pages))
    lines = list(as_text("x", file, None))
    assert [line.strip() for line in lines[3:]] == [
        "directives:",
        "page data  0x1000 16.0 KiB  4 pages  zeroes  mask 0x1",
        "page data  0x9000 4.0 KiB  zeroes  mask 0x1",
        "page data  0xa000 4.0 KiB  zeroes  unmeasured  mask 0x1",
        "page data  0xb000 4.0 KiB  zeroes  unmeasured  mask 0x3",
    ]
    assert len(list(as_text("x", file, None, every=True))) == len(lines) + 3


def test_the_hash_of_a_run_is_of_all_that_it_holds() -> None:
    first = data_at(platform(), page(0), page(0))
    content = bytes(range(256)) * 32
    file = parse(igvm(platform(), page(0x1000, first), page(0x2000, first + 4096), data=content))
    assert f"sha384 {sha384(content).hexdigest()[:16]}…" in list(as_text("x", file, None))[-1]


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_in_the_json_and_each_header_has_a_line(name: str) -> None:
    outcome = inspect(GOLDEN, "--json", name)
    assert (outcome.status, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert (found["format"], len(found["files"])) == (1, 1)
    file = found["files"][0]
    headers = [*file["platforms"], *file["initialization_headers"], *file["directives"]]
    assert [int(one["offset"], 16) for one in headers] == [
        one.offset for one in parse((GOLDEN / name).read_bytes()).headers()
    ]
    text = inspect(GOLDEN, "--all", name).out
    for one in headers:
        assert f"\n  {one['type']}  " in text


def test_the_sample_is_shown_and_measured(site: Site) -> None:
    outcome = site.build(site.recipe())
    digest = outcome.digests["q.igvm"]
    shown = inspect(site.folder, "bin/q.igvm")
    assert shown.status == 0
    assert f"\nSEV-SNP launch digest: {digest}\n" in shown.out
    for part in (
        "  supported platform  SEV-SNP  version 1",
        "  guest policy  0x30000  mask 0x2",
        " secrets ",
        "VP context",
    ):
        assert part in shown.out
    found = json.loads(inspect(site.folder, "--json", "bin/q.igvm").out)["files"][0]
    assert found["launch_digest"]["digest"] == digest
    bare = measure(site.folder, "--check-kvm", "--bare", "bin/q.igvm")
    assert (bare.status, bare.out, bare.err) == (0, f"{digest}\n", "")
    assert measure(site.folder, "bin/q.igvm").out == f"bin/q.igvm: SEV-SNP launch digest {digest}\n"
    told = json.loads(measure(site.folder, "--json", "--native-zero", "bin/q.igvm").out)
    written = json.loads((site.bin / "q.igvm.launch-digest.json").read_text())
    assert told["digest"] == found["launch_digest"]["native_zero_digest"] != digest
    assert told["igvm"] | {"file": "q.igvm"} == written["igvm"]


@pytest.mark.parametrize("firmware", [False, True])
def test_both_computations_agree_on_all_targets_and_options_of_the_sample(firmware: bool, site: Site) -> None:
    content = deepcopy(QEMU)
    content["igvm"] = {
        "qemu": {"output": "q.igvm", "platforms": ["native", "snp", "tdp", "vsm"], "policy": "0xb0000"},
        "hyper-v": {"output": "h.igvm", "no-vtom": True, "comport": "3"},
        "vanadium": {"output": "v.igvm", "platforms": ["snp"], "measure-native-zeroes": True, "check-kvm": True},
    }
    content["kernel"]["tdx-stage1"] = {"manifest": "stage1/Cargo.toml", "binary": True, "objcopy": "binary"}
    content["fs"] = {"modules": {"userinit": {"path": "/init"}}}
    if firmware:
        (site.folder / "fw.bin").write_bytes(bytes(range(256)) * 40)
        content["firmware"] = {"file": "../fw.bin"}
    site.build(site.recipe(content))
    (tool,) = site.bin.glob(".coconut/parts/igvmmeasure-*/igvmmeasure")
    digests = set()
    for name, check_kvm, native_zero in product(("q.igvm", "h.igvm", "v.igvm"), (False, True), (False, True)):
        flags = [*(["--check-kvm"] if check_kvm else []), *(["--native-zero"] if native_zero else [])]
        theirs = subprocess.run([tool, *flags, site.bin / name, "measure"], capture_output=True, text=True)
        printed = re.search(r"Launch Digest: ([0-9A-F]{96})", theirs.stdout)
        try:
            ours = launch_digest((site.bin / name).read_bytes(), check_kvm=check_kvm, native_zero=native_zero).hex()
        except IgvmError:
            ours = ""
        assert ours == (printed[1].lower() if printed else ""), (name, flags)
        digests.add(ours)
    assert len(digests - {""}) == 6, "of each image one, and one with native zero pages"


def test_a_file_without_snp_is_shown_and_cannot_be_measured(tmp_path: Path) -> None:
    (tmp_path / "tdx.igvm").write_bytes(igvm(platform(TDX, 3), page(0x1000, mask=TDX)))
    shown = inspect(tmp_path, "tdx.igvm")
    assert shown.status == 0
    assert "launch digest" not in shown.out
    assert json.loads(inspect(tmp_path, "--json", "tdx.igvm").out)["files"][0]["launch_digest"] is None
    asked = measure(tmp_path, "tdx.igvm")
    assert (asked.status, asked.ids) == (1, {"no-snp"})
    assert asked.err.startswith("error: tdx.igvm: at 0x18: ")


def test_what_igvmmeasure_does_not_read_is_shown_with_the_reason_for_no_digest(tmp_path: Path) -> None:
    (tmp_path / "v.igvm").write_bytes(igvm(platform(), header(0x107, b"1.0\x1b[2J"), header(0x80000999, b"x"), page(0)))
    shown = inspect(tmp_path, "v.igvm")
    assert shown.status == 0
    assert (
        '  version string  "1.0\\u001b[2J"\n  optional header 0x999  1 bytes  loaders may pass it over\n' in shown.out
    )
    assert "\nno SEV-SNP launch digest: at 0x30: a version string: crate igvm 0.5 does not read it\n" in shown.out


def test_the_id_block_counts_unless_it_is_ignored(tmp_path: Path) -> None:
    block = header(0x30B, b"\1\0\0\0\0\0\0\0" + bytes(688))
    (tmp_path / "id.igvm").write_bytes(igvm(platform(), page(0), block))
    asked = measure(tmp_path, "--bare", "id.igvm")
    assert (asked.status, asked.out) == (1, "")
    assert f"the ID block wants launch digest {'0' * 96}: " in asked.err
    ignored = measure(tmp_path, "--bare", "--ignore-idblock", "id.igvm")
    assert (ignored.status, len(ignored.out)) == (0, 97)


def test_statuses(tmp_path: Path) -> None:
    (tmp_path / "bad.igvm").write_bytes(b"MGVI" + bytes(100))
    (tmp_path / "good.igvm").write_bytes(igvm(platform(), page(0), area(0, 4096), insert(0, 0x1000)))
    bad = inspect(tmp_path, "bad.igvm", "good.igvm")
    assert (bad.status, bad.ids) == (1, {"not-igvm"})
    assert bad.err.startswith("error: bad.igvm: at 0x0: b'MGVI': ")
    assert "SEV-SNP launch digest: " in bad.out
    both = inspect(tmp_path, "--json", "bad.igvm", "no.igvm", "good.igvm")
    assert (both.status, len(json.loads(both.out)["files"])) == (2, 1)
    assert "error: no.igvm: No such file or directory  [system-refused]\n" in both.err
    assert inspect(tmp_path).status == inspect(tmp_path, "--al", "x").status == 2
    assert inspect(tmp_path, "/dev/zero").status == measure(tmp_path, "/dev/zero").status == 1
    assert measure(tmp_path, "bad.igvm").status == 1
    assert measure(tmp_path, "no.igvm").status == measure(tmp_path, ".").status == measure(tmp_path).status == 2
    assert measure(tmp_path, "--nativezero", "good.igvm").status == 2


def test_a_name_that_is_no_text_is_shown(tmp_path: Path) -> None:
    name = tmp_path / "\udcff.igvm"
    name.write_bytes(igvm(platform(), page(0)))
    for program in (inspect, measure):
        assert program(tmp_path, str(name)).status == 0


def test_only_igvm_files_and_folders_are_completed(tmp_path: Path) -> None:
    for name in ("a.igvm", "b.json"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "bin").mkdir()
    found = candidates(
        ["doit", "inspect", ""],
        from_words([], {}, str(tmp_path)),
        Known({"inspect": CommandLine(InspectCommand.doc_usage)}),
    )
    assert [one.value for one in found] == ["a.igvm", "bin/"]
