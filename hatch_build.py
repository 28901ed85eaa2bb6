"""The package's entry points for doit, from its list of commands."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class CustomMetadataHook(MetadataHookInterface):
    """hatchling finds this class by its name."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in the fields that pyproject.toml declares dynamic."""
        table = runpy.run_path(str(Path(self.root, "coconut_tasks", "tasks", "table.py")))
        metadata["entry-points"] = {f"doit.{kind}": plugins for kind, plugins in table["PLUGINS"].items()}
