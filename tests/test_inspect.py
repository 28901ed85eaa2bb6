"""``doit inspect`` and ``coconut-measure``: what they show, and how they end."""

from __future__ import annotations

import json
import random
import re
import struct
import subprocess
import sys
from contextlib import nullcontext
from hashlib import sha384
from pathlib import Path
from typing import Any

import pytest
from conftest import Outcome, Site, environment, has
from igvm_files import (
    GOLDEN,
    MODES,
    SNP,
    TDX,
    VSM,
    area,
    data_at,
    header,
    igvm,
    insert,
    page,
    platform,
    vp_context,
    with_checksum,
)
from test_results import document

from coconut_tasks.commands.candidates import CommandLine, Known, candidates
from coconut_tasks.commands.inspect import InspectCommand
from coconut_tasks.igvm.declared import DeclaredPlatforms
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.fields import all_fields
from coconut_tasks.igvm.kvm import SIGNATURES
from coconut_tasks.igvm.launch import MeasureOptions
from coconut_tasks.igvm.measure import measure as measured
from coconut_tasks.igvm.measure import measure_all, measured_pages
from coconut_tasks.igvm.notes import MOST_NOTES, notes_of
from coconut_tasks.igvm.parse import parse
from coconut_tasks.igvm.platforms import MEASURED
from coconut_tasks.igvm.read import read_igvm, read_igvm_or_start
from coconut_tasks.igvm.values import ErrorRange, ParameterArea, ParameterInsert, UnknownHeader
from coconut_tasks.options import from_words
from coconut_tasks.reports.inspect import as_json, as_text

NAMES = sorted(path.name for path in GOLDEN.glob("*.igvm"))
EVERY = (platform(), platform(TDX, 3), platform(VSM, 1))
"""The platforms that measure."""
ALL = SNP | TDX | VSM


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
    """Otherwise the file for the digest would silently be empty."""
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
    lines = list(as_text("x", file))
    assert [line.strip() for line in lines[3:]] == [
        "directives:",
        "page data  0x1000 16.0 KiB  4 pages  zeroes  mask 0x1  counts as normal",
        "page data  0x9000 4.0 KiB  zeroes  mask 0x1  counts as normal",
        "page data  0xa000 4.0 KiB  zeroes  unmeasured  mask 0x1  counts as unmeasured",
        "page data  0xb000 4.0 KiB  zeroes  unmeasured  mask 0x3  counts as unmeasured",
    ]
    assert len(list(as_text("x", file, every=True))) == len(lines) + 3


def test_the_hash_of_a_run_is_of_all_that_it_holds() -> None:
    first = data_at(platform(), page(0), page(0))
    content = bytes(range(256)) * 32
    file = parse(igvm(platform(), page(0x1000, first), page(0x2000, first + 4096), data=content))
    assert f"sha384 {sha384(content).hexdigest()[:16]}…" in list(as_text("x", file))[-1]


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
    mrtd = (site.bin / "q.igvm.mrtd.hex").read_text()
    assert measure(site.folder, "bin/q.igvm").out == (
        f"bin/q.igvm: SEV-SNP launch digest {digest}\nbin/q.igvm: TDX MRTD {mrtd}"
    )
    assert measure(site.folder, "--platform=tdp", "--bare", "bin/q.igvm").out == mrtd
    told = json.loads(measure(site.folder, "--json", "--native-zero", "bin/q.igvm").out)
    written = json.loads((site.bin / "q.igvm.launch-digest.json").read_text())
    assert told["digest"] == found["launch_digest"]["native_zero_digest"] != digest
    assert told["igvm"] | {"file": "q.igvm"} == written["igvm"]


def test_a_file_without_snp_is_shown_and_has_no_launch_digest(tmp_path: Path) -> None:
    (tmp_path / "tdx.igvm").write_bytes(igvm(platform(TDX, 3), page(0x1000, mask=TDX)))
    shown = inspect(tmp_path, "tdx.igvm")
    assert shown.status == 0
    assert "launch digest" not in shown.out
    assert json.loads(inspect(tmp_path, "--json", "tdx.igvm").out)["files"][0]["launch_digest"] is None
    assert has(measure(tmp_path, "tdx.igvm").out, "tdx.igvm: TDX MRTD ")
    asked = measure(tmp_path, "--platform=snp", "tdx.igvm")
    assert (asked.status, asked.ids) == (1, {"no-snp"})
    assert asked.err.startswith("error: tdx.igvm: at 0x18: ")


def test_what_igvmmeasure_does_not_read_is_shown_with_the_reason_for_no_digest(tmp_path: Path) -> None:
    (tmp_path / "v.igvm").write_bytes(igvm(platform(), header(0x107, b"1.0\x1b[2J"), header(0x80000999, b"x"), page(0)))
    shown = inspect(tmp_path, "v.igvm")
    assert shown.status == 0
    assert '  version string  "1.0\\u001b[2J"\n  optional header 0x999  1 bytes  loaders may ignore it\n' in shown.out
    assert re.search(
        r"^no SEV-SNP launch digest: at 0x30: .* version string; .*\bigvm crate 0\.5\b", shown.out, re.MULTILINE
    )


