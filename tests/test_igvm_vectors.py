"""Our launch digest compared with that of the sample's igvmmeasure, for random files of crate igvm and for broken ones."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest
from conftest import environment, host_triple
from igvm_files import answers, with_checksum
from test_igvm import FIELDS, TOGETHER

CRATE = Path(__file__).parent / "igvm-vectors"
FILES, BROKEN = 1000, 3000


@pytest.fixture(scope="module")
def program(cargo_target: Path) -> Path:
    """The generator, which contains igvmmeasure's own code."""
    triple = host_triple()
    command = ["cargo", "build", "--quiet", "--locked", "--target", triple]
    subprocess.run(command, cwd=CRATE, env=environment(cargo_target), check=True)
    return cargo_target / triple / "debug" / "igvm-vectors"


@pytest.fixture(scope="module")
def vectors(program: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, list[str]]:
    """File → the sample's answers in each mode."""
    folder = tmp_path_factory.mktemp("vectors")
    done = subprocess.run([program, "generate", "7", str(FILES), folder], check=True, capture_output=True, text=True)
    return {folder / name: rest for name, *rest in map(str.split, done.stdout.splitlines())}


def test_random_files_have_the_same_digest_or_refusal_in_each_mode(vectors: dict[Path, list[str]]) -> None:
    assert len(vectors) == FILES
    assert {file.name: answers(file.read_bytes()) for file in vectors} == {
        file.name: rest for file, rest in vectors.items()
    }
    # Both kinds of answers are compared.
    for mode, other in ((0, 1), (0, 2), (0, 4)):
        assert sum(rest[mode] != rest[other] for rest in vectors.values()) > FILES // 20
    assert sum("refused" not in rest for rest in vectors.values()) > FILES // 5


def test_broken_files_have_the_same_digest_or_refusal(
    program: Path, vectors: dict[Path, list[str]], tmp_path: Path
) -> None:
    chance = random.Random(3)
    seeds = [file.read_bytes() for file, rest in vectors.items() if rest[0] != "refused"]
    names = []
    for index in range(BROKEN):
        file = tmp_path / f"{index}.igvm"
        file.write_bytes(broken(chance.choice(seeds), chance))
        names.append(str(file))
    done = subprocess.run([program, "measure"], input="\n".join(names), check=True, capture_output=True, text=True)
    theirs = {name: rest for name, *rest in map(str.split, done.stdout.splitlines())}
    # igvmmeasure would count the pages of a huge area one by one; we refuse to insert it.
    compared = [name for name in names if "endless" not in theirs[name]]
    assert {name: answers(Path(name).read_bytes()) for name in compared} == {name: theirs[name] for name in compared}
    refused = sum(theirs[name][0] == "refused" for name in names)
    assert BROKEN // 5 < refused < BROKEN - BROKEN // 5


def test_files_that_were_made_by_hand_have_the_same_digest_or_refusal(program: Path, tmp_path: Path) -> None:
    """What ``test_igvm`` says about them comes from the crate's source; here the crate itself confirms it."""
    files = {tmp_path / f"{at}.igvm": data for at, (data, *_) in enumerate([*TOGETHER, *FIELDS])}
    for file, data in files.items():
        file.write_bytes(data)
    names = "\n".join(map(str, files))
    done = subprocess.run([program, "measure"], input=names, check=True, capture_output=True, text=True)
    theirs = {Path(name): rest for name, *rest in map(str.split, done.stdout.splitlines())}
    assert {file: answers(data) for file, data in files.items()} == theirs


NUMBERS = (0, 1, 2, 3, 8, 0xFFF, 0x1000, 0x1001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFF000)


def broken(data: bytes, chance: random.Random) -> bytes:
    """A file with one to three changes and a valid checksum: what is checked after the checksum is meant."""
    content = bytearray(data)
    offset, size = struct.unpack_from("<II", data, 8)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        match chance.randrange(5):
            case 0:
                content[offset + chance.randrange(size)] ^= 1 << chance.randrange(8)
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
