"""The result of ``verify`` as text and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256, sha384
from typing import Any

from coconut_tasks.evidence.expected import Expectation, Expected
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.platforms import MEASURED
from coconut_tasks.igvm.ways import NATIVE_ZERO, NO_NATIVE_ZERO, way_of
from coconut_tasks.terminal import Rules, Style
from coconut_tasks.wording import MEASUREMENTS, either

WORDS: Rules = (
    (Style.GOOD, "^(verified):"),
    (Style.ERROR, "^(not verified):"),
    (Style.BAD, "^  built: +([0-9a-f]{64,96})$"),
    (Style.GOOD, "(?<=: )([0-9a-f]{64,96})$"),
)
"""Styles for the words of ``verified_text`` and ``mismatch_text``."""


def other_settings(data: bytes, native_zero: bool, expected: Expected) -> str:
    """A hint if the expected digest is one of the same file, but measured differently; otherwise empty."""
    wanted = expected.digests
    for algorithm, hashed in (("384", sha384(data)), ("256", sha256(data))):
        if hashed.hexdigest() in wanted:
            tools = "igvmmeasure or coconut-measure" if "snp" in expected.platforms else "coconut-measure"
            return (
                f"the expected digest is the SHA-{algorithm} of the whole file; for its {_terms(expected)}, use {tools}"
            )
    for platform in expected.platforms:
        try:
            way = way_of(data, MEASURED[platform], native_zero, wanted)
        except IgvmError:
            continue
        if way is None:
            continue
        if way.causes in ((NATIVE_ZERO,), (NO_NATIVE_ZERO,)):
            how = "without 'measure-native-zeroes'" if native_zero else "with 'measure-native-zeroes': true"
            return (
                f"the same file has the expected digest {how}, which depends on how the loader adds pages without data"
            )
        options = f" (coconut-measure {' '.join(way.options)})" if way.options else ""
        return f"the same file has the expected digest if {' and '.join(way.causes)}{options}"
    return ""


def verified_text(image: str, digest: str, expected: Expected, expectation: Expectation) -> str:
    """The line for an image with an expected digest."""
    wanted = expected.digests
    which = (
        f"one of the {len(wanted)} {_digests(expected, expectation, 's')}"
        if len(wanted) > 1
        else f"the {_digests(expected, expectation)}"
    )
    return f"verified: {image} has {which}: {digest}"


def verified_json(
    image: str,
    platform: str,
    digest: str | None,
    expected: Expected | None,
    expectation: Expectation,
    hint: str = "",
    changes: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    """The JSON of a measurement. ``image`` is an absolute path, ``digest`` is None if the image is not for the platform, ``expected``
    is None if it was not compared, and ``changes`` is the result of ``changes_json`` if the expected build is known."""
    return {
        "image": image,
        "platform": platform,
        "digest": digest,
        "expected": list(expected.digests) if expected else [],
        "expected_by": expectation.told,
        "matches": digest in expected.digests if expected else None,
        "note": hint or None,
        "changes": changes,
    }


def mismatch_text(
    image: str, built: Mapping[str, str], expected: Expected, expectation: Expectation, hint: str
) -> list[str]:
    """The lines for an image with another digest; ``built`` has its digests by platform."""
    lines = [f"not verified: {image} does not have the {_digests(expected, expectation)}"]
    lines += [f"  expected: {one}" for one in expected.digests]
    lines += [f"  built:    {built[platform]}" for platform in expected.platforms]
    return [*lines, *([f"  {hint}"] if hint else [])]


def _digests(expected: Expected, expectation: Expectation, plural: str = "") -> str:
    term = f"{_terms(expected)}{plural}"
    return f"{term} in {expectation.told}" if expectation.content else f"expected {term}"


def _terms(expected: Expected) -> str:
    return either([MEASUREMENTS[platform] for platform in expected.platforms])


def debug_text(expectation: Expectation) -> str:
    """What is to be said of a report of a guest that is no secret to its host; otherwise empty."""
    if not any(one.may_be_debugged for one in expectation.digests):
        return ""
    return (
        f"{expectation.told} is of a guest that its host may debug: the host can read it, and change what was measured"
    )


def no_measurement_text(image: str, expected: Expected, expectation: Expectation) -> str:
    """The line for an image that is not for the platform that something is expected of."""
    return f"not verified: {image} has no {_terms(expected)}, which {expectation.told} expects"


def not_compared_text(image: str, expectation: Expectation) -> str:
    """The line for an image without an expected digest."""
    return f"not compared: {image}: {expectation.told} has no launch digest for it"
