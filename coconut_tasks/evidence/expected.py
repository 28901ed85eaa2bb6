"""The expected measurements, and the images that they are about. The digest of one image never verifies another."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

from coconut_tasks.called import called
from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import UsageError
from coconut_tasks.evidence.digests import LaunchDigest
from coconut_tasks.layout import SIDECARS
from coconut_tasks.wording import MEASUREMENTS, either, printable


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
    platforms: tuple[str, ...] = ("snp",)
    """The platforms that it is measured for."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected of an image: one of the digests."""

    platforms: tuple[str, ...]
    """The platform whose measurement that is, or those that it can be, if the form of the digest does not say. An image that is not for its
    platform does not have what is expected."""
    digests: tuple[str, ...]
    """In lower-case hex."""


def expected_of(expectation: Expectation, images: Sequence[BuiltImage]) -> dict[str, tuple[Expected, ...]]:
    """What is expected of each image that the digests are about, by the image's name, in the order of its platforms.

    Raises:
        UsageError: they are about other images or platforms, or it is ambiguous which image they are about.
    """
    found: dict[str, dict[tuple[str, ...], list[str]]] = {}
    others = []
    strange: tuple[LaunchDigest, Sequence[BuiltImage]] | None = None
    missing: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for one in expectation.digests:
        about = _about(one.image, images) if one.image else _about_any(expectation, images)
        if not about:
            others.append(one)
            continue
        meant = [image for image in about if _platforms(one, image)]
        if not meant:
            strange = one, about
            if len(about) > 1:  # whichever image it is about does not have it
                break
            missing.setdefault(about[0].name, {}).setdefault(_possible(one), []).append(one.digest)
            continue
        if len(meant) > 1:
            tasks = either([image.task for image in meant])
            raise UsageError(
                "several-measured",
                f"{called().option('EXPECT')}: {expectation.told} does not say which image it is for; add the step {tasks}",
            )
        (image,) = meant
        digest = one.native_zero if image.native_zero and one.native_zero else one.digest
        found.setdefault(image.name, {}).setdefault(_platforms(one, image), []).append(digest)
    if strange is not None and (not found or len(strange[1]) > 1):
        raise _other_platform(expectation, *strange, images)
    if not found:
        theirs = ", ".join(printable(image) for image in dict.fromkeys(one.image for one in others))
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
    order = list(MEASUREMENTS)
    return {
        name: tuple(
            Expected(platforms, tuple(dict.fromkeys(digests)))
            for platforms, digests in sorted(
                (found.get(name, {}) | missing.get(name, {})).items(), key=lambda item: order.index(item[0][0])
            )
        )
        for name in {**found, **missing}
    }


def _platforms(one: LaunchDigest, image: BuiltImage) -> tuple[str, ...]:
    """The platforms of the image whose measurement the digest can be."""
    return tuple(platform for platform in _possible(one) if platform in image.platforms)


def _possible(one: LaunchDigest) -> tuple[str, ...]:
    """The platforms whose measurement the digest can be."""
    return (one.platform,) if one.platform else ("snp", "tdp")


def _other_platform(
    expectation: Expectation, one: LaunchDigest, about: Sequence[BuiltImage], images: Sequence[BuiltImage]
) -> UsageError:
    has = {platform for image in about for platform in image.platforms}
    ours = either([f"{MEASUREMENTS[platform]} ({platform})" for platform in MEASUREMENTS if platform in has])
    what = either([MEASUREMENTS[platform] for platform in _possible(one)])
    article = "an" if what[0] in "aeiouM" else "a"
    # What sha256sum prints looks the same.
    hashed = " or another SHA-256" if one.platform == "vsm" else ""
    of = f" of {about[0].name}" if len(about) < len(images) else ""
    return UsageError(
        "expected-of-another",
        f"{called().option('EXPECT')}: {expectation.told} has {article} {what}{hashed}, but this run measures only the {ours}{of}",
    )


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
