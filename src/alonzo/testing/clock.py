"""A clock that jumps: hours pass in milliseconds.

Give it to a server (or to any part of one) in place of the system's: whoever sleeps is woken in order, as soon as
nothing else has happened for a moment.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools


class FakeClock:
    """A `core.clock.Clock`. `autojump_s` is the real time without any sleeper coming or going after which the clock
    jumps to the next one's end; None: only `advance` moves it. It never goes back."""

    def __init__(self, now: float = 1_767_225_600.0, *, autojump_s: float | None = None) -> None:
        self._now = now
        self._start = now
        self._autojump_s = autojump_s
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now - self._start

    @property
    def sleepers(self) -> int:
        """How many wait."""
        return sum(not future.done() for _, _, future in self._sleepers)

    @property
    def next_end(self) -> float | None:
        """When the next sleeper is to be woken (epoch seconds)."""
        self._tidy()
        return self._sleepers[0][0] if self._sleepers else None

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), future))
        self._arm()
        try:
            await future
        finally:
            self._arm()

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, waking in order whoever's time comes; each runs before the next is woken."""
        end = self._now + seconds
        while True:
            self._tidy()
            if not self._sleepers or self._sleepers[0][0] > end:
                break
            self._wake_next()
            await settle()
        self._now = max(self._now, end)
        await settle()

    def _tidy(self) -> None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)

    def _wake_next(self) -> None:
        when, _, future = heapq.heappop(self._sleepers)
        self._now = max(self._now, when)
        if not future.done():
            future.set_result(None)

    def _arm(self) -> None:
        if self._autojump_s is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._autojump_s, self._jump)

    def _jump(self) -> None:
        self._timer = None
        self._tidy()
        if self._sleepers:
            self._wake_next()
            self._arm()


async def settle(turns: int = 20) -> None:
    """Let everything that can run now run for some turns of the loop."""
    for _ in range(turns):
        await asyncio.sleep(0)
