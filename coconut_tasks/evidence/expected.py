"""What somebody expects, and which of the images that are built it is about. A digest of one image never vouches for another one."""

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
    """What ``EXPECT`` says."""

    told: str
    """What to call it: the file's name, or ``EXPECT``."""
    digests: tuple[LaunchDigest, ...]
    """As ``digests_in`` gives them."""
    content: bytes | bytearray = b""
    """Of the file, where it is one."""
    path: Path | None = None
    """Where that is."""


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that is to be compared."""

    name: str
    """Of the IGVM file below the output folder."""
    task: str
    """The step that measures it."""
    native_zero: bool
    """Whether its pages without data are measured as zero pages."""


def expected_of(expectation: Expectation, images: Sequence[BuiltImage]) -> dict[str, tuple[str, ...]]:
    """For each image that they are about, by its name, the digests as lower-case hex; one of them is right.

    Raises:
        UsageError: they are about other images, or nobody says about which.
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
                f"{called().option('EXPECT')}: {expectation.told} does not say which image it is about: add one of the tasks: {tasks}",
            )
        (image,) = about
        found.setdefault(image.name, []).append(
            one.native_zero if image.native_zero and one.native_zero else one.digest
        )
    if not found:
        theirs = ", ".join(printable(one.image) for one in others)
        ours = ", ".join(image.name for image in images)
        anyway = (
            f"; to compare all the same: {called().setting('EXPECT', others[0].digest)}"
            if len(others) == len(images) == 1
            else ""
        )
        raise UsageError(
            "expected-of-another",
            f"{called().option('EXPECT')}: {expectation.told} is about {theirs}, but this call measures {ours}{anyway}",
        )
    return {name: tuple(dict.fromkeys(digests)) for name, digests in found.items()}


def _about(name: str, images: Sequence[BuiltImage]) -> list[BuiltImage]:
    """Those that a name can mean. Tools are given paths, which may lead into a folder where an older build is kept."""
    ends = [image for image in images if f"/{name}".endswith(f"/{image.name}")]
    if ends:
        return [max(ends, key=lambda image: len(image.name))]
    return [image for image in images if posixpath.basename(image.name) == posixpath.basename(name)]


def _about_any(expectation: Expectation, images: Sequence[BuiltImage]) -> list[BuiltImage]:
    """Those that a digest without a name can be about: all, but for a file that has the name of an image or of a sidecar."""
    if expectation.path is None or len(images) == 1:
        return list(images)
    name = expectation.path.name
    end = next((end for end in SIDECARS if name.endswith(end)), "")
    return _about(name.removesuffix(end), images) or list(images)
