"""Our measurements compared with those of the sample's igvmmeasure and of crate igvm, for random files of that crate and for broken ones.

What no crate measures is compared with simple code in ``igvm-vectors``: TDX in two passes, the order of QEMU's loader, and the VMSAs that
KVM makes.
"""

from __future__ import annotations

import random
import re
import struct
import subprocess
from collections import Counter
from collections.abc import Iterable
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import QEMU as THE_USUAL
from conftest import Site, environment, host_triple
from igvm_files import answer, answers, data_at, igvm, vp_context, with_checksum
from igvm_files import platform as supported
from test_igvm import FIELDS, TOGETHER

from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.kvm import with_debug_swap
from coconut_tasks.igvm.launch import Measured, MeasureOptions, page_hash
from coconut_tasks.igvm.measure import measure, measure_all, snp_launch
from coconut_tasks.igvm.parse import parse
from coconut_tasks.igvm.platforms import MEASURED, SNP, VSM, MeasuredPlatform
from coconut_tasks.igvm.values import (
    IS_2MB_PAGE,
    ErrorRange,
    GuestPolicy,
    Header,
    PageData,
    ParameterArea,
    ParameterInsert,
    SupportedPlatform,
    VpContext,
)

CRATE = Path(__file__).parent / "igvm-vectors"
FILES, BROKEN = 1000, 3000
END = 1 << 64
PLAIN = MeasureOptions(check_id_block=False)
CHECKED = MeasureOptions()
QEMU = MeasureOptions(check_id_block=False, qemu_order=True)
OF_THE_CRATE = {"snp": PLAIN, "tdp": PLAIN, "vsm": PLAIN, "vsm-checked": CHECKED, "vsm-qemu": QEMU}
"""The ways in which crate igvm itself hashes, by their names in ``igvm-vectors``: our options for them."""
SIMPLE = {
    "snp-qemu": MeasureOptions(check_id_block=False, qemu_order=True, native_zero=True),
    "snp-kvm": MeasureOptions(check_id_block=False, processors=3, signature=0x00A00F11),
    "snp-kvm-qemu": MeasureOptions(
        check_id_block=False, processors=3, signature=0x00A00F11, qemu_order=True, native_zero=True
    ),
    "tdp-plain": PLAIN,
    "tdp-two-pass": MeasureOptions(check_id_block=False, two_pass=True),
    "tdp-qemu": QEMU,
    "tdp-qemu-two-pass": MeasureOptions(check_id_block=False, two_pass=True, qemu_order=True),
}
"""The ways for which ``igvm-vectors`` has its own code: nothing explains a difference."""


class Told(NamedTuple):
    """What ``igvm-vectors`` says about a file."""

    igvmmeasure: list[str]
    """The sample's answers in each mode."""
    second: dict[str, str]
    """The second opinions."""


@pytest.fixture(scope="module")
def program(cargo_target: Path) -> Path:
    """The generator, which contains igvmmeasure's own code."""
    triple = host_triple()
    command = ["cargo", "build", "--quiet", "--locked", "--target", triple]
    subprocess.run(command, cwd=CRATE, env=environment(cargo_target), check=True)
    return cargo_target / triple / "debug" / "igvm-vectors"


@pytest.fixture(scope="module")
def vectors(program: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Told]:
    folder = tmp_path_factory.mktemp("vectors")
    done = subprocess.run([program, "generate", "7", str(FILES), folder], check=True, capture_output=True, text=True)
    return {folder / name: told for name, told in told_of(done.stdout)}


def told_of(lines: str) -> Iterable[tuple[str, Told]]:
    for name, *rest in map(str.split, lines.splitlines()):
        yield name, Told(rest[:8], dict(word.split("=") for word in rest[8:]))


def told_about(program: Path, files: Iterable[Path]) -> dict[Path, Told]:
    names = "\n".join(map(str, files))
    done = subprocess.run([program, "measure"], input=names, check=True, capture_output=True, text=True)
    return {Path(name): told for name, told in told_of(done.stdout)}


def test_random_files_have_the_same_digest_or_refusal_in_each_mode(vectors: dict[Path, Told]) -> None:
    assert len(vectors) == FILES
    assert {file.name: answers(file.read_bytes()) for file in vectors} == {
        file.name: told.igvmmeasure for file, told in vectors.items()
    }
    # Both kinds of answers are compared.
    for mode, other in ((0, 1), (0, 2), (0, 4)):
        assert sum(told.igvmmeasure[mode] != told.igvmmeasure[other] for told in vectors.values()) > FILES // 20
    assert sum("refused" not in told.igvmmeasure for told in vectors.values()) > FILES // 5


