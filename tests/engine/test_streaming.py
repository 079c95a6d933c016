"""Responses that reach the client while the handler still runs."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from statistics import median
from typing import Any

import pytest

from alonzo.core.errors import ServiceError
from alonzo.engine.streaming import BURST, MAX_STREAMED, Bucket, ResponseStream

#: A runtime client on raw sockets: `handle(request_id, event, send)` writes the body's pieces with `send`.
CLIENT = r"""
import json, os, socket, sys, time

host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
PREFIX = "/2018-06-01/runtime/invocation/"


def connect():
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection, connection.makefile("rb")


def read_answer(reader):
    status = int(reader.readline().split()[1])
    headers = {}
    while (line := reader.readline()) != b"\r\n":
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return status, headers, reader.read(int(headers.get("content-length", 0)))


def next_event(connection, reader):
    connection.sendall(f"GET {PREFIX}next HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    _, headers, body = read_answer(reader)
    return headers["lambda-runtime-aws-request-id"], json.loads(body)


class Stream:
    def __init__(self, connection, request_id, kind="text/plain"):
        self.connection = connection
        self.connection.sendall(
            f"POST {PREFIX}{request_id}/response HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
            "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n"
            "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n".encode()
        )

    def send(self, data):
        self.connection.sendall(b"%x\r\n" % len(data) + data + b"\r\n")

    def end(self, trailers=""):
        self.connection.sendall(b"0\r\n" + trailers.encode() + b"\r\n")


connection, reader = connect()
"""

SLOW = (
    CLIENT
    + """
while True:
    request_id, event = next_event(connection, reader)
    stream = Stream(connection, request_id)
    for number in range(3):
        stream.send(b"%d %r;" % (number, time.time()))
        time.sleep(0.04)
    stream.end()
    print(read_answer(reader)[0], flush=True)
"""
)

BIG = (
    CLIENT
    + """
piece = b"x" * 1_000_000
while True:
    request_id, event = next_event(connection, reader)
    stream = Stream(connection, request_id)
    for _ in range(event["pieces"]):
        stream.send(piece)
    stream.end()
    print(read_answer(reader)[0], flush=True)
"""
)

FAILS = (
    CLIENT
    + """
import base64
while True:
    request_id, event = next_event(connection, reader)
    stream = Stream(connection, request_id)
    stream.send(b"half")
    how = event["how"]
    if how == "trailers":
        body = base64.b64encode(b'{"errorType":"Oops","errorMessage":"no"}').decode()
        prefix = "Lambda-Runtime-Function-Error"
        stream.end(f"{prefix}-Type: Function.Oops\\r\\n{prefix}-Body: {body}\\r\\n")
        read_answer(reader)
    elif how == "exit":
        time.sleep(0.02)
        os._exit(3)
    elif how == "hang":
        time.sleep(60)
    elif how == "cut":
        time.sleep(0.02)
        reader.close()
        connection.close()
        connection, reader = connect()
"""
)


MISUSES = (
    CLIENT
    + """
def ask(method, path, headers="", body=b""):
    other, answers = connect()
    head = f"{method} {PREFIX}{path} HTTP/1.1\\r\\nHost: x\\r\\n{headers}Content-Length: {len(body)}\\r\\n\\r\\n"
    other.sendall(head.encode() + body)
    status, _, answer = read_answer(answers)
    answers.close()
    other.close()
    return f"{status} {json.loads(answer)['errorMessage']}"


while True:
    request_id, event = next_event(connection, reader)
    mode = "Lambda-Runtime-Function-Response-Mode: "
    said = [ask("POST", f"{request_id}/response", mode + "odd\\r\\n")]
    said.append(ask("POST", "other/response", mode + "streaming\\r\\n", b"x"))
    stream = Stream(connection, request_id)
    stream.send(b"begun;")
    time.sleep(0.02)
    said.append(ask("POST", f"{request_id}/error"))
    said.append(ask("GET", "next"))
    said.append(ask("POST", f"{request_id}/response", mode + "streaming\\r\\n", b"again"))
    stream.send("|".join(said).encode())
    stream.end()
    read_answer(reader)
"""
)


async def start(world: Any, fv: Any, event: Any = None, **changes: Any) -> ResponseStream:
    invocation = world.invocation(fv, json.dumps(event or {}).encode(), **changes)
    stream = await world.engine.invoker.stream(fv, invocation)
    assert isinstance(stream, ResponseStream)
    return stream


async def whole(stream: ResponseStream) -> bytes:
    return b"".join([piece async for piece in stream])


async def test_bytes_come_while_the_handler_runs(world: Any) -> None:
    """The pieces can be read within 20 ms of their writing, long before the handler ends."""
    fv = world.function("slow", SLOW, runtime="raw")
    await whole(await start(world, fv))
    stream = await start(world, fv)
    delays, pieces = [], 0
    async for piece in stream:
        for part in piece.decode().rstrip(";").split(";"):
            delays.append(time.time() - float(part.split()[1]))
            pieces += 1
    assert pieces == 3
    assert median(delays) < 0.02
    assert stream.content_type == "text/plain"
    assert stream.result is not None and stream.result.function_error == ""
    assert "202\n" in await world.log()


async def test_a_buffered_answer_streams_too(world: Any) -> None:
    """A function that does not stream answers through a stream as well, whole."""
    fv = world.function("plain", "def handler(event, context):\n    return {'got': event}\n")
    stream = await start(world, fv, {"a": 1})
    assert json.loads(await whole(stream)) == {"got": {"a": 1}}
    assert stream.content_type == "application/json"
    assert stream.version == "$LATEST"


async def test_invoke_gets_a_streamed_response_whole(world: Any) -> None:
    """Invoke collects what a function streams, and refuses more than 6 MB of it."""
    fv = world.function("big", BIG, runtime="raw", timeout_s=20)
    assert (await world.invoke(fv, b'{"pieces": 2}')).payload == b"x" * 2_000_000
    over = await world.invoke(fv, b'{"pieces": 7}')
    assert over.function_error == "Unhandled"
    assert json.loads(over.payload)["errorType"] == "Function.ResponseSizeTooLarge"


async def test_a_stalled_reader_holds_only_its_own_function(make: Any) -> None:
    """While nobody reads one response, its function waits in its write, and another's response comes whole."""
    async with make(stream_rate_mib=0.0) as world:
        fv = world.function("big", BIG, runtime="raw", timeout_s=20)
        stalled = await start(world, fv, {"pieces": 20})
        tracemalloc.start()
        try:
            other = await start(world, fv, {"pieces": 5})
            assert len(await whole(other)) == 5_000_000
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 3_000_000
        assert stalled.result is None
        assert len(await whole(stalled)) == 20_000_000
        assert stalled.result is not None


async def test_a_client_that_leaves_does_not_stop_the_function(world: Any) -> None:
    """After the reader has gone, the function writes to its end and its runtime hears that all was taken."""
    fv = world.function("big", BIG, runtime="raw", timeout_s=20)
    stream = await start(world, fv, {"pieces": 5})
    reader = stream.__aiter__()
    await anext(reader)
    await reader.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(5):
        while stream.result is None:
            await asyncio.sleep(0.01)
    assert (await world.invoke(fv, b'{"pieces": 1}')).function_error == ""
    assert "202\n" in await world.log()


@pytest.mark.parametrize(
    ("how", "error_type"),
    [("trailers", "Oops"), ("exit", "Runtime.ExitError"), ("cut", "Runtime.TruncatedResponse")],
)
async def test_failures_in_the_middle(world: Any, how: str, error_type: str) -> None:
    """What was written before the failure arrives, and the result names the failure."""
    fv = world.function("fails", FAILS, runtime="raw")
    stream = await start(world, fv, {"how": how})
    assert await whole(stream) == b"half"
    assert stream.result is not None and stream.result.function_error == "Unhandled"
    assert json.loads(stream.result.payload)["errorType"] == error_type


@pytest.mark.slow
async def test_a_timeout_in_the_middle(world: Any) -> None:
    """A handler that stops writing is ended by its time-out, and the stream with it."""
    fv = world.function("fails", FAILS, runtime="raw", timeout_s=1)
    stream = await start(world, fv, {"how": "hang"}, log_tail=True)
    assert await whole(stream) == b"half"
    assert stream.result is not None
    assert json.loads(stream.result.payload)["errorType"] == "Sandbox.Timedout"
    assert b"Status: timeout" in stream.result.log_tail


async def test_invoke_of_a_stream_with_error_trailers(world: Any) -> None:
    """Collected whole, a response whose trailers name an error is a function error."""
    fv = world.function("fails", FAILS, runtime="raw")
    result = await world.invoke(fv, b'{"how": "trailers"}')
    assert result.function_error == "Unhandled"
    assert json.loads(result.payload) == {"errorType": "Oops", "errorMessage": "no"}


@pytest.mark.slow
async def test_more_than_a_response_may_be(make: Any) -> None:
    """At 200 MB the stream ends with an error, with flat memory, and the runtime is told 413."""
    async with make(stream_rate_mib=0.0) as world:
        fv = world.function("big", BIG, runtime="raw", timeout_s=30)
        stream = await start(world, fv, {"pieces": MAX_STREAMED // 1_000_000 + 2})
        size = 0
        tracemalloc.start()
        try:
            async for piece in stream:
                size += len(piece)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert MAX_STREAMED - 2_000_000 < size <= MAX_STREAMED
        assert peak < 8_000_000
        assert stream.result is not None
        assert json.loads(stream.result.payload)["errorType"] == "Function.ResponseSizeTooLarge"
        await asyncio.sleep(0.2)
        assert "413\n" in await world.log()


async def test_what_a_runtime_may_not_do_meanwhile(world: Any) -> None:
    """While a response streams nothing else is taken for its event, and the stream goes on."""
    fv = world.function("misuses", MISUSES, runtime="raw")
    stream = await start(world, fv)
    begun, _, said = (await whole(stream)).decode().partition(";")
    failed = "failed for runtime. Error: State transition is not allowed"
    assert begun == "begun"
    assert said.split("|") == [
        "400 Invalid function response mode",
        "400 Invalid request ID",
        f"403 State transition from InvocationResponse to InvocationErrorResponse {failed}",
        f"403 State transition from InvocationResponse to Ready {failed}",
        f"403 State transition from InvocationResponse to InvocationResponse {failed}",
    ]
    assert stream.result is not None and stream.result.function_error == ""


async def test_the_server_stops_in_the_middle(make: Any) -> None:
    """A stream that the server's stop cuts off raises 503 for its reader."""
    async with make() as world:
        stream = await start(world, world.function("fails", FAILS, runtime="raw", timeout_s=10), {"how": "hang"})
        reading = asyncio.create_task(whole(stream))
        await asyncio.sleep(0.01)
    with pytest.raises(ServiceError) as caught:
        await reading
    assert caught.value.status == 503


async def test_throttled_before_it_begins(world: Any) -> None:
    """Without concurrency there is no stream, but the error that Invoke has."""
    fv = world.function("slow", SLOW, runtime="raw", reserved_concurrency=0)
    with pytest.raises(ServiceError) as caught:
        await start(world, fv)
    assert caught.value.code == "TooManyRequestsException"


def test_the_bucket() -> None:
    """Six MiB pass at once, then as many bytes a second as the rate says; idle time fills it again."""
    bucket = Bucket(1_000_000, 0.0)
    assert bucket.take(BURST, 0.0) == 0
    assert bucket.take(500_000, 0.0) == pytest.approx(0.5)
    assert bucket.take(500_000, 1.0) == pytest.approx(0.0)
    assert bucket.take(BURST, 1000.0) == 0
    assert Bucket(0, 0.0).take(10 * BURST, 0.0) == 0


@pytest.mark.slow
async def test_the_rate_holds_the_function_back(make: Any) -> None:
    """After the burst a response takes as long as its rate says."""
    async with make(stream_rate_mib=4.0) as world:
        fv = world.function("big", BIG, runtime="raw", timeout_s=20)
        began = time.monotonic()
        assert len(await whole(await start(world, fv, {"pieces": 10}))) == 10_000_000
        assert time.monotonic() - began > (10_000_000 - BURST) / (4 << 20)
