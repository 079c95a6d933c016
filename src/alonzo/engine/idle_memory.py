"""A bound on the memory of idle environments: those that are worth the least for what they take end first.

An environment's worth is the time of starting that it is expected to save (`keepalive`), for each byte that it takes of
the machine. That is the rule of GreedyDual's family, as in Fuerst and Sharma, "FaasCache" (ASPLOS 2021); what ages
there by a clock ages here by itself, since the chance of being used falls with the time of waiting. The same order
holds where the machine itself runs short of memory. Provisioned environments are neither counted nor ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

from alonzo.core.clock import Clock
from alonzo.core.dataclasses import dataclass

log = logging.getLogger(__name__)

#: How often the sum is looked at while anything is idle, in seconds; and how long an environment must have been idle to
#: be weighed: what is used again sooner would not be ended anyway.
LOOK_S, WEIGH_AFTER_S = 1.0, 2.0
#: Idle for so long, it gives back what it can (sooner, if the sum is too large), if that is worth the asking.
RECLAIM_AFTER_S, WORTH_RECLAIMING = 10.0, 1 << 20
#: What is over the bound is ended until so much of it is left, so that one more environment does not mean another look
#: at all of them; of a machine that is short of memory, this share of the idle ones at each look.
_DOWN_TO, _IN_NEED = 0.9, 0.125


class Tree(Protocol):
    """`sandbox.base.Environment`, as far as it matters here."""

    async def memory(self) -> tuple[int, int]: ...

    async def reclaim(self) -> None: ...


class Idle(Protocol):
    """`environments.ExecutionEnvironment`, as far as it matters here."""

    #: Monotonic; inf while it is in use.
    idle_since: float
    provisioned: bool
    frozen: bool

    @property
    def sandbox(self) -> Tree | None: ...

    @property
    def usable(self) -> bool: ...

    def discard(self, *, keep_tmp: bool = True) -> None: ...


class Machine(Protocol):
    """`sandbox.available.MachineMemory`."""

    def short(self) -> bool: ...


@dataclass(slots=True)
class _Weight:
    since: float
    held: int
    reclaimable: int


class IdleMemory:
    """See the module. `worth_ms` tells what an environment idle for so many seconds is worth."""

    def __init__(
        self, clock: Clock, *, budget_bytes: float, machine: Machine, worth_ms: Callable[[Idle, float], float]
    ) -> None:
        """`budget_bytes`: inf, where only the machine's own memory is a bound."""
        self.budget_bytes = budget_bytes
        self._clock = clock
        self._machine = machine
        self._worth_ms = worth_ms
        self._fresh: deque[tuple[float, Idle]] = deque()
        self._weights: dict[Idle, _Weight] = {}
        self._some = asyncio.Event()

    def frozen(self, environment: Idle) -> None:
        """An idle environment has been frozen: from now on its memory does not change."""
        if not environment.provisioned:
            self._fresh.append((environment.idle_since, environment))
            self._some.set()

    @property
    def held(self) -> int:
        """Bytes that the idle environments take, of those that have been weighed."""
        return sum(weight.held for weight in self._weights.values())

    async def run(self) -> None:
        """Hold the bound, until cancelled."""
        while True:
            await self._some.wait()
            await self._clock.sleep(LOOK_S)
            await self.look()
            if not self._fresh and not self._weights:
                self._some.clear()

    async def look(self) -> None:
        """Weigh what has become idle, have memory given back, and end what there is no room for."""
        now = self._clock.monotonic()
        self._weights = {each: weight for each, weight in self._weights.items() if _still(each, weight.since)}
        while self._fresh and self._fresh[0][0] <= now - WEIGH_AFTER_S:
            since, environment = self._fresh.popleft()
            if _still(environment, since):
                await self._weigh(environment, since)
        await self._reclaim(now if self.held > self.budget_bytes else now - RECLAIM_AFTER_S)
        held = self.held
        if held > self.budget_bytes:
            self._end(held - _DOWN_TO * self.budget_bytes, "their share of the machine's memory is full")
        elif self._weights and self._machine.short():
            self._end(max(1.0, _IN_NEED * held), "the machine is short of memory")

    async def _weigh(self, environment: Idle, since: float, *, reclaimed: bool = False) -> None:
        """`reclaimed`: what it has kept it will keep."""
        if environment.sandbox is not None:
            held, reclaimable = await environment.sandbox.memory()
            if _still(environment, since):
                self._weights[environment] = _Weight(since, held, 0 if reclaimed else reclaimable)
            await asyncio.sleep(0)  # a thousand may have become idle together

    async def _reclaim(self, before: float) -> None:
        """Have those give back what they can that have been idle since then."""
        for environment, weight in tuple(self._weights.items()):
            if weight.since > before or weight.reclaimable < WORTH_RECLAIMING or not _still(environment, weight.since):
                continue
            if environment.frozen and environment.sandbox is not None:
                await environment.sandbox.reclaim()
                await self._weigh(environment, weight.since, reclaimed=True)

    def _end(self, wanted: float, why: str) -> None:
        """End the least worth of them, until so many bytes are free."""
        now = self._clock.monotonic()
        idle = [(each, weight) for each, weight in self._weights.items() if _still(each, weight.since) and weight.held]
        idle.sort(key=lambda one: (self._worth_ms(one[0], now - one[1].since) / one[1].held, one[1].since))
        count = 0
        for environment, weight in idle:
            if wanted <= 0:
                break
            wanted -= weight.held
            count += 1
            environment.discard(keep_tmp=False)
            del self._weights[environment]
        log.info("%d idle environments were ended: %s", count, why)


def _still(environment: Idle, since: float) -> bool:
    """Whether it has been idle all the time since."""
    return environment.usable and environment.idle_since == since
