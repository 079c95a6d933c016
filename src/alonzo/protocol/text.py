"""Values written as text: in XML, forms, headers, query strings and paths."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from alonzo.protocol.body_json import read_base64, read_float, read_integer, read_long
from alonzo.protocol.model import Shape
from alonzo.protocol.problems import Malformed
from alonzo.protocol.timestamps import from_text

TextReader = Callable[[str], Any]

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}\Z")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?\Z")


def _boolean(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in ("true", "1"):
        return True
    if lowered in ("false", "0"):
        return False
    raise Malformed("Expected true or false")


def _number(text: str) -> int:
    text = text.strip()
    if not _INTEGER.match(text):
        raise Malformed("Expected an integer")
    return int(text)


def _integer(text: str) -> int:
    return read_integer(_number(text))


def _long(text: str) -> int:
    return read_long(_number(text))


def _float(text: str) -> float:
    text = text.strip()
    if text in ("NaN", "Infinity", "-Infinity"):
        return read_float(text)
    if len(text) > 400 or not _FLOAT.match(text):
        raise Malformed("Expected a number")
    return float(text)


def _timestamp(text: str) -> Any:
    try:
        return from_text(text)
    except ValueError as error:
        raise Malformed("Expected a timestamp") from error


def _blob(text: str) -> bytes:
    return read_base64("".join(text.split()))


def _string(text: str) -> str:
    return text


_READERS: dict[str, TextReader] = {
    "string": _string,
    "character": _string,
    "boolean": _boolean,
    "integer": _integer,
    "short": _integer,
    "byte": _integer,
    "long": _long,
    "bigInteger": _long,
    "float": _float,
    "double": _float,
    "bigDecimal": _float,
    "timestamp": _timestamp,
    "blob": _blob,
}


def text_reader(shape: Shape) -> TextReader:
    """How to read a scalar of this shape from text. The closure raises Malformed."""
    return _READERS[shape.type]
