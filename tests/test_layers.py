"""Each module imports only from layers above its own, so that data flows one way; and only ``tasks`` knows doit."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "coconut_tasks"
# From values to front ends. A module may import its own layer and those before it.
LAYERS = [
    {"__init__", "errors", "dataclass"},
    {"options", "recipe", "step", "layout", "flags", "terminal"},
    {"igvm"},
    {"difference"},
    {"tools"},
    {"plan"},
    {"jsontext", "schema", "finding", "rules", "load", "reference", "starter"},
    {"effects"},
    {"inputs"},
    {"papers"},
    {"source", "world"},
    {"work", "staleness"},
    {"forecast"},
    {"reports"},
    {"history"},
    {"session", "completion"},
    {"reproduce", "signing"},
    {"tasks"},
    {"cli", "measure_cli"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
MODULES = sorted(PACKAGE.rglob("*.py"))


def layer(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_layer_and_above(path: Path) -> None:
    own = [name.split(".")[1] for name in imported(path) if name.startswith("coconut_tasks.")]
    below = {name for name in own if name in RANK and RANK[name] > RANK[layer(path)]}
    assert not below


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_tasks_and_the_front_end_know_doit(path: Path) -> None:
    knows = any(name == "doit" or name.startswith("doit.") for name in imported(path))
    assert not knows or layer(path) in ("tasks", "cli")


def test_every_module_has_a_layer() -> None:
    assert {layer(path) for path in MODULES} == set(RANK)
