"""Environments that can be used again: one pool per function version and revision."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from alonzo.core.clock import Clock
from alonzo.engine.concurrency import throttled
from alonzo.engine.environments import ExecutionEnvironment, Phase
from alonzo.engine.function import FunctionVersion
from alonzo.engine.idle_memory import Idle, IdleMemory, Machine
from alonzo.engine.keepalive import LEAST_S, IdleTimes
from alonzo.engine.runs import Run
from alonzo.engine.tasks import Tasks

#: How long a request waits for an environment that has answered already, before it has a new one made, in seconds.
_SOON_S = 0.02
#: Versions whose idle times are remembered.
_REMEMBERED = 4_096
#: An environment ends this long before its credentials do, beside its function's time-out.
CREDENTIALS_MARGIN_S = 300.0
#: Where there is room for no more, so many are put in order at once by what they are worth.
_AT_ONCE = 16
_IDLE = Phase.IDLE


class Pool:
    """The environments of one version. The most recently used one is taken first, so that the others can expire."""

    def __init__(self, pools: Pools, fv: FunctionVersion) -> None:
        self.fv = fv
        self.idle: list[ExecutionEnvironment] = []
        #: Idle too, but taken first and never expired.
        self.provisioned: list[ExecutionEnvironment] = []
        self.all: set[ExecutionEnvironment] = set()
        self.starting = 0
        self.retired = False
        self._pools = pools
        self._clock = pools.clock
        #: How long an environment's credentials must still be valid, in seconds.
        self._life_s = fv.timeout_s + CREDENTIALS_MARGIN_S
        self.times = pools.times_of(fv)
        self._finishing: set[ExecutionEnvironment] = set()
        self._waiters: dict[Run, asyncio.TimerHandle] = {}
        #: Runs for which an environment will be made when its turn comes.
        self._queued: deque[tuple[Run, asyncio.Future[None]]] = deque()
        self._heirlooms: list[ExecutionEnvironment] = []

    # -- taking -------------------------------------------------------------------------------------------------------

    def take_nowait(self) -> ExecutionEnvironment | None:
        while idle := self.provisioned or self.idle:
            environment = idle.pop()
            since, environment.idle_since = environment.idle_since, math.inf  # the freezer must leave it alone
            if self._fit(environment):
                if environment.frozen:  # shorter waits say nothing of how long to keep it
                    self.times.used_after(self._clock.monotonic() - since)
                return environment
            environment.discard(keep_tmp=False)
        return None

    def wait_nowait(self, run: Run, otherwise: Callable[[Run], None]) -> bool:
        """Line up for an environment whose client has its answer and whose runtime is about to ask for more.

        False: there is none. `otherwise` is called with the run if that takes too long after all.
        """
        if len(self._finishing) <= len(self._waiters):
            return False
        timer = asyncio.get_running_loop().call_later(_SOON_S, self._give_up, run, otherwise)
        self._waiters[run] = timer
        return True

    def queue(self, run: Run) -> asyncio.Future[None]:
        """Let an environment that becomes idle take the run, unless the future is cancelled before; it is done then."""
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queued.append((run, taken))
        return taken

    def _give_up(self, run: Run, otherwise: Callable[[Run], None]) -> None:
        if self._waiters.pop(run, None) is not None:
            otherwise(run)

    def _fit(self, environment: ExecutionEnvironment) -> bool:
        """Whether it can take an invocation: its role's credentials have to outlive that."""
        life_s = environment.credentials.expires_at - self._clock.now()
        return environment.phase is _IDLE and life_s >= self._life_s

    # -- what environments tell (environments.Keeper) -----------------------------------------------------------------

    def add(self, environment: ExecutionEnvironment) -> None:
        """A new environment is ready; its first invocation follows at once."""
        environment.keeper = self
        self.times.started(environment.age_ms)
        self.all.add(environment)
        self._pools.count += 1
        if environment.phase is Phase.DEAD:
            self.environment_gone(environment)

    def environment_answered(self, environment: ExecutionEnvironment) -> None:
        self._finishing.add(environment)

    def environment_idle(self, environment: ExecutionEnvironment) -> None:
        self._finishing.discard(environment)
        if self.retired or not self._fit(environment):
            environment.discard(keep_tmp=False)
            return
        if self._waiters:
            run = next(iter(self._waiters))
            self._waiters.pop(run).cancel()
            environment.run(run)
            return
        while self._queued:
            run, taken = self._queued.popleft()
            if not taken.done():
                taken.set_result(None)
                environment.run(run)
                return
        environment.idle_since = self._clock.monotonic()
        (self.provisioned if environment.provisioned else self.idle).append(environment)
        if not environment.resting or not self._pools.watching:
            self._pools.rested(environment)

    def environment_gone(self, environment: ExecutionEnvironment) -> None:
        self._finishing.discard(environment)
        if environment in self.all:
            self.all.discard(environment)
            self._pools.count -= 1
            for idle in (self.idle, self.provisioned):
                if environment in idle:
                    idle.remove(environment)
            self.bequeath(environment)
            if environment.provisioned:
                self._pools.provisioned_gone(environment)
            self._pools.left(self)

    # -- /tmp of ended environments -----------------------------------------------------------------------------------

    def bequeath(self, environment: ExecutionEnvironment) -> None:
        """Keep an ended environment's /tmp for the next one (one at most), unless the version is retired."""
        if not environment.id:
            return
        if self.retired or not environment.keep_tmp or self._heirlooms:
            self._pools.tasks.start(environment.release())
        else:
            self._heirlooms.append(environment)
            environment.idle_since = self._pools.clock.monotonic()
            self._pools.noticed()

    def inherit(self) -> ExecutionEnvironment | None:
        return self._heirlooms.pop() if self._heirlooms else None

    # -- ending -------------------------------------------------------------------------------------------------------

    def retire(self) -> None:
        """Let no environment take another invocation; the busy ones finish theirs."""
        self.retired = True
        for environment in (*self.idle, *self.provisioned):
            environment.discard(keep_tmp=False)
        self.idle.clear()
        self.provisioned.clear()
        self.drop_heirlooms()

    def drop_heirlooms(self, before: float | None = None) -> None:
        """Give back the kept /tmp folders (those from before a monotonic time)."""
        for environment in tuple(self._heirlooms):
            if before is None or environment.idle_since <= before:
                self._heirlooms.remove(environment)
                self._pools.tasks.start(environment.release())

    def due(self, most_s: float) -> float:
        """When the first of the idle environments and kept /tmp folders expires (monotonic; inf: there is none)."""
        idle = min((environment.idle_since for environment in self.idle), default=math.inf)
        kept = min((environment.idle_since for environment in self._heirlooms), default=math.inf)
        return min(idle + self.times.worth_s(most_s), kept + most_s)

    def expire(self, now: float, most_s: float) -> None:
        """End what has been idle for longer than it is worth keeping, at most `most_s`."""
        before = now - self.times.worth_s(most_s)
        for environment in tuple(self.idle):
            if environment.idle_since <= before:
                self.times.expired()
                environment.discard(keep_tmp=False)
        self.drop_heirlooms(now - most_s)

    @property
    def empty(self) -> bool:
        return not (self.all or self.starting or self._heirlooms or self._waiters)


