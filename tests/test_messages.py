"""Every message that a user can meet is explained: on the troubleshooting page, or with its reason on the page about staleness.

Messages are collected from the source with ``ast``. Of each, the longest piece of fixed text must be on the page, with words of the
page's own choice where the message has a value.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from coconut_tasks.freshness.staleness import Cause

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "coconut_tasks"
PAGE = ROOT / "docs" / "troubleshooting.md"
ERRORS = {"UsageError", "StepError", "RecipeError", "CommandFailed", "TaskFailed", "InvalidTask", "ArgumentTypeError"}
TELLERS = {"tell", "fail", "Diagnostic", "_start_anew", "warn"}
"""Functions and classes whose arguments users read."""
WHOLE_MODULES = {"tasks/preflight.py", "recipe/rules.py", "recipe/schema.py", "recipe/positions.py"}
"""Modules whose texts are all for users."""
FUNCTIONS = {
    ("inputs/cargo.py", "behind_links"),
    ("inputs/toolchain.py", "toolchain_fault"),
    ("inputs/toolchain.py", "target_fault"),
    ("inputs/toolchain.py", "_by_rustup"),
    ("plan/plan.py", "_clashes"),
    ("plan/plan.py", "_unused_features"),
    ("effects/process.py", "_how_it_ended"),
    ("tasks/interrupt.py", "end"),
    ("tasks/task_command.py", "_told"),
    ("recipe/load.py", "check"),
    ("workspace/session.py", "_triple"),
    ("actions/firmware.py", "_wrong_with"),
    ("actions/firmware.py", "image_fault"),
    ("actions/make.py", "_tell_of_variables"),
    ("actions/reproducible.py", "warn_of_paths"),
}
"""Functions that make messages and raise no error themselves."""
NOT_FOR_USERS = {"recipe/reference.py"}
"""Modules that only contributors run."""


@dataclass(frozen=True)
class Message:
    """A piece of fixed text of a message."""

    place: str
    text: str


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def is_told(call: ast.Call) -> bool:
    """Whether a call's texts are read by users."""
    name = name_of(call)
    to_stderr = any(word.arg == "file" and ast.unparse(word.value) == "sys.stderr" for word in call.keywords)
    return name in ERRORS | TELLERS or (name == "print" and to_stderr) or ast.unparse(call.func) == "sys.stderr.write"


def texts(node: ast.AST) -> Iterator[tuple[int, str]]:
    """The longest fixed piece of every text in a node; docstrings are none."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.Call) and ast.unparse(child.func).startswith("re."):
            continue
        if isinstance(child, ast.JoinedStr):
            pieces = [part.value for part in child.values if isinstance(part, ast.Constant)]
            lines = [line for piece in pieces for line in str(piece).split("\n")]
            yield child.lineno, max(lines, key=len, default="")
            for part in child.values:  # a text inside of the braces, as in {'a' if b else 'c'}
                if isinstance(part, ast.FormattedValue):
                    yield from texts(part)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.lineno, max(child.value.split("\n"), key=len)
        else:
            yield from texts(child)


def words(text: str) -> str:
    """A text in the form in which it is looked for."""
    return " ".join(text.replace("\\|", "|").split())


def in_source(source: str, name: str) -> set[Message]:
    """The messages of a module; ``name`` is its path in the package."""
    tree = ast.parse(source)
    found: list[tuple[int, str]] = []
    if name in WHOLE_MODULES:
        found += texts(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (
            (name, node.name) in FUNCTIONS
            or any(isinstance(inner, ast.Call) and name_of(inner) in ERRORS for inner in ast.walk(node))
        ):
            # A message may be put together before it is raised.
            found += texts(node)
        elif isinstance(node, ast.Call) and is_told(node):
            found += texts(node)
        elif isinstance(node, ast.Constant | ast.JoinedStr) and re.match(r"(note|warning): ", first_text(node)):
            found += texts(ast.Expression(node))
    return {Message(f"{name}:{line}", words(text)) for line, text in found if is_a_phrase(text)}


def is_a_phrase(text: str) -> bool:
    """Three words: less is a part of a longer message, or none at all."""
    return len(re.findall(r"[A-Za-z']+", text)) >= 3 and " " in text.strip()


def first_text(node: ast.Constant | ast.JoinedStr) -> str:
    start = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
    return start.value if isinstance(start, ast.Constant) and isinstance(start.value, str) else ""


def all_messages() -> list[Message]:
    found = set[Message]()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if name not in NOT_FOR_USERS:
            found |= in_source(path.read_text(encoding="utf-8"), name)
    script = (ROOT / "doitw").read_text(encoding="utf-8")
    found |= {Message("doitw", words(text)) for text in re.findall(r"fail '([^']*)'", script)}
    return sorted(found, key=lambda message: (message.place, message.text))


NO_MESSAGES = {"delete from records where record = ?"}
"""Texts that are collected and are no messages."""


def test_every_message_is_on_the_troubleshooting_page() -> None:
    page = words(PAGE.read_text(encoding="utf-8"))
    missing = [message for message in all_messages() if message.text not in page and message.text not in NO_MESSAGES]
    hint = "docs/troubleshooting.md must have each message with its cause and remedy; these texts are not there"
    assert not missing, f"{hint}:" + "".join(f"\n  {message.place}: {message.text}" for message in missing)


def test_every_function_that_is_looked_at_is_there() -> None:
    for name in WHOLE_MODULES | NOT_FOR_USERS:
        assert (PACKAGE / name).is_file(), name
    for name, function in FUNCTIONS:
        tree = ast.parse((PACKAGE / name).read_text(encoding="utf-8"))
        assert any(isinstance(node, ast.FunctionDef) and node.name == function for node in ast.walk(tree)), function


def test_every_reason_is_on_the_page_about_staleness() -> None:
    page = words((ROOT / "docs" / "staleness.md").read_text(encoding="utf-8"))
    section = page.partition("## The reasons")[2].partition(" ## ")[0]
    for cause in Cause:
        fixed = max(re.split(r"\{\w+\}", cause.value), key=len)
        assert words(fixed) in section, f"docs/staleness.md, The reasons: '{cause.value}' is not there"
    assert section.count(" | |") == len(Cause), "a row for each reason, and no other"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("raise UsageError(f'{a}: one two three {b}')", {": one two three"}),
        ("def f():\n    what = 'one two three'\n    raise StepError(what)", {"one two three"}),
        ("raise StepError(f\"a b c{' one two three' if x else ''}\")", {"a b c", "one two three"}),
        ("print('one two three', file=sys.stderr)", {"one two three"}),
        ("notes.append(f'note: {x} one two three')", {"one two three"}),
        ("'note: one two three'", {"note: one two three"}),
        ("raise UsageError('first line\\nthe second line is longer')", {"the second line is longer"}),
        ("print('one two three')", set()),
        ("def f():\n    'one two three'\n    raise StepError(x)", set()),
        ("raise StepError('two words')", set()),
    ],
)
def test_how_messages_are_collected(source: str, found: set[str]) -> None:
    assert {message.text for message in in_source(source, "x.py")} == found
