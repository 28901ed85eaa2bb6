"""Every path that the project writes, as pure functions of names and keys.

``bin/`` holds what users ask for, under the names of the recipe. Beside it, ``bin/.coconut/`` is the state folder: each variant
of a step (another recipe, profile or feature set) has a folder of its own there, so that no variant overwrites another's files.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from dataclasses import dataclass

STATE_FOLDER = ".coconut"
FS_IMAGE = "svsm-fs.bin"
DIGEST_HEX = ".launch-digest.hex"
DIGEST_JSON = ".launch-digest.json"
VERSION_FILE = "release/src/git_version.rs"
"""Relative to the tree; only a tree that has the ``release`` crate has it."""
BARE_METAL = "x86_64-unknown-none"
"""The target triple of kernel parts and modules."""


def key_of(*choices: object) -> str:
    """A short, stable digest of choices that are JSON values (tuples count as lists)."""
    return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below one output folder, spelt as the commands see it."""

    bin: str

    def published(self, name: str) -> str:
        """``bin/<name>``: where users find it."""
        return posixpath.join(self.bin, name)

    def variant(self, name: str, key: str, *parts: str) -> str:
        """A path in the folder of one variant of a step."""
        return posixpath.join(self.bin, STATE_FOLDER, "parts", f"{name}-{key}", *parts)
