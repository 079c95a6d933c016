"""One subscription to telemetry: its buffer, and how batches of events get into the environment.

The receiver is hostile or slow: everything is bounded, and what does not fit is dropped and counted. While the
environment is frozen nothing is sent and no time-out runs.
Source: execution-environment contract §3; https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api.html
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable

from alonzo.engine.subscriptions import Request
from alonzo.engine.tasks import Tasks
from alonzo.sandbox.base import SandboxError

log = logging.getLogger(__name__)

#: A subscription may wait with so many times its buffer before events are dropped.
_BACKLOG = 4
#: Attempts to deliver one batch, how long each may take, and the pause before the second: it doubles up to the most.
#: AWS says that it retries with back-off, so that a listener may come up after its subscription.
_ATTEMPTS, _DELIVERY_S, _PAUSE_S, _PAUSE_MOST_S = 10, 5.0, 0.1, 5.0

#: Answers a connection to a port inside.
Connect = Callable[[int], Awaitable[socket.socket]]


class Budget:
    """Bytes that all subscriptions of one environment may hold together."""

    __slots__ = ("_left",)

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, size: int) -> bool:
        if size > self._left:
            return False
        self._left -= size
        return True

    def give(self, size: int) -> None:
        self._left += size


class Subscriber:
    """See the module. `tell_dropped` is given records and bytes once a batch has got through after some had not."""

    def __init__(
        self,
        name: str,
        request: Request,
        *,
        tasks: Tasks,
        connect: Connect,
        budget: Budget,
        tell_dropped: Callable[[Subscriber, int, int], None],
    ) -> None:
        self.name = name
        self.request = request
        self._tasks = tasks
        self._connect = connect
        self._budget = budget
        self._tell_dropped = tell_dropped
        self._events: list[bytes] = []
        #: Of the events above, and with those under way.
        self._size = self._held = 0
        self._dropped = self._dropped_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._going = asyncio.Event()
        self._going.set()
        self._limit: asyncio.Timeout | None = None
        self._tcp: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    # -- the buffer ---------------------------------------------------------------------------------------------------

    def add(self, event: bytes) -> None:
        """Send it with the next batch: when the buffer is full, or its time is over."""
        request, size = self.request, len(event)
        if self._held + size > _BACKLOG * request.max_bytes or not self._budget.take(size):
            self._dropped += 1
            self._dropped_bytes += size
            return
        self._events.append(event)
        self._size += size
        self._held += size
        if len(self._events) >= request.max_items or self._size >= request.max_bytes:
            self._start()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(request.timeout_s, self._due)

    def _due(self) -> None:
        self._timer = None
        self._start()

    def _start(self) -> None:
        if self._going.is_set() and (self._sending is None or self._sending.done()):
            self._sending = self._tasks.start(self._drain())

    def _take(self) -> list[bytes]:
        count = size = 0
        for event in self._events[: self.request.max_items]:
            if count and size + len(event) > self.request.max_bytes:
                break
            count += 1
            size += len(event)
        batch, self._events = self._events[:count], self._events[count:]
        self._size -= size
        return batch

    def pause(self) -> None:
        """The environment is frozen from now on."""
        self._going.clear()
        self._reschedule(None)

    def resume(self) -> None:
        """The environment goes on."""
        self._going.set()
        self._reschedule(asyncio.get_running_loop().time() + _DELIVERY_S)
        if self._events and self._timer is None:
            self._start()

    def _reschedule(self, when: float | None) -> None:
        if self._limit is not None:
            with contextlib.suppress(RuntimeError):  # it has just run out
                self._limit.reschedule(when)

    def flush(self) -> asyncio.Task[None] | None:
        """Send what there is now; answers what is under way."""
        self._stop_timer()
        if self._events:
            self._start()
        return self._sending if self._sending is not None and not self._sending.done() else None

    def close(self) -> None:
        """The environment has ended."""
        self._stop_timer()
        self._going.clear()  # nothing starts any more
        if self._sending is not None:
            self._sending.cancel()
        self._hang_up()
        self._budget.give(self._held)
        self._held = self._size = 0
        self._events = []

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- delivery -----------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        while self._events and self._going.is_set():
            batch = self._take()
            size = sum(map(len, batch))
            delivered = await self._deliver(batch)
            self._held -= size
            self._budget.give(size)
            if not delivered:
                self._dropped += len(batch)
                self._dropped_bytes += size
            elif self._dropped:
                records, dropped_bytes = self._dropped, self._dropped_bytes
                self._dropped = self._dropped_bytes = 0
                self._tell_dropped(self, records, dropped_bytes)

    async def _deliver(self, batch: list[bytes]) -> bool:
        pause_s = _PAUSE_S
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MOST_S)
            await self._going.wait()
            try:
                async with asyncio.timeout(_DELIVERY_S) as self._limit:
                    if await (self._post(batch) if self.request.path else self._write(batch)):
                        return True
            except (OSError, TimeoutError, SandboxError, ValueError) as error:
                self._hang_up()
                log.debug("telemetry for %s was not delivered: %s", self.name, error)
            finally:
                self._limit = None
        return False

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connection = await self._connect(self.request.port)
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
        except BaseException:
            connection.close()
            raise
        writer.transport.set_write_buffer_limits(0)  # written means given to the kernel
        return reader, writer

    async def _write(self, batch: list[bytes]) -> bool:
        """TCP: lines, on one connection for all batches."""
        if self._tcp is not None and (self._tcp[0].at_eof() or self._tcp[1].is_closing()):
            self._hang_up()
        if self._tcp is None:
            self._tcp = await self._open()
        writer = self._tcp[1]
        writer.writelines([event + b"\n" for event in batch])
        await writer.drain()
        return True

    def _hang_up(self) -> None:
        if self._tcp is not None:
            self._tcp[1].transport.abort()
            self._tcp = None

    async def _post(self, batch: list[bytes]) -> bool:
        """HTTP: a JSON array."""
        request = self.request
        body = b"[" + b",".join(batch) + b"]"
        head = (
            f"{request.method} {request.path} HTTP/1.1\r\nHost: sandbox.localdomain:{request.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        reader, writer = await self._open()
        try:
            writer.writelines((head.encode(), body))
            await writer.drain()
            status = await reader.readline()
            return status.startswith(b"HTTP/1.") and status[9:10] in (b"2", b"3")
        finally:
            # Never wait for the peer here: it may read nothing, ever.
            writer.transport.abort()
