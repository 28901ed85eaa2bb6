"""Launch digests in all forms; near misses get a reason; and which image each is about."""

from __future__ import annotations

import base64
import json
import random
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import cbor2
import pytest
from conftest import has
from igvm_files import SNP, TDX, igvm, page, platform
from test_reference_values import id_block

from coconut_tasks.commands import measure as coconut_measure
from coconut_tasks.commands.inspect import InspectCommand
from coconut_tasks.errors import UsageError
from coconut_tasks.evidence.digests import (
    REPORT_SIZE,
    LaunchDigest,
    NotADigest,
    digest_in,
    digests_in,
    looks_like_digest,
    near_miss,
)
from coconut_tasks.evidence.expected import BuiltImage, Expectation, expected_of
from coconut_tasks.evidence.reference_values import corim, trustee
from coconut_tasks.igvm.launch import MeasureOptions
from coconut_tasks.igvm.measure import measure

RAW = bytes(range(7, 247, 5))
DIGEST = RAW.hex()
OTHER = RAW[::-1].hex()
BASE64 = base64.b64encode(RAW).decode()
URL_SAFE = base64.urlsafe_b64encode(RAW).decode()
SHA256 = "0123456789abcdef" * 4
REPORT = (2).to_bytes(4, "little") + bytes(0x8C) + RAW + bytes(REPORT_SIZE - 0x90 - 48)
PAGES = (platform(), page(0x1000))
IMAGE = igvm(*PAGES)
PLAIN, NATIVE = (measure(IMAGE, MeasureOptions(native_zero=native)).digest.hex() for native in (False, True))
FRAME = "=" * 111
IGVMMEASURE = f"\n{FRAME}\nigvmmeasure 'bin/q.igvm'\nLaunch Digest: {DIGEST.upper()}\n{FRAME}\n\n"
"""As printed by SVSM's own igvmmeasure."""
SNPGUEST = f"""
Attestation Report:

Version:                      2

Report Data:
{"00 " * 15}00

Measurement:
{RAW[:16].hex(" ")}
{RAW[16:32].hex(" ")}
{RAW[32:].hex(" ")}

Author Key Digest:
{"ab " * 15}ab
"""


def wrapped(text: str, width: int) -> str:
    return "".join(f"{text[at : at + width]}\n" for at in range(0, len(text), width))


def one(digest: str = DIGEST, image: str = "", native_zero: str = "") -> tuple[LaunchDigest, ...]:
    return (LaunchDigest(digest, image, native_zero),)


TWO = (LaunchDigest(DIGEST, "q.igvm"), LaunchDigest(OTHER, "old/h.igvm"))


def statement(*subjects: dict[str, Any]) -> str:
    return json.dumps({"_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicate": {}})


# Forms


WORDS = {
    "hex": DIGEST,
    "upper case": DIGEST.upper(),
    "0x": f"0x{DIGEST}",
    "sha384:": f"sha384:{DIGEST}",
    "SHA384:": f"SHA384:{DIGEST.upper()}",
    "sha-384:": f"sha-384:{DIGEST}",
    "base64": BASE64,
    "base64 for URLs": URL_SAFE,
    "sha384- of HTML": f"sha384-{BASE64}",
    "sha384: and base64": f"sha384:{BASE64}",
}


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_a_digest_is_known_in_each_way_that_people_write_it(word: str) -> None:
    assert digest_in(word) == DIGEST
    assert looks_like_digest(word) and not near_miss(word)
    assert digests_in(f"  {word}\n".encode()) == one()


