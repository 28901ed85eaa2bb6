"""``doit diff``: a change of any measured byte is named, whatever is compared with what; causes; and what is refused in one line."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import forks
import pytest
from conftest import Outcome, Site, environment, has
from igvm_files import (
    GOLDEN,
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
from test_igvm_vectors import broken

from coconut_tasks.commands.candidates import CommandLine, Known, candidates
from coconut_tasks.commands.diff import DiffCommand
from coconut_tasks.compare.changes import Changes, compare
from coconut_tasks.compare.side import Side
from coconut_tasks.compare.sides import read_side
from coconut_tasks.compare.spots import spot_text, spots
from coconut_tasks.errors import UsageError
from coconut_tasks.evidence import statement as papers
from coconut_tasks.evidence.link import Link
from coconut_tasks.igvm.declared import DeclaredPlatforms
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.launch import Measured, MeasuredPage, MeasureOptions
from coconut_tasks.igvm.measure import measure, measure_all, measured_pages
from coconut_tasks.igvm.parse import parse
from coconut_tasks.igvm.platforms import MEASURED
from coconut_tasks.igvm.values import ErrorRange, PageData, ParameterInsert
from coconut_tasks.inputs.git import SourceRevision
from coconut_tasks.options import from_words
from coconut_tasks.reports.changes import changes_json, changes_text
from coconut_tasks.reports.inspect import Digests, as_json

MODE = MeasureOptions(check_id_block=False, tolerant=True)
BYTES_A_PAGE = 3


def pages_of(data: bytes, *, native: bool = False) -> dict[str, list[MeasuredPage]]:
    """The pages that each platform measures, by the recipe's word."""
    found = {}
    for word, one in measure_all(data, MODE).items():
        if not isinstance(one, IgvmError):
            found[word] = measured_pages(data, replace(MODE, native_zero=native), MEASURED[word])
    return found


def measurements(data: bytes, *, native: bool = False) -> list[dict[str, str]]:
    """As ``.launch-digest.json`` and ``inspect --json`` have them, without the platforms that cannot be measured."""
    return [
        {"platform": word, "kind": one.platform.kind, "algorithm": one.platform.algorithm, "digest": one.digest.hex()}
        for word, one in measure_all(data, replace(MODE, native_zero=native)).items()
        if not isinstance(one, IgvmError)
    ]


def measurable(data: bytes) -> bool:
    try:
        return bool(measured_pages(data, MODE))
    except IgvmError:
        return False


IMAGES = sorted(path.name for path in GOLDEN.glob("*.igvm") if measurable(path.read_bytes()))


def digest_of(data: bytes, *, native: bool = False) -> str:
    return measure(data, MeasureOptions(native_zero=native, check_id_block=False, tolerant=True)).digest.hex()


def inspected(data: bytes) -> Any:
    """What ``doit inspect --json`` prints."""
    file, declared = parse(data, lenient=True), DeclaredPlatforms()
    for one in file.headers():
        declared.see(one)
    found: Mapping[str, Measured | IgvmError]
    try:
        found = measure_all(data, MODE)
    except IgvmError as error:
        found = dict.fromkeys(sorted(declared.words), error)
    digests = [
        Digests(wrong=str(measured), platform=MEASURED[word])
        if isinstance(measured, IgvmError)
        else Digests(
            measured.digest.hex(), digest_of(data, native=True) if word == "snp" else "", platform=MEASURED[word]
        )
        for word, measured in found.items()
    ]
    return {"format": 1, "files": [json.loads("".join(as_json("x.igvm", file, *digests)))]}


def statement(data: bytes, *, native: bool = False, **measurement: Any) -> Any:
    """The provenance statement of an image, as a build writes it."""
    settings = {"platform": "snp", "policy": "0x30000", "check_kvm": True, "measure_native_zeroes": native}
    svsm = "bin/.coconut/parts/svsm-fd6d0642e6cf/svsm"
    materials = {"src/main.rs": "sha256:ab", "src/lib.rs": "sha256:cd", "src/unknown.rs": None}
    command = {"argv": ["cargo", "build", "--features", "vtpm"], "env": {"X": "1"}}
    rustc = "rustc 1.95.0\nbinary: rustc\nhost: x"
    environment = {"CARGO_HOME": "/c", "E": None}
    links = [
        Link("kernel:svsm", [command], environment, {"rustc": rustc}, materials, {svsm: "sha256:ef"}, []),
        Link("igvm:qemu", [{"argv": ["b", f"../{svsm}"], "env": {}}], {}, {}, {svsm: "sha256:ef"}, {}, []),
    ]
    written = papers.statement(
        papers.ImageBuild(
            image="q.igvm",
            sha256=sha256(data).hexdigest(),
            recipe="config/qemu.json",
            recipe_sha256="0" * 64,
            content={"igvm": {"qemu": {"check-kvm": True}}, "kernel": {"svsm": {"features": "vtpm"}}},
            target="qemu",
            options={"FEATURES": "a"},
            links=links,
            builder={"coconut-tasks": "1"},
            tools=[papers.Tool("rustc", rustc, rustc)],
            source=SourceRevision("1" * 40),
            measurement={**settings, "measurements": measurements(data, native=native)},
            measurement_sha256="2" * 64,
            pages={
                word: [
                    f"{one.gpa:#x} {one.kind} {one.content or '-'}"
                    + (f" kernel:svsm+{i * 4096:#x}" if one.file_offset else "")
                    for i, one in enumerate(pages)
                ]
                for word, pages in pages_of(data, native=native).items()
            },
        )
    )
    found = json.loads(written)
    for one in found["predicate"]["runDetails"]["byproducts"]:
        if one["annotations"].get("platform") == "snp":
            one["annotations"] |= measurement
    return found


def dependency(name: str, kind: str, digest: str = "", **notes: str) -> dict[str, Any]:
    annotations = {"kind": kind, "steps": ["kernel:svsm"], **notes}
    return {"name": name, **({"digest": {"sha256": digest}} if digest else {}), "annotations": annotations}


def side(name: str, content: Any, beside: bytes | None = None) -> Side:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read_side(name, data, lambda asked: beside if asked == "q.igvm" else None)


def diff(old: Any, new: Any) -> Changes:
    return compare(side("old", old), side("new", new))


