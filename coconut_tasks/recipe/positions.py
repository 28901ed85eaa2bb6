"""JSON text with positions, which ``json`` does not give, so that a message can name the line of a value.

The grammar is RFC 8259, as ``json.loads`` reads it, but without its extensions (NaN, Infinity, half surrogate pairs) and
with a limit on the depth.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from typing import Any, NamedTuple, NoReturn

from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import Problem, RecipeError, did_you_mean
from coconut_tasks.wording import printable

MAX_DEPTH = 100
"""Levels of nested lists and objects. A recipe has five; a text of brackets only must not end in a traceback."""


class Position(NamedTuple):
    """A place in the text, counted from 1; a column is one character."""

    line: int
    column: int


class Duplicate(NamedTuple):
    """A field that its object already has."""

    pointer: str
    first: Position
    again: Position


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON value and the positions of its parts, by JSON pointer (RFC 6901)."""

    value: Any
    values: dict[str, Position]
    """Where each value begins."""
    keys: dict[str, Position]
    """Where the name of each field begins."""
    duplicates: tuple[Duplicate, ...]
    """In the order of the text. As with ``json``, the last field of a name is used."""


def child(pointer: str, part: str | int) -> str:
    """The pointer of a field or entry of the value at ``pointer``."""
    return f"{pointer}/{str(part).replace('~', '~0').replace('/', '~1')}"


def parse(source: str, data: bytes) -> Document:
    """Parse JSON text; ``source`` is the file's name for messages.

    Raises:
        RecipeError: the text is not JSON in UTF-8 without a byte-order mark. Its only problem shows the line.
    """
    reader = _Reader(source, data.decode("utf-8", "replace"))
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        reader.at = len(data[: error.start].decode("utf-8"))
        reader.fail("not-utf-8", "", f"invalid UTF-8: byte 0x{data[error.start]:02X}", "save the file as UTF-8")
    if data.startswith(codecs.BOM_UTF8):
        reader.fail("byte-order-mark", "", "the file begins with a byte-order mark", "save it as UTF-8 without BOM")
    return reader.document()


