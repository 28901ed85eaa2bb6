"""Read the sides of a comparison, which are recognised by their content."""

from __future__ import annotations

import json
from typing import Any

from coconut_tasks.compare.image import of_igvm, of_inspect
from coconut_tasks.compare.record import Beside, of_measurement, of_statement
from coconut_tasks.compare.side import ANY, Given, Side
from coconut_tasks.errors import UsageError
from coconut_tasks.evidence.digests import NotADigest, digests_in
from coconut_tasks.igvm import MAGIC
from coconut_tasks.igvm.platforms import MEASURED
from coconut_tasks.recipe.positions import MAX_DEPTH

MOST_JSON = 64 << 20
"""Size limit of a JSON file in bytes: enough for an image of 1 GiB, and its content fits into memory."""
_KINDS = [one.kind for one in MEASURED.values()]
_FORMS = (
    "an .igvm file, the output of 'inspect --json FILE.igvm', a .provenance.json or .launch-digest.json of a build, "
    "or a launch digest"
)


def read_side(name: str, data: bytes | bytearray, beside: Beside = lambda name: None) -> Side:
    """One side of a comparison, recognised by its content. ``name`` is its name in all output.

    ``beside`` returns the content of another file in its folder, a statement's image, which is used only if its SHA-256 matches.

    Raises:
        UsageError: it cannot be compared, or is invalid. The message is one line that starts with ``name``.
    """
    if data[:4] == MAGIC:
        return of_igvm(name, data)
    if data.lstrip()[:1] == b"{":
        given = Given(name, _json(name, data))
        document = given.value
        if "predicateType" in document:
            return of_statement(name, given, beside)
        if isinstance(document.get("files"), list):
            return of_inspect(name, given)
        if document.get("kind") in _KINDS or isinstance(document.get("measurements"), list):
            return of_measurement(name, given)
    return of_digests(name, data)


def of_digests(name: str, data: bytes | bytearray) -> Side:
    """A file with a launch digest, or one of each platform, and nothing else to compare.

    Raises:
        UsageError: it has no launch digest, or several.
    """
    try:
        found = digests_in(data)
    except NotADigest as error:
        wrong = str(error) or f"not a file that can be compared; expected {_FORMS}"
        raise UsageError("not-comparable", f"{name}: {wrong}") from error
    digests = {one.platform: one.digest for one in found}
    several = any(one.digest != digests[one.platform] for one in found) or {ANY, "snp", "tdp"} <= digests.keys()
    if several or (len(digests) > 1 and len({one.image for one in found}) > 1):
        raise UsageError(
            "several-images",
            f"{name}: {len(found)} launch digests; a comparison needs exactly one on each side, or one of each platform",
        )
    native_zero = next((one.native_zero for one in found if one.native_zero), None)
    return Side(name, "a launch digest", digests=digests, native_zero_digest=native_zero)


def _json(name: str, data: bytes | bytearray) -> Any:
    if len(data) > MOST_JSON:
        raise UsageError("too-large", f"{name}: the JSON is larger than {MOST_JSON >> 20} MiB")
    try:
        value = json.loads(data.decode())
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError as error:
        raise UsageError("damaged-record", f"{name}: not valid JSON in UTF-8: {error}") from error
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return value
    raise _too_deep(name)


def _too_deep(name: str) -> UsageError:
    return UsageError("too-deep", f"{name}: nested more than {MAX_DEPTH} levels deep")
