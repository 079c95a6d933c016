"""Carries log lines to CloudWatch Logs: buffered, together, as the function's own role, never without bound."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from alonzo.core.clock import Clock
from alonzo.core.context import Context, Principal
from alonzo.core.dataclasses import dataclass, field
from alonzo.core.errors import ServiceError
from alonzo.core.ids import Ids
from alonzo.dispatch import Dispatcher
from alonzo.engine.log_output import MAX_EVENT
from alonzo.storage import StorageError

log = logging.getLogger(__name__)

#: Bytes that wait in one stream before its function has to wait too.
STREAM_LIMIT = 1 << 20
#: Bytes that wait in all streams; more are dropped, and counted.
TOTAL_LIMIT = 64 << 20
_STREAM_MOST = 2 * STREAM_LIMIT
#: One PutLogEvents call. Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
_BATCH_BYTES = 1_048_576
_BATCH_EVENTS = 10_000
_EVENT_OVERHEAD = 26
#: After a failure of the store (a full disk, most likely), a stream is tried again after this time, in seconds.
_HELD_S = 1.0
#: After a denial, a role's group is not asked again for this time, in seconds: permissions may be given meanwhile.
_DENIED_S = 5.0
_CALL_DEADLINE_S = 30.0
_AT_ONCE = 32


@dataclass(slots=True, eq=False)
class LogStream:
    """The log stream of one environment."""

    account_id: str
    region: str
    group: str
    name: str
    principal: Principal
    source_arn: str = ""
    resume: Callable[[], None] | None = None
    pending: list[tuple[int, str]] = field(default_factory=list)
    pending_bytes: int = 0
    dropped: int = 0
    created: bool = False
    shipping: bool = False
    retry_at: float = 0.0
    held_until: float = 0.0


class LogShipper:
    """`append` is cheap and never waits; `run` stores what has come, every `flush_ms`."""

    def __init__(self, dispatcher: Dispatcher, clock: Clock, ids: Ids, flush_ms: int) -> None:
        self._dispatcher = dispatcher
        self._clock = clock
        self._ids = ids
        self._flush_s = flush_ms / 1000
        self._dirty: dict[LogStream, None] = {}
        self._bytes = 0
        self._wake = asyncio.Event()
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    def append(self, stream: LogStream, at_ms: int | None, message: str) -> None:
        """Add one event (`at_ms` None: now). Over the bounds it is dropped and counted."""
        self.extend(stream, int(self._clock.now() * 1000) if at_ms is None else at_ms, (message,))

    def extend(self, stream: LogStream, at_ms: int, messages: Sequence[str]) -> None:
        """Add some events of one moment, or none; `append` says when they are dropped."""
        if not messages:
            return
        size = sum(map(len, messages)) + len(messages) * _EVENT_OVERHEAD
        waiting = stream.pending_bytes + size
        if self._bytes + size > TOTAL_LIMIT or waiting > _STREAM_MOST:
            stream.dropped += len(messages)
            return
        pending = stream.pending
        for message in messages:
            pending.append((at_ms, message))
        stream.pending_bytes = waiting
        self._bytes += size
        if stream not in self._dirty:
            self._dirty[stream] = None
            if len(self._dirty) == 1:
                self._wake.set()

    def full(self, stream: LogStream) -> bool:
        """Whether the function has to wait. Not for a store that fails: then what does not fit is dropped."""
        return stream.pending_bytes >= STREAM_LIMIT and not stream.held_until

    async def run(self) -> None:
        """Store until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._dirty:
                await asyncio.sleep(self._flush_s)
                await self.flush()

    async def flush(self) -> None:
        """Store everything that has been appended."""
        dirty, self._dirty = self._dirty, {}
        if len(dirty) == 1:
            await self._ship_alone(next(iter(dirty)))
        elif dirty:
            # Together, because the log's own store commits together what comes at the same time.
            async with asyncio.TaskGroup() as group:
                for stream in dirty:
                    group.create_task(self._ship_alone(stream))

    async def _ship_alone(self, stream: LogStream) -> None:
        """A stream's events are stored in order: never two calls at a time."""
        if stream.shipping:
            self._dirty[stream] = None
            return
        stream.shipping = True
        try:
            async with self._at_once:
                await self._ship(stream)
        finally:
            stream.shipping = False

    async def drain(self) -> None:
        """Store until nothing is left: for a clean stop."""
        for stream in self._dirty:
            stream.held_until = 0.0
        for _ in range(100):
            if not self._dirty:
                return
            await self.flush()
            await asyncio.sleep(0)

    async def _ship(self, stream: LogStream) -> None:
        now = self._clock.now()
        if stream.held_until > now:
            self._dirty[stream] = None
            return
        events, stream.pending = stream.pending, []
        self._bytes -= stream.pending_bytes
        stream.pending_bytes = 0
        dropped, stream.dropped = stream.dropped, 0
        if stream.resume is not None:
            stream.resume()
        if stream.retry_at > now:
            return
        if dropped:
            events.append((int(now * 1000), f"{dropped} log events were dropped: too many at once.\n"))
        events.sort(key=itemgetter(0))
        batches = _batches(events)
        try:
            if not stream.created:
                await self._create(stream)
            while batches:
                await self._put(stream, batches[0])
                del batches[0]
            stream.held_until = 0.0
        except ServiceError as error:
            # On AWS, too, a role without permission for its log loses it; the function goes on.
            stream.retry_at = self._clock.now() + _DENIED_S
            log.info("log of %s lost: %s", stream.group, error)
        except StorageError as error:
            log.error("log of %s waits: %s", stream.group, error)
            self._hold(stream, batches)
        except Exception:
            stream.dropped += len(events)
            log.exception("log of %s lost", stream.group)

    def _hold(self, stream: LogStream, batches: list[list[dict[str, Any]]]) -> None:
        """Keep what could not be stored, before what has come meanwhile."""
        events = [(event["timestamp"], event["message"]) for batch in batches for event in batch]
        size = sum(len(message) + _EVENT_OVERHEAD for _, message in events)
        stream.pending[:0] = events
        stream.pending_bytes += size
        self._bytes += size
        stream.held_until = self._clock.now() + _HELD_S
        self._dirty[stream] = None
        if stream.resume is not None:
            stream.resume()

    async def _put(self, stream: LogStream, batch: list[dict[str, Any]]) -> None:
        params = {"logGroupName": stream.group, "logStreamName": stream.name, "logEvents": batch}
        try:
            await self._call(stream, "PutLogEvents", params)
        except ServiceError as error:
            if error.code != "ResourceNotFoundException":
                raise
            await self._create(stream)  # somebody deleted the group: AWS makes it again
            await self._call(stream, "PutLogEvents", params)

    async def _create(self, stream: LogStream) -> None:
        """The stream, and the group where it is missing (existing ones need no permission to create them)."""
        params = {"logGroupName": stream.group, "logStreamName": stream.name}
        try:
            await self._call_existing_ok(stream, "CreateLogStream", params)
        except ServiceError as error:
            if error.code != "ResourceNotFoundException":
                raise
            await self._call_existing_ok(stream, "CreateLogGroup", {"logGroupName": stream.group})
            await self._call_existing_ok(stream, "CreateLogStream", params)
        stream.created = True

    async def _call_existing_ok(self, stream: LogStream, operation: str, params: dict[str, Any]) -> None:
        try:
            await self._call(stream, operation, params)
        except ServiceError as error:
            if error.code != "ResourceAlreadyExistsException":
                raise

    async def _call(self, stream: LogStream, operation: str, params: dict[str, Any]) -> None:
        ctx = Context(
            stream.account_id, stream.region, stream.principal, self._ids.uuid(), source_arn=stream.source_arn
        )
        async with asyncio.timeout(_CALL_DEADLINE_S):
            await self._dispatcher.call(ctx, "logs", operation, params)


def _batches(events: list[tuple[int, str]]) -> list[list[dict[str, Any]]]:
    messages = [message for _, message in events]
    text = "".join(messages)
    if 0 < len(text) + len(events) * _EVENT_OVERHEAD <= MAX_EVENT and text.isascii() and all(messages):
        # As it mostly is: little enough for one batch, so that none can be too large, and none is empty.
        return [[{"timestamp": at_ms, "message": message} for at_ms, message in events]]
    batches: list[list[dict[str, Any]]] = []
    size = _BATCH_BYTES
    for at_ms, message in events:
        # Four bytes at most for a character; the exact size only where it can matter.
        length = len(message) if message.isascii() else len(message.encode())
        if length > MAX_EVENT:
            message = message.encode()[:MAX_EVENT].decode("utf-8", "ignore")
            length = MAX_EVENT
        if not message:
            continue
        if size + length + _EVENT_OVERHEAD > _BATCH_BYTES or len(batches[-1]) >= _BATCH_EVENTS:
            batches.append([])
            size = 0
        batches[-1].append({"timestamp": at_ms, "message": message})
        size += length + _EVENT_OVERHEAD
    return batches