FILES: dict[str, tuple[bytes | str, tuple[LaunchDigest, ...]]] = {
    "raw bytes": (RAW, one()),
    "a report": (REPORT, one()),
    "a report as snpguest shows it": (SNPGUEST, one()),
    "a CoRIM": (corim(RAW, None), one()),
    "a CoRIM with a profile": (corim(RAW, 3), one()),
    "reference values": (trustee(RAW), one()),
    "one reference value": (json.dumps({"snp_launch_measurement": DIGEST}), one()),
    "reference values of two images": (
        json.dumps({"snp_launch_measurement": [DIGEST, OTHER]}),
        (*one(), *one(OTHER)),
    ),
    "a statement": (statement({"name": "a.igvm", "digest": {"sevSnpLaunchDigest": DIGEST}}), one(image="a.igvm")),
    "a statement about more": (
        statement(
            {"name": "a.igvm", "digest": {"sevSnpLaunchDigest": DIGEST}}, {"name": "b", "digest": {"sha256": SHA256}}
        ),
        one(image="a.igvm"),
    ),
    "a measurement": (json.dumps({"digest": DIGEST, "igvm": {"file": "a.igvm"}}), one(image="a.igvm")),
    "a measurement of a report's size": (
        json.dumps({"digest": DIGEST, "igvm": {"file": "a.igvm"}}).ljust(REPORT_SIZE),
        one(image="a.igvm"),
    ),
    "a measurement of a pipe": (json.dumps({"digest": DIGEST, "igvm": {"file": "/dev/fd/63"}}), one()),
    "what jq prints": (json.dumps(DIGEST), one()),
    "a list": (json.dumps([DIGEST, OTHER]), (*one(), *one(OTHER))),
    "measurements by jq -s": (
        json.dumps([{"digest": DIGEST, "igvm": {"file": "q.igvm"}}, {"digest": OTHER, "igvm": {"file": "old/h.igvm"}}]),
        TWO,
    ),
    "igvmmeasure": (IGVMMEASURE, one(image="bin/q.igvm")),
    "igvmmeasure of two images": (
        IGVMMEASURE.replace("bin/", "") + IGVMMEASURE.replace("bin/q", "old/h").replace(DIGEST.upper(), OTHER),
        TWO,
    ),
    "igvmmeasure by grep": (f"Launch Digest: {DIGEST.upper()}\n", one()),
    "igvmmeasure --verbose": (f"gpa 0x1000 len 0x1000 (Zero page)\n{IGVMMEASURE}", one(image="bin/q.igvm")),
    "a log": (f"$ target/igvmmeasure --check-kvm bin/q.igvm measure\n{IGVMMEASURE}", one(image="bin/q.igvm")),
    "the end of a run": (f"built: 3 steps\nbin/q.igvm: 4.1 MiB, launch digest {DIGEST}\n", one(image="bin/q.igvm")),
    "diff": (f"q.igvm:     launch digest {DIGEST}\nold/h.igvm: launch digest {OTHER}\ndifferent\n", TWO),
    "xxd -p": (wrapped(DIGEST, 60), one()),
    "od": (wrapped(" " + RAW.hex(" "), 48), one()),
    "colons": (RAW.hex(":"), one()),
    "colons, over lines": (wrapped(RAW.hex(":").upper(), 45), one()),
    "several": (f"{DIGEST}\n\n{OTHER}\n", (*one(), *one(OTHER))),
    "several in a line": (f"{DIGEST} {OTHER}", (*one(), *one(OTHER))),
    "one twice": (f"{DIGEST}\n{DIGEST.upper()}\n", one()),
    "comments": (f"# release 1.2\n{DIGEST}  # signed\n  # the end", one()),
    "sha384sum": (f"{DIGEST}  q.igvm\n{OTHER} *old/h.igvm\n", TWO),
    "sha384sum --tag": (f"SHA384 (q.igvm) = {DIGEST}\nSHA384 (old/h.igvm) = {OTHER}\n", TWO),
    "openssl": (f"SHA2-384(q.igvm)= {DIGEST}\n", one(image="q.igvm")),
    "line ends of Windows": (f"{DIGEST}\r\n{OTHER}\r\n", (*one(), *one(OTHER))),
    "a byte order mark": (f"\ufeff{DIGEST}\n", one()),
    "UTF-16": (f"{DIGEST}\n".encode("utf-16"), one()),
    "an image": (IMAGE, one(PLAIN, native_zero=NATIVE)),
}  # fmt: skip


