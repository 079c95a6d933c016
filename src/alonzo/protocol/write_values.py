"""Results to JSON values and CBOR values: one closure for each shape, compiled on first use.

A writer of None means that the value goes out as it is, which spares the call.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from alonzo.protocol.model import Shape
from alonzo.protocol.timestamps import WRITERS

Writer = Callable[[Any], Any]
Scalars = Callable[[Shape], Writer | None]


def value_writer(shape: Shape, scalars: Scalars, memo: dict[Any, Writer | None] | None = None) -> Writer | None:
    """Compile; `scalars` says how the format writes what has no members."""
    memo = {} if memo is None else memo
    key = shape.key
    if key in memo:
        return memo[key]

    def later(value: Any) -> Any:
        writer = memo[key]
        return value if writer is None else writer(value)

    memo[key] = later
    memo[key] = _compile(shape, scalars, memo)
    return memo[key]


def _compile(shape: Shape, scalars: Scalars, memo: dict[Any, Writer | None]) -> Writer | None:
    if shape.type == "structure":
        if shape.traits.get("document"):
            return None
        return structure_writer(shape, scalars, memo)
    if shape.type == "list":
        member = value_writer(shape.member, scalars, memo)
        if member is None:
            return list
        return lambda value: [None if item is None else member(item) for item in value]
    if shape.type == "map":
        inner = value_writer(shape.map_value, scalars, memo)
        if inner is None:
            return dict
        return lambda value: {key: None if item is None else inner(item) for key, item in value.items()}
    return scalars(shape)


def structure_writer(shape: Shape, scalars: Scalars, memo: dict[Any, Writer | None]) -> Writer:
    """Members in the model's order; those bound to headers or the status are left out, and None is absent."""
    wire_names = scalars is json_scalar
    table = [
        (name, (member.wire_name or name) if wire_names else name, value_writer(member, scalars, memo))
        for name, member in shape.members.items()
        if member.in_response_body
    ]

    def write(value: Any) -> dict[str, Any]:
        written = {}
        for name, wire, inner in table:
            item = value.get(name)
            if item is not None:
                written[wire] = item if inner is None else inner(item)
        return written

    return write


def _json_float(value: Any) -> Any:
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _base64(value: Any) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def json_scalar(shape: Shape) -> Writer | None:
    if shape.type in ("float", "double", "bigDecimal"):
        return _json_float
    if shape.type == "blob":
        return _base64
    if shape.type == "timestamp":
        return timestamp_writer(shape, "unixtimestamp")
    return None


def timestamp_writer(shape: Shape, default: str) -> Writer:
    """A datetime in the shape's format, or the protocol's; what is text already stays."""
    write = WRITERS[shape.traits.get("timestampFormat", default)]

    def write_timestamp(value: Any) -> Any:
        return write(value) if isinstance(value, datetime) else value

    return write_timestamp


def cbor_scalar(shape: Shape) -> Writer | None:
    if shape.type == "timestamp":
        return _cbor_timestamp
    if shape.type in ("float", "double", "bigDecimal"):
        return float
    if shape.type == "blob":
        return lambda value: value.encode() if isinstance(value, str) else bytes(value)
    return None


def _cbor_timestamp(value: Any) -> Any:
    import cbor2

    seconds = value.timestamp() if isinstance(value, datetime) else value
    return cbor2.CBORTag(1, int(seconds) if seconds == int(seconds) else round(seconds, 3))


def dump_json(value: Any) -> bytes:
    """Compact JSON; Decimals (from handlers that compute with them) as numbers."""
    return orjson.dumps(value, default=_unusual)


def _unusual(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def dump_cbor(value: Any) -> bytes:
    import cbor2

    encoded: bytes = cbor2.dumps(value)
    return encoded
