"""REST requests to parameters: which member comes from the path, the query string, a header, the body."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import orjson

from alonzo.core.http import Headers, Request
from alonzo.protocol.body_json import Reader, decode_json, json_reader, structure_reader
from alonzo.protocol.body_xml import decode_xml, xml_reader
from alonzo.protocol.model import Operation, Shape
from alonzo.protocol.problems import BadNumber, Malformed
from alonzo.protocol.routing import Query
from alonzo.protocol.text import TextReader, text_reader

#: Dates that HTTP says to ignore where they are none.
_LENIENT_DATES = frozenset(
    {
        "if-modified-since",
        "if-unmodified-since",
        "x-amz-copy-source-if-modified-since",
        "x-amz-copy-source-if-unmodified-since",
    }
)


class RestReader:
    """Compiled for one operation."""

    __slots__ = (
        "_body",
        "_header_maps",
        "_headers",
        "_labels",
        "_payload",
        "_query",
        "_query_map",
        "_raw",
        "_routed",
        "streaming",
        "tokens",
    )

    def __init__(self, operation: Operation, *, xml: bool, tokens: tuple[str, ...] = ()) -> None:
        #: Members to be made up where the client left them out.
        self.tokens = tokens
        self._labels: dict[str, tuple[str, TextReader]] = {}
        self._query: dict[str, tuple[str, Callable[[list[str]], Any]]] = {}
        self._query_map: tuple[str, bool] | None = None
        self._headers: dict[str, tuple[str, TextReader]] = {}
        self._header_maps: list[tuple[str, str]] = []
        self._payload: str | None = None
        self._raw = False
        self._body: Callable[[bytes], Any] | None = None
        #: Keys of the query string that belong to the operation's address.
        self._routed = frozenset(part.partition("=")[0] for part in operation.uri.partition("?")[2].split("&"))
        #: The body is handed on as it comes, unread.
        self.streaming = False
        shape = operation.input
        if shape is None:
            return
        members = shape.members
        for name, member in members.items():
            self._bind(name, member)
        self._payload = shape.payload
        if self._payload is not None:
            self._compile_payload(members[self._payload], xml=xml)
        elif any(member.location is None for member in members.values()):
            self._body = _xml_structure(shape) if xml else _json_structure(shape)

    def _bind(self, name: str, member: Shape) -> None:
        wire = member.wire_name or name
        if member.location == "uri":
            self._labels[wire] = (name, text_reader(member))
        elif member.location == "querystring":
            if member.type == "map":
                self._query_map = (name, member.map_value.type == "list")
            else:
                self._query[wire] = (name, _query_reader(wire, member))
        elif member.location == "header":
            self._headers[wire.lower()] = (name, _header_reader(wire, member))
        elif member.location == "headers":
            self._header_maps.append((wire.lower(), name))

    def _compile_payload(self, member: Shape, *, xml: bool) -> None:
        if member.streaming and member.type in ("blob", "string"):
            self.streaming = True
        elif member.type == "blob":
            self._raw = True
            self._body = lambda body: body or None
        elif member.type == "string":
            self._body = lambda body: _utf8(body) if body else None
        elif xml:
            read_xml = xml_reader(member)
            self._body = lambda body: read_xml(decode_xml(body)) if body.strip() else None
        else:
            read_json = json_reader(member)
            self._body = lambda body: read_json(decode_json(body)) if body.strip() else None

    @property
    def reads_body(self) -> bool:
        return self._body is not None

    @property
    def header_names(self) -> frozenset[str] | None:
        """The header fields (lower case) that members come from; None where any may be one."""
        return None if self._header_maps else frozenset(self._headers)

    @property
    def blob(self) -> str | None:
        """The member that is the body as it came, held in memory, if there is one."""
        return self._payload if self._raw else None

    def read(self, request: Request, labels: Mapping[str, str], query: Query) -> dict[str, Any]:
        """Everything but the body. Raises Malformed."""
        params: dict[str, Any] = {}
        for label, text in labels.items():
            name, read_label = self._labels[label]
            params[name] = read_label(text)
        if query:
            known = self._query
            for key, values in query.items():
                found = known.get(key)
                if found is not None:
                    params[found[0]] = found[1](values)
            if self._query_map is not None:
                (name, lists), routed = self._query_map, self._routed
                rest = {key: values for key, values in query.items() if key not in known and key not in routed}
                if rest:
                    params[name] = rest if lists else {key: values[0] for key, values in rest.items()}
        self._read_headers(request.headers, params)
        if self.streaming and self._payload is not None and request.body.length != 0:
            params[self._payload] = request.body
        return params

    def _read_headers(self, headers: Headers, params: dict[str, Any]) -> None:
        known = self._headers
        if known:
            for key, text in headers.items:
                found = known.get(key)
                if found is None:
                    continue
                name, read_header = found
                if name in params:
                    if text is headers[key]:
                        continue
                    # A field in several lines is one list.
                    text = ",".join(headers.get_all(key))
                value = read_header(text)
                if value is not None:
                    params[name] = value
        for prefix, name in self._header_maps:
            found_map = {key[len(prefix) :]: value for key, value in headers.items if key.startswith(prefix)}
            if found_map:
                params[name] = found_map

    def read_body(self, body: bytes, params: dict[str, Any]) -> None:
        """Put the body's members into `params`. Raises Malformed."""
        if self._body is None:
            return
        value = self._body(body)
        if self._payload is None:
            params.update(value)
        elif value is not None:
            params[self._payload] = value


