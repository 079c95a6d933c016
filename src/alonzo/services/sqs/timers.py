"""One task that wakes whoever waits for a time: thousands of long polls cost one sleep."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable
from typing import Any

from alonzo.core.clock import Clock


class Timer:
    """A call to come; `cancel` it if it is no longer wanted."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Timers:
    """Calls functions at their time (seconds of the epoch). They must not raise."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._armed = math.inf
        self._changed = asyncio.Event()

    def at(self, when: float, call: Callable[[], None]) -> Timer:
        timer = Timer(call)
        heapq.heappush(self._heap, (when, next(self._order), timer))
        if when < self._armed:
            self._changed.set()
        return timer

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            self._call_due()
            self._armed = self._heap[0][0] if self._heap else math.inf
            waits: list[asyncio.Task[Any]] = [asyncio.create_task(self._changed.wait())]
            if self._heap:
                waits.append(asyncio.create_task(self._sleep(max(self._armed - self._clock.now(), 0.001))))
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def _sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def _call_due(self) -> None:
        heap, now = self._heap, self._clock.now()
        while heap and (heap[0][0] <= now or heap[0][2].call is None):
            call = heapq.heappop(heap)[2].call
            if call is not None:
                call()