def test_the_id_block_counts_unless_it_is_ignored(tmp_path: Path) -> None:
    block = header(0x30B, b"\1\0\0\0\0\0\0\0" + bytes(688))
    (tmp_path / "id.igvm").write_bytes(igvm(platform(), page(0), block))
    asked = measure(tmp_path, "--bare", "id.igvm")
    assert (asked.status, asked.out, asked.ids) == (1, "", {"id-block-differs"})
    assert f" {'0' * 96}; " in asked.err
    ignored = measure(tmp_path, "--bare", "--ignore-idblock", "id.igvm")
    assert (ignored.status, len(ignored.out)) == (0, 97)


def test_digests_are_shown_whatever_the_file_itself_expects(tmp_path: Path) -> None:
    wrong = (
        header(0x30B, struct.pack("<I", ALL).ljust(696, b"x")),
        header(0x311, struct.pack("<I", ALL).ljust(864, b"x")),
    )
    (tmp_path / "x.igvm").write_bytes(igvm(*EVERY, page(0, mask=ALL), page(0x1000, mask=ALL), *wrong))
    shown = inspect(tmp_path, "x.igvm")
    assert (shown.status, shown.err) == (0, "")
    assert len(re.findall(r"^(?:\w.*|  with .*): (?:[0-9a-f]{32}){2,3}$", shown.out, re.MULTILINE)) == 5


def test_statuses(tmp_path: Path) -> None:
    (tmp_path / "bad.igvm").write_bytes(b"MGVI" + bytes(100))
    (tmp_path / "good.igvm").write_bytes(igvm(platform(), page(0), area(0, 4096), insert(0, 0x1000)))
    bad = inspect(tmp_path, "bad.igvm", "good.igvm")
    assert (bad.status, bad.ids) == (1, {"not-igvm"})
    assert bad.err.startswith("error: bad.igvm: at 0x0: ")
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


def shown(*headers: bytes, data: bytes = bytes(4096)) -> list[dict[str, Any]]:
    """The headers as in the JSON, without what each has."""
    found = [*all_fields(parse(igvm(*headers, data=data)))]
    return [{name: value for name, value in one.items() if name != "offset"} for one in found]


def test_addresses_and_bits_are_hexadecimal_text_and_all_else_is_numbers_and_words() -> None:
    region = struct.pack("<IHBB5Q", 1, 3, 2, 1, 0x1000, 0x4000, 0x2000, 0, 0x8000)
    policy = struct.pack("<IIQQBB6x", 1, 0, 0b10, 0b01, 3, 4)
    block = struct.pack("<IB3x48s16s16s4I", 1, 1, b"l" * 48, b"f" * 16, b"i" * 16, 2, 3, 4, 6).ljust(696, b"\0")
    vbs = struct.pack("<8I64s", 1, 6, 7, 8, 9, 10, 11, 12, b"b" * 64).ljust(864, b"\0")
    assert shown(
        platform(boundary=1 << 46),
        platform(2, 9),
        *(header(0x101, struct.pack("<QII", 0x30000, 1, 0)), header(0x102, region)),
        header(0x103, struct.pack("<IHBB3Q", 1, 3, 2, 0, 0x4000, 0x2000, 0x1000)),
        *(header(0x104, struct.pack("<4I", 1, 0, 7, 0)), header(0x106, policy), header(0x107, b"1.0")),
        *(area(20, 8192), insert(20, 0x1000), header(0x307, struct.pack("<II", 20, 12))),
        *(header(0x305, struct.pack("<QIIII", 0x1000, 1, 0x2000, 1, 0)), header(0x30B, block)),
        *(header(0x30D, struct.pack("<QII", 0x1000, 1, 12)), header(0x311, vbs), header(0x80000302, b"xy")),
        header(0x80000999, b""),
    ) == [
        {"type": "supported platform", "compatibility_mask": "0x1", "highest_vtl": 2, "platform_type": 2}
        | {"platform_version": 1, "shared_gpa_boundary": "0x400000000000", "platform": "SEV-SNP"},
        {"type": "supported platform", "compatibility_mask": "0x2", "highest_vtl": 2, "platform_type": 9}
        | {"platform_version": 1, "shared_gpa_boundary": "0x0", "platform": None},
        {"type": "guest policy", "policy": "0x30000", "compatibility_mask": "0x1"},
        {"type": "relocatable region", "compatibility_mask": "0x1", "vp_index": 3, "vtl": 2, "flags": "0x1"}
        | {"relocation_alignment": "0x1000", "relocation_region_gpa": "0x4000", "relocation_region_size": 0x2000}
        | {"minimum_relocation_gpa": "0x0", "maximum_relocation_gpa": "0x8000"},
        {"type": "page table relocation region", "compatibility_mask": "0x1", "vp_index": 3, "vtl": 2}
        | {"gpa": "0x4000", "size": 0x2000, "used_size": 0x1000},
        {"type": "CoRIM document", "header_type": "0x104", "compatibility_mask": "0x1", "file_offset": "0x0"}
        | {"size_bytes": 7},
        {"type": "CCA policy", "compatibility_mask": "0x1", "attributes_required_zeroes": "0x2"}
        | {"attributes_required_ones": "0x1", "hash_algorithm": 3, "lfa_policy": 4},
        {"type": "version string", "text": "1.0"},
        {"type": "parameter area", "number_of_bytes": 8192, "parameter_area_index": 20, "file_offset": "0x0"},
        {"type": "parameter insert", "gpa": "0x1000", "compatibility_mask": "0x1", "parameter_area_index": 20}
        | {"measured": {"snp": "unmeasured"}},
        {"type": "VP count", "header_type": "0x307", "parameter_area_index": 20, "byte_offset": 12},
        {"type": "required memory", "gpa": "0x1000", "compatibility_mask": "0x1", "number_of_bytes": 0x2000, "flags": "0x1"},
        {"type": "SNP ID block", "compatibility_mask": "0x1", "author_key_enabled": 1, "ld": "6c" * 48}
        | {"family_id": "66" * 16, "image_id": "69" * 16, "version": 2, "guest_svn": 3}
        | {"id_key_algorithm": 4, "author_key_algorithm": 6},
        {"type": "error range", "gpa": "0x1000", "compatibility_mask": "0x1", "size_bytes": 12, "measured": {"snp": "none"}},
        {"type": "VBS measurement", "compatibility_mask": "0x1", "version": 6, "product_id": 7, "module_id": 8}
        | {"security_version": 9, "policy_flags": "0xa", "boot_digest_algo": 11, "signing_algo": 12}
        | {"boot_measurement_digest": "62" * 64},
        {"type": "optional page data", "header_type": "0x80000302", "length": 2},
        {"type": "optional header 0x999", "header_type": "0x80000999", "length": 0},
    ]  # fmt: skip


