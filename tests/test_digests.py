"""Launch digests in all forms; near misses get a reason; and which image each is about."""

from __future__ import annotations

import base64
import json
import random
import re
from contextlib import suppress
from pathlib import Path
from time import process_time
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
from coconut_tasks.evidence.expected import BuiltImage, Expectation, Expected, expected_of
from coconut_tasks.evidence.reference_values import corim, trustee
from coconut_tasks.igvm.launch import Measured, MeasureOptions
from coconut_tasks.igvm.measure import measure
from coconut_tasks.igvm.platforms import MEASURED

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


def one(digest: str = DIGEST, image: str = "", native_zero: str = "", platform: str = "") -> tuple[LaunchDigest, ...]:
    return (LaunchDigest(digest, image, native_zero, platform),)


def snp(digest: str = DIGEST, image: str = "", native_zero: str = "") -> tuple[LaunchDigest, ...]:
    """Of SEV-SNP, as its form says."""
    return one(digest, image, native_zero, "snp")


TWO = (*one(image="q.igvm"), *one(OTHER, "old/h.igvm"))
TWO_SNP = (*snp(image="q.igvm"), *snp(OTHER, "old/h.igvm"))
EACH = (*snp(image="a.igvm"), *one(OTHER, "a.igvm", platform="tdp"), *one(SHA256, "a.igvm", platform="vsm"))
"""Of one image."""


def of(platform: str, digest: bytes = RAW, svn: int | None = None) -> Measured:
    return Measured(MEASURED[platform], digest, 1, None, svn)


def quote(version: int, size: int = 5000) -> bytes:
    header = version.to_bytes(2, "little") + (2).to_bytes(2, "little") + (0x81).to_bytes(4, "little") + bytes(40)
    body = bytes(136) + RAW + bytes(584 - 136 - 48)
    return (header + (b"\x02\0\x48\x02\0\0" if version == 5 else b"") + body).ljust(size, b"\xa5")