def text(old: Any, new: Any) -> str:
    return "\n".join(changes_text(diff(old, new)))


# --- every page ---


def changed_anywhere(data: bytes, one: MeasuredPage, chance: random.Random) -> tuple[bytes, int | None]:
    """The image with another byte in a page, and where in it. A page whose content does not count gets another address."""
    offset = chance.randrange(4096)
    content = bytearray(data)
    if one.file_offset:
        content[one.file_offset + offset] ^= 1 << chance.randrange(8)
        return bytes(content), offset
    places = [
        place
        for place in parse(data).headers()
        if (isinstance(place, PageData) and place.gpa == one.gpa)
        or (isinstance(place, ParameterInsert | ErrorRange) and place.gpa <= one.gpa)
    ]
    place = max(places, key=lambda place: place.gpa)
    if one.content:  # a page without data: it gets some
        assert isinstance(place, PageData)
        struct.pack_into("<I", content, place.offset + 20, len(content))
        more = bytearray(4096)
        more[offset] = 1 << chance.randrange(8)
        content += more
        struct.pack_into("<I", content, 16, len(content))
        return with_checksum(content), offset
    known = {other.gpa for pages in pages_of(data).values() for other in pages}
    free = next(gpa for gpa in range(one.gpa + 0x10_0000, 1 << 64, 0x1000) if gpa not in known)
    struct.pack_into("<Q", content, place.offset + 8, free)
    return with_checksum(content), None


def addresses(before: list[MeasuredPage], after: list[MeasuredPage]) -> set[int]:
    """Of the pages that only one has."""
    old, new = (Counter(page[:3] for page in pages) for pages in (before, after))
    return {gpa for gpa, _, _ in (old - new) + (new - old)}


def check_each_page(data: bytes) -> int:
    """How many changes were tried."""
    chance, tried = random.Random(len(data)), 0
    before = {
        "igvm": side("old", data),
        "inspect": side("old", inspected(data)),
        "statement": side("old", statement(data)),
        "with image": side("old", statement(data), data),
    }
    pages = pages_of(data)
    for one in {one[:3]: one for some in pages.values() for one in some}.values():
        for _ in range(BYTES_A_PAGE):
            changed, offset = changed_anywhere(data, one, chance)
            gpas = {word: addresses(pages[word], others) for word, others in pages_of(changed).items()}
            touched = set().union(*gpas.values())
            assert one.gpa in touched and gpas.keys() == pages.keys()
            after = {
                "igvm": side("new", changed),
                "inspect": side("new", inspected(changed)),
                "statement": side("new", statement(changed)),
                "with image": side("new", statement(changed), changed),
            }
            for form, old in before.items():
                found = compare(old, after[form])
                shown = "\n".join(changes_text(found))
                assert not found.same and found.same_digests == {word: not some for word, some in gpas.items()}, form
                assert found.pages is not None and found.pages.addresses() == touched, form
                assert {word: found.pages.addresses(word) for word in gpas} == gpas, form
                assert f"  {one.gpa:#x} … " in shown or len(touched) > 1, shown
                assert old.doubts == after[form].doubts, form
                firsts = {first.page: first.offset for run in found.pages.runs for first in run.bytes}
                if offset is None or form in ("inspect", "statement"):
                    assert not firsts
                else:
                    assert firsts.keys() == touched, form
                    assert firsts[one.gpa] == offset
                    assert f"from {one.gpa + offset:#x}, byte {offset:#x} of the page: " in shown
            tried += 1
    return tried


@pytest.mark.parametrize("name", IMAGES)
def test_another_byte_in_any_measured_page_is_named(name: str) -> None:
    assert check_each_page((GOLDEN / name).read_bytes()) >= BYTES_A_PAGE


def error_range(gpa: int, size: int, mask: int = VSM) -> bytes:
    return header(0x30D, struct.pack("<QII", gpa, mask, size))


def random_image(seed: int) -> bytes:
    """Pages of all kinds for three platforms; some share their data, as igvmbuilder stores equal pages once."""
    chance = random.Random(seed)
    gpas = chance.sample(range(1, 1 << 20), 17)
    heads = [platform(), platform(TDX, 3), platform(VSM, 1), area(0, 8192)]
    start = data_at(*heads, *[page(0)] * 14, insert(0, 0), error_range(0, 0), vp_context(0, 0))
    places = [0, *(start + i * 4096 for i in range(8))]
    bodies = [
        page(gpa << 16, chance.choice(places), chance.choice([0, 0, 0, 2, 4]), chance.choice(KINDS[mask]), mask)
        for gpa, mask in zip(gpas, chance.choices(list(KINDS), k=14), strict=False)
    ]
    bodies.insert(chance.randrange(14), insert(0, gpas[14] << 16, chance.choice(list(KINDS))))
    bodies.insert(chance.randrange(14), error_range(gpas[16] << 16, 5000))
    return igvm(*heads, *bodies, vp_context(gpas[15] << 16, start + 8 * 4096), data=chance.randbytes(9 * 4096))


KINDS = {
    SNP: [0, 0, 0, 1, 2],
    TDX: [0, 0, 0, 1, 2],
    VSM: [0],
    SNP | TDX: [0, 0, 0, 1, 2],
    SNP | VSM: [0],
    SNP | TDX | VSM: [0],
}
"""Masks, with the page data types that all of their platforms measure."""


@pytest.mark.parametrize("seed", range(8))
def test_another_byte_in_any_page_of_a_random_image_is_named(seed: int) -> None:
    assert check_each_page(random_image(seed)) >= 6 * BYTES_A_PAGE


@pytest.mark.parametrize("name", [*IMAGES, 1, 2, 3])
@pytest.mark.parametrize("native", [False, True])
def test_the_pages_are_those_that_are_measured_whatever_shows_the_image(name: str | int, native: bool) -> None:
    data = (GOLDEN / name).read_bytes() if isinstance(name, str) else random_image(name)
    sides = [
        side("a", data),
        side("b", inspected(data)),
        side("c", json.loads(json.dumps(inspected(data)), parse_int=float)),
    ]
    if native:
        sides = [one.as_native_zero() for one in sides] + [
            side("d", statement(data, native=True, policy=(sides[0].settings or {}).get("policy")))
        ]
    measured = {word: [one[:3] for one in pages] for word, pages in pages_of(data, native=native).items()}
    digests = {one["platform"]: one["digest"] for one in measurements(data, native=native)}
    for one in sides:
        assert {word: [page[:3] for page in pages] for word, pages in one.pages.items()} == measured
        assert one.digests == digests
    assert all(compare(sides[0], other).same for other in sides[1:])


