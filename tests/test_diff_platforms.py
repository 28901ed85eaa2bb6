"""``doit diff`` where images are for several platforms: which page, header or register changed whose digest."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from igvm_files import SNP, TDX, VSM, area, data_at, header, igvm, insert, page, platform, vp_context
from jsonschema import Draft202012Validator
from test_diff import diff, error_range, inspected, measurements, run, side, statement, text

from coconut_tasks.compare.sides import read_side
from coconut_tasks.errors import UsageError
from coconut_tasks.evidence.pages import read_page
from coconut_tasks.igvm.platforms import MEASURED
from coconut_tasks.package import data_path
from coconut_tasks.reports.changes import changes_json
from coconut_tasks.wording import MEASUREMENTS

ALL = SNP | TDX | VSM
NATIVE = 8
HEADS = (platform(), platform(TDX, 3), platform(VSM, 1), platform(NATIVE, 0))
RESULTS = json.loads((data_path("schema") / "results.schema.json").read_text())
FORMS: list[Callable[[bytes], Any]] = [lambda data: data, inspected, statement]


def image(*bodies: bytes, data: bytes = b"") -> bytes:
    return igvm(*HEADS, *bodies, data=data or bytes(4096))


def block(number: int, count: int) -> int:
    """Where the numbered page of data is, in a file with this many directives of 32 bytes."""
    return data_at(*HEADS, *[page(0)] * count) + number * 4096


def filled(mask: int, fill: bytes = b"a", data_type: int = 0) -> bytes:
    """A page for all platforms, and one with this mask, whose data is given."""
    bodies = page(0x1000, block(0, 2), mask=ALL), page(0x2000, block(1, 2), 0, data_type, mask)
    return image(*bodies, data=b"z" * 4096 + fill * 4096)


def with_native(mask: int, fill: bytes = b"a") -> bytes:
    return image(page(0x1000, block(0, 1), mask=mask), data=fill * 4096)


def with_vmsa(fill: bytes) -> bytes:
    return image(vp_context(0x3000, block(0, 1)), data=fill * 4096)


def registers(*given: tuple[int, int]) -> bytes:
    """A VSM context with these registers, each a name and a value."""
    data = struct.pack("<I", len(given))
    data += b"".join(struct.pack("<BI11xQ8x", 2, name, value) for name, value in given)
    return image(page(0x1000, mask=ALL), vp_context(0, block(0, 2), VSM), data=data.ljust(4096, b"\0"))


def with_id_block(svn: int) -> bytes:
    body = struct.pack("<IB3x48s16s16s4I", SNP, 0, bytes(48), bytes(16), bytes(16), 1, svn, 1, 0)
    return image(page(0x1000, mask=ALL), header(0x30B, body.ljust(696, b"\0")))


RIP, RSP = 0x20010, 0x20004


class Case(NamedTuple):
    """What is compared, and what is to be told."""

    old: bytes
    new: bytes
    differ: str
    """The platforms whose digests differ."""
    line: str
    """What is told in the text."""


CASES = {
    "a page for all": Case(filled(ALL), filled(ALL, b"b"), "snp tdp vsm", "  0x2000 … 0x2fff  1 page  normal\n"),
    "a page for TDX": Case(filled(TDX), filled(TDX, b"b"), "tdp", "  0x2000 … 0x2fff  1 page  normal  (tdp only)\n"),
    "a page for two": Case(
        filled(SNP | VSM), filled(SNP | VSM, b"b"), "snp vsm", "  0x2000 … 0x2fff  1 page  normal  (snp and vsm only)\n"
    ),
    "a page of secrets, which only TDX measures": Case(
        filled(SNP | TDX, data_type=1),
        filled(SNP | TDX, b"b", 1),
        "tdp",
        "  0x2000 … 0x2fff  1 page  normal  (tdp only)\n",
    ),
    "another mask": Case(
        filled(ALL), filled(SNP | TDX), "vsm", "  0x2000 … 0x2fff  1 page  normal  only in old  (vsm only)\n"
    ),
    "one platform instead of another": Case(
        filled(SNP),
        filled(TDX),
        "snp tdp",
        "  0x2000 … 0x2fff  1 page  normal  only in old  (snp only)\n"
        "  0x2000 … 0x2fff  1 page  normal  only in new  (tdp only)\n",
    ),
    "native, which measures nothing": Case(
        with_native(ALL),
        with_native(ALL | NATIVE),
        "",
        "  page data 0x1000: compatibility_mask 0x7 → 0xf (native only)\n",
    ),
    "another mask and other bytes": Case(
        with_native(ALL),
        with_native(ALL | NATIVE, b"b"),
        "snp tdp vsm",
        "  page data 0x1000: compatibility_mask 0x7 → 0xf (native only)\n"
        "measured pages: 1 of 1 differ\n  0x1000 … 0x1fff  1 page  normal\n",
    ),
    "a flag": Case(
        image(page(0x1000, mask=ALL)),
        image(page(0x1000, mask=ALL, flags=2)),
        "snp tdp vsm",
        "  0x1000 … 0x1fff  1 page  normal → unmeasured\n",
    ),
    "a flag that SEV-SNP does not look at": Case(
        image(page(0x1000, data_type=1, mask=SNP | TDX)),
        image(page(0x1000, data_type=1, mask=SNP | TDX, flags=2)),
        "tdp",
        "  0x1000 … 0x1fff  1 page  normal → unmeasured  (tdp only)\n",
    ),
    "a page type": Case(
        image(page(0x1000, data_type=1, mask=SNP | TDX)),
        image(page(0x1000, data_type=2, mask=SNP | TDX)),
        "snp",
        "  0x1000 … 0x1fff  1 page  secrets → cpuid  (snp only)\n",
    ),
    "parameters": Case(
        image(area(0, 4096), insert(0, 0x8000, SNP | TDX)),
        image(area(0, 8192), insert(0, 0x8000, SNP | TDX)),
        "snp tdp",
        "  0x9000 … 0x9fff  1 page  unmeasured  only in new  (snp and tdp only)\n",
    ),
    "an error range": Case(
        image(error_range(0x8000, 0x1000, ALL)),
        image(error_range(0x8000, 0x2001, ALL)),
        "vsm",
        "  0x9000 … 0xafff  2 pages  error range  only in new  (vsm only)\n",
    ),
    "an error range within a page": Case(
        image(error_range(0x8000, 0x1001)),
        image(error_range(0x8000, 0x1002)),
        "",
        "  error range 0x8000: size_bytes 4097 → 4098 (vsm only)\n",
    ),
    "a VMSA": Case(with_vmsa(b"a"), with_vmsa(b"b"), "snp", "  0x3000 … 0x3fff  1 page  vmsa  (snp only)\n"),
    "an ID block": Case(
        with_id_block(1), with_id_block(2), "", "  SNP ID block of mask 0x1: guest_svn 1 → 2 (snp only)\n"
    ),
    "the order of pages for one": Case(
        image(page(0x1000, mask=TDX), page(0x2000, mask=TDX), page(0x3000, mask=SNP)),
        image(page(0x2000, mask=TDX), page(0x1000, mask=TDX), page(0x3000, mask=SNP)),
        "tdp",
        "measured pages: different order from page 1 on: 0x1000 → 0x2000  (tdp only)\n",
    ),
    "an order that concerns nobody": Case(
        image(page(0x1000, mask=TDX), page(0x2000, mask=SNP), page(0x1000, mask=VSM)),
        image(page(0x2000, mask=SNP), page(0x1000, mask=VSM), page(0x1000, mask=TDX)),
        "",
        "",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_told_with_the_platforms_that_it_concerns(name: str) -> None:
    case = CASES[name]
    differ = case.differ.split()
    for form in FORMS:
        found = diff(form(case.old), form(case.new))
        assert found.same_digests == {word: word not in differ for word in MEASURED}
        assert found.pages is not None and [word for word in MEASURED if found.pages.differ_for(word)] == differ
    old, new = side("old", case.old), side("new", case.new)
    shown = text(case.old, case.new)
    assert case.line in shown and f"\n{conclusion(differ)}" in shown
    assert shown.splitlines()[:6] == [
        f"{one.name}: {term} {one.digests[word]}" for one in (old, new) for word, term in MEASUREMENTS.items()
    ]
    # What the pages show is not told of their headers as well.
    assert case.differ == "" or shown.count("0x2000") <= 3
    assert not old.doubts and not new.doubts


def conclusion(differ: list[str]) -> str:
    return {
        "": "different, but the launch digest, the MRTD and the VBS boot digest are the same",
        "snp": "different launch digests, but the MRTD and the VBS boot digest are the same",
        "tdp": "different MRTDs, but the launch digest and the VBS boot digest are the same",
        "vsm": "different VBS boot digests, but the launch digest and the MRTD are the same",
        "snp tdp": "different launch digests and MRTDs, but the VBS boot digest is the same",
        "snp vsm": "different launch digests and VBS boot digests, but the MRTD is the same",
        "snp tdp vsm": "different launch digests, MRTDs and VBS boot digests",
    }[" ".join(differ)]


@pytest.mark.parametrize("name", CASES)
def test_programs_are_told_the_same(name: str) -> None:
    case = CASES[name]
    differ = case.differ.split()
    found = json.loads(json.dumps(changes_json(diff(case.old, case.new))))
    Draft202012Validator({"$ref": "#/$defs/diff", "$defs": RESULTS["$defs"]}).validate(found)
    assert found["same_measurements"] == {word: word not in differ for word in MEASURED}
    assert found["same_launch_digest"] is ("snp" not in differ)
    for one, data in (("old", case.old), ("new", case.new)):
        assert found[one]["measurements"] == [
            {name: entry[name] for name in ("platform", "kind", "digest")} for entry in measurements(data)
        ]
    told = [entry["platforms"] for entry in (*found["pages"]["runs"], *found["pages"]["orders"])]
    assert {word for words in told for word in words} == set(differ)
    assert found["pages"]["order"] == next(iter(found["pages"]["orders"]), None)


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (registers((RIP, 1)), registers((RIP, 0x22)), ["register 0x20010 of VTL 2: 0x1 → 0x22 (vsm only)"]),
        (
            registers((RIP, 1)),
            registers((RIP, 1), (RSP, 5)),
            ["register 0x20004 of VTL 2: only in the second (vsm only)"],
        ),
        (registers((RIP, 1), (RSP, 5)), registers((RSP, 5), (RIP, 1)), ["order: different (vsm only)"]),
        (
            registers((RIP, 1), (RIP, 2)),
            registers((RIP, 2), (RIP, 1)),
            ["register 0x20010 of VTL 2: 0x1 → 0x2 (vsm only)", "register 0x20010 of VTL 2 (2): 0x2 → 0x1 (vsm only)"],
        ),
    ],
)
def test_registers_are_told_one_by_one(old: bytes, new: bytes, lines: list[str]) -> None:
    shown = text(old, new).splitlines()
    at = shown.index("registers:")
    assert [line.strip() for line in shown[at + 1 : at + 1 + len(lines)]] == lines
    assert shown[-1] == conclusion(["vsm"]) and "in the image, but not measured:" not in shown
    (change, *_) = changes_json(diff(old, new))["changes"]["registers"]
    assert change["platforms"] == ["vsm"]
    # A record has no registers, but nothing else can make this difference.
    said = "VSM contexts: different, since VBS measures the same pages and has another digest"
    for form in (inspected, statement):
        assert f"registers:\n  {said}\n" in text(form(old), form(new))
    assert diff(statement(old), old).same and diff(inspected(new), statement(new)).same


@pytest.mark.parametrize(("mask", "kind", "word"), [(TDX, 3, "tdp"), (VSM, 1, "vsm")])
def test_an_image_for_one_platform_is_compared_by_what_that_measures(mask: int, kind: int, word: str) -> None:
    head = platform(mask, kind)
    old, new = (igvm(head, page(0x1000, data_at(head, page(0)), mask=mask), data=fill * 4096) for fill in (b"a", b"b"))
    term = MEASUREMENTS[word]
    for form in FORMS:
        for other in FORMS:
            shown = text(form(old), other(new))
            assert f"\nnew: {term} " in shown and "launch digest" not in shown
            assert "measured pages: 1 of 1 differ\n  0x1000 … 0x1fff  1 page  normal" in shown
            assert shown.endswith(f"\ndifferent {term}s") and "only)" not in shown
            assert diff(form(old), other(old)).same


def test_a_platform_of_one_image_alone_is_told_once() -> None:
    def made(*platforms: tuple[int, int], fill: bytes) -> bytes:
        heads = [platform(mask, kind) for mask, kind in platforms]
        mask = sum(mask for mask, _ in platforms)
        pages = [page(0x1000 * at, data_at(*heads, *[page(0)] * 20), mask=mask) for at in range(20)]
        return igvm(*heads, *pages, data=fill * 4096)

    # The same platform may have another bit.
    old, new = made((1, 2), (2, 3), fill=b"a"), made((4, 2), (1, 1), fill=b"a")
    shown = text(old, new)
    assert "page data" not in shown and "measured pages" not in shown
    assert "  supported platform of mask 0x2: only in the first (tdp only)\n" in shown
    assert "only available for old: MRTD\nonly available for new: VBS boot digest, registers\n" in shown
    assert shown.endswith("\ndifferent, but the launch digest is the same")
    shown = text(old, made((4, 2), (1, 1), fill=b"b"))
    assert "measured pages: 20 of 20 differ\n  0x0 … 0x13fff  20 pages  normal\n" in shown
    assert shown.endswith("\ndifferent launch digests")


def test_pages_of_one_address_for_different_platforms_are_not_mixed_up() -> None:
    def made(*order: int, data: bytes = b"a" * 4096 + b"b" * 4096) -> bytes:
        bodies = {
            SNP: page(0x1000, block(0, 2), mask=SNP),
            TDX: page(0x1000, block(1, 2), mask=TDX),
        }
        return image(*(bodies[mask] for mask in order), data=data)

    assert diff(inspected(made(SNP, TDX)), inspected(made(TDX, SNP))).same
    found = diff(made(SNP, TDX), made(SNP, SNP)).pages
    assert found is not None and (found.count, found.compared) == (1, 2)
    other = diff(made(SNP, TDX), made(SNP, TDX, data=b"c" * 4096 + b"d" * 4096)).pages
    assert other is not None and [(run.platforms, run.bytes[0].new[:1]) for run in other.runs] == [
        (("snp",), b"c"),
        (("tdp",), b"d"),
    ]


# --- what is given ---

IMAGE = filled(ALL)
OTHER = filled(ALL, b"b")
DIGESTS = {one["platform"]: one["digest"] for one in measurements(IMAGE)}
FORMAT_1 = {"kind": "SEV-SNP launch digest", "digest": DIGESTS["snp"], "platform": "snp"}
FORMAT_2 = {"format": 2, "measurements": measurements(IMAGE), "platforms": ["snp", "tdp", "vsm"], "policy": "0x30000"}
NO_MEASUREMENTS = inspected(IMAGE)
del NO_MEASUREMENTS["files"][0]["measurements"]
PRINTED = [f"x.igvm: {one['kind']} {one['digest']}" for one in measurements(IMAGE)]
GIVEN: dict[str, tuple[Any, str]] = {
    "an image": (IMAGE, "snp tdp vsm"),
    "a statement": (statement(IMAGE), "snp tdp vsm"),
    "format 1": (FORMAT_1, "snp"),
    "format 2": (FORMAT_2, "snp tdp vsm"),
    "format 2 with the members of format 1": (FORMAT_1 | FORMAT_2, "snp tdp vsm"),
    "format 2 without SEV-SNP": (FORMAT_2 | {"measurements": measurements(IMAGE)[1:]}, "tdp vsm"),
    "inspect": (inspected(IMAGE), "snp tdp vsm"),
    "inspect of an earlier version": (NO_MEASUREMENTS, "snp"),
    "what coconut-measure prints": ("\n".join(PRINTED).encode(), "snp tdp vsm"),
    "what it prints for one": (PRINTED[1].encode(), "tdp"),
    "what diff prints": ("\n".join(text(IMAGE, OTHER).splitlines()[:3]).encode(), "snp tdp vsm"),
    "reference values": (json.dumps({"mr_td": [DIGESTS["tdp"]]}).encode(), "tdp"),
    "96 digits of a launch digest": (DIGESTS["snp"].encode(), "snp"),
    "96 digits of an MRTD": (DIGESTS["tdp"].encode(), "tdp"),
    "64 digits": (DIGESTS["vsm"].encode(), "vsm"),
    "an MRTD and a boot digest": (f"{DIGESTS['tdp']}\n{DIGESTS['vsm']}\n".encode(), "tdp vsm"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_each_form_is_known_by_the_digests_that_it_has(name: str) -> None:
    given, words = GIVEN[name]
    for other in (IMAGE, inspected(IMAGE), statement(IMAGE), FORMAT_2):
        for found in (diff(given, other), diff(other, given)):
            assert found.same and found.same_digests == dict.fromkeys(words.split(), True)
            terms = [MEASUREMENTS[word] for word in words.split()]
            assert list(found.compared[: len(terms)]) == terms
            assert not found.old.doubts and not found.new.doubts
    for changed in (OTHER, statement(OTHER)):
        same = diff(given, changed).same_digests
        assert len(same) == len(words.split()) and not any(same.values())


def test_a_digest_that_is_neither_is_said_to_be_that() -> None:
    found = diff(b"ab" * 48, IMAGE)
    assert found.same_digests == {"snp": False}
    assert found.old.doubts == ("its digest is neither launch digest nor MRTD of new",)
    # Without another platform, there is nothing to be confused.
    head = platform(TDX, 3)
    alone = igvm(head, page(0x1000, mask=TDX))
    assert diff(b"ab" * 48, alone).same_digests == {"tdp": False} and not diff(b"ab" * 48, alone).old.doubts
    assert diff(b"ab" * 48, f"MRTD: {'ab' * 48}".encode()).same


@pytest.mark.parametrize(
    "given",
    [
        f"{DIGESTS['snp']}\n{DIGESTS['tdp']}\n",  # which is which, nobody says
        f"a.igvm: launch digest {DIGESTS['snp']}\nb.igvm: MRTD {DIGESTS['tdp']}\n",
        f"a.igvm: MRTD {DIGESTS['snp']}\nb.igvm: MRTD {DIGESTS['tdp']}\n",
    ],
)
def test_digests_of_several_images_are_refused(given: str) -> None:
    with pytest.raises(UsageError) as found:
        read_side("x", given.encode())
    assert found.value.id == "several-images" and str(found.value).startswith("x: 2 launch digests; ")


def test_a_boot_digest_is_a_word_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "a.igvm").write_bytes(IMAGE)
    same = run(tmp_path, DIGESTS["vsm"], "a.igvm")
    assert (same.status, same.out.splitlines()[0]) == (
        0,
        f"{DIGESTS['vsm'][:16]}…: VBS boot digest {DIGESTS['vsm']}",
    )
    other = run(tmp_path, "ab" * 32, "a.igvm")
    assert other.status == 1 and other.out.endswith("\ndifferent VBS boot digests\n")


def test_inspect_of_an_earlier_version_has_the_pages_of_each_platform() -> None:
    old, new = side("old", NO_MEASUREMENTS), side("new", IMAGE)
    assert {word: [one[:3] for one in pages] for word, pages in old.pages.items()} == {
        word: [one[:3] for one in pages] for word, pages in new.pages.items()
    }
    assert "  0x2000 … 0x2fff  1 page  normal\n" in text(NO_MEASUREMENTS, OTHER)
    # Of what it does not show, nothing is said.
    secrets = inspected(filled(SNP | TDX, data_type=1))
    del secrets["files"][0]["directives"][1]["sha384"], secrets["files"][0]["measurements"]
    assert list(side("x", secrets).pages) == ["snp", "vsm"]


def test_what_does_not_fit_is_told_for_each_platform() -> None:
    wrong = statement(IMAGE)
    wrong["subject"][0]["digest"] |= {"tdxMrtd": "ab" * 48, "vbsBootDigest": "cd" * 32}
    assert side("x", wrong, IMAGE).doubts == (
        f"its subject has MRTD {'ab' * 48}, but its measurement has {DIGESTS['tdp']}",
        f"its subject has VBS boot digest {'cd' * 32}, but its measurement has {DIGESTS['vsm']}",
        f"the image beside it has MRTD {DIGESTS['tdp']}",
        f"the image beside it has VBS boot digest {DIGESTS['vsm']}",
    )
    pages = statement(IMAGE)
    for one in pages["predicate"]["runDetails"]["byproducts"][2:]:
        one["annotations"]["pages"].reverse()
    # Neither follows from the pages, so without the image nothing can be said.
    assert side("x", pages).doubts == ()
    assert side("x", pages, IMAGE).doubts == (
        "the recorded pages of tdp and vsm differ from those of the image beside it",
    )
    assert diff(pages, IMAGE).same is False
    large = image(page(0x1000, mask=SNP), page(0x200000, mask=TDX | VSM, flags=1))
    one = side("x", large)
    assert list(one.digests) == list(one.pages) == ["snp"]
    assert [doubt[:35] for doubt in one.doubts] == ["it has no MRTD or VBS boot digest: "]


def test_an_image_that_is_newer_is_compared_as_far_as_it_is_understood() -> None:
    def newer(fill: bytes) -> bytes:
        return image(page(0x1000, mask=ALL), header(0x3FE, fill * 24))

    old, new = newer(b"a"), newer(b"b")
    for form in FORMS[:2]:
        shown = text(form(old), form(new))
        assert "\nnote: new: at 0x98: unknown header type 0x3fe\n" in shown and "old: launch digest unknown\n" in shown
        assert "\nheaders:\n  unknown header 0x3fe: sha384 " in shown
        assert "measured" not in shown and shown.endswith("\ndifferent")
        assert diff(form(old), form(old)).same
    damaged = bytearray(IMAGE)
    damaged[20] ^= 1
    shown = text(IMAGE, bytes(damaged))
    assert "\nnote: new: at 0x14: checksum is 0x" in shown and "\nin the image:\n  in the file: from 0x14\n" in shown
    assert "only available for old: launch digest, MRTD, VBS boot digest, registers\n" in shown


def test_an_error_range_is_a_page_of_its_platforms_alone() -> None:
    assert read_page("0x8000 error range -") is not None
    found = statement(image(error_range(0x8000, 4096)))
    assert [one.kind for one in side("x", found).pages["vsm"]] == ["error range"]
    found["predicate"]["runDetails"]["byproducts"][1]["annotations"]["pages"] = ["0x8000 error range -"]
    with pytest.raises(UsageError) as wrong:
        side("x", found)
    assert wrong.value.id == "damaged-record"


def test_a_setting_of_sev_snp_explains_no_other_digest() -> None:
    old, new = statement(IMAGE), statement(OTHER)
    new["predicate"]["runDetails"]["byproducts"][1]["annotations"]["measure_native_zeroes"] = True
    assert not diff(old, new).is_explained