def _utf8(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Malformed("The body is not UTF-8") from error


def _json_structure(shape: Shape) -> Callable[[bytes], Any]:
    memo: dict[Any, Reader] = {}
    body_members = {name: member for name, member in shape.members.items() if member.location is None}
    readers = {name: json_reader(member, memo) for name, member in body_members.items()}
    read = structure_reader(shape, readers)
    return lambda body: read(decode_json(body.strip()))


def _xml_structure(shape: Shape) -> Callable[[bytes], Any]:
    read = xml_reader(shape)
    return lambda body: read(decode_xml(body)) if body.strip() else {}


def _query_reader(wire: str, member: Shape) -> Callable[[list[str]], Any]:
    if member.type == "list":
        read_item = _named(wire, text_reader(member.member))
        return lambda values: [read_item(value) for value in values]
    read = _named(wire, text_reader(member))
    return lambda values: read(values[0])


def _named(wire: str, read: TextReader) -> TextReader:
    """Errors that name the parameter, as S3's do."""

    def named(text: str) -> Any:
        try:
            return read(text)
        except Malformed as error:
            raise BadNumber(wire, text) from error

    return read if read.__name__ == "_string" else named


def _header_reader(wire: str, member: Shape) -> TextReader:
    if member.traits.get("jsonvalue"):
        return _json_value
    if member.type == "list":
        return _header_list(member)
    read = text_reader(member)
    if member.type == "timestamp":
        return _header_date(wire, read)
    if member.type in ("integer", "long", "short", "byte", "float", "double", "boolean"):
        return _named(wire, read)
    return read


def _header_date(wire: str, read: TextReader) -> TextReader:
    lenient = wire.lower() in _LENIENT_DATES

    def read_date(text: str) -> datetime | None:
        try:
            moment: datetime = read(text)
        except Malformed:
            if lenient:
                return None
            raise
        return moment

    return read_date


def _json_value(text: str) -> Any:
    try:
        return orjson.loads(binascii.a2b_base64(text))
    except (ValueError, binascii.Error) as error:
        raise Malformed("A header that should hold JSON in Base64 does not") from error


def _header_list(member: Shape) -> TextReader:
    item = member.member
    read_item = text_reader(item)
    dates = item.type == "timestamp" and item.traits.get("timestampFormat", "rfc822") == "rfc822"

    def read(text: str) -> list[Any]:
        if not text:
            return []
        if dates:
            # Each date holds one comma of its own.
            parts = text.split(",")
            return [read_item(",".join(pair)) for pair in zip(parts[::2], parts[1::2], strict=False)]
        return [read_item(part) for part in split_header_list(text)]

    return read


def split_header_list(text: str) -> list[str]:
    """Split at commas outside quotes and take the quotes off. Source: RFC 9110, section 5.6."""
    if '"' not in text:
        return [part.strip() for part in text.split(",")]
    parts: list[str] = []
    current: list[str] = []
    quoted = escaped = False
    for character in text:
        if escaped:
            current.append(character)
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            parts.append("".join(current).strip())
            current = []
        else:
            current.append(character)
    parts.append("".join(current).strip())
    return parts
