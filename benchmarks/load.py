"""A closed-loop load generator: pre-rendered requests over keep-alive connections, with little work per request.

Each connection sends its next request when the answer to the last one is complete. Latencies are in seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import uvloop


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run measured: requests per second, sorted latencies in seconds, answers by status."""

    rate: float
    latencies: Sequence[float]
    statuses: dict[int, int]

    def percentile(self, p: float) -> float:
        """The latency in milliseconds below which `p` percent of the answers came."""
        index = min(len(self.latencies) - 1, int(len(self.latencies) * p / 100))
        return self.latencies[index] * 1000

    def only(self, status: int) -> Outcome:
        """This outcome, provided that every answer had this status. Raises AssertionError otherwise."""
        assert set(self.statuses) == {status}, f"expected only {status}, got {self.statuses}"
        return self


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], end: float, outcome: _Collector) -> None:
        self._requests, self._end, self._outcome = requests, end, outcome
        self._buffer = bytearray()
        self._wanted = -1
        self._status = 0
        self._start = 0
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        now = time.perf_counter()
        request = next(self._requests, None) if now < self._end else None
        if request is None:
            self._transport.close()
            return
        self._sent = now
        self._transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._wanted < 0:
            head = self._buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            fields = bytes(self._buffer[:head]).lower()
            self._status = int(fields[9:12])
            at = fields.find(b"content-length: ")
            length = (
                int(fields[at + 16 : fields.find(b"\r\n", at) if b"\r\n" in fields[at:] else None]) if at >= 0 else 0
            )
            if b"transfer-encoding: chunked" in fields:
                raise RuntimeError("the generator does not read chunked answers")
            self._start = head + 4
            self._wanted = head + 4 + (0 if self._status in (204, 304) else length)
        if len(self._buffer) >= self._wanted:
            self._outcome.add(time.perf_counter() - self._sent, self._status)
            if self._outcome.answers is not None:
                self._outcome.answers.append(bytes(self._buffer[self._start :]))
            self._buffer.clear()
            self._wanted = -1
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._outcome.closed()


class _Collector:
    def __init__(self, connections: int, answers: list[bytes] | None) -> None:
        self.answers = answers
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}
        self.done = asyncio.Event()
        self._open = connections

    def add(self, latency: float, status: int) -> None:
        self.latencies.append(latency)
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def closed(self) -> None:
        self._open -= 1
        if self._open == 0:
            self.done.set()


def run(
    endpoint: str,
    requests: Iterable[bytes],
    *,
    connections: int,
    seconds: float,
    count: int | None = None,
    answers: list[bytes] | None = None,
) -> Outcome:
    """Send `requests` (repeated forever, or `count` of them) for at most `seconds`; their answers' bodies go to
    `answers` if it is given."""
    address = urlsplit(endpoint)
    stream = itertools.cycle(requests) if count is None else itertools.islice(itertools.cycle(requests), count)

    async def main() -> Outcome:
        loop = asyncio.get_running_loop()
        collector = _Collector(connections, answers)
        started = time.perf_counter()
        end = started + seconds
        for _ in range(connections):
            await loop.create_connection(lambda: _Connection(stream, end, collector), address.hostname, address.port)
        await asyncio.wait_for(collector.done.wait(), seconds + 60)
        elapsed = time.perf_counter() - started
        return Outcome(len(collector.latencies) / elapsed, sorted(collector.latencies), collector.statuses)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())
