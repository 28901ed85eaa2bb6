"""Launch digests in the formats of verifiers, and the page on the way from a recipe to a verifier."""

from __future__ import annotations

import json
import os
import re
import subprocess
from base64 import b64decode, b64encode
from pathlib import Path
from uuid import UUID, uuid5

import cbor2
import pytest
from conftest import Site
from igvm_files import SNP, header, igvm, page, platform

from coconut_tasks.actions.measure import measure as write_measurement
from coconut_tasks.evidence.reference_values import PROFILE, PROFILES, corim, digests_of_corim, trustee
from coconut_tasks.igvm.launch import Measured, MeasureOptions
from coconut_tasks.igvm.measure import measure
from coconut_tasks.igvm.platforms import MEASURED
from coconut_tasks.layout import CORIM, HEX, REFERENCE_VALUES
from coconut_tasks.steps.action import Measurement
from coconut_tasks.steps.command import Command
from coconut_tasks.workspace.workspace import open_workspace

DIGEST = bytes(range(48))
DIGEST_HEX = HEX["snp"]
PROFILE_TAG_ID = PROFILES["snp"].tag_id


def of(platform: str, digest: bytes = DIGEST, svn: int | None = None) -> Measured:
    return Measured(MEASURED[platform], digest, 1, None, svn)


# Made by crate corim 0.1.4 on 2026-11-24: ComidBuilder with add_reference_triple_for, for the second one also
# add_conditional_endorsement_series_for, as igvm 0.5's corim/launch_measurement/builder.rs calls them; then CorimBuilder's build_bytes.
# Its decode_and_validate accepts both.
_START, _MEASUREMENT = (
    "a100a20163414d4402675345562d534e50",
    "a2006b4d4541535552454d454e5401a1028182075830" + DIGEST.hex(),
)
_NAME = b"AMD/SEV-SNP/MEASUREMENT/".hex() + DIGEST.hex().encode().hex()
WITHOUT_SVN = bytes.fromhex(f"d901f5a2007878{_NAME}0181d901fa58dba201a1007878{_NAME}04a1008182{_START}81{_MEASUREMENT}")
WITH_SVN_3 = bytes.fromhex(
    f"d901f5a300781e{b'AMD/SEV-SNP/launch-measurement'.hex()}0181d901fa58efa201a1007824{PROFILE_TAG_ID.encode().hex()}"
    f"04a2008182{_START}81{_MEASUREMENT}08818282{_START}80818281{_MEASUREMENT}81a101a101d902280303782c{PROFILE.encode().hex()}"
)


def test_trustee_gets_the_digest_in_both_of_its_spellings() -> None:
    (name, values) = json.loads(trustee([of("snp", DIGEST)])).popitem()
    assert name == "snp_launch_measurement"
    assert values[0] == DIGEST.hex() == values[0].lower()
    assert b64decode(values[1], validate=True) == DIGEST
    assert len(values) == 2


def test_a_corim_is_the_one_that_another_implementation_makes() -> None:
    assert corim([of("snp", DIGEST, None)]) == WITHOUT_SVN
    assert corim([of("snp", DIGEST, 3)]) == WITH_SVN_3


@pytest.mark.parametrize("svn", [None, 0, 24, 2**32 - 1])
def test_a_corim_is_deterministic_cbor_that_is_read_back(svn: int | None) -> None:
    found = corim([of("snp", DIGEST, svn)])
    document = cbor2.loads(found)
    assert document.tag == 501
    assert cbor2.dumps(document, canonical=True) == found
    (tag,) = document.value[1]
    (((environment, measurements),), *_) = cbor2.loads(tag.value)[4].values()
    assert environment == {0: {1: "AMD", 2: "SEV-SNP"}}
    assert measurements == [{0: "MEASUREMENT", 1: {2: [[7, DIGEST]]}}]


def test_only_a_corim_with_a_version_number_claims_the_profile_that_demands_one() -> None:
    plain, profiled = (
        cbor2.loads(corim([of("snp", DIGEST, None)])).value,
        cbor2.loads(corim([of("snp", DIGEST, 0)])).value,
    )
    assert 3 not in plain
    assert profiled[3] == PROFILE
    assert cbor2.loads(plain[1][0].value)[4].keys() == {0}
    assert cbor2.loads(profiled[1][0].value)[4].keys() == {0, 8}


def test_the_profiles_names_are_made_as_the_profile_says() -> None:
    for profile in PROFILES.values():
        name = f"{profile.vendor}/{profile.model}"
        assert str(uuid5(UUID("85f3f1c2-22a8-441e-a1b9-bccfb63ed5f7"), name)) == profile.tag_id