def test_random_files_have_the_measurements_of_crate_igvm_and_of_simple_code(vectors: dict[Path, Told]) -> None:
    assert differences(vectors) == []
    count = Counter(way for told in vectors.values() for way, found in told.second.items() if is_digest(found))
    assert set(count) == {*OF_THE_CRATE, *SIMPLE, "snp-debug-swap"}
    assert min(count.values()) > FILES // 5 and min(count[one] for one in OF_THE_CRATE) > FILES // 3
    for way, other in (
        ("tdp", "tdp-two-pass"),
        ("tdp", "tdp-qemu"),
        ("tdp-two-pass", "tdp-qemu-two-pass"),
        ("tdp-qemu", "tdp-qemu-two-pass"),
        ("vsm", "vsm-qemu"),
        ("vsm", "vsm-checked"),
        ("snp", "snp-qemu"),
        ("snp-kvm", "snp-kvm-qemu"),
    ):
        assert sum(told.second[way] != told.second[other] for told in vectors.values()) > FILES // 25, (way, other)


def test_all_measurements_at_once_are_those_one_by_one(vectors: dict[Path, Told]) -> None:
    for file in vectors:
        data = file.read_bytes()
        try:
            found: dict[str, str] | None = {
                word: one.digest.hex() if isinstance(one, Measured) else str(one)
                for word, one in measure_all(data, CHECKED).items()
            }
        except IgvmError:
            found = None
        one_by_one = {}
        for word, platform in MEASURED.items():
            try:
                one_by_one[word] = measure(data, CHECKED, platform).digest.hex()
            except IgvmError as error:
                if error.id not in ("no-platform", "no-snp"):
                    one_by_one[word] = str(error)
        # If a rule is broken behind what one platform cannot measure, that comes first for it.
        assert found == one_by_one or (found is None and not any(map(is_digest, one_by_one.values()))), file.name


def test_broken_files_have_the_same_measurements_or_refusals(
    program: Path, vectors: dict[Path, Told], tmp_path: Path
) -> None:
    chance = random.Random(3)
    seeds = [file.read_bytes() for file, told in vectors.items() if any(map(is_digest, told.second.values()))]
    files = [tmp_path / f"{index}.igvm" for index in range(BROKEN)]
    for file in files:
        file.write_bytes(broken(chance.choice(seeds), chance))
    told = told_about(program, files)
    # igvmmeasure would count the pages of a huge area one by one; we refuse to insert it.
    compared = [file for file in files if "endless" not in told[file].igvmmeasure]
    assert {file: answers(file.read_bytes()) for file in compared} == {
        file: told[file].igvmmeasure for file in compared
    }
    assert differences(told) == []
    for way in ("snp-qemu", "tdp", "vsm"):
        refused = sum(one.second[way] == "refused" for one in told.values())
        assert BROKEN // 5 < refused < BROKEN - BROKEN // 5, (way, refused)


def test_files_that_were_made_by_hand_have_the_same_digest_or_refusal(program: Path, tmp_path: Path) -> None:
    """What ``test_igvm`` says about them comes from the crate's source; here the crate itself confirms it."""
    files = {tmp_path / f"{at}.igvm": data for at, (data, *_) in enumerate([*TOGETHER, *FIELDS])}
    for file, data in files.items():
        file.write_bytes(data)
    told = told_about(program, files)
    assert {file: answers(data) for file, data in files.items()} == {
        file: one.igvmmeasure for file, one in told.items()
    }
    assert differences(told) == []


def test_the_crate_measures_of_a_register_what_it_has_read(program: Path, tmp_path: Path) -> None:
    """``clear_registers`` for each kind of register: one of 64 bits, a table, a segment."""
    first = supported(4, VSM.number)
    for name, same in ((0x20005, False), (0x70001, False), (0x60001, True)):
        context = vp_context(0, data_at(first, vp_context(0, 0)), mask=4)
        data = igvm(first, context, data=struct.pack("<IBI11x16s", 1, 2, name, bytes(range(1, 17))))
        file = tmp_path / f"{name:x}.igvm"
        file.write_bytes(data)
        told = told_about(program, [file])
        assert differences(told) == []
        assert (told[file].second["vsm"] == answer(data, PLAIN, VSM)) is same


