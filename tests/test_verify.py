"""A build compared with an expected launch digest."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from copy import deepcopy
from hashlib import sha256, sha384
from pathlib import Path
from typing import Any

import pytest
from conftest import QEMU, Outcome, Site, environment, has
from igvm_files import igvm, page, platform

from coconut_tasks.commands.verify import read_expectation
from coconut_tasks.errors import UsageError
from coconut_tasks.evidence.digests import FORMS, REPORT_SIZE, LaunchDigest
from coconut_tasks.evidence.expected import Expectation
from coconut_tasks.igvm.kvm import SIGNATURES
from coconut_tasks.igvm.launch import Measured, MeasureOptions
from coconut_tasks.igvm.measure import measure, measure_all
from coconut_tasks.igvm.platforms import SNP as SNP_PLATFORM
from coconut_tasks.igvm.platforms import TDP
from coconut_tasks.layout import HEX, SIDECARS

DIGEST = "0123456789ab" * 8
BASE64 = base64.b64encode(bytes.fromhex(DIGEST)).decode()
DOIT = [sys.executable, "-m", "doit"]
DIFF = [*DOIT, "diff"]


# What can be expected: the forms are in test_digests


def expected_in(folder: Path, value: str) -> Expectation:
    return read_expectation(value, lambda path: str(folder / path))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("nosuch", f"'nosuch'…{FORMS}"),
        (".", f"'.'…{FORMS}"),
        ("bad\0name", FORMS),
        ("/dev/zero", f"/dev/zero…{FORMS}"),
        ("text", f"text: …{FORMS}"),
        ("empty", "empty: "),
        ("short", "short: 95 hex digits"),
        (DIGEST[1:], "95 hex digits"),
        (f"{DIGEST}\n{DIGEST}0", "line 2: 97 hex digits"),
        (f"sha256:{DIGEST[:63]}=", "a SHA-256"),
        ("not.igvm", "not.igvm: at 0x4: "),
    ],
)
def test_what_is_neither_a_digest_nor_a_file_with_one_is_refused_with_what_it_is(
    value: str, said: str, tmp_path: Path
) -> None:
    for name, content in (("empty", ""), ("text", "hello world"), ("short", DIGEST[1:]), ("not.igvm", "IGVM" * 10)):
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError) as error:
        expected_in(tmp_path, value)
    assert str(error.value).startswith("EXPECT: ") and has(str(error.value), said)


def test_a_value_is_the_digest_that_it_is_before_it_is_a_file(tmp_path: Path) -> None:
    """Otherwise a file in the folder would decide what is expected."""
    (tmp_path / DIGEST).write_text(DIGEST[::-1])
    for value in (DIGEST, BASE64, f"# ours\n{DIGEST}"):
        assert expected_in(tmp_path, value) == Expectation("EXPECT", (LaunchDigest(DIGEST),))
    told = expected_in(tmp_path, f"Launch Digest: {DIGEST.upper()}")
    assert told == Expectation("EXPECT", (LaunchDigest(DIGEST, platform="snp"),))
    # But a path of 64 letters is a path.
    value = f"Folder/{'x' * 57}"
    (tmp_path / "Folder").mkdir()
    (tmp_path / value).write_text(DIGEST)
    assert expected_in(tmp_path, value).told == value


def test_an_image_is_expected_as_it_was_measured(tmp_path: Path) -> None:
    """How its pages without data are measured is in the measurement beside it, if that belongs to this file; otherwise in the target."""
    image, sidecar = tmp_path / "q.igvm", tmp_path / "q.igvm.launch-digest.json"
    image.write_bytes(igvm(platform(), page(0x1000)))
    plain, native = (measure(image.read_bytes(), MeasureOptions(native_zero=on)).digest.hex() for on in (False, True))
    both = (LaunchDigest(plain, native_zero=native, platform="snp"),)
    assert expected_in(tmp_path, "q.igvm").digests == both
    found = {
        "kind": "SEV-SNP launch digest",
        "igvm": {"file": "q.igvm", "sha256": sha256(image.read_bytes()).hexdigest()},
    }
    for on, digest in ((True, native), (False, plain)):
        sidecar.write_text(json.dumps({**found, "digest": digest, "measure_native_zeroes": on}))
        assert expected_in(tmp_path, "q.igvm").digests == (LaunchDigest(digest, platform="snp"),)
    for other in (json.dumps({**found, "igvm": {"sha256": "0" * 64}, "measure_native_zeroes": True}), "{", "[]"):
        sidecar.write_text(other)
        assert expected_in(tmp_path, "q.igvm").digests == both


# Builds


def with_zeroes(value: bool) -> dict[str, Any]:
    content = deepcopy(QEMU)
    content["igvm"]["qemu"]["measure-native-zeroes"] = value
    return content


def piped(site: Site, words: list[str], text: str) -> Outcome:
    """A run of ``verify`` with a text on its standard input."""
    done = subprocess.run(
        site.argv("verify", *words),
        cwd=site.folder,
        env=environment(site.target),
        input=text,
        capture_output=True,
        text=True,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


BOTH = {
    "old.igvm", "inspect", "inspect.json", "run", "run.json", "measured", "measured.json", "bin/q.igvm",
    *(f"bin/q.igvm{end}" for end in SIDECARS if not end.endswith(".hex")),
}  # fmt: skip
"""The files that have the digests of both platforms."""


def verify(site: Site, *words: str) -> Outcome:
    return site.doit("verify", *words)


def test_a_build_is_compared_in_every_form_that_digests_come_in(site: Site) -> None:
    recipe = site.recipe()
    digest = site.build(recipe).digests["q.igvm"]
    mrtd = (site.bin / "q.igvm.mrtd.hex").read_text().strip()
    report = (2).to_bytes(4, "little") + bytes(0x8C) + bytes.fromhex(digest)
    (site.folder / "report.bin").write_bytes(report.ljust(REPORT_SIZE, b"\0"))
    (site.folder / "raw.bin").write_bytes(bytes.fromhex(digest))
    (site.folder / "old.igvm").write_bytes((site.bin / "q.igvm").read_bytes())
    printed = {
        "log": site.doit("log", "measure:qemu", recipe).out,
        "inspect": site.run([*DOIT, "inspect", "bin/q.igvm"]).out,
        "inspect.json": site.run([*DOIT, "inspect", "--json", "bin/q.igvm"]).out,
        "run": site.doit(recipe).out,
        "run.json": site.doit("run", "--json", recipe).out,
        "sums": f"{'0' * 96}  other.igvm\n{digest}  /elsewhere/q.igvm\n",
        **{
            name: site.run([sys.executable, "-m", "coconut_tasks.commands.measure", *words, "bin/q.igvm"]).out
            for name, words in (("measured", []), ("measured.json", ["--json"]), ("bare", ["--bare"]))
        },
    }
    assert "\nLaunch Digest: " in printed["log"]
    for name, text in printed.items():
        (site.folder / name).write_text(text)
    files = ("report.bin", "raw.bin", "old.igvm", *printed, "bin/q.igvm", *(f"bin/q.igvm{end}" for end in SIDECARS))
    files = tuple(file for file in files if file != "bin/q.igvm.boot-digest.hex")  # the image is not for vsm
    words = (digest, f"0x{digest.upper()}", f"SHA384:{digest}", printed["log"])
    for word in (*words, *files):
        outcome = verify(site, recipe, f"EXPECT={word}")
        assert outcome.status == 0, outcome.text
        line, *others = [line for line in outcome.out.splitlines() if line.startswith("verified: ")]
        # What says more than SEV-SNP's digest is compared whole.
        assert all(has(other, f" bin/q.igvm … MRTD …: {mrtd}") for other in others)
        assert len(others) == (word in BOTH)
        if word == "bin/q.igvm.mrtd.hex":
            assert has(line, f": {mrtd}")
            continue
        assert has(line, f" bin/q.igvm …{f' {word}' if word in files else ' expected'}…: {digest}")
    outcome = verify(site, recipe, f"EXPECT={DIGEST}\n{digest}\n")
    assert outcome.status == 0 and has(outcome.out, f"verified: bin/q.igvm … 2 …: {digest}")
    outcome = verify(site, recipe, f"EXPECT={DIGEST}")
    assert outcome.status == 1
    assert has(outcome.out, f"not verified: bin/q.igvm …\n  expected: {DIGEST}\n  built:    {digest}\n")
    assert "what changed" not in outcome.out
    (site.folder / "other.hex").write_text(DIGEST)
    outcome = verify(site, recipe, "EXPECT=other.hex")
    assert outcome.status == 1 and "what changed" not in outcome.out
    # The file's SHA-384 from sha384sum is not a launch digest.
    outcome = verify(site, recipe, f"EXPECT={sha384((site.bin / 'q.igvm').read_bytes()).hexdigest()}")
    assert outcome.status == 1 and has(outcome.out, "SHA-384 …igvmmeasure")
    # An older image has everything that 'diff' needs.
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + "\n#[used]\nstatic NEW: u64 = 0x1122334455667788;\n")
    outcome = verify(site, recipe, "EXPECT=old.igvm")
    assert outcome.status == 1 and has(
        outcome.out, f"  expected: {digest}\n…what changed:\n…old.igvm: … pages … differ"
    )


def test_standard_input_is_read_once_and_before_the_build(site: Site) -> None:
    recipe = site.recipe()
    outcome = piped(site, [recipe, "EXPECT=-"], DIGEST[1:])
    assert (outcome.status, outcome.ids) == (2, {"no-launch-digest"}) and not site.bin.exists()
    digest = site.build(recipe).digests["q.igvm"]
    outcome = piped(site, [recipe, "EXPECT=-"], f"Launch Digest: {digest.upper()}\n")
    assert outcome.status == 0 and "verified: bin/q.igvm " in outcome.out


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
    # A failed build proves nothing.
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
    # The same with 'diff'; without images, the pages are in the statements.
    by_hand = site.run([*DIFF, "old.provenance.json", "bin/q.igvm.provenance.json"])
    assert by_hand.status == 1 and page[0].strip() in by_hand.out
    # With both images, the byte.
    (site.folder / "q.igvm").write_bytes(image)
    by_hand = site.run([*DIFF, "old.provenance.json", "bin/q.igvm.provenance.json"])
    assert f"from {int(page[1], 16) + program.index(b'MARK-onf') % 4096 + 7:#x}, byte " in by_hand.out
    # A file with less information gives less.
    outcome = verify(site, site.recipe(content), "EXPECT=old.launch-digest.json")
    assert outcome.status == 1 and "only available for " in outcome.out


def test_what_was_left_out_is_not_vouched_for(site: Site) -> None:
    recipe = site.recipe()
    digest = site.build(recipe).digests["q.igvm"]
    outcome = verify(site, "--single", "measure:qemu", recipe, f"EXPECT={digest}")
    assert (outcome.status, outcome.ids) == (2, {"single-verify"}) and "error: verify: --single " in outcome.err
    site.build("ignore", "kernel:svsm", recipe)
    outcome = verify(site, recipe, f"EXPECT={digest}")
    assert outcome.status == 2 and "verified" not in outcome.out
    assert outcome.ids == {"step-left-out"}
    assert " kernel:svsm, igvm:qemu, measure:qemu, provenance:qemu, " in outcome.err


def test_another_way_to_measure_is_recognised(site: Site) -> None:
    native = site.build(site.recipe(with_zeroes(True))).digests["q.igvm"]
    outcome = verify(site, site.recipe(with_zeroes(False)), f"EXPECT={native}")
    assert outcome.status == 1
    assert "the same file has the expected digest with 'measure-native-zeroes': true" in outcome.out
    plain = site.build(site.recipe(with_zeroes(False))).digests["q.igvm"]
    outcome = verify(site, site.recipe(with_zeroes(True)), f"EXPECT={plain}")
    assert "the same file has the expected digest without 'measure-native-zeroes'" in outcome.out


def test_each_platform_is_compared_with_its_own_report_and_the_ways_of_loaders_are_tried(site: Site) -> None:
    content = deepcopy(QEMU)
    content["igvm"] = {"hyper-v": {"output": "h.igvm", "platforms": ["snp", "tdp", "vsm"]}}
    recipe = site.recipe(content)
    built = site.build(recipe)
    image = (site.bin / "h.igvm").read_bytes()
    found = {platform: (site.bin / f"h.igvm{end}").read_text().strip() for platform, end in HEX.items()}
    assert found == {
        word: one.digest.hex()
        for word, one in measure_all(image, MeasureOptions()).items()
        if isinstance(one, Measured)
    }
    assert re.findall(
        r"^bin/h\.igvm: (?:.*, )?(launch digest|MRTD|VBS boot digest) (.*)$", built.out, re.MULTILINE
    ) == [*zip(("launch digest", "MRTD", "VBS boot digest"), found.values(), strict=True)]
    td_report = bytearray(1024)
    td_report[0], td_report[0x210:0x240] = 0x81, bytes.fromhex(found["tdp"])
    (site.folder / "td-report.bin").write_bytes(td_report)
    outcome = verify(site, recipe, "EXPECT=td-report.bin")
    assert (outcome.status, outcome.out.count("verified: ")) == (0, 1)
    assert has(outcome.out, f"verified: bin/h.igvm … MRTD … td-report.bin: {found['tdp']}")
    outcome = verify(site, recipe, f"EXPECT={found['vsm']}")
    assert outcome.status == 0 and has(outcome.out, f"verified: bin/h.igvm … VBS boot digest: {found['vsm']}")
    td_report[0x200] |= 1
    (site.folder / "td-report.bin").write_bytes(td_report)
    outcome = verify(site, recipe, "EXPECT=td-report.bin")
    assert outcome.status == 0 and has(outcome.out, "verified: …\n  td-report.bin … its host may debug")
    td_report[0x210] ^= 1
    (site.folder / "td-report.bin").write_bytes(td_report)
    outcome = verify(site, recipe, "EXPECT=td-report.bin")
    assert outcome.status == 1 and has(outcome.out, f"not verified: … MRTD …\n  built:    {found['tdp']}\n")
    for of, options, told in (
        (TDP, MeasureOptions(two_pass=True), "--two-pass"),
        (SNP_PLATFORM, MeasureOptions(native_zero=True, qemu_order=True), "--qemu-order --native-zero"),
    ):
        other = measure(image, options, of).digest.hex()
        assert other != found[of.word]
        outcome = verify(site, recipe, f"EXPECT={other}")
        assert outcome.status == 1 and has(
            outcome.out, f"the same file has the expected digest if …(coconut-measure {told})"
        )
    # As KVM measures several processors: VMSAs last, where KVM puts them.
    several = MeasureOptions(processors=3, signature=SIGNATURES["EPYC-Milan"])
    outcome = verify(site, recipe, f"EXPECT={measure(image, several).digest.hex()}")
    assert outcome.status == 1 and has(
        outcome.out, "3 processors, of type EPYC-Milan (coconut-measure --vcpus=3 --vcpu-type=EPYC-Milan)"
    )


def test_an_image_that_is_for_a_platform_no_more_is_not_verified(site: Site) -> None:
    site.build(site.recipe())
    (site.folder / "good.json").write_bytes((site.bin / "q.igvm.provenance.json").read_bytes())
    content = deepcopy(QEMU)
    content["igvm"]["qemu"]["platforms"] = ["snp"]
    outcome = verify(site, site.recipe(content), "EXPECT=good.json")
    assert outcome.status == 1
    assert has(outcome.out, "not verified: bin/q.igvm … MRTD, … good.json")
    outcome = verify(site, "--json", site.recipe(content), "EXPECT=good.json")
    told = [(one["platform"], one["digest"], one["matches"]) for one in json.loads(outcome.out)["verified"]]
    digest = (site.bin / "q.igvm.launch-digest.hex").read_text().strip()
    assert told == [("snp", digest, True), ("tdp", None, False)]


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
    assert has(outcome.err, "EXPECT: … measure:hyper-v or measure:qemu  ")
    assert verify(site, "measure:hyper-v", recipe, f"EXPECT={digests['h.igvm']}").status == 0
    assert verify(site, "measure:qemu", recipe, f"EXPECT={digests['h.igvm']}").status == 1
    # A file about both is compared with both.
    sums = site.folder / "sums"
    sums.write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    outcome = verify(site, recipe, "EXPECT=sums")
    assert outcome.status == 0 and outcome.out.count("verified: ") == 2
    sums.write_text(f"{digests['q.igvm']}  q.igvm\n{digests['q.igvm']}  h.igvm\n")
    outcome = verify(site, recipe, "EXPECT=sums")
    assert outcome.status == 1
    assert has(outcome.out, "not verified: bin/h.igvm …\nverified: bin/q.igvm ")
    sums.write_text(f"{digests['q.igvm']}  q.igvm\n")
    outcome = verify(site, recipe, "EXPECT=sums")
    assert outcome.status == 0 and has(outcome.out, "bin/h.igvm: sums ")
    outcome = verify(site, "measure:qemu", recipe, "EXPECT=bin/h.igvm.launch-digest.json")
    assert (outcome.status, outcome.ids) == (2, {"expected-of-another"})
    (told,) = outcome.told("expected-of-another")
    assert has(told, "EXPECT: bin/h.igvm.launch-digest.json … h.igvm…q.igvm…EXPECT=" + digests["h.igvm"])
    source = site.tree / "kernel" / "src" / "main.rs"
    source.write_text(f"{source.read_text()}\n// an edit\n")
    outcome = verify(site, "kernel:svsm", recipe, f"EXPECT={digests['h.igvm']}")
    assert (outcome.status, outcome.ids) == (2, {"nothing-measured"})
    assert outcome.built == set()  # it ran before


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


def test_a_digest_or_a_file_that_stands_where_tasks_do_is_told_with_the_word_that_takes_it(site: Site) -> None:
    (site.folder / "good.hex").write_text(DIGEST)
    for words, id, said in (
        ([DIGEST], "digest-as-task", f"EXPECT={DIGEST}"),
        ([f"sha384:{DIGEST}"], "digest-as-task", f"EXPECT=sha384:{DIGEST}"),
        ([DIGEST[1:]], "digest-as-task", f"EXPECT={DIGEST[1:]}…95 hex digits"),
        (["good.hex"], "nothing-expected", "EXPECT=good.hex"),
        (["-"], "nothing-expected", "EXPECT=-"),
    ):
        outcome = verify(site, site.recipe(), *words)
        assert (outcome.status, outcome.ids) == (2, {id})
        assert has(outcome.told(id)[0], said)
        assert not site.bin.exists()
