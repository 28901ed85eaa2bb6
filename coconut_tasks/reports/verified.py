"""The result of ``verify`` as text and JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from hashlib import sha384
from typing import Any

from coconut_tasks.evidence.expected import Expectation
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.launch import MeasureOptions
from coconut_tasks.igvm.measure import measure
from coconut_tasks.terminal import Rules, Style

WORDS: Rules = (
    (Style.GOOD, "^(verified):"),
    (Style.ERROR, "^(not verified):"),
    (Style.BAD, "^  built: +([0-9a-f]{96})$"),
    (Style.GOOD, "(?<=: )([0-9a-f]{96})$"),
)
"""Styles for the words of ``verified_text`` and ``mismatch_text``."""


def other_settings(data: bytes, native_zero: bool, wanted: Collection[str]) -> str:
    """A hint if the expected digest is one of the same file, but measured differently; otherwise empty."""
    if sha384(data).hexdigest() in wanted:
        return "the expected digest is the SHA-384 of the whole file; for its launch digest, use igvmmeasure or coconut-measure"
    try:
        other = measure(data, MeasureOptions(native_zero=not native_zero, tolerant=True)).digest.hex()
    except IgvmError:
        return ""
    if other not in wanted:
        return ""
    how = "without 'measure-native-zeroes'" if native_zero else "with 'measure-native-zeroes': true"
    return f"the same file has the expected digest {how}, which depends on how the loader adds pages without data"


def verified_text(image: str, digest: str, wanted: Collection[str], expectation: Expectation) -> str:
    """The line for an image with an expected digest."""
    which = (
        f"one of the {len(wanted)} {_digests(expectation, 's')}" if len(wanted) > 1 else f"the {_digests(expectation)}"
    )
    return f"verified: {image} has {which}: {digest}"


def verified_json(
    image: str,
    digest: str,
    wanted: Collection[str],
    expectation: Expectation,
    hint: str = "",
    changes: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    """The JSON of an image. ``image`` is an absolute path, ``wanted`` are its expected digests, empty if it was not compared, and
    ``changes`` is the result of ``changes_json`` if the expected build is known."""
    return {
        "image": image,
        "digest": digest,
        "expected": list(wanted),
        "expected_by": expectation.told,
        "matches": digest in wanted if wanted else None,
        "note": hint or None,
        "changes": changes,
    }


def mismatch_text(image: str, digest: str, wanted: Collection[str], expectation: Expectation, hint: str) -> list[str]:
    """The lines for an image with another digest."""
    lines = [f"not verified: {image} does not have the {_digests(expectation)}"]
    lines += [f"  expected: {one}" for one in wanted]
    lines += [f"  built:    {digest}"]
    return [*lines, *([f"  {hint}"] if hint else [])]


def _digests(expectation: Expectation, plural: str = "") -> str:
    digest = f"launch digest{plural}"
    return f"{digest} in {expectation.told}" if expectation.content else f"expected {digest}"


def not_compared_text(image: str, expectation: Expectation) -> str:
    """The line for an image without an expected digest."""
    return f"not compared: {image}: {expectation.told} has no launch digest for it"
