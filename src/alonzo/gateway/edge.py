"""The HTTP server: uvicorn's connection handling behind a thin seam that knows only `Request` and `Response`.

Nothing above this module sees ASGI, so that the server can be exchanged where measurement asks for it.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from email.utils import formatdate
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from alonzo.core.errors import ServiceError
from alonzo.core.http import Headers, Request, Response
from alonzo.core.streams import BodyBroken, BodyTooLarge, FileBody

#: What one request may carry before its body. S3's metadata and a presigned URL's token fit well within.
MAX_HEADER_BYTES = 64 * 1024
MAX_URL_BYTES = 32 * 1024
MAX_HEADERS = 256
#: Bytes read from a file at once when a body is sent.
_FILE_CHUNK = 512 * 1024

Handle = Callable[[Request], Awaitable[Response]]


class _Joined:
    """A transport that sends the head of an answer together with the start of its body.

    uvicorn writes the two apart, which costs a second system call and wakes the client twice. A head that nothing
    follows in the same turn of the loop is sent by itself.
    """

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with bounds on what comes before the body: a client cannot fill memory with header fields."""

    _before_body = 0
    _fields = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Joined(transport, self.loop))  # type: ignore[arg-type]

    def on_message_begin(self) -> None:
        self._before_body = self._fields = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._before_body += len(url)
        if self._before_body > MAX_URL_BYTES:
            raise ValueError("the request's URL is too long")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._before_body += len(name) + len(value)
        self._fields += 1
        if self._before_body > MAX_HEADER_BYTES or self._fields > MAX_HEADERS:
            raise ValueError("the request's header is too large")
        super().on_header(name, value)


class _AsgiBody:
    """A request body as it arrives; the connection is paused while nobody reads."""

    __slots__ = ("_receive", "length")

    def __init__(self, receive: Callable[[], Awaitable[Any]], length: int | None) -> None:
        self._receive = receive
        self.length = length

    @property
    def trailers(self) -> Mapping[str, str]:
        return {}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ServiceError(
                    "IncompleteBody",
                    "The request body terminated unexpectedly",
                )
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return

    async def read(self, limit: int) -> bytes:
        if self.length is not None and self.length > limit:
            raise BodyTooLarge
        chunks: list[bytes] = []
        size = 0
        async for chunk in self:
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class _Date:
    """The Date header's value, written once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._value = b""

    def __call__(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second, self._value = second, formatdate(second, usegmt=True).encode()
        return self._value


class Edge:
    """Accepts connections on any number of listening sockets and answers with what `handle` returns."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._date = _Date()
        self._config = uvicorn.Config(
            self._app,
            http=_BoundedProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
        )
        self._config.load()
        self._state = ServerState()
        self._servers: set[asyncio.Server] = set()

    async def serve(self, listener: socket.socket) -> Callable[[], Awaitable[None]]:
        """Start accepting on a bound or listening socket; the returned function stops that and closes the socket."""
        factory = partial(_BoundedProtocol, config=self._config, server_state=self._state, app_state={})
        server = await asyncio.get_running_loop().create_server(factory, sock=listener, backlog=2048)
        self._servers.add(server)

        async def stop() -> None:
            self._servers.discard(server)
            server.close()

        return stop

    async def close(self, grace_s: float = 2.0) -> None:
        """Accept no more, let requests under way end for `grace_s` seconds, then close every connection."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(self._state.connections):
            connection.shutdown()
        deadline = time.monotonic() + grace_s
        while self._state.tasks and time.monotonic() < deadline:
            await asyncio.wait(set(self._state.tasks), timeout=0.05)
        for task in list(self._state.tasks):
            task.cancel()
        for connection in list(self._state.connections):
            connection.transport.abort()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        headers = Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]])
        length = headers.get("content-length")
        client = scope["client"]
        request = Request(
            scope["method"],
            scope["raw_path"].decode("latin-1"),
            scope["query_string"].decode("latin-1"),
            headers,
            _AsgiBody(receive, int(length) if length is not None and length.isdigit() else None),
            scope["scheme"],
            client[0] if client else "",
        )
        await self._send(send, request, await self._handle(request))

    async def _send(self, send: Any, request: Request, response: Response) -> None:
        headers = [(name.encode("latin-1"), _header_value(value)) for name, value in response.headers]
        headers.append((b"date", self._date()))
        body = response.body
        if not any(name.lower() == b"content-length" for name, _ in headers) and response.status not in (204, 304):
            if isinstance(body, bytes):
                headers.append((b"content-length", str(len(body)).encode()))
            elif isinstance(body, FileBody):
                headers.append((b"content-length", str(body.length).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if request.method == "HEAD" or response.status in (204, 304):
            await send({"type": "http.response.body", "body": b""})
        elif isinstance(body, bytes):
            await send({"type": "http.response.body", "body": body})
        elif isinstance(body, FileBody):
            await _send_file(send, body)
        else:
            await _send_pieces(send, body)


async def _send_pieces(send: Any, body: AsyncIterator[bytes]) -> None:
    """Send what comes as it comes. ASGI has no word for a client that has gone, nor for ending a connection in the
    middle of a response, so both go past it to uvicorn's own object."""
    cycle = send.__self__
    try:
        async for chunk in body:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if cycle.disconnected:
                return
    except BodyBroken:
        cycle.disconnected = True
        cycle.transport.close()
        return
    finally:
        if isinstance(body, AsyncGenerator):
            await body.aclose()  # whoever writes learns at once that nobody reads
    await send({"type": "http.response.body", "body": b""})


def _header_value(value: str) -> bytes:
    """As bytes; line breaks and control characters, which would split the header, become spaces."""
    cleaned = value if value.isprintable() else "".join(c if c.isprintable() or c == "\t" else " " for c in value)
    try:
        return cleaned.encode("latin-1")
    except UnicodeEncodeError:
        return cleaned.encode()


async def _send_file(send: Any, body: FileBody) -> None:
    loop = asyncio.get_running_loop()
    file = await loop.run_in_executor(None, partial(open, body.path, "rb", buffering=0))
    try:
        remaining = body.length
        await loop.run_in_executor(None, file.seek, body.offset)
        while remaining > 0:
            chunk = await loop.run_in_executor(None, file.read, min(_FILE_CHUNK, remaining))
            if not chunk:
                raise OSError(f"{body.path} is shorter than its row says")
            remaining -= len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": remaining > 0})
        if body.length == 0:
            await send({"type": "http.response.body", "body": b""})
    finally:
        file.close()