def test_the_sample(site: Site) -> None:
    site.build(site.recipe())
    place = site.bin / "q.igvm"
    data = place.read_bytes()
    assert check_each_page(data) > 100
    written = json.loads(place.with_name("q.igvm.launch-digest.json").read_text())
    assert compare(side("a", data), side("b", written)).same
    (site.folder / "old.igvm").write_bytes(data)
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(f'{main.read_text()}\n#[used]\nstatic MORE: &[u8; 24] = b"something else is in it\\0";\n')
    site.build(site.recipe())
    outcome = site.run([sys.executable, "-m", "doit", "diff", "old.igvm", "bin/q.igvm"])
    assert outcome.status == 1
    assert [line.rpartition(" ")[0] for line in outcome.out.splitlines()[:4]] == [
        "old.igvm:   launch digest",
        "old.igvm:   MRTD",
        "bin/q.igvm: launch digest",
        "bin/q.igvm: MRTD",
    ]
    assert outcome.out.endswith("different launch digests and MRTDs\n")
    assert "measured pages: " in outcome.out


# --- pages ---


def image(*pages: bytes, data: bytes = bytes(4096), first: bytes = b"") -> bytes:
    return igvm(platform(), first, *pages, data=data)


def start_of(count: int, first: bytes = b"") -> int:
    return data_at(platform(), first, *[page(0)] * count)


def test_neighbours_that_changed_alike_are_one_line() -> None:
    gpas = [0x1000, 0x2000, 0x3000, 0x5000]
    old, new = (
        image(*(page(gpa, start_of(4) + i * 4096) for i, gpa in enumerate(gpas)), data=fill * 4096 * 4)
        for fill in (b"a", b"b")
    )
    shown = text(statement(old), statement(new)).splitlines()
    assert "measured pages: 4 of 4 differ" in shown
    assert "  0x1000 … 0x3fff  3 pages  normal  kernel:svsm from 0x0" in shown
    assert "  0x5000 … 0x5fff  1 page  normal  kernel:svsm from 0x3000" in shown
    assert text(old, new).count("of the page: ") == 4
    assert f'    from 0x1000, byte 0x0 of the page: "{"a" * 32}…" → "{"b" * 32}…"' in text(old, new)


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (b"\x00\x07", b"\x01\x07", "00 07 61 61 61 61 61 61 → 01 07 61 61 61 61 61 61"),
        (b"\x00", b"x", '"starts_with(TPM)" → "starts_with(TPM)xaaa'),
    ],
)
def test_what_is_shown_of_a_page_has_the_first_byte_that_differs(before: bytes, after: bytes, shown: str) -> None:
    old, new = (
        image(page(0x1000, start_of(1)), data=(b"starts_with(TPM)" + byte).ljust(4096, b"a"))
        for byte in (before, after)
    )
    assert f"    from 0x1010, byte 0x10 of the page: {shown}" in text(old, new)
    (spot,) = spots(b"starts_with(TPM)" + before, b"starts_with(TPM)" + after)
    one, other = spot_text(spot, ("old", "new"))[1:]
    assert one.split(maxsplit=1)[1] != other.split(maxsplit=1)[1]


def test_pages_of_another_part_or_elsewhere_in_it_begin_a_line_of_their_own() -> None:
    parts = [" a+0x0", " a+0x1000", " a+0x5000", " b+0x6000"]
    old, new, bare = (
        statement(DATA, pages=[f"{0x1000 * i:#x} normal {digits * 48}{part}" for i, part in enumerate(names)])
        for digits, names in (("ab", parts), ("cd", parts), ("cd", [""] * 4))
    )
    for pair in ((old, new), (old, bare), (bare, old)):
        found = diff(*pair).pages
        assert found is not None
        assert [(run.pages, run.part, run.offset) for run in found.runs] == [
            (2, "a", 0),
            (1, "a", 0x5000),
            (1, "b", 0x6000),
        ]


def test_pages_that_are_new_gone_of_another_kind_or_elsewhere_in_the_order() -> None:
    plain = image(page(0x1000), page(0x2000))
    assert "  0x2000 … 0x2fff  1 page  normal  only in old\n" in text(plain, image(page(0x1000)))
    assert "  0x3000 … 0x3fff  1 page  normal  only in new\n" in text(
        plain, image(page(0x1000), page(0x2000), page(0x3000))
    )
    assert "  0x2000 … 0x2fff  1 page  normal → unmeasured\n" in text(plain, image(page(0x1000), page(0x2000, flags=2)))
    turned = text(plain, image(page(0x2000), page(0x1000)))
    assert "different order from page 1 on: 0x1000 → 0x2000\n" in turned
    assert turned.endswith("\ndifferent launch digests")


def test_pages_of_one_address_are_told_apart_by_their_kind() -> None:
    old, new = (image(page(0x1000, flags=2), page(0x1000, start_of(2)), data=fill * 4096) for fill in (b"a", b"b"))
    (run,) = diff(old, new).pages.runs  # type: ignore[union-attr]
    assert (run.how, run.kinds, run.pages) == ("content", ("normal", "normal"), 1)
    turned = image(page(0x1000, start_of(2)), page(0x1000, flags=2), data=b"b" * 4096)
    found = diff(old, turned).pages
    assert found is not None and found.moved is not None
    assert [(run.how, run.kinds) for run in found.runs] == [("content", ("normal", "normal"))]


def test_a_page_is_told_once_and_where_its_bytes_are_in_the_file_not_at_all() -> None:
    gone = image(page(0x1000), page(0x2000))
    assert diff(gone, image(page(0x1000))).sections == {}
    elsewhere = image(page(0x1000, start_of(1) + 4096), data=b"z" * 4096 + b"a" * 4096)
    found = diff(DATA, elsewhere)
    assert found.sections == {} and found.same_digest and found.same_bytes is False