class Pools:
    """All pools, the bound on environments, freezing and expiry."""

    def __init__(
        self,
        clock: Clock,
        tasks: Tasks,
        *,
        max_environments: int,
        idle_timeout_s: float,
        freeze_after_ms: int,
        idle_memory_bytes: float,
        machine: Machine,
    ) -> None:
        self.clock = clock
        self.tasks = tasks
        self.count = 0
        #: How many of them are being made, from the first step to the end of their initialisation.
        self.beginning = 0
        #: Environments that are being initialised.
        self.starting: set[ExecutionEnvironment] = set()
        #: Told of the end of a provisioned environment.
        self.provisioned_gone: Callable[[ExecutionEnvironment], None] = lambda environment: None
        self.idle_memory = IdleMemory(clock, budget_bytes=idle_memory_bytes, machine=machine, worth_ms=self._worth_ms)
        self._max = max_environments
        self._idle_timeout_s = idle_timeout_s
        self._freeze_after_s = freeze_after_ms / 1000
        self._pools: dict[tuple[str, str, str], Pool] = {}
        self._live: set[Pool] = set()
        self._times: OrderedDict[tuple[str, str], IdleTimes] = OrderedDict()
        self._resting: deque[tuple[float, float, ExecutionEnvironment]] = deque()
        self._freezer: asyncio.TimerHandle | None = None
        #: Whether somebody looks after what can expire.
        self.watching = False
        self._some_idle = asyncio.Event()
        #: Those that end first where there is no room, and since when they have been idle.
        self._least: deque[tuple[float, ExecutionEnvironment]] = deque()

    def _pool(self, fv: FunctionVersion) -> Pool:
        key = (fv.arn, fv.version, fv.tenant)
        pool = self._pools.get(key)
        if pool is None or pool.fv.revision != fv.revision:
            if pool is not None:
                pool.retire()
            pool = self._pools[key] = Pool(self, fv)
            self._live.add(pool)
        return pool

    def times_of(self, fv: FunctionVersion) -> IdleTimes:
        """How long the version's environments wait to be used again; it outlives a change of the function."""
        key = (fv.arn, fv.version)
        times = self._times.setdefault(key, IdleTimes())
        self._times.move_to_end(key)
        if len(self._times) > _REMEMBERED:
            self._times.popitem(last=False)
        return times

    def take_nowait(self, fv: FunctionVersion) -> ExecutionEnvironment | None:
        """An idle environment, or None. It may be frozen."""
        pool = self._pools.get((fv.arn, fv.version, fv.tenant))
        if pool is None or pool.fv is not fv:
            pool = self._pool(fv)
        return pool.take_nowait()

    def wait_nowait(self, fv: FunctionVersion, run: Run, otherwise: Callable[[Run], None]) -> bool:
        """See `Pool.wait_nowait`."""
        return self._pool(fv).wait_nowait(run, otherwise)

    @contextmanager
    def room(self, fv: FunctionVersion) -> Iterator[Pool]:
        """Room to make one more environment. Raises ServiceError TooManyRequestsException where all are busy."""
        if self.count >= self._max and not self._evict():
            raise throttled("ConcurrentInvocationLimitExceeded")
        pool = self._pool(fv)
        pool.starting += 1
        self.count += 1
        self.beginning += 1
        try:
            yield pool
        finally:
            pool.starting -= 1
            self.count -= 1
            self.beginning -= 1
            self.left(pool)

    def _evict(self) -> bool:
        """End the idle environment that is worth the least. They are put in order for several at a time."""
        for _ in range(2):
            while self._least:
                since, environment = self._least.popleft()
                if environment.usable and environment.idle_since == since:
                    environment.discard(keep_tmp=False)
                    return True
            now = self.clock.monotonic()
            idle = [environment for pool in self._live for environment in pool.idle[:_AT_ONCE]]
            worth = {environment: self._worth_ms(environment, now - environment.idle_since) for environment in idle}
            first = heapq.nsmallest(_AT_ONCE, idle, key=lambda each: (worth[each], each.idle_since))
            self._least.extend((environment.idle_since, environment) for environment in first)
        return False

    def _worth_ms(self, environment: Idle, idle_s: float) -> float:
        """See `IdleMemory`."""
        pool = environment.keeper if isinstance(environment, ExecutionEnvironment) else None
        return pool.times.worth_ms(idle_s, self._idle_timeout_s) if isinstance(pool, Pool) else 0.0

    def left(self, pool: Pool) -> None:
        """Forget a pool that holds nothing any more."""
        if pool.empty:
            self._live.discard(pool)
            key = (pool.fv.arn, pool.fv.version, pool.fv.tenant)
            if self._pools.get(key) is pool:
                del self._pools[key]

    def retire(self, function_arn: str, version: str = "") -> None:
        """A function (or one version of it) was changed or deleted."""
        for pool in tuple(self._live):
            if pool.fv.arn == function_arn and version in ("", pool.fv.version):
                pool.retire()
                self.left(pool)

    def code_in_use(self) -> set[str]:
        """SHA-256 of the packages of every version that has an environment, or is getting one."""
        return {package.sha256 for pool in self._live for package in (pool.fv.code, *pool.fv.layers)}

    # -- freezing -----------------------------------------------------------------------------------------------------

    def rested(self, environment: ExecutionEnvironment) -> None:
        """An environment has become idle."""
        if not environment.resting:
            loop = asyncio.get_running_loop()
            environment.resting = True
            self._resting.append((loop.time() + self._freeze_after_s, environment.idle_since, environment))
            if self._freezer is None:
                self._freezer = loop.call_later(self._freeze_after_s, self._freeze)
        self.noticed()

    def noticed(self) -> None:
        """There is something that can expire."""
        self.watching = True
        self._some_idle.set()

    def _freeze(self) -> None:
        """Freeze what has not been used since it was put on the list; what has been is looked at again later."""
        loop = asyncio.get_running_loop()
        now = loop.time() + 0.001
        resting = self._resting
        for _ in range(len(resting)):
            if resting[0][0] > now:
                break
            _, since, environment = resting.popleft()
            if environment.idle_since == since:
                environment.resting = False
                environment.freeze()
                self.idle_memory.frozen(environment)
            elif environment.idle_since == math.inf:
                environment.resting = False  # busy: it comes back when it is idle
            else:
                resting.append((now + self._freeze_after_s, environment.idle_since, environment))
        # A few at a time: one timer for each environment would cost more than freezing them a little later.
        when = max(resting[0][0], now + self._freeze_after_s / 5) if resting else 0.0
        self._freezer = loop.call_at(when, self._freeze) if resting else None

    # -- expiry -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """End what has been idle too long, until cancelled."""
        while True:
            due = min((pool.due(self._idle_timeout_s) for pool in self._live), default=math.inf)
            if due == math.inf:
                self.watching = False
                self._some_idle.clear()
                await self._some_idle.wait()
                continue
            wait_s = due - self.clock.monotonic()
            if wait_s > 0:  # not for longer than a pool that learns meanwhile may take to want it
                await self.clock.sleep(min(wait_s, LEAST_S))
            self.expire()

    def expire(self) -> None:
        """End every environment, and every kept /tmp, that has been idle for too long."""
        now = self.clock.monotonic()
        for pool in tuple(self._live):
            pool.expire(now, self._idle_timeout_s)
            self.left(pool)

    def close(self, error: Exception) -> None:
        """End every environment now; invocations under way fail with `error`."""
        if self._freezer is not None:
            self._freezer.cancel()
            self._freezer = None
        for environment in tuple(self.starting):
            environment.discard(keep_tmp=False)
        for pool in tuple(self._live):
            pool.retire()
            for environment in tuple(pool.all):
                environment.abandon(error)
            self.left(pool)
