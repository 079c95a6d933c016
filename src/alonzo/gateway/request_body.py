"""The body of a request on its connection: in pieces as it arrives, or whole with its head."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from alonzo.core.errors import ServiceError
from alonzo.core.streams import BodyTooLarge, BytesStream

#: Bytes of a body that may wait for their reader; above, the connection is not read.
_UNREAD_HIGH, _UNREAD_LOW = 256 * 1024, 64 * 1024
#: Bytes of a body that nobody wants any more which are read nevertheless, so that the client sees the answer.
_DISCARD = 64 << 20
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Carrier(Protocol):
    """The connection."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop


class ArrivingBody:
    """A request body as it arrives; the connection is paused while nobody reads. Read once."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_discarded",
        "_expects",
        "_unread",
        "_waiter",
        "broken",
        "complete",
        "length",
    )

    def __init__(self, connection: Carrier, length: int | None, expects: bool) -> None:
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._unread = 0
        self._discarded = -1
        self._expects = expects
        self._waiter: asyncio.Future[None] | None = None
        self.length = length
        self.complete = False
        self.broken = False

    @property
    def trailers(self) -> Mapping[str, str]:
        return {}

    @property
    def unasked(self) -> bool:
        """The client waits for a 100 that never came: whether it sends the body after all, nobody knows."""
        return self._expects and not self.complete

    @property
    def awaited(self) -> bool:
        return self._waiter is not None

    def feed(self, chunk: bytes) -> None:
        if self._discarded >= 0:
            self._discarded += len(chunk)
            if self._discarded > _DISCARD:
                self._connection.transport.close()
            return
        self._chunks.append(chunk)
        self._unread += len(chunk)
        if self._unread > _UNREAD_HIGH:
            self._connection.transport.pause_reading()
        self._wake()

    def finish(self, *, broken: bool = False) -> None:
        self.complete = not broken
        self.broken = broken
        self._wake()

    def discard(self) -> None:
        """Nobody will read what is still to come."""
        self._chunks.clear()
        self._unread = 0
        self._discarded = 0
        self._connection.transport.resume_reading()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _next(self) -> bytes | None:
        while not self._chunks:
            if self.complete:
                return None
            if self.broken:
                raise ServiceError("IncompleteBody", "The request body terminated unexpectedly")
            if self._expects:
                self._expects = False
                self._connection.transport.write(_CONTINUE)
            self._waiter = self._connection.loop.create_future()
            await self._waiter
        chunk = self._chunks.popleft()
        before, self._unread = self._unread, self._unread - len(chunk)
        if self._unread <= _UNREAD_LOW < before:
            self._connection.transport.resume_reading()
        return chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self._next()) is not None:
            yield chunk

    async def read(self, limit: int) -> bytes:
        if self.length is not None and self.length > limit:
            raise BodyTooLarge
        chunks: list[bytes] = []
        size = 0
        while (chunk := await self._next()) is not None:
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class WholeBody(BytesStream):
    """A request body that came with its head."""

    __slots__ = ()

    complete = True
    unasked = awaited = False

    def discard(self) -> None:
        """There is nothing to come."""