TD_REPORT = b"\x81\0\0\0" + bytes(0x20C) + RAW + bytes(1024 - 0x210 - 48)


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
    "a report": (REPORT, snp()),
    "a report as snpguest shows it": (SNPGUEST, snp()),
    "a CoRIM": (corim([of("snp")]), snp()),
    "a CoRIM with a profile": (corim([of("snp", svn=3)]), snp()),
    "reference values": (trustee([of("snp")]), snp()),
    "one reference value": (json.dumps({"snp_launch_measurement": DIGEST}), snp()),
    "reference values of two images": (
        json.dumps({"snp_launch_measurement": [DIGEST, OTHER]}),
        (*snp(), *snp(OTHER)),
    ),
    "a statement": (statement({"name": "a.igvm", "digest": {"sevSnpLaunchDigest": DIGEST}}), snp(image="a.igvm")),
    "a statement about more": (
        statement(
            {"name": "a.igvm", "digest": {"sevSnpLaunchDigest": DIGEST}}, {"name": "b", "digest": {"sha256": SHA256}}
        ),
        snp(image="a.igvm"),
    ),
    "a measurement": (json.dumps({"digest": DIGEST, "igvm": {"file": "a.igvm"}}), snp(image="a.igvm")),
    "a measurement of a report's size": (
        json.dumps({"digest": DIGEST, "igvm": {"file": "a.igvm"}}).ljust(REPORT_SIZE),
        snp(image="a.igvm"),
    ),
    "a measurement of a pipe": (json.dumps({"digest": DIGEST, "igvm": {"file": "/dev/fd/63"}}), snp()),
    "what jq prints": (json.dumps(DIGEST), one()),
    "a list": (json.dumps([DIGEST, OTHER]), (*one(), *one(OTHER))),
    "measurements by jq -s": (
        json.dumps([{"digest": DIGEST, "igvm": {"file": "q.igvm"}}, {"digest": OTHER, "igvm": {"file": "old/h.igvm"}}]),
        TWO_SNP,
    ),
    "igvmmeasure": (IGVMMEASURE, snp(image="bin/q.igvm")),
    "igvmmeasure of two images": (
        IGVMMEASURE.replace("bin/", "") + IGVMMEASURE.replace("bin/q", "old/h").replace(DIGEST.upper(), OTHER),
        TWO_SNP,
    ),
    "igvmmeasure by grep": (f"Launch Digest: {DIGEST.upper()}\n", snp()),
    "igvmmeasure --verbose": (f"gpa 0x1000 len 0x1000 (Zero page)\n{IGVMMEASURE}", snp(image="bin/q.igvm")),
    "a log": (f"$ target/igvmmeasure --check-kvm bin/q.igvm measure\n{IGVMMEASURE}", snp(image="bin/q.igvm")),
    "the end of a run": (f"built: 3 steps\nbin/q.igvm: 4.1 MiB, launch digest {DIGEST}\n", snp(image="bin/q.igvm")),
    "diff": (f"q.igvm:     launch digest {DIGEST}\nold/h.igvm: launch digest {OTHER}\ndifferent\n", TWO_SNP),
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
    "an image": (IMAGE, snp(PLAIN, native_zero=NATIVE)),
    "a TD report": (TD_REPORT, one(platform="tdp")),
    "a report of SVN 0x81, a quote's TEE type": (
        (5).to_bytes(4, "little") + (0x81).to_bytes(4, "little") + REPORT[8:],
        snp(),
    ),
    "a report of a guest that may be debugged": (
        REPORT[:8] + (0xB0000).to_bytes(8, "little") + REPORT[16:],
        (LaunchDigest(DIGEST, platform="snp", may_be_debugged=True),),
    ),
    "a report of a policy without that": (REPORT[:8] + (0x30000).to_bytes(8, "little") + REPORT[16:], snp()),
    "a TD report of a guest that may be debugged": (
        TD_REPORT[:0x200] + b"\x01" + TD_REPORT[0x201:],
        (LaunchDigest(DIGEST, platform="tdp", may_be_debugged=True),),
    ),
    "a quote of a guest that may be debugged": (
        quote(5)[:174] + b"\x01" + quote(5)[175:],
        (LaunchDigest(DIGEST, platform="tdp", may_be_debugged=True),),
    ),
    "a quote of version 4": (quote(4), one(platform="tdp")),
    "a quote of version 5": (quote(5), one(platform="tdp")),
    "a quote of a report's size": (quote(4, REPORT_SIZE), one(platform="tdp")),
    "a CoRIM of each platform": (
        corim([of("snp"), of("tdp", RAW[::-1]), of("vsm", bytes.fromhex(SHA256))]),
        (*snp(), *one(OTHER, platform="tdp"), *one(SHA256, platform="vsm")),
    ),
    "reference values of two platforms": (trustee([of("snp"), of("tdp", RAW[::-1])]), (*snp(), *one(OTHER, platform="tdp"))),
    "an MRTD for Trustee": (json.dumps({"mr_td": OTHER}), one(OTHER, platform="tdp")),
    "a statement of each platform": (
        statement({"name": "a.igvm", "digest": {"sevSnpLaunchDigest": DIGEST, "tdxMrtd": OTHER, "vbsBootDigest": SHA256}}),
        EACH,
    ),
    "measurements": (
        json.dumps({"measurements": [{"platform": one.platform, "digest": one.digest} for one in EACH], "igvm": {"file": "a.igvm"}}),
        EACH,
    ),
    "the end of a run for each platform": (
        f"a.igvm: 4.1 MiB, debug, launch digest {DIGEST}\na.igvm: MRTD {OTHER}\na.igvm: VBS boot digest {SHA256}\n",
        EACH,
    ),
    "coconut-measure with several processors": (
        f"a.igvm: SEV-SNP launch digest {DIGEST} (4 processors of type EPYC-Milan)\n",
        snp(image="a.igvm"),
    ),
    "another tool for TDX": (f"MRTD: {OTHER.upper()}\nRTMR0: {DIGEST}\n", one(OTHER, platform="tdp")),
    "a VBS boot digest": (SHA256, one(SHA256, platform="vsm")),
    "a VBS boot digest in both cases": (SHA256[:32] + SHA256[32:].upper(), one(SHA256, platform="vsm")),
    "sha256sum": (f"{SHA256}  q.igvm", one(SHA256, "q.igvm", platform="vsm")),
    "sha256:": (f"sha256:{SHA256}", one(SHA256, platform="vsm")),
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

    assert digests_in(printed()) == digests_in(printed("--json")) == snp(PLAIN, str(file))
    assert digests_in(printed("--native-zero")) == snp(NATIVE, str(file))
    assert digests_in(printed("--bare")) == one(PLAIN)
    for as_json in (False, True):
        InspectCommand().execute({"json": as_json, "all": False}, [str(file), str(file)])
        assert digests_in(capsys.readouterr().out.encode()) == snp(PLAIN, str(file), NATIVE)


def test_the_id_block_says_how_an_image_is_measured() -> None:
    """The firmware starts a guest only with the digest in its ID block."""
    for digest in (PLAIN, NATIVE):
        assert digests_in(igvm(*PAGES, id_block(1, SNP, bytes.fromhex(digest)))) == snp(digest)
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
                assert all(
                    re.fullmatch("[0-9a-f]{64}" if one.platform == "vsm" else "[0-9a-f]{96}", one.digest)
                    for one in digests_in(data)
                )


# Near misses