def test_many_runs_and_pages_are_cut_short_in_the_text_alone() -> None:
    gpas = [0x2000 * i for i in range(60)]
    old, new = (
        image(*(page(gpa, start_of(60) + i * 4096) for i, gpa in enumerate(gpas)), data=fill * 4096 * 60)
        for fill in (b"a", b"b")
    )
    assert "  … and 20 more places; --json has all" in text(old, new)
    assert len(changes_json(diff(old, new))["pages"]["runs"]) == 60


def test_what_no_digest_counts_is_told_as_that() -> None:
    policy = [header(0x101, struct.pack("<QII", value, SNP, 0)) for value in (0x30000, 0xB0000)]
    old, new = (image(page(0x1000), first=one) for one in policy)
    shown = text(old, new)
    assert '  policy: "0x30000" → "0xb0000" (not part of the launch digest: it is in the attestation report)\n' in shown
    assert shown.endswith("\ndifferent, but the launch digest is the same")
    secret = [image(page(0x1000, start_of(1), data_type=1), data=fill * 4096) for fill in (b"a", b"b")]
    assert "  page data 0x1000: sha384 " in text(*secret)
    assert text(*secret).endswith("but the launch digest is the same")
    rest = [image(page(0x1000), data=fill * 4096) for fill in (b"a", b"b")]
    assert "in the image, but not measured:\n" in text(*rest)
    assert "but the launch digest is the same" in text(*rest)
    assert diff(inspected(rest[0]), inspected(rest[1])).same  # it shows nothing of them


def test_images_that_nobody_measures_are_compared_by_the_pages_of_all_platforms() -> None:
    head = platform(8, 0)
    at = data_at(head, page(0))
    old, new = (igvm(head, page(0x1000, at, mask=8), data=fill * 4096) for fill in (b"a", b"b"))
    for a, b in ((old, new), (inspected(old), inspected(new)), (old, inspected(new))):
        shown = text(a, b)
        assert "old: launch digest unknown\n" in shown
        assert "pages: 1 of 1 differ\n  0x1000 … 0x1fff  1 page  normal mask 0x8\n" in shown
        assert shown.endswith("\ndifferent")
    snp = igvm(platform(), page(0x1000, data_at(platform(), page(0))), data=b"a" * 4096)
    assert not diff(old, snp).same
    flags = igvm(head, page(0x1000, at, mask=8, flags=4), data=b"a" * 4096)
    assert "\n  0x1000 … 0x1fff  1 page  normal mask 0x8 → normal shared mask 0x8\n" in text(old, flags)
    broken_flags = inspected(flags)
    broken_flags["files"][0]["directives"][0]["flag_names"] = True
    assert not diff(old, broken_flags).same


def test_how_a_header_is_measured_is_no_change_of_it() -> None:
    """A platform more is one, and the headers that it takes as well are the same."""
    range_of_both = header(0x30D, struct.pack("<QII", 0x1000, SNP | TDX, 12))
    old, new = (igvm(*heads, range_of_both) for heads in ((platform(),), (platform(), platform(TDX, 3))))
    for a, b in ((old, new), (inspected(old), inspected(new))):
        assert "supported platform" in text(a, b) and "error range" not in text(a, b)


def test_parameter_areas_and_processors_count_as_pages() -> None:
    def with_area(size: int, vmsa: bytes) -> bytes:
        heads = platform(), area(0, size), insert(0, 0x8000)
        context = vp_context(0x1000, data_at(*heads, vp_context(0, 0)))
        return igvm(*heads, context, data=vmsa * 4096)

    for form in (lambda data: data, inspected, statement):
        found = diff(form(with_area(4096, b"a")), form(with_area(12288, b"b")))
        assert [(run.gpa, run.pages, run.kinds[1]) for run in found.pages.runs] == [  # type: ignore[union-attr]
            (0x1000, 1, "vmsa"),
            (0x9000, 2, "unmeasured"),
        ]


def test_where_digests_differ_a_page_does() -> None:
    chance, differed = random.Random(11), Counter[str]()
    images = [(GOLDEN / name).read_bytes() for name in IMAGES] + list(map(random_image, range(8)))
    for _ in range(3000):
        data = chance.choice(images)
        other = broken(data, chance)
        try:
            new = side("new", other)
        except UsageError as error:
            assert len(str(error).splitlines()) == 1
            continue
        found = compare(side("old", data), new)
        assert changes_text(found) and json.dumps(changes_json(found))
        assert found.same == (data == other)
        for word in found.other_digests:
            differed[word] += 1
            assert found.pages is not None
            assert found.pages.differ_for(word) or (word == "vsm" and "registers" in found.sections)
    assert min(differed[word] for word in MEASURED) > 80, differed


# --- settings ---


def test_native_zero_pages_of_one_alone_are_no_change_of_the_image() -> None:
    data = image(page(0x1000), page(0x2000, start_of(2)), data=b"a" * 4096)
    shown = text(statement(data), statement(data, native=True))
    assert "  measure_native_zeroes: false → true (this alone changes the launch digest)\n" in shown
    assert "1 without data are measured differently, because of measure_native_zeroes\n" in shown
    assert "the images have the same pages; the digests differ only because of measure_native_zeroes\n" in shown
    assert "differ\n" not in shown


def test_an_image_is_measured_as_the_other_side_was() -> None:
    data = image(page(0x1000))
    measurement = {
        "kind": "SEV-SNP launch digest",
        "digest": digest_of(data, native=True),
        "measure_native_zeroes": True,
    }
    for one in (data, inspected(data)):
        assert diff(one, statement(data, native=True)).same
        assert diff(measurement, one).same
    assert not diff({**measurement, "measure_native_zeroes": False}, data).same


def test_settings_of_measurements() -> None:
    old = {"kind": "SEV-SNP launch digest", "digest": "ab" * 48, "policy": "0x30000", "check_kvm": True}
    new = old | {"policy": "0x030000", "check_kvm": False, "platforms": ["snp"]}
    shown = text(old, new)
    assert "launch settings:\n  check_kvm: true → false (it does not change the launch digest)\n" in shown
    assert "policy" not in shown
    assert diff(old, old | {"policy": 196608.0}).same
    assert '  target: "qemu" → "hyper-v"\n' in text(old | {"target": "qemu"}, old | {"target": "hyper-v"})
    assert "cause unknown: old is a launch measurement" in text(old, old | {"digest": "cd" * 48})


