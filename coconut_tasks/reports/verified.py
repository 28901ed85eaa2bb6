"""What ``verify`` found, and how it is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from hashlib import sha384
from typing import Any

from coconut_tasks.evidence.expected import Expectation
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.snp import launch_digest
from coconut_tasks.terminal import Rules, Style

WORDS: Rules = (
    (Style.GOOD, "^(verified):"),
    (Style.ERROR, "^(not verified):"),
    (Style.BAD, "^  built: +([0-9a-f]{96})$"),
    (Style.GOOD, "(?<=: )([0-9a-f]{96})$"),
)
"""Styles for the words of ``verified_text`` and ``mismatch_text``."""


def other_settings(data: bytes, native_zero: bool, wanted: Collection[str]) -> str:
    """Why another digest may be expected of the same file: it was measured in another way; empty if that is not it."""
    if sha384(data).hexdigest() in wanted:
        return "expected is the SHA-384 of the whole file, which is not its launch digest: igvmmeasure or coconut-measure prints that"
    try:
        other = launch_digest(data, check_kvm=False, native_zero=not native_zero, tolerant=True).hex()
    except IgvmError:
        return ""
    if other not in wanted:
        return ""
    how = "without 'measure-native-zeroes'" if native_zero else "with 'measure-native-zeroes': true"
    return f"the same file has the expected digest {how}: it depends on how the loader adds pages without data"


def verified_text(image: str, digest: str, wanted: Collection[str], expectation: Expectation) -> str:
    """For a build that is as expected."""
    which = f"one of the {len(wanted)} launch digests" if len(wanted) > 1 else "the launch digest"
    return f"verified: {image} has {which} in {expectation.told}: {digest}"


def verified_json(
    image: str,
    digest: str,
    wanted: Collection[str],
    expectation: Expectation,
    hint: str = "",
    changes: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    """For programs; ``image`` is absolute, ``wanted`` are its expected digests, none if it was not compared, and ``changes`` is what
    ``changes_json`` says of the expected build, if that is known."""
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
    """For one that is not."""
    lines = [f"not verified: {image} does not have the launch digest in {expectation.told}"]
    lines += [f"  expected: {one}" for one in wanted]
    lines += [f"  built:    {digest}"]
    return [*lines, *([f"  {hint}"] if hint else [])]


def not_compared_text(image: str, expectation: Expectation) -> str:
    """For one of several that were built."""
    return f"not compared: {image}: {expectation.told} has no launch digest of it"