@pytest.mark.parametrize("firmware", [False, True])
def test_all_computations_agree_on_all_targets_and_options_of_the_sample(
    firmware: bool, site: Site, program: Path
) -> None:
    content = deepcopy(THE_USUAL)
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
    images = [site.bin / name for name in ("q.igvm", "h.igvm", "v.igvm")]
    told = told_about(program, images)
    digests = set()
    for image, check_kvm, native_zero in product(images, (False, True), (False, True)):
        flags = [*(["--check-kvm"] if check_kvm else []), *(["--native-zero"] if native_zero else [])]
        theirs = subprocess.run([tool, *flags, image, "measure"], capture_output=True, text=True)
        printed = re.search(r"Launch Digest: ([0-9A-F]{96})", theirs.stdout)
        ours = answer(image.read_bytes(), MeasureOptions(check_kvm, native_zero))
        assert ours == (printed[1].lower() if printed else "refused"), (image.name, flags)
        assert ours == told[image].igvmmeasure[4 * check_kvm + 2 * native_zero]
        digests.add(ours)
    assert len(digests - {"refused"}) == 6, "of each image one, and one with native zero pages"
    assert differences(told) == []
    for image, words in zip(images, (["snp", "tdp", "vsm"], ["snp", "tdp", "vsm"], ["snp"]), strict=True):
        measured = measure_all(image.read_bytes(), CHECKED)
        assert {word: one.digest.hex() for word, one in measured.items() if isinstance(one, Measured)} == {
            word: told[image].second[word] for word in words
        }


def is_digest(found: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}|[0-9a-f]{96}", found) is not None


def differences(told: dict[Path, Told]) -> list[tuple[str, str, str, str]]:
    """File, way, theirs and ours, where the second opinion differs from ours and no rule below explains that."""
    found = []
    for file, (_, second) in told.items():
        data = file.read_bytes()
        if set(second.values()) == {"refused"} == {answer(data, PLAIN, platform) for platform in MEASURED.values()}:
            continue  # no way measures more
        ours = {way: answer(data, options, MEASURED[way[:3]]) for way, options in SIMPLE.items()}
        ours["snp-debug-swap"] = swapped(data)
        for platform in MEASURED.values():
            ways = [way for way in OF_THE_CRATE if MEASURED[way[:3]] is platform]
            if beyond_memory(data, platform):
                assert {answer(data, OF_THE_CRATE[way], platform) for way in ways} == {"refused"}
                # VBS goes on counting pages: it has a digest.
                ours |= {way: "refused" for way in ways if platform is not VSM or not is_digest(second[way])}
            else:
                read = as_the_crate_reads(data, platform)
                ours |= {way: answer(read, OF_THE_CRATE[way], platform) if read else "refused" for way in ways}
        assert set(second) == {*OF_THE_CRATE, *SIMPLE, "snp-debug-swap"}
        for way, theirs in second.items():
            if way in ours and ours[way] != {"endless": "refused", "long": ours[way]}.get(theirs, theirs):
                found.append((file.name, way, theirs, ours[way]))
    return found


def swapped(data: bytes) -> str:
    """SHA-384 of the only VMSA, with the other debug_swap."""
    try:
        launch = snp_launch(data, PLAIN)
    except IgvmError:
        return "refused"
    if launch is None or len(launch.vmsas) != 1:
        return "refused"
    return page_hash(with_debug_swap(launch.vmsa_of(launch.vmsas[0]))).hex()


def headers_for(data: bytes, platform: MeasuredPlatform) -> list[tuple[Header, int]]:
    """All platforms, and the headers that are for one of them, each with the bytes of the parameter area that it inserts. None from an
    invalid header on."""
    found: list[tuple[Header, int]] = []
    mask, areas = 0, {}
    try:
        for header in parse(data).headers():
            if isinstance(header, SupportedPlatform):
                found.append((header, 0))
                if header.platform_type == platform.number:
                    mask = header.compatibility_mask
            elif isinstance(header, ParameterArea):
                areas[header.parameter_area_index] = header.number_of_bytes
            elif getattr(header, "compatibility_mask", 0) & mask:
                found.append((header, areas.get(getattr(header, "parameter_area_index", -1), 0)))
    except IgvmError:
        pass
    return found


