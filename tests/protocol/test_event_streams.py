"""Event streams, as Lambda and S3 send them, read by botocore."""

import struct
import zlib
from datetime import UTC, datetime

import botocore.parsers
import botocore.session
import pytest
from botocore.eventstream import EventStream

from alonzo.core.errors import ServiceError
from alonzo.protocol.event_stream import BadMessage, decode_messages, encode_message
from alonzo.protocol.model import load_model
from alonzo.protocol.serialize import serialize


class Raw:
    def __init__(self, data):
        self.data = data

    def stream(self):
        yield self.data


async def collect(response):
    return b"".join([chunk async for chunk in response.body])


def read_by_botocore(service, operation, member, protocol, data):
    model = botocore.session.get_session().get_service_model(service).operation_model(operation)
    parser = botocore.parsers.create_parser(protocol)
    shape = model.output_shape.members[member]
    return list(EventStream(Raw(data), shape, parser._event_stream_parser, operation))


async def test_lambda_streams_its_response():
    """InvokeWithResponseStream's chunks and completion come as botocore expects them, the rest as headers."""

    async def events():
        yield {"PayloadChunk": {"Payload": b"one"}}
        yield {"PayloadChunk": {"Payload": b"two"}}
        yield {"InvokeComplete": {"ErrorCode": "", "LogResult": "bG9n"}}

    result = {"StatusCode": 200, "ExecutedVersion": "$LATEST", "ResponseStreamContentType": "text/plain",
              "EventStream": events()}  # fmt: skip
    response = serialize(load_model("lambda"), "InvokeWithResponseStream", result, request_id="r")
    data = await collect(response)
    assert response.status == 200
    assert dict(response.headers)["X-Amz-Executed-Version"] == "$LATEST"
    assert read_by_botocore("lambda", "InvokeWithResponseStream", "EventStream", "rest-json", data) == [
        {"PayloadChunk": {"Payload": b"one"}},
        {"PayloadChunk": {"Payload": b"two"}},
        {"InvokeComplete": {"ErrorCode": "", "LogResult": "bG9n"}},
    ]
    first = next(decode_messages(data))
    assert first.headers == {
        ":message-type": "event", ":event-type": "PayloadChunk", ":content-type": "application/octet-stream",
    }  # fmt: skip


async def test_s3_select_streams_records():
    """SelectObjectContent's records, statistics and end come as botocore expects them."""
    events = [
        {"Records": {"Payload": b"a,b\n"}},
        {"Stats": {"Details": {"BytesScanned": 4, "BytesProcessed": 4, "BytesReturned": 4}}},
        {"End": {}},
    ]
    response = serialize(load_model("s3"), "SelectObjectContent", {"Payload": events}, request_id="r")
    data = await collect(response)
    assert dict(response.headers)["Content-Type"] == "application/vnd.amazon.eventstream"
    assert read_by_botocore("s3", "SelectObjectContent", "Payload", "rest-xml", data) == events


async def test_rpc_streams_begin_with_the_other_members():
    """In the RPC protocols the first message is the result without its stream."""
    events = [{"sessionStart": {"requestId": "r", "sessionId": "s"}}]
    response = serialize(load_model("logs"), "StartLiveTail", {"responseStream": events}, request_id="r")
    initial, start = decode_messages(await collect(response))
    assert initial.headers[":event-type"] == "initial-response"
    assert initial.payload == b"{}"
    assert start.payload == b'{"requestId":"r","sessionId":"s"}'


async def test_an_error_ends_the_stream():
    """A ServiceError raised among the events becomes the stream's last message."""

    async def events():
        yield {"Records": {"Payload": b"a"}}
        raise ServiceError("InternalError", "broken")

    response = serialize(load_model("s3"), "SelectObjectContent", {"Payload": events()}, request_id="r")
    *_, last = decode_messages(await collect(response))
    assert last.headers == {
        ":message-type": "error", ":error-code": "InternalError", ":error-message": "broken",
    }  # fmt: skip


def test_headers_of_every_type_come_back():
    """Booleans, numbers, bytes, text and moments survive encoding."""
    headers = {"t": True, "f": False, "i": 7, "l": 2**40, "b": b"\x00\xff", "s": "é", "empty": ""}
    moment = datetime(2024, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    (message,) = decode_messages(encode_message({**headers, "when": moment}, b"payload"))
    assert dict(message.headers) == {**headers, "when": 1704164645678}
    assert message.payload == b"payload"


def _with_checksums(headers):
    lengths = struct.pack(">II", 16 + len(headers), len(headers))
    start = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers
    return start + struct.pack(">I", zlib.crc32(start))


@pytest.mark.parametrize(
    "data",
    [
        encode_message({"a": "b"}, b"p")[:-1],
        encode_message({"a": "b"}, b"p") + b"\x00",
        encode_message({"a": "b"}, b"p").replace(b"p", b"q"),
        b"\x00" * 16,
        b"\xff" * 64,
        _with_checksums(b"\x01a\x07\x00\x09x"),
        _with_checksums(b"\x01a\x2a"),
        _with_checksums(b"\x01a"),
        _with_checksums(b"\x01\xff\x00"),
    ],
    ids=range(9),
)
def test_damaged_streams_are_refused(data):
    """Wrong lengths, checksums and header types are errors, never an event."""
    with pytest.raises(BadMessage):
        list(decode_messages(data))


def test_messages_have_a_limit():
    """A message beyond the format's limit is refused where it is made."""
    with pytest.raises(ValueError, match="24 MiB"):
        encode_message({}, bytes(25 << 20))
