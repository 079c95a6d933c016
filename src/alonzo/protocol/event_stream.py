"""Event streams: messages with a prelude, typed headers, a payload and two checksums.

Source: https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import ServiceError
from alonzo.protocol.model import Shape
from alonzo.protocol.write_values import cbor_scalar, dump_cbor, dump_json, json_scalar, value_writer
from alonzo.protocol.write_xml import xml_writer

CONTENT_TYPE = "application/vnd.amazon.eventstream"
#: The specification's limits, in bytes.
MAX_MESSAGE = 24 * 1024 * 1024
MAX_HEADERS = 128 * 1024
_PRELUDE = struct.Struct(">III")

HeaderValue = str | bytes | bool | int | datetime


class BadMessage(ValueError):
    """The bytes are no event stream message: a length or checksum is wrong, or a header's type unknown."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it was received."""

    headers: Mapping[str, HeaderValue]
    payload: bytes


def encode_message(headers: Mapping[str, HeaderValue], payload: bytes) -> bytes:
    """A message's bytes. Raises ValueError where it exceeds the format's limits."""
    packed = b"".join(_header(name, value) for name, value in headers.items())
    total = 16 + len(packed) + len(payload)
    if len(packed) > MAX_HEADERS or total > MAX_MESSAGE:
        raise ValueError("an event stream message is limited to 24 MiB, its headers to 128 KiB")
    lengths = struct.pack(">II", total, len(packed))
    start = lengths + struct.pack(">I", zlib.crc32(lengths)) + packed + payload
    return start + struct.pack(">I", zlib.crc32(start))


def _header(name: str, value: HeaderValue) -> bytes:
    label = name.encode()
    start = struct.pack(">B", len(label)) + label
    if isinstance(value, bool):
        return start + (b"\x00" if value else b"\x01")
    if isinstance(value, int):
        return start + (struct.pack(">Bi", 4, value) if -(2**31) <= value < 2**31 else struct.pack(">Bq", 5, value))
    if isinstance(value, datetime):
        return start + struct.pack(">Bq", 8, round(value.timestamp() * 1000))
    if isinstance(value, bytes):
        return start + struct.pack(">BH", 6, len(value)) + value
    text = value.encode()
    return start + struct.pack(">BH", 7, len(text)) + text


def decode_messages(data: bytes) -> Iterator[Message]:
    """The messages of a complete stream. Raises BadMessage."""
    at = 0
    while at < len(data):
        if len(data) - at < 16:
            raise BadMessage("the stream ends within a message")
        total, header_length, checksum = _PRELUDE.unpack_from(data, at)
        if zlib.crc32(data[at : at + 8]) != checksum:
            raise BadMessage("the prelude's checksum is wrong")
        if not 16 + header_length <= total <= MAX_MESSAGE or header_length > MAX_HEADERS or at + total > len(data):
            raise BadMessage("a length is wrong")
        if zlib.crc32(data[at : at + total - 4]) != struct.unpack_from(">I", data, at + total - 4)[0]:
            raise BadMessage("the message's checksum is wrong")
        headers_end = at + 12 + header_length
        yield Message(dict(_read_headers(data[at + 12 : headers_end])), data[headers_end : at + total - 4])
        at += total


_FIXED = {2: ">b", 3: ">h", 4: ">i", 5: ">q", 8: ">q"}


def _read_headers(data: bytes) -> Iterator[tuple[str, HeaderValue]]:
    at = 0
    try:
        while at < len(data):
            length = data[at]
            name = data[at + 1 : at + 1 + length].decode()
            kind = data[at + 1 + length]
            at += 2 + length
            if kind in (0, 1):
                yield name, kind == 0
            elif kind in _FIXED:
                yield name, struct.unpack_from(_FIXED[kind], data, at)[0]
                at += struct.calcsize(_FIXED[kind])
            elif kind in (6, 7):
                size = struct.unpack_from(">H", data, at)[0]
                raw = data[at + 2 : at + 2 + size]
                if len(raw) != size:
                    raise BadMessage("a header ends too early")
                yield name, raw.decode() if kind == 7 else raw
                at += 2 + size
            elif kind == 9:
                yield name, data[at : at + 16]
                at += 16
            else:
                raise BadMessage(f"header type {kind} is unknown")
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise BadMessage("a header is malformed") from error