# --- causes ---

Edit = Callable[[Any], object]
DATA = image(page(0x1000, start_of(1)), data=b"a" * 4096)
OTHER = image(page(0x1000, start_of(1)), data=b"b" * 4096)


def definition(value: Any) -> Any:
    return value["predicate"]["buildDefinition"]


def recipe(value: Any) -> Any:
    return definition(value)["externalParameters"]["recipe"]["content"]


def dependencies(value: Any) -> Any:
    return definition(value)["resolvedDependencies"]


def step(value: Any) -> Any:
    return definition(value)["internalParameters"]["steps"][0]


CAUSES: list[tuple[Edit, str]] = [
    (
        lambda v: recipe(v)["kernel"]["svsm"].update(features="vtpm,x"),
        'recipe:\n  /kernel/svsm/features: "vtpm" → "vtpm,x"\n',
    ),
    (lambda v: recipe(v).update(fs={"modules": {}}), 'recipe:\n  /fs: (absent) → {"modules": {}}\n'),
    (lambda v: recipe(v)["igvm"]["qemu"].update({"check-kvm": 1}), "  /igvm/qemu/check-kvm: true → 1\n"),
    (lambda v: definition(v)["externalParameters"].update(target="hyper-v"), '  target: "qemu" → "hyper-v"\n'),
    (lambda v: definition(v)["externalParameters"].update(options={}), 'options:\n  FEATURES: "a" → not set\n'),
    (
        lambda v: dependencies(v)[0]["digest"].update(gitCommit="2" * 40),
        f"source tree:\n  commit: {'1' * 40} → {'2' * 40}\n",
    ),
    (
        lambda v: dependencies(v)[0]["annotations"].update(modified=["a.rs"], diff="sha256:1"),
        "  modified files: none → a.rs\n",
    ),
    (
        lambda v: dependencies(v)[2]["annotations"].update(version="rustc 1.95.0\nbinary: rustc\nhost: y"),
        "tools:\n  rustc: host: x → host: y (kernel:svsm)\n",
    ),
    (
        lambda v: step(v)["commands"][0].update(argv=["cargo", "build", "--features", "vtpm,x"]),
        "commands:\n  kernel:svsm: --features 'vtpm' → 'vtpm,x'\n",
    ),
    (lambda v: step(v)["commands"][0].update(env={"X": "2"}), "commands:\n  kernel:svsm: 'X=1' → 'X=2'\n"),
    (
        lambda v: step(v).update(environment={"E": "1"}),
        'environment:\n  CARGO_HOME: "/c" → not set (kernel:svsm)\n  E: not set → "1"',
    ),
    (lambda v: dependencies(v)[3]["digest"].update(sha256="ff"), "input files:\n  src/main.rs changed (kernel:svsm)\n"),
    (lambda v: dependencies(v)[3].update(executable=True), "input files:\n  src/main.rs changed (kernel:svsm)\n"),
    (lambda v: dependencies(v).pop(3), "input files:\n  src/main.rs removed (kernel:svsm)\n"),
    (lambda v: dependencies(v).append(dependency("n.rs", "file", "1")), "input files:\n  n.rs added (kernel:svsm)\n"),
]


@pytest.mark.parametrize(("edit", "told"), CAUSES)
def test_a_cause_is_told_before_what_it_leads_to(edit: Edit, told: str) -> None:
    old, new = statement(DATA), statement(OTHER)
    edit(new)
    found = text(old, new)
    assert told in found
    assert found.index(told) < found.index("measured pages: ")
    assert "cause unknown" not in found
    assert changes_json(diff(old, new))["explained"] is True
    assert diff(old, old).same


UNEXPLAINED: list[Edit] = [
    lambda v: None,
    # What follows from something else, or changes no byte, explains nothing.
    lambda v: definition(v)["internalParameters"]["steps"][1]["commands"][0]["argv"].__setitem__(
        1, "../bin/.coconut/parts/svsm-000000000000/svsm"
    ),
    lambda v: dependencies(v)[1]["digest"].update(sha256="1" * 64),
    lambda v: dependencies(v)[5].update(digest={"sha256": "12"}),
    lambda v: v["predicate"]["runDetails"]["byproducts"][0]["digest"].update(sha256="12"),
    lambda v: v["predicate"]["runDetails"]["byproducts"][1]["annotations"].update(policy="0x1"),
]


@pytest.mark.parametrize("edit", UNEXPLAINED)
def test_a_change_without_a_cause_on_record_is_told_as_that(edit: Edit) -> None:
    old, new = statement(DATA), statement(OTHER)
    edit(new)
    assert text(old, new).endswith(
        "\ncause unknown: no recorded change explains the difference\ndifferent launch digests"
    )
    assert changes_json(diff(old, new))["explained"] is False


def test_tools_are_compared_step_by_step_where_a_build_has_several_versions() -> None:
    def with_tools(**versions: str) -> Any:
        found = statement(DATA)
        tools = [
            {"name": "rustc", "annotations": {"kind": "tool", "version": version, "steps": [name]}}
            for name, version in versions.items()
        ]
        dependencies(found)[2:3] = tools
        return found

    def told(old: Any, new: Any) -> list[tuple[str, tuple[str, ...]]]:
        return [(change.told, change.steps) for change in diff(old, new).sections.get("tools", ())]

    assert told(with_tools(a="1", b="1"), with_tools(a="2", b="2")) == [("1 → 2", ("a", "b"))]
    assert told(with_tools(a="1", b="2"), with_tools(a="1", b="3")) == [("2 → 3", ("b",))]
    assert told(with_tools(a="1", b="2"), with_tools(a="2", b="1")) == [("1 → 2", ("a",)), ("2 → 1", ("b",))]
    assert told(with_tools(a="1"), with_tools(b="1")) == []
    other = with_tools(a="1")
    dependencies(other)[2]["name"] = "cc"
    assert told(with_tools(a="1"), other) == [("only in the first", ("a",)), ("only in the second", ("a",))]


def test_a_step_of_one_build_alone_and_a_variable_that_is_not_set() -> None:
    old, new = statement(DATA), statement(DATA)
    definition(new)["internalParameters"]["steps"].append({"name": "fs:image", "commands": [], "environment": {}})
    assert "commands:\n  fs:image: only in the second\n" in text(old, new)
    new = statement(DATA)
    del step(new)["environment"]["E"]
    assert diff(old, new).same


