"""A launch digest in two formats for reference values, with which verifiers compare a guest's report."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

TRUSTEE_NAME = "snp_launch_measurement"
"""The launch digest's name in Trustee's own policy."""
VENDOR, MODEL, MKEY = "AMD", "SEV-SNP", "MEASUREMENT"
"""The launch-measurement profile's names for SEV-SNP and for the report's field that it compares."""
PROFILE = "tag:microsoft.com,2026:launch-measurement/v1"
"""Profile of crate ``igvm`` 0.5, module ``corim::launch_measurement::profile``, which is also the source of the two below."""
PROFILE_TAG_ID = "77e8061e-4634-5e53-a848-d1d09e996843"
"""UUIDv5 of ``AMD/SEV-SNP`` in the profile's namespace, 85f3f1c2-22a8-441e-a1b9-bccfb63ed5f7."""
PROFILE_CORIM_ID = f"{VENDOR}/{MODEL}/launch-measurement"
_SHA384 = 7
"""SHA-384 in the registry for named information (RFC 6920), whose numbers draft-ietf-rats-corim uses."""
_CORIM, _COMID, _EXACT_SVN = 501, 506, 552
"""CBOR tags of draft-ietf-rats-corim: tagged-unsigned-corim-map, tagged-concise-mid-tag, tagged-svn."""


def trustee(digest: bytes) -> bytes:
    """The payload for the extractor ``sample`` of Trustee's Reference Value Provider Service (RVPS), as JSON text.

    ``snp_launch_measurement`` is the name that Trustee's own policy asks for. Its verifier used to write a report's measurement in base64
    and now uses hex (confidential-containers/trustee, issue 372); the policy looks for it in a list, so the list has both. There is nothing
    else: the verifier decides on versions of the platform's firmware, and the bits of the guest policy are strings in a list in one version
    of Trustee, a number or a boolean in the next.
    """
    values = {TRUSTEE_NAME: [digest.hex(), b64encode(digest).decode()]}
    return (json.dumps(values, indent=2) + "\n").encode()


def corim(digest: bytes, guest_svn: int | None) -> bytes:
    """An unsigned CoRIM (draft-ietf-rats-corim) as deterministic CBOR: the 48-byte digest is a reference value for AMD SEV-SNP.

    With the security version number from the image's ID block, it follows the launch-measurement profile, which requires one. Without it,
    the CoRIM claims no profile, and its names contain the digest to distinguish documents; the profile's names are fixed.
    """
    import cbor2  # imported here: a run that has nothing to do writes nothing

    def encoded(value: Any) -> bytes:
        return cbor2.dumps(value, canonical=True)

    # corim-map: 0 id, 1 tags, 3 profile. concise-mid-tag: 1 tag-identity {0 tag-id}, 4 triples {0 reference, 8 conditional series}.
    environment = {0: {1: VENDOR, 2: MODEL}}
    measurement = {0: MKEY, 1: {2: [[_SHA384, digest]]}}
    triples: dict[int, Any] = {0: [[environment, [measurement]]]}
    if guest_svn is None:
        name = f"{VENDOR}/{MODEL}/{MKEY}/{digest.hex()}"
        tag_id, document = name, {0: name}
    else:
        endorsed = {1: {1: cbor2.CBORTag(_EXACT_SVN, guest_svn)}}
        triples[8] = [[[environment, []], [[[measurement], [endorsed]]]]]
        tag_id, document = PROFILE_TAG_ID, {0: PROFILE_CORIM_ID, 3: PROFILE}
    comid = encoded({1: {0: tag_id}, 4: triples})
    return encoded(cbor2.CBORTag(_CORIM, {**document, 1: [cbor2.CBORTag(_COMID, comid)]}))


def digests_of_corim(data: bytes) -> list[bytes]:
    """The SHA-384 digests that a CoRIM has as reference values for AMD SEV-SNP; none where it is damaged, or about something else."""
    import cbor2

    try:
        return list(_digests_of_corim(cbor2.loads(data)))
    except (cbor2.CBORError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return []


def _digests_of_corim(document: Any) -> Iterator[bytes]:
    import cbor2

    for tag in document.value[1]:
        comid = cbor2.loads(tag.value) if tag.tag == _COMID else {}
        for environment, measurements in comid.get(4, {}).get(0, ()):
            if (environment[0].get(1), environment[0].get(2)) != (VENDOR, MODEL):
                continue
            for measurement in measurements:
                if measurement.get(0) == MKEY:
                    yield from (digest for kind, digest in measurement[1].get(2, ()) if kind == _SHA384)
