"""The clock that jumps."""

from __future__ import annotations

import asyncio
import time

from alonzo.testing.clock import FakeClock


async def test_advance_wakes_sleepers_in_order() -> None:
    """Each sleeper wakes at its own time, before later ones, and may sleep again meanwhile."""
    clock = FakeClock(now=1_000.0)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, clock.now()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("a", 10, 10))
        group.create_task(sleeper("b", 15))
        await asyncio.sleep(0)
        await clock.advance(12)
        assert woken == [("a", 1010.0)]
        assert clock.now() == 1012.0
        await clock.advance(3600)
    assert woken == [("a", 1010.0), ("b", 1015.0), ("a", 1020.0)]
    assert (clock.now(), clock.monotonic()) == (4612.0, 3612.0)


async def test_autojump_passes_hours_when_nothing_happens() -> None:
    """With autojump a day of sleep takes a moment."""
    clock = FakeClock(autojump_s=0.005)
    began, start = time.monotonic(), clock.now()
    for _ in range(4):
        await clock.sleep(6 * 3600)
    assert clock.now() - start == 24 * 3600
    assert time.monotonic() - began < 30


async def test_a_cancelled_sleeper_does_not_hold_time() -> None:
    """Whoever stops waiting is not waited for."""
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(60))
    await asyncio.sleep(0)
    assert clock.sleepers == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (clock.sleepers, clock.next_end) == (0, None)
