"""IGVM files: golden digests, what is refused and with which message, hostile files, and time limits."""

from __future__ import annotations

import hashlib
import json
import random
import resource
import struct
import subprocess
import sys
import time
import tracemalloc
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from conftest import Site, has
from hypothesis import given, settings
from hypothesis import strategies as st
from igvm_files import (
    GOLDEN,
    MODES,
    SNP,
    TDX,
    VSM,
    answers,
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

from coconut_tasks.errors import CoconutError, sentence
from coconut_tasks.igvm import launch
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.fields import all_fields
from coconut_tasks.igvm.launch import MOST_PARAMETER_PAGES, Measured, MeasureOptions, page_hash
from coconut_tasks.igvm.measure import measure, measure_all, measure_pages, measured_pages
from coconut_tasks.igvm.notes import MOST_NOTES, notes_of
from coconut_tasks.igvm.parse import parse
from coconut_tasks.igvm.platforms import MEASURED, MeasuredPlatform
from coconut_tasks.igvm.platforms import SNP as SNP_PLATFORM
from coconut_tasks.igvm.snp import PAGE_KINDS, chained
from coconut_tasks.igvm.values import FixedHeader, Header, PageData
from coconut_tasks.reports.inspect import as_json, as_text

GOLDEN_ANSWERS = {name: rest for name, *rest in map(str.split, (GOLDEN / "answers.txt").read_text().splitlines())}
KVM_VMSA = 0xFFFF_FFFF_F000


@pytest.mark.parametrize("name", GOLDEN_ANSWERS)
def test_golden_files_have_the_digests_of_igvmmeasure(name: str) -> None:
    assert answers((GOLDEN / name).read_bytes()) == GOLDEN_ANSWERS[name]


def test_golden_answers_are_of_all_kinds() -> None:
    assert any("refused" not in rest for rest in GOLDEN_ANSWERS.values())
    assert any(rest[0] != rest[2] for rest in GOLDEN_ANSWERS.values()), "native zero pages"
    assert any(rest[0] != rest[4] for rest in GOLDEN_ANSWERS.values()), "the KVM check"
    assert any(rest[0] != rest[1] for rest in GOLDEN_ANSWERS.values()), "the ID block"


@pytest.mark.parametrize("native_zero", [False, True])
@pytest.mark.parametrize("name", ["1-2982.igvm", "1-755.igvm"])
def test_the_pages_that_are_listed_are_what_the_digest_is_made_of(name: str, native_zero: bool) -> None:
    data = (GOLDEN / name).read_bytes()
    chain = bytes(48)
    types = PAGE_KINDS
    for one in (pages := measured_pages(data, MeasureOptions(native_zero=native_zero))):
        info = chain + (bytes.fromhex(one.content) or bytes(48)) + struct.pack("<HB5xQ", 0x70, types[one.kind], one.gpa)
        chain = hashlib.sha384(info).digest()
        if one.file_offset:
            assert hashlib.sha384(data[one.file_offset :][:4096]).hexdigest() == one.content
    assert chain.hex() == digest(data, native_zero=native_zero) == chained(pages)
    assert len(pages) > 1


def digest(data: bytes, **options: bool) -> str:
    return measure(data, MeasureOptions(**options)).digest.hex()


def test_the_digest_is_that_of_another_implementation() -> None:
    # The files and constants of sample/tools/igvmmeasure/src/digest.rs, which come from tests/launch_digest.py there.
    headers = [platform(1, 2), platform(4, 3), area(0, 8192), page(0x1000, 0, mask=5), page(0x2000)]
    headers += [page(0x3000, 1, mask=4), page(0x4000, data_type=1), page(0x5000, 1, data_type=2), insert(0, 0x6000, 5)]
    headers += [vp_context(KVM_VMSA, 1)]
    first = data_at(*headers)
    headers[3] = page(0x1000, first, mask=5)
    headers[5], headers[7] = page(0x3000, first, mask=4), page(0x5000, first, data_type=2)
    headers[9] = vp_context(KVM_VMSA, first + 4096)
    vmsa = bytearray(4096)
    vmsa[0x158:0x160] = (0x31).to_bytes(8, "little")
    data = igvm(*headers, data=b"hello".ljust(4096, b"\0") + vmsa)
    assert digest(data, check_kvm=True) == (
        "5a193b30a5526922b904079178138c8615daf0a515d8723f4459bd80f69d33821a9a4ab5101ef0ce34879cc63160c8cb"
    )
    assert digest(data, native_zero=True) == (
        "0377ac7c8c94a14470cb723ef41102144b2ca2468dd5432e868c1869a718936621cca54ec2b774604fed349a031455db"
    )


@pytest.mark.parametrize(("place", "good"), [(231, True), (232, False), (263, False), (4095, False)])
def test_behind_the_registers_of_a_native_context_are_zeroes(place: int, good: bool) -> None:
    """``IgvmNativeVpContextX64`` has 232 bytes, and crate igvm refuses anything after it in its page."""
    native = platform(mask=2, kind=0, vtl=0)
    headers = [platform(), native, page(0x1000), vp_context(0, 0, mask=2)]
    headers[3] = vp_context(0, data_at(*headers), mask=2)
    context = bytearray(4096)
    context[place] = 1
    data = igvm(*headers, data=bytes(context))
    if good:
        assert digest(data) == digest(igvm(*headers))
    else:
        with pytest.raises(IgvmError, match=r"^at 0x"):
            digest(data)


@pytest.mark.parametrize(
    ("cr0", "good"), [(0x30, True), (0x31, True), (0x11, False), (0x32, False), (1 << 56 | 0x31, False)]
)
def test_kvm_starts_a_guest_in_real_or_in_protected_mode(cr0: int, good: bool) -> None:
    vmsa = bytearray(4096)
    vmsa[0x158:0x160] = cr0.to_bytes(8, "little")
    headers = [platform(), vp_context(KVM_VMSA, 1)]
    headers[1] = vp_context(KVM_VMSA, data_at(*headers))
    data = igvm(*headers, data=bytes(vmsa))
    if good:
        assert digest(data, check_kvm=True) == digest(data)
    else:
        with pytest.raises(IgvmError, match=f"{cr0:#x}.*0x30 or 0x31"):
            digest(data, check_kvm=True)


# What changes the digest

PLAIN = (platform(), page(0x1000), page(0x2000))


@pytest.mark.parametrize(
    "headers",
    [
        (platform(), page(0x1000), page(0x3000)),
        (platform(), page(0x2000), page(0x1000)),
        (platform(), page(0x1000), page(0x2000, flags=2)),
        (platform(), page(0x1000), page(0x2000, data_type=1)),
        (platform(), page(0x1000), page(0x2000, data_type=2)),
        (platform(), page(0x1000), page(0x2000, mask=TDX)),
        (platform(), page(0x1000), page(0x2000, flags=4)),
        (platform(), page(0x1000), page(0x2000), area(0, 4096), insert(0, 0x3000)),
    ],
)
def test_address_order_type_flags_and_mask_of_a_page_are_measured(headers: tuple[bytes, ...]) -> None:
    assert digest(igvm(*headers)) != digest(igvm(*PLAIN))


@pytest.mark.parametrize(
    "headers",
    [
        (*PLAIN, page(0x9000, flags=4)),
        (*PLAIN, page(0x9000, mask=TDX)),
        (*PLAIN, area(7, 1 << 40)),
        (*PLAIN, insert(7, 0x9000, mask=0)),
        (*PLAIN, area(0, 4096), insert(0, 0x9000, mask=TDX)),
        (platform(), header(0x101, struct.pack("<QII", 0x30000, SNP, 0)), *PLAIN[1:]),
    ],
)
def test_shared_pages_other_platforms_areas_that_are_not_inserted_and_the_policy_are_not_measured(
    headers: tuple[bytes, ...],
) -> None:
    assert digest(igvm(*headers)) == digest(igvm(*PLAIN))


def test_an_area_counts_as_each_of_its_pages() -> None:
    one_by_one = [part for at in range(3) for part in (area(at, 4096), insert(at, 0x1000 * (at + 1)))]
    assert digest(igvm(platform(), area(0, 3 * 4096), insert(0, 0x1000))) == digest(igvm(platform(), *one_by_one))


def test_each_byte_of_a_measured_page_of_the_sample_changes_the_digest(site: Site) -> None:
    outcome = site.build(site.recipe())
    data = (site.bin / "q.igvm").read_bytes()
    plain = measure(data, MeasureOptions(check_kvm=True)).digest
    assert plain.hex() == outcome.digests["q.igvm"]
    pages = [one for one in parse(data).headers() if isinstance(one, PageData) and one.compatibility_mask & 2]
    places = {one.file_offset for one in pages if one.file_offset and not one.flags and not one.data_type}
    assert len(places) > 10
    chance = random.Random(1)
    for place in places:
        for at in (0, chance.randrange(4096), 4095):
            changed = bytearray(data)
            changed[place + at] ^= 1
            assert measure(changed, MeasureOptions(check_kvm=True)).digest != plain


def every_page() -> tuple[bytes, bytes, bytes]:
    """A file with a page of each kind, the content of its only page with content, and its VMSA."""
    headers = [
        *(platform(), platform(TDX, 3), area(0, 8192), page(0x1000, 1), page(0x2000), page(0x3000, flags=2)),
        *(page(0x4000, data_type=1), page(0x5000, data_type=2, flags=2), page(0x6000, data_type=3)),
        *(page(0x7000, flags=4), page(0x8000, mask=TDX), page(0x9000, mask=TDX | SNP), insert(0, 0xA000)),
        *(page(0x1000, 1), vp_context(KVM_VMSA, 1)),
    ]
    first = data_at(*headers)
    headers[3] = headers[-2] = page(0x1000, first)
    headers[-1] = vp_context(KVM_VMSA, first + 4096)
    content, vmsa = bytes(range(256)) * 16, bytearray(4096)
    vmsa[0x158:0x160] = (0x31).to_bytes(8, "little")
    return igvm(*headers, data=content + vmsa), content, bytes(vmsa)


@pytest.mark.parametrize("native_zero", [False, True])
def test_each_page_that_is_measured_is_listed_with_its_kind_and_content(native_zero: bool) -> None:
    data, content, vmsa = every_page()
    measured, pages = measure_pages(data, MeasureOptions(check_kvm=True, native_zero=native_zero))
    full, zeroes = (hashlib.sha384(one).hexdigest() for one in (content, bytes(4096)))
    first = len(data) - 8192
    zero = ("zero", "", 0) if native_zero else ("normal", zeroes, 0)
    assert [tuple(one) for one in pages] == [
        (0x1000, "normal", full, first),
        (0x2000, *zero),
        (0x3000, "unmeasured", "", 0),
        (0x4000, "secrets", "", 0),
        (0x5000, "cpuid", "", 0),
        (0x6000, "cpuid", "", 0),
        (0x9000, *zero),
        (0xA000, "unmeasured", "", 0),
        (0xB000, "unmeasured", "", 0),
        (0x1000, "normal", full, first),
        (KVM_VMSA, "vmsa", hashlib.sha384(vmsa).hexdigest(), first + 4096),
    ]
    assert (measured.pages, measured.id_block, measured.guest_svn) == (11, None, None)
    assert measured.digest.hex() == chained(pages)


@pytest.mark.parametrize(
    ("behind", "found"),
    [
        (page(0x9000), " 0x9000 "),
        (page(0x9000, flags=4), " 0x9000 "),
        (insert(1, 0x9000), " 0x9000 "),
        (page(0x9000, mask=TDX), ""),
        (insert(1, 0x9000, mask=TDX), ""),
        (None, " VMSA"),
        (header(0x30D, bytes(16)), ""),
    ],
)
def test_behind_the_vmsa_kvm_measures_nothing(behind: bytes | None, found: str) -> None:
    def headers(at: int) -> list[bytes]:
        vmsa = vp_context(KVM_VMSA, at)
        return [platform(), platform(TDX, 3), area(1, 4096), vmsa, vmsa if behind is None else behind]

    context = bytearray(4096)
    context[0x158] = 0x31
    first = data_at(*headers(0))
    data = igvm(*headers(first), data=bytes(context))
    assert len(digest(data)) == 96
    if found:
        with pytest.raises(IgvmError) as raised:
            digest(data, check_kvm=True)
        assert raised.value.id == "kvm-differs" and found in raised.value.wrong
        assert ("0x9000" in str(raised.value)) == (behind is not None)
        assert raised.value.offset == data_at(*headers(first)[:-1])
    else:
        assert digest(data, check_kvm=True) == digest(data)


def test_kvm_puts_the_vmsa_at_one_place() -> None:
    headers = [platform(), vp_context(0x1000, 1)]
    headers[1] = vp_context(0x1000, data_at(*headers))
    with pytest.raises(IgvmError) as raised:
        digest(igvm(*headers), check_kvm=True)
    assert raised.value.id == "kvm-differs" and has(str(raised.value), " VMSA … 0x1000; … 0xfffffffff000")
    assert len(digest(igvm(*headers))) == 96


def test_a_context_that_is_no_vmsa_of_sev_snp_is_not_measured() -> None:
    native = [platform(), platform(2, 0, vtl=0), page(0x1000), vp_context(0, 1, mask=2)]
    native[3] = vp_context(0, data_at(*native), mask=2)
    assert digest(igvm(*native), check_kvm=True) == digest(igvm(platform(), page(0x1000)))
    es = [platform(), platform(2, 5), page(0x1000), vp_context(0, 1, mask=2)]
    es[3] = vp_context(0, data_at(*es), mask=2)
    assert digest(igvm(*es), check_kvm=True) == digest(igvm(platform(), page(0x1000)))


def test_a_vmsa_is_measured_where_sev_es_has_the_mask_of_sev_snp() -> None:
    """A context belongs to the platform declared last for its mask, as in crate igvm."""
    headers = [platform(), platform(SNP, 5), page(0x1000), vp_context(0, 1)]
    headers[3] = vp_context(0, data_at(*headers))
    assert [one.kind for one in measured_pages(igvm(*headers), MeasureOptions())] == ["normal", "vmsa"]


def test_parameter_areas_of_a_file_have_their_bound_together_and_end_where_memory_does() -> None:
    half = MOST_PARAMETER_PAGES // 2 * 4096
    both = (area(0, half), insert(0, 0x1000), area(1, half))
    full = measure(igvm(platform(), *both, insert(1, (1 << 64) - half)), MeasureOptions())
    assert full.pages == MOST_PARAMETER_PAGES
    with pytest.raises(IgvmError) as raised:
        digest(igvm(platform(), *both, insert(1, 0), area(2, 4096), insert(2, 0)))
    assert raised.value.id == "too-large" and has(str(raised.value), f" {MOST_PARAMETER_PAGES + 1} pages … 262144")
    with pytest.raises(IgvmError) as raised:
        digest(igvm(platform(), area(0, 8192), insert(0, (1 << 64) - 4096)))
    assert raised.value.id == "igvm-field" and has(str(raised.value), ": 0x2000 … 0xfffffffffffff000 …2^64")


def test_the_id_block_of_sev_snp_must_have_the_digest_of_the_file() -> None:
    def block(ld: bytes, mask: int = SNP) -> bytes:
        return header(0x30B, struct.pack("<I4x48s36xI", mask, ld, 7).ljust(696, b"\0"))

    own = measure(igvm(*PLAIN), MeasureOptions())
    assert measure(igvm(*PLAIN, block(own.digest)), MeasureOptions()) == Measured(
        SNP_PLATFORM, own.digest, 2, own.digest, 7
    )
    wrong = igvm(*PLAIN, block(b"x" * 48))
    with pytest.raises(IgvmError, match=f"{'78' * 48}; .* {own.digest.hex()}$") as raised:
        measure(wrong, MeasureOptions())
    assert raised.value.id == "id-block-differs"
    assert raised.value.offset == data_at(*PLAIN)
    assert measure(wrong, MeasureOptions(check_id_block=False)) == Measured(SNP_PLATFORM, own.digest, 2, b"x" * 48, 7)
    assert measure(igvm(platform(TDX, 3), *PLAIN, block(b"x" * 48, TDX)), MeasureOptions()).id_block is None


def test_the_hash_of_a_page_is_of_all_its_bytes() -> None:
    content = random.Random(1).randbytes(4096)
    assert page_hash(content) == hashlib.sha384(content).digest()


# What is refused

REFUSED = [
    (b"", 0x0, "not-igvm"),
    (b"\x7fELF" + bytes(100), 0x0, "not-igvm"),
    (struct.pack("<4s5I", b"IGVM", 3, 24, 0, 24, 0), 0x4, "igvm-version"),
    (igvm(*PLAIN)[:-1], 0x10, "igvm-cut-off"),
    (igvm(*PLAIN) + b"x", 0x10, "igvm-cut-off"),
    (igvm(*PLAIN, offset=28), 0x8, "igvm-header"),
    (bytes(igvm(*PLAIN)[:20]) + b"\0\0\0\0" + igvm(*PLAIN)[24:], 0x14, "igvm-checksum"),
    (igvm(platform(), b"\2\3\0\0"), 0x30, "igvm-header"),
    (igvm(platform(), header(0x302, bytes(25))), 0x34, "igvm-header"),
    (igvm(platform(), struct.pack("<II", 0x302, 1 << 31)), 0x34, "igvm-header"),
    (igvm(platform(), header(0x306, bytes(8))), 0x30, "igvm-header"),
    (igvm(platform(), header(0x999, bytes(8))), 0x30, "igvm-header"),
    (igvm(platform(), header(0x80000302, bytes(24))), 0x30, "igvm-not-read"),
    (igvm(platform(), page(0), platform(TDX, 3)), 0x50, "igvm-header"),
    (igvm(platform(), page(0x1001)), 0x30, "igvm-field"),
    (igvm(platform(), page(0x1000, 1)), 0x30, "igvm-data"),
    (igvm(platform(), page(0x1000, 0x51)), 0x30, "igvm-data"),
    (igvm(platform(), page(0x1000, data_type=4)), 0x30, "igvm-field"),
    (igvm(platform(), page(0x200000, flags=1)), 0x30, "not-measurable"),
    (igvm(page(0)), 0x18, "igvm-platform"),
    (igvm(platform(TDX, 3), page(0)), 0x18, "no-snp"),
    (igvm(platform(), platform(TDX)), 0x30, "igvm-platform"),
    (igvm(platform(3)), 0x18, "igvm-platform"),
    (igvm(platform(vtl=1)), 0x18, "igvm-platform"),
    (igvm(platform(kind=9)), 0x18, "igvm-platform"),
    (igvm(platform(version=2)), 0x18, "igvm-platform"),
    (igvm(platform(), platform(TDX, 6)), 0x30, "igvm-platform"),
    (igvm(platform(), area(1, 4096), area(1, 4096)), 0x48, "igvm-parameters"),
    (igvm(platform(), area(1, 4097)), 0x30, "igvm-field"),
    (igvm(platform(), area(1, 4096), insert(1, 0), insert(1, 0x1000)), 0x60, "igvm-parameters"),
    (igvm(platform(), insert(5, 0)), 0x30, "igvm-parameters"),
    (igvm(platform(), area(1, 1 << 63), insert(1, 0)), 0x48, "too-large"),
    (igvm(platform(), area(1, 1 << 32), insert(1, 0)), 0x48, "too-large"),
    (igvm(platform(), area(1, 8192), insert(1, (1 << 64) - 4096)), 0x48, "igvm-field"),
    (igvm(platform(), vp_context(0, 0)), 0x30, "igvm-data"),
    (igvm(platform(), vp_context(0, 80, mask=3)), 0x30, "igvm-context"),
    (igvm(platform(VSM, 1), vp_context(0, 80, mask=VSM)), 0x30, "igvm-context"),
    (igvm(platform(), data=b""), 0x10, "igvm-not-read"),
    (igvm(platform(), header(0x107, b"1.0")), 0x30, "igvm-not-read"),
    (igvm(platform(), header(0x107, b"\xff")), 0x30, "igvm-field"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "offset", "id"), REFUSED)
def test_a_wrong_file_is_told_with_place_what_is_there_and_what_could_be(data: bytes, offset: int, id: str) -> None:
    with pytest.raises(IgvmError) as raised:
        measure(data, MeasureOptions())
    assert isinstance(raised.value, CoconutError)
    assert (raised.value.offset, raised.value.id) == (offset, id)
    assert str(raised.value) == f"at {raised.value.offset:#x}: {sentence(raised.value.wrong, raised.value.remedy)}"


def test_what_the_format_allows_and_igvmmeasure_does_not_read_can_be_tolerated() -> None:
    more = (header(0x107, b"1.0"), header(0x80000999, b"x"), *PLAIN[1:])
    data = igvm(platform(), *more, data=b"")
    tolerant = measure(data, MeasureOptions(tolerant=True)).digest
    assert tolerant.hex() == digest(igvm(*PLAIN))
    with pytest.raises(IgvmError) as raised:
        measure(data, MeasureOptions())
    assert (raised.value.id, raised.value.offset) == ("igvm-not-read", 0x10)
    # But never one that could be measured.
    with pytest.raises(IgvmError, match=" 0x80000302; ") as raised:
        measure(igvm(platform(), header(0x80000302, bytes(24))), MeasureOptions(tolerant=True))
    assert (raised.value.id, raised.value.offset) == ("igvm-not-read", 0x30)


# Every structure, and every rule

PLACE = 0x1_2345_6000
STRUCTURES: list[tuple[int, bytes, dict[str, Any]]] = [
    (
        0x001,
        struct.pack("<IBBHQ", 5, 2, 3, 1, 1 << 47),
        {"compatibility_mask": 5, "highest_vtl": 2, "platform_type": 3, "platform_version": 1}
        | {"shared_gpa_boundary": 1 << 47},
    ),
    (0x101, struct.pack("<QII", 0x30000, 5, 0), {"policy": 0x30000, "compatibility_mask": 5}),
    (
        0x102,
        struct.pack("<IHBB5Q", 5, 6, 2, 3, 0x2000, 0x4000, 0x3000, 0x6000, 0x8000),
        {"compatibility_mask": 5, "vp_index": 6, "vtl": 2, "flags": 3, "relocation_alignment": 0x2000}
        | {"relocation_region_gpa": 0x4000, "relocation_region_size": 0x3000}
        | {"minimum_relocation_gpa": 0x6000, "maximum_relocation_gpa": 0x8000},
    ),
    (
        0x103,
        struct.pack("<IHBB3Q", 5, 6, 1, 0, PLACE, 0x3000, 0x3000),
        {"compatibility_mask": 5, "vp_index": 6, "vtl": 1, "gpa": PLACE, "size": 0x3000, "used_size": 0x3000},
    ),
    (
        0x104,
        struct.pack("<4I", 5, 0, 7, 0),
        {"header_type": 0x104, "compatibility_mask": 5, "file_offset": 0, "size_bytes": 7},
    ),
    (
        0x105,
        struct.pack("<4I", 5, 0, 7, 0),
        {"header_type": 0x105, "compatibility_mask": 5, "file_offset": 0, "size_bytes": 7},
    ),
    (
        0x106,
        struct.pack("<IIQQBB6s", 5, 0, 0b1010, 0b0101, 6, 7, bytes(6)),
        {"compatibility_mask": 5, "attributes_required_zeroes": 0b1010, "attributes_required_ones": 0b0101}
        | {"hash_algorithm": 6, "lfa_policy": 7},
    ),
    (0x107, "1.0 ü".encode(), {"text": "1.0 ü"}),
    (
        0x301,
        struct.pack("<QII", 0x3000, 5, 0),
        {"number_of_bytes": 0x3000, "parameter_area_index": 5, "file_offset": 0},
    ),
    (
        0x302,
        struct.pack("<QIIIHH", PLACE, 5, 0, 6, 3, 0),
        {"gpa": PLACE, "compatibility_mask": 5, "file_offset": 0, "flags": 6, "data_type": 3},
    ),
    (
        0x303,
        struct.pack("<QII", PLACE, 5, 6),
        {"gpa": PLACE, "compatibility_mask": 5, "parameter_area_index": 6},
    ),
    (
        0x304,
        struct.pack("<QIIHH", PLACE, 5, 6, 7, 8),
        {"gpa": PLACE, "compatibility_mask": 5, "file_offset": 6, "vp_index": 7},
    ),
    (
        0x305,
        struct.pack("<QIIII", PLACE, 5, 0x2000, 1, 0),
        {"gpa": PLACE, "compatibility_mask": 5, "number_of_bytes": 0x2000, "flags": 1},
    ),
    (
        0x30B,
        struct.pack("<IB3x48s16s16s4I", 5, 1, b"l" * 48, b"f" * 16, b"i" * 16, 2, 3, 4, 6) + bytes(696 - 104),
        {"compatibility_mask": 5, "author_key_enabled": 1, "ld": b"l" * 48, "family_id": b"f" * 16}
        | {"image_id": b"i" * 16, "version": 2, "guest_svn": 3, "id_key_algorithm": 4, "author_key_algorithm": 6},
    ),
    (0x30D, struct.pack("<QII", PLACE, 5, 7), {"gpa": PLACE, "compatibility_mask": 5, "size_bytes": 7}),
    (
        0x311,
        struct.pack("<8I64s", *range(5, 13), b"b" * 64) + bytes(864 - 96),
        {"compatibility_mask": 5, "version": 6, "product_id": 7, "module_id": 8, "security_version": 9}
        | {"policy_flags": 10, "boot_digest_algo": 11, "signing_algo": 12, "boot_measurement_digest": b"b" * 64},
    ),
    *(
        (one, struct.pack("<II", 5, 6), {"header_type": one, "parameter_area_index": 5, "byte_offset": 6})
        for one in (0x307, 0x308, 0x309, 0x30A, 0x30C, 0x30E, 0x30F, 0x310, 0x312, 0x313)
    ),
    (0x80000999, b"12345", {"header_type": 0x80000999, "length": 5}),
]
"""Type, content and values of each header, by the IGVM specification (crate ``igvm_defs``)."""


@pytest.mark.parametrize(
    ("header_type", "body", "values"), STRUCTURES, ids=lambda value: hex(value) if isinstance(value, int) else ""
)
def test_each_header_is_read_as_the_specification_lays_it_out(
    header_type: int, body: bytes, values: dict[str, Any]
) -> None:
    # Another header comes first, so its offset is not that of all headers.
    data = igvm(header(0x80000001, b"x"), header(header_type, body), header(0x80000002, b""))
    _, found, last = parse(data).headers()
    assert asdict(found) == {"offset": 24 + 16, **values}
    assert last.offset == 24 + 16 + 8 + (len(body) + 7) // 8 * 8


def test_the_specification_knows_no_other_header() -> None:
    known = {header_type for header_type, _, _ in STRUCTURES if not header_type >> 31}
    for header_type in (*range(0x500), 0x7FFFFFFF):
        if header_type not in known:
            with pytest.raises(IgvmError, match=f" {header_type:#x}; ") as raised:
                list(parse(igvm(header(header_type, bytes(16)))).headers())
            assert raised.value.id == "igvm-header"


@pytest.mark.parametrize("header_type", [one for one, _, _ in STRUCTURES if not one >> 31], ids=hex)
def test_platforms_are_before_initialization_headers_and_those_before_directives(header_type: int) -> None:
    body = next(body for one, body, _ in STRUCTURES if one == header_type)
    others = [(0, platform()), (1, header(0x107, b"")), (3, page(0))]
    for place in range(4):
        headers = [*others[:place], (header_type >> 8, header(header_type, body)), *others[place:]]
        sections, file = [section for section, _ in headers], parse(igvm(*(one for _, one in headers)))
        if sections == sorted(sections):
            assert len(list(file.headers())) == 4
        else:
            with pytest.raises(
                IgvmError, match=r"\b(platform|initialization) header .*; .*platform.*initial.*direct"
            ) as raised:
                list(file.headers())
            assert raised.value.id == "igvm-header"


@pytest.mark.parametrize("header_type", [one for one, _, _ in STRUCTURES if one != 0x107 and not one >> 31], ids=hex)
def test_no_header_is_shorter_or_longer_than_its_structure(header_type: int) -> None:
    body = next(body for one, body, _ in STRUCTURES if one == header_type)
    for other in (body[:-1], body + b"\0"):
        with pytest.raises(IgvmError, match=f" {len(other)} bytes; .* {len(body)}$") as raised:
            list(parse(igvm(header(header_type, other))).headers())
        assert (raised.value.id, raised.value.offset) == ("igvm-header", 24 + 4)


def with_field(header_type: int, **values: int) -> bytes:
    """A file with the header from ``STRUCTURES``, except for fields named by their kind, as in ``struct``, and their offset."""
    body = next(bytearray(body) for one, body, _ in STRUCTURES if one == header_type)
    for place, value in values.items():
        struct.pack_into(f"<{place[0]}", body, int(place[1:]), value)
    return igvm(header(header_type, bytes(body)))


FIELDS = [
    (with_field(0x101, I12=1), "igvm-field", "at 0x18: guest policy: … 0x1; … 0"),
    (with_field(0x102, Q24=0x3001), "igvm-field", "at 0x18: relocatable region: size … 0x3001; … 0x1000"),
    (with_field(0x102, Q8=0x2001), "igvm-field", "at 0x18: relocatable region: alignment … 0x2001; … 0x1000"),
    (with_field(0x102, Q8=0), "igvm-field", "at 0x18: relocatable region: alignment … 0; … 0x1000"),
    (with_field(0x102, Q16=0x5000), "igvm-field", "at 0x18: relocatable region: address … 0x5000; … 0x2000"),
    (with_field(0x102, Q32=0x5000), "igvm-field", "at 0x18: relocatable region: address … 0x5000; … 0x2000"),
    (with_field(0x102, Q40=0x5000), "igvm-field", "at 0x18: relocatable region: address … 0x5000; … 0x2000"),
    (with_field(0x102, B6=3), "igvm-field", "at 0x18: relocatable region: VTL … 3; … 0, 1 … 2"),
    (with_field(0x103, B7=1), "igvm-field", "at 0x18: page table relocation region: … 0x1; … 0"),
    (with_field(0x103, B6=3), "igvm-field", "at 0x18: page table relocation region: VTL … 3; … 0, 1 … 2"),
    (with_field(0x103, Q8=0x1001), "igvm-field", "at 0x18: page table relocation region: address … 0x1001; … 0x1000"),
    (with_field(0x103, Q16=0x3001), "igvm-field", "at 0x18: page table relocation region: size … 0x3001; … 0x1000"),
    (with_field(0x103, Q24=0x2001), "igvm-field", "at 0x18: page table relocation region: …used size … 0x2001; … 0x1000"),
    (with_field(0x103, Q24=0x4000), "igvm-field", "at 0x18: page table relocation region: … 0x4000; … 0x3000"),
    (with_field(0x104, I12=1), "igvm-field", "at 0x18: CoRIM document: … 0x1; … 0"),
    (with_field(0x105, I12=1), "igvm-field", "at 0x18: CoRIM signature: … 0x1; … 0"),
    (with_field(0x104, I4=1), "igvm-data", "at 0x18: CoRIM document … 7 bytes … 0x1; file data … 0x30 … 0x1030"),
    (with_field(0x105, I4=0x102A), "igvm-data", "at 0x18: CoRIM signature … 7 bytes … 0x102a; file data … 0x30 … 0x1030"),
    (with_field(0x106, I4=1), "igvm-field", "at 0x18: CCA policy: … 0x1; … 0"),
    (with_field(0x106, B31=1), "igvm-field", "at 0x18: CCA policy: … 0x1; … 0"),
    (with_field(0x106, Q16=0b110), "igvm-field", "at 0x18: CCA policy: bits 0x2 … 0 … 1"),
    (with_field(0x301, I12=0x1000), "igvm-data", "at 0x18: parameter area … 12288 bytes … 0x1000; file data … 0x30 … 0x1030"),
    (with_field(0x302, I12=0x31), "igvm-data", "at 0x18: page data … 4096 bytes … 0x31; file data … 0x38 … 0x1038"),
    (with_field(0x302, H22=1), "igvm-field", "at 0x18: page data: … 0x1; … 0"),
    (with_field(0x303, Q0=0x1001), "igvm-field", "at 0x18: parameter insert: address … 0x1001; … 0x1000"),
    (with_field(0x305, I20=1), "igvm-field", "at 0x18: required memory: … 0x1; … 0"),
    (with_field(0x305, Q0=0x1001), "igvm-field", "at 0x18: required memory: address … 0x1001; … 0x1000"),
    (with_field(0x305, I12=0x1001), "igvm-field", "at 0x18: required memory: size … 0x1001; … 0x1000"),
    (with_field(0x30D, Q0=0x1001), "igvm-field", "at 0x18: error range: address … 0x1001; … 0x1000"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "id", "said"), FIELDS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_wrong_field_is_told_with_its_name_and_what_it_may_be(data: bytes, id: str, said: str) -> None:
    with pytest.raises(IgvmError) as raised:
        list(parse(data).headers())
    assert (raised.value.id, raised.value.offset) == (id, 0x18)
    assert has(str(raised.value), said), raised.value


def fixed(version: int, offset: int, size: int, total: int, *more: int) -> bytes:
    """A file with a fixed header and then only 4-byte numbers."""
    return with_checksum(struct.pack(f"<4s{5 + len(more)}I", b"IGVM", version, offset, size, total, 0, *more))


def second(architecture: int = 0, page_size: int = 4096, *headers: bytes, data: bytes = bytes(4096)) -> bytes:
    """A file of version 2."""
    made = bytearray(igvm(*(headers or (platform(),)), data=data, offset=32, version=2))
    struct.pack_into("<II", made, 24, architecture, page_size)
    return with_checksum(made)


def test_the_fixed_header_of_both_versions() -> None:
    data = igvm(platform(), offset=40)
    assert parse(data).fixed == FixedHeader(1, 40, 24, len(data), struct.unpack_from("<I", data, 20)[0], 0, 4096)
    data = second(1, 65536)
    assert parse(data).fixed == FixedHeader(2, 32, 24, len(data), struct.unpack_from("<I", data, 20)[0], 1, 65536)
    assert parse(data).fixed.file_data_offset == 56


@pytest.mark.parametrize(
    ("data", "id", "said"),
    [
        (second(2), "igvm-field", "at 0x18: architecture … 2; … 0 (x64) … 1 (AArch64)"),
        (second(0, 2048), "igvm-field", "at 0x1c:… page size … 2048 bytes; … 2, 4096"),
        (second(0, 0), "igvm-field", "at 0x1c:… page size … 0 bytes; … 2, 4096"),
        (second(0, 12288), "igvm-field", "at 0x1c:… page size … 12288 bytes; … 2, 4096"),
        (second()[:31], "not-igvm", "at 0x0:… 31 bytes; … fixed header … version 2 … 32"),
        (igvm(*PLAIN)[:23], "not-igvm", "at 0x0:… 23 bytes; … fixed header … 24"),
        (fixed(1, 16, 8, 24), "igvm-header", "at 0x8: variable headers … 0x10; … 8 … fixed header, 0x18"),
        (fixed(2, 24, 8, 32, 0, 4096), "igvm-header", "at 0x8: variable headers … 0x18; … 8 … fixed header, 0x20"),
        (fixed(1, 24, 8, 24), "igvm-cut-off", "at 0xc: variable headers … 8 bytes; … 0"),
        (fixed(1, 32, 8, 24), "igvm-cut-off", "at 0xc: variable headers … 8 bytes; … 0"),
        (fixed(1, 24, 16, 32, 0, 0), "igvm-cut-off", "at 0xc: variable headers … 16 bytes; … 8"),
        (igvm(platform(), bytes.fromhex("0707008003000000" "61626300")), "igvm-header", "at 0x34:… header … 3 bytes …; … 8 bytes"),
        (igvm(platform(), header(0x80000302, bytes(1))[:-8]), "igvm-header", "at 0x34:… header … 1; … 0 bytes … variable headers"),
        (igvm(platform(), bytes(7)), "igvm-header", "at 0x30: … 7 bytes … header … 8 bytes"),
        (igvm(platform(), header(0, bytes(8))), "igvm-header", "at 0x30:… header … 0x0; … 0x1 … 0x200 … 0x301 … 0x400, … 31"),
        (igvm(platform(), header(0x100, bytes(8))), "igvm-header", "at 0x30:… header … 0x100; … platform header (0x1), … 31"),
        (
            igvm(platform(), header(0x200, bytes(8))),
            "igvm-header",
            "at 0x30:… header … 0x200; … initialization header (0x101, 0x102, 0x103, 0x104, 0x105, 0x106, 0x107), … 31",
        ),
        (igvm(platform(), header(0x201, bytes(8))), "igvm-header", "at 0x30:… header … 0x201; … 0x1 … 0x200 … 0x301 … 0x400, … 31"),
        (igvm(platform(), header(0x300, bytes(8))), "igvm-header", "at 0x30:… header … 0x300; … 0x1 … 0x200 … 0x301 … 0x400, … 31"),
        (
            igvm(platform(), header(0x400, bytes(8))),
            "igvm-header",
            "at 0x30:… header … 0x400; … directive header (0x301, 0x302",
        ),
        (igvm(platform(), header(0x401, bytes(8))), "igvm-header", "at 0x30:… header … 0x401; … 0x1 … 0x200 … 0x301 … 0x400, … 31"),
        (igvm(platform(), page(0), header(0x107, b"")), "igvm-header", "at 0x50:… initialization header (version string) … directive"),
        (igvm(header(0x107, b""), platform()), "igvm-header", "at 0x20:… platform header (supported platform) … initialization"),
    ],
)  # fmt: skip
def test_a_file_that_is_laid_out_wrongly_is_told(data: bytes, id: str, said: str) -> None:
    with pytest.raises(IgvmError) as raised:
        list(parse(data).headers())
    assert raised.value.id == id
    assert has(str(raised.value), said), raised.value


def test_headers_may_end_where_the_file_does_and_data_where_both_do() -> None:
    file = parse(igvm(platform(), header(0x80000302, bytes(8)), data=b""))
    assert len(list(file.headers())) == 2
    headers = [platform(), page(0x1000, 1)]
    headers[1] = page(0x1000, data_at(*headers))
    (_, found) = parse(igvm(*headers)).headers()
    assert isinstance(found, PageData) and found.file_offset == data_at(*headers)
    # A page is as large as the file says.
    (_, found) = parse(second(1, 65536, platform(kind=6), page(0x10000))).headers()
    assert isinstance(found, PageData)
    with pytest.raises(IgvmError, match=r"page data: address .* 0x1000; .*\b0x10000$") as raised:
        list(parse(second(1, 65536, page(0x1000))).headers())
    assert raised.value.id == "igvm-field"


def region(gpa: int, size: int = 0x1000, mask: int = VSM, vp_index: int = 0, vtl: int = 2) -> bytes:
    return header(0x102, struct.pack("<IHBB5Q", mask, vp_index, vtl, 0, 0x1000, gpa, size, 0, 0))


def tables(gpa: int, size: int = 0x1000, mask: int = VSM, vp_index: int = 0, vtl: int = 2) -> bytes:
    return header(0x103, struct.pack("<IHBB3Q", mask, vp_index, vtl, 0, gpa, size, 0))


def cca(mask: int) -> bytes:
    return header(0x106, struct.pack("<II24x", mask, 0))


def parameter(index: int) -> bytes:
    return header(0x307, struct.pack("<II", index, 0))


def vsm(*headers: bytes, registers: tuple[tuple[int, int], ...] = ((2, 0x40000),), vp_index: int = 0) -> bytes:
    """A file for SEV-SNP and VSM isolation with a VSM context at its end, of pairs of a VTL and a register."""
    first = (platform(), platform(VSM, 1), *headers)
    at = data_at(*first, vp_context(0, 0))
    data = struct.pack("<I", len(registers)) + b"".join(struct.pack("<BI27x", *one) for one in registers)
    return igvm(*first, vp_context(0, at, mask=VSM, vp_index=vp_index), data=data)


END = 1 << 64
NATIVE = platform(2, 0, vtl=0)


TOGETHER = [
    (vsm(), "", ""),
    (vsm(region(0x4000), region(0x5000), region(0x3000)), "", ""),
    (vsm(region(0x4000, 0x3000), region(0x6000)), "igvm-relocation", "at 0x80:… region … 0x6000 … 0x6fff … 0x4000 … 0x6fff"),
    (vsm(region(0x6000), region(0x4000, 0x3000)), "igvm-relocation", "at 0x80:… region … 0x4000 … 0x6fff … 0x6000 … 0x6fff"),
    (vsm(region(0x4000), region(0x4000)), "igvm-relocation", "at 0x80:… region … 0x4000 … 0x4fff … 0x4000 … 0x4fff"),
    (
        vsm(region(0x1000), region(0x9000), region(0x5000), region(0x5000)),
        "igvm-relocation",
        "at 0xf0:… region … 0x5000 … 0x5fff … 0x5000 … 0x5fff",
    ),
    (vsm(region(0x4000), tables(0x4000)), "igvm-relocation", "at 0x80:… region … 0x4000 … 0x4fff … 0x4000 … 0x4fff"),
    (
        vsm(region(0x4000, mask=VSM), region(0x4000, mask=8 | SNP)),
        "igvm-relocation",
        "at 0x80:… relocation … processor 0, VTL 2, mask 0x9; … processor 0, … VSM context",
    ),
    (
        vsm(region(0x4000, mask=VSM | 1 << 31), region(0x4000, mask=1 << 31)),
        "igvm-relocation",
        "at 0x80:… region … 0x4000 … 0x4fff … 0x4000 … 0x4fff",
    ),
    (vsm(region(0x4000, 0)), "igvm-relocation", "at 0x48:… region … 0x0 bytes … 0x4000"),
    (vsm(region(END - 0x1000)), "igvm-relocation", "at 0x48:… region … 0x1000 bytes … 0xfffffffffffff000"),
    (vsm(region(END - 0x2000)), "", ""),
    (vsm(tables(0x4000), tables(0x8000)), "igvm-relocation", "at 0x70: …page table relocation region … mask 0x4; "),
    (
        vsm(tables(0x4000, mask=VSM), tables(0x8000, mask=VSM | 8)),
        "igvm-relocation",
        "at 0x70: …page table relocation region … mask 0x4; ",
    ),
    (
        vsm(region(0x4000, vp_index=1)),
        "igvm-relocation",
        "at 0x48:… relocation … processor 1, VTL 2, mask 0x4; … processor 0, … VSM context",
    ),
    (
        vsm(region(0x4000, mask=SNP, vtl=1)),
        "igvm-relocation",
        "at 0x48:… relocation … processor 0, VTL 1, mask 0x1; … processor 0, … VSM context",
    ),
    (vsm(region(0x4000, vtl=1)), "igvm-relocation", "at 0x48:… relocation … processor 0, VTL 1, mask 0x4; … processor 0, … VSM context"),
    (vsm(region(0x4000, vtl=1), registers=((1, 0x40000),)), "", ""),
    (vsm(region(0x4000, mask=0, vtl=1), region(0x4000, mask=0, vtl=1)), "", ""),
    (vsm(tables(0x4000, mask=0), tables(0x4000, mask=0)), "", ""),
    (vsm(tables(0x4000, 0x2000), area(1, 0x1000), insert(1, 0x3000, VSM)), "", ""),
    (
        vsm(tables(0x4000, 0x2000), area(1, 0x1000), insert(1, 0x4000, VSM)),
        "igvm-parameters",
        "at 0x88:… parameter area … 0x4000; … page tables, … 0x4000",
    ),
    (
        vsm(tables(0x4000, 0x2000), area(1, 0x1000), insert(1, 0x5000, VSM)),
        "igvm-parameters",
        "at 0x88:… parameter area … 0x5000; … page tables, … 0x4000",
    ),
    (vsm(tables(0x4000, 0x2000), area(1, 0x1000), insert(1, 0x6000, VSM)), "", ""),
    (vsm(tables(0x4000, 0x2000), area(1, 0x1000), insert(1, 0x4000, SNP)), "", ""),
    (vsm(registers=((2, 0x40000), (1, 0x40000))), "igvm-context", "at 0x48:… VSM context … registers … VTL 2 … 1; "),
    (vsm(registers=((2, 0x40000), (2, 0x40001))), "igvm-context", "at 0x48:… VSM context … register 0x40001; "),
    (vsm(registers=((3, 0x40000),)), "igvm-context", "at 0x48:… VSM context: VTL … 3; … 0, 1 … 2"),
    (vsm(vp_index=1), "igvm-context", "at 0x48:… VSM context … processor 1; … processor 0"),
    (vsm(registers=()), "igvm-context", "at 0x48:… VSM context … no registers; "),
    (igvm(platform(), platform(8, 0, vtl=0, boundary=1)), "igvm-platform", "at 0x30: platform native: shared GPA boundary … 0x1; … 0"),
    (igvm(platform(), platform(8, 1, boundary=1)), "igvm-platform", "at 0x30: platform VSM isolation: shared GPA boundary … 0x1; … 0"),
    (igvm(platform(boundary=1 << 46)), "", ""),
    (igvm(platform(), platform(TDX, 3, boundary=1 << 46)), "", ""),
    (igvm(platform(vtl=0)), "", ""),
    (igvm(platform(mask=0)), "igvm-platform", "at 0x18: platform: compatibility mask … 0x0"),
    (igvm(platform(mask=1 << 31)), "", ""),
    (igvm(platform(version=0)), "igvm-platform", "at 0x18: platform SEV-SNP: version … 0; … 1"),
    (second(1, 4096, platform()), "igvm-platform", "at 0x20: platform SEV-SNP … AArch64; … x64"),
    (second(1, 4096, platform(kind=6)), "no-snp", "at 0x20:… SEV-SNP platform"),
    (second(1, 4096, platform(kind=1)), "no-snp", "at 0x20:… SEV-SNP platform"),
    (second(1, 8192, platform()), "igvm-not-read", "at 0x1c:… page size … 8192 bytes; … 4096"),
    (
        igvm(platform(), platform(TDX, 3), vp_context(0, 104, mask=TDX)),
        "igvm-context",
        "at 0x48:… VP context: mask 0x2 … platform TDX; … TDX",
    ),
    (igvm(platform(), vp_context(0x1800, 80)), "igvm-context", "at 0x30: VP context: … 0x1800; … 0x1000"),
    (igvm(platform(), platform(8, 5), vp_context(0x1800, 104, mask=8)), "igvm-context", "at 0x48: VP context: … 0x1800; … 0x1000"),
    (igvm(platform(), NATIVE, vp_context(0x1800, 104, mask=2)), "", ""),
    (igvm(platform(), cca(1)), "igvm-platform", "at 0x30:… CCA policy … x64; … AArch64"),
    (igvm(platform(), cca(0)), "", ""),
    (second(1, 4096, platform(4, 6), cca(4)), "no-snp", "at 0x20:… SEV-SNP platform"),
    (second(1, 4096, platform(4, 6), cca(6)), "igvm-platform", "at 0x38:… CCA policy: mask … 0x2; … platform CCA"),
    (second(1, 4096, platform(1 << 31, 1), cca(1 << 31)), "igvm-platform", "at 0x38:… CCA policy: mask … 0x80000000; … platform CCA"),
    (igvm(platform(), area(3, 4096), parameter(3), insert(3, 0)), "", ""),
    (igvm(platform(), area(3, 4096), insert(3, 0), parameter(3)), "igvm-parameters", "at 0x60: parameter area 3 … inserted; "),
    (igvm(platform(), parameter(3)), "igvm-parameters", "at 0x30: parameter area 3 … not declared"),
    (igvm(platform(), area(3, 4096), insert(3, 0, mask=0), insert(3, 0)), "", ""),
    (igvm(platform(), header(0x104, bytes(16))), "igvm-not-read", "at 0x30:… CoRIM document; … 0.5"),
    (igvm(platform(), header(0x105, bytes(16))), "igvm-not-read", "at 0x30:… CoRIM signature; … 0.5"),
    (igvm(platform(), data=b"x"), "", ""),
    (igvm(platform(), data=b""), "igvm-not-read", "at 0x10:… file data"),
]  # fmt: skip
"""Files, with the ID of their message and the names and values in it; empty for valid files."""


@pytest.mark.parametrize(("data", "id", "said"), TOGETHER)
def test_what_headers_must_be_together(data: bytes, id: str, said: str) -> None:
    if not id:
        assert len(digest(data)) == 96
    else:
        with pytest.raises(IgvmError) as raised:
            digest(data)
        assert raised.value.id == id
        assert has(str(raised.value), said), raised.value


REGISTERS = {
    0: {
        *(0x20004, 0x20005, 0x20006, 0x20008, 0x20009, 0x2000A, 0x2000B, 0x2000C, 0x20010, 0x20011),
        *(0x40000, 0x40002, 0x40003, 0x60000, 0x60001, 0x60002, 0x60003, 0x60004, 0x60005, 0x60007),
        *(0x70000, 0x70001, 0x80001, 0x80004, 0x8000E, 0x80010, 0x80011, 0x80012, 0x80013, 0x80014),
        *(0x80040, 0x80041, 0x80042, 0x80043, 0x80044, 0x80070, 0x80071, 0x80077, 0x80078, 0x80079, 0x8007A),
    },
    1: {
        *(0x20000, 0x20001, 0x20002, 0x20003, 0x20004, 0x20005, 0x20006, 0x20007, 0x20022, 0x20023),
        *(0x40002, 0x40005, 0x40006, 0x40007, 0x4000B, 0x4000C),
    },
}
"""By architecture: what ``X86Register`` and ``AArch64Register`` of crate igvm 0.5 are made from (its ``registers.rs``)."""


@pytest.mark.parametrize("architecture", REGISTERS)
def test_a_vsm_context_has_just_the_registers_that_the_crate_takes(architecture: int) -> None:
    first = (platform(kind=6 if architecture else 2), platform(VSM, 1))
    context = vp_context(0, data_at(*first, vp_context(0, 0), offset=32), mask=VSM)
    refused = set()
    every = {one + more for known in REGISTERS.values() for one in known for more in (-1, 0, 1)}
    for register in every:
        data = second(architecture, 4096, *first, context, data=struct.pack("<IBI27x", 1, 2, register))
        try:
            digest(data)
        except IgvmError as error:
            # AArch64 has no SEV-SNP.
            if error.id != "no-snp":
                assert error.id == "igvm-context" and has(error.wrong, f"VSM context … register {register:#x}")
                refused.add(register)
    assert every - refused == REGISTERS[architecture]


@pytest.mark.parametrize(
    ("architecture", "kind", "place", "good"),
    [
        (0, 4, 231, True),
        (0, 4, 232, False),
        (0, 4, 4095, False),
        (1, 6, 79, True),
        (1, 6, 80, False),
        (1, 6, 4095, False),
    ],
)
def test_behind_the_registers_of_other_contexts_are_zeroes_too(
    architecture: int, kind: int, place: int, good: bool
) -> None:
    """``IgvmNativeVpContextX64`` has 232 bytes, ``IgvmVpContextAArch64Cca`` has 80."""
    content = bytearray(4096)
    content[place] = 1
    context = vp_context(0, data_at(platform(), vp_context(0, 0), offset=32))
    data = second(architecture, 4096, platform(kind=kind, vtl=0), context, data=bytes(content))
    with pytest.raises(IgvmError) as raised:
        digest(data)
    assert raised.value.id == ("no-snp" if good else "igvm-context")
    assert good or " registers" in raised.value.wrong


def test_a_vsm_context_is_all_in_the_file() -> None:
    first = (platform(), platform(VSM, 1))
    context = vp_context(0, data_at(*first, vp_context(0, 0)), mask=VSM)
    for data, size in (
        (struct.pack("<I", 0)[:3], 4),
        (struct.pack("<IBI27x", 1, 2, 0x40000)[:-1], 32),
        (struct.pack("<IBI27x", 2, 2, 0x40000), 64),
        (struct.pack("<IBI27x", 1 << 24 | 1, 2, 0x40000), (1 << 24 | 1) * 32),
    ):
        with pytest.raises(IgvmError, match=rf": VSM context .* {size} bytes .* 0x[0-9a-f]+; ") as raised:
            digest(igvm(*first, context, data=data))
        assert raised.value.id == "igvm-data"


@pytest.mark.parametrize("header_type", [0x300, 0x301, 0x302, 0x303, 0x304, 0x305, 0x101, 0x999])
def test_an_optional_header_is_tolerated_but_for_one_of_what_could_be_measured(header_type: int) -> None:
    data = igvm(platform(), page(0), header(0x80000000 | header_type, bytes(24)))
    if 0x301 <= header_type <= 0x304:
        with pytest.raises(IgvmError, match=f" 0x80000{header_type:x}; ") as raised:
            digest(data, tolerant=True)
        assert raised.value.id == "igvm-not-read"
    else:
        assert digest(data, tolerant=True) == digest(igvm(platform(), page(0)))
    with pytest.raises(IgvmError, match=f" 0x80000{header_type:x}; ") as raised:
        digest(data)
    assert raised.value.id == "igvm-not-read"


def test_what_is_tolerated_beside_is_a_corim_and_nothing_that_breaks_a_rule() -> None:
    for corim in (header(0x104, bytes(16)), header(0x105, bytes(16))):
        assert digest(igvm(platform(), corim, page(0)), tolerant=True) == digest(igvm(platform(), page(0)))
    for wrong, id, found in (
        (igvm(platform(), insert(0, 0)), "igvm-parameters", "parameter area 0 "),
        (igvm(platform(vtl=1)), "igvm-platform", "highest VTL is 1"),
        (igvm(platform(), area(0, 1)), "igvm-field", "parameter area: size is 0x1"),
    ):
        with pytest.raises(IgvmError, match=found) as raised:
            digest(wrong, tolerant=True)
        assert raised.value.id == id


# Hostile files

THREE = (platform(), platform(TDX, 3), platform(VSM, 1))


def every_platform() -> bytes:
    """What each of the platforms measures: runs of pages, parameters, an error range, a VMSA where KVM puts it, registers."""
    every = SNP | TDX | VSM

    def headers(at: int) -> list[bytes]:
        return [
            *(*THREE, area(0, 4096), area(1, 8192), vp_context(0, at + 4096, mask=VSM)),
            *(page(gpa, at, mask=every) for gpa in (0x1000, 0x2000, 0x3000)),
            *(insert(0, 0x8000, every), error_range(0x9000, 4097), page(0x4000, mask=every), insert(1, 0xA000, every)),
            *(page(0x5000, flags=2, mask=every), vp_context(KVM_VMSA, at)),
        ]

    vmsa = bytearray(4096)
    vmsa[0x158] = 0x31
    registers = struct.pack("<IBI11x16sBI11x16s", 2, 2, 0x20005, b"p" * 16, 2, 0x70001, b"g" * 16)
    return igvm(*headers(data_at(*headers(0))), data=bytes(vmsa) + registers)


SEEDS = [path.read_bytes() for path in sorted(GOLDEN.glob("*.igvm"))] + [
    igvm(*PLAIN),
    igvm(*PLAIN, offset=32, version=2),
    *[every_platform()] * 8,
]
WAYS = [
    MeasureOptions(),
    MeasureOptions(two_pass=True, check_id_block=False),
    MeasureOptions(qemu_order=True, native_zero=True, processors=3),
]
NUMBERS = st.sampled_from([0, 1, 7, 0xFFF, 0x1000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]) | st.integers(0, 0xFFFFFFFF)


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 3))):
        match draw(st.integers(0, 3)):
            case 0:
                data[draw(st.integers(0, min(len(data), 1500) - 1))] ^= 1 << draw(st.integers(0, 7))
            case 1:
                struct.pack_into("<I", data, 4 * draw(st.integers(0, min(len(data), 1500) // 4 - 1)), draw(NUMBERS))
            case 2:
                del data[draw(st.integers(32, len(data))) :]
                struct.pack_into("<I", data, 16, len(data))
            case 3:
                at = 24 + 8 * draw(st.integers(0, min(len(data), 1500) // 8 - 4))
                kinds = [0x1, 0x101, 0x103, 0x301, 0x303, 0x304, 0x30D]
                data[at : at + 8] = struct.pack("<II", draw(st.sampled_from(kinds)), 16)
    return with_checksum(data) if draw(st.booleans()) else bytes(data)


@patch.object(launch, "MOST_PARAMETER_PAGES", 1 << 10)  # a test below has the time that more of them take
@settings(max_examples=1500, deadline=2000)
@given(hostile() | st.binary(max_size=200) | st.binary(max_size=300).map(lambda more: igvm(platform(), more)))
def test_any_bytes_end_in_a_digest_or_an_igvm_error(data: bytes) -> None:
    for options in MODES[::3]:
        try:
            assert len(measure(data, options).digest) == 48
        except IgvmError as error:
            assert 0 <= error.offset <= max(len(data), 28)
    for options in WAYS:
        found: dict[str, Measured | IgvmError] = {}
        try:
            found = measure_all(data, options)
        except IgvmError as error:
            assert 0 <= error.offset <= max(len(data), 28)
        for word, one in found.items():
            if isinstance(one, IgvmError):
                assert 0 <= one.offset <= len(data)
            else:
                assert len(one.digest) == MEASURED[word].size
    try:
        file = parse(data)
        list(file.headers())
    except IgvmError:
        return
    list(as_text("x", file))
    list(as_json("x", file))


@patch.object(launch, "MOST_PARAMETER_PAGES", 1 << 10)  # a test below has the time that more of them take
@settings(max_examples=700, deadline=2000)
@given(hostile() | st.binary(max_size=200).map(lambda more: igvm(platform(), more)))
def test_any_bytes_are_shown_or_end_in_an_igvm_error(data: bytes) -> None:
    """In the lenient way, which accepts all that the strict one does, and of which no digest is told if there is a doubt."""
    try:
        file = parse(data, lenient=True)
    except IgvmError as error:
        assert error.offset <= 32
        return
    lines, wrong = list[str](), False
    try:
        lines.extend(as_text("x", file))
        json.loads("".join(as_json("x", file)))
    except IgvmError as error:
        assert 0 <= error.offset <= max(len(data), 28)
        wrong = True
    assert lines[0].startswith("x: IGVM version ") if lines else wrong
    headers, doubts = list[Header](), [*file.doubts]
    with suppress(IgvmError):
        headers.extend(file.headers(doubts.append))
    try:
        strict = list(parse(data).headers())
    except IgvmError:
        assert doubts or wrong
        with pytest.raises(IgvmError):
            measure_all(data, MeasureOptions(tolerant=True))
    else:
        assert (headers, doubts, wrong) == (strict, [], False)


def bounded(
    data: bytes,
    seconds: float,
    bytes_per_byte: float | None = None,
    options: MeasureOptions = WAYS[0],
    platform: MeasuredPlatform = SNP_PLATFORM,
) -> str:
    """How measuring ended, within so many seconds of CPU time and so much memory per byte of the file."""
    if bytes_per_byte:
        tracemalloc.start()
    started = time.process_time()
    try:
        end = measure(data, options, platform).digest.hex()
    except IgvmError as error:
        end = str(error)
    assert time.process_time() - started < seconds
    if bytes_per_byte:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < bytes_per_byte * len(data) + (30 << 20)
    return end


# Tracing is many times slower, so there is less to measure.
@pytest.mark.parametrize(("count", "memory"), [(1_000_000, None), (100_000, 1)])
def test_a_million_directives_take_bounded_time_and_memory(count: int, memory: float | None) -> None:
    # Pages with different contents would be hashed one by one, as in igvmmeasure: here they share 64 contents.
    first = data_at(platform()) + count * 32
    pages = b"".join(page(at << 12, first + at % 64) for at in range(count))
    assert len(bounded(igvm(platform(), pages, data=bytes(8192)), 30, memory)) == 96


@pytest.mark.parametrize(("count", "memory"), [(1_000_000, None), (100_000, 12)])
def test_a_million_parameter_areas_take_bounded_time_and_memory(count: int, memory: float | None) -> None:
    areas = b"".join(area(at, 4096) for at in range(count))
    assert len(bounded(igvm(platform(), areas), 30, memory)) == 96


def test_many_relocations_and_contexts_that_share_their_data_take_bounded_time() -> None:
    region = [struct.pack("<IHBB5Q", VSM, 0, 2, 0, 4096, at << 13, 4096, 0, 0) for at in range(20_000)]
    registers = 20_000
    headers = [platform(VSM, 1), *(header(0x102, one) for one in region)]
    headers += [vp_context(0, 1, mask=VSM)] * 2000
    first = data_at(*headers)
    headers[-2000:] = [vp_context(0, first, mask=VSM)] * 2000
    data = struct.pack("<I", registers) + registers * struct.pack("<BI11x16x", 2, 0x40000)
    assert has(bounded(igvm(*headers, data=data), 20, 20), " 1060000 registers; … 1048576")


def shown_bounded(data: bytes, seconds: float) -> int:
    """How many bytes are shown of a file, in the lenient way, within so many seconds of CPU time."""
    started = time.process_time()
    file = parse(data, lenient=True)
    length = sum(map(len, as_text("x", file))) + sum(map(len, as_json("x", file)))
    assert time.process_time() - started < seconds
    return length


@pytest.mark.parametrize("first", [0x314, 0x80000314])
def test_very_many_unknown_headers_are_shown_in_bounded_time_and_with_few_notes(first: int) -> None:
    count = 20_000
    headers = [struct.pack("<II", first + at % 236, 0) for at in range(count)]
    assert shown_bounded(igvm(platform(), *headers), 15) < count * 400
    assert len(notes_of(parse(igvm(platform(), *headers), lenient=True))) <= MOST_NOTES + 2


def test_very_large_pages_are_not_hashed() -> None:
    """A header of 32 bytes could have gigabytes hashed."""
    data = second(1, 1 << 28, platform(kind=6), page(1 << 28), page(2 << 28))
    for lenient in (False, True):
        assert {one.get("sha384") for one in all_fields(parse(data, lenient=lenient))} == {None}
    (_, one) = all_fields(parse(second(1, 1 << 16, platform(kind=6), page(0))))
    assert one["sha384"] == hashlib.sha384(bytes(1 << 16)).hexdigest()


def test_the_largest_parameter_area_takes_bounded_time() -> None:
    area_size = MOST_PARAMETER_PAGES * 4096
    assert len(bounded(igvm(platform(), area(0, area_size), insert(0, 0)), 20, 1)) == 96


@pytest.mark.parametrize("options", [MeasureOptions(two_pass=True, qemu_order=True), MeasureOptions()])
@pytest.mark.parametrize("word", MEASURED)
def test_pages_in_one_run_and_in_many_take_bounded_time(word: str, options: MeasureOptions) -> None:
    count, first = 10_000, data_at(*THREE) + 10_000 * 32
    for gap in (12, 13):
        pages = b"".join(page(at << gap, first + at % 64, mask=SNP | TDX | VSM) for at in range(count))
        found = bounded(igvm(*THREE, pages, data=bytes(8192)), 4, options=options, platform=MEASURED[word])
        assert len(found) == MEASURED[word].size * 2


@pytest.mark.parametrize("word", MEASURED)
def test_the_pages_of_a_run_are_not_kept(word: str) -> None:
    count, options = 4000, MeasureOptions(two_pass=True, qemu_order=True)
    data = igvm(*THREE, b"".join(page(at << 12, mask=SNP | TDX | VSM) for at in range(count)))
    measure(data, options, MEASURED[word])
    tracemalloc.start()
    measure(data, options, MEASURED[word])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 * count


@pytest.mark.parametrize(
    ("headers", "end"),
    [
        ([error_range(0, 0xFFFFFFFF)] * 1000, " 1048576 pages without content"),
        ([error_range(at << 16, 1 << 16) for at in range(1000)], ""),
        ([error_range(0, 0)] * 10_000, ""),
        ([one for at in range(1000) for one in (area(at, 1 << 15), insert(at, 0, VSM))], ""),
    ],
)
def test_error_ranges_and_parameters_take_bounded_time(headers: list[bytes], end: str) -> None:
    found = bounded(igvm(*THREE, *headers), 4, 8, MeasureOptions(qemu_order=True), MEASURED["vsm"])
    assert has(found, end) if end else len(found) == 64


def test_contexts_that_share_their_registers_are_measured_in_bounded_time() -> None:
    context = vp_context(0, data_at(*THREE, vp_context(0, 0) * 500), mask=VSM)
    registers = struct.pack("<I", 100) + 100 * struct.pack("<BI11x16x", 2, 0x40000)
    assert len(bounded(igvm(*THREE, context * 500, data=registers), 4, 20, platform=MEASURED["vsm"])) == 64


# Speed


def test_an_image_of_16_mib_is_measured_in_a_third_of_a_second_with_the_start_of_python(tmp_path: Path) -> None:
    """For SEV-SNP; for all three platforms in half a second."""
    count, platforms = 4096, (platform(), platform(TDX, 3), platform(VSM, 1, vtl=0))
    first = data_at(*platforms) + count * 32
    pages = [page((at + 256) << 12, first + at * 4096, mask=SNP | TDX | VSM) for at in range(count)]
    file = tmp_path / "large.igvm"
    file.write_bytes(igvm(*platforms, *pages, data=random.Random(1).randbytes(count * 4096)))

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def seconds(*words: str) -> float:  # CPU time: it does not depend on how busy the machine is
        before = used()
        command = [sys.executable, "-m", "coconut_tasks.commands.measure", *words, str(file)]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()
        assert len(found) == (1 if words else 3)
        return used() - before

    assert min(seconds("--platform=snp") for _ in range(5)) < 0.3
    assert min(seconds() for _ in range(5)) < 0.5
