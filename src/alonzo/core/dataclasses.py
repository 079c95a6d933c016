"""Dataclasses whose `__init__` is written when the first object is made.

The standard library writes and compiles six functions for each class where it is defined: 0.6 ms, which for all of ours
together was a sixth of a server's start. Here `__init__` alone needs source of its own, and has it when it is needed;
comparing, hashing and printing do without. A frozen object's fields are set by their slots, which takes a third of the
time of `object.__setattr__`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, field, fields, replace
from operator import attrgetter
from reprlib import recursive_repr
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["dataclass", "field", "fields", "replace"]

T = TypeVar("T")


def _dataclass(
    *, frozen: bool = False, slots: bool = False, kw_only: bool = False, eq: bool = True
) -> Callable[[type[T]], type[T]]:
    """What `dataclasses.dataclass` does with these arguments; it does not order, nor hash what can change."""

    def decorate(cls: type[T]) -> type[T]:
        own = {name for name in vars(cls) if name != "__hash__" or vars(cls)[name] is not None}
        if cls.__doc__ is None:
            cls.__doc__ = cls.__name__  # else a signature is made up for it, slowly
        standard: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)
        made: Any = standard(cls)
        methods: dict[str, Any] = {"__init__": _first_init(made, frozen), "__repr__": _repr}
        if eq:
            compared = _values([f.name for f in fields(made) if f.compare])
            hashed = _values([f.name for f in fields(made) if (f.compare if f.hash is None else f.hash)])
            methods["__eq__"] = _equal(compared)
            methods["__hash__"] = _hash(hashed) if frozen else None
        if frozen:
            methods["__setattr__"], methods["__delattr__"] = _refusals(made)
            methods["__setstate__"] = _set_state
        for name, method in methods.items():
            if name not in own:
                setattr(made, name, method)
        return made  # type: ignore[no-any-return]

    return decorate


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    dataclass = _dataclass


def _first_init(cls: Any, frozen: bool) -> Callable[..., None]:
    """Stands for `__init__` until it is called."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        init = _compile_init(cls, frozen)
        cls.__init__ = init
        init(self, *args, **kwargs)

    return __init__


def _compile_init(cls: Any, frozen: bool) -> Callable[..., None]:
    scope: dict[str, Any] = {"__missing__": MISSING, "__set__": object.__setattr__}
    positional, keywords, body = ["self"], list[str](), list[str]()
    for each in fields(cls):
        name = each.name
        value, parameter = name, name
        if each.default_factory is not MISSING:
            scope[f"__make_{name}__"] = each.default_factory
            parameter = f"{name}=__missing__"
            value = f"__make_{name}__() if {name} is __missing__ else {name}" if each.init else f"__make_{name}__()"
        elif each.default is not MISSING:
            scope[f"__default_{name}__"] = each.default
            parameter = f"{name}=__default_{name}__"
            value = name if each.init else f"__default_{name}__"
        elif not each.init:
            continue
        if each.init:
            (keywords if each.kw_only else positional).append(parameter)
        slot = getattr(cls, name, None)
        if not frozen:
            body.append(f"self.{name} = {value}")
        elif isinstance(slot, MemberDescriptorType):
            scope[f"__set_{name}__"] = slot.__set__
            body.append(f"__set_{name}__(self, {value})")
        else:
            body.append(f"__set__(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = ", ".join([*positional, *(["*"] if keywords else []), *keywords])
    exec(f"def __init__({parameters}):\n " + "\n ".join(body or ["pass"]), scope)
    init: Callable[..., None] = scope["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


@recursive_repr()
def _repr(self: Any) -> str:
    shown = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.repr)
    return f"{type(self).__qualname__}({shown})"


def _values(names: list[str]) -> Callable[[Any], Any]:
    """Gives the fields of these names, as one value that can be compared and hashed."""
    return attrgetter(*names) if names else lambda _: ()


def _equal(values: Callable[[Any], Any]) -> Callable[[Any, object], Any]:
    def __eq__(self: Any, other: object) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    return __eq__


def _hash(values: Callable[[Any], Any]) -> Callable[[Any], int]:
    def __hash__(self: Any) -> int:
        return hash(values(self))

    return __hash__


def _refusals(cls: Any) -> tuple[Callable[[Any, str, Any], None], Callable[[Any, str], None]]:
    names = {f.name for f in fields(cls)}

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return __setattr__, __delattr__


def _set_state(self: Any, state: Any) -> None:
    """For copies and pickles of what is frozen: `state` is what `object.__getstate__` gives."""
    for each in state if isinstance(state, tuple) else (state,):
        for name, value in (each or {}).items():
            object.__setattr__(self, name, value)
