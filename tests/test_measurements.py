"""Each platform's measurement from the specification's words: what goes into the hash, byte by byte, for files of a few headers."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from hashlib import sha256, sha384
from typing import Any, NamedTuple

import pytest
from conftest import has
from igvm_files import (
    SNP,
    TDX,
    VSM,
    area,
    data_at,
    error_range,
    header,
    igvm,
    insert,
    page,
    platform,
    vp_context,
    with_checksum,
)

from coconut_tasks.igvm import kvm
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.launch import MOST_PARAMETER_PAGES, Measured, MeasureOptions
from coconut_tasks.igvm.measure import measure, measure_all, measured_pages
from coconut_tasks.igvm.platforms import MEASURED
from coconut_tasks.igvm.values import SEV_ES, SEV_SNP, VSM_ISOLATION
from coconut_tasks.igvm.values import TDX as TDX_TYPE

ALL = SNP | TDX | VSM
PLATFORMS = (platform(SNP, SEV_SNP), platform(TDX, TDX_TYPE), platform(VSM, VSM_ISOLATION))
NOTHING = bytes(4096)
A, B = random.Random(1).randbytes(4096), random.Random(2).randbytes(4096)
NO_HASH = bytes(48)
RBP, GDTR, CR0 = 0x20005, 0x70001, 0x40000
"""Names of registers (Hyper-V TLFS)."""
Headers = Callable[[int], list[bytes]]
"""The headers behind the platforms; given is where A begins in the file, with B behind it."""


def built(headers: Headers, more: bytes = b"", platforms: Sequence[bytes] = PLATFORMS) -> bytes:
    at = data_at(*platforms, *headers(0))
    return igvm(*platforms, *headers(at), data=A + B + more)


def found(data: bytes | bytearray, word: str, **options: Any) -> bytes:
    return measure(data, MeasureOptions(**options), MEASURED[word]).digest


def refused(data: bytes | bytearray, word: str, **options: Any) -> IgvmError:
    with pytest.raises(IgvmError) as raised:
        found(data, word, **options)
    return raised.value


# The specifications' structures, as they are hashed


def info(kind: int, gpa: int, content: bytes | None = None) -> bytes:
    """PAGE_INFO of SEV-SNP, without the digest before it."""
    hashed = NO_HASH if content is None else sha384(content).digest()
    return hashed + struct.pack("<HBBIQ", 0x70, kind, 0, 0, gpa)


def launch_digest(infos: Sequence[bytes]) -> bytes:
    digest = bytes(48)
    for one in infos:
        digest = sha384(digest + one).digest()
    return digest


def added(gpa: int) -> bytes:
    """TDH.MEM.PAGE.ADD."""
    return (b"MEM.PAGE.ADD".ljust(16, b"\0") + gpa.to_bytes(8, "little")).ljust(128, b"\0")


def extended(gpa: int, content: bytes) -> bytes:
    """TDH.MR.EXTEND, for each 256 bytes."""
    blocks = []
    for at in range(0, 4096, 256):
        blocks.append((b"MR.EXTEND".ljust(16, b"\0") + (gpa + at).to_bytes(8, "little")).ljust(128, b"\0"))
        blocks.append(content[at : at + 256])
    return b"".join(blocks)


def both(gpa: int, content: bytes) -> bytes:
    return added(gpa) + extended(gpa, content)


def mrtd(blocks: Sequence[bytes]) -> bytes:
    return sha384(b"".join(blocks)).digest()


def vbs_page(number: int, metadata: int, content: bytes = NOTHING) -> bytes:
    return struct.pack("<IIQQQ", 0x1020, 2, 0, metadata, number) + content


def vbs_register(vtl: int, name: int, value: bytes) -> bytes:
    return struct.pack("<IIQIBBHII", 0x30, 0, 0, 0, vtl, 0, 0, 0, name) + value


def boot_digest(chunks: Sequence[bytes]) -> bytes:
    digest = bytes(32)
    for one in chunks:
        digest = sha256(digest + one).digest()
    return digest


# Files, and what of them is hashed


def memory(gpa: int, mask: int = ALL) -> bytes:
    """Required memory, which is never measured."""
    return header(0x305, struct.pack("<QIIII", gpa, mask, 4096, 0, 0))


class Case(NamedTuple):
    headers: Headers
    snp: list[bytes]
    tdp: list[bytes]
    vsm: list[bytes]


CASES = {
    "no pages": Case(lambda a: [memory(0)], [], [], []),
    "a page": Case(
        lambda a: [page(0x7000, a, mask=ALL)], [info(1, 0x7000, A)], [both(0x7000, A)], [vbs_page(7, 0, A)]
    ),
    "a page without data": Case(
        lambda a: [page(0x7000, mask=ALL)],
        [info(1, 0x7000, NOTHING)],
        [both(0x7000, NOTHING)],
        [vbs_page(7, 0)],
    ),
    "an unmeasured page": Case(
        lambda a: [page(0x7000, a, flags=2, mask=ALL)], [info(4, 0x7000)], [added(0x7000)], [vbs_page(7, 4)]
    ),
    "a shared page": Case(lambda a: [page(0x7000, a, flags=4, mask=ALL), page(0x8000, flags=6, mask=ALL)], [], [], []),
    "flags that nobody knows": Case(
        lambda a: [page(0x7000, a, flags=0xFFFFFFF8, mask=ALL)],
        [info(1, 0x7000, A)],
        [both(0x7000, A)],
        [vbs_page(7, 0, A)],
    ),
    "pages in the order of the file": Case(
        lambda a: [page(0x8000, a, mask=ALL), page(0x7000, a + 4096, mask=ALL), page(0x8000, a + 4096, mask=ALL)],
        [info(1, 0x8000, A), info(1, 0x7000, B), info(1, 0x8000, B)],
        [both(0x8000, A), both(0x7000, B), both(0x8000, B)],
        [vbs_page(8, 0, A), vbs_page(7, 0, B), vbs_page(8, 0, B)],
    ),
    "the highest page": Case(
        lambda a: [page((1 << 64) - 4096, a, mask=ALL)],
        [info(1, (1 << 64) - 4096, A)],
        [both((1 << 64) - 4096, A)],
        [vbs_page((1 << 52) - 1, 0, A)],
    ),
    "pages of one platform each, and of none": Case(
        lambda a: [page(0x1000, mask=SNP), page(0x2000, mask=TDX), page(0x3000, mask=VSM), page(0x4000, mask=8)],
        [info(1, 0x1000, NOTHING)],
        [both(0x2000, NOTHING)],
        [vbs_page(3, 0)],
    ),
    "pages of other types: TDX has no types": Case(
        lambda a: [page(0x1000 * kind, a, data_type=kind, mask=SNP | TDX) for kind in (1, 2, 3)],
        [info(5, 0x1000), info(6, 0x2000), info(6, 0x3000)],
        [both(0x1000, A), both(0x2000, A), both(0x3000, A)],
        [],
    ),
    "unmeasured pages of other types": Case(
        lambda a: [page(0x1000 * kind, a, data_type=kind, flags=2, mask=SNP | TDX) for kind in (1, 2, 3)],
        [info(5, 0x1000), info(6, 0x2000), info(6, 0x3000)],
        [added(0x1000), added(0x2000), added(0x3000)],
        [],
    ),
    "a shared page of another type": Case(lambda a: [page(0x1000, a, data_type=1, flags=4, mask=ALL)], [], [], []),
    "parameters": Case(
        lambda a: [area(3, 8192, a), area(4, 0), memory(0), insert(3, 0x7000, ALL), insert(4, 0xA000, ALL)],
        [info(4, 0x7000), info(4, 0x8000)],
        [added(0x7000), added(0x8000)],
        [vbs_page(7, 4), vbs_page(8, 4)],
    ),
    "parameters of one platform": Case(
        lambda a: [area(3, 4096), insert(3, 0x7000, TDX)], [], [added(0x7000)], []
    ),
    "parameters where memory ends": Case(
        lambda a: [area(3, 8192), insert(3, (1 << 64) - 8192, ALL)],
        [info(4, (1 << 64) - 8192), info(4, (1 << 64) - 4096)],
        [added((1 << 64) - 8192), added((1 << 64) - 4096)],
        [vbs_page((1 << 52) - 2, 4), vbs_page((1 << 52) - 1, 4)],
    ),
    "error ranges, in whole pages": Case(
        lambda a: [error_range(at << 16, size, ALL) for at, size in enumerate((0, 1, 4096, 4097))],
        [],
        [],
        [vbs_page(0x10, 7), vbs_page(0x20, 7), vbs_page(0x30, 7), vbs_page(0x31, 7)],
    ),
    "an error range of others": Case(lambda a: [error_range(0x7000, 4096, SNP | TDX)], [], [], []),
    "registers behind the pages, in the order of the file": Case(
        lambda a: [
            vp_context(0, a + 8192, VSM),
            page(0x7000, a, mask=VSM),
            vp_context(0, a + 8192 + 68, VSM),
            error_range(0x9000, 1),
        ],
        [],
        [],
        [
            *(vbs_page(7, 0, A), vbs_page(9, 7)),
            *(vbs_register(2, RBP, b"p" * 16), vbs_register(2, GDTR, b"g" * 16), vbs_register(0, CR0, b"c" * 16)),
        ],
    ),
    "a VMSA": Case(
        lambda a: [page(0x6000, a), vp_context(0x7000, a, SNP), page(0x8000, a + 4096)],
        [info(1, 0x6000, A), info(2, 0x7000, A), info(1, 0x8000, B)],
        [],
        [],
    ),
}  # fmt: skip
REGISTERS = (
    struct.pack("<IBI11x16sBI11x16s", 2, 2, RBP, b"p" * 16, 2, GDTR, b"g" * 16)
    + struct.pack("<IBI11x16s", 1, 0, CR0, b"c" * 16)
)  # fmt: skip
"""Two contexts."""


@pytest.mark.parametrize("name", CASES)
def test_what_is_hashed(name: str) -> None:
    case = CASES[name]
    data = built(case.headers, REGISTERS)
    expected = {"snp": launch_digest(case.snp), "tdp": mrtd(case.tdp), "vsm": boot_digest(case.vsm)}
    assert {word: found(data, word) for word in MEASURED} == expected
    at_once = measure_all(data, MeasureOptions())
    assert {word: one.digest for word, one in at_once.items() if isinstance(one, Measured)} == expected
    assert list(at_once) == list(MEASURED)
    assert {word: found(data, word, two_pass=True) for word in ("snp", "vsm")} == {
        word: expected[word] for word in ("snp", "vsm")
    }


def test_a_file_for_aarch64_has_a_boot_digest() -> None:
    first = data_at(PLATFORMS[2], page(0), vp_context(0, 0), offset=32)
    headers = [PLATFORMS[2], page(0x7000, mask=VSM), vp_context(0, first, VSM)]
    register = struct.pack("<IBI11x16s", 1, 2, 0x20022, b"p" * 16)
    data = bytearray(igvm(*headers, data=register, offset=32, version=2))
    data[24] = 1
    assert found(with_checksum(data), "vsm") == boot_digest([vbs_page(7, 0), vbs_register(2, 0x20022, b"p" * 16)])


def test_zero_pages_are_a_matter_of_sev_snp() -> None:
    data = built(lambda a: [page(0x1000, a, mask=ALL), page(0x2000, mask=ALL)])
    zero = {word: found(data, word, native_zero=True) for word in MEASURED}
    assert zero["snp"] == launch_digest([info(1, 0x1000, A), info(3, 0x2000)])
    assert (zero["tdp"], zero["vsm"]) == (found(data, "tdp"), found(data, "vsm"))


def test_each_byte_of_a_measured_page_counts_on_each_platform() -> None:
    data = bytearray(built(lambda a: [page(0x7000, a, mask=ALL)]))
    seen: dict[str, set[bytes]] = {word: set() for word in MEASURED}
    first = len(data) - 8192
    for at in range(first - 1, first + 4096):
        if at >= first:
            data[at] ^= 0x40
        for word, one in measure_all(data, MeasureOptions()).items():
            assert isinstance(one, Measured)
            seen[word].add(one.digest)
        data[at] ^= 0x40 if at >= first else 0
    assert {word: len(digests) for word, digests in seen.items()} == dict.fromkeys(MEASURED, 4097)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("their number", {0: 1}),
        ("VTL", {4: 0, 36: 0}),
        ("name", {5: 4}),
        ("first byte", {20: 0}),
        ("last byte", {35: 0}),
        ("last byte of the last", {67: 0}),
    ],
)
def test_each_part_of_a_register_counts(part: str, changes: dict[int, int]) -> None:
    registers = struct.pack("<IBI11x16sBI11x16s", 2, 2, RBP, b"p" * 16, 2, RBP, b"p" * 16)
    data = bytearray(built(lambda a: [vp_context(0, a + 8192, VSM)], registers))
    plain, first = found(data, "vsm"), len(data) - len(registers)
    data[first + 9] = 1
    assert found(data, "vsm") == plain, "between name and value"
    for at, value in changes.items():
        data[first + at] = value
    assert found(data, "vsm") != plain


# Platforms that cannot be measured


@pytest.mark.parametrize(
    ("word", "headers", "id", "said"),
    [
        ("snp", [page(0x200000, flags=1, mask=SNP)], "not-measurable", "2 MiB … 0x200000"),
        ("tdp", [page(0x200000, flags=1, mask=TDX)], "not-measurable", "2 MiB … 0x200000"),
        ("tdp", [page(0x200000, flags=3, mask=TDX)], "not-measurable", "2 MiB … 0x200000"),
        ("vsm", [page(0x200000, flags=1, mask=VSM)], "not-measurable", "2 MiB … 0x200000"),
        ("vsm", [page(0x7000, data_type=1, mask=VSM)], "not-measurable", "type secrets at 0x7000 for VSM isolation"),
        ("vsm", [page(0x7000, data_type=3, flags=2, mask=VSM)], "not-measurable", "type CPUID XF at 0x7000 for VSM"),
        ("vsm", [error_range(0x7000, 0xFFFFFFFF)], "too-large", "1048576 pages without content; … 262144"),
        (
            "vsm",
            [error_range(0x7000, 4096), error_range(0x9000, 1 << 30)],
            "too-large",
            f" {MOST_PARAMETER_PAGES + 1} pages without content; … 262144",
        ),
        (
            "vsm",
            [area(0, 4096), insert(0, 0x7000, VSM), error_range(0x9000, 1 << 30)],
            "too-large",
            f" {MOST_PARAMETER_PAGES + 1} pages without content; … 262144",
        ),
        ("vsm", [error_range((1 << 64) - 4096, 4097)], "igvm-field", "0x2000 bytes of an error range … 2^64"),
        ("tdp", [area(0, 1 << 31), insert(0, 0, TDX)], "too-large", "524288 pages without content; … 262144"),
        ("tdp", [area(0, 8192), insert(0, (1 << 64) - 4096, TDX)], "igvm-field", "0x2000 bytes of parameters … 2^64"),
    ],
)
@pytest.mark.parametrize("grouped", [False, True])
def test_a_platform_that_cannot_be_measured_takes_no_other_with_it(
    word: str, headers: list[bytes], id: str, said: str, grouped: bool
) -> None:
    options = MeasureOptions(two_pass=grouped, qemu_order=grouped)
    good = [page(0x1000, mask=ALL), page(0x2000, mask=ALL)]
    data = built(lambda a: [good[0], *headers, good[1]])
    at_once, alone = measure_all(data, options), refused(data, word, two_pass=grouped, qemu_order=grouped)
    failed = at_once.pop(word)
    assert isinstance(failed, IgvmError) and (failed.id, str(failed)) == (alone.id, str(alone))
    assert failed.id == id and has(str(failed), said), failed
    assert failed.offset in (data_at(*PLATFORMS, good[0]), data_at(*PLATFORMS, good[0], *headers[:-1]))
    assert at_once == {one: measure(data, options, MEASURED[one]) for one in MEASURED if one != word}
    assert list(at_once) == [one for one in MEASURED if one != word]


def test_a_file_that_breaks_a_rule_has_no_measurement_at_all() -> None:
    with pytest.raises(IgvmError) as raised:
        measure_all(built(lambda a: [page(0x1000, mask=ALL), insert(0, 0, VSM)]), MeasureOptions())
    assert raised.value.id == "igvm-parameters"


def test_only_the_platforms_of_a_file_are_measured() -> None:
    data = built(lambda a: [page(0x1000, mask=ALL)], platforms=(PLATFORMS[2], platform(8, 0, vtl=0)))
    assert list(measure_all(data, MeasureOptions())) == ["vsm"]
    for word, id, said in (("snp", "no-snp", "SEV-SNP …launch digest"), ("tdp", "no-platform", "TDX …MRTD")):
        error = refused(data, word)
        assert error.id == id and has(str(error), said)
    # In one order, whatever the file's is, and whichever fail.
    data = built(lambda a: [page(0x1000, data_type=1, mask=ALL)], platforms=PLATFORMS[::-1])
    at_once = measure_all(data, MeasureOptions())
    assert [(word, isinstance(one, Measured)) for word, one in at_once.items()] == [
        ("snp", True),
        ("tdp", True),
        ("vsm", False),
    ]


def test_platforms_with_the_same_mask_have_the_same_pages_but_not_the_same_contexts() -> None:
    """A context is for the platform that is declared last with its mask, as in crate igvm."""
    same = (platform(VSM, VSM_ISOLATION), platform(VSM, SEV_SNP))
    data = built(lambda a: [page(0x7000, a, mask=VSM), vp_context(0x8000, a + 4096, VSM)], platforms=same)
    assert found(data, "vsm") == boot_digest([vbs_page(7, 0, A)])
    assert found(data, "snp") == launch_digest([info(1, 0x7000, A), info(2, 0x8000, B)])
    for others in ((same[1], same[0]), (platform(VSM, SEV_ES), *same[:1])):
        data = built(lambda a: [page(0x7000, a, mask=VSM), vp_context(0, a + 8192, VSM)], REGISTERS, others)
        assert found(data, "vsm") == boot_digest(
            [vbs_page(7, 0, A), vbs_register(2, RBP, b"p" * 16), vbs_register(2, GDTR, b"g" * 16)]
        )
    data = built(lambda a: [page(0x7000, a), vp_context(0, a + 8192)], REGISTERS, (platform(), platform(SNP, 1)))
    assert found(data, "snp") == launch_digest([info(1, 0x7000, A)])


# What the file itself expects


def vbs_measurement(digest: bytes, mask: int = VSM) -> bytes:
    return header(0x311, struct.pack("<8I64s", mask, 1, 2, 3, 4, 5, 6, 7, digest).ljust(864, b"\0"))


def id_block(digest: bytes) -> bytes:
    return header(0x30B, struct.pack("<I4x48s", SNP, digest).ljust(696, b"\0"))


def test_a_vbs_measurement_must_have_the_digest_of_the_file() -> None:
    right = boot_digest([vbs_page(7, 0, A)])

    def with_measurements(*more: bytes) -> bytes:
        return built(lambda a: [page(0x7000, a, mask=ALL), *more])

    good = measure(with_measurements(vbs_measurement(right + b"x" * 32)), MeasureOptions(), MEASURED["vsm"])
    assert (good.digest, good.id_block, good.guest_svn, good.pages) == (right, right, None, 1)
    wrong = with_measurements(vbs_measurement(right), vbs_measurement(bytes(64)))
    error = refused(wrong, "vsm")
    assert error.id == "vbs-measurement-differs"
    assert error.wrong.endswith(f" {'00' * 32}") and error.remedy.endswith(f" {right.hex()}")
    assert error.offset == data_at(*PLATFORMS, page(0), vbs_measurement(right))
    ignored = measure(wrong, MeasureOptions(check_id_block=False), MEASURED["vsm"])
    assert (ignored.digest, ignored.id_block) == (right, bytes(32))
    at_once = measure_all(wrong, MeasureOptions())
    assert str(at_once.pop("vsm")) == str(error)
    assert {word: isinstance(one, Measured) for word, one in at_once.items()} == {"snp": True, "tdp": True}
    assert found(with_measurements(vbs_measurement(bytes(64), SNP | TDX)), "vsm") == right
    assert found(with_measurements(vbs_measurement(bytes(64)), vbs_measurement(right)), "vsm") == right


@pytest.mark.parametrize("native_zero", [False, True])
def test_an_id_block_with_the_digest_of_the_other_way_is_told_so(native_zero: bool) -> None:
    def with_block(digest: bytes) -> bytes:
        return built(lambda a: [page(0x7000, a), page(0x8000), id_block(digest)])

    normal = launch_digest([info(1, 0x7000, A), info(1, 0x8000, NOTHING)])
    zero = launch_digest([info(1, 0x7000, A), info(3, 0x8000)])
    own, other = (zero, normal) if native_zero else (normal, zero)
    assert found(with_block(own), "snp", native_zero=native_zero) == own
    error = refused(with_block(other), "snp", native_zero=native_zero)
    assert error.id == "id-block-differs" and error.wrong.endswith(other.hex())
    way = "without --native-zero" if native_zero else "with --native-zero"
    assert error.remedy.startswith(f"the file has {own.hex()}; {way} (")
    neither = refused(with_block(bytes(48)), "snp", native_zero=native_zero)
    assert neither.remedy == f"the file has {own.hex()}"


# Runs of pages: what a loader adds at once

START = 0x10000


def pages_of(*gpas: int) -> list[bytes]:
    return [page(gpa, mask=ALL) for gpa in gpas]


THREE = pages_of(START, START + 0x1000, START + 0x2000)
RUNS: dict[str, tuple[Headers, list[list[int]]]] = {
    "one run": (lambda a: THREE, [[0, 1, 2]]),
    "with different data": (
        lambda a: [page(START, a, mask=ALL), page(START + 0x1000, a + 4096, mask=ALL)],
        [[0, 1]],
    ),
    "another address": (lambda a: [*THREE[:2], *pages_of(START + 0x3000)], [[0, 1], [3]]),
    "backwards": (lambda a: [THREE[1], THREE[0]], [[1], [0]]),
    "the same page again": (lambda a: [THREE[0], THREE[0]], [[0], [0]]),
    "no data, then data": (lambda a: [*THREE[:2], page(START + 0x2000, a, mask=ALL)], [[0, 1], [2]]),
    "another mask": (lambda a: [*THREE[:2], page(START + 0x2000, mask=TDX)], [[0, 1], [2]]),
    "another flag": (lambda a: [*THREE[:2], page(START + 0x2000, flags=8, mask=ALL)], [[0, 1], [2]]),
    "another type": (
        lambda a: [page(START + at * 0x1000, data_type=at // 2, mask=TDX) for at in range(3)],
        [[0, 1], [2]],
    ),
    "a page of others between": (lambda a: [THREE[0], page(0, mask=SNP), *THREE[1:]], [[0], [1, 2]]),
    "another header between": (lambda a: [THREE[0], memory(0, SNP), *THREE[1:]], [[0], [1, 2]]),
    "a header without a mask between": (lambda a: [THREE[0], area(0, 4096), *THREE[1:]], [[0], [1, 2]]),
    "an error range between": (lambda a: [THREE[0], error_range(0, 4096), *THREE[1:]], [[0], [1, 2]]),
    "headers of no platform between": (
        lambda a: [THREE[0], page(0x7000, mask=0), memory(0, 0), THREE[1], error_range(0, 4096, 0), THREE[2]],
        [[0, 1, 2]],
    ),
    "not measured": (lambda a: [page(START + at * 0x1000, a, flags=2, mask=ALL) for at in range(2)], [[-1, -2]]),
    "shared": (lambda a: [THREE[0], page(START + 0x1000, flags=4, mask=ALL), THREE[2]], [[0], [2]]),
}
"""Pages by their number from ``START`` on; negative, beginning with -1, for those that are not measured."""


@pytest.mark.parametrize("name", RUNS)
def test_with_two_passes_tdx_extends_a_run_when_all_of_it_is_added(name: str) -> None:
    headers, runs = RUNS[name]
    data = built(headers)
    contents = [A, B] if name == "with different data" else [NOTHING, NOTHING, NOTHING, NOTHING]
    if name == "no data, then data":
        contents[2] = A
    blocks, plain = [], []
    for run in runs:
        places = [(at, START + (at if at >= 0 else -at - 1) * 0x1000) for at in run]
        blocks += [added(gpa) for _, gpa in places]
        blocks += [extended(gpa, contents[at]) for at, gpa in places if at >= 0]
        plain += [both(gpa, contents[at]) if at >= 0 else added(gpa) for at, gpa in places]
    assert found(data, "tdp") == mrtd(plain)
    assert found(data, "tdp", two_pass=True) == mrtd(blocks)
    # Two passes are of TDX only, and without anything in between QEMU's order is that of the file.
    for word in ("snp", "vsm"):
        assert found(data, word, two_pass=True) == found(data, word)
    assert found(data, "tdp", two_pass=True, qemu_order=True) == mrtd(blocks)


def test_parameters_end_a_run_except_in_qemu() -> None:
    data = built(lambda a: [area(0, 4096), *THREE[:2], insert(0, 0x7000, TDX), *pages_of(0x20000)])
    first, second = (START, START + 0x1000), 0x20000
    bare, run = added(0x7000), [added(gpa) for gpa in first] + [extended(gpa, NOTHING) for gpa in first]
    last = both(second, NOTHING)
    assert found(data, "tdp") == mrtd([*(both(gpa, NOTHING) for gpa in first), bare, last])
    assert found(data, "tdp", two_pass=True) == mrtd([*run, bare, last])
    assert found(data, "tdp", qemu_order=True) == mrtd([bare, *(both(gpa, NOTHING) for gpa in first), last])
    assert found(data, "tdp", two_pass=True, qemu_order=True) == mrtd([bare, *run, last])


def test_qemu_takes_a_run_when_the_next_begins_and_vmsas_last() -> None:
    data = built(
        lambda a: [
            *(area(0, 4096), area(1, 4096), area(2, 4096)),
            *(vp_context(0x5000, a, SNP), page(0x8000, a, mask=ALL)),
            *(insert(0, 0x1000, ALL), error_range(0xA000, 4096), insert(1, 0x2000, ALL)),
            *(page(0x9000, a, mask=ALL), vp_context(0x6000, a + 4096, SNP), insert(2, 0x3000, ALL)),
        ]
    )
    assert found(data, "snp", qemu_order=True) == launch_digest(
        [
            *(info(4, 0x1000), info(4, 0x2000), info(1, 0x8000, A), info(4, 0x3000), info(1, 0x9000, A)),
            *(info(2, kvm.VMSA_GPA, A), info(2, kvm.VMSA_GPA, B)),
        ]
    )
    assert found(data, "tdp", qemu_order=True) == mrtd(
        [added(0x1000), added(0x2000), both(0x8000, A), added(0x3000), both(0x9000, A)]
    )
    assert found(data, "vsm", qemu_order=True) == boot_digest(
        [vbs_page(1, 4), vbs_page(10, 7), vbs_page(2, 4), vbs_page(8, 0, A), vbs_page(3, 4), vbs_page(9, 0, A)]
    )
    in_order = [info(2, 0x5000, A), info(1, 0x8000, A), info(4, 0x1000), info(4, 0x2000), info(1, 0x9000, A)]
    assert found(data, "snp") == launch_digest([*in_order, info(2, 0x6000, B), info(4, 0x3000)])


@pytest.mark.parametrize("options", [{}, {"two_pass": True}, {"qemu_order": True}])
def test_each_page_is_listed_with_its_kind_and_content(options: dict[str, bool]) -> None:
    data = built(
        lambda a: [
            *(page(0x7000, a, mask=ALL), page(0x8000, a + 4096, mask=ALL), page(0xA000, mask=ALL)),
            *(page(0xC000, a, flags=2, mask=ALL), error_range(0xE000, 1)),
        ]
    )
    full = [sha384(content).hexdigest() for content in (A, B, NOTHING)]
    first = len(data) - 8192
    pages = [
        *((0x7000, "normal", full[0], first), (0x8000, "normal", full[1], first + 4096)),
        *((0xA000, "normal", full[2], 0), (0xC000, "unmeasured", "", 0)),
    ]
    for word, more in (("tdp", []), ("vsm", [(0xE000, "error range", "", 0)])):
        if options == {"qemu_order": True} and more:
            more, last = [*more, pages[-1]], pages[:-1]
        else:
            last = pages
        listed = measured_pages(data, MeasureOptions(**options), MEASURED[word])
        assert [tuple(one) for one in listed] == [*last, *more], word


# KVM's processors


def with_vmsas(*places: int, more: Sequence[bytes] = ()) -> bytes:
    vmsa = bytearray(A)
    vmsa[kvm.CR0_AT] = (0x31).to_bytes(8, "little")
    return built(lambda a: [page(0x7000, a), *(vp_context(gpa, a + 8192) for gpa in places), *more], bytes(vmsa))


def test_kvm_measures_a_vmsa_for_each_processor() -> None:
    data = with_vmsas(kvm.VMSA_GPA)
    vmsa = data[-4096:]
    pages = [info(1, 0x7000, A), info(2, kvm.VMSA_GPA, vmsa)]
    assert found(data, "snp", check_kvm=True) == launch_digest(pages)
    seen = {found(data, "snp")}
    for signature in (0, *kvm.SIGNATURES.values()):
        other = info(2, kvm.VMSA_GPA, kvm.reset_vmsa(vmsa, signature))
        for count in (2, 3, 256):
            digest = found(data, "snp", processors=count, signature=signature)
            assert digest == launch_digest([*pages, *[other] * (count - 1)])
            assert digest == found(data, "snp", processors=count, signature=signature, qemu_order=True)
            seen.add(digest)
    assert len(seen) == 1 + 6 * 3
    most = measure(data, MeasureOptions(processors=kvm.MOST_PROCESSORS), MEASURED["snp"])
    assert most.pages == 1 + kvm.MOST_PROCESSORS
    assert measured_pages(data, MeasureOptions(processors=2))[-1].kind == "vmsa"


@pytest.mark.parametrize(("gpa", "place"), [(kvm.VMSA_GPA, 4), (0x1000, 4), (0x1000, 1), (0x1000, 0)])
def test_with_several_processors_the_vmsa_is_last_and_at_kvms_address(gpa: int, place: int) -> None:
    def headers(at: int) -> list[bytes]:
        pages = [page(0x7000, at), area(0, 4096), insert(0, 0x8000), page(0x9000)]
        return [*pages[:place], vp_context(gpa, at + 4096), *pages[place:]]

    assert found(built(headers), "snp", processors=2) == launch_digest(
        [
            *(info(1, 0x7000, A), info(4, 0x8000), info(1, 0x9000, NOTHING)),
            *(info(2, kvm.VMSA_GPA, B), info(2, kvm.VMSA_GPA, kvm.reset_vmsa(B, 0))),
        ]
    )


@pytest.mark.parametrize("count", [0, 2])
def test_kvm_makes_further_vmsas_only_beside_one(count: int) -> None:
    error = refused(with_vmsas(*[kvm.VMSA_GPA] * count), "snp", processors=2)
    assert error.id == "not-measurable" and f"the file has {count} VMSAs" in str(error)
    assert found(with_vmsas(*[kvm.VMSA_GPA] * count), "snp")


def test_the_kvm_check_is_of_the_file_with_several_processors_too() -> None:
    for places, more, said in (
        ((0x9000,), [], "at 0x9000"),
        ((kvm.VMSA_GPA,), [page(0x8000)], "0x8000 "),
    ):
        error = refused(with_vmsas(*places, more=more), "snp", processors=2, check_kvm=True)
        assert error.id == "kvm-differs" and said in str(error)


def test_processors_are_a_matter_of_sev_snp() -> None:
    data = built(CASES["a page"].headers)
    for word in ("tdp", "vsm"):
        assert found(data, word, processors=7, signature=1) == found(data, word)


def test_the_signatures_of_processors_are_those_of_their_models() -> None:
    """CPUID function 1, EAX: family and model have an extended part from family 15 on (AMD64 APM, volume 3)."""
    models = {
        "EPYC": (0x17, 0x01, 2),
        "EPYC-Rome": (0x17, 0x31, 0),
        "EPYC-Milan": (0x19, 0x01, 1),
        "EPYC-Genoa": (0x19, 0x11, 0),
        "EPYC-Turin": (0x1A, 0x00, 0),
    }
    signatures = {
        name: (family - 15) << 20 | model >> 4 << 16 | 15 << 8 | (model & 15) << 4 | stepping
        for name, (family, model, stepping) in models.items()
    }
    assert signatures == kvm.SIGNATURES


def test_a_processor_after_a_reset_has_of_the_first_only_the_features() -> None:
    one, other = kvm.reset_vmsa(A, 7), kvm.reset_vmsa(B, 7)
    assert [at for at in range(4096) if one[at] != other[at]] == [at for at in range(0x3B0, 0x3B8) if A[at] != B[at]]
    assert one[0x3B0:0x3B8] == A[0x3B0:0x3B8]
    assert [at for at in range(4096) if one[at] != kvm.reset_vmsa(A, 0xF8)[at]] == [0x310]


def test_debug_swap_is_one_bit_of_the_features() -> None:
    changed = kvm.with_debug_swap(A)
    assert [(at, A[at] ^ changed[at]) for at in range(4096) if A[at] != changed[at]] == [(0x3B0, 1 << 5)]
    assert len(changed) == 4096 and kvm.with_debug_swap(changed) == A