EventEncoder = Callable[[Any], tuple[dict[str, HeaderValue], bytes]]


class EventStreamWriter:
    """Encodes the events of one operation's output. An event is `{name: members}`, as boto3 gives it."""

    def __init__(self, stream: Shape, protocol: str) -> None:
        self._protocol = protocol
        self._events = {name: _event_encoder(shape, protocol) for name, shape in stream.members.items()}

    def initial(self, payload: bytes) -> bytes:
        """The first message of the RPC protocols: the output's other members."""
        headers = {":message-type": "event", ":event-type": "initial-response", ":content-type": _type(self._protocol)}
        return encode_message(headers, payload)

    def event(self, event: Mapping[str, Any]) -> bytes:
        (name, value), *rest = event.items()
        if rest or name not in self._events:
            raise ValueError(f"no event of this stream: {sorted(event)}")
        headers, payload = self._events[name](value)
        return encode_message({":message-type": "event", ":event-type": name, **headers}, payload)

    def error(self, error: ServiceError) -> bytes:
        headers = {":message-type": "error", ":error-code": error.code, ":error-message": error.message}
        return encode_message(headers, b"")

    async def stream(
        self, events: AsyncIterable[Mapping[str, Any]] | Iterable[Mapping[str, Any]], first: bytes = b""
    ) -> AsyncIterator[bytes]:
        """All the messages; a ServiceError raised while the events come becomes the last of them."""
        if first:
            yield first
        try:
            if isinstance(events, AsyncIterable):
                async for event in events:
                    yield self.event(event)
            else:
                for event in events:
                    yield self.event(event)
        except ServiceError as error:
            yield self.error(error)


def _type(protocol: str) -> str:
    if protocol == "rest-xml":
        return "text/xml"
    if protocol == "smithy-rpc-v2-cbor":
        return "application/cbor"
    return "application/json"


def _event_encoder(shape: Shape, protocol: str) -> EventEncoder:
    members = shape.members
    header_names = [name for name, member in members.items() if member.traits.get("eventheader")]
    payload = next((name for name, member in members.items() if member.traits.get("eventpayload")), None)
    if payload is None:
        body = _body_encoder(shape, protocol)
        has_body = len(header_names) < len(members)

        def whole(value: Any) -> tuple[dict[str, HeaderValue], bytes]:
            headers = {name: value[name] for name in header_names if value.get(name) is not None}
            if not has_body:
                return headers, b""
            rest = {name: item for name, item in value.items() if name not in header_names}
            return {":content-type": _type(protocol), **headers}, body(rest)

        return whole
    member = members[payload]
    kind = {"blob": "application/octet-stream", "string": "text/plain"}.get(member.type, _type(protocol))
    encode = _raw if member.type in ("blob", "string") else _body_encoder(member, protocol)

    def single(value: Any) -> tuple[dict[str, HeaderValue], bytes]:
        headers: dict[str, HeaderValue] = {":content-type": kind}
        for name in header_names:
            if value.get(name) is not None:
                headers[name] = value[name]
        item = value.get(payload)
        return headers, encode(item) if item is not None else b""

    return single


def _raw(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _body_encoder(shape: Shape, protocol: str) -> Callable[[Any], bytes]:
    if protocol == "rest-xml":
        write = xml_writer(shape, shape.wire_name or shape.name, millis=False)

        def xml(value: Any) -> bytes:
            out: list[str] = []
            write(out, value)
            return "".join(out).encode()

        return xml
    cbor = protocol == "smithy-rpc-v2-cbor"
    writer = value_writer(shape, cbor_scalar if cbor else json_scalar)
    dump = dump_cbor if cbor else dump_json
    return lambda value: dump(value if writer is None else writer(value))
