"""Members of a result as header fields."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

from alonzo.protocol.model import Shape
from alonzo.protocol.timestamps import WRITERS
from alonzo.protocol.write_values import dump_json

HeaderWriter = Callable[[Any], str | None]


def header_writer(shape: Shape) -> HeaderWriter:
    """A member's text, or None where the header is left out. Line breaks never get into a header."""
    if shape.traits.get("jsonvalue"):
        return lambda value: base64.b64encode(dump_json(value)).decode()
    if shape.type == "boolean":
        return lambda value: "true" if value else "false"
    if shape.type in ("integer", "long", "short", "byte", "bigInteger"):
        return str
    if shape.type in ("float", "double", "bigDecimal"):
        return _float
    if shape.type == "timestamp":
        write = WRITERS[shape.traits.get("timestampFormat", "rfc822")]
        return lambda value: str(write(value)) if isinstance(value, datetime) else one_line(value)
    if shape.type == "blob":
        return lambda value: base64.b64encode(value).decode()
    if shape.type == "list":
        return _list(shape.member)
    return one_line


def one_line(value: Any) -> str:
    """A value's text without line breaks, so that no member of a result can end a header."""
    text = value if isinstance(value, str) else str(value)
    if "\n" in text or "\r" in text or "\0" in text:
        text = text.replace("\r", " ").replace("\n", " ").replace("\0", "")
    if not text.isascii() and any(character > "\xff" for character in text):
        # The edge writes Latin-1; other characters go out as UTF-8's bytes.
        text = text.encode("utf-8", "replace").decode("latin-1")
    return text


def _float(value: Any) -> str:
    number = float(value)
    if math.isfinite(number):
        return repr(number)
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _list(member: Shape) -> HeaderWriter:
    write = header_writer(member)
    quote = member.type == "string"

    def joined(value: Any) -> str | None:
        parts = [write(item) or "" for item in value if item is not None]
        if not parts:
            return None
        if quote:
            parts = [_quoted(part) for part in parts]
        return ", ".join(parts)

    return joined


def _quoted(text: str) -> str:
    if '"' not in text and "," not in text:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