MISSES: dict[str, tuple[bytes | str, str]] = {
    "a digit short": (DIGEST[:-1], "95 hex digits; expected 96"),
    "a digit short after 0x": (f"0x{DIGEST[:-1]}", "95 hex digits; expected 96"),
    "a digit long": (f"{DIGEST}0", "97 hex digits; expected 96"),
    "a digit short in igvmmeasure's output": (IGVMMEASURE.replace(DIGEST.upper(), DIGEST[1:]), "Launch Digest:…95 hex digits"),
    "igvmmeasure that did not end": ("igvmmeasure 'q.igvm'\nLaunch Digest: ", "Launch Digest:"),
    "igvmmeasure for SEV": (f"igvmmeasure 'q.igvm'\nLaunch Digest: {SHA256.upper()}\n", "64 hex digits…a SHA-256…expected 96"),
    "a SHA-256, a digit short": (SHA256[1:], "63 hex digits; expected 96"),
    "sha256: and base64": (f"sha256:{BASE64[:43]}=", "a SHA-256…a SHA-384"),
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
    "an MRTD as VBS boot digest": (
        json.dumps({"measurements": [{"platform": "vsm", "digest": DIGEST}], "igvm": {"file": "a"}}),
        "96 hex digits; expected 64",
    ),
    "a measurement of no file": (json.dumps({"digest": DIGEST, "igvm": 5}), "a launch measurement without"),
    "a measurement of a newer platform": (
        json.dumps({"measurements": [{"platform": "snp", "digest": DIGEST}, {"platform": "cca", "digest": DIGEST}]}),
        "'cca'; expected snp, tdp or vsm",
    ),
    "a measurement of no platform": (json.dumps({"digest": DIGEST, "platform": []}), "[]; expected snp, tdp or vsm"),
    "no reference values": ('{"snp_launch_measurement": []}', "reference values without"),
    "a wrong reference value": (json.dumps({"snp_launch_measurement": [DIGEST, "no digest"]}), "'no digest'"),
    "a statement about a file": (statement({"name": "a", "digest": {"sha256": SHA256}}), "a provenance statement without"),
    "a statement about nothing": ('{"subject": [], "predicate": {}}', "a provenance statement without"),
    "a statement about no name": (
        statement({"name": 5, "digest": {"tdxMrtd": DIGEST}}), "a provenance statement without"
    ),
    "inspect of an image without SEV-SNP": ('{"format": 1, "files": [{"file": "a", "launch_digest": null}]}', "'inspect --json'"),
    "a report without it": ("Measurement:\n00 11\n\nHost Data:\n", "'Measurement:' without 96 hex digits"),
    "a report with more": (f"Measurement: {RAW.hex(' ')} 00\n", "'Measurement:' without 96 hex digits"),
    "a text without an end": ("yes\n" * (2 << 20), "4 MiB"),
    "a CoRIM of something else": (cbor2.dumps(cbor2.CBORTag(501, {0: "x", 1: []})), "a CoRIM without"),
    "a CoRIM of one right digest": (corim([of("snp"), of("tdp", RAW[1:])]), "a CoRIM with 47 bytes as MRTD; expected 48"),
    "a CoRIM of text": (
        corim([of("tdp")]).replace(b"\x58\x30" + RAW, b"\x78\x30" + b"a" * 48), "a CoRIM with 'aaa…' as MRTD; expected 48 bytes"
    ),
    "a broken CoRIM": (corim([of("snp")])[:-9], "a CoRIM without"),
    "a TD report that was cut off": (TD_REPORT[:-1], "1023 raw bytes…1024"),
    "1024 other bytes": (bytes(1024), "1024 raw bytes…TD report…0x81"),
    "an image that nothing measures": (igvm(platform(TDX, 0), page(0, mask=TDX)), "an IGVM file without…no platform that measures"),
    "an image that cannot be measured": (igvm(platform(TDX, 3), page(0, flags=1, mask=TDX)), "an IGVM file without…2 MiB"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "said"), MISSES.values(), ids=MISSES)
def test_what_is_nearly_a_digest_is_named(content: bytes | str, said: str) -> None:
    with pytest.raises(NotADigest) as error:
        digests_in(encoded(content))
    assert has(str(error.value), said)
    assert bool(str(error.value)) == bool(said)


def test_a_line_with_any_number_of_sizes_is_read_at_once() -> None:
    """Each might be where the name of an image ends: that takes seconds if each is tried with each comma."""
    before = process_time()
    with pytest.raises(NotADigest):
        digests_in(b"a: 1 B, " * 8000)
    assert process_time() - before < 1


@pytest.mark.parametrize(
    "word", ["", "measure:qemu", "kernel", "config/qemu.json", "g" * 96, "k" * 64, "deadbeef", "-", " " * 96]
)
def test_names_of_tasks_and_files_do_not_look_like_digests(word: str) -> None:
    assert not looks_like_digest(word)


