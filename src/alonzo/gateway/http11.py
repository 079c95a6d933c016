"""HTTP/1.1 connections on httptools: one request at a time to `handle`, bodies streamed both ways with back-pressure.

httptools (Node's parser) decides what a request is; this module bounds it, hands it over and writes the answer, head
and body in one piece where it can. Everything a client can hold open has a limit: what comes before a body, what waits
unread, what is pipelined, and how long nothing may happen.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from email.utils import formatdate
from http import HTTPStatus
from io import FileIO
from typing import Any, Protocol, cast

import httptools

from alonzo.core.http import Headers, Request, Response
from alonzo.core.streams import BodyBroken, FileBody
from alonzo.gateway.plain_head import HeadReader, PlainHead
from alonzo.gateway.request_body import ArrivingBody, WholeBody

log = logging.getLogger("alonzo.gateway")

#: What one request may carry before its body. S3's metadata and a presigned URL's token fit well within.
MAX_HEADER_BYTES = 64 * 1024
MAX_URL_BYTES = 32 * 1024
MAX_HEADERS = 256
#: Requests that may wait on one connection behind the one under way.
MAX_PIPELINED = 16
#: How long a connection that ends is still read from after an early answer.
_LINGER_S = 2.0
#: Bytes read from a file at once when a body is sent.
_FILE_CHUNK = 512 * 1024
#: Bodies up to this size are joined with their head.
_JOINED = 64 * 1024
#: Seconds in which nothing happens: between requests or within a head; within a body; while the client does not read.
_IDLE_S, _STALLED_UPLOAD_S, _STALLED_READER_S = 75.0, 120.0, 600.0
_SWEEP_S = 5.0
_NO_BODY = (204, 304)

Handle = Callable[[Request], Awaitable[Response]]


class Reply(Protocol):
    """Takes the answer to one request, once."""

    def reply(self, response: Response) -> None: ...

    def reply_lines(self, status: int, lines: str, body: bytes) -> None:
        """`lines` are the header fields without Date, Content-Length and Connection, each with its line end."""


#: What can be answered without a task of its own: `reply` is told the answer, now or later. False: `Handle` does it.
Prompt = Callable[[PlainHead, str, Reply], bool]

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n" for s in HTTPStatus}
_BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 30\r\nconnection: close\r\n\r\n"
    b"This is no request of HTTP/1.1"
)


class _Date:
    """The Date header's value, written once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._value = ""

    def __call__(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second, self._value = second, formatdate(second, usegmt=True)
        return self._value


class _Refused(Exception):
    """The request breaks one of the bounds above."""


class _Exchange:
    """One request and whether its connection outlives it."""

    __slots__ = ("body", "keep_alive", "old", "request")

    def __init__(self, request: Request, body: ArrivingBody | WholeBody, keep_alive: bool, old: bool) -> None:
        self.request = request
        self.body = body
        self.keep_alive = keep_alive
        self.old = old  # HTTP/1.0 knows no chunks


#: Stands for whatever is answered promptly; nothing of it but its method is asked for.
_PROMPTED = Request("POST", "/", "", Headers())
_NOTHING = WholeBody(b"")


class Connections:
    """What the connections of an edge share; `tasks` are the requests under way."""

    def __init__(self, handle: Handle, prompt: Prompt | None = None) -> None:
        self.handle = handle
        self.prompt = prompt
        self.reader = HeadReader()
        self.date = _Date()
        self.open: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.closing = False
        self._sweeper: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to end connections on which nothing happens; idempotent."""
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self.open):
            if now - connection.active > connection.patience():
                connection.transport.abort()
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep)

    def stop(self) -> None:
        self.closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()


class Connection(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        "_before_body",
        "_between",
        "_current",
        "_drained",
        "_expects",
        "_headers",
        "_parser",
        "_prompted",
        "_receiving",
        "_shared",
        "_url",
        "_waiting",
        "active",
        "client",
        "loop",
        "lost",
        "transport",
    )

    def __init__(self, shared: Connections) -> None:
        self._shared = shared
        self.transport = cast(asyncio.Transport, None)
        self._parser: Any = httptools.HttpRequestParser(self)
        self._current: _Exchange | None = None
        self._receiving: ArrivingBody | None = None
        self._waiting: deque[_Exchange] = deque()
        self._drained: asyncio.Future[None] | None = None
        #: The parser is in the middle of nothing.
        self._between = True
        #: Every request that is answered promptly: of them there is one at a time.
        self._prompted = _Exchange(_PROMPTED, _NOTHING, True, False)
        self.lost = False

    # -- the transport's side -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.loop = asyncio.get_running_loop()
        self.active = self.loop.time()
        address = transport.get_extra_info("peername")
        self.client = address[0] if isinstance(address, tuple) else ""
        self._shared.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._shared.open.discard(self)
        self._parser = None
        self._waiting.clear()
        if self._receiving is not None:
            self._receiving.finish(broken=True)
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        self.active = self.loop.time()
        if self._parser is None:
            return
        if self._current is None and self._between:
            whole = self._shared.reader.read(data)
            if whole is not None:
                self._take(whole)
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as any other request; its connection ends with it (on_headers_complete)
        except httptools.HttpParserError:
            self._parser = None
            if self._receiving is not None:
                self._receiving.finish(broken=True)
            if self._current is None:
                self.transport.write(_BAD_REQUEST)
            self.transport.close()

    def pause_writing(self) -> None:
        self._drained = self.loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def patience(self) -> float:
        """How long nothing may happen now, in seconds."""
        if self._current is None:
            return _IDLE_S
        if self._drained is not None:
            return _STALLED_READER_S
        return _STALLED_UPLOAD_S if self._current.body.awaited else float("inf")

    @property
    def busy(self) -> bool:
        """A request has not been answered yet."""
        return self._current is not None

    def end(self) -> None:
        """The server stops: close now, or after the answer under way."""
        if self._current is None:
            self.transport.close()
        else:
            self._current.keep_alive = False
            self._waiting.clear()

    # -- the parser's side --------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._between = False
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._before_body = 0
        self._expects = False

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._before_body += len(url)
        if self._before_body > MAX_URL_BYTES:
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        self._before_body += len(name) + len(value)
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))
        if self._before_body > MAX_HEADER_BYTES or len(self._headers) > MAX_HEADERS:
            raise _Refused

    def on_headers_complete(self) -> None:
        headers = Headers.lowered(self._headers)
        length = headers.get("content-length")
        parser = self._parser
        body = ArrivingBody(
            self,
            int(length) if length is not None and length.isdigit() else None,
            (headers.get("expect") or "").lower() == "100-continue",
        )
        path, _, query = self._url.decode("latin-1").partition("?")
        if not path.startswith("/"):
            path = _path_of(path)
        request = Request(parser.get_method().decode("latin-1"), path, query, headers, body, "http", self.client)
        exchange = _Exchange(
            request, body, parser.should_keep_alive() and "upgrade" not in headers, parser.get_http_version() == "1.0"
        )
        self._receiving = body
        if self._current is None:
            self._begin(exchange)
        elif len(self._waiting) < MAX_PIPELINED:
            self._waiting.append(exchange)
        else:
            raise _Refused

    def on_body(self, body: bytes) -> None:
        if self._receiving is not None:
            self._receiving.feed(body)

    def on_message_complete(self) -> None:
        self._between = True
        if self._receiving is not None:
            self._receiving.finish()
            self._receiving = None

    # -- requests and answers -----------------------------------------------------------------------------------------

    def _take(self, whole: PlainHead) -> None:
        """A request that came by itself, in one piece."""
        shared = self._shared
        if shared.prompt is not None:
            exchange = self._prompted
            exchange.keep_alive = True
            self._current = exchange
            if shared.prompt(whole, self.client, self):
                return
            self._current = None
        path, _, query = whole.target.partition("?")
        headers = Headers.lowered(whole.items)
        body = WholeBody(whole.body)
        request = Request(whole.method, path, query, headers, body, "http", self.client)
        self._begin(_Exchange(request, body, True, False))

    def reply_lines(self, status: int, lines: str, body: bytes) -> None:
        exchange = self._current
        if exchange is None or self.lost:
            self._current = None
            return
        end = "\r\n" if exchange.keep_alive else "connection: close\r\n\r\n"
        start = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"
        head = f"{start}date: {self._shared.date()}\r\n{lines}content-length: {len(body)}\r\n{end}".encode("latin-1")
        if len(body) <= _JOINED:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        if self._drained is None:
            self._finished(exchange)
        else:
            self._drained.add_done_callback(lambda _: self._finished(exchange))

    def reply(self, response: Response) -> None:
        exchange = self._current
        if exchange is not None:
            self._start(self._run_reply(exchange, response))

    async def _run_reply(self, exchange: _Exchange, response: Response) -> None:
        if not self.lost:
            await self._respond(exchange, response)
        self._finished(exchange)

    def _begin(self, exchange: _Exchange) -> None:
        self._current = exchange
        self._start(self._run(exchange))

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(coroutine)
        self._shared.tasks.add(task)
        task.add_done_callback(self._shared.tasks.discard)

    async def _run(self, exchange: _Exchange) -> None:
        try:
            response = await self._shared.handle(exchange.request)
            if not self.lost:
                await self._respond(exchange, response)
            elif isinstance(response.body, AsyncGenerator):
                await response.body.aclose()
        except asyncio.CancelledError:
            self.transport.abort()
            raise
        except Exception:
            log.exception("an answer could not be sent")
            exchange.keep_alive = False
        self._finished(exchange)

    def _finished(self, exchange: _Exchange) -> None:
        self._current = None
        self.active = self.loop.time()
        if self.lost:
            return
        if not exchange.keep_alive or self._shared.closing:
            if exchange.body.complete or exchange.body.unasked or self._shared.closing:
                self.transport.close()
            else:
                self._linger()
            return
        if not exchange.body.complete:
            exchange.body.discard()
        if self._waiting:
            self._begin(self._waiting.popleft())

    def _linger(self) -> None:
        """Answered before the body was read, and the connection ends: closed now, a reset could overtake the answer."""
        self._parser = None  # what still comes is thrown away
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)

    async def _respond(self, exchange: _Exchange, response: Response) -> None:
        status, body = response.status, response.body
        lines = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n", "date: ", self._shared.date(), "\r\n"]
        sized = status in _NO_BODY
        for name, value in response.headers:
            lowered = name.lower()
            sized = sized or lowered == "content-length"
            if lowered == "connection" and value.lower() == "close":
                exchange.keep_alive = False
            lines += (name, ": ", value if value.isprintable() else _one_line(value), "\r\n")
        if exchange.body.unasked:
            exchange.keep_alive = False
        silent = status in _NO_BODY or exchange.request.method == "HEAD"
        chunked = False
        if not sized:
            if isinstance(body, bytes):
                lines += ("content-length: ", str(len(body)), "\r\n")
            elif isinstance(body, FileBody):
                lines += ("content-length: ", str(body.length), "\r\n")
            elif exchange.old:
                exchange.keep_alive = False
            else:
                chunked = not silent
                lines.append("transfer-encoding: chunked\r\n")
        if not exchange.keep_alive:
            lines.append("connection: close\r\n")
        lines.append("\r\n")
        head = _encoded("".join(lines))
        if isinstance(body, bytes):
            await self._send_bytes(head, b"" if silent else body)
            return
        self.transport.write(head)
        if isinstance(body, FileBody):
            if not silent:
                await self._send_file(body)
        else:
            await self._send_pieces(body, chunked=chunked, silent=silent)

    async def _send_bytes(self, head: bytes, body: bytes) -> None:
        if len(body) <= _JOINED:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)
        if self._drained is not None:
            await self._drained

    async def _send_file(self, body: FileBody) -> None:
        run = self.loop.run_in_executor
        file = await run(None, FileIO, str(body.path))
        try:
            remaining = body.length
            await run(None, file.seek, body.offset)
            while remaining > 0 and not self.lost:
                chunk = await run(None, file.read, min(_FILE_CHUNK, remaining))
                if not chunk:
                    raise OSError(f"{body.path} is shorter than its row says")
                remaining -= len(chunk)
                await self._write(chunk)
        finally:
            file.close()

    async def _send_pieces(self, body: AsyncIterator[bytes], *, chunked: bool, silent: bool) -> None:
        try:
            async for chunk in body:
                if chunk and not silent:
                    size = f"{len(chunk):x}\r\n".encode()
                    await self._write(b"".join((size, chunk, b"\r\n")) if chunked else chunk)
                if self.lost:
                    return
        except BodyBroken:
            self.transport.close()  # without the last chunk: the client sees that something is missing
            return
        finally:
            if isinstance(body, AsyncGenerator):
                await body.aclose()  # whoever writes learns at once that nobody reads
        if chunked and not self.transport.is_closing():
            self.transport.write(b"0\r\n\r\n")

    async def _write(self, data: bytes) -> None:
        self.transport.write(data)
        if self._drained is not None:
            await self._drained
        self.active = self.loop.time()


def _path_of(target: str) -> str:
    """The path of a request target in absolute form (`GET http://host/path`), as proxies send it."""
    _, separator, rest = target.partition("://")
    return "/" + rest.partition("/")[2] if separator else target


def _one_line(value: str) -> str:
    """Control characters, which would split the head, become spaces."""
    return "".join(c if c.isprintable() or c == "\t" else " " for c in value)


def _encoded(head: str) -> bytes:
    try:
        return head.encode("latin-1")
    except UnicodeEncodeError:
        return head.encode()