def test_each_kind_of_parameter_has_its_name() -> None:
    kinds = (0x307, 0x308, 0x309, 0x30A, 0x30C, 0x30E, 0x30F, 0x310, 0x312, 0x313)
    found = shown(*(header(kind, bytes(8)) for kind in kinds))
    names = ["VP count", "SRAT", "MADT", "MMIO ranges", "memory map", "command line", "SLIT", "PPTT", "device tree"]
    assert [one["type"] for one in found] == [*names, "environment info"]
    assert [one["type"] for one in shown(header(0x105, bytes(16)))] == ["CoRIM signature"]


def test_of_each_page_kind_size_and_flags_are_told_and_of_measured_ones_the_hash() -> None:
    content = bytes(range(256)) * 16
    headers = [platform(), *(page(0x1000 * at, flags=at) for at in range(5)), page(0x200000, flags=1 | 8)]
    headers += [page(0x7000, data_type=kind) for kind in range(1, 4)] + [page(0x9000, 1)]
    headers[-1] = page(0x9000, data_at(*headers))
    pages = shown(*headers, data=content)[1:]
    assert {one["type"] for one in pages} == {"page data"}
    full, zeroes = sha384(content).hexdigest(), sha384(bytes(4096)).hexdigest()
    assert [(one["gpa"], one["data_type"], one["size"], one["flag_names"], one.get("sha384")) for one in pages] == [
        ("0x0", "normal", 4096, [], zeroes),
        ("0x1000", "normal", 2 << 20, ["2 MiB"], None),
        ("0x2000", "normal", 4096, ["unmeasured"], None),
        ("0x3000", "normal", 2 << 20, ["2 MiB", "unmeasured"], None),
        ("0x4000", "normal", 4096, ["shared"], None),
        ("0x200000", "normal", 2 << 20, ["2 MiB", "flags 0x8"], None),
        *(("0x7000", kind, 4096, [], None) for kind in ("secrets", "CPUID data", "CPUID XF")),
        ("0x9000", "normal", 4096, [], full),
    ]


@pytest.mark.parametrize(
    ("kind", "name", "hashed"), [(0, "native", False), (2, "SEV-SNP", True), (5, "SEV-ES", True), (4, "SEV", False)]
)
def test_of_a_context_the_platform_is_told_and_of_a_vmsa_the_hash(kind: int, name: str, hashed: bool) -> None:
    first, content = platform(1, kind, vtl=0), bytes(range(256)) * 16
    at = data_at(first, vp_context(0, 0))
    (_, context) = shown(first, vp_context(0x1000, at), data=content)
    assert (context["type"], context["platform"]) == ("VP context", name)
    assert context.get("sha384") == (sha384(content).hexdigest() if hashed else None)
    # One whose page is cut off, and one of another platform.
    for other in (vp_context(0x1000, at + 1), vp_context(0x1000, at, mask=2)):
        assert "sha384" not in shown(first, other, data=content)[1]
    assert shown(first, vp_context(0x1000, at, mask=2), data=content)[1]["platform"] is None


# Each platform's measurement


def error_range(gpa: int, size: int, mask: int) -> bytes:
    return header(0x30D, struct.pack("<QII", gpa, mask, size))


def with_vmsa(*headers: bytes) -> bytes:
    """A file for all platforms that ends with a VMSA for SEV-SNP and a VSM context of one register."""
    first = data_at(*EVERY, *headers, vp_context(0, 0), vp_context(0, 0))
    contexts = (vp_context(0x8000, first), vp_context(0, first + 4096, mask=VSM))
    return igvm(*EVERY, *headers, *contexts, data=bytes(4096) + struct.pack("<IBI27x", 1, 2, 0x40000))


