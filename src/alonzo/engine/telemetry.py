"""The Telemetry API (2022-07-01) and the Logs API (2020-08-15) before it: what happens, carried to who subscribed.

Events are buffered by subscription and posted into the environment (HTTP), or written there as lines (TCP). The
receiver is hostile or slow: everything is bounded, and what does not fit is dropped and counted.
Source: execution-environment contract §3; https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api.html
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from alonzo.core.clock import Clock
from alonzo.engine.log_lines import iso_ms
from alonzo.engine.tasks import Tasks
from alonzo.sandbox.base import AWS_PORT, RUNTIME_API_PORT, SandboxError

log = logging.getLogger(__name__)

_KINDS = ("platform", "function", "extension")
_SCHEMAS = {
    "telemetry": ("2022-07-01", "2022-12-13", "2025-01-29"),
    "logs": ("2020-08-15", "2021-03-18"),
}
_LIMITS = {
    "maxItems": (1_000, 10_000, 10_000),
    "maxBytes": (262_144, 1_048_576, 262_144),
    "timeoutMs": (25, 30_000, 1_000),
}
_HOSTS = ("sandbox.localdomain", "sandbox")
#: What is kept for those that subscribe late in the initialisation, in bytes.
_EARLY_BYTES = 1 << 20
#: Attempts to deliver one batch, and how long each may take.
_ATTEMPTS, _DELIVERY_S, _PAUSE_S = 3, 5.0, 0.1
#: A subscription may wait with so many times its buffer before events are dropped.
_BACKLOG = 4


class Malformed(Exception):
    """A subscription that is not one; the message says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """A subscription as asked for. `path` is "" for TCP."""

    kinds: tuple[str, ...]
    port: int
    path: str
    max_items: int
    max_bytes: int
    timeout_s: float


