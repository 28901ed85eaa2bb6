"""Every message has an ID: a literal in the source, an entry on the troubleshooting page, and its words in ``messages.txt``.

Messages are collected from the source with ``ast``. In ``messages.txt``, ``{}`` is a value and ``{a|b}`` one text of several. That file
alone pins words: other tests ask for IDs and places, which is checked here too. ``python tests/test_messages.py --write`` updates it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coconut_tasks.explanations import PAGE, explanations
from coconut_tasks.freshness.staleness import Cause

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "coconut_tasks"
SNAPSHOT = Path(__file__).parent / "messages.txt"
# The call's name → its message, by the numbers of its arguments; the first argument is the ID.
TOLD = {
    "UsageError": "{1}",
    "StepError": "{1}",
    "Fault": "{1}",
    "warn": "warning: {1}",
    "IgvmError": "at {}: {2}; {3}",
    "Problem": "{3}; {4}",
    "Diagnostic": "{2}; {3}",
    "fail": "{2}; {3}",
}
ELSEWHERE = {
    "page table relocation region": "the name of a structure in an IGVM file: with the offset, the place",
    "git submodule update --init": "a command to copy",
    "is not in the": "of a reason for an assertion",
}
"""Words of messages that other tests may contain, and why."""
HAND_ON = {"__init__", "fail", "warn"}
"""Functions that pass on the ID that they are given."""
Function = ast.FunctionDef | None


class Module:
    """The source of one module."""

    def __init__(self, source: str) -> None:
        self.tree = ast.parse(source)
        self.functions = {node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)}
        self.columns = {node.lineno: node.col_offset for node in ast.walk(self.tree) if isinstance(node, ast.stmt)}
        """Line → indentation of the statement that begins there."""

    def messages(self) -> Iterator[tuple[str, str]]:
        """Pairs of an ID and a text. Raises ValueError for an ID that is not a literal in the source."""
        yield from self._messages(self.tree, None)

    def _messages(self, node: ast.AST, function: Function) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            inside = child if isinstance(child, ast.FunctionDef) else function
            if isinstance(child, ast.Call) and (told := TOLD.get(name_of(child))) and len(child.args) > 1:
                id = child.args[0]
                if isinstance(id, ast.Constant):
                    parts = re.split(r"\{(\d)\}", told)
                    given = dict(enumerate(self.text(argument, function) for argument in child.args))
                    parts[1::2] = [given.get(int(number), "") for number in parts[1::2]]
                    yield str(id.value), "".join(parts).removesuffix("; ")
                elif not is_handed_on(id, function):
                    raise ValueError(f"line {child.lineno}: an ID is a literal, or that of another fault")
            yield from self._messages(child, inside)

    def text(self, node: ast.AST | None, function: Function, depth: int = 0) -> str:
        """A text with ``{}`` for what is only known at run time."""
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr():
                return "".join(self.text(part, function, depth) for part in node.values)
            case ast.FormattedValue(conversion=-1):
                return self.text(node.value, function, depth)
            case ast.BinOp(op=ast.Add()):
                return self.text(node.left, function, depth) + self.text(node.right, function, depth)
            case ast.IfExp():
                branches = [branch for branch in (node.body, node.orelse) if not is_none(branch)]
                return one_of([self.text(branch, function, depth) for branch in branches])
            case ast.Call(func=ast.Attribute(attr="rstrip", value=inner)):
                return self.text(inner, function, depth)
            case ast.Call(func=ast.Name(id=name)) if name in self.functions and depth < 5:
                made = self.functions[name]
                values = [inner.value for inner in ast.walk(made) if isinstance(inner, ast.Return)]
                return one_of([self.text(value, made, depth + 1) for value in values if not is_none(value)])
            case ast.Name(id=name) if depth < 5:
                return one_of([self.text(value, function, depth + 1) for value in self._values(node, name, function)])
        return "{}"

    def _values(self, use: ast.Name, name: str, function: Function) -> list[ast.AST | None]:
        """All values that a name may have where it is used; None for anything but a plain assignment."""
        for place in filter(None, (function, self.tree)):
            plain = [node for node in ast.walk(place) if isinstance(node, ast.Assign) and name in names(node.targets)]
            others = [node for node in ast.walk(place) if is_bound(node, name)]
            if len(others) > len(plain):
                return [None]
            if place is self.tree and plain:
                return [node.value for node in plain]
            found: list[ast.AST | None] = []
            for node in sorted((node for node in plain if node.lineno < use.lineno), key=lambda node: -node.lineno):
                found.append(node.value)
                if all(
                    self.columns[line] >= node.col_offset for line in self.columns if node.lineno < line <= use.lineno
                ):
                    break  # it replaces what was assigned before
            if found:
                return found[::-1]
        return [None]


def names(targets: list[ast.expr]) -> list[str]:
    return [target.id for target in targets if isinstance(target, ast.Name)]


def is_bound(node: ast.AST, name: str) -> bool:
    stored = isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
    return stored or (isinstance(node, ast.arg) and node.arg == name)


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def is_handed_on(id: ast.expr, function: Function) -> bool:
    given = isinstance(id, ast.Name) and id.id == "id" and function is not None and function.name in HAND_ON
    return given or (isinstance(id, ast.Attribute) and id.attr == "id")


def is_none(node: ast.AST | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def one_of(texts: list[str]) -> str:
    texts = list(dict.fromkeys(texts))
    known = [text for text in texts if text != "{}"]
    return "{}" if not known else texts[0] if len(texts) == 1 else f"{{{'|'.join(texts)}}}"


def in_source() -> dict[str, list[str]]:
    """The texts of each ID."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for id, text in Module(path.read_text(encoding="utf-8")).messages():
            found.setdefault(id, set()).add(text.replace("\n", "\\n"))
    return {id: sorted(found[id]) for id in sorted(found)}