def test_other_changes_of_the_same_files_are_told() -> None:
    old, new = statement(DATA), statement(DATA)
    for one, digest in ((old, "sha256:1"), (new, "sha256:2")):
        dependencies(one)[0]["annotations"].update(modified=["a.rs"], diff=digest)
    assert "source tree:\n  modified files: other changes in a.rs\n" in text(old, new)


def test_steps_of_a_run_with_several_recipes_are_the_same_steps() -> None:
    old, new = statement(DATA), statement(DATA)
    step(new)["name"] = "kernel:svsm@qemu"
    assert diff(old, new).same


def test_only_the_text_of_a_recipe_and_a_part_that_changed() -> None:
    old, new = statement(DATA), statement(DATA)
    dependencies(new)[1]["digest"]["sha256"] = "1" * 64
    shown = text(old, new)
    assert "recipe:\n  config/qemu.json: only its text changed, none of its fields\n" in shown
    assert shown.endswith("\ndifferent, but the launch digest is the same")
    new = statement(DATA)
    new["predicate"]["runDetails"]["byproducts"][0]["digest"]["sha256"] = "12"
    assert "parts:\n  kernel:svsm: sha256:ef → sha256:12\n" in text(old, new)


def test_a_long_list_is_cut_short_in_the_text_alone() -> None:
    old, new = statement(DATA), statement(DATA)
    dependencies(new).extend(dependency(f"{i:02}.rs", "file", "1") for i in range(30))
    assert "  … and 20 more; --json has all" in text(old, new)
    assert len(changes_json(diff(old, new))["changes"]["files"]) == 30


def test_what_only_one_side_knows_is_said() -> None:
    shown = text(DATA, statement(OTHER))
    assert "only available for new: recipe, options, source tree, tools, commands, " in shown
    assert "cause unknown: old is an IGVM file; compare the .provenance.json " in shown


def test_statements_of_other_builders_are_read_as_far_as_they_go() -> None:
    bare = {
        "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{"name": "x", "digest": {"sha256": "ab" * 32}}],
        "predicate": {
            "buildDefinition": {
                "buildType": "https://example.org/t",
                "externalParameters": {"recipe": "a text"},
                "resolvedDependencies": [{"uri": "git+https://example.org", "digest": {"sha1": "1"}}],
            }
        },
    }
    other = json.loads(json.dumps(bare).replace('"sha1": "1"', '"sha1": "2"'))
    assert "input files:\n  git+https://example.org changed\n" in text(bare, other)
    assert "note: old: its build type is https://example.org/t, so options and commands are unknown\n" in text(
        bare, other
    )
    assert diff({"predicateType": "https://slsa.dev/provenance/v1", "subject": bare["subject"]}, bare).same


# --- what does not fit together ---


def test_a_statement_that_does_not_fit_itself_or_its_image_is_told() -> None:
    wrong = statement(DATA)
    wrong["subject"][0]["digest"]["sevSnpLaunchDigest"] = "ab" * 48
    notes = side("x", wrong, DATA).doubts
    assert [note.split(" ")[0:4] for note in notes] == [
        ["its", "subject", "has", "launch"],
        ["its", "launch", "digest", "does"],
        ["the", "image", "beside", "it"],
    ]
    pages = statement(DATA, pages=statement(OTHER)["predicate"]["runDetails"]["byproducts"][1]["annotations"]["pages"])
    assert "the recorded pages differ from those of the image beside it" in side("x", pages, DATA).doubts
    # The image is what it is, whatever is said of it.
    found = compare(side("x", pages, DATA), side("y", DATA))
    assert found.pages is not None and not found.pages.any
    shown = inspected(DATA)
    shown["files"][0]["launch_digest"]["digest"] = "ab" * 48
    assert side("x", shown).doubts == ("its launch digest does not match its pages",)


def test_an_image_beside_a_statement_is_taken_only_if_it_is_the_one() -> None:
    assert side("x", statement(DATA), DATA).data == DATA
    assert side("x", statement(DATA), OTHER).data is None
    asked: list[str] = []

    def beside(name: str) -> bytes:
        asked.append(name)
        return DATA

    for name in ("../q.igvm", "/etc/q.igvm", "..", "", "a\0b"):
        evil = statement(DATA)
        evil["subject"][0]["name"] = name
        assert read_side("x", json.dumps(evil).encode(), beside).data is None
    assert asked == []


# --- what is refused ---


def at(path: str, value: Any) -> Any:
    """A statement with a value in a place where it does not belong."""
    found = inner = statement(DATA)
    *names, last = path.split("/")
    for name in names:
        inner = inner[int(name) if name.isdigit() else name]
    inner[int(last) if last.isdigit() else last] = value
    return found


