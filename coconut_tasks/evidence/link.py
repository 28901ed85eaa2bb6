"""What a step was made of: its commands, tools, materials and products, as JSON.

in-toto calls such a record a link. Ours are kept in the state folder, one for each variant of a step, and the provenance of an image is put
together from them. The same step on the same materials leaves the same bytes, whoever ran it and wherever: paths of the machine have names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from coconut_tasks.dataclass import dataclass

FORMAT = 2
"""Version of the JSON. Who raises it raises that of the records (``tasks.backend``), too, so that no older link is read."""


@dataclass(frozen=True, slots=True)
class Link:
    """What is known of one good run of a step."""

    step: str
    """``kernel:svsm``."""
    commands: Sequence[Mapping[str, Any]]
    """Each an ``argv``, and the ``env`` that is added for it."""
    environment: Mapping[str, str | None]
    """The variables that reach the tool and count; None for one that is not set."""
    tools: Mapping[str, str]
    """Installed tools by name: what tells one version from another."""
    materials: Mapping[str, str | None]
    """Every file that was read, and its digest (``sha256:…``, of a program ``sha256x:…``); None for one that changed while the step ran:
    nobody knows what was read."""
    products: Mapping[str, str]
    """Every file that was made."""
    own: Sequence[str]
    """Of the materials, those that the step's build scripts wrote themselves, into the source."""


def link_text(link: Link) -> bytes:
    """The file's content."""
    found = {field.name: getattr(link, field.name) for field in fields(link)}
    # A line for each file: with an indent, Python's fast encoder is not used.
    return (json.dumps({"format": FORMAT, **found}, separators=(",\n", ":"), sort_keys=True) + "\n").encode()


def read_link(text: bytes) -> Link:
    """From the file's content, which is of this program: damage is found by its digest before."""
    found = json.loads(text)
    del found["format"]
    return Link(**found)