_SPACE = re.compile(r"[ \t\n\r]*")
_WORD = re.compile(r"[\w.+-]+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_LOW_SURROGATE = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_QUOTES = {"'": "single quote", '"': "double quote"}
_CONSTANTS = {"true": True, "false": False, "null": None}
_A_VALUE = "expected a string in double quotes, a number, true, false, null, [ or {"


class _Reader:
    def __init__(self, source: str, text: str) -> None:
        self.source = source
        self.text = text
        self.at = 0
        self.line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.values: dict[str, Position] = {}
        self.keys: dict[str, Position] = {}
        self.duplicates: list[Duplicate] = []

    def document(self) -> Document:
        self.skip_space("")
        if self.at == len(self.text):
            self.at = 0
            self.fail("empty-file", "", "the file is empty", "expected a JSON object")
        value = self.value("", 1)
        self.skip_space("")
        if self.at < len(self.text):
            self.fail("text-after-end", "", f"unexpected {self.found()} after the end of the value", "remove it")
        return Document(value, self.values, self.keys, tuple(self.duplicates))

    def value(self, pointer: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            self.fail("too-deep", "", f"nested more than {MAX_DEPTH} levels deep")
        self.values[pointer] = self.position()
        match self.text[self.at : self.at + 1]:
            case "{":
                return self.object(pointer, depth)
            case "[":
                return self.list(pointer, depth)
            case '"':
                return self.string(pointer)
            case "'":
                self.fail("single-quote", pointer, "string in single quotes", "use double quotes")
        match = _WORD.match(self.text, self.at)
        if match is None:
            self.fail("no-json-value", pointer, f"unexpected {self.found()}", _A_VALUE)
        word = match.group()
        value = _CONSTANTS[word] if word in _CONSTANTS else self.number(pointer, word)
        self.at = match.end()
        return value

    def number(self, pointer: str, word: str) -> int | float:
        match = _NUMBER.fullmatch(word)
        if match is None and word[0] in "0123456789+-.":
            self.fail(
                "no-json-number",
                pointer,
                f"{self.found()} is not a JSON number",
                "expected a decimal number, for example 3",
            )
        if match is None:
            remedy = _A_VALUE + did_you_mean(word, _CONSTANTS)
            self.fail("no-json-value", pointer, f"{self.found()} is not a JSON value", remedy)
        if match.group(1) or match.group(2):
            return float(word)
        try:
            return int(word)
        except ValueError:  # Python's own limit, which keeps a long number from taking minutes.
            self.fail("no-json-number", pointer, f"a number of {len(word)} digits is too long")

    def object(self, pointer: str, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        first: dict[str, Position] = {}
        opened = self.open(pointer)
        while not self.closes(pointer, "}", "an object", opened, more=bool(members)):
            if self.text[self.at : self.at + 1] != '"':
                self.fail(
                    "no-json-name", pointer, f"unexpected {self.found()}", "expected a field name in double quotes"
                )
            here = self.position()
            name = self.string(pointer)
            member = child(pointer, name)
            if first.setdefault(name, here) is not here:
                self.duplicates.append(Duplicate(member, first[name], here))
            self.keys[member] = here
            self.skip_space(member)
            if self.text[self.at : self.at + 1] != ":":
                self.fail("missing-colon", member, f"unexpected {self.found()} after a field name", "expected ':'")
            self.at += 1
            self.skip_space(member)
            members[name] = self.value(member, depth + 1)
        return members

    def list(self, pointer: str, depth: int) -> list[Any]:
        entries: list[Any] = []
        opened = self.open(pointer)
        while not self.closes(pointer, "]", "a list", opened, more=bool(entries)):
            entries.append(self.value(child(pointer, len(entries)), depth + 1))
        return entries

    def open(self, pointer: str) -> Position:
        opened = self.position()
        self.at += 1
        return opened

    def closes(self, pointer: str, close: str, noun: str, opened: Position, *, more: bool) -> bool:
        """Step to the next field or entry, over the comma if there were ``more`` before it, or over the end."""
        self.skip_space(pointer)
        mark = self.text[self.at : self.at + 1]
        if mark == close:
            self.at += 1
            return True
        if mark == "":
            remedy = f"expected '{close}' to close the one that starts on line {opened.line}"
            self.fail("unfinished-json", pointer, f"the file ends inside {noun}", remedy)
        if not more:
            return False
        if mark != ",":
            wrong = "missing comma" if mark in '"[{' or _WORD.match(mark) else f"unexpected {self.found()} in {noun}"
            self.fail("missing-comma", pointer, wrong, f"expected ',' or '{close}'")
        comma = self.at
        self.at += 1
        self.skip_space(pointer)
        if self.text[self.at : self.at + 1] in ("]", "}"):
            found, self.at = self.found(), comma
            self.fail("trailing-comma", pointer, f"trailing comma before {found}", "remove it")
        return False

    def string(self, pointer: str) -> str:
        opened = self.at
        self.at += 1
        parts = []
        while True:
            plain = _PLAIN.match(self.text, self.at)
            assert plain is not None  # It matches the empty text.
            parts.append(plain.group())
            self.at = plain.end()
            match self.text[self.at : self.at + 1]:
                case '"':
                    self.at += 1
                    return "".join(parts)
                case "\\":
                    parts.append(self.escape(pointer))
                case "" | "\n" | "\r":
                    self.at = opened
                    self.fail(
                        "unfinished-text", pointer, "unterminated string", "expected a double quote on the same line"
                    )
                case _:
                    wrong = f"unescaped control character {self.found()} in a string"
                    self.fail("unescaped-character", pointer, wrong, "use an escape, for example \\t or \\u0009")

    def escape(self, pointer: str) -> str:
        match = _ESCAPE.match(self.text, self.at)
        if match is None:
            found = self.text[self.at : self.at + 2]
            wrong = f"invalid escape '{found}'" if found.isprintable() else "invalid escape"
            remedy = 'expected \\" \\\\ \\/ \\b \\f \\n \\r \\t or \\u and four hex digits'
            self.fail("wrong-escape", pointer, wrong, remedy)
        digits, letter = match.groups()
        if letter:
            self.at = match.end()
            return _ESCAPES[letter]
        code = int(digits, 16)
        if 0xD800 <= code < 0xDC00 and (low := _LOW_SURROGATE.match(self.text, match.end())):
            self.at = low.end()
            return chr(0x10000 + ((code - 0xD800) << 10) + int(low.group(1), 16) - 0xDC00)
        if 0xD800 <= code < 0xE000:  # No UTF-8 text and no command line can hold it.
            self.fail("half-character", pointer, f"\\u{digits} is half of a surrogate pair", "write both halves")
        self.at = match.end()
        return chr(code)

    def skip_space(self, pointer: str) -> None:
        space = _SPACE.match(self.text, self.at)
        assert space is not None  # It matches the empty text.
        self.at = space.end()
        if self.text.startswith(("//", "/*", "#"), self.at):
            self.fail("json-comment", pointer, "JSON does not allow comments", "remove this one")

    def position(self) -> Position:
        line = bisect_right(self.line_starts, self.at)
        return Position(line, self.at - self.line_starts[line - 1] + 1)

    def found(self) -> str:
        """What is here, for messages."""
        if self.at == len(self.text):
            return "end of file"
        word = _WORD.match(self.text, self.at)
        text = word.group() if word else self.text[self.at]
        if text in _QUOTES:
            return _QUOTES[text]
        if not text.isprintable():
            return f"U+{ord(text[0]):04X}"
        return f"'{text}'" if len(text) <= 30 else f"'{text[:30]}…'"

    def fail(self, id: str, pointer: str, wrong: str, remedy: str = "") -> NoReturn:
        line, column = self.position()
        text = self.text[self.line_starts[line - 1] :].split("\n", 1)[0].rstrip("\r")
        begin = max(0, column - 60)
        text = "".join(c if c.isprintable() else " " for c in text[begin : begin + 100])
        where = f"{self.source}:{line}:{column}"
        excerpt = f"    {text}\n    {' ' * (column - 1 - begin)}^" if text.strip() else ""
        raise RecipeError([Problem(id, where, printable(pointer), wrong, remedy, excerpt)])