# What differs from crate igvm's own measurement, and why


def beyond_memory(data: bytes, platform: MeasuredPlatform) -> bool:
    """Whether pages without content reach beyond the end of memory. We refuse that. In the crate the sum overflows: a panic, except
    for VBS."""
    for header, size in headers_for(data, platform):
        if isinstance(header, ErrorRange) and platform is VSM:
            size = -(-header.size_bytes // 4096) * 4096
        if isinstance(header, ParameterInsert | ErrorRange) and header.gpa + size > END:
            return True
    return False


def as_the_crate_reads(data: bytes, platform: MeasuredPlatform) -> bytes | None:
    """The file that we measure as the crate measures the given one; None if it refuses.

    - SEV-SNP: it wants a guest policy. That is not measured, and igvmmeasure wants none.
    - SEV-SNP and TDX: parameters that end where memory does overflow its sum. VBS counts in pages.
    - VBS: it panics at a page of another type even if that is shared, which we skip.
    - It measures a page of 2 MiB as one of 4 KiB. A file has only 4 KiB of it, so we refuse it, as igvmmeasure does.
    - VBS: it reads registers of 64 bits and tables, and measures what it has read. We measure the 16 bytes in the file.
    """
    content, policy = bytearray(data), False
    kinds: dict[int, int] = {}
    for header, size in headers_for(data, platform):
        match header:
            case SupportedPlatform():
                kinds[header.compatibility_mask] = header.platform_type
            case GuestPolicy():
                policy = True
            case ParameterInsert() if size and header.gpa + size == END and platform is not VSM:
                return None
            case PageData():
                if platform is VSM and header.data_type:
                    return None
                if header.flags & IS_2MB_PAGE:
                    content[header.offset + 24] ^= IS_2MB_PAGE
                    content[header.offset + 27] ^= 0x80  # still not of a run with other flags
            case VpContext() if kinds.get(header.compatibility_mask) == VSM.number:
                clear_registers(content, header.file_offset)
            case _:
                pass
    return None if platform is SNP and not policy else with_checksum(content)


def clear_registers(content: bytearray, at: int) -> None:
    """Zero the bytes that no register has in the value of one of 64 bits, and in that of a table before its limit."""
    count = int.from_bytes(content[at : at + 4], "little")
    for start in range(at + 4, min(at + 4 + count * 32, len(content) - 31), 32):
        (name,) = struct.unpack_from("<I", content, start + 1)
        if name in (0x70000, 0x70001):
            content[start + 16 : start + 22] = bytes(6)
        elif not 0x60000 <= name <= 0x60007:
            content[start + 24 : start + 32] = bytes(8)


NUMBERS = (0, 1, 2, 3, 8, 0xFFF, 0x1000, 0x1001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFF000)


def broken(data: bytes, chance: random.Random) -> bytes:
    """A file with one to three changes and a valid checksum: what is checked after the checksum is meant."""
    content = bytearray(data)
    offset, size = struct.unpack_from("<II", data, 8)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        match chance.randrange(6):
            case 0:
                content[offset + chance.randrange(size)] ^= 1 << chance.randrange(8)
            case 5:  # in the file data: a page, or a processor's state
                content[chance.randrange(offset + size, len(content))] ^= 1 << chance.randrange(8)
            case 1 | 2:  # a field, often a length, an offset or a mask
                number = chance.choice((*NUMBERS, chance.getrandbits(32), len(data), len(data) - 4096, offset + size))
                struct.pack_into("<I", content, offset + 4 * chance.randrange(size // 4), number & 0xFFFFFFFF)
            case 3:
                content[offset : offset + size] = shuffled(bytes(content[offset : offset + size]), chance)
            case 4:
                content = content[: chance.randrange(offset + size, len(content) + 1)]
                struct.pack_into("<I", content, 16, len(content))
    return with_checksum(content)


def shuffled(headers: bytes, chance: random.Random) -> bytes:
    """The same headers, with two of them swapped."""
    parts, at = [], 0
    while at + 8 <= len(headers):
        following = at + 8 + (struct.unpack_from("<I", headers, at + 4)[0] + 7 & ~7)
        parts.append(headers[at:following])
        at = following
    one, other = chance.randrange(len(parts)), chance.randrange(len(parts))
    parts[one], parts[other] = parts[other], parts[one]
    return b"".join([*parts, headers[at:]])[: len(headers)]
