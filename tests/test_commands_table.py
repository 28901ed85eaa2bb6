"""All argv of all shipped recipes, compared with tables written by hand from the tools' documentation.

The tables are in ``tests/expected``; they do not come from the program. Paths that the program chooses are ``{part:svsm}`` and
the like.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from coconut_tasks.layout import Layout
from coconut_tasks.options import from_words
from coconut_tasks.plan.context import PlanContext
from coconut_tasks.plan.plan import Plan, plan_recipes
from coconut_tasks.recipe.load import load_recipe
from coconut_tasks.steps.action import CargoItem, FirmwareImage, FsImage, Provenance, VersionFile
from coconut_tasks.steps.step import Step

HERE = Path(__file__).parent
TABLES = sorted((HERE / "expected").glob("*.txt"))
ENVIRONMENT = {"FW_FILE": "/firmware/OVMF.fd", "HV_FW_FILE": "/firmware/hyper-v.fd"}

Table = dict[str, list[list[str]]]


def read_table(path: Path) -> tuple[list[str], Table]:
    """The variables of a table and, for each task, its commands as words."""
    variables: list[str] = []
    table: Table = {}
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            variables = shlex.split(line[1:])
        elif line and not line[0].isspace():
            task = table.setdefault(line.strip(), [])
        elif line.strip():
            task.append(shlex.split(line))
    return variables, table


def placeholders(plan: Plan) -> dict[str, str]:
    """The program's paths → their names in the tables."""
    names = {}
    for step in plan.steps:
        action = step.action
        if isinstance(action, FsImage):
            names[action.root] = "{fs-root}"
        if isinstance(action, CargoItem) and action.objcopy:
            names[action.built] = f"{{built:{step.component}}}"
        kind = {"tool": "tool:", "kernel": "part:", "module": "part:", "igvm": "igvm:"}.get(step.stage)
        for output in step.outputs:
            names[output] = (
                f"{{{kind}{step.component}}}"
                if kind
                else {"fs": "{fs}", "firmware": "{firmware}"}.get(step.stage, output)
            )
    return names


def words(step: Step, names: dict[str, str]) -> list[list[str]]:
    if isinstance(step.action, FirmwareImage):
        return [["copy", f"${step.action.variable}"]]
    return [
        [
            *(["env", *(f"{name}={value}" for name, value in command.env)] if command.env else []),
            *(names.get(w, w) for w in command.argv),
        ]
        for command in step.commands
    ]


def plan_of(stem: str, variables: list[str]) -> Plan:
    recipe = HERE / "recipes" / f"{stem}.json"
    options = from_words(variables, ENVIRONMENT, "/work")
    return plan_recipes([load_recipe(recipe.name, recipe.read_bytes())], PlanContext(options, Layout("bin")))


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_recipe_expands_to_the_commands_written_by_hand(path: Path) -> None:
    variables, expected = read_table(path)
    plan = plan_of(path.stem.partition(".")[0], variables)
    names = placeholders(plan)
    found = {
        step.name: words(step, names) for step in plan.steps if not isinstance(step.action, VersionFile | Provenance)
    }
    assert found == expected


def test_there_is_a_table_for_each_shipped_recipe() -> None:
    recipes = {path.stem for path in (HERE / "recipes").glob("*.json")}
    assert len(recipes) == 22
    assert recipes == {path.stem for path in TABLES if "." not in path.stem}
