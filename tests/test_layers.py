"""Each module imports only from rooms above its own, and in its room from modules before it: data flows one way. Only ``tasks`` knows
doit."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "coconut_tasks"
# From values to front ends. A module may import those before it; "a | b" have the same rank and do not know each other.
ROOMS: dict[str, str] = {
    "__init__ | dataclass | package": "",
    "terminal": "",
    "errors | explanations | wording": "",
    "variables": "",
    "called": "",
    "layout | options": "",
    "igvm": "__init__ error values platforms parse rules kvm launch snp | tdx | vbs measure ways declared notes read fields",
    "steps": "__init__ command command_diff action step",
    "recipe": "__init__ model diagnostic positions schema rules load reference starter",
    "tools": "__init__ cargo | make | objcopy | packit | igvmbuilder | igvmmeasure | ssh_keygen | cosign",
    "plan": "__init__ context items firmware | kernel | fs | igvm provenance plan",
    "effects": "__init__ stopwatch | aside | place lock meanwhile placed process",
    "inputs": "__init__ text | paths | environment files | git | linker cargo_config toolchain | version"
    " inherited discovered messages scripts cargo artifacts fingerprints make commit",
    "reproducible": "__init__ remap | compilers",
    "workspace": "__init__ source | known_valid | run_state workspace session",
    "records": "__init__ store | sizes | timeline record history variants",
    "freshness": "__init__ staleness forecast",
    "evidence": "__init__ link | pages | reference_values statement digests expected | signing",
    "cache": "__init__ store | archive settings | limits transfers messages folder | http | remote open cache toolset keys units"
    " unit_notes | collect",
    "actions": "__init__ objcopy | recorder | link | firmware | fs | igvm_image | measure | version | reproducible"
    " cached cargo_traces cached_units cargo | make provenance perform ahead publish | clean build",
    "compare": "__init__ values | side | spots image pages | headers | record reproduction changes | sides reproduce recheck",
    "reports": "__init__ results | markup | graph_layout edge_paths timings outlook | changes | graph | inspect | logs | cache"
    " | problems | progress | recipe | reproduced | size | timeline | why failure | plan | verified info",
    "tasks": "__init__ table | standing | dodo_file | interrupt | live json_output | checker guesses | help_text | loader command node"
    " record_run | run | preflight outcomes | supervisor reporter task_command doit_commands | help namespace program",
    "commands": "__init__ output | arguments candidates | cache | diff | graph | inspect | log | measure | new | plan | reproduce"
    " | sign | size | timeline | validate | watch | why verify build coconut completion",
}
GENERATED = PACKAGE / "cache" / "generated"
"""protoc's code, which only ``cache`` imports."""
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if GENERATED not in path.parents)


def ranks(order: str) -> dict[str, int]:
    """The rank of each name; names with | between them share one."""
    found: dict[str, int] = {}
    rank, beside = 0, False
    for word in order.split():
        if word == "|":
            beside = True
            continue
        rank += not beside
        found[word], beside = rank, False
    return found


RANK = {name: rank for rank, names in enumerate(ROOMS) for name in names.split(" | ")}
INSIDE = {room: ranks(order) for room, order in ROOMS.items() if order}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


NAMES = {module_of(path) for path in MODULES}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def own_imports(path: Path) -> Iterator[str]:
    """The modules of this project that a module imports, also inside functions."""
    for name in imported(path):
        if name.startswith("coconut_tasks."):
            parts = name.split(".")[1:]
            longest = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
            yield next((found for one in longest for found in (one, f"{one}.__init__") if found in NAMES), "__init__")


def may_import(own: str, other: str) -> bool:
    room, _, module = own.partition(".")
    other_room, _, inner = other.partition(".")
    if room != other_room:
        return RANK[other_room] < RANK[room]
    return not inner or INSIDE[room][inner] < INSIDE[room][module]


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_a_module_imports_only_what_stands_before_it(path: Path) -> None:
    own = module_of(path)
    assert not {other for other in own_imports(path) if other != own and not may_import(own, other)}


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_only_tasks_knows_doit(path: Path) -> None:
    knows = any(name == "doit" or name.startswith("doit.") for name in imported(path))
    assert not knows or module_of(path).startswith("tasks.")


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_no_import_is_relative(path: Path) -> None:
    """``own_imports`` would not see it."""
    nodes = ast.walk(ast.parse(path.read_text()))
    assert not [ast.unparse(node) for node in nodes if isinstance(node, ast.ImportFrom) and node.level]


def test_every_module_has_its_place() -> None:
    rooms = {name for names, order in ROOMS.items() if not order for name in names.split(" | ")}
    assert {f"{room}.{module}" for room, order in INSIDE.items() for module in order} | rooms == NAMES


def test_upward_imports_are_seen() -> None:
    assert not may_import("plan.items", "tasks.node") and not may_import("plan.items", "plan.plan")
    assert not may_import("errors", "wording") and may_import("plan.items", "plan.context")


def test_no_two_classes_have_one_name() -> None:
    """One name means one thing: a reader need not look up where it comes from."""
    found: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(module_of(path))
    assert {name: places for name, places in found.items() if len(places) > 1} == {}