@pytest.mark.parametrize(
    "word", [DIGEST[:-1], f"{DIGEST[:6]}g{DIGEST[7:]}", SHA256[:-1], SHA256, f"sha256:{SHA256}", BASE64[:-1], "0x1234"]
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
    expected = {name: [one.digests for one in each] for name, each in expected_of(expectation, images).items()}
    assert expected == {name: [digests] for name, digests in found.items()}


ALL = BuiltImage("a.igvm", "measure:a", False, ("snp", "tdp", "vsm"))
TDP_ONLY = BuiltImage("t.igvm", "measure:t", False, ("tdp",))


def test_each_platform_is_compared_with_what_is_expected_of_it() -> None:
    assert expected_of(expecting(*EACH), [ALL]) == {
        "a.igvm": (
            Expected(("snp",), (DIGEST,)),
            Expected(("tdp",), (OTHER,)),
            Expected(("vsm",), (SHA256,)),
        )
    }
    # Both are 48 bytes, and a digest alone does not say which it is.
    assert expected_of(expecting(about(), about(digest=OTHER)), [ALL]) == {
        "a.igvm": (Expected(("snp", "tdp"), (DIGEST, OTHER)),)
    }
    assert expected_of(expecting(about()), [TDP_ONLY]) == {"t.igvm": (Expected(("tdp",), (DIGEST,)),)}
    # A quote is about the only image for TDX.
    assert expected_of(expecting(*one(platform="tdp")), [Q, TDP_ONLY]) == {"t.igvm": (Expected(("tdp",), (DIGEST,)),)}
    # So does one that has none of what is expected of it, beside one that has.
    each = (*one(image="q.igvm", platform="snp"), *one(OTHER, "h.igvm", platform="tdp"))
    assert expected_of(expecting(*each), [Q, H]) == {
        "q.igvm": (Expected(("snp",), (DIGEST,)),),
        "h.igvm": (Expected(("tdp",), (OTHER,)),),
    }
    either = (*one(image="v.igvm"), *one(SHA256, "v.igvm", platform="vsm"))
    assert expected_of(expecting(*either), [BuiltImage("v.igvm", "measure:v", False, ("vsm",))]) == {
        "v.igvm": (Expected(("snp", "tdp"), (DIGEST,)), Expected(("vsm",), (SHA256,)))
    }
    # An image that is not for a platform any more does not have what is expected of it.
    both = (*one(image="q.igvm", platform="snp"), *one(OTHER, "q.igvm", platform="tdp"))
    assert expected_of(expecting(*both), [Q]) == {
        "q.igvm": (Expected(("snp",), (DIGEST,)), Expected(("tdp",), (OTHER,)))
    }


REFUSED: dict[str, tuple[Expectation, list[BuiltImage], str, str]] = {
    "no name": (expecting(about()), [Q, H], "several-measured", "measure:qemu or measure:hyper-v"),
    "several without names": (expecting(about(), about(digest=OTHER)), [Q, H], "several-measured", "EXPECT: "),
    "a file of another name": (expecting(about(), path="x.igvm"), [Q, H], "several-measured", "EXPECT: "),
    "a name of two": (expecting(about("old/q.igvm")), [SUB, BuiltImage("two/q.igvm", "m", False)], "several-measured", ""),
    "another image": (expecting(about("x.igvm")), [Q], "expected-of-another", f" x.igvm…q.igvm…EXPECT={DIGEST}"),
    "other images": (expecting(about("x.igvm"), about("y.igvm")), [Q, H], "expected-of-another", "x.igvm, y.igvm…q.igvm, h.igvm"),
    "another platform": (expecting(*one(platform="tdp")), [Q], "expected-of-another", "an MRTD…launch digest (snp)"),
    "a SHA-256": (expecting(*one(SHA256, platform="vsm")), [Q, TDP_ONLY], "expected-of-another", "a VBS boot digest…MRTD (tdp)"),
    "a platform that none has, beside another": (
        expecting(*one(platform="snp"), *one(SHA256, platform="vsm")), [Q, TDP_ONLY],
        "expected-of-another", "a VBS boot digest or another SHA-256, …launch digest (snp) or MRTD (tdp)",
    ),
    "a platform that the image does not have, but another": (
        expecting(*one(platform="tdp"), path="old/q.igvm.corim"), [Q, TDP_ONLY],
        "expected-of-another", "an MRTD, …only the launch digest (snp) of q.igvm",
    ),
    "a name that only ends alike": (expecting(about("xq.igvm")), [Q], "expected-of-another", "xq.igvm"),
}  # fmt: skip


@pytest.mark.parametrize(("expectation", "images", "id", "said"), REFUSED.values(), ids=REFUSED)
def test_which_image_is_meant_is_not_guessed(
    expectation: Expectation, images: list[BuiltImage], id: str, said: str
) -> None:
    with pytest.raises(UsageError) as error:
        expected_of(expectation, images)
    assert error.value.id == id and has(str(error.value), said)
