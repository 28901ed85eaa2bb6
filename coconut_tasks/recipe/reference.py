"""The reference page of the recipe format, generated from the schema: ``python -m coconut_tasks.recipe.reference [--check]``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from coconut_tasks.recipe.schema import schema_path, schema_text, types
from coconut_tasks.wording import either

_SECTIONS = ("igvm", "target", "kernel", "part", "fs", "module", "firmware")
_INTRODUCTION = """\
# Recipe reference

This page is generated from `schema/recipe.schema.json` by `python -m coconut_tasks.recipe.reference`. Change the schema,
not the page.

A recipe is a JSON file in UTF-8. A field that is not on this page is an error, so that a typo cannot change an image
unnoticed. To see these descriptions in your editor, name the schema in the recipe, for example
`"$schema": "../schema/recipe.schema.json"`. Where null is allowed, it means the same as leaving the field out.
"""


def reference_text(schema: dict[str, Any]) -> str:
    """The page in Markdown: a section for each object, a row for each field."""
    definitions = schema["$defs"]
    parts = [_INTRODUCTION, *_section("The recipe", schema, definitions)]
    for name in _SECTIONS:
        parts += _section(definitions[name]["title"], definitions[name], definitions)
    return "\n".join(parts)


def reference_path() -> Path:
    """``docs/recipe-reference.md`` of the checkout."""
    return schema_path().parent.parent / "docs" / "recipe-reference.md"


def main(arguments: Sequence[str]) -> int:
    """Write the page, or compare it with ``--check``; the exit status is 1 if it is out of date, 2 for wrong use."""
    text, path = reference_text(json.loads(schema_text())), reference_path()
    if list(arguments) not in ([], ["--check"]) or not path.parent.is_dir():
        print("error: usage, in a checkout: python -m coconut_tasks.recipe.reference [--check]", file=sys.stderr)
        return 2
    if not arguments:
        path.write_text(text, encoding="utf-8")
    elif not path.exists() or path.read_text(encoding="utf-8") != text:
        print(f"error: {path} is out of date; run python -m coconut_tasks.recipe.reference", file=sys.stderr)
        return 1
    return 0


def _section(title: str, schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    yield f"## {title}\n"
    yield f"{schema['description']}\n"
    yield "| field | what it is | type | default | allowed | example |"
    yield "|---|---|---|---|---|---|"
    for name, field in schema["properties"].items():
        label = f"`{name}`" + (" (required)" if name in schema.get("required", []) else "")
        yield _row(label, field, definitions)
    yield ""


def _row(label: str, field: dict[str, Any], definitions: dict[str, Any]) -> str:
    target = field.get("$ref", "").removeprefix("#/$defs/")
    # What is beside a reference describes the field more closely than what it refers to.
    known = {**definitions.get(target, {}), **field}
    default = _code(known["default"]) if "default" in known else ""
    example = _code(known["examples"][0]) if "examples" in known else ""
    kind = _link(known) if "properties" in known else _type(known, definitions)
    cells = [label, known["description"], kind, default, _allowed(known), example]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    if not types(field):
        names = {str: "string", int: "integer", type(None): "null"}
        return either(list(dict.fromkeys(names[type(word)] for word in field["enum"])))
    inner = field.get("additionalProperties", {})
    entry = _link(definitions[inner["$ref"].removeprefix("#/$defs/")]) if "$ref" in inner else "string"
    words = {"array": "list of strings", "object": f"object of name: {entry}"}
    return either([words.get(kind, kind) for kind in types(field)])


def _allowed(field: dict[str, Any]) -> str:
    entry = field.get("items", field)
    if "enum" in entry:
        words = either(list(dict.fromkeys(f"`{word}`" for word in entry["enum"] if word is not None)))
        return f"one or more of {words}, each once" if "items" in field else words
    if "patternErrorMessage" in field:
        return str(field["patternErrorMessage"])
    if "minItems" in field:
        return "one or more, none of them empty"
    return "not empty" if "minLength" in field else ""


def _link(definition: dict[str, Any]) -> str:
    title = definition["title"]
    return f"[{title}](#{title.replace(' ', '-')})"


def _code(value: object) -> str:
    return f"`{json.dumps(value)}`"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
