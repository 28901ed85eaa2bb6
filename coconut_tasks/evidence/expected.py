"""The expected digests, and the images that they are about. The digest of one image never verifies another."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

from coconut_tasks.called import called
from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import UsageError
from coconut_tasks.evidence.digests import LaunchDigest
from coconut_tasks.layout import SIDECARS
from coconut_tasks.wording import either, printable


@dataclass(frozen=True, slots=True)
class Expectation:
    """The value of ``EXPECT``."""

    told: str
    """Its name in messages: the file's name, or ``EXPECT``."""
    digests: tuple[LaunchDigest, ...]
    """The result of ``digests_in``."""
    content: bytes | bytearray = b""
    """The content of the file, if it is a file."""
    path: Path | None = None
    """The path of the file."""


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image to compare."""

    name: str
    """The name of the IGVM file, relative to the output folder."""
    task: str
    """The step that measures it."""
    native_zero: bool
    """Whether its pages without data are measured as zero pages."""


def expected_of(expectation: Expectation, images: Sequence[BuiltImage]) -> dict[str, tuple[str, ...]]:
    """For each image that they are about, by name, the digests in lower-case hex; the image must have one of them.

    Raises:
        UsageError: they are about other images, or it is ambiguous which image they are about.
    """
    found: dict[str, list[str]] = {}
    others = []
    for one in expectation.digests:
        about = _about(one.image, images) if one.image else _about_any(expectation, images)
        if not about:
            others.append(one)
            continue
        if len(about) > 1:
            tasks = either([image.task for image in about])
            raise UsageError(
                "several-measured",
                f"{called().option('EXPECT')}: {expectation.told} does not say which image it is for; add the step {tasks}",
            )
        (image,) = about
        found.setdefault(image.name, []).append(
            one.native_zero if image.native_zero and one.native_zero else one.digest
        )
    if not found:
        theirs = ", ".join(printable(one.image) for one in others)
        ours = ", ".join(image.name for image in images)
        anyway = (
            f"; to compare anyway: {called().setting('EXPECT', others[0].digest)}"
            if len(others) == len(images) == 1
            else ""
        )
        raise UsageError(
            "expected-of-another",
            f"{called().option('EXPECT')}: {expectation.told} is for {theirs}, but this run measures {ours}{anyway}",
        )
    return {name: tuple(dict.fromkeys(digests)) for name, digests in found.items()}


def _about(name: str, images: Sequence[BuiltImage]) -> list[BuiltImage]:
    """The images that a name can mean. A tool's output may have a path to a folder with an older build."""
    ends = [image for image in images if f"/{name}".endswith(f"/{image.name}")]
    if ends:
        return [max(ends, key=lambda image: len(image.name))]
    return [image for image in images if posixpath.basename(image.name) == posixpath.basename(name)]


def _about_any(expectation: Expectation, images: Sequence[BuiltImage]) -> list[BuiltImage]:
    """The images that a digest without a name can be about: all, unless its file has the name of an image or a sidecar."""
    if expectation.path is None or len(images) == 1:
        return list(images)
    name = expectation.path.name
    end = next((end for end in SIDECARS if name.endswith(end)), "")
    return _about(name.removesuffix(end), images) or list(images)
