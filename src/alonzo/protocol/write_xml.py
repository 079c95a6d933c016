"""Results to XML: closures that append text, compiled once for each shape and element name."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable
from typing import Any

from alonzo.protocol.model import Shape
from alonzo.protocol.timestamps import to_iso_millis
from alonzo.protocol.write_values import timestamp_writer

#: Appends an element.
XmlWriter = Callable[[list[str], Any], None]

_SPECIAL = re.compile('[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]')
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def escape(text: str) -> str:
    """Text for an element or attribute. Characters that XML 1.0 has not become references, as S3 writes them."""
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(lambda found: _ESCAPES.get(found.group(), f"&#x{ord(found.group()):x};"), text)


def xml_writer(shape: Shape, name: str, *, millis: bool, memo: dict[Any, XmlWriter] | None = None) -> XmlWriter:
    """Compile. `millis`: timestamps always have milliseconds (S3)."""
    memo = {} if memo is None else memo
    key = (shape.key, name)
    if key in memo:
        return memo[key]

    def later(out: list[str], value: Any) -> None:
        memo[key](out, value)

    memo[key] = later
    memo[key] = _compile(shape, name, millis, memo)
    return memo[key]


def _namespace(shape: Shape) -> str:
    trait = shape.traits.get("xmlNamespace")
    if not trait:
        return ""
    if isinstance(trait, str):
        return f' xmlns="{escape(trait)}"'
    prefix = f":{trait['prefix']}" if trait.get("prefix") else ""
    return f' xmlns{prefix}="{escape(trait["uri"])}"'


def _compile(shape: Shape, name: str, millis: bool, memo: dict[Any, XmlWriter]) -> XmlWriter:
    if shape.type == "structure":
        return _structure(shape, name, millis, memo)
    if shape.type == "list":
        return _list(shape, name, millis, memo)
    if shape.type == "map":
        return _map(shape, name, millis, memo)
    text = text_writer(shape, millis=millis)
    opening, closing, empty = f"<{name}{_namespace(shape)}>", f"</{name}>", f"<{name}{_namespace(shape)}/>"

    def scalar(out: list[str], value: Any) -> None:
        written = text(value)
        out.append(f"{opening}{written}{closing}" if written else empty)

    return scalar


def _structure(shape: Shape, name: str, millis: bool, memo: dict[Any, XmlWriter]) -> XmlWriter:
    attributes, inner = members_writer(shape, millis=millis, memo=memo)
    opening, closing = f"<{name}{_namespace(shape)}", f"</{name}>"

    def structure(out: list[str], value: Any) -> None:
        out.append(opening)
        for wire, member in attributes:
            item = value.get(member)
            if item is not None:
                out.append(f' {wire}="{escape(str(item))}"')
        out.append(">")
        inner(out, value)
        out.append(closing)

    return structure


def members_writer(
    shape: Shape, *, millis: bool, memo: dict[Any, XmlWriter] | None = None
) -> tuple[list[tuple[str, str]], XmlWriter]:
    """A structure's attributes (wire name, member) and what writes its elements without an element around them."""
    memo = {} if memo is None else memo
    attributes: list[tuple[str, str]] = []
    table: list[tuple[str, XmlWriter]] = []
    for member_name, member in shape.members.items():
        if not member.in_response_body:
            continue
        wire = member.wire_name or member_name
        if member.traits.get("xmlAttribute"):
            attributes.append((wire, member_name))
            continue
        if member.type == "list" and member.flattened:
            wire = member.flat_name(member_name)
        table.append((member_name, xml_writer(member, wire, millis=millis, memo=memo)))

    def write(out: list[str], value: Any) -> None:
        for member_name, inner in table:
            item = value.get(member_name)
            if item is not None:
                inner(out, item)

    return attributes, write


def _list(shape: Shape, name: str, millis: bool, memo: dict[Any, XmlWriter]) -> XmlWriter:
    member = shape.member
    if shape.flattened:
        item_writer = xml_writer(member, name, millis=millis, memo=memo)

        def flat(out: list[str], value: Any) -> None:
            for item in value:
                if item is not None:
                    item_writer(out, item)

        return flat
    element = xml_writer(member, member.wire_name or "member", millis=millis, memo=memo)
    opening, closing, empty = f"<{name}{_namespace(shape)}>", f"</{name}>", f"<{name}{_namespace(shape)}/>"

    def wrapped(out: list[str], value: Any) -> None:
        if not value:
            out.append(empty)
            return
        out.append(opening)
        for item in value:
            if item is not None:
                element(out, item)
        out.append(closing)

    return wrapped


def _map(shape: Shape, name: str, millis: bool, memo: dict[Any, XmlWriter]) -> XmlWriter:
    key, inner = shape.map_key, shape.map_value
    write_key = xml_writer(key, key.wire_name or "key", millis=millis, memo=memo)
    write_value = xml_writer(inner, inner.wire_name or "value", millis=millis, memo=memo)
    flattened = shape.flattened
    entry = name if flattened else "entry"
    opening, closing = f"<{name}{_namespace(shape)}>", f"</{name}>"

    def write(out: list[str], value: Any) -> None:
        if not flattened:
            out.append(opening)
        for item_key, item in value.items():
            if item is None:
                continue
            out.append(f"<{entry}>")
            write_key(out, item_key)
            write_value(out, item)
            out.append(f"</{entry}>")
        if not flattened:
            out.append(closing)

    return write


def _boolean(value: Any) -> str:
    return "true" if value else "false"


def _float(value: Any) -> str:
    number = float(value)
    if math.isfinite(number):
        return repr(number)
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _blob(value: Any) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def _text(value: Any) -> str:
    return escape(value if isinstance(value, str) else str(value))


def text_writer(shape: Shape, *, millis: bool) -> Callable[[Any], str]:
    """A scalar as an element's text."""
    if shape.type == "boolean":
        return _boolean
    if shape.type in ("float", "double", "bigDecimal"):
        return _float
    if shape.type == "blob":
        return _blob
    if shape.type == "timestamp":
        write = timestamp_writer(shape, "iso8601")
        if millis and shape.traits.get("timestampFormat", "iso8601") == "iso8601":
            return lambda value: to_iso_millis(value) if hasattr(value, "year") else _text(value)
        return lambda value: _text(write(value))
    if shape.type in ("integer", "long", "short", "byte", "bigInteger"):
        return str
    return _text