def hostile() -> Iterator[tuple[str, str, bytes]]:
    """Files that cannot be compared, each with the ID of what is said and pieces of it: the place and the value found first."""
    yield "not-comparable", "…'inspect --json ", b"hello"
    digest = "ab" * 48
    yield "not-comparable", "95 hex digits", digest[1:].encode()
    yield "not-comparable", "47 raw bytes", b"\xff" * 47
    yield "several-images", "2 ", f"{digest}\n{digest[::-1]}".encode()
    yield "not-comparable", "", b"[1]"
    yield "not-comparable", "", b""
    yield "not-comparable", "", b'{"a": 1}'
    yield "damaged-record", "…line 1 column 7", b'{"a": '
    yield "damaged-record", "…0xff", b'{"a": "\xff"}'
    yield "damaged-record", "…5000 digits", b'{"a": ' + b"1" * 5000 + b"}"
    yield "too-deep", "… 100 ", b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}"
    yield "too-deep", "… 100 ", b'{"a": ' + b"[" * 100_000
    yield "too-large", "… 64 MiB", b"{" + b" " * (64 << 20)
    yield "igvm-cut-off", "at 0x10: … 0 bytes; … 45", b"IGVM\x09" + bytes(40)  # of another version, but not whole
    yield "other-format", "… 2… 1", b'{"format": 2, "files": []}'
    yield "several-images", "… 0 ", b'{"format": 1, "files": []}'
    inspect = inspected(DATA)
    for section, value, said in (
        ("directives", 5, ": 5 … a list"),
        ("directives", [5], "/0: 5 … an object"),
        (
            "directives",
            [{"type": "page data", "compatibility_mask": "0xzz"}],
            "/0/compatibility_mask: '0xzz' … a number",
        ),
        (
            "directives",
            [{"type": "page data", "compatibility_mask": float("inf")}],
            "/0/compatibility_mask: Infinity … a number",
        ),
        ("directives", [{"type": "page data", "compatibility_mask": 1, "flags": 1}], "/0: … a page"),
        ("launch_digest", {"digest": "ab"}, "/digest: 'ab' … 96 hex digits"),
    ):
        content = {"format": 1, "files": [inspect["files"][0] | {section: value}]}
        yield "damaged-record", f"/files/0/{section}{said}", json.dumps(content).encode()
    large = [
        {"type": "parameter area", "parameter_area_index": 0, "number_of_bytes": 1e300},
        {"type": "parameter insert", "compatibility_mask": "0x1", "gpa": "0x0", "parameter_area_index": 0},
    ]
    yield (
        "damaged-record",
        "/files/0/directives/1: … 262144 pages",
        json.dumps({"format": 1, "files": [inspect["files"][0] | {"directives": large}]}).encode(),
    )
    product = "predicate/runDetails/byproducts/1/annotations"
    for path, wrong, said in (
        ("predicate", [], ": [] … an object"),
        ("predicate/buildDefinition/resolvedDependencies", {}, ": {} … a list"),
        ("predicate/buildDefinition/resolvedDependencies/0/name", 5, ": 5 … a string"),
        ("predicate/buildDefinition/externalParameters/recipe/content", "x", ": 'x' … an object"),
        ("predicate/buildDefinition/internalParameters/steps/0/commands/0/argv", [1], "/0: 1 … a string"),
        ("subject/0/digest/sevSnpLaunchDigest", "x", ": 'x' … 96 hex digits"),
        (f"{product}/pages", ["0x1000 normal"], "/0: '0x1000 normal' … '0x1000 normal SHA384 "),
        (f"{product}/pages", ["0x1000 large -"], "/0: '0x1000 large -' … a page"),
        (f"{product}/check_kvm", "yes", ": 'yes' … a boolean"),
    ):
        yield "damaged-record", f"/{path}{said}", json.dumps(at(path, wrong)).encode()
    vulns = "https://in-toto.io/attestation/vulns"
    yield "not-comparable", f"… {vulns}… SLSA provenance v1", json.dumps(at("predicateType", vulns)).encode()


def test_hostile_files_end_in_one_line() -> None:
    for id, said, data in hostile():
        with pytest.raises(UsageError) as found:
            read_side("x", data)
        (line,) = str(found.value).splitlines()
        assert found.value.id == id
        assert line.startswith("x: ") and has(line, f"x: {said}"), line


def test_statements_that_are_broken_at_random_end_in_one_line_or_an_answer() -> None:
    chance = random.Random(5)
    seeds = [json.dumps(statement(DATA)), json.dumps(inspected(DATA))]
    values = ["5", "null", "[]", "{}", '"x"', "true", "1e400", '{"a": null}', "-1"]
    refused = 0
    for _ in range(1500):
        seed = chance.choice(seeds)
        places = [i for i, c in enumerate(seed) if c in ":,["]
        place = chance.choice(places) + 1
        end = chance.choice([i for i in range(place, min(place + 300, len(seed))) if seed[i] in ",]}"] or [place])
        data = (seed[:place] + chance.choice(values) + seed[end:]).encode()
        try:
            one = read_side("x", data)
            json.dumps(changes_json(found := compare(one, side("y", statement(OTHER)))))
            changes_text(found)
        except UsageError as error:
            assert len(str(error).splitlines()) == 1
            refused += 1
    assert 100 < refused < 1400


def test_two_that_have_nothing_in_common_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^old .*new ") as error:
        diff({"kind": "SEV-SNP launch digest"}, inspected(igvm(platform(TDX, 3), page(0, mask=TDX))))
    assert error.value.id == "nothing-in-common"


# --- the command ---


def run(folder: Path, *words: str) -> Outcome:
    argv = [sys.executable, "-m", "doit", "diff", *words]
    done = forks.run(argv, folder, environment(folder))
    assert "Traceback" not in done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_the_command_tells_what_it_found_and_ends_accordingly(tmp_path: Path) -> None:
    (tmp_path / "q.igvm").write_bytes(DATA)
    (tmp_path / "b.igvm").write_bytes(OTHER)
    (tmp_path / "q.json").write_text(json.dumps(statement(DATA)))
    same = run(tmp_path, "q.igvm", "q.json")
    assert (same.status, same.err) == (0, "")
    assert same.out.splitlines()[:3] == [
        f"q.igvm: launch digest {digest_of(DATA)}",
        f"q.json: launch digest {digest_of(DATA)}",
        "the same: launch digest, image file, launch settings, 1 page, headers",
    ]
    other = run(tmp_path, "q.json", "b.igvm")
    assert other.status == 1
    # The statement's image lies beside it, so the byte is known.
    assert (
        "  0x1000 … 0x1fff  1 page  normal  kernel:svsm from 0x0\n    from 0x1000, byte 0x0 of the page: " in other.out
    )
    told = json.loads(run(tmp_path, "--json", "q.json", "b.igvm").out)
    assert (told["same"], told["old"]["name"]) == (False, "q.json")
    assert told["pages"]["runs"][0]["bytes"][0]["gpa"] == "0x1000"


