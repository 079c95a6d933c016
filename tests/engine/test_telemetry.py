"""Telemetry's buffers and deliveries, over real sockets of the test's own: batches, bounds, and hostile receivers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import alonzo.engine.subscriber as subscriber_module
from alonzo.core.clock import SystemClock
from alonzo.engine.subscriptions import Malformed, Request, Schema
from alonzo.engine.tasks import Tasks
from alonzo.engine.telemetry import Telemetry

FAST_S = 0.001


class Receiver:
    """Listens like an extension; `answer` makes the response to a request's body."""

    def __init__(self) -> None:
        self.port = 0
        self.bodies: list[bytes] = []
        self.heads: list[str] = []
        self.connections = 0
        self.came = asyncio.Event()
        self.answer: Callable[[bytes], bytes] = lambda body: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        self.reads = True
        self.writers: list[asyncio.StreamWriter] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self.take(reader, writer)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.reads:
            await asyncio.Event().wait()
        first = await reader.readline()
        if first.startswith(b"{"):
            while first:
                self.bodies.append(first)
                self.came.set()
                first = await reader.readline()
            return
        head = first + await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode())
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        body = await reader.readexactly(length)
        self.bodies.append(body)
        self.came.set()
        writer.write(self.answer(body))
        await writer.drain()
        writer.close()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for body in self.bodies for event in json.loads(body)]

    async def until(self, done: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not done():
                self.came.clear()
                await self.came.wait()


class World:
    def __init__(self) -> None:
        self.receiver = Receiver()
        self.tasks = Tasks()
        self.connects = 0
        self.telemetry = Telemetry(SystemClock(), self.tasks, self.connect)

    async def connect(self, port: int) -> socket.socket:
        self.connects += 1
        made = socket.socket()
        made.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
        except BaseException:
            made.close()
            raise
        return made

    def request(self, **changes: Any) -> Request:
        fields: dict[str, Any] = {
            "schema": Schema.TEXT,
            "kinds": ("platform", "function", "extension"),
            "port": self.receiver.port,
            "path": "/in",
            "max_items": 1_000,
            "max_bytes": 262_144,
            "timeout_s": FAST_S,
        }
        return Request(**{**fields, **changes})


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(subscriber_module, "_PAUSE_S", 0.001)
    monkeypatch.setattr(subscriber_module, "_PAUSE_MOST_S", 0.002)
    made = World()
    server = await asyncio.start_server(made.receiver, "127.0.0.1", 0)
    made.receiver.port = server.sockets[0].getsockname()[1]
    yield made
    made.telemetry.close()
    await made.tasks.join()
    server.close()
    for writer in made.receiver.writers:
        writer.transport.abort()


async def test_events_come_as_an_array_with_what_was_before(world: World) -> None:
    """One POST for what falls into the time-out, earlier events first, each with time, type and record."""
    world.telemetry.emit("platform", "platform.initStart", {"phase": "init"}, at_ms=1_500)
    assert world.telemetry.subscribe("e", world.request())
    world.telemetry.emit("function", "function", "line\n")
    await world.receiver.until(lambda: len(world.receiver.events) == 2)
    first, second = world.receiver.events
    assert first == {"time": "1970-01-01T00:00:01.500Z", "type": "platform.initStart", "record": {"phase": "init"}}
    assert (second["type"], second["record"]) == ("function", "line\n")
    head = world.receiver.heads[0]
    assert head.startswith("POST /in HTTP/1.1\r\n")
    assert f"Host: sandbox.localdomain:{world.receiver.port}\r\n" in head
    assert len(world.receiver.bodies) == 1


async def test_the_logs_api_may_be_told_to_put(world: World) -> None:
    world.telemetry.subscribe("e", world.request(schema=Schema.LOGS, method="PUT", path="/x?y=1"))
    world.telemetry.emit("platform", "platform.initStart", {})
    world.telemetry.emit("platform", "platform.end", {"requestId": "r"})
    await world.receiver.until(lambda: world.receiver.bodies)
    assert [event["type"] for event in world.receiver.events] == ["platform.end"]
    assert world.receiver.heads[0].startswith("PUT /x?y=1 HTTP/1.1\r\n")


async def test_only_the_kinds_asked_for_come(world: World) -> None:
    """And a full buffer is sent before its time."""
    world.telemetry.subscribe("e", world.request(kinds=("function",), timeout_s=30.0, max_items=3))
    world.telemetry.emit("platform", "platform.start", {})
    for n in range(3):
        world.telemetry.emit("extension", "extension", "no")
        world.telemetry.emit("function", "function", str(n))
    await world.receiver.until(lambda: world.receiver.bodies)
    assert [event["record"] for event in world.receiver.events] == ["0", "1", "2"]


async def test_a_batch_is_no_larger_than_its_buffer(world: World) -> None:
    """Many bytes go in several batches, in order, and none is larger than maxBytes and one event."""
    world.telemetry.subscribe("e", world.request(timeout_s=30.0))
    for n in range(9):
        world.telemetry.emit("function", "function", f"{n}" + "x" * 99_000)
    await world.telemetry.flush(5)
    assert [event["record"][0] for event in world.receiver.events] == [str(n) for n in range(9)]
    assert max(map(len, world.receiver.bodies)) < 262_144 + 1_000
    assert len(world.receiver.bodies) == 5


async def test_subscribing_twice_is_once(world: World) -> None:
    """The same request again changes nothing; another one of the same extension is one more."""
    assert world.telemetry.subscribe("e", world.request())
    assert not world.telemetry.subscribe("e", world.request())
    assert world.telemetry.subscribe("other", world.request())
    assert world.telemetry.subscribe("e", world.request(path="/two"))
    world.telemetry.emit("function", "function", "once")
    await world.receiver.until(lambda: len(world.receiver.events) == 3)
    assert sorted(head.split()[1] for head in world.receiver.heads) == ["/in", "/in", "/two"]


async def test_subscriptions_are_bounded(world: World) -> None:
    """What happened so far is given to each, so their number is limited."""
    for n in range(20):
        world.telemetry.subscribe("e", world.request(path=f"/{n}"))
    with pytest.raises(Malformed):
        world.telemetry.subscribe("e", world.request(path="/one-more"))


async def test_tcp_writes_lines_on_one_connection(world: World) -> None:
    """All batches share it; after the listener hung up there is a new one."""
    world.telemetry.subscribe("e", world.request(path=""))
    for n in range(3):
        world.telemetry.emit("function", "function", str(n))
        await world.receiver.until(lambda n=n: len(world.receiver.bodies) == n + 1)  # type: ignore[misc]
    assert [json.loads(line)["record"] for line in world.receiver.bodies] == ["0", "1", "2"]
    assert world.receiver.connections == 1
    world.receiver.writers[0].close()
    await world.receiver.writers[0].wait_closed()
    await asyncio.sleep(0.01)
    world.telemetry.emit("function", "function", "3")
    await world.receiver.until(lambda: len(world.receiver.bodies) == 4)
    assert world.receiver.connections == 2


async def test_a_listener_may_come_later(world: World) -> None:
    """Deliveries are tried again with back-off while nobody listens, or while the answer is an error."""
    answers = [b"HTTP/1.1 500 No\r\n\r\n", b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]
    world.receiver.answer = lambda body: answers.pop(0)
    world.telemetry.subscribe("e", world.request())
    world.telemetry.emit("function", "function", "kept")
    await world.receiver.until(lambda: len(world.receiver.bodies) == 4)
    await world.telemetry.flush(5)
    assert {event["record"] for event in world.receiver.events} == {"kept"}
    assert not answers


async def test_what_was_dropped_is_told_afterwards(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that nobody took, and what did not fit meanwhile, are counted in platform.logsDropped."""
    monkeypatch.setattr(subscriber_module, "_ATTEMPTS", 2)
    world.receiver.answer = lambda body: b"HTTP/1.1 503 Busy\r\n\r\n"
    world.telemetry.subscribe("e", world.request(timeout_s=30.0))
    for _ in range(12):
        world.telemetry.emit("function", "function", "x" * 99_000)
    await world.telemetry.flush(5)
    assert len(world.receiver.bodies) >= 2
    world.receiver.bodies.clear()
    world.receiver.answer = lambda body: b"HTTP/1.1 200 OK\r\n\r\n"
    world.telemetry.emit("function", "function", "later")
    await world.telemetry.flush(5)
    await world.telemetry.flush(5)
    records = {event["type"]: event["record"] for event in world.receiver.events}
    assert records["function"] == "later"
    dropped = records["platform.logsDropped"]
    # A megabyte waits (four buffers of 256 KB, ten of these events); none of the twelve got through.
    assert dropped["droppedRecords"] == 12
    assert 12 * 99_000 < dropped["droppedBytes"] < 12 * 99_100
    assert dropped["reason"].startswith("Some logs were dropped because the downstream consumer is slower")


async def test_a_receiver_that_reads_nothing_holds_bounded_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All subscriptions together hold eight megabytes, whatever is emitted; closing gives everything back."""
    world.receiver.reads = False
    for n in range(10):
        world.telemetry.subscribe(f"e{n}", world.request(path=f"/{n}", max_bytes=1_048_576))
    for _ in range(1_000):
        world.telemetry.emit("function", "function", "x" * 99_000)
        await asyncio.sleep(0)
    held = sum(each._held for each in world.telemetry._subscribers)
    assert 7 << 20 < held <= 8 << 20
    before = asyncio.get_running_loop().time()
    await world.telemetry.flush(0.05)
    assert asyncio.get_running_loop().time() - before < 1
    world.telemetry.close()
    async with asyncio.timeout(5):
        await world.tasks.join()


@pytest.mark.slow
async def test_time_outs_stand_still_while_frozen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery under way survives a freeze of any length and ends after it; nothing begins meanwhile."""
    monkeypatch.setattr(subscriber_module, "_DELIVERY_S", 0.2)
    gate = asyncio.Event()
    real = world.receiver.take

    async def frozen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await real(reader, writer)

    monkeypatch.setattr(world.receiver, "take", frozen)
    world.telemetry.subscribe("e", world.request())
    world.telemetry.emit("function", "function", "one")
    async with asyncio.timeout(5):
        while not world.receiver.connections:
            await asyncio.sleep(0.001)
    world.telemetry.pause()
    world.telemetry.emit("function", "function", "two")
    await asyncio.sleep(0.45)  # more than two time-outs
    assert (world.receiver.connections, world.receiver.bodies) == (1, [])
    world.telemetry.resume()
    gate.set()
    await world.receiver.until(lambda: len(world.receiver.events) == 2)
    assert [event["record"] for event in world.receiver.events] == ["one", "two"]
    assert world.receiver.connections == 2


async def test_late_subscribers_get_a_bounded_past(world: World) -> None:
    """A megabyte of what came before; after the initialisation nothing is kept at all."""
    for _ in range(30):
        world.telemetry.emit("function", "function", "x" * 99_000)
    assert world.telemetry._early is not None
    assert len(world.telemetry._early) == 10
    world.telemetry.initialised()
    world.telemetry.emit("function", "function", "nobody")
    assert world.telemetry._early is None
