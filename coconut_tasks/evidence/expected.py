"""Which launch digest somebody expects: written out, or in one of the files that digests come in."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from coconut_tasks.dataclass import dataclass
from coconut_tasks.evidence.reference_values import TRUSTEE_NAME
from coconut_tasks.evidence.statement import LAUNCH_DIGEST
from coconut_tasks.igvm.snp import DIGEST_SIZE

FORMS = (
    "96 hexadecimal digits, 64 characters of base64, or a file: a digest as text, .launch-digest.json, .provenance.json, "
    ".reference-values.json, or an SEV-SNP attestation report"
)
"""What ``EXPECT`` can be."""
REPORT_SIZE = 0x4A0
"""Bytes of an attestation report (SEV-SNP firmware ABI, structure ATTESTATION_REPORT)."""
_MEASUREMENT = 0x90
"""Where its launch digest is."""
_HEX = re.compile(rf"[0-9a-fA-F]{{{2 * DIGEST_SIZE}}}")
_BASE64 = re.compile(rf"[0-9a-zA-Z+/]{{{4 * DIGEST_SIZE // 3}}}")


@dataclass(frozen=True, slots=True)
class Expected:
    """One of these digests is right."""

    digests: tuple[str, ...]
    """Lower-case hex."""
    image: str = ""
    """The IGVM file that they are of, by its name below the output folder; empty where nobody says."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What ``EXPECT`` says."""

    told: str
    """What to call it: the file's name, or ``EXPECT``."""
    expected: Expected
    content: bytes = b""
    """Of the file, where it is one."""
    path: Path = Path()
    """Where that is."""


def digest_in(text: str) -> str | None:
    """The digest that a text is, in lower-case hex; None if it is none."""
    if _HEX.fullmatch(text):
        return text.lower()
    if _BASE64.fullmatch(text):
        try:
            return base64.b64decode(text, validate=True).hex()
        except binascii.Error:
            return None
    return None


def expected_in(data: bytes) -> Expected | None:
    """What a file's content says; None if that is nothing of the kind."""
    # A report is known by its size alone, which a text may have, too.
    if (expected := _of_text(data)) is not None or len(data) != REPORT_SIZE:
        return expected
    return Expected((data[_MEASUREMENT : _MEASUREMENT + DIGEST_SIZE].hex(),))


def _of_text(data: bytes) -> Expected | None:
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        return None
    if digest := digest_in(text):
        return Expected((digest,))
    try:
        return _of_json(json.loads(text))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _of_json(found: Any) -> Expected | None:
    if "predicate" in found:
        (subject,) = found["subject"]
        return _expected([subject["digest"][LAUNCH_DIGEST]], subject["name"])
    if TRUSTEE_NAME in found:
        return _expected(found[TRUSTEE_NAME])
    return _expected([found["digest"]], found["igvm"]["file"])


def _expected(texts: Iterable[str], image: str = "") -> Expected | None:
    digests = [digest_in(text) for text in texts]
    return Expected(tuple(dict.fromkeys(filter(None, digests))), image) if digests and all(digests) else None
