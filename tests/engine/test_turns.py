"""Runs that wait for a new environment's turn: one that becomes idle meanwhile takes them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from alonzo.core.errors import ServiceError
from alonzo.engine import concurrency, hosts, invoker

#: The first process initialises at once, all others not before the test says so.
SECOND_WAITS = """
import os, time
try:
    os.close(os.open({folder!r} + "/first", os.O_CREAT | os.O_EXCL))
except FileExistsError:
    while not os.path.exists({folder!r} + "/go"):
        time.sleep(0.01)
def handler(e, c):
    return os.getpid()
"""
PID = "import os\ndef handler(e, c):\n    return os.getpid()\n"


async def _some(tasks: list[asyncio.Task[Any]], count: int) -> list[Any]:
    """The payloads of so many of them, as soon as there are so many."""
    async with asyncio.timeout(30):
        while sum(task.done() for task in tasks) < count:
            await asyncio.sleep(0.005)
    return [json.loads(task.result().payload) for task in tasks if task.done()]


async def test_an_idle_environment_takes_runs_whose_own_has_not_begun(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only one may start at a time, the first serves all but the one whose environment is being made."""
    monkeypatch.setattr(hosts, "_START_SHARE_S", 1000.0)
    monkeypatch.setattr(invoker, "INIT_LIMIT_S", 60.0)
    world.engine._host._starting = asyncio.Semaphore(1)
    fv = world.function("f", SECOND_WAITS.format(folder=str(tmp_path)))
    tasks = [asyncio.create_task(world.invoke(fv)) for _ in range(8)]
    assert len(set(await _some(tasks, 7))) == 1
    (tmp_path / "go").touch()
    assert len(set(await _some(tasks, 8))) == 2
    assert world.engine.pools.count == 2
    assert world.engine.concurrency.running(fv.arn) == 0
    assert not world.engine._host._starting.locked()  # nothing holds a turn any more


async def test_what_is_not_made_does_not_count_as_new(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate of new environments bounds those that are made: runs that others took leave it alone."""
    monkeypatch.setattr(concurrency, "SCALING_BURST", 8.0)
    monkeypatch.setattr(concurrency, "SCALING_PER_S", 0.0)
    monkeypatch.setattr(hosts, "_START_SHARE_S", 1000.0)
    monkeypatch.setattr(invoker, "INIT_LIMIT_S", 60.0)
    world.engine._host._starting = asyncio.Semaphore(1)
    fv = world.function("f", SECOND_WAITS.format(folder=str(tmp_path)))
    tasks = [asyncio.create_task(world.invoke(fv)) for _ in range(8)]
    await _some(tasks, 7)
    (tmp_path / "go").touch()
    await _some(tasks, 8)
    for _ in range(8 - world.engine.pools.count):
        world.engine.concurrency.scale(fv)
    with pytest.raises(ServiceError, match="Rate Exceeded"):
        world.engine.concurrency.scale(fv)


async def test_a_start_that_fails_afterwards_harms_nobody(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that has been served meanwhile does not fail with the environment that it would have had."""
    fv = world.function("f", PID)
    find, fails = world.runtimes.root, asyncio.Event()
    seen = 0

    async def root(function: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == 2:
            await fails.wait()
            raise ServiceError("ServiceException", "no such luck", status=500)
        return await find(function)

    monkeypatch.setattr(world.runtimes, "root", root)
    tasks = [asyncio.create_task(world.invoke(fv)) for _ in range(2)]
    assert len(set(await _some(tasks, 2))) == 1
    fails.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert world.engine.concurrency.running(fv.arn) == 0
    assert world.engine.pools.count == 1


async def test_a_start_that_fails_before_fails_its_run(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fv = world.function("f", PID)

    async def root(function: Any) -> Any:
        raise ServiceError("ServiceException", "no such luck", status=500)

    monkeypatch.setattr(world.runtimes, "root", root)
    with pytest.raises(ServiceError, match="no such luck"):
        await world.invoke(fv)
    assert world.engine.concurrency.running(fv.arn) == 0


async def test_a_stop_ends_those_that_wait_for_their_turn(world: Any) -> None:
    """They are answered with 503."""
    world.engine._host._starting = asyncio.Semaphore(1)
    fv = world.function("f", "import time\ntime.sleep(30)\n")
    tasks = [asyncio.create_task(world.invoke(fv)) for _ in range(3)]
    async with asyncio.timeout(30):
        while not world.engine.pools.starting:
            await asyncio.sleep(0.005)
        await world.engine.stop()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(error, "status", None) for error in ended] == [503] * 3