WAYS: list[tuple[bytes, dict[str, str], str]] = [
    (page(0, mask=ALL), {"snp": "normal", "tdp": "normal", "vsm": "normal"}, "counts as normal"),
    (page(0, flags=2, mask=ALL), dict.fromkeys(("snp", "tdp", "vsm"), "unmeasured"), "counts as unmeasured"),
    (page(0, flags=4, mask=ALL), dict.fromkeys(("snp", "tdp", "vsm"), "none"), "not measured"),
    (page(0, flags=5, mask=ALL), dict.fromkeys(("snp", "tdp", "vsm"), "none"), "not measured"),
    (page(0, flags=1, mask=ALL), dict.fromkeys(("snp", "tdp", "vsm"), "refused"), "cannot be measured"),
    (page(0, mask=SNP | VSM), {"snp": "normal", "vsm": "normal"}, "snp normal, vsm normal"),
    (page(0, mask=TDX), {"tdp": "normal"}, "tdp normal"),
    (
        page(0, data_type=1, mask=ALL),
        {"snp": "secrets", "tdp": "normal", "vsm": "refused"},
        "snp secrets, tdp normal, vsm refused",
    ),
    (page(0, data_type=1, flags=2, mask=SNP | TDX), {"snp": "secrets", "tdp": "unmeasured"}, "snp secrets, tdp unmeasured"),
    (page(0, data_type=2, mask=SNP), {"snp": "cpuid"}, "snp cpuid"),
    (page(0, data_type=3, flags=2, mask=SNP), {"snp": "cpuid"}, "snp cpuid"),
    (page(0, mask=8), {}, ""),
    (insert(0, 0x1000, ALL), dict.fromkeys(("snp", "tdp", "vsm"), "unmeasured"), "counts as unmeasured"),
    (error_range(0, 5000, ALL), {"snp": "none", "tdp": "none", "vsm": "error range"}, "snp none, tdp none, vsm error range"),
    (error_range(0, 5000, TDX), {"tdp": "none"}, "tdp none"),
    (vp_context(0, 0), {"snp": "vmsa"}, "snp vmsa"),
    (vp_context(0, 0, mask=VSM), {"vsm": "registers"}, "vsm registers"),
    (vp_context(0, 0, mask=8), {}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("one", "words", "text"), WAYS)
def test_of_each_header_it_is_told_how_each_platform_measures_it(one: bytes, words: dict[str, str], text: str) -> None:
    file = parse(igvm(*EVERY, area(0, 4096), one))
    assert [*all_fields(file)][-1].get("measured", {}) == words
    line = [*as_text("x", file)][-1]
    assert line.endswith(f"  {text}") if text else ("counts" not in line and "measured" not in line)


def test_what_is_told_of_headers_is_what_goes_into_the_measurement() -> None:
    headers = [one for one, words, _ in WAYS if "refused" not in words.values() and one[0] != 0x04]
    files = [with_vmsa(area(0, 8192), *headers)]
    files += [data for name in NAMES if (data := (GOLDEN / name).read_bytes()) and b"IGVM" in data[:4]]
    compared = 0
    for data in files:
        try:
            outcomes = measure_all(data, MeasureOptions(check_id_block=False))
        except IgvmError:
            continue
        for word, outcome in outcomes.items():
            declared, areas, told = DeclaredPlatforms(), dict[int, int](), list[str]()
            for one in parse(data).headers():
                declared.see(one)
                if isinstance(one, ParameterArea):
                    areas[one.parameter_area_index] = one.number_of_bytes
                size = areas[one.parameter_area_index] if isinstance(one, ParameterInsert) else 4096
                count = -(-one.size_bytes // 4096) if isinstance(one, ErrorRange) else size // 4096
                told += count * [declared.measured(one).get(word, "none")]
            if isinstance(outcome, IgvmError):
                assert "refused" in told
                continue
            pages = measured_pages(data, MeasureOptions(check_id_block=False), MEASURED[word])
            assert [kind for kind in told if kind not in ("none", "registers")] == [one.kind for one in pages]
            compared += 1
    assert compared >= 10


def test_a_vmsa_is_of_the_platform_that_is_declared_last_for_its_mask() -> None:
    for kind, words in ((5, {"snp": "vmsa"}), (0, {"snp": "none"}), (1, {"snp": "none", "vsm": "registers"})):
        file = parse(igvm(platform(), platform(SNP, kind), vp_context(0, 0)))
        assert [*all_fields(file)][-1]["measured"] == words
    both = [platform(SNP, 1), platform(), vp_context(0, 0)]
    both[2] = vp_context(0, data_at(*both))
    data = igvm(*both, data=struct.pack("<I", 2).ljust(4096, b"\0"))
    assert [*all_fields(parse(data))][-1]["measured"] == {"snp": "vmsa", "vsm": "none"}
    # Its bytes are no registers, whatever they look like.
    assert measured(data, MeasureOptions(), MEASURED["vsm"]).digest == bytes(32)


def test_the_measurement_of_each_platform_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.igvm").write_bytes(data := with_vmsa(page(0x1000, mask=ALL), page(0x2000, mask=ALL)))
    (tmp_path / "b.igvm").write_bytes(one := igvm(platform(TDX, 3), page(0x1000, mask=TDX)))
    wrong = igvm(*EVERY, page(0x1000, mask=SNP), page(0x200000, flags=1, mask=TDX), page(0x3000, 0, 0, 1, mask=VSM))
    (tmp_path / "c.igvm").write_bytes(wrong)

    def told(data: bytes, word: str, **options: bool) -> str:
        return measured(data, MeasureOptions(check_id_block=False, **options), MEASURED[word]).digest.hex()

    shown = inspect(tmp_path, "a.igvm", "b.igvm", "c.igvm")
    assert (shown.status, shown.err) == (0, "")
    ends = [text.partition("counts as")[2].splitlines() for text in shown.out.split(": IGVM version 1")[1:]]
    found = [[line for line in lines if re.match(r"(no )?(SEV|TDX|VBS)|  with", line)] for lines in ends]
    assert found[0] == [
        f"SEV-SNP launch digest: {told(data, 'snp')}",
        f"  with native zero pages: {told(data, 'snp', native_zero=True)}",
        f"TDX MRTD: {told(data, 'tdp')}",
        f"  with all pages added first: {told(data, 'tdp', two_pass=True)}",
        f"VBS boot digest: {told(data, 'vsm')}",
    ]
    assert found[1] == [f"TDX MRTD: {told(one, 'tdp')}"], "of one page both ways are the same"
    assert re.search(r"^SEV-SNP launch digest: [0-9a-f]{96}\n", shown.out, re.MULTILINE)
    assert re.search(r"^no TDX MRTD: at 0x80: .* 2 MiB .* 0x200000; ", shown.out, re.MULTILINE)
    assert re.search(r"^no VBS boot digest: at 0xa0: .* secrets .* 0x3000 ", shown.out, re.MULTILINE)
    files = document(inspect(tmp_path, "--json", "a.igvm", "b.igvm", "c.igvm"), "inspect")["files"]
    snp = {"platform": "snp", "kind": "SEV-SNP launch digest", "algorithm": "sha384", "digest": told(data, "snp")}
    assert files[0]["measurements"] == [
        snp,
        {"platform": "tdp", "kind": "TDX MRTD", "algorithm": "sha384", "digest": told(data, "tdp")}
        | {"two_pass_digest": told(data, "tdp", two_pass=True)},
        {"platform": "vsm", "kind": "VBS boot digest", "algorithm": "sha256", "digest": told(data, "vsm")},
    ]
    assert files[0]["launch_digest"]["digest"] == snp["digest"]
    assert [one["platform"] for one in files[1]["measurements"]] == ["tdp"]
    assert files[1]["measurements"][0]["two_pass_digest"] == files[1]["measurements"][0]["digest"]
    assert [sorted(one) for one in files[2]["measurements"]] == [
        ["algorithm", "digest", "kind", "platform"],
        *(["error", "kind", "platform"] for _ in range(2)),
    ]
    assert files[0]["notes"] == files[2]["notes"] == []


def test_the_content_of_a_secrets_page_that_tdx_measures_is_hashed() -> None:
    headers = [platform(), platform(TDX, 3), page(0x1000, 1, data_type=1, mask=TDX), page(0x2000, 1, data_type=1)]
    first, content = data_at(*headers), bytes(range(256)) * 16
    headers[2:] = [page(0x1000, first, data_type=1, mask=TDX), page(0x2000, first, data_type=1)]
    found = [*all_fields(parse(igvm(*headers, data=content)))]
    assert [one.get("sha384") for one in found[2:]] == [sha384(content).hexdigest(), None]


# Files that are newer than this program, and broken ones


def changed(data: bytes, at: int, value: int, *, checksum: bool = True) -> bytes:
    """The file with another number of 4 bytes."""
    content = bytearray(data)
    struct.pack_into("<I", content, at, value)
    return with_checksum(content) if checksum else bytes(content)


PLAIN = igvm(platform(), page(0x1000))
SECOND = igvm(platform(), page(0x1000), offset=32, version=2)
NEWER: dict[str, tuple[bytes, list[str], str]] = {
    "a platform header": (
        igvm(platform(), header(0x50, b"abcd"), page(0x1000)),
        ["at 0x30: …0x50"],
        "  unknown header 0x50  4 bytes  sha384 1165b3406ff0b52a…\n",
    ),
    "an initialization header": (
        igvm(platform(), header(0x120, b""), header(0x101, struct.pack("<QII", 1, SNP, 0)), page(0x1000)),
        ["at 0x30: …0x120"],
        "initialization headers:\n  unknown header 0x120  0 bytes  sha384 ",
    ),
    "directives": (
        igvm(platform(), header(0x3FF, b"a"), page(0x1000), header(0x3FF, b"b"), header(0x306, b"")),
        ["at 0x30: …0x3ff (2 headers)", "at 0x70: …0x306"],
        "directives:\n  unknown header 0x3ff  1 bytes",
    ),
    "a header of no range": (
        igvm(platform(), page(0x1000), header(0x250, b"")),
        ["at 0x50: …0x250"],
        "\n  unknown header 0x250 ",
    ),
    "a longer header": (
        igvm(platform(), header(0x302, bytes(32)), page(0x1000)),
        ["at 0x34: page data … 32 bytes; … 24"],
        "\n  unknown page data  32 bytes  sha384 ",
    ),
    "a reserved field": (
        igvm(platform(), header(0x101, struct.pack("<QII", 1, SNP, 7)), page(0x1000)),
        ["at 0x30: guest policy: … 0x7; … 0"],
        "\n  guest policy  0x1  mask 0x1\n",
    ),
    "a page data type": (
        igvm(platform(), page(0x1000, data_type=4), page(0x2000)),
        ["at 0x30: page data: … 4; … 0 to 3"],
        "\n  page data  0x1000 4.0 KiB  type 4  mask 0x1  counts as unknown\n",
    ),
    "a platform": (
        igvm(platform(), platform(8, 9), page(0x1000)),
        ["at 0x30: … 9; … 0 (native), "],
        "\n  supported platform  type 9  version 1 ",
    ),
    "a platform's version": (
        igvm(platform(version=2), page(0x1000)),
        ["at 0x18: … SEV-SNP: … 2; … 1"],
        "\n  supported platform  SEV-SNP  version 2 ",
    ),
    "an architecture": (
        changed(SECOND, 24, 7),
        ["at 0x18: architecture … 7; … 0 (x64) … 1 (AArch64)"],
        ": IGVM version 2, architecture 7, pages of 4.0 KiB, 4184 bytes, 56 of them headers, ",
    ),
    "a version": (
        changed(SECOND, 4, 3, checksum=False),
        ["at 0x4: … version … 3; … 1 or 2"],
        ": IGVM version 3, 4184 bytes, 56 of them headers, ",
    ),
    "no checksum": (
        changed(PLAIN, 20, 0, checksum=False),
        ["at 0x14: … checksum; … 0x"],
        "checksum 0x00000000\n",
    ),
    "a wrong checksum": (
        changed(PLAIN, 20, 0x1234, checksum=False),
        ["at 0x14: checksum … 0x00001234; … 0x"],
        "checksum 0x00001234\n",
    ),
}
"""A file each, what is in its notes, and what is shown of it."""


@pytest.mark.parametrize("what", NEWER)
def test_a_newer_file_is_shown_with_notes_and_has_no_digest(what: str) -> None:
    data, notes, part = NEWER[what]
    file = parse(data, lenient=True)
    lines = [*as_text("x", file)]
    assert part in "\n".join(lines) + "\n"
    assert any(line.startswith("  page data  0x") for line in lines)
    found = notes_of(file)
    assert lines[-len(found) - 1 :] == ["notes:", *(f"  {one}" for one in found)]
    assert len(found) == len(notes) + 1
    assert all(map(has, found[:-1], notes))
    newer = "" if "checksum" in what else "; a newer version of this program may know more"
    assert found[-1] == f"so this program tells no digest of the file{newer}"
    shown = json.loads("".join(as_json("x", file)))
    assert (shown["notes"], shown["launch_digest"], shown["measurements"]) == (found, None, [])
    for options in (*MODES, MeasureOptions(tolerant=True, check_id_block=False)):
        for one in MEASURED.values():
            with pytest.raises(IgvmError):
                measured(data, options, one)


def test_that_a_file_is_newer_is_no_failure(tmp_path: Path) -> None:
    names = []
    for number, (data, _, _) in enumerate(NEWER.values()):
        names.append(f"{number}.igvm")
        (tmp_path / names[-1]).write_bytes(data)
    shown, written = inspect(tmp_path, *names), inspect(tmp_path, "--json", *names)
    assert (shown.status, shown.err, written.status, written.err) == (0, "", 0, "")
    assert shown.out.count("\nno SEV-SNP launch digest: at 0x") == shown.out.count("\nnotes:\n") == len(names)
    files = document(written, "inspect")["files"]
    assert [one["file"] for one in files] == names
    for one in files:
        assert one["launch_digest"].keys() == {"error"} and one["notes"]
    version = files[[*NEWER].index("a version")]["header"]
    assert (version["format_version"], version["architecture"], version["page_size"]) == (3, None, None)
    (unknown,) = files[0]["platforms"][1:]
    assert unknown == {"type": "unknown header 0x50", "offset": "0x30", "header_type": "0x50", "length": 4} | {
        "sha384": sha384(b"abcd").hexdigest()
    }


def test_a_broken_file_is_shown_up_to_the_place_and_is_a_failure(tmp_path: Path) -> None:
    names = []
    for number, (data, _, _) in enumerate(BROKEN):
        names.append(f"{number}.igvm")
        (tmp_path / names[-1]).write_bytes(data)
    shown, written = inspect(tmp_path, *names), inspect(tmp_path, "--json", *names)
    assert (shown.status, written.status, written.err) == (1, 1, shown.err)
    assert json.loads(written.out)["files"] == []
    errors = [line.partition(": ")[2] for line in shown.err.splitlines()]
    parts = [f"{part}\n" for part in re.split(r"\n(?=\d\.igvm: )", shown.out.rstrip())]
    for name, error, part, (_, said, end) in zip(names, errors, parts, BROKEN, strict=True):
        assert error.startswith(f"{name}: at {said}")
        assert part.startswith(f"{name}: IGVM version 1, x64, ")
        assert part.endswith(end)


LAST_PAGE = "  page data  0x1000 4.0 KiB  zeroes  mask 0x1  counts as normal\n"
BROKEN = [
    (PLAIN[:-7], "0x10: ", LAST_PAGE),
    (igvm(platform(), page(0x1000), page(0x2001)), "0x50: ", LAST_PAGE),
    (igvm(platform(), page(0x1000), struct.pack("<II", 0x3FF, 100)), "0x54: ", LAST_PAGE),
    (igvm(page(0x1000), offset=28), "0x8: ", ", 32 of them headers, checksum 0x61423479\n"),
    (
        igvm(platform(), header(0x3FF, b""), page(0x1000))[:-7],
        "0x10: ",
        f"{LAST_PAGE}notes:\n  at 0x30: unknown header type 0x3ff\n"
        "  so this program tells no digest of the file; a newer version of this program may know more\n",
    ),
]
"""Files that no version could read, the place of the error, and the end of what is shown."""


@pytest.mark.parametrize("size", [25, 40, 48, 60, 80, 81, 4176])
def test_of_a_file_that_is_cut_off_the_headers_that_it_has_are_shown(size: int) -> None:
    first = data_at(platform(), page(0))
    data = igvm(platform(), page(0x1000, first), data=bytes(range(256)) * 16)
    file = parse(data[:size], lenient=True)
    lines: list[str] = []
    with pytest.raises(IgvmError, match=rf" 4176 bytes; .*\b{size}$") if size < 4176 else nullcontext():
        lines.extend(as_text("x", file))
    found = [line.split()[0] for line in lines if line.startswith("  ")]
    assert found == [*(["supported"] if size >= 48 else []), *(["page"] if size >= 80 else [])]
    assert ("sha384" in "".join(lines)) == (size == 4176)
    # A digest only of what is there.
    assert [*all_fields(parse(data, lenient=True))][-1]["sha384"] == sha384(bytes(range(256)) * 16).hexdigest()


def test_of_pages_that_are_cut_off_only_those_that_are_there_are_hashed() -> None:
    headers = [platform(), page(0x1000, 1), page(0x2000, 1)]
    first = data_at(*headers)
    headers[1:] = [page(0x1000, first), page(0x2000, first + 4096)]
    lines: list[str] = []
    with pytest.raises(IgvmError):
        lines.extend(as_text("x", parse(igvm(*headers, data=bytes(8192))[:-1], lenient=True)))
    assert lines[-2].endswith(f"  data  mask 0x1  sha384 {sha384(bytes(4096)).hexdigest()[:16]}…  counts as normal")
    assert lines[-1].endswith(" 0x2000 4.0 KiB  data  mask 0x1  counts as normal")


def test_an_unknown_header_keeps_its_place_in_the_order() -> None:
    for headers in ((platform(), page(0), header(0x50, b"")), (header(0x120, b""), platform())):
        with pytest.raises(IgvmError, match=r" header \((type 0x50|supported platform)\) after ") as raised:
            list(parse(igvm(*headers), lenient=True).headers())
        assert raised.value.id == "igvm-header"
    found = list(parse(igvm(header(0x250, b""), platform(), header(0x210, b"x")), lenient=True).headers())
    assert found[0] == UnknownHeader(24, 0x250, 0) and found[2] == UnknownHeader(24 + 8 + 24, 0x210, 1)


def test_a_header_that_loaders_may_skip_is_noted_and_says_nothing_of_digests() -> None:
    file = parse(igvm(platform(), header(0x80000999, b"x"), header(0x80000302, b"x"), page(0)), lenient=True)
    assert notes_of(file) == ["at 0x30: unknown header type 0x80000999, which loaders may skip"]


def test_notes_on_a_file_are_few() -> None:
    kinds = [header(0x314 + at, b"") for at in range(MOST_NOTES + 5)]
    found = notes_of(parse(igvm(platform(), *kinds, kinds[0]), lenient=True))
    assert (len(found), found[0]) == (MOST_NOTES + 2, "at 0x30: unknown header type 0x314 (2 headers)")
    assert found[-2] == "5 more of that kind"


@pytest.mark.parametrize("name", NAMES)
def test_the_lenient_way_gives_what_the_strict_one_does(name: str) -> None:
    data = (GOLDEN / name).read_bytes()
    file = parse(data, lenient=True)
    assert list(file.headers()) == list(parse(data).headers())
    assert [*as_text("x", file)] == [*as_text("x", parse(data))]
    assert not [one for one in notes_of(file) if "digest" in one]


@pytest.mark.parametrize("more", [0, 1, 5000])
def test_of_a_file_no_more_is_read_than_it_says_and_one_byte(more: int, tmp_path: Path) -> None:
    """A file that is too long is noticed, and an endless one does no harm."""
    data = igvm(platform(), page(0), data=bytes(range(256)) * 16)
    file = tmp_path / "x.igvm"
    file.write_bytes(data + bytes(more))
    wanted = data + bytes(min(more, 1))
    assert read_igvm(file) == read_igvm_or_start(file, 10) == wanted
    file.write_bytes(data[:-7])
    assert read_igvm(file) == read_igvm_or_start(file, 10) == data[:-7]


def test_a_large_file_is_read_to_its_end(tmp_path: Path) -> None:
    data = igvm(platform(), data=random.Random(1).randbytes((2 << 20) + 4096))
    (tmp_path / "x.igvm").write_bytes(data)
    assert read_igvm(tmp_path / "x.igvm") == data


@pytest.mark.parametrize("most", [0, 3, 24, 32, 33, 40, 100])
def test_of_another_file_no_more_is_read_than_asked_for_beyond_its_start(most: int, tmp_path: Path) -> None:
    content = b"IGV" + bytes(range(90))
    (tmp_path / "x").write_bytes(content)
    assert read_igvm_or_start(tmp_path / "x", most) == content[: max(most, 32)]
    with pytest.raises(IgvmError) as error:
        read_igvm(tmp_path / "x")
    assert (error.value.id, error.value.offset) == ("not-igvm", 0)
    (tmp_path / "x").write_bytes(b"IGVM" + bytes(90))
    with pytest.raises(IgvmError, match=r" 0; ") as error:
        read_igvm_or_start(tmp_path / "x", most)
    assert (error.value.id, error.value.offset) == ("igvm-version", 4)
    # In the lenient way, what it says of its size holds whatever the version.
    (tmp_path / "x").write_bytes(struct.pack("<4s5I", b"IGVM", 9, 24, 0, 50, 0) + bytes(90))
    lenient = (
        read_igvm(tmp_path / "x", lenient=True),
        read_igvm_or_start(tmp_path / "x", most, lenient=True),
    )
    assert [len(one) for one in lenient] == [51, 51]


def test_a_file_of_version_2_is_read_by_its_longer_header(tmp_path: Path) -> None:
    (tmp_path / "x.igvm").write_bytes(data := igvm(platform(), offset=32, version=2))
    assert read_igvm(tmp_path / "x.igvm") == data


# coconut-measure


def test_several_processors_have_a_digest_for_each_type_of_them(tmp_path: Path) -> None:
    headers = (platform(), page(0x1000), vp_context(0xFFFF_FFFF_F000, data_at(platform()) + 64))
    (tmp_path / "a.igvm").write_bytes(igvm(*headers))
    told = measure(tmp_path, "--vcpus=4", "a.igvm").out.splitlines()
    assert [line.partition(" (")[2] for line in told] == [f"4 processors of type {one})" for one in SIGNATURES]
    assert len({line.split()[4] for line in told}) == len(SIGNATURES)
    options = MeasureOptions(processors=4, signature=SIGNATURES["EPYC-Milan"])
    digest = measured((tmp_path / "a.igvm").read_bytes(), options).digest.hex()
    assert measure(tmp_path, "--vcpus=4", "--vcpu-type=EPYC-Milan", "--bare", "a.igvm").out == f"{digest}\n"
    found = document(measure(tmp_path, "--vcpus=4", "--vcpu-type=EPYC-Milan", "--json", "a.igvm"), "measure")
    assert (found["digest"], found["processors"]) == (digest, {"count": 4, "type": "EPYC-Milan"})


@pytest.mark.parametrize(
    ("words", "id"),
    [
        (["--vcpus=2", "--platform=tdp"], "options-together"),
        (["--vcpu-type=EPYC"], "options-together"),
        (["--vcpus=2", "--bare"], "options-together"),
        (["--vcpus=2", "--json"], "options-together"),
        (["--vcpus=0"], "option-and-value"),
        (["--vcpus=4097"], "option-and-value"),
        (["--vcpus=x"], "option-and-value"),
        (["--platform=tdx"], "option-and-value"),
    ],
)
def test_options_that_do_not_go_together_are_told(words: list[str], id: str, tmp_path: Path) -> None:
    (tmp_path / "a.igvm").write_bytes(igvm(platform(), page(0x1000)))
    outcome = measure(tmp_path, *words, "a.igvm")
    assert (outcome.status, outcome.ids) == (2, {id})


def test_of_several_platforms_a_bare_digest_is_snps_or_asked_for(tmp_path: Path) -> None:
    both = (platform(TDX, 3), platform(VSM, 1, vtl=0))
    (tmp_path / "a.igvm").write_bytes(igvm(*both, page(0x1000, mask=TDX | VSM)))
    lines = measure(tmp_path, "a.igvm").out.splitlines()
    assert [line.split(": ")[1].rpartition(" ")[0] for line in lines] == ["TDX MRTD", "VBS boot digest"]
    outcome = measure(tmp_path, "--bare", "a.igvm")
    assert (outcome.status, outcome.ids) == (1, {"no-snp"})
    assert measure(tmp_path, "--bare", "--platform=vsm", "a.igvm").out.strip() == lines[1].split()[-1]
    # One that cannot be measured does not take the other along.
    (tmp_path / "b.igvm").write_bytes(igvm(*both, page(0x1000, mask=TDX | VSM), page(0x2000, data_type=1, mask=VSM)))
    outcome = measure(tmp_path, "b.igvm")
    assert (outcome.status, outcome.ids) == (1, {"not-measurable"})
    assert outcome.out.count("TDX MRTD") == 1 and "VBS" not in outcome.out
