"""CBOR bodies of rpc-v2-cbor to parameters.

The decoder is our own: a general one follows tags for shared references, regular expressions and big numbers, which are
ways to make cycles or work, and none of them occurs in this protocol.
Source: https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html and RFC 8949.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime
from typing import Any

from alonzo.protocol.body_json import (
    read_boolean,
    read_float,
    read_integer,
    read_long,
    read_string,
    structure_reader,
)
from alonzo.protocol.model import Shape
from alonzo.protocol.problems import Malformed
from alonzo.protocol.timestamps import from_epoch

Reader = Callable[[Any], Any]

MAX_DEPTH = 100
MAX_ITEMS = 500_000
_BREAK = object()
_SIMPLE: dict[int, Any] = {20: False, 21: True, 22: None, 23: None}


class Epoch(float):
    """A number under tag 1: seconds since 1970."""


class _Decoder:
    __slots__ = ("_at", "_count", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._count = 0
        self._at = 0

    def whole(self) -> Any:
        value = self._item(0)
        if self._at != len(self._data) or value is _BREAK:
            raise Malformed("The CBOR body does not end where its value does")
        return value

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise Malformed("The CBOR body ends too early")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def _argument(self, info: int) -> int | None:
        """The number in an item's head; None where the length is indefinite."""
        if info < 24:
            return info
        if info <= 27:
            return int.from_bytes(self._take(1 << (info - 24)), "big")
        if info == 31:
            return None
        raise Malformed("Reserved CBOR item")

    def _item(self, depth: int) -> Any:
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_ITEMS:
            raise Malformed("The CBOR body is nested too deep, or has too many items")
        head = self._take(1)[0]
        major, info = head >> 5, head & 31
        if major == 7:
            return self._simple(info)
        argument = self._argument(info)
        if major in (2, 3):
            return self._string(major, argument)
        if major == 4:
            return self._array(argument, depth)
        if major == 5:
            return self._map(argument, depth)
        if argument is None:
            raise Malformed("A CBOR number or tag of indefinite length")
        if major == 6:
            return self._tagged(argument, depth)
        return argument if major == 0 else -1 - argument

    def _simple(self, info: int) -> Any:
        if info in _SIMPLE:
            return _SIMPLE[info]
        if info == 31:
            return _BREAK
        if 25 <= info <= 27:
            return struct.unpack({25: ">e", 26: ">f", 27: ">d"}[info], self._take(1 << (info - 24)))[0]
        raise Malformed("Unknown simple value in CBOR")

    def _string(self, major: int, length: int | None) -> Any:
        if length is None:
            chunks = []
            while self._data[self._at : self._at + 1] != b"\xff":
                head = self._take(1)[0]
                size = self._argument(head & 31)
                if head >> 5 != major or size is None:
                    raise Malformed("A chunk of another type in a CBOR string")
                chunks.append(self._take(size))
            self._at += 1
            raw = b"".join(chunks)
        else:
            raw = self._take(length)
        if major == 2:
            return raw
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise Malformed("A CBOR text is not UTF-8") from error

    def _array(self, length: int | None, depth: int) -> list[Any]:
        items: list[Any] = []
        while length is None or len(items) < length:
            item = self._item(depth + 1)
            if item is _BREAK:
                if length is None:
                    return items
                raise Malformed("A break within a CBOR array")
            items.append(item)
        return items

    def _map(self, length: int | None, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        count = 0
        while length is None or count < length:
            key = self._item(depth + 1)
            if key is _BREAK and length is None:
                return found
            if not isinstance(key, str):
                raise Malformed("A key of a CBOR map is no text")
            value = self._item(depth + 1)
            if value is _BREAK:
                raise Malformed("A break within a CBOR map")
            found[key] = value
            count += 1
        return found

    def _tagged(self, tag: int, depth: int) -> Any:
        value = self._item(depth + 1)
        if tag != 1 or not isinstance(value, int | float) or isinstance(value, bool):
            raise Malformed(f"CBOR tag {tag} is not used by this protocol")
        try:
            return Epoch(value)
        except OverflowError as error:
            raise Malformed("A timestamp is out of range") from error


def decode_cbor(body: bytes) -> Any:
    """The body's one value, an empty body as `{}`. Raises Malformed."""
    return _Decoder(body).whole() if body else {}


def cbor_reader(shape: Shape, memo: dict[Any, Reader] | None = None) -> Reader:
    """Compile."""
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
    if shape.type == "structure":
        members = {name: cbor_reader(member, memo) for name, member in shape.members.items()}
        return structure_reader(shape, members, wire_names=False)
    if shape.type == "list":
        return _list(cbor_reader(shape.member, memo))
    if shape.type == "map":
        return _map(cbor_reader(shape.map_value, memo))
    return _SCALARS[shape.type]


def _list(member: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise Malformed("Expected a list")
        return [None if item is None else member(item) for item in value]

    return read


def _map(inner: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Malformed("Expected a map")
        return {key: None if item is None else inner(item) for key, item in value.items()}

    return read


def _blob(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    raise Malformed("Expected a byte string")


def _timestamp(value: Any) -> datetime:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Malformed("Expected a timestamp")
    try:
        return from_epoch(value)
    except (ValueError, OverflowError) as error:
        raise Malformed("A timestamp is out of range") from error


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
    "blob": _blob,
    "timestamp": _timestamp,
}
