"""Every path that the project writes, as pure functions of names and keys.

``bin/`` holds what users ask for, under the names of the recipe. ``bin/.coconut/`` is the state folder: each variant of a step (another
recipe, profile or feature set) has its own folder there, so no variant overwrites the files of another.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any

from coconut_tasks.dataclass import dataclass

STATE_FOLDER = ".coconut"
RECORDS = "state.sqlite3"
"""In the state folder: the record of each step's last successful run."""
PARTS = "parts"
"""In the state folder: a folder for each variant of a step."""
REPRODUCIBLE = "reproducible"
"""In the state folder: what only reproducible builds use."""
REPRODUCE = "reproduce"
"""In the state folder: where ``doit reproduce`` builds."""
FS_IMAGE = "svsm-fs.bin"
HEX = {"snp": ".launch-digest.hex", "tdp": ".mrtd.hex", "vsm": ".boot-digest.hex"}
"""The suffix of the file with a platform's measurement as text, by the recipe's word for each platform that measures."""
DIGEST_JSON = ".launch-digest.json"
REFERENCE_VALUES = ".reference-values.json"
CORIM = ".corim"
PROVENANCE = ".provenance.json"
SIDECARS = {
    HEX["snp"]: "the launch digest",
    HEX["tdp"]: "the MRTD",
    HEX["vsm"]: "the VBS boot digest",
    DIGEST_JSON: "the launch measurements",
    REFERENCE_VALUES: "the reference values",
    CORIM: "the CoRIM",
    PROVENANCE: "the provenance",
}
"""The suffixes of an IGVM file's sidecars, the files about its bytes that steps write beside it, and what each is called."""
SIGNED = (PROVENANCE, DIGEST_JSON, REFERENCE_VALUES, CORIM)
"""The sidecars that ``doit sign`` signs: all that name what they describe."""
SIGNATURES = {"ssh-keygen": ".sig", "cosign": ".sigstore.json"}
"""The suffixes of a sidecar's signatures, by the program that makes them. ssh-keygen chooses the first itself."""
BESIDE = (*SIDECARS, *(sidecar + signature for sidecar in SIGNED for signature in SIGNATURES.values()))
"""The suffixes of all files beside an IGVM file that describe its bytes: none of them outlives it."""
VERSION_FILE = "release/src/git_version.rs"
"""Relative to the tree; only trees with the ``release`` crate have it."""
BARE_METAL = "x86_64-unknown-none"
"""The target triple of kernel parts and modules."""


def key_of(*choices: object) -> str:
    """A short, stable digest of JSON values (tuples count as lists)."""
    return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()[:12]


def goes_with(place: str, *, image: bool) -> tuple[str, ...]:
    """Files that describe a published file, removed before it is replaced or removed: an image's sidecars, a sidecar's signatures."""
    if image:
        return tuple(place + end for end in BESIDE)
    return tuple(place + end for end in SIGNATURES.values()) if place.endswith(SIGNED) else ()


def output_name(target: str, item: Mapping[str, Any]) -> str:
    """The normalised file name, below ``bin/``, of the IGVM file of a recipe's target object."""
    output: str = item.get("output", f"coconut-{target}.igvm")
    return posixpath.normpath(output)


def image_path(module: str, item: Mapping[str, Any]) -> str:
    """The normalised path in the image of a recipe's module object. A leading slash is the image's root."""
    path: str = item.get("path") or module
    return posixpath.normpath(path.lstrip("/"))


VARIANT = rf"\S*{re.escape(STATE_FOLDER)}/{PARTS}/(?P<name>\S+)-(?P<key>[0-9a-f]{{12}})(?:/|$)"
"""A regular expression for a path in the folder of a step's variant, up to that folder: the inverse of ``Layout.variant``."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below an output folder, spelt as in commands."""

    bin: str

    def published(self, name: str) -> str:
        """``bin/<name>``: where users find it."""
        return posixpath.join(self.bin, name)

    @property
    def cargo_config(self) -> str:
        """The configuration that reproducible builds give to cargo."""
        return posixpath.join(self.bin, STATE_FOLDER, REPRODUCIBLE, "config.toml")

    def link(self, variant: str) -> str:
        """The file that records what a variant of a step, by its ``Step.file_name``, was made of."""
        return posixpath.join(self.bin, STATE_FOLDER, "links", f"{variant}.json")

    def variant(self, name: str, key: str, *parts: str) -> str:
        """A path in the folder of one variant of a step."""
        return posixpath.join(self.bin, STATE_FOLDER, PARTS, f"{name}-{key}", *parts)
