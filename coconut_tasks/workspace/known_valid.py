"""Which recipes were found valid before, so that a run does not even import the code that checks them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from coconut_tasks import __version__
from coconut_tasks.effects.place import write_cache
from coconut_tasks.package import PACKAGE, data_path

DECIDING = (
    *("called", "dataclass", "errors", "layout", "options", "package", "variables", "wording"),
    *(f"recipe/{name}" for name in ("diagnostic", "load", "model", "positions", "rules", "schema")),
)
"""All modules that a check runs, as paths in the package; ``tests/test_load.py`` compares them with what a check imports."""


class KnownValid:
    """Recipe texts that were found valid with the current schema and need no second check."""

    def __init__(self, path: Path, lenient: bool) -> None:
        self._path = path
        # In a checkout these files change without a new version; they are only stat-ed, not imported.
        deciding = [data_path("schema/recipe.schema.json"), *(PACKAGE / f"{name}.py" for name in DECIDING)]
        stats = [(found.st_size, found.st_mtime_ns, found.st_ctime_ns) for found in map(os.stat, deciding)]
        self._salt = f"{__version__} {lenient} {stats}".encode()
        self._changed = False
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            self._digests: dict[str, bool] = dict.fromkeys(found, True) if isinstance(found, list) else {}
        except (OSError, ValueError, TypeError):
            self._digests = {}

    def _digest(self, data: bytes) -> str:
        return hashlib.sha256(self._salt + b"\0" + data).hexdigest()

    def has(self, data: bytes) -> bool:
        return self._digest(data) in self._digests

    def add(self, data: bytes, *, clean: bool) -> None:
        if clean and not self.has(data):
            self._digests[self._digest(data)] = True
            self._changed = True

    def save(self) -> None:
        # Only if something was built here: `doit list` in a fresh clone writes nothing.
        if self._changed and self._path.parent.is_dir():
            write_cache(self._path, json.dumps(list(self._digests)[-200:]).encode())
