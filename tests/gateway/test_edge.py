"""The edge: bodies both ways, bounds before the body, answers in one piece."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from alonzo.core.http import Request, Response
from alonzo.core.streams import FileBody
from alonzo.gateway.edge import MAX_HEADER_BYTES, Edge


@pytest.fixture
async def serve():
    """Serve a handler on a free port; gives a function that opens connections to it."""
    edges = []

    async def start(handle):
        edge = Edge(handle)
        listener = socket.create_server(("127.0.0.1", 0))
        await edge.serve(listener)
        edges.append(edge)
        return await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])

    yield start
    for edge in edges:
        await edge.close(0.1)


async def answer(reader) -> tuple[bytes, bytes]:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = next(int(x.split(b":")[1]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length"))
    return head, await reader.readexactly(length)


async def test_request_is_handed_over_as_it_came(serve):
    """Path, query, repeated header fields and body reach the handler untouched."""
    seen: list[Request] = []

    async def handle(request):
        seen.append(request)
        return Response(200, [], await request.body.read(100))

    reader, writer = await serve(handle)
    writer.write(b"PUT /a%20b/%E4?x=1&y=%2F HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 5\r\n\r\nhello")
    assert (await answer(reader))[1] == b"hello"
    assert (seen[0].method, seen[0].path, seen[0].query) == ("PUT", "/a%20b/%E4", "x=1&y=%2F")
    assert seen[0].headers.get_all("x-a") == ["1", "2"]
    writer.close()


async def test_expect_continue(serve):
    """A client that waits for 100 Continue gets it when the handler reads."""

    async def handle(request):
        return Response(200, [], await request.body.read(100))

    reader, writer = await serve(handle)
    writer.write(b"PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert b"100 Continue" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    writer.write(b"ok")
    assert (await answer(reader))[1] == b"ok"
    writer.close()


async def test_file_and_iterator_bodies(serve, tmp_path):
    """A range of a file is sent with its length, an iterator in chunks."""
    file = tmp_path / "body"
    content = os.urandom(1_300_000)
    file.write_bytes(content)

    async def pieces():
        yield b"one"
        yield b"two"

    async def handle(request):
        if request.path == "/file":
            return Response(206, [], FileBody(file, 100, 1_200_000))
        return Response(200, [], pieces())

    reader, writer = await serve(handle)
    writer.write(b"GET /file HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (await answer(reader))[1] == content[100:1_200_100]
    writer.write(b"GET /pieces HTTP/1.1\r\nHost: h\r\n\r\n")
    text = await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 5)
    assert b"3\r\none\r\n3\r\ntwo\r\n" in text
    writer.close()


async def test_control_characters_cannot_split_the_head(serve):
    """A header value with line breaks arrives as one line."""

    async def handle(_request):
        return Response(200, [("x-amz-meta-a", "1\r\nSet-Cookie: evil=1"), ("x-umlaut", "ü")], b"")

    reader, writer = await serve(handle)
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    head, _ = await answer(reader)
    assert b"x-amz-meta-a: 1  Set-Cookie: evil=1\r\n" in head
    writer.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\n" + b"X-A: " + b"a" * (MAX_HEADER_BYTES + 10) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(2000)) + b"\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n",
        b"no http at all\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_hostile_heads_are_refused(serve, request_bytes):
    """Heads that are too large, or no HTTP, are answered with 400 and the connection is closed."""

    async def handle(_request):
        return Response(200, [], b"reached")

    reader, writer = await serve(handle)
    writer.write(request_bytes)
    got = await asyncio.wait_for(reader.read(), 5)
    assert got.startswith(b"HTTP/1.1 400") or got == b""
    assert b"reached" not in got
    writer.close()


async def test_reading_stops_while_nobody_reads(serve):
    """A client that sends a large body nobody reads is held back instead of filling memory."""
    release = asyncio.Event()

    async def handle(_request):
        await release.wait()
        return Response(200, [], b"done")

    _, writer = await serve(handle)
    writer.write(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 500000000\r\n\r\n")
    sent = 0
    while sent < 200_000_000:
        writer.write(b"x" * 1_000_000)
        sent += 1_000_000
        try:
            await asyncio.wait_for(writer.drain(), 0.2)
        except TimeoutError:
            break
    assert sent < 50_000_000
    release.set()
    writer.transport.abort()


async def test_pipelined_requests_are_answered_in_order(serve):
    """Requests that come before the last one is answered are answered one after another, in their order."""

    async def handle(request):
        await asyncio.sleep(0.01 if request.path == "/0" else 0)
        return Response(200, [], request.path.encode())

    reader, writer = await serve(handle)
    writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(8)))
    assert [(await answer(reader))[1] for _ in range(8)] == [b"/%d" % n for n in range(8)]
    writer.close()


async def test_a_body_nobody_reads_does_not_spoil_the_next_request(serve):
    """An answer that comes before the body has arrived leaves the connection fit for the next request."""

    async def handle(request):
        return Response(403 if request.method == "PUT" else 200, [], request.path.encode())

    reader, writer = await serve(handle)
    writer.write(b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n" + b"GET /evil HTTP/1.1\r\n\r\n" * 5)
    assert (await answer(reader))[1] == b"/a"
    writer.write(b"x" * (3_000_000 - 5 * 22))
    await writer.drain()
    writer.write(b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (await answer(reader))[1] == b"/b"
    writer.close()


async def test_unasked_body_ends_the_connection(serve):
    """A client that waited for a 100 in vain gets its answer, and the connection ends with it."""

    async def handle(_request):
        return Response(403, [], b"no")

    reader, writer = await serve(handle)
    writer.write(b"PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
    head, body = await answer(reader)
    assert body == b"no" and b"connection: close" in head.lower()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_chunked_bodies_and_old_clients(serve):
    """A chunked request body is put together; an HTTP/1.0 client gets no chunks and a closed connection."""

    async def pieces():
        yield b"one"
        yield b"two"

    async def handle(request):
        if request.method == "POST":
            return Response(200, [], await request.body.read(100))
        return Response(200, [], pieces())

    reader, writer = await serve(handle)
    writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert (await answer(reader))[1] == b"abcde"
    writer.write(b"GET / HTTP/1.0\r\nHost: h\r\n\r\n")
    everything = await asyncio.wait_for(reader.read(), 5)
    assert everything.endswith(b"\r\n\r\nonetwo") and b"chunked" not in everything
    writer.close()


async def test_a_client_that_leaves_breaks_the_body(serve):
    """Whoever reads the body of a client that has gone gets IncompleteBody instead of waiting for ever."""
    seen = asyncio.get_running_loop().create_future()

    async def handle(request):
        try:
            await request.body.read(1000)
        except Exception as error:
            seen.set_result(error)
            raise
        return Response(200, [], b"")

    _, writer = await serve(handle)
    writer.write(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc")
    await writer.drain()
    await asyncio.sleep(0.02)
    writer.transport.abort()
    assert getattr(await asyncio.wait_for(seen, 5), "code", "") == "IncompleteBody"


async def test_a_failing_handler_ends_the_connection(serve, caplog):
    """An answer that cannot be made closes the connection; the next client is served."""

    async def handle(request):
        if request.path == "/bad":
            raise RuntimeError("bug")
        return Response(200, [], b"fine")

    reader, writer = await serve(handle)
    writer.write(b"GET /bad HTTP/1.1\r\nHost: h\r\n\r\n")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    reader, writer = await serve(handle)
    writer.write(b"GET /good HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (await answer(reader))[1] == b"fine"
    writer.close()