def test_corims_of_two_digests_without_a_profile_have_names_of_their_own() -> None:
    one, other = (cbor2.loads(corim([of("snp", digest, None)])).value for digest in (DIGEST, DIGEST[::-1]))
    assert one[0] != other[0]
    assert cbor2.loads(one[1][0].value)[1] != cbor2.loads(other[1][0].value)[1]


VBS = DIGEST[:32]
EACH = [of("snp", svn=3), of("tdp", DIGEST[::-1]), of("vsm", VBS)]


def test_trustee_gets_the_mrtd_under_its_own_name_and_nothing_of_vbs() -> None:
    values = json.loads(trustee(EACH))
    assert values.keys() == {"snp_launch_measurement", "mr_td"}
    assert values["mr_td"] == [DIGEST[::-1].hex()]
    assert json.loads(trustee([of("vsm", VBS)])) == {}


def test_a_corim_of_several_platforms_has_a_comid_for_each_and_no_profile() -> None:
    data = corim(EACH)
    document = cbor2.loads(data).value
    assert document[0] == f"AMD/SEV-SNP/MEASUREMENT/{DIGEST.hex()}" and 3 not in document
    comids = [cbor2.loads(tag.value) for tag in document[1]]
    assert [tag.tag for tag in document[1]] == [506] * 3
    assert [comid[4][0][0][0] for comid in comids] == [
        {0: {1: "AMD", 2: "SEV-SNP"}},
        {0: {1: "Intel", 2: "TDX"}},
        {0: {1: "Microsoft", 2: "VBS"}},
    ]
    assert [comid[4][0][0][1][0][1][2] for comid in comids] == [[[7, DIGEST]], [[7, DIGEST[::-1]]], [[1, VBS]]]
    assert [comid[4][0][0][1][0][0] for comid in comids] == ["MEASUREMENT", "MRTD", "MEASUREMENT"]
    assert [8 in comid[4] for comid in comids] == [True, False, False]
    assert len({comid[1][0] for comid in comids}) == 3
    assert digests_of_corim(data) == [("snp", DIGEST), ("tdp", DIGEST[::-1]), ("vsm", VBS)]


def id_block(svn: int, mask: int, digest: bytes = bytes(48)) -> bytes:
    """IGVM_VHS_SNP_ID_BLOCK: mask, author key, reserved, digest, family, image, version, guest SVN, algorithms, keys, signatures."""
    body = mask.to_bytes(4, "little") + bytes(4) + digest + bytes(16 + 16 + 4) + svn.to_bytes(4, "little")
    return header(0x30B, body.ljust(696, b"\0"))


def test_the_version_number_is_that_of_the_id_block_for_snp() -> None:
    options = MeasureOptions(check_id_block=False)
    assert measure(igvm(platform(), page(0x1000), id_block(7, SNP)), options).guest_svn == 7
    assert measure(igvm(platform(), page(0x1000)), options).guest_svn is None
    two = igvm(platform(), platform(mask=2, kind=5), page(0x1000), id_block(7, 2))
    assert measure(two, options).guest_svn is None


def test_a_measurement_of_an_image_with_an_id_block_leaves_a_corim_with_its_version_number(tmp_path: Path) -> None:
    digest = measure(igvm(platform(), page(0x1000)), MeasureOptions()).digest
    (tmp_path / "x.igvm").write_bytes(igvm(platform(), page(0x1000), id_block(7, SNP, digest)))
    (tmp_path / "igvmmeasure").write_bytes(b"")
    action = Measurement(
        Command(("echo", f"Launch Digest: {digest.hex().upper()}")),
        igvm="x.igvm",
        tool="igvmmeasure",
        shown="x.igvm",
        target="x",
        platforms=("snp",),
        policy="0x30000",
        check_kvm=False,
        native_zero=False,
        hexes=(("snp", "x.hex"),),
        json="x.json",
        reference_values="x.values",
        corim="x.corim",
    )
    write_measurement(action, open_workspace(str(tmp_path), str(tmp_path / "bin"), dict(os.environ)), tmp_path / "log")
    assert (tmp_path / "x.corim").read_bytes() == corim([of("snp", digest, 7)])
    assert (tmp_path / "x.values").read_bytes() == trustee([of("snp", digest)])