def test_causes_come_from_the_statement_beside_an_image_if_it_is_about_that_image(tmp_path: Path) -> None:
    def put(name: str, data: bytes, features: str, of: bytes | None = None) -> None:
        (tmp_path / name).write_bytes(data)
        told = statement(data if of is None else of)
        told["predicate"]["buildDefinition"]["externalParameters"]["options"] = {"FEATURES": features}
        (tmp_path / f"{name}.provenance.json").write_text(json.dumps(told))

    put("a.igvm", DATA, "a")
    put("b.igvm", OTHER, "b")
    found = run(tmp_path, "a.igvm", "b.igvm")
    assert found.status == 1 and '\noptions:\n  FEATURES: "a" → "b"\n' in found.out
    assert found.out.splitlines()[2] == "causes: from a.igvm.provenance.json and b.igvm.provenance.json"
    assert "cause unknown" not in found.out
    mixed = run(tmp_path, "a.igvm.provenance.json", "b.igvm").out
    assert "\ncauses: from b.igvm.provenance.json\n" in mixed and "FEATURES" in mixed
    put("c.igvm", DATA, "c")  # the same image, however it was made
    assert run(tmp_path, "a.igvm", "c.igvm").status == 0
    for wrong in (json.dumps(statement(DATA)), "{", None):  # about another image, broken, missing
        place = tmp_path / "b.igvm.provenance.json"
        place.unlink() if wrong is None else place.write_text(wrong)
        found = run(tmp_path, "a.igvm", "b.igvm")
        assert found.status == 1 and "causes: " not in found.out and "options:" not in found.out
        assert "\ncause unknown: " in found.out


def test_statuses_and_names(tmp_path: Path) -> None:
    (tmp_path / "a=b.igvm").write_bytes(DATA)
    (tmp_path / "c.igvm").write_bytes(OTHER)
    (tmp_path / "bad").write_bytes(b"IGVM")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "x.igvm").write_bytes(DATA)
    (tmp_path / "new").mkdir()
    assert run(tmp_path, "a=b.igvm", "c.igvm").out.startswith("a=b.igvm: ")
    assert run(tmp_path, "c.igvm", "a=b.igvm").out.startswith("c.igvm: ")
    for words, id, place, value in (
        (("c.igvm",), "wrong-words", "diff: ", " doit diff "),
        (("c.igvm", "c.igvm", "c.igvm"), "wrong-words", "diff: ", " doit diff "),
        (("c.igvm", "no.igvm"), "system-refused", "no.igvm: ", "No such file or directory"),
        (("c.igvm", "old"), "not-comparable", "old: ", " old/x.igvm"),
        (("new", "c.igvm"), "not-comparable", "new: ", " new/coconut-qemu.igvm"),
        (("bad", "c.igvm"), "not-igvm", "bad: at 0x0: ", " 4 bytes; "),
        (("c.igvm", "/dev/zero"), "not-comparable", "/dev/zero: ", ""),
        (("--jsom", "c.igvm", "c.igvm"), "no-such-option", "diff ", " --jsom (did you mean '--json'?)"),
    ):
        outcome = run(tmp_path, *words)
        assert (outcome.status, outcome.out, outcome.ids) == (2, "", {id})
        assert outcome.err.startswith(f"error: {place}") and value in outcome.err and outcome.err.count("\n") == 1


NATIVE = igvm(platform(), page(0x1000))


def test_a_digest_alone_is_compared_with_whatever_has_one() -> None:
    digest, other = digest_of(NATIVE), digest_of(OTHER)
    forms: list[bytes] = [digest.encode(), bytes.fromhex(digest), f"Launch Digest: {digest.upper()}\n".encode()]
    for form in forms:
        for known in (*forms, NATIVE, inspected(NATIVE), statement(NATIVE)):
            for found in (diff(form, known), diff(known, form)):
                assert found.same and "launch digest" in found.compared
        assert not diff(form, OTHER).same and diff(form, other.encode()).same_digest is False
    assert text(forms[0], OTHER).splitlines()[:2] == [f"old: launch digest {digest}", f"new: launch digest {other}"]


def test_a_digest_alone_is_that_of_an_image_in_either_way_to_measure_it() -> None:
    native = digest_of(NATIVE, native=True)
    text_of_inspect = f"SEV-SNP launch digest: {digest_of(NATIVE)}\n  with native zero pages: {native}\n".encode()
    for image in (NATIVE, inspected(NATIVE), text_of_inspect):
        found = diff(native.encode(), image)
        assert found.same and found.new.digests == {"snp": native}
        assert len(found.new.doubts) == 1 and "measure_native_zeroes" in found.new.doubts[0]
        assert diff(digest_of(NATIVE).encode(), image).new.doubts == ()
    assert diff(digest_of(DATA).encode(), DATA).new.doubts == ()  # without such pages, there is only one way
    # A build that says how it measured is not measured in another way.
    assert not diff(native.encode(), statement(NATIVE)).same
    assert diff(text_of_inspect, statement(NATIVE, native=True)).same


def test_a_pipe_can_be_compared(tmp_path: Path) -> None:
    (tmp_path / "a.igvm").write_bytes(DATA)
    line = f'"{sys.executable}" -m doit diff <("{sys.executable}" -m doit inspect --json a.igvm) <(cat a.igvm)'
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_digest_on_the_command_line_and_standard_input_can_be_compared(tmp_path: Path) -> None:
    (tmp_path / "a.igvm").write_bytes(DATA)
    digest = digest_of(DATA)
    for word in (digest, f"0x{digest.upper()}", f"sha384:{digest}"):
        assert run(tmp_path, word, "a.igvm").status == run(tmp_path, "a.igvm", word).status == 0
    other = run(tmp_path, "ab" * 48, "a.igvm")
    assert other.status == 1 and other.out.startswith(f"{'ab' * 8}…: ")
    short = run(tmp_path, digest[1:], "a.igvm")
    assert (short.status, short.ids) == (2, {"not-comparable"}) and "95 hex digits" in short.err
    assert run(tmp_path, "-", "-").ids == {"wrong-words"}
    argv = [sys.executable, "-m", "doit", "diff", "-", "a.igvm"]
    for given, status in ((f"Launch Digest: {digest}\n".encode(), 0), (DATA, 0), (OTHER, 1)):
        done = subprocess.run(argv, cwd=tmp_path, env=environment(tmp_path), input=given, capture_output=True)
        assert (done.returncode, done.stderr) == (status, b"")


def test_images_and_json_files_are_completed(tmp_path: Path) -> None:
    for name in ("a.igvm", "b.json", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "bin").mkdir()
    known = Known({"diff": CommandLine(DiffCommand.doc_usage)})
    found = candidates(["doit", "diff", "a.igvm", ""], from_words([], {}, str(tmp_path)), known)
    assert [one.value for one in found] == ["a.igvm", "b.json", "bin/"]