def parse(api: str, body: bytes) -> Request:
    """Check a subscription's document; `api` is "telemetry" or "logs". Raises Malformed."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Malformed("The body is not JSON.") from None
    if not isinstance(document, dict):
        raise Malformed("The body is not an object.")
    schema = document.get("schemaVersion", _SCHEMAS[api][0])
    if schema not in _SCHEMAS[api]:
        raise Malformed(f"schemaVersion must be one of {', '.join(_SCHEMAS[api])}.")
    kinds = document.get("types")
    if not isinstance(kinds, list) or not kinds or any(kind not in _KINDS for kind in kinds):
        raise Malformed(f"types must name some of {', '.join(_KINDS)}.")
    port, path = _destination(document.get("destination"))
    sizes = _buffering(document.get("buffering") or {})
    return Request(
        tuple(dict.fromkeys(kinds)), port, path, sizes["maxItems"], sizes["maxBytes"], sizes["timeoutMs"] / 1000
    )


def _destination(destination: Any) -> tuple[int, str]:
    if not isinstance(destination, dict):
        raise Malformed("destination is missing.")
    if destination.get("protocol") == "TCP":
        port, path = destination.get("port"), ""
    elif destination.get("protocol") == "HTTP":
        port, path = _http(str(destination.get("URI", "")))
    else:
        raise Malformed("destination.protocol must be HTTP or TCP.")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65_536:
        raise Malformed("The destination's port is not valid.")
    if port in (RUNTIME_API_PORT, AWS_PORT):
        raise Malformed(f"Port {port} is reserved.")
    return port, path


def _http(uri: str) -> tuple[int | None, str]:
    try:
        parts = urlsplit(uri)
        port = parts.port if parts.port is not None else 80
    except ValueError:
        raise Malformed("destination.URI is not valid.") from None
    if parts.scheme != "http" or parts.hostname not in _HOSTS or len(uri) > 1_024:
        raise Malformed("destination.URI must begin with http://sandbox.localdomain:PORT.")
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    if any(not "!" <= character <= "~" for character in path):
        raise Malformed("destination.URI is not valid.")
    return port, path or "/"


def _buffering(buffering: Any) -> dict[str, int]:
    if not isinstance(buffering, dict):
        raise Malformed("buffering is not an object.")
    sizes = {}
    for name, (least, most, default) in _LIMITS.items():
        value = buffering.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise Malformed(f"buffering.{name} must be between {least} and {most}.")
        sizes[name] = value
    return sizes


@dataclass(slots=True, eq=False)
class _Subscription:
    name: str
    request: Request
    events: list[bytes] = field(default_factory=list)
    size: int = 0
    dropped: int = 0
    dropped_bytes: int = 0
    timer: asyncio.TimerHandle | None = None
    sending: asyncio.Task[None] | None = None


class Telemetry:
    """What happens in one environment. `connect` answers a connection to a port inside."""

    def __init__(self, clock: Clock, tasks: Tasks, connect: Callable[[int], Awaitable[socket.socket]]) -> None:
        self._clock = clock
        self._tasks = tasks
        self._connect = connect
        self._early: list[tuple[str, bytes]] | None = []
        self._early_bytes = 0
        self._subscriptions: dict[str, _Subscription] = {}
        #: While the environment is frozen nothing is delivered.
        self.paused = False

    @property
    def used(self) -> bool:
        return bool(self._subscriptions)

    def emit(self, kind: str, type: str, record: Any, at_ms: int | None = None) -> None:
        """An event of a kind ("platform", "function" or "extension"); `at_ms` None: now."""
        if self._early is None and not self._subscriptions:
            return
        moment = self._clock.now() if at_ms is None else at_ms / 1000
        event = orjson.dumps({"time": iso_ms(moment), "type": type, "record": record})
        if self._early is not None and self._early_bytes + len(event) <= _EARLY_BYTES:
            self._early.append((kind, event))
            self._early_bytes += len(event)
        for subscription in self._subscriptions.values():
            if kind in subscription.request.kinds:
                self._add(subscription, event)

    def subscribe(self, name: str, request: Request) -> None:
        """From now on, and with what has happened since the environment's start. A second one replaces the first."""
        former = self._subscriptions.pop(name, None)
        if former is not None and former.timer is not None:
            former.timer.cancel()
        subscription = self._subscriptions[name] = _Subscription(name, request)
        for kind, event in self._early or ():
            if kind in request.kinds:
                self._add(subscription, event)

    def initialised(self) -> None:
        """Nobody can subscribe any more: what was kept for latecomers is forgotten."""
        self._early = None

    # -- delivery -----------------------------------------------------------------------------------------------------

    def _add(self, subscription: _Subscription, event: bytes) -> None:
        request = subscription.request
        if subscription.size + len(event) > _BACKLOG * request.max_bytes:
            subscription.dropped += 1
            subscription.dropped_bytes += len(event)
            return
        subscription.events.append(event)
        subscription.size += len(event)
        if len(subscription.events) >= request.max_items or subscription.size >= request.max_bytes:
            self._send(subscription)
        elif subscription.timer is None:
            loop = asyncio.get_running_loop()
            subscription.timer = loop.call_later(request.timeout_s, self._due, subscription)

    def _due(self, subscription: _Subscription) -> None:
        subscription.timer = None
        self._send(subscription)

    def _send(self, subscription: _Subscription) -> None:
        if self.paused or (subscription.sending is not None and not subscription.sending.done()):
            return
        subscription.sending = self._tasks.start(self._drain(subscription))

    def resume(self) -> None:
        """The environment goes on."""
        self.paused = False
        for subscription in self._subscriptions.values():
            if subscription.events and subscription.timer is None:
                self._send(subscription)

    async def flush(self, seconds: float) -> None:
        """Deliver what is there, as far as that is possible within the time."""
        for subscription in self._subscriptions.values():
            if subscription.timer is not None:
                subscription.timer.cancel()
                subscription.timer = None
            if subscription.events:
                self._send(subscription)
        sending = [each.sending for each in self._subscriptions.values() if each.sending is not None]
        if sending:
            await asyncio.wait(sending, timeout=max(0.0, seconds))

    def close(self) -> None:
        """The environment has ended."""
        for subscription in self._subscriptions.values():
            if subscription.timer is not None:
                subscription.timer.cancel()
            if subscription.sending is not None:
                subscription.sending.cancel()
        self._subscriptions.clear()

    async def _drain(self, subscription: _Subscription) -> None:
        while subscription.events and not self.paused:
            batch = self._take(subscription)
            if not await self._deliver(subscription, batch):
                subscription.dropped += len(batch)
                subscription.dropped_bytes += sum(map(len, batch))
                return  # the next event tries again
            if subscription.dropped:
                self._tell_dropped(subscription)

    def _take(self, subscription: _Subscription) -> list[bytes]:
        count = size = 0
        for event in subscription.events[: subscription.request.max_items]:
            if count and size + len(event) > subscription.request.max_bytes:
                break
            count += 1
            size += len(event)
        batch, subscription.events = subscription.events[:count], subscription.events[count:]
        subscription.size -= size
        return batch

    def _tell_dropped(self, subscription: _Subscription) -> None:
        record = {
            "droppedRecords": subscription.dropped,
            "droppedBytes": subscription.dropped_bytes,
            "reason": f"Extension {subscription.name} did not take its events in time",
        }
        event = orjson.dumps({"time": iso_ms(self._clock.now()), "type": "platform.logsDropped", "record": record})
        subscription.dropped = subscription.dropped_bytes = 0
        if "platform" in subscription.request.kinds:
            subscription.events.append(event)
            subscription.size += len(event)

    async def _deliver(self, subscription: _Subscription, batch: list[bytes]) -> bool:
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_PAUSE_S * attempt)
            try:
                async with asyncio.timeout(_DELIVERY_S):
                    if await self._post(subscription.request, batch):
                        return True
            except (OSError, TimeoutError, SandboxError, ValueError) as error:
                log.debug("telemetry for %s was not delivered: %s", subscription.name, error)
        return False

    async def _post(self, request: Request, batch: list[bytes]) -> bool:
        connection = await self._connect(request.port)
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
        except BaseException:
            connection.close()
            raise
        try:
            if not request.path:
                writer.writelines([event + b"\n" for event in batch])
                await writer.drain()
                return True
            body = b"[" + b",".join(batch) + b"]"
            writer.write(
                f"POST {request.path} HTTP/1.1\r\nHost: sandbox.localdomain:{request.port}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
            status = await reader.readline()
            return status.startswith(b"HTTP/1.") and status[9:10] == b"2"
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
