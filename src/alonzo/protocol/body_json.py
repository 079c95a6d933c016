"""JSON bodies to parameters: one closure for each shape, compiled on first use."""

from __future__ import annotations

import binascii
from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson

from alonzo.protocol.model import Shape
from alonzo.protocol.problems import Malformed
from alonzo.protocol.timestamps import from_epoch, from_text

Reader = Callable[[Any], Any]

#: Levels of nesting in a body. DynamoDB's items, the deepest that AWS takes, have 32.
MAX_DEPTH = 100
#: Values in a body beyond a megabyte; each takes some 60 bytes of memory, as little as two on the wire.
MAX_VALUES = 500_000
_LARGE = 1024 * 1024
_SPECIAL_FLOATS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_MIN_INT, _MAX_INT = -(2**31), 2**31 - 1
_MIN_LONG, _MAX_LONG = -(2**63), 2**63 - 1


def decode_json(body: bytes) -> Any:
    """Parse a body, an empty one as `{}`. Raises Malformed, also where it is nested too deep."""
    if not body:
        return {}
    if len(body) > _LARGE and body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_VALUES:
        raise Malformed("The request body has too many values.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"Could not parse request body into json: {error}") from error
    # Counting brackets is cheap and settles nearly every body; only the others are walked.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        check_depth(value)
    return value


def check_depth(value: Any, limit: int = MAX_DEPTH) -> None:
    """Raise Malformed where lists and maps lie deeper than `limit` inside each other."""
    level = [value]
    for _ in range(limit + 1):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(child for child in item.values() if isinstance(child, dict | list))
            elif isinstance(item, list):
                inner.extend(child for child in item if isinstance(child, dict | list))
        if not inner:
            return
        level = inner
    raise Malformed("The request body is nested too deep.")


def json_reader(shape: Shape, memo: dict[Any, Reader] | None = None) -> Reader:
    """Compile. `memo` holds what is compiled already, and ends recursion in recursive shapes."""
    memo = {} if memo is None else memo
    key = shape.key
    if key in memo:
        return memo[key]

    def later(value: Any) -> Any:
        return memo[key](value)

    memo[key] = later
    memo[key] = _compile(shape, memo)
    return memo[key]


def _compile(shape: Shape, memo: dict[Any, Reader]) -> Reader:
    kind = shape.type
    if kind == "structure":
        if shape.traits.get("document"):
            return lambda value: value
        return structure_reader(shape, {name: json_reader(member, memo) for name, member in shape.members.items()})
    if kind == "list":
        return _list_reader(json_reader(shape.member, memo))
    if kind == "map":
        return _map_reader(json_reader(shape.map_value, memo))
    if kind == "timestamp":
        return _timestamp
    return _SCALARS[kind]


def structure_reader(shape: Shape, readers: dict[str, Reader], *, wire_names: bool = True) -> Reader:
    """A structure from a dict; unknown keys and nulls are left out. A union must have exactly one member."""
    table = {
        (member.wire_name or name) if wire_names else name: (name, readers[name])
        for name, member in shape.members.items()
        if name in readers
    }
    union = bool(shape.traits.get("union"))

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Malformed("Unexpected value where a structure was expected")
        found = {}
        for key, item in value.items():
            if item is None:
                continue
            known = table.get(key)
            if known is not None:
                found[known[0]] = known[1](item)
        if union and len(found) != 1:
            raise Malformed("A union must have exactly one member")
        return found

    return read


def _list_reader(member: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise Malformed("Expected list or null")
        return [None if item is None else member(item) for item in value]

    return read


def _map_reader(inner: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Malformed("Expected map or null")
        return {key: None if item is None else inner(item) for key, item in value.items()}

    return read


def _kind(value: Any) -> str:
    """Jackson's name for a token, as AWS's errors give it."""
    if value is True:
        return "TRUE_VALUE"
    if value is False:
        return "FALSE_VALUE"
    if isinstance(value, str):
        return "STRING_VALUE"
    if isinstance(value, int):
        return "NUMBER_VALUE"
    if isinstance(value, float):
        return "DECIMAL_VALUE"
    return "START_OBJECT" if isinstance(value, dict) else "START_ARRAY"


def read_string(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise Malformed(f"{_kind(value)} cannot be converted to String")


def read_boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise Malformed(f"{_kind(value)} cannot be converted to Boolean")


def _integer(value: Any, low: int, high: int, name: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if low <= value <= high:
            return value
        raise Malformed(f"Value {value} is out of range for {name}")
    raise Malformed(f"{_kind(value)} can not be converted to {name}")


def read_integer(value: Any) -> int:
    return _integer(value, _MIN_INT, _MAX_INT, "an Integer")


def read_long(value: Any) -> int:
    return _integer(value, _MIN_LONG, _MAX_LONG, "a Long")


def read_float(value: Any) -> float:
    if isinstance(value, str) and value in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise Malformed(f"{_kind(value)} can not be converted to a Double")


def _timestamp(value: Any) -> datetime:
    try:
        if isinstance(value, str):
            return from_text(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return from_epoch(value)
    except ValueError as error:
        raise Malformed("Unable to parse the value as a timestamp") from error
    raise Malformed(f"{_kind(value)} cannot be converted to a timestamp")


def read_base64(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return binascii.a2b_base64(value.encode("ascii"), strict_mode=True) if value else b""
        except (binascii.Error, UnicodeEncodeError) as error:
            raise Malformed("Invalid Base64 in a blob") from error
    raise Malformed(f"{_kind(value)} cannot be converted to a blob")


_SCALARS: dict[str, Reader] = {
    "string": read_string,
    "character": read_string,
    "boolean": read_boolean,
    "integer": read_integer,
    "short": read_integer,
    "byte": read_integer,
    "long": read_long,
    "bigInteger": lambda value: value,
    "float": read_float,
    "double": read_float,
    "bigDecimal": read_float,
    "blob": read_base64,
}
