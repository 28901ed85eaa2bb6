"""What ``verify`` found, and how it is told."""

from __future__ import annotations

from collections.abc import Collection

from coconut_tasks.evidence.expected import Expectation
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.snp import launch_digest


def other_settings(data: bytes, native_zero: bool, wanted: Collection[str]) -> str:
    """Why the same file may be expected to have another digest: it was measured in another way; empty if that is not it."""
    try:
        other = launch_digest(data, check_kvm=False, native_zero=not native_zero, tolerant=True).hex()
    except IgvmError:
        return ""
    if other not in wanted:
        return ""
    how = "without 'measure-native-zeroes', as" if native_zero else "with 'measure-native-zeroes': true, as"
    return f"the same file has the expected digest {how} its loader does or does not mark pages without data"


def verified_text(image: str, digest: str, expectation: Expectation) -> str:
    """For a build that is as expected."""
    return f"verified: {image} has the launch digest that {expectation.told} names: {digest}"


def mismatch_text(image: str, digest: str, expectation: Expectation, hint: str) -> list[str]:
    """For one that is not."""
    digests = expectation.expected.digests
    lines = [f"not verified: {image} has not the launch digest that {expectation.told} names"]
    lines += [f"  expected: {one}" for one in digests]
    lines += [f"  built:    {digest}"]
    return [*lines, *([f"  {hint}"] if hint else [])]
