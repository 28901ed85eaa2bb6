"""The sides of a comparison, recognised by their content."""

from __future__ import annotations

import json
from typing import Any

from coconut_tasks.compare.image import of_igvm, of_inspect
from coconut_tasks.compare.record import Beside, of_measurement, of_statement
from coconut_tasks.compare.side import Given, Side
from coconut_tasks.errors import UsageError
from coconut_tasks.igvm import MAGIC
from coconut_tasks.recipe.positions import MAX_DEPTH

MOST_JSON = 64 << 20
"""Bytes of a JSON file: enough for an image of a GiB, and what comes of it fits into memory."""
_FORMS = "an .igvm file, the output of 'doit inspect --json FILE.igvm', a .provenance.json or a .launch-digest.json of a build"


def read_side(name: str, data: bytes | bytearray, beside: Beside = lambda name: None) -> Side:
    """One side of a comparison, recognised by its content. ``name`` is what it is called in all that is said.

    ``beside`` gives the content of another file in its folder: a statement's image, which is taken only if its SHA-256 is the right one.

    Raises:
        UsageError: it is none of what can be compared, or not as it should be. The message is one line that begins with ``name``.
    """
    if data[:4] == MAGIC:
        return of_igvm(name, data)
    given = Given(name, _json(name, data))
    document = given.value
    if isinstance(document, dict):
        if "predicateType" in document:
            return of_statement(name, given, beside)
        if isinstance(document.get("files"), list):
            return of_inspect(name, given)
        if document.get("kind") == "SEV-SNP launch digest":
            return of_measurement(name, given)
    raise _not_known(name)


def _json(name: str, data: bytes | bytearray) -> Any:
    if not data.lstrip()[:1] == b"{":
        raise _not_known(name)
    if len(data) > MOST_JSON:
        raise UsageError("too-large", f"{name}: more than {MOST_JSON >> 20} MiB of JSON")
    try:
        value = json.loads(data.decode())
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError as error:
        raise UsageError("damaged-record", f"{name}: no JSON in UTF-8: {error}") from error
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return value
    raise _too_deep(name)


def _not_known(name: str) -> UsageError:
    return UsageError("not-comparable", f"{name}: nothing that can be compared: {_FORMS}")


def _too_deep(name: str) -> UsageError:
    return UsageError("too-deep", f"{name}: more than {MAX_DEPTH} levels inside each other: fewer levels")
