"""A build compared with the launch digest that somebody expects."""

from __future__ import annotations

import base64
import json
import re
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import QEMU, Outcome, Site

from coconut_tasks.commands.verify import read_expectation
from coconut_tasks.errors import UsageError
from coconut_tasks.evidence.expected import FORMS, REPORT_SIZE, Expected, digest_in, expected_in

DIGEST = "0123456789ab" * 8
BASE64 = base64.b64encode(bytes.fromhex(DIGEST)).decode()
DIFF = [sys.executable, "-m", "doit", "diff"]
REPORT = bytes(0x90) + bytes.fromhex(DIGEST) + bytes(REPORT_SIZE - 0x90 - 48)


# What can be expected


@pytest.mark.parametrize("text", [DIGEST, DIGEST.upper(), BASE64])
def test_a_digest_is_known_in_each_way_that_people_write_it(text: str) -> None:
    assert digest_in(text) == DIGEST


@pytest.mark.parametrize(
    "text", ["", DIGEST[:-1], DIGEST + "0", "g" * 96, "0x" + DIGEST[2:], BASE64[:-1], BASE64[:-1] + "=", " " * 96]
)
def test_what_is_no_digest_is_not_taken_for_one(text: str) -> None:
    assert digest_in(text) is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (f"{DIGEST.upper()}\n".encode(), Expected((DIGEST,))),
        (REPORT, Expected((DIGEST,))),
        (json.dumps({"digest": DIGEST, "igvm": {"file": "a.igvm"}}).encode(), Expected((DIGEST,), "a.igvm")),
        (json.dumps({"snp_launch_measurement": [DIGEST, BASE64]}).encode(), Expected((DIGEST,))),
        (
            json.dumps({"predicate": {}, "subject": [{"name": "a.igvm", "digest": {"sevSnpLaunchDigest": DIGEST}}]}).encode(),
            Expected((DIGEST,), "a.igvm"),
        ),
        (b"", None),
        (REPORT + b"\0", None),
        (json.dumps({"digest": DIGEST, "igvm": {"file": "a.igvm"}}).ljust(REPORT_SIZE).encode(), Expected((DIGEST,), "a.igvm")),
        (b"\xff\xfe", None),
        (b"[" * 100_000, None),
        (b'"text"', None),
        (b"{}", None),
        (b'{"digest": 1, "igvm": {"file": "a"}}', None),
        (b'{"snp_launch_measurement": []}', None),
        (json.dumps({"snp_launch_measurement": [DIGEST, "no digest"]}).encode(), None),
        (json.dumps({"predicate": {}, "subject": [{"name": "a", "digest": {"sha256": "0"}}]}).encode(), None),
    ],
)  # fmt: skip
def test_a_file_says_which_digest_is_expected_or_nothing(data: bytes, expected: Expected | None) -> None:
    assert expected_in(data) == expected


