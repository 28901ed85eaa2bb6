"""Every path that the project writes, as pure functions of names and keys.

``bin/`` holds what users ask for, under the names of the recipe. Beside it, ``bin/.coconut/`` is the state folder: each variant
of a step (another recipe, profile or feature set) has a folder of its own there, so that no variant overwrites another's files.
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
"""In the state folder: what each step's last good run left."""
PARTS = "parts"
"""In the state folder: a folder for each variant of a step."""
REPRODUCIBLE = "reproducible"
"""In the state folder, what belongs to reproducible builds only."""
REPRODUCE = "reproduce"
"""In the state folder: where ``doit reproduce`` builds."""
FS_IMAGE = "svsm-fs.bin"
DIGEST_HEX = ".launch-digest.hex"
DIGEST_JSON = ".launch-digest.json"
REFERENCE_VALUES = ".reference-values.json"
CORIM = ".corim"
PROVENANCE = ".provenance.json"
SIDECARS = {
    DIGEST_HEX: "the launch digest",
    DIGEST_JSON: "the launch digest",
    REFERENCE_VALUES: "the reference values",
    CORIM: "the CoRIM",
    PROVENANCE: "the provenance",
}
"""The ends of the names of what steps write about the bytes of an IGVM file, beside it (its sidecars), and what each is called."""
SIGNED = (PROVENANCE, DIGEST_JSON, REFERENCE_VALUES, CORIM)
"""Those of them that ``doit sign`` signs: all that say what they are about."""
SIGNATURES = {"ssh-keygen": ".sig", "cosign": ".sigstore.json"}
"""The ends of the names of a sidecar's signatures by the program that makes them. The first is ssh-keygen's own choice."""
BESIDE = (*SIDECARS, *(sidecar + signature for sidecar in SIGNED for signature in SIGNATURES.values()))
"""The ends of the names of all that stands beside an IGVM file and speaks of its bytes: none of them outlives the file."""
VERSION_FILE = "release/src/git_version.rs"
"""Relative to the tree; only a tree that has the ``release`` crate has it."""
BARE_METAL = "x86_64-unknown-none"
"""The target triple of kernel parts and modules."""


def key_of(*choices: object) -> str:
    """A short, stable digest of choices that are JSON values (tuples count as lists)."""
    return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()[:12]


def goes_with(place: str, *, image: bool) -> tuple[str, ...]:
    """What speaks of a published file's bytes, and goes before it is replaced or removed: an image's sidecars, a sidecar's signatures."""
    if image:
        return tuple(place + end for end in BESIDE)
    return tuple(place + end for end in SIGNATURES.values()) if place.endswith(SIGNED) else ()


def output_name(target: str, item: Mapping[str, Any]) -> str:
    """The normalised file name below ``bin/`` of the IGVM file that a recipe's target object asks for."""
    output: str = item.get("output", f"coconut-{target}.igvm")
    return posixpath.normpath(output)


def image_path(module: str, item: Mapping[str, Any]) -> str:
    """The normalised path in the image that a recipe's module object asks for. A leading slash is the image's root."""
    path: str = item.get("path") or module
    return posixpath.normpath(path.lstrip("/"))


VARIANT = rf"\S*{re.escape(STATE_FOLDER)}/{PARTS}/(?P<name>\S+)-(?P<key>[0-9a-f]{{12}})(?:/|$)"
"""A path in the folder of one variant of a step, as far as that folder, as a regular expression: the inverse of ``Layout.variant``."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below one output folder, spelt as the commands see it."""

    bin: str

    def published(self, name: str) -> str:
        """``bin/<name>``: where users find it."""
        return posixpath.join(self.bin, name)

    @property
    def cargo_config(self) -> str:
        """cargo's configuration that reproducible builds add."""
        return posixpath.join(self.bin, STATE_FOLDER, REPRODUCIBLE, "config.toml")

    def link(self, variant: str) -> str:
        """Where it is kept what a variant of a step, by its ``Step.file_name``, was made of."""
        return posixpath.join(self.bin, STATE_FOLDER, "links", f"{variant}.json")

    def variant(self, name: str, key: str, *parts: str) -> str:
        """A path in the folder of one variant of a step."""
        return posixpath.join(self.bin, STATE_FOLDER, PARTS, f"{name}-{key}", *parts)