def snapshot() -> str:
    return "".join(f"{id}\n{''.join(f'    {text}' + chr(10) for text in texts)}" for id, texts in in_source().items())


def test_the_words_are_those_of_the_snapshot() -> None:
    hint = "if the new words are better: python tests/test_messages.py --write"
    assert SNAPSHOT.read_text(encoding="utf-8") == snapshot(), hint


def runs_of_words(text: str) -> Iterator[str]:
    """Each four consecutive words. Anything without a letter is a value, or a mark between words."""
    found = re.findall(r"(?<![\w-])(?:--)?[A-Za-z][\w'-]*", text)
    yield from (" ".join(found[at : at + 4]) for at in range(len(found) - 3))


def pinned(source: str) -> Iterator[tuple[int, str]]:
    """The strings of a test, with their lines, in the pieces that ``has`` looks for, without docstrings."""
    tree = ast.parse(source)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield from ((node.lineno, piece) for piece in node.value.split("…"))


def test_no_other_test_has_the_words_of_a_message() -> None:
    of = {
        run: id
        for id, texts in in_source().items()
        for text in texts
        for piece in re.split(r"[{}|]|\\n", text)
        for run in runs_of_words(piece)
    }
    assert len(of) > 1000
    found = {
        (f"{path.name}:{line}: of {of[run]}", run)
        for path in sorted(Path(__file__).parent.glob("*.py"))
        for line, text in pinned(path.read_text(encoding="utf-8"))
        for run in runs_of_words(text)
        if run in of and path != Path(__file__)
    }
    assert sorted(one for one in found if one[1] not in ELSEWHERE) == [], "ask for the ID, the place and the values"
    assert ELSEWHERE.keys() == {run for _, run in found} & ELSEWHERE.keys(), "what is not there needs no reason"


@pytest.mark.parametrize(
    ("source", "runs"),
    [
        ("assert 'cannot be written: one' in x", ["cannot be written one"]),
        ("assert f'{a} so it is not {b} at all' in x", ["so it is not"]),
        ("match(r'^a b c\\.d 5 --e$')", ["a b c d", "b c d --e"]),
        ("'one two three four'\ndef f():\n    'one two three four'\n    # one two three four", []),
        ("assert has(x, 'one two three … four five 6 six seven')", ["four five six seven"]),
    ],
)
def test_how_the_words_of_other_tests_are_found(source: str, runs: list[str]) -> None:
    assert [run for _, text in pinned(source) for run in runs_of_words(text)] == runs


def test_the_page_explains_each_id_and_no_other() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    headings = re.findall(r"^### (.+)$", page, re.MULTILINE)
    assert sorted(headings) == list(in_source()), f"{PAGE} has a heading for each ID"
    assert list(explanations()) == headings, f"{PAGE}: under each heading what it means, Why and Do"


def test_ids_are_words_with_dashes_between() -> None:
    assert [id for id in in_source() if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id)] == []


def test_every_reason_is_on_the_page_about_staleness() -> None:
    page = (ROOT / "docs" / "staleness.md").read_text(encoding="utf-8")
    section = page.partition("## The reasons")[2].partition("\n## ")[0]
    _, _, *rows = re.findall(r"^\| ?(.*?) ?\|", section, re.MULTILINE)
    for cause in Cause:
        # Variable parts are in capitals or '…'. The only fixed word of "{subject} changed" is in half of the rows.
        sentence = "[A-Z'… →]+".join(map(re.escape, re.split(r"\{\w+\}", cause.value)))
        found = [row for row in rows if re.fullmatch(sentence, row)]
        assert len(found) == 1, f"docs/staleness.md, The reasons: '{cause.value}' is not there"
        rows.remove(found[0])
    assert rows == [], "a row for each reason, and no other"


def words(text: str) -> str:
    """A text as it is searched for."""
    return " ".join(text.replace("\\|", "|").split())


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("UsageError('x', f'{a}: one {b!r}')", ("x", "{}: one {}")),
        ("warn('x', 'one', log)", ("x", "warning: one")),
        ("self.fail('x', pointer, 'one', 'two')", ("x", "one; two")),
        ("self.fail('x', pointer, 'one')", ("x", "one")),
        ("def f():\n    what = 'one'\n    raise StepError('x', what + ' two')", ("x", "one two")),
        ("def f(a):\n    StepError('x', f\"a{' one' if a else ''}\")", ("x", "a{ one|}")),
        (
            "def f(a):\n    if a:\n        b = 'one'\n    else:\n        b = 'two'\n    Fault('x', b)",
            ("x", "{one|two}"),
        ),
        ("def f(a):\n    for b in a:\n        Fault('x', f'{b}')", ("x", "{}")),
        ("def f(a):\n    return f'is {a}'\ndef g(a):\n    Fault('x', f'it {f(a)}')", ("x", "it is {}")),
        ("def f(error):\n    raise UsageError(error.id, 'one')", None),
        ("class A:\n    def __init__(self, id):\n        Fault(id, 'one')", None),
    ],
)
def test_how_messages_are_collected(source: str, found: tuple[str, str] | None) -> None:
    assert list(Module(source).messages()) == ([found] if found else [])


@pytest.mark.parametrize(
    "source", ["Fault(f'x-{a}', 'one')", "Fault('a' if b else 'c', 'one')", "def f(id):\n    Fault(id, '')"]
)
def test_an_id_that_cannot_be_searched_for_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="literal"):
        list(Module(source).messages())


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    SNAPSHOT.write_text(snapshot(), encoding="utf-8")
