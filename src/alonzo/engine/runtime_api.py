"""The Runtime API (2018-06-01): HTTP between a runtime process and the server, on the environment's own socket.

Written on httptools and asyncio's Protocol because it lies on the path of every invocation: one parse and one write per
message, no task. The process at the other end is hostile: sizes, connections and unread answers are bounded.
Source: execution-environment contract §1; https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import socket
from collections.abc import Callable
from typing import Any, cast

import httptools

from alonzo.engine.runtime_forms import POST, Forms, end_of_response, may_wait, split_response
from alonzo.engine.runtime_messages import (
    ACCEPTED,
    CONTINUE,
    EVENT,
    HEADERS_TOO_LARGE,
    NOT_FOUND,
    PONG,
    STREAM_TOO_LARGE,
    TOO_LARGE,
    WRONG_ID,
    WRONG_METHOD,
    WRONG_MODE,
    forbidden,
)
from alonzo.engine.runtime_state import MAX_RESPONSE, RequestIdError, RuntimeState, State, TransitionError
from alonzo.engine.streaming import ResponseStream

_MAX_CONNECTIONS = 64
_MAX_URL = 8_192
#: AWS's clients send an X-Ray cause of up to 1 MB in a header.
_MAX_HEADERS = 1_500_000
#: Up to this size they are not worth counting.
_SMALL_HEADERS = 16_384
#: Bytes of unfinished requests held for one environment: a response being sent, and one sent again.
_MAX_HELD = 2 * MAX_RESPONSE + 2 * _MAX_HEADERS
_MODE = b"lambda-runtime-function-response-mode"
_MODE_LENGTH = len(_MODE)
_PREFIX = b"/2018-06-01/runtime/"
_INVOCATION = b"/2018-06-01/runtime/invocation/"
#: Up to this size an answer is put behind one that is still owed; what is larger is written by itself.
_JOINED = 1 << 16
Beside = Callable[[bytes, bytes, Callable[[bytes], bytes], bytes, Callable[[bytes], None]], bool]


class _Connection(asyncio.Protocol):
    """One connection of a runtime. Requests come one after another; a pipelined one ends the connection."""

    __slots__ = (
        "_answered",
        "_between",
        "_body",
        "_expects",
        "_header_size",
        "_headers",
        "_held",
        "_keep_alive",
        "_offers",
        "_owed",
        "_parser",
        "_server",
        "_size",
        "_state",
        "_stream",
        "_stream_full",
        "_stream_held",
        "_streams",
        "_transport",
        "_url",
        "_waiting",
    )

    def __init__(self, server: RuntimeApi) -> None:
        self._server = server
        self._state = server.state
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._waiting = False
        self._answered = False
        #: Nothing of a request has come since the last one ended.
        self._between = True
        self._keep_alive = True
        self._expects = False
        self._held = 0
        #: Goes before the next answer.
        self._owed = b""
        #: The first event says that answers to responses may come later.
        self._offers = server.offers
        self._parser: Any = None
        #: Where the body under way goes piece by piece; None where it is collected.
        self._stream: ResponseStream | None = None
        self._stream_full = False
        self._stream_held = False
        self._streams = False

    # -- the transport's side -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._server.admit(self):
            self._transport.abort()
            return
        self._parser = httptools.HttpRequestParser(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._let_go()
        if self._waiting:
            self._state.forget(self.deliver)
            self._server.forget(self.deliver)
        if self._stream is not None:
            self._stream = None
            self._state.stream_broken()
        self._parser = None

    def data_received(self, data: bytes) -> None:
        self._answered = False
        if self._parser is None:
            return
        if not self._between or self._waiting:
            self._parse(data)
        elif not self._known(data):
            end = end_of_response(data)
            self._parse(data[:end])
            if len(data) > end and self._parser is not None:
                if self._owed:
                    self.data_received(data[end:])
                else:
                    self._parse(data[end:])

    def _parse(self, data: bytes) -> None:
        whole = self._between
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()
            return
        if whole and self._between and self._keep_alive:
            self._server.forms.learn(data, self._parser.get_method(), self._url, self._headers, self._size)

    def _known(self, data: bytes) -> bool:
        """Take a whole request of a form that the parser has read before: a runtime's differ in id and body only."""
        forms = self._server.forms
        if data in forms.nexts:
            self._keep_alive = True
            self.next()
            return True
        if not data.startswith(POST):
            return False
        start = data.find(b"\r\n\r\n") + 4
        split = split_response(data, start - 4)
        if split is None:
            return False
        request_id, form, length = split
        later = forms.responses.get(form)
        if later is None or length > MAX_RESPONSE:
            return False
        end = start + length
        if len(data) != end and not (later and data[end:] in forms.nexts):
            return False
        self._keep_alive = True
        try:
            self._state.begin_response(request_id)
        except RequestIdError:
            self._write(WRONG_ID)
        except TransitionError as error:
            self._forbid(error)
        else:
            if later:
                self._owed = ACCEPTED
            else:
                self._write(ACCEPTED)
            self._state.end_response(data[start:end])
        if len(data) != end:
            self.next()
        return True

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        # An answer is not read: take no further request until it is, or unread events pile up in memory.
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        if not self._transport.is_closing() and not self._stream_held:
            self._transport.resume_reading()

    def pause_stream(self) -> None:
        """The client reads slower than the runtime writes (streaming.Flow)."""
        self._stream_held = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_stream(self) -> None:
        self._stream_held = False
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        self._transport.abort()

    # -- the parser's side --------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._waiting or self._answered:
            self._transport.abort()  # pipelined: no runtime client does that
            raise httptools.HttpParserError("pipelined request")
        if self._held:
            self._let_go()
        self._between = False
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_size = 0
        self._body: list[bytes] = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > _MAX_URL:
            self._refuse(HEADERS_TOO_LARGE)

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        headers.append((name, value))
        length = len(name)
        self._header_size += length + len(value) + 4
        if self._header_size > _SMALL_HEADERS or len(headers) > 128:
            self._check_headers(length + len(value))
        if length == 6 and name.lower() == b"expect" and value.lower() == b"100-continue":
            self._expects = True
        elif length == _MODE_LENGTH and name.lower() == _MODE:
            self._streams = value.lower() == b"streaming"

    def _check_headers(self, more: int) -> None:
        if self._header_size > _MAX_HEADERS or len(self._headers) > 128:
            self._refuse(HEADERS_TOO_LARGE)
        self._hold(more)

    def on_headers_complete(self) -> None:
        if self._expects:
            self._expects = False
            self._write(CONTINUE)
        if self._streams:
            self._streams = False
            self._begin_stream()

    def on_body(self, body: bytes) -> None:
        if self._stream is not None:
            if not self._stream_full and not self._stream.feed(body):
                self._stream_full = True
                self._state.stream_too_large()
            return
        # What is over the limit is read and forgotten: closing early would lose the 413 that the client should see.
        self._size += len(body)
        if self._size <= MAX_RESPONSE:
            self._hold(len(body))
            self._body.append(body)
        elif self._body:
            self._body = []
            self._let_go()

    def on_message_complete(self) -> None:
        self._between = True
        self._keep_alive = self._parser.should_keep_alive()
        if self._stream is not None:
            self._end_stream()
            return
        method = self._parser.get_method()
        url = self._url
        fixed = _ROUTES.get(url)
        if fixed is not None:
            wanted, handle = fixed
            if method == wanted:
                handle(self)
            else:
                self._answer(WRONG_METHOD)
            return
        if url.startswith(_INVOCATION):
            request_id, _, action = url[len(_INVOCATION) :].partition(b"/")
            found = _INVOCATION_ROUTES.get(action)
            if found is not None:
                if method == b"POST":
                    found(self, request_id.decode("latin-1"))
                else:
                    self._answer(WRONG_METHOD)
                return
        if self._beside(method, url):
            return
        self._answer(NOT_FOUND)

    def _beside(self, method: bytes, url: bytes) -> bool:
        """What extensions ask; the answer may come later."""
        serve = self._server.beside
        if serve is None:
            return False
        self._waiting = True
        if not serve(method, url, self._header, self._take_body(), self.deliver):
            self._waiting = False
            return False
        return True

    def _hold(self, size: int) -> None:
        """Count what is kept of an unfinished request; too much on all connections together ends this one."""
        self._held += size
        self._server.held += size
        if self._server.held > _MAX_HELD:
            self._transport.abort()
            raise httptools.HttpParserError("too much at once")

    def _let_go(self) -> None:
        self._server.held -= self._held
        self._held = 0

    def _refuse(self, message: bytes) -> None:
        self._write(message)
        self._transport.close()
        raise httptools.HttpParserError("refused")

    def _header(self, wanted: bytes) -> bytes:
        length = len(wanted)
        for name, value in self._headers:
            if len(name) == length and name.lower() == wanted:
                return value
        return b""

    def _take_body(self) -> bytes:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        self._let_go()
        return body

    def _write(self, message: bytes) -> None:
        owed = self._owed
        if owed:
            self._owed = b""
            if len(message) <= _JOINED:
                message = owed + message
            else:
                self._transport.write(owed)
        self._transport.write(message)

    def _answer(self, message: bytes) -> None:
        self._answered = True
        self._write(message)
        if not self._keep_alive:
            self._transport.close()

    def _forbid(self, error: TransitionError) -> None:
        self._answer(forbidden(error))

    # -- the routes ---------------------------------------------------------------------------------------------------

    def ping(self) -> None:
        self._answer(PONG)

    def next(self) -> None:
        self._waiting = True
        try:
            self._state.next(self.deliver)
        except TransitionError as error:
            self._waiting = False
            self._forbid(error)

    def deliver(self, message: bytes) -> None:
        """The response to `next`, or what an extension waits for."""
        self._waiting = False
        if self._offers and message.startswith(EVENT):
            self._offers = False
            message = EVENT + self._offer() + message[len(EVENT) :]
        if self._owed and self._keep_alive and len(message) <= _JOINED:
            # As `_answer` does, and on the path of every invocation.
            self._answered, message, self._owed = True, self._owed + message, b""
            self._transport.write(message)
        else:
            self._answer(message)

    def _offer(self) -> bytes:
        """The header field that names this connection by its two ends. A runtime that finds its own connection in it
        speaks to us, and through nobody who waits for answers himself."""
        names = [self._transport.get_extra_info(name) for name in ("sockname", "peername")]
        if not all(isinstance(name, tuple) for name in names):
            return b""
        return b"Alonzo-Connection: %s\r\n" % " ".join(f"{name[0]}:{name[1]}" for name in names).encode()

    def response(self, request_id: str) -> None:
        state = self._state
        try:
            state.check(request_id, State.RESPONSE)
            mode = self._header(_MODE)
            if mode and mode.lower() != b"streaming":
                self._answer(WRONG_MODE)
            elif self._size > MAX_RESPONSE:
                # The answer goes first: the environment may be free for another event within the call.
                self._answer(TOO_LARGE)
                state.response_too_large(request_id)
            elif mode and self._error_type():
                self._answer(ACCEPTED)
                state.response_failed(request_id, self._error_type(), self._error_body())
            else:
                if may_wait(self._headers):
                    self._owed = ACCEPTED
                else:
                    self._answer(ACCEPTED)
                state.response(request_id, self._take_body())
        except RequestIdError:
            self._answer(WRONG_ID)
        except TransitionError as error:
            self._forbid(error)

    def error(self, request_id: str) -> None:
        try:
            self._state.check(request_id, State.ERROR_RESPONSE)
        except RequestIdError:
            self._answer(WRONG_ID)
        except TransitionError as error:
            self._forbid(error)
        else:
            if self._size > MAX_RESPONSE:
                self._answer(TOO_LARGE)
                self._state.response_too_large(request_id)
                return
            self._answer(ACCEPTED)
            self._state.error(request_id, self._error_type(), self._take_body())

    def init_error(self) -> None:
        if self._size > MAX_RESPONSE:
            self._answer(TOO_LARGE)
            return
        try:
            self._state.init_error(self._error_type(), self._take_body())
        except TransitionError as error:
            self._forbid(error)
        else:
            self._answer(ACCEPTED)

    def _begin_stream(self) -> None:
        """A streamed response goes on while it comes. Where it may not come now, its end is answered with why."""
        request_id, _, action = self._url[len(_INVOCATION) :].partition(b"/")
        if not self._url.startswith(_INVOCATION) or action != b"response" or self._parser.get_method() != b"POST":
            return
        content_type = self._header(b"content-type").decode("latin-1") or "application/octet-stream"
        self._stream_full = False
        try:
            self._stream = self._state.stream(request_id.decode("latin-1"), content_type, self)
        except (RequestIdError, TransitionError):
            self._stream = None

    def _end_stream(self) -> None:
        self._stream = None
        self._let_go()
        if self._stream_full:
            self._answer(STREAM_TOO_LARGE)
            self._state.streamed()
        else:
            self._answer(ACCEPTED)
            self._state.streamed(self._error_type(), self._error_body())

    def _error_body(self) -> bytes:
        """The error document of the trailers."""
        encoded = self._header(b"lambda-runtime-function-error-body")
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return encoded

    def _error_type(self) -> str:
        return self._header(b"lambda-runtime-function-error-type").decode("latin-1")


