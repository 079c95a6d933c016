"""The bound on the memory of idle environments: who is weighed, who gives back, who ends first."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass, field
from typing import Any

from alonzo.engine.idle_memory import IdleMemory
from alonzo.sandbox.available import MachineMemory
from alonzo.testing.clock import FakeClock, settle

MIB = 1 << 20


@dataclass
class Tree:
    """A sandbox that has so much memory."""

    held: int = 4 * MIB
    cache: int = 0
    reclaims: int = 0

    async def memory(self) -> tuple[int, int]:
        return self.held, self.cache

    async def reclaim(self) -> None:
        self.reclaims += 1
        self.held -= self.cache
        self.cache = 0


@dataclass(eq=False)
class Environment:
    """An idle environment."""

    idle_since: float = 0.0
    worth: float = 1.0
    sandbox: Tree = field(default_factory=Tree)
    provisioned: bool = False
    frozen: bool = True
    usable: bool = True

    def discard(self, *, keep_tmp: bool = True) -> None:
        assert self.usable and not keep_tmp
        self.usable = False


@dataclass
class Machine:
    in_need: bool = False

    def short(self) -> bool:
        return self.in_need


class World:
    def __init__(self, budget_mib: float = math.inf) -> None:
        self.clock = FakeClock()
        self.machine = Machine()
        self.memory = IdleMemory(
            self.clock,
            budget_bytes=budget_mib * MIB,
            machine=self.machine,
            worth_ms=lambda environment, idle_s: environment.worth,  # type: ignore[attr-defined]
        )

    def idle(self, *environments: Environment) -> None:
        for environment in environments:
            environment.idle_since = self.clock.monotonic()
            self.memory.frozen(environment)

    async def after(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        await self.memory.look()


async def test_what_has_been_idle_for_a_moment_is_weighed() -> None:
    """Not at once, not while in use, and never where it is provisioned."""
    world = World()
    plain, used, provisioned = Environment(), Environment(), Environment(provisioned=True)
    world.idle(plain, used, provisioned)
    await world.after(1)
    assert world.memory.held == 0
    used.idle_since = math.inf
    await world.after(1.5)
    assert world.memory.held == 4 * MIB
    plain.idle_since = math.inf
    await world.after(1)
    assert world.memory.held == 0


async def test_those_worth_the_least_for_their_memory_end_first() -> None:
    """Over the bound, until a tenth of it is free; a provisioned one stays whatever it is worth."""
    world = World(budget_mib=20)
    dear, large, cheap = Environment(worth=100), Environment(worth=100, sandbox=Tree(16 * MIB)), Environment(worth=10)
    provisioned = Environment(worth=0, provisioned=True)
    world.idle(provisioned, dear, large, cheap)
    await world.after(3)
    # 10 / 4 MiB is less than 100 / 16 MiB; then 20 MiB are left, and they are more than 18.
    assert [each.usable for each in (dear, large, cheap, provisioned)] == [True, False, False, True]
    assert world.memory.held == 4 * MIB


async def test_of_two_that_are_worth_the_same_the_older_ends() -> None:
    world = World(budget_mib=7)
    older, newer = Environment(), Environment()
    world.idle(older)
    await world.clock.advance(1)
    world.idle(newer)
    await world.after(3)
    assert (older.usable, newer.usable) == (False, True)


async def test_within_the_bound_nothing_ends() -> None:
    world = World(budget_mib=8)
    environments = [Environment(), Environment()]
    world.idle(*environments)
    for _ in range(60):
        await world.after(1)
    assert all(each.usable for each in environments)


async def test_page_cache_is_given_back_after_a_while() -> None:
    """Once in a time of idleness, and only where there is enough of it."""
    world = World()
    much, little = Environment(sandbox=Tree(40 * MIB, 30 * MIB)), Environment(sandbox=Tree(4 * MIB, 1000))
    world.idle(much, little)
    await world.after(5)
    assert (much.sandbox.reclaims, world.memory.held) == (0, 44 * MIB)
    for _ in range(3):
        await world.after(6)
    assert (much.sandbox.reclaims, little.sandbox.reclaims) == (1, 0)
    assert world.memory.held == 14 * MIB
    much.sandbox.cache = 20 * MIB
    world.idle(much)
    await world.after(11)
    assert much.sandbox.reclaims == 2


async def test_giving_back_comes_before_ending() -> None:
    """Over the bound nobody waits to give back, and if that is enough nobody ends."""
    world = World(budget_mib=20)
    much, little = Environment(sandbox=Tree(40 * MIB, 30 * MIB)), Environment()
    world.idle(much, little)
    await world.after(3)
    assert much.sandbox.reclaims == 1
    assert much.usable and little.usable


async def test_a_machine_short_of_memory_loses_idle_environments_first() -> None:
    """An eighth of what they take at each look, until it is short no more."""
    world = World()
    environments = [Environment(worth=n) for n in range(16)]
    world.idle(*environments)
    await world.after(3)
    assert all(each.usable for each in environments)
    world.machine.in_need = True
    await world.after(1)
    assert [each.usable for each in environments] == [False] * 2 + [True] * 14
    await world.after(1)
    assert sum(each.usable for each in environments) == 12
    world.machine.in_need = False
    await world.after(1)
    assert sum(each.usable for each in environments) == 12


async def test_it_does_nothing_while_nothing_is_idle() -> None:
    """The loop sleeps only while there is something to look at."""
    world = World()
    running = asyncio.create_task(world.memory.run())
    await settle()
    assert world.clock.sleepers == 0
    environment = Environment()
    world.idle(environment)
    await settle()
    await world.clock.advance(4)
    assert (world.memory.held, world.clock.sleepers) == (4 * MIB, 1)
    environment.usable = False
    await world.clock.advance(2)
    assert world.clock.sleepers == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def soon(check: Any) -> None:
    async with asyncio.timeout(30):
        while not check():
            await asyncio.sleep(0.005)


async def passes(clock: FakeClock, check: Any) -> None:
    """Time passes until it is so."""
    async with asyncio.timeout(30):
        while not check():
            await clock.advance(1)
            await asyncio.sleep(0.005)


async def test_the_bound_is_a_share_of_the_machine(make: Any) -> None:
    """0 takes it away."""
    async with make(idle_memory_percent=10.0) as world:
        assert world.engine.pools.idle_memory.budget_bytes == MachineMemory().total / 10
    async with make(idle_memory_percent=0.0) as world:
        assert world.engine.pools.idle_memory.budget_bytes == math.inf


async def test_the_engine_ends_the_function_that_starts_quickly(make: Any) -> None:
    """Two functions called alike: the one whose start took longer keeps its environment under the bound."""
    clock = FakeClock()
    async with make(clock=clock, freeze_after_ms=1, idle_timeout_s=1e6) as world:
        memory = world.engine.pools.idle_memory
        source = "import os\ndef handler(e, c):\n    return os.getpid()\n"
        quick, slow = world.function("quick", source), world.function("slow", source)
        pids = {}
        for fv in (slow, quick):
            pids[fv.name] = json.loads((await world.invoke(fv)).payload)
            pool = world.engine.pools._pool(fv)
            await soon(lambda pool=pool: pool.idle and pool.idle[0].frozen)
        world.engine.pools.times_of(slow).started(60_000)
        await passes(clock, lambda: len(memory._weights) == 2)
        assert len(world.served) == 2
        memory.budget_bytes = memory.held - 1
        await passes(clock, lambda: len(world.served) == 1)
        assert json.loads((await world.invoke(slow)).payload) == pids["slow"]
        assert json.loads((await world.invoke(quick)).payload) != pids["quick"]


async def test_no_room_for_more_ends_what_is_worth_least(make: Any) -> None:
    """At max_environments the idle environment goes that saves the least, not the oldest."""
    clock = FakeClock()
    async with make(clock=clock, freeze_after_ms=1, max_environments=2) as world:
        source = "import os\ndef handler(e, c):\n    return os.getpid()\n"
        dear, cheap, third = (world.function(name, source) for name in ("dear", "cheap", "third"))
        pid = json.loads((await world.invoke(dear)).payload)
        await world.invoke(cheap)
        for fv in (dear, cheap):
            pool = world.engine.pools._pool(fv)
            await soon(lambda pool=pool: pool.idle)
        world.engine.pools.times_of(dear).started(60_000)
        await world.invoke(third)
        assert not world.engine.pools._pool(cheap).idle
        assert json.loads((await world.invoke(dear)).payload) == pid