def encoded(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content


@pytest.mark.parametrize(("content", "digests"), FILES.values(), ids=FILES)
def test_each_form_is_read(content: bytes | str, digests: tuple[LaunchDigest, ...]) -> None:
    assert digests_in(encoded(content)) == digests


def test_what_our_own_commands_print_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a b.igvm"
    file.write_bytes(IMAGE)

    def printed(*words: str) -> bytes:
        assert coconut_measure.main([*words, str(file)]) == 0
        return capsys.readouterr().out.encode()

    assert digests_in(printed()) == digests_in(printed("--json")) == one(PLAIN, str(file))
    assert digests_in(printed("--native-zero")) == one(NATIVE, str(file))
    assert digests_in(printed("--bare")) == one(PLAIN)
    for as_json in (False, True):
        InspectCommand().execute({"json": as_json, "all": False}, [str(file), str(file)])
        assert digests_in(capsys.readouterr().out.encode()) == one(PLAIN, str(file), NATIVE)


def test_the_id_block_says_how_an_image_is_measured() -> None:
    """The firmware starts a guest only with the digest in its ID block."""
    for digest in (PLAIN, NATIVE):
        assert digests_in(igvm(*PAGES, id_block(1, SNP, bytes.fromhex(digest)))) == one(digest)
    with pytest.raises(NotADigest, match=f"{DIGEST}.*{PLAIN}"):
        digests_in(igvm(*PAGES, id_block(1, SNP, RAW)))


def test_files_that_are_broken_at_random_have_a_digest_or_are_refused() -> None:
    chance = random.Random(7)
    for content, _ in FILES.values():
        for _ in range(100):
            data = bytearray(encoded(content))
            for _ in range(chance.randrange(1, 4)):
                at = chance.randrange(len(data))
                data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
            with suppress(NotADigest):
                assert all(re.fullmatch("[0-9a-f]{96}", one.digest) for one in digests_in(data))


# Near misses


MISSES: dict[str, tuple[bytes | str, str]] = {
    "a digit short": (DIGEST[:-1], "95 hex digits; expected 96"),
    "a digit short after 0x": (f"0x{DIGEST[:-1]}", "95 hex digits; expected 96"),
    "a digit long": (f"{DIGEST}0", "97 hex digits; expected 96"),
    "a digit short in igvmmeasure's output": (IGVMMEASURE.replace(DIGEST.upper(), DIGEST[1:]), "Launch Digest:…95 hex digits"),
    "igvmmeasure that did not end": ("igvmmeasure 'q.igvm'\nLaunch Digest: ", "Launch Digest:"),
    "igvmmeasure for SEV": (f"igvmmeasure 'q.igvm'\nLaunch Digest: {SHA256.upper()}\n", "64 hex digits…a SHA-256…expected 96"),
    "a SHA-256": (SHA256, "64 hex digits…a SHA-256…expected 96"),
    "a SHA-256 in both cases": (SHA256[:32] + SHA256[32:].upper(), "64 hex digits…a SHA-256"),
    "sha256sum": (f"{SHA256}  q.igvm", "64 hex digits…a SHA-256"),
    "sha256:": (f"sha256:{SHA256}", "a SHA-256…a SHA-384"),
    "a SHA-512": (SHA256 * 2, "128 hex digits…a SHA-512"),
    "a letter": (f"{DIGEST[:6]}g{DIGEST[7:]}", "'g' at position 7 "),
    "a letter O": (f"sha384:O{DIGEST[1:]}", "'O' at position 1 "),
    "base64, short": (BASE64[:-1], "63 characters of base64; expected 64"),
    "base64 of a SHA-256": (f"sha384-{BASE64[:43]}=", "43 characters of base64; expected 64"),
    "47 raw bytes": (RAW[1:], "47 raw bytes; expected 48"),
    "a report that was cut off": (REPORT[:-1], f"1183 raw bytes…{REPORT_SIZE}"),
    "1184 other bytes": (bytes(REPORT_SIZE), "1184 raw bytes…report…version"),
    "xxd -p, cut off": (wrapped(DIGEST, 60)[:-3], "94 hex digits"),
    "one of several": (f"{DIGEST}\n{OTHER[:-1]}\n", "line 2: 95 hex digits"),
    "one after comments": (f"# old\n\n{DIGEST}\n{OTHER}0\n", "line 4: 97 hex digits"),
    "a line of something else": (f"{DIGEST}\nhello world\n", "line 2: 'hello world' "),
    "a name for one of two": (f"{DIGEST}  q.igvm\n{OTHER}\n", "only some … name"),
    "cut short for display": ("launch digests: q.igvm 0123456789abcdef…, h.igvm 0123456789abcdef…", ""),
    "cut short": ("0123456789abcdef…", "shortened"),
    "empty": ("", "empty"),
    "only comments": ("# later\n", "empty"),
    "no JSON": ('{"digest": ', "JSON…column"),
    "deep JSON": ("[" * 100_000, "JSON…levels"),
    "another JSON": ('{"a": 1}', "JSON without"),
    "a number": ("[1]", "JSON without"),
    "an empty list": ("[]", "JSON without"),
    "a measurement of nothing": ('{"digest": 1, "igvm": {"file": "a"}}', "a launch measurement without"),
    "a measurement of 95 digits": (json.dumps({"digest": DIGEST[1:], "igvm": {"file": "a"}}), "95 hex digits"),
    "a measurement of no file": (json.dumps({"digest": DIGEST, "igvm": 5}), "a launch measurement without"),
    "no reference values": ('{"snp_launch_measurement": []}', "reference values without"),
    "a wrong reference value": (json.dumps({"snp_launch_measurement": [DIGEST, "no digest"]}), "'no digest'"),
    "a statement about a file": (statement({"name": "a", "digest": {"sha256": SHA256}}), "a provenance statement without"),
    "a statement about nothing": ('{"subject": [], "predicate": {}}', "a provenance statement without"),
    "inspect of an image without SEV-SNP": ('{"format": 1, "files": [{"file": "a", "launch_digest": null}]}', "'inspect --json'"),
    "a report without it": ("Measurement:\n00 11\n\nHost Data:\n", "'Measurement:' without 96 hex digits"),
    "a report with more": (f"Measurement: {RAW.hex(' ')} 00\n", "'Measurement:' without 96 hex digits"),
    "a text without an end": ("yes\n" * (2 << 20), "4 MiB"),
    "a CoRIM of something else": (cbor2.dumps(cbor2.CBORTag(501, {0: "x", 1: []})), "a CoRIM without"),
    "a broken CoRIM": (corim(RAW, None)[:-9], "a CoRIM without"),
    "an image without SEV-SNP": (igvm(platform(TDX, 3), page(0, mask=TDX)), "an IGVM file without…SEV-SNP"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "said"), MISSES.values(), ids=MISSES)
def test_what_is_nearly_a_digest_is_named(content: bytes | str, said: str) -> None:
    with pytest.raises(NotADigest) as error:
        digests_in(encoded(content))
    assert has(str(error.value), said)
    assert bool(str(error.value)) == bool(said)


@pytest.mark.parametrize(
    "word", ["", "measure:qemu", "kernel", "config/qemu.json", "g" * 96, "k" * 64, "deadbeef", "-", " " * 96]
)
def test_names_of_tasks_and_files_do_not_look_like_digests(word: str) -> None:
    assert not looks_like_digest(word)


@pytest.mark.parametrize(
    "word", [DIGEST[:-1], f"{DIGEST[:6]}g{DIGEST[7:]}", SHA256, f"sha256:{SHA256}", BASE64[:-1], "0x1234"]
)
def test_what_was_meant_as_a_digest_looks_like_one(word: str) -> None:
    assert digest_in(word) is None and looks_like_digest(word)


# Which image


Q, H = BuiltImage("q.igvm", "measure:qemu", False), BuiltImage("h.igvm", "measure:hyper-v", True)
SUB = BuiltImage("sub/q.igvm", "measure:sub", False)


def expecting(*digests: LaunchDigest, path: str = "") -> Expectation:
    return Expectation("EXPECT", digests, b"", Path(path) if path else None)


def about(name: str = "", digest: str = DIGEST, native_zero: str = "") -> LaunchDigest:
    return LaunchDigest(digest, name, native_zero)


CHOICES: dict[str, tuple[Expectation, list[BuiltImage], dict[str, tuple[str, ...]]]] = {
    "one without a name": (expecting(about()), [Q], {"q.igvm": (DIGEST,)}),
    "any of several": (expecting(about(), about(digest=OTHER)), [Q], {"q.igvm": (DIGEST, OTHER)}),
    "the named one": (expecting(about("h.igvm")), [Q, H], {"h.igvm": (DIGEST,)}),
    "each named one": (
        expecting(about("q.igvm"), about("h.igvm", OTHER)),
        [Q, H],
        {"q.igvm": (DIGEST,), "h.igvm": (OTHER,)},
    ),
    "only the lines of the image": (expecting(about("x.igvm", OTHER), about("q.igvm")), [Q], {"q.igvm": (DIGEST,)}),
    "a path": (expecting(about("/old/bin/q.igvm")), [Q, H], {"q.igvm": (DIGEST,)}),
    "the longer name": (expecting(about("bin/sub/q.igvm")), [Q, SUB], {"sub/q.igvm": (DIGEST,)}),
    "the base name": (expecting(about("q.igvm")), [SUB], {"sub/q.igvm": (DIGEST,)}),
    "a sidecar": (expecting(about(), path="x/h.igvm.launch-digest.hex"), [Q, H], {"h.igvm": (DIGEST,)}),
    "an image": (expecting(about(native_zero=OTHER), path="old/h.igvm"), [Q, H], {"h.igvm": (OTHER,)}),
    "as the target measures": (expecting(about(native_zero=OTHER)), [Q], {"q.igvm": (DIGEST,)}),
}


@pytest.mark.parametrize(("expectation", "images", "found"), CHOICES.values(), ids=CHOICES)
def test_a_digest_is_compared_with_its_own_image(
    expectation: Expectation, images: list[BuiltImage], found: dict[str, tuple[str, ...]]
) -> None:
    assert expected_of(expectation, images) == found


REFUSED: dict[str, tuple[Expectation, list[BuiltImage], str, str]] = {
    "no name": (expecting(about()), [Q, H], "several-measured", "measure:qemu or measure:hyper-v"),
    "several without names": (expecting(about(), about(digest=OTHER)), [Q, H], "several-measured", "EXPECT: "),
    "a file of another name": (expecting(about(), path="x.igvm"), [Q, H], "several-measured", "EXPECT: "),
    "a name of two": (expecting(about("old/q.igvm")), [SUB, BuiltImage("two/q.igvm", "m", False)], "several-measured", ""),
    "another image": (expecting(about("x.igvm")), [Q], "expected-of-another", f" x.igvm…q.igvm…EXPECT={DIGEST}"),
    "other images": (expecting(about("x.igvm"), about("y.igvm")), [Q, H], "expected-of-another", "x.igvm, y.igvm…q.igvm, h.igvm"),
    "a name that only ends alike": (expecting(about("xq.igvm")), [Q], "expected-of-another", "xq.igvm"),
}  # fmt: skip


@pytest.mark.parametrize(("expectation", "images", "id", "said"), REFUSED.values(), ids=REFUSED)
def test_which_image_is_meant_is_not_guessed(
    expectation: Expectation, images: list[BuiltImage], id: str, said: str
) -> None:
    with pytest.raises(UsageError) as error:
        expected_of(expectation, images)
    assert error.value.id == id and has(str(error.value), said)