@pytest.mark.parametrize("name", ["nosuch", ".", "empty", "bad\0name", "/dev/zero"])
def test_what_is_neither_a_digest_nor_a_file_with_one_is_refused_with_what_could_be(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(UsageError) as error:
        read_expectation(name, lambda path: str(tmp_path / path))
    assert str(error.value).startswith("EXPECT: ") and FORMS in str(error.value)


# Builds


def with_zeroes(value: bool) -> dict[str, Any]:
    content = deepcopy(QEMU)
    content["igvm"]["qemu"]["measure-native-zeroes"] = value
    return content


def verify(site: Site, *words: str) -> Outcome:
    return site.doit("verify", *words)


def test_a_build_is_compared_in_every_form_that_digests_come_in(site: Site) -> None:
    recipe = site.recipe()
    digest = site.build(recipe).digests["q.igvm"]
    (site.folder / "report.bin").write_bytes(bytes(0x90) + bytes.fromhex(digest) + bytes(REPORT_SIZE - 0x90 - 48))
    ends = ("launch-digest.hex", "launch-digest.json", "provenance.json")
    for word in (digest, digest.upper(), f"sha384:{digest}", "report.bin", *(f"bin/q.igvm.{end}" for end in ends)):
        outcome = verify(site, recipe, f"EXPECT={word}")
        assert outcome.status == 0, outcome.text
        assert (
            f"\nverified: bin/q.igvm has the launch digest that {word if '.' in word else 'EXPECT'} names: {digest}\n"
            in outcome.out
        )
    outcome = verify(site, recipe, f"EXPECT={DIGEST}")
    assert outcome.status == 1
    assert outcome.out.endswith(
        f"not verified: bin/q.igvm has not the launch digest that EXPECT names\n  expected: {DIGEST}\n  built:    {digest}\n"
    )


def test_what_is_stale_is_built_before_it_is_compared(site: Site) -> None:
    """The worst that could happen: an old image vouches for new sources."""
    recipe = site.recipe()
    old = site.build(recipe).digests["q.igvm"]
    main = site.tree / "kernel" / "src" / "main.rs"
    good = main.read_text()
    main.write_text(good + "\n#[used]\nstatic NEW: u64 = 0x1122334455667788;\n")
    outcome = verify(site, recipe, f"EXPECT={old}")
    assert outcome.status == 1
    assert {"kernel:svsm", "igvm:qemu", "measure:qemu"} <= outcome.built
    assert f"  expected: {old}\n" in outcome.out
    # A build that fails proves nothing.
    main.write_text("no rust")
    outcome = verify(site, recipe, f"EXPECT={old}")
    assert outcome.status == 1 and "verified" not in outcome.out
    main.write_text(good)
    assert verify(site, recipe, f"EXPECT={old}").status == 0


def test_what_changed_is_told_where_the_expected_file_knows_it(site: Site) -> None:
    content = deepcopy(QEMU)
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + '\n#[used]\nstatic MARK: [u8; 8] = *b"MARK-one";\n')
    site.build(site.recipe(content))
    for end in ("provenance", "launch-digest"):
        (site.folder / f"old.{end}.json").write_bytes((site.bin / f"q.igvm.{end}.json").read_bytes())
    image = (site.bin / "q.igvm").read_bytes()
    # One byte of the source, of the program, of the image.
    main.write_text(main.read_text().replace("MARK-one", "MARK-onf"))
    outcome = verify(site, site.recipe(content), "EXPECT=old.provenance.json")
    assert outcome.status == 1
    told = outcome.out.partition("\nwhat changed:\n")[2]
    assert "  input files:\n    kernel/src/main.rs changed (kernel:svsm)\n" in told
    (at,) = [
        i for i, (a, b) in enumerate(zip(image, (site.bin / "q.igvm").read_bytes(), strict=True)) if a != b and i > 64
    ]
    page = re.search(
        r"^    (0x[0-9a-f]+) … 0x[0-9a-f]+  1 page  normal  kernel:svsm from (0x[0-9a-f]+)$", told, re.MULTILINE
    )
    assert page and "different launch digests" in told
    program = (site.bin / "svsm").read_bytes()
    assert int(page[2], 16) == program.index(b"MARK-onf") // 4096 * 4096
    assert image[at - 7 : at + 1] == b"MARK-one"
    # By hand the same; without the images at hand, the pages are in the statements.
    by_hand = site.run([*DIFF, "old.provenance.json", "bin/q.igvm.provenance.json"])
    assert by_hand.status == 1 and page[0].strip() in by_hand.out
    # With both images, the byte.
    (site.folder / "q.igvm").write_bytes(image)
    by_hand = site.run([*DIFF, "old.provenance.json", "bin/q.igvm.provenance.json"])
    assert f"from {int(page[1], 16) + program.index(b'MARK-onf') % 4096 + 7:#x}, byte " in by_hand.out
    # A file that knows less tells less.
    outcome = verify(site, site.recipe(content), "EXPECT=old.launch-digest.json")
    assert outcome.status == 1 and "only this build tells it: " in outcome.out


