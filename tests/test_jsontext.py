"""JSON text: the same values as ``json``, or one message with a place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coconut_tasks.errors import RecipeError
from coconut_tasks.recipe.positions import MAX_DEPTH, Duplicate, Position, child, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)
LAYOUTS = st.sampled_from([None, 0, 2, "\t"])


@given(VALUES, LAYOUTS, st.booleans())
def test_agrees_with_json(value: object, indent: int | str | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    document = parse("f", text.encode())
    assert document.value == value
    assert repr(document.value) == repr(json.loads(text))  # 1, 1.0 and True are equal, but not the same
    assert document.duplicates == ()


@given(VALUES, LAYOUTS)
def test_every_value_and_name_is_where_the_positions_say(value: object, indent: int | str | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    document = parse("f", text.encode())
    lines = text.split("\n")
    decoder = json.JSONDecoder()

    def read(position: Position) -> Any:
        rest = "\n".join([lines[position.line - 1][position.column - 1 :], *lines[position.line :]])
        return decoder.raw_decode(rest)[0]

    def walk(part: object, pointer: str) -> int:
        assert read(document.values[pointer]) == part
        members = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        if isinstance(part, dict):
            assert [read(document.keys[child(pointer, name)]) for name in part] == list(part)
        return 1 + sum(walk(inner, child(pointer, name)) for name, inner in members)

    assert walk(value, "") == len(document.values)


@given(st.binary())
@example(b"\xff\xfe{\x00}\x00")
@example(b"\xef\xbb\xbf{}")
@example(b"\xed\xa0\x80")
def test_garbage_is_a_recipe_error_or_json(data: bytes) -> None:
    agrees_or_refuses(data)


TOKENS = ["{", "}", "[", "]", ",", ":", '"', "'", "\\", "\\u", "d800", "1", "-", ".", "e", "true", "NaN", "//", "/*"]


@given(st.lists(st.sampled_from([*TOKENS, " ", "\n", "\r\n", "\t", "\0", "\u2028", "\u00e4", '"a"'])).map("".join))
def test_nearly_json_is_a_recipe_error_or_json(text: str) -> None:
    agrees_or_refuses(text.encode())


def agrees_or_refuses(data: bytes) -> None:
    """``parse`` refuses whatever json refuses, and more, each time with exactly one problem."""
    try:
        value = parse("f", data).value
    except RecipeError as error:
        assert len(error.problems) == 1
    else:
        assert repr(value) == repr(json.loads(data))


@pytest.mark.parametrize(
    "text", ["1", "-0", "0.5", "-1.5e-3", "1E+5", "1e999", '"\\ud83e\\udd65"', '"\\/\\b\\u0000"', " [ ] ", "\r\n{ }\n"]
)
def test_rare_but_right(text: str) -> None:
    assert repr(parse("f", text.encode()).value) == repr(json.loads(text))


def test_positions_and_pointers() -> None:
    document = parse("f", b'{\n\t"a~/b": [1,\r\n "x"],\n"\xc3\xa4": {"c": null}}')
    assert document.values == {
        "": (1, 1),
        "/a~0~1b": (2, 10),
        "/a~0~1b/0": (2, 11),
        "/a~0~1b/1": (3, 2),
        "/\u00e4": (4, 6),
        "/\u00e4/c": (4, 12),
    }
    assert document.keys == {"/a~0~1b": (2, 2), "/\u00e4": (4, 1), "/\u00e4/c": (4, 7)}


def test_all_duplicates_with_both_positions() -> None:
    document = parse("f", b'{"a": {"b": 1, "b": 2},\n"c": 0, "\\u0061": 3, "a": 4}')
    assert document.value == {"a": 4, "c": 0}
    assert document.duplicates == (
        Duplicate("/a/b", Position(1, 8), Position(1, 16)),
        Duplicate("/a", Position(1, 2), Position(2, 9)),
        Duplicate("/a", Position(1, 2), Position(2, 22)),
    )
    assert (document.keys["/a"], document.values["/a"]) == ((2, 22), (2, 27))


SYNTAX = [
    # Something missing, superfluous or wrong between values.
    (b"", "1:1: /: empty-file", None),
    (b" \n\t\n", "1:1: /: empty-file", None),
    (b'{"a": 1,}', "1:8: /: trailing-comma", 7),
    (b'{"a": [1,\n]}', "1:9: /a: trailing-comma", 8),
    (b'{"a": 1,, "b": 2}', "1:9: /: no-json-name", 8),
    (b"[,1]", "1:2: /0: no-json-value", 1),
    (b'{"a": 1 "b": 2}', "1:9: /: missing-comma", 8),
    (b"[1 2]", "1:4: /: missing-comma", 3),
    (b"[1; 2]", "1:3: /: missing-comma", 2),
    (b'{"a": 1]', "1:8: /: missing-comma", 7),
    (b'{"a" 1}', "1:6: /a: missing-colon", 5),
    (b'{"a" = 1}', "1:6: /a: missing-colon", 5),
    (b'{"a":}', "1:6: /a: no-json-value", 5),
    (b"{a: 1}", "1:2: /: no-json-name", 1),
    (b"{} {}", "1:4: /: text-after-end", 3),
    (b"{}x", "1:3: /: text-after-end", 2),
    # A file that ends too early.
    (b'{"a": [1', "1:9: /a: unfinished-json", 8),
    (b'{\n"a": 1\n', "3:1: /: unfinished-json", None),
    (b'{"a"', "1:5: /a: missing-colon", 4),
    (b'{"a":', "1:6: /a: no-json-value", 5),
    # Other languages.
    (b"// x\n{}", "1:1: /: json-comment", 0),
    (b'{"a": 1 /* x */}', "1:9: /: json-comment", 8),
    (b'{"a": 1}\n# x', "2:1: /: json-comment", 0),
    (b"{'a': 1}", "1:2: /: no-json-name", 1),
    (b"{\"a\": 'b'}", "1:7: /a: single-quote", 6),
    (b'{"a": NaN}', "1:7: /a: no-json-value", 6),
    (b'{"a": -Infinity}', "1:7: /a: no-json-number", 6),
    (b'{"a": True}', "1:7: /a: no-json-value", 6),
    (b'{"a": cargo}', "1:7: /a: no-json-value", 6),
    (b'{"a": 0x3}', "1:7: /a: no-json-number", 6),
    (b'{"a": 03}', "1:7: /a: no-json-number", 6),
    (b'{"a": .5}', "1:7: /a: no-json-number", 6),
    (b'{"a": +1}', "1:7: /a: no-json-number", 6),
    (b'{"a":\xc2\xa01}', "1:6: /a: no-json-value", 5),
    # Inside strings.
    (b'{"a": "b\n}', "1:7: /a: unfinished-text", 6),
    (b'"\\', "1:2: /: wrong-escape", 1),
    (b'"\\x41"', "1:2: /: wrong-escape", 1),
    (b'"\\u12"', "1:2: /: wrong-escape", 1),
    (b'"a\tb"', "1:3: /: unescaped-character", 2),
    (b'"\\ud83e"', "1:2: /: half-character", 1),
    (b'"\\udd65"', "1:2: /: half-character", 1),
    # Bytes.
    (b"\xef\xbb\xbf{}", "1:1: /: byte-order-mark", 0),
    (b'{\n"a": "\xc3\xa4\xff"}', "2:8: /: not-utf-8", 7),
    (b"\xff\xfe{\0}\0", "1:1: /: not-utf-8", 0),
]


@pytest.mark.parametrize(("data", "message", "caret"), SYNTAX)
def test_a_syntax_error_says_what_was_found_and_shows_the_line(data: bytes, message: str, caret: int | None) -> None:
    with pytest.raises(RecipeError) as caught:
        parse("r.json", data)
    (problem,) = caught.value.problems
    assert f"{problem.place}: {problem.pointer or '/'}: {problem.id}" == f"r.json:{message}"
    _, *picture = str(caught.value).split("\n")
    if caret is None:  # an empty line is not shown
        assert picture == []
    else:
        line = int(message.split(":")[0])
        text = data.decode("utf-8", "replace").split("\n")[line - 1]
        shown = "".join(c if c.isprintable() else " " for c in text)
        assert picture == [f"    {shown}", f"    {' ' * caret}^"]


def test_of_a_long_line_the_part_around_the_mistake_is_shown() -> None:
    with pytest.raises(RecipeError) as caught:
        parse("r.json", b"[" + b"1," * 5000 + b"x" + b",1" * 5000 + b"]")
    head, text, caret = str(caught.value).split("\n")
    assert caught.value.id == "no-json-value"
    assert head.startswith("r.json:1:10002: /5000: 'x' ")
    assert len(text) < 110
    assert text[caret.index("^")] == "x"


@pytest.mark.parametrize("data", [b"[" * 1_000_000, b'{"a":' * 1_000_000, b"[" * 101 + b"]" * 101])
def test_absurd_depth(data: bytes) -> None:
    with pytest.raises(RecipeError) as caught:
        parse("r.json", data)
    assert caught.value.id == "too-deep"


def test_the_greatest_depth() -> None:
    data = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert parse("r.json", data).value == json.loads(data)


def test_a_number_longer_than_python_reads() -> None:
    with pytest.raises(RecipeError) as caught:
        parse("r.json", b"[" + b"1" * 5000 + b"]")
    assert (caught.value.id, caught.value.problems[0].pointer) == ("no-json-number", "/0")
