"""Coroutines that run without a task."""

from __future__ import annotations

import asyncio

from alonzo.core.stepping import step


async def test_it_goes_as_far_as_it_can_and_on_when_it_may() -> None:
    """What waits for nothing ends at once; what waits is taken up again, and its end or error is told once."""
    loop = asyncio.get_running_loop()
    told: list[BaseException | None] = []
    first, second = loop.create_future(), loop.create_future()
    seen: list[object] = []

    async def at_once() -> None:
        seen.append("ran")

    async def waits() -> None:
        seen.append(await first)
        await asyncio.sleep(0)
        seen.append(await second)

    step(at_once(), told.append)
    assert (seen, told) == (["ran"], [None])
    step(waits(), told.append)
    first.set_result(1)
    await asyncio.sleep(0.01)
    assert (seen, told) == (["ran", 1], [None])
    error = ValueError()
    second.set_exception(error)
    await asyncio.sleep(0.01)
    assert told == [None, error]


async def test_a_cancelled_wait_is_told() -> None:
    """A future that is cancelled ends what waits for it."""
    told: list[BaseException | None] = []
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def waits() -> None:
        await future

    step(waits(), told.append)
    future.cancel()
    await asyncio.sleep(0.01)
    assert isinstance(told[0], asyncio.CancelledError) and len(told) == 1
