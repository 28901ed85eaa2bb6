"""Launch measurements in two formats for reference values, with which verifiers compare a guest's report."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from coconut_tasks.igvm.launch import Measured

TRUSTEE_NAMES = {"snp_launch_measurement": "snp", "mr_td": "tdp"}
"""The names of measurements in Trustee's own policy, and their platforms. It has none for VBS."""


class Profile(NamedTuple):
    """The launch-measurement profile's names for a platform, and for the report's field that is compared."""

    vendor: str
    model: str
    mkey: str
    algorithm: int
    """The hash in the registry for named information (RFC 6920), whose numbers draft-ietf-rats-corim uses."""
    tag_id: str
    """UUIDv5 of ``VENDOR/MODEL`` in the profile's namespace, 85f3f1c2-22a8-441e-a1b9-bccfb63ed5f7."""


_SHA256, _SHA384 = 1, 7
PROFILES = {
    "snp": Profile("AMD", "SEV-SNP", "MEASUREMENT", _SHA384, "77e8061e-4634-5e53-a848-d1d09e996843"),
    "tdp": Profile("Intel", "TDX", "MRTD", _SHA384, "e0510081-7b78-5b2a-97a6-d73d890e07b6"),
    "vsm": Profile("Microsoft", "VBS", "MEASUREMENT", _SHA256, "2e29068e-e0fa-59e6-b0ff-3bfe09132e13"),
}
"""By platform; crate ``igvm`` 0.5, module ``corim::launch_measurement``, also for ``PROFILE``."""
PROFILE = "tag:microsoft.com,2026:launch-measurement/v1"
_CORIM, _COMID, _EXACT_SVN = 501, 506, 552
"""CBOR tags of draft-ietf-rats-corim: tagged-unsigned-corim-map, tagged-concise-mid-tag, tagged-svn."""


def trustee(measured: Iterable[Measured]) -> bytes:
    """The payload for the extractor ``sample`` of Trustee's Reference Value Provider Service (RVPS), as JSON text.

    The names are those that Trustee's own policy asks for. Its verifier used to write an SEV-SNP report's measurement in base64 and now
    uses hex (confidential-containers/trustee, issue 372); the policy looks for it in a list, so the list has both. A TDX quote's has always
    been hex. There is nothing else: the verifier decides on versions of the platform's firmware, and the bits of the guest policy are
    strings in a list in one version of Trustee, a number or a boolean in the next.
    """
    digests = {one.platform.word: one.digest for one in measured}
    values = {}
    for name, platform in TRUSTEE_NAMES.items():
        if (digest := digests.get(platform)) is not None:
            values[name] = [digest.hex(), *([b64encode(digest).decode()] if platform == "snp" else [])]
    return (json.dumps(values, indent=2) + "\n").encode()


def corim(measured: Iterable[Measured]) -> bytes:
    """An unsigned CoRIM (draft-ietf-rats-corim) as deterministic CBOR: each digest is a reference value, in a CoMID for its platform.

    For SEV-SNP alone, with the security version number from the image's ID block, it follows the launch-measurement profile, which requires
    one and has fixed names. Otherwise the CoRIM claims no profile, and its names contain the first digest to distinguish documents; what an
    ID block says is still endorsed.
    """
    import cbor2  # imported here: a run that has nothing to do writes nothing

    measured = list(measured)
    first = measured[0]
    profile = PROFILES[first.platform.word]
    follows = len(measured) == 1 and first.guest_svn is not None
    if follows:
        document: dict[int, Any] = {0: f"{profile.vendor}/{profile.model}/launch-measurement", 3: PROFILE}
    else:
        document = {0: _name(first)}
    comids = [cbor2.CBORTag(_COMID, _comid(one, profile.tag_id if follows else _name(one))) for one in measured]
    return cbor2.dumps(cbor2.CBORTag(_CORIM, {**document, 1: comids}), canonical=True)


def _name(measured: Measured) -> str:
    profile = PROFILES[measured.platform.word]
    return f"{profile.vendor}/{profile.model}/{profile.mkey}/{measured.digest.hex()}"


def _comid(measured: Measured, tag_id: str) -> bytes:
    """A concise-mid-tag: 1 tag-identity {0 tag-id}, 4 triples {0 reference, 8 conditional series}."""
    import cbor2

    profile = PROFILES[measured.platform.word]
    environment = {0: {1: profile.vendor, 2: profile.model}}
    measurement = {0: profile.mkey, 1: {2: [[profile.algorithm, measured.digest]]}}
    triples: dict[int, Any] = {0: [[environment, [measurement]]]}
    if measured.guest_svn is not None:
        endorsed = {1: {1: cbor2.CBORTag(_EXACT_SVN, measured.guest_svn)}}
        triples[8] = [[[environment, []], [[[measurement], [endorsed]]]]]
    return cbor2.dumps({1: {0: tag_id}, 4: triples}, canonical=True)


def digests_of_corim(data: bytes) -> list[tuple[str, bytes]]:
    """The digests that a CoRIM has as reference values, each with its platform; none where it is damaged, or about something else."""
    import cbor2

    try:
        return list(_digests_of_corim(cbor2.loads(data)))
    except (cbor2.CBORError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return []


def _digests_of_corim(document: Any) -> Iterator[tuple[str, bytes]]:
    import cbor2

    for tag in document.value[1]:
        comid = cbor2.loads(tag.value) if tag.tag == _COMID else {}
        for environment, measurements in comid.get(4, {}).get(0, ()):
            names = (environment[0].get(1), environment[0].get(2))
            for platform, profile in PROFILES.items():
                if names != (profile.vendor, profile.model):
                    continue
                for measurement in measurements:
                    if measurement.get(0) == profile.mkey:
                        digests = measurement[1].get(2, ())
                        yield from ((platform, digest) for kind, digest in digests if kind == profile.algorithm)