#: The runtime's part of the API; extensions and telemetry are `RuntimeApi.beside`.
_ROUTES: dict[bytes, tuple[bytes, Callable[[_Connection], None]]] = {
    b"/2018-06-01/ping": (b"GET", _Connection.ping),
    _INVOCATION + b"next": (b"GET", _Connection.next),
    _PREFIX + b"init/error": (b"POST", _Connection.init_error),
}
_INVOCATION_ROUTES: dict[bytes, Callable[[_Connection, str], None]] = {
    b"response": _Connection.response,
    b"error": _Connection.error,
}


class RuntimeApi:
    """The Runtime API of one environment: accepts on its socket until closed."""

    def __init__(self, state: RuntimeState, *, offers: bool = False) -> None:
        """`offers`: the runtime may be ours, and is told that it need not wait for answers to responses."""
        self.state = state
        self.offers = offers
        self.connections: set[_Connection] = set()
        self.forms = Forms()
        #: Bytes of unfinished requests.
        self.held = 0
        #: Answers requests beside the runtime's own (company.Company.serve), and forgets who waits for one.
        self.beside: Beside | None = None
        self.forget: Callable[[Callable[[bytes], None]], None] = lambda waiter: None
        self._servers: list[asyncio.AbstractServer] = []

    async def serve(self, listener: socket.socket) -> None:
        """Start accepting; the socket is this server's from now on. May be called again with another."""
        loop = asyncio.get_running_loop()
        self._servers.append(
            await loop.create_server(lambda: _Connection(self), sock=listener, backlog=_MAX_CONNECTIONS)
        )

    def admit(self, connection: _Connection) -> bool:
        """Whether one more connection is allowed."""
        if not self._servers or len(self.connections) >= _MAX_CONNECTIONS:
            return False
        self.connections.add(connection)
        return True

    def close(self) -> None:
        """Stop accepting and drop every connection."""
        for server in self._servers:
            server.close()
        self._servers = []
        for connection in tuple(self.connections):
            connection.close()
