"""The schema itself: valid, fully described, and consistent with the classes for recipes."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from coconut_tasks.recipe import schema
from coconut_tasks.recipe.model import BuildType, Component, Firmware, Platform, Target
from coconut_tasks.recipe.rules import PARTS

REPOSITORY = Path(__file__).parent.parent
SCHEMA: dict[str, Any] = json.loads(schema.schema_text())
DEFINITIONS: dict[str, Any] = SCHEMA["$defs"]
RECIPES = sorted((Path(__file__).parent / "recipes").glob("*.json"))


def subschemas(part: Any, name: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in the schema, with its pointer."""
    yield name, part
    for group in ("properties", "$defs"):
        for key, inner in part.get(group, {}).items():
            yield from subschemas(inner, f"{name}/{group}/{key}")
    for key in ("items", "additionalProperties"):
        if isinstance(part.get(key), dict):
            yield from subschemas(part[key], f"{name}/{key}")


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """A schema with what it refers to."""
    return {**DEFINITIONS.get(part.get("$ref", "").removeprefix("#/$defs/"), {}), **part}


def properties() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{place}/{name}", resolved(field))
        for place, part in subschemas(SCHEMA)
        for name, field in part.get("properties", {}).items()
    ]


def test_fits_the_metaschema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["$id"] and SCHEMA["title"]


def test_every_field_has_a_description() -> None:
    assert len(properties()) > 40
    for place, field in properties():
        assert field.get("description", "").endswith("."), place
        assert len(field["description"]) > 20, place


def test_no_object_takes_unknown_fields() -> None:
    for place, part in subschemas(SCHEMA):
        if "properties" in part:
            assert part["additionalProperties"] is False, place


def test_every_reference_leads_somewhere_and_every_definition_is_used() -> None:
    used = {part["$ref"] for _, part in subschemas(SCHEMA) if "$ref" in part}
    assert used == {f"#/$defs/{name}" for name in DEFINITIONS}


def test_defaults_and_examples_are_valid() -> None:
    for place, field in properties():
        inline = {**field, "$defs": DEFINITIONS}
        inline.pop("$ref", None)
        for value in [*field.get("examples", []), *([field["default"]] if "default" in field else [])]:
            assert Draft202012Validator(inline).is_valid(value), (place, value)


def test_the_words_are_those_of_the_classes() -> None:
    assert DEFINITIONS["type"]["enum"] == list(BuildType)
    assert DEFINITIONS["target"]["properties"]["platforms"]["items"]["enum"] == list(Platform)
    assert set(DEFINITIONS["kernel"]["properties"]) == set(PARTS)


@pytest.mark.parametrize(("name", "kind"), [("part", Component), ("target", Target), ("firmware", Firmware)])
def test_fields_and_defaults_are_those_of_the_classes(name: str, kind: type) -> None:
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    in_schema = {key.replace("-", "_"): resolved(item) for key, item in DEFINITIONS[name]["properties"].items()}
    # The name is the key; every measurement is printed.
    assert set(in_schema) - {"measure"} == set(fields) - {"name"}
    for field, item in in_schema.items():
        if "default" in item and field not in ("measure", "features", "env", "platforms"):
            assert item["default"] == fields[field], field
    if kind is Target:
        assert tuple(in_schema["platforms"]["default"]) == fields["platforms"]


def test_a_module_is_a_part_with_a_path() -> None:
    part, module = DEFINITIONS["part"]["properties"], dict(DEFINITIONS["module"]["properties"])
    del module["path"]
    assert module == part


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_valid(path: Path) -> None:
    document = json.loads(path.read_text())
    assert Draft202012Validator(SCHEMA).is_valid(document)
    assert schema.schema_diagnostics(document) == []


def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each value in a document: its container and its name there."""
    for name in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, name
        yield from leaves(value[name])


ODD: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    1.0,
    5,
    "",
    "1",
    "snp",
    "print",
    "x" * 20,
    [],
    ["snp", "snp"],
    [1],
    {},
    {"x": 1},
    {"env": {}},
]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_what_fits_at_a_look_is_valid_to_jsonschema(path: Path) -> None:
    """Each value of a recipe replaced by each odd one, and one more field in each object."""
    validator = Draft202012Validator(SCHEMA)
    text = path.read_text()
    assert schema._fits(json.loads(text), SCHEMA, SCHEMA)
    for number in range(len(list(leaves(json.loads(text))))):
        for odd in ODD:
            for more in (False, True):
                document = json.loads(text)
                holder, name = list(leaves(document))[number]
                if more and isinstance(holder[name], dict):
                    holder[name]["more"] = odd
                else:
                    holder[name] = odd
                if schema._fits(document, SCHEMA, SCHEMA):
                    assert validator.is_valid(document)


def test_an_edited_recipe_that_is_valid_needs_no_jsonschema() -> None:
    code = (
        "import json, sys; from coconut_tasks.recipe.load import load_recipe\n"
        "load_recipe('r', sys.stdin.buffer.read()); print('jsonschema' in sys.modules)"
    )
    with_null = (
        b'{"igvm": {"qemu": {"comport": null}}, "kernel": {"svsm": {"features": null}}, "firmware": {"command": null}}'
    )
    for text in (with_null, *(path.read_bytes() for path in RECIPES)):
        done = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, cwd=REPOSITORY)
        assert done.stdout == b"False\n", done.stderr


def test_each_keyword_that_can_fail_has_words() -> None:
    # Keywords that explain the schema, and those that only lead to another schema.
    silent = {"$schema", "$id", "$ref", "$defs", "title", "description", "default", "examples", "properties", "items"}
    keywords = {key for _, part in subschemas(SCHEMA) for key in part} - silent - {"patternErrorMessage"}
    assert keywords == set(schema._TRANSLATIONS)
    for place, part in subschemas(SCHEMA):
        assert ("pattern" in part) == ("patternErrorMessage" in part), place


def test_in_a_checkout_the_schema_is_in_its_folder() -> None:
    assert schema.schema_path() == REPOSITORY.resolve() / "schema" / "recipe.schema.json"


def test_in_an_installed_package_the_schema_is_inside(tmp_path: Path) -> None:
    package = tmp_path / "coconut_tasks"
    shutil.copytree(REPOSITORY / "coconut_tasks", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "schema").mkdir()
    shutil.copy(schema.schema_path(), package / "schema")
    program = "from coconut_tasks.recipe.schema import schema_path, schema_text; schema_text(); print(schema_path())"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == str(package.resolve() / "schema" / "recipe.schema.json")
