"""The JSON Schema of recipes, and what it finds in a document, in our own words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from coconut_tasks.errors import did_you_mean
from coconut_tasks.package import data_path
from coconut_tasks.recipe.diagnostic import Diagnostic
from coconut_tasks.recipe.diagnostic import Path as DocumentPath
from coconut_tasks.wording import either, shown


def schema_path() -> Path:
    """``recipe.schema.json``."""
    return data_path("schema/recipe.schema.json")


def schema_text() -> str:
    """The text of the schema's file."""
    return schema_path().read_text(encoding="utf-8")


def schema_diagnostics(document: object) -> list[Diagnostic]:
    """Everything in a document of any shape that breaks the schema; at most one finding for the type of a value."""
    schema = json.loads(schema_text())
    if _fits(document, schema, schema):
        return []
    # Imported here: the import takes longer than building the images of an edited recipe.
    from jsonschema import Draft202012Validator

    errors = list(Draft202012Validator(schema).iter_errors(document))
    mistyped = {tuple(error.absolute_path) for error in errors if error.validator == "type"}
    found: list[Diagnostic] = []
    for error in errors:
        path = tuple(error.absolute_path)
        if path in mistyped and error.validator != "type":
            continue  # A value of the wrong type breaks other keywords too: one message is enough.
        found += _TRANSLATIONS[error.validator](path, error.instance, error.schema)
    return list(dict.fromkeys(found))


_TYPES = {"boolean": bool, "string": str, "array": list, "object": dict, "null": type(None)}
_SAID = {"$schema", "$id", "$defs", "title", "description", "default", "examples", "patternErrorMessage"}
"""Keywords that demand nothing."""


