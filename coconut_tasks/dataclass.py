"""The standard library's ``dataclass``, for a short run, which defines many classes and creates few instances.

The library generates and compiles methods for each class, which takes 1 to 2 ms, in total an eighth of a no-op run. Here the classes share
their methods, which are slower to call: do not use it for classes with thousands of instances. ``replace``, ``fields``, ``asdict`` and
``match`` work as usual; ``slots`` is accepted and ignored.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True):
        def made(cls):
            cls = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
            cls.__init__ = _init_of(dataclasses.fields(cls))
            cls.__repr__ = _repr
            if eq:
                cls.__eq__, cls.__hash__ = _eq, _hash if frozen else None
            if frozen:
                cls.__setattr__ = cls.__delattr__ = _refuse
            return cls

        return made if cls is None else made(cls)


def _init_of(fields: Any) -> Any:
    names = tuple(field.name for field in fields)
    defaults = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    factories = {
        field.name: field.default_factory for field in fields if field.default_factory is not dataclasses.MISSING
    }

    def __init__(self: Any, *values: Any, **named: Any) -> None:
        given = {**dict(zip(names, values, strict=False)), **named}
        made = {name: factory() for name, factory in factories.items() if name not in given}
        state = {**defaults, **made, **given}
        if len(given) != len(values) + len(named) or len(state) != len(names) or not state.keys() <= set(names):
            raise TypeError(
                f"{type(self).__qualname__}: {len(values)} values and {sorted(named)}; its fields are {names}"
            )
        self.__dict__.update(state)

    return __init__


def _eq(self: Any, other: object) -> Any:
    return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(tuple(self.__dict__[field.name] for field in dataclasses.fields(self)))


def _repr(self: Any) -> str:
    values = ", ".join(f"{field.name}={self.__dict__[field.name]!r}" for field in dataclasses.fields(self))
    return f"{type(self).__qualname__}({values})"


def _refuse(self: Any, name: str, *_: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot change field {name!r}")
