"""``coconut_tasks.dataclass`` compared with the standard library's."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from coconut_tasks import dataclass as ours


def defined(decorator: Callable[..., Any], **how: bool) -> Any:
    @decorator(**how)
    class Value:
        """A value."""

        a: int
        b: str = "b"
        c: list[int] = dataclasses.field(default_factory=list)

    return Value


BOTH = pytest.mark.parametrize("decorator", [dataclasses.dataclass, ours.dataclass], ids=["library", "ours"])


@BOTH
def test_values_are_made_compared_and_shown(decorator: Callable[..., Any]) -> None:
    kind = defined(decorator, frozen=True)
    value = kind(1)
    assert (value.a, value.b, value.c) == (1, "b", [])
    assert kind(1).c is not value.c
    assert value == kind(b="b", a=1) == kind(1, "b", [])
    assert value != kind(2) and value != defined(decorator, frozen=True)(1) and value != (1, "b", [])
    assert repr(kind(1, c=[2])) == f"{kind.__qualname__}(a=1, b='b', c=[2])"
    assert dataclasses.replace(value, b="x") == kind(1, "x")
    assert dataclasses.asdict(value) == {"a": 1, "b": "b", "c": []}
    assert [field.name for field in dataclasses.fields(kind)] == ["a", "b", "c"]
    assert copy.copy(value) == copy.deepcopy(value) == value
    match value:
        case kind(a, b="b"):
            assert a == 1
        case _:
            pytest.fail("no match")


@BOTH
def test_wrong_values_are_refused(decorator: Callable[..., Any]) -> None:
    kind = defined(decorator, frozen=True)
    for values, named in (((), {}), ((1, "b", [], 4), {}), ((1,), {"a": 1}), ((1,), {"d": 1}), ((), {"b": "b"})):
        with pytest.raises(TypeError):
            kind(*values, **named)
    with pytest.raises(TypeError):
        dataclasses.replace(kind(1), d=2)


@BOTH
def test_what_is_frozen_does_not_change_and_can_be_a_key(decorator: Callable[..., Any]) -> None:
    kind = defined(decorator, frozen=True)
    value = kind(1, c=())
    for name in ("a", "d"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, 2)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(value, name)
    assert {value: 1}[kind(1, c=())] == 1
    thawed = defined(decorator)(1)
    thawed.a = 2
    assert thawed.a == 2
    with pytest.raises(TypeError):
        hash(thawed)


@BOTH
def test_what_has_no_equality_is_equal_to_itself_alone(decorator: Callable[..., Any]) -> None:
    kind = defined(decorator, frozen=True, eq=False)
    value = kind(1)
    assert value == value and value != kind(1) and {value: 1}[value] == 1


@BOTH
def test_what_a_class_has_for_all_its_values_is_no_field(decorator: Callable[..., Any]) -> None:
    class Value:
        kind: ClassVar[int] = 1
        a: int

    made = decorator(frozen=True)(Value)
    assert repr(made(2)).endswith("Value(a=2)")
    assert hash(made(2)) == hash(made(2)) and {made(2): 1}[made(2)] == 1
    with pytest.raises(TypeError):
        made(2, 3)


def test_a_value_of_a_module_can_be_pickled() -> None:
    from coconut_tasks.steps.command import Command

    command = Command(("a",))
    assert pickle.loads(pickle.dumps(command)) == command