def _fits(value: Any, schema: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Whether a value is certainly valid; if that is not plain to see, jsonschema decides."""
    for keyword, demand in schema.items():
        meets = _DEMANDS.get(keyword)
        if not (keyword in _SAID if meets is None else meets(value, demand, schema, whole)):
            return False
    return True


def _has_enough(value: Any, least: int, schema: dict[str, Any], whole: dict[str, Any]) -> bool:
    return value is None or (isinstance(value, str | list) and len(value) >= least)


def _has_each_once(value: Any, demand: bool, schema: dict[str, Any], whole: dict[str, Any]) -> bool:
    texts = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
    return texts and len(set(value)) == len(value)


def _has_good_entries(value: Any, entries: dict[str, Any], schema: dict[str, Any], whole: dict[str, Any]) -> bool:
    return value is None or (isinstance(value, list) and all(_fits(entry, entries, whole) for entry in value))


def _has_good_members(value: Any, members: dict[str, Any], schema: dict[str, Any], whole: dict[str, Any]) -> bool:
    return isinstance(value, dict) and all(
        _fits(value[name], member, whole) for name, member in members.items() if name in value
    )


def _has_good_others(value: Any, others: Any, schema: dict[str, Any], whole: dict[str, Any]) -> bool:
    known = schema.get("properties", {}).keys()
    rest = [one for name, one in value.items() if name not in known] if isinstance(value, dict) else [value]
    return not rest if others is False else all(_fits(one, others, whole) for one in rest)


_DEMANDS: dict[str, Callable[[Any, Any, dict[str, Any], dict[str, Any]], bool]] = {
    "$ref": lambda value, name, _, whole: _fits(value, whole["$defs"][name.removeprefix("#/$defs/")], whole),
    "type": lambda value, _, schema, __: any(type(value) is _TYPES[name] for name in types(schema)),
    # To Python, true is 1.
    "enum": lambda value, words, _, __: any(type(value) is type(word) and value == word for word in words),
    "pattern": lambda value, regex, _, __: isinstance(value, str) and re.search(regex, value) is not None,
    "minLength": _has_enough,
    "minItems": _has_enough,
    "uniqueItems": _has_each_once,
    "items": _has_good_entries,
    "required": lambda value, names, _, __: isinstance(value, dict) and value.keys() >= set(names),
    "properties": _has_good_members,
    "additionalProperties": _has_good_others,
}
"""What each keyword demands of a value: (value, the keyword's value, the schema that has the keyword, the whole schema)."""


def types(schema: dict[str, Any]) -> list[str]:
    """The names of the JSON types that a schema allows, the preferred one first; empty if it names none."""
    named = schema.get("type", [])
    return [named] if isinstance(named, str) else list(named)


_NOUNS = {
    "boolean": ("a boolean", "true or false"),
    "string": ("a string", "text in double quotes"),
    "array": ("a list", "a list in brackets"),
    "object": ("an object", "fields in braces"),
}


def _wrong_type(path: DocumentPath, value: Any, schema: dict[str, Any]) -> Iterator[Diagnostic]:
    kind = types(schema)[0]
    noun, right = _NOUNS[kind]
    if kind == "boolean" and str(value).lower() in ("true", "false"):
        right += " without quotes"
    for example in schema.get("examples", [])[:1]:
        right += f", for example {json.dumps(example)}"
    yield Diagnostic("wrong-type", path, f"{shown(value)} is not {noun}", f"expected {right}")


def _wrong_word(path: DocumentPath, value: Any, schema: dict[str, Any]) -> Iterator[Diagnostic]:
    # comport has each number twice, as text and as a number.
    words = list(dict.fromkeys(str(word) for word in schema["enum"] if word is not None))
    nearest = did_you_mean(value, words) if isinstance(value, str) else ""
    yield Diagnostic("no-such-choice", path, _is(path, value), f"expected {either(words)}{nearest}")


def _wrong_pattern(path: DocumentPath, value: Any, schema: dict[str, Any]) -> Iterator[Diagnostic]:
    yield Diagnostic("wrong-form", path, _is(path, value), f"expected {schema['patternErrorMessage']}")


def _empty_text(path: DocumentPath, value: Any, schema: dict[str, Any]) -> Iterator[Diagnostic]:
    where = str(path[-1]) if isinstance(path[-1], str) else f"an entry of {path[-2]}"
    yield Diagnostic("empty-text", path, f"{where} is empty", "expected at least one character")


def _empty_list(path: DocumentPath, value: Any, schema: dict[str, Any]) -> Iterator[Diagnostic]:
    right = f"at least one of {either(_words(schema))}" if _words(schema) else "at least one entry"
    yield Diagnostic("empty-list", path, f"{path[-1]} is empty", f"expected {right}")


def _repeated(path: DocumentPath, value: Any, schema: dict[str, Any]) -> Iterator[Diagnostic]:
    for i, entry in enumerate(value):
        if entry in value[:i]:
            yield Diagnostic("repeated-entry", (*path, i), f"{path[-1]} has {shown(entry)} twice", "remove one of them")


def _missing(path: DocumentPath, value: Any, schema: dict[str, Any]) -> Iterator[Diagnostic]:
    for name in schema["required"]:
        if name not in value:
            yield Diagnostic("missing-field", path, f"missing field '{name}'", "add it")


def _unknown(path: DocumentPath, value: Any, schema: dict[str, Any]) -> Iterator[Diagnostic]:
    fields = [name for name in schema["properties"] if not name.startswith("$")]
    for name in value:
        if name not in schema["properties"]:
            remedy = f"expected {either(fields)}{did_you_mean(name, fields)}"
            wrong = f"unknown field {shown(name)}"
            yield Diagnostic("unknown-field", (*path, name), wrong, remedy, at_key=True, passed_over=True)


def _is(path: DocumentPath, value: object) -> str:
    last = path[-1]
    return f"{last} is {shown(value)}" if isinstance(last, str) else f"{path[-2]} has {shown(value)}"


def _words(schema: dict[str, Any]) -> list[str]:
    return list(schema.get("items", {}).get("enum", []))


_TRANSLATIONS: dict[str, Callable[[DocumentPath, Any, dict[str, Any]], Iterator[Diagnostic]]] = {
    "type": _wrong_type,
    "enum": _wrong_word,
    "pattern": _wrong_pattern,
    "minLength": _empty_text,
    "minItems": _empty_list,
    "uniqueItems": _repeated,
    "required": _missing,
    "additionalProperties": _unknown,
}
"""Every keyword of the schema that can fail; a test checks that none is missing."""
