"""What a step was made of: its commands, tools, materials and products, as JSON.

in-toto calls such a record a link. Ours are kept in the state folder, one for each variant of a step; an image's provenance is assembled
from them. The same step on the same materials gives the same bytes on every machine, since local paths are replaced by names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from coconut_tasks.dataclass import dataclass

FORMAT = 2
"""Version of the JSON. Raise it together with that of the records (``records.store``), so that no older link is read."""


@dataclass(frozen=True, slots=True)
class Link:
    """What is known about one successful run of a step."""

    step: str
    """``kernel:svsm``."""
    commands: Sequence[Mapping[str, Any]]
    """Each with its ``argv`` and the ``env`` that is added for it."""
    environment: Mapping[str, str | None]
    """The relevant variables that the tool sees; None for one that is not set."""
    tools: Mapping[str, str]
    """Installed tools by name, each with what distinguishes its versions."""
    materials: Mapping[str, str | None]
    """Every file that was read, and its digest (``sha256:…``, for a program ``sha256x:…``); None for a file that changed while the step
    ran, since its content when it was read is unknown."""
    products: Mapping[str, str]
    """Every file that was made."""
    own: Sequence[str]
    """The materials that the step's build scripts wrote into the source themselves."""
    cached: Mapping[str, str] | None = None
    """The ``action`` and the ``builder`` if the products were taken from a cache; None if they were made here."""


def link_text(link: Link) -> bytes:
    """The file's content."""
    found = {field.name: getattr(link, field.name) for field in fields(link)}
    if link.cached is None:
        del found["cached"]
    # One line per file: with an indent, Python does not use its fast encoder.
    return (json.dumps({"format": FORMAT, **found}, separators=(",\n", ":"), sort_keys=True) + "\n").encode()


def read_link(text: bytes) -> Link:
    """From the file's content, whose digest was checked before."""
    found = json.loads(text)
    del found["format"]
    return Link(**found)