def test_what_was_left_out_is_not_vouched_for(site: Site) -> None:
    recipe = site.recipe()
    digest = site.build(recipe).digests["q.igvm"]
    outcome = verify(site, "--single", "measure:qemu", recipe, f"EXPECT={digest}")
    assert (outcome.status, outcome.ids) == (2, {"single-verify"}) and "error: verify: --single " in outcome.err
    site.build("ignore", "kernel:svsm", recipe)
    outcome = verify(site, recipe, f"EXPECT={digest}")
    assert outcome.status == 2 and "verified" not in outcome.out
    assert outcome.ids == {"step-left-out"}
    assert "verify: kernel:svsm, igvm:qemu, measure:qemu, provenance:qemu " in outcome.err


def test_another_way_to_measure_is_recognised(site: Site) -> None:
    native = site.build(site.recipe(with_zeroes(True))).digests["q.igvm"]
    outcome = verify(site, site.recipe(with_zeroes(False)), f"EXPECT={native}")
    assert outcome.status == 1
    assert "the same file has the expected digest with 'measure-native-zeroes': true" in outcome.out
    plain = site.build(site.recipe(with_zeroes(False))).digests["q.igvm"]
    outcome = verify(site, site.recipe(with_zeroes(True)), f"EXPECT={plain}")
    assert "the same file has the expected digest without 'measure-native-zeroes'" in outcome.out


def test_of_several_images_the_right_one_is_compared_or_asked_for(site: Site) -> None:
    content = deepcopy(QEMU)
    content["igvm"]["hyper-v"] = {"output": "h.igvm", "platforms": ["snp"]}
    recipe = site.recipe(content)
    digests = site.build(recipe).digests
    for name, digest in digests.items():
        outcome = verify(site, recipe, f"EXPECT=bin/{name}.launch-digest.json")
        assert outcome.status == 0 and f"verified: bin/{name} " in outcome.out and digest in outcome.out
    outcome = verify(site, recipe, f"EXPECT={digests['h.igvm']}")
    assert (outcome.status, outcome.ids) == (2, {"several-measured"})
    assert " measure:hyper-v, measure:qemu " in outcome.err
    assert verify(site, "measure:hyper-v", recipe, f"EXPECT={digests['h.igvm']}").status == 0
    assert verify(site, "measure:qemu", recipe, f"EXPECT={digests['h.igvm']}").status == 1
    outcome = verify(site, "measure:qemu", recipe, "EXPECT=bin/h.igvm.launch-digest.json")
    assert (outcome.status, outcome.ids) == (2, {"expected-of-another"})
    assert "EXPECT: bin/h.igvm.launch-digest.json " in outcome.err and " h.igvm: " in outcome.err
    assert outcome.told("expected-of-another")[0].endswith(" q.igvm")
    source = site.tree / "kernel" / "src" / "main.rs"
    source.write_text(f"{source.read_text()}\n// an edit\n")
    outcome = verify(site, "kernel:svsm", recipe, f"EXPECT={digests['h.igvm']}")
    assert (outcome.status, outcome.ids) == (2, {"nothing-measured"})
    assert outcome.built == set()  # it was asked before


@pytest.mark.parametrize(
    ("words", "id"),
    [
        (["verify"], "nothing-expected"),
        (["verify", "EXPECT="], "empty-variable"),
        (["verify", "EXPECT=nosuch.json"], "no-launch-digest"),
        (["run", f"EXPECT={DIGEST}"], "variable-not-used"),
        (["list", f"EXPECT={DIGEST}"], "variable-not-used"),
    ],
)  # fmt: skip
def test_wrong_use_is_told_before_anything_is_built(words: list[str], id: str, site: Site) -> None:
    outcome = site.doit(*words, site.recipe())
    assert (outcome.status, outcome.ids) == (2, {id})
    assert "error: EXPECT: " in outcome.err
    assert not site.bin.exists()
