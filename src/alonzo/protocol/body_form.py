"""Forms of the query protocol (`Tags.member.1.Key=…`) to parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from alonzo.protocol.model import Shape
from alonzo.protocol.problems import Malformed
from alonzo.protocol.text import text_reader

MAX_DEPTH = 20
MAX_FIELDS = 10_000


class Field:
    """What lies under one prefix: a value of its own, and what is named further."""

    __slots__ = ("children", "value")

    def __init__(self) -> None:
        self.value: str | None = None
        self.children: dict[str, Field] = {}

    def numbered(self) -> list[Field]:
        """The children `1`, `2`, … in the order of their numbers, which may have gaps."""
        try:
            return [self.children[key] for key in sorted(self.children, key=_index)]
        except ValueError as error:
            raise Malformed("A list's keys must be numbers") from error


def _index(key: str) -> int:
    if not key.isascii() or not key.isdigit() or len(key) > 9:
        raise ValueError(key)
    return int(key)


FormReader = Callable[[Field], Any]


def decode_form(pairs: Iterable[tuple[str, str]]) -> Field:
    """Names split at their dots. Raises Malformed."""
    root = Field()
    for key, value in pairs:
        parts = key.split(".", MAX_DEPTH)
        if len(parts) > MAX_DEPTH:
            raise Malformed("A parameter's name has too many parts")
        node = root
        for part in parts:
            following = node.children.get(part)
            if following is None:
                following = node.children[part] = Field()
            node = following
        node.value = value
    return root


def form_reader(shape: Shape, memo: dict[Any, FormReader] | None = None) -> FormReader:
    """Compile."""
    memo = {} if memo is None else memo
    key = shape.key
    if key in memo:
        return memo[key]

    def later(field: Field) -> Any:
        return memo[key](field)

    memo[key] = later
    memo[key] = _compile(shape, memo)
    return memo[key]


def _compile(shape: Shape, memo: dict[Any, FormReader]) -> FormReader:
    if shape.type == "structure":
        return _structure(shape, memo)
    if shape.type == "list":
        return _list(shape, memo)
    if shape.type == "map":
        return _map(shape, memo)
    read = text_reader(shape)

    def scalar(field: Field) -> Any:
        if field.value is None:
            raise Malformed("Unexpected complex element termination")
        return read(field.value)

    return scalar


def _structure(shape: Shape, memo: dict[Any, FormReader]) -> FormReader:
    table: list[tuple[str, str, str, FormReader]] = []
    for name, member in shape.members.items():
        wire = other = member.wire_name or name
        if member.type == "list" and member.flattened:
            # Which of the two names a flattened list has, SDKs do not agree on.
            wire = member.member.wire_name or wire
        table.append((wire, other, name, form_reader(member, memo)))

    def read(field: Field) -> dict[str, Any]:
        children = field.children
        found = {}
        for wire, other, name, inner in table:
            child = children.get(wire)
            if child is None and other is not wire:
                child = children.get(other)
            if child is not None:
                found[name] = inner(child)
        return found

    return read


def _list(shape: Shape, memo: dict[Any, FormReader]) -> FormReader:
    member = form_reader(shape.member, memo)
    element = None if shape.flattened else (shape.member.wire_name or "member")

    def read(field: Field) -> list[Any]:
        if not field.children:
            return []
        holder: Field | None = field
        if element is not None:
            # Old SDKs write `.member.` whatever the model calls the element.
            holder = field.children.get(element) or field.children.get("member")
            if holder is None:
                raise Malformed(f"A list's elements are named {element}.N")
        assert holder is not None
        return [member(child) for child in holder.numbered()]

    return read


def _map(shape: Shape, memo: dict[Any, FormReader]) -> FormReader:
    key_shape, value_shape = shape.map_key, shape.map_value
    key_name, value_name = key_shape.wire_name or "key", value_shape.wire_name or "value"
    read_key, read_value = form_reader(key_shape, memo), form_reader(value_shape, memo)
    flattened = shape.flattened

    def read(field: Field) -> dict[Any, Any]:
        holder: Field | None = field if flattened else field.children.get("entry")
        found = {}
        for entry in holder.numbered() if holder is not None else ():
            key, value = entry.children.get(key_name), entry.children.get(value_name)
            if key is None or value is None:
                raise Malformed("A map's entry needs a key and a value")
            found[read_key(key)] = read_value(value)
        return found

    return read