def test_a_measurement_leaves_reference_values_of_its_digest_beside_the_image(site: Site) -> None:
    digest = bytes.fromhex(site.build(site.recipe()).digests["q.igvm"])
    beside = {end: Path(f"{site.bin}/q.igvm{end}") for end in (DIGEST_HEX, REFERENCE_VALUES, CORIM)}
    assert beside[DIGEST_HEX].read_text() == f"{digest.hex()}\n"
    values = json.loads(beside[REFERENCE_VALUES].read_text())
    mrtd = bytes.fromhex((site.bin / f"q.igvm{HEX['tdp']}").read_text().strip())
    assert mrtd == measure((site.bin / "q.igvm").read_bytes(), MeasureOptions(), MEASURED["tdp"]).digest
    assert values == {"snp_launch_measurement": [digest.hex(), b64encode(digest).decode()], "mr_td": [mrtd.hex()]}
    assert beside[CORIM].read_bytes() == corim([of("snp", digest), of("tdp", mrtd)])


# The page on the way from a recipe to a verifier


def blocks_of_the_page() -> list[str]:
    """The commands in docs/measurement.md."""
    page = (Path(__file__).parent.parent / "docs" / "measurement.md").read_text(encoding="utf-8")
    return re.findall(r"```sh\n(.*?)```", page, re.DOTALL)


def lines_for_a_report() -> str:
    """Those that compare a report."""
    (block,) = (block for block in blocks_of_the_page() if "same digest" in block)
    return block


def attestation_report(measurement: bytes, policy: int) -> bytes:
    """ATTESTATION_REPORT of the SEV-SNP firmware ABI: version and guest SVN, policy, …, measurement; the rest is noise."""
    report = bytearray(b"\xa5" * 1184)
    report[0x08:0x10] = policy.to_bytes(8, "little")
    report[0x90:0xC0] = measurement
    return bytes(report)


@pytest.mark.parametrize(
    ("measurement", "policy", "asked", "said"),
    [
        (DIGEST, 0x30000, "0x30000", ["same digest", "same policy"]),
        (DIGEST, 0x30001, "00030001", ["same digest", "same policy"]),
        (DIGEST, 0xB0000, "0x30000", ["same digest"]),
        (DIGEST, 0x30000 << 32, "0x30000", ["same digest"]),
        (DIGEST[:-1] + b"x", 0x30000, "0x30000", ["same policy"]),
    ],
    ids=["as it should be", "policy without 0x", "debugging allowed", "upper half of the policy", "another digest"],
)
def test_the_pages_lines_compare_a_report(
    measurement: bytes, policy: int, asked: str, said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "report.bin").write_bytes(attestation_report(measurement, policy))
    image = tmp_path / "bin" / "coconut-qemu.igvm"
    image.parent.mkdir()
    Path(f"{image}{DIGEST_HEX}").write_text(f"{DIGEST.hex()}\n")
    Path(f"{image}.launch-digest.json").write_text(json.dumps({"format": 1, "policy": asked, "x": 0}, indent=2) + "\n")
    done = subprocess.run(["sh", "-c", lines_for_a_report()], cwd=tmp_path, capture_output=True, text=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("same")] == said


def quote(version: int, mrtd: bytes, attributes: int) -> bytes:
    """The start of a TD quote (Intel TDX DCAP quoting library, quote format); the rest is noise."""
    header = version.to_bytes(2, "little") + b"\2\0\x81\0\0\0" + bytes(40) + (bytes(6) if version == 5 else b"")
    body = b"\xa5" * 120 + attributes.to_bytes(8, "little") + b"\xa5" * 8 + mrtd
    return header + body + b"\xa5" * 5000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (quote(4, DIGEST, 1 << 28), ["same MRTD", "no debugging"]),
        (quote(5, DIGEST, 1 << 28), ["same MRTD", "no debugging"]),
        (quote(4, DIGEST, 1), ["same MRTD"]),
        (quote(5, DIGEST[::-1], 0), ["no debugging"]),
        (quote(3, DIGEST, 0), ["no quote of version 4 or 5"]),
    ],
    ids=["version 4", "version 5", "debugging allowed", "another digest", "another version"],
)
def test_the_pages_lines_compare_a_quote(data: bytes, said: list[str], tmp_path: Path) -> None:
    (tmp_path / "quote.bin").write_bytes(data)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / f"coconut-qemu.igvm{HEX['tdp']}").write_text(f"{DIGEST.hex()}\n")
    (lines,) = (block for block in blocks_of_the_page() if "same MRTD" in block)
    done = subprocess.run(["sh", "-c", lines], cwd=tmp_path, capture_output=True, text=True)
    assert [line for line in done.stdout.splitlines() if line.startswith(("same", "no "))][: len(said)] == said
