"""Provisioned concurrency: environments that are initialised before anybody asks for them, and replaced when they end.

They lie in the pool of their version, are taken first and never expire. What is wanted is the lambda service's to say,
at every change and at the server's start; nothing is stored here.
Source: https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping

from alonzo.core.clock import Clock
from alonzo.core.dataclasses import dataclass, field, replace
from alonzo.core.errors import ServiceError
from alonzo.engine.concurrency import Concurrency
from alonzo.engine.environments import ExecutionEnvironment
from alonzo.engine.function import FunctionVersion
from alonzo.engine.hosts import Host
from alonzo.engine.outcome import Failure
from alonzo.engine.pools import CREDENTIALS_MARGIN_S, Pools
from alonzo.engine.tasks import Tasks

log = logging.getLogger(__name__)

KIND = "provisioned-concurrency"
#: Source: execution-environment contract §9.
INIT_LIMIT_S = 130.0
_AT_ONCE = 8
_YOUNG_MS = 2_000
_AGAIN_S, _AGAIN_MOST_S = 5.0, 300.0
#: How often credentials are looked at, and how long before their end an environment is replaced.
_TEND_S, _SPARE_S = 60.0, 240.0


@dataclass(frozen=True, slots=True)
class Provisioned:
    """How far it is. `reason` is AWS's code of why nothing could be allocated, or ""."""

    requested: int
    allocated: int
    available: int
    reason: str = ""

    @property
    def status(self) -> str:
        if self.reason:
            return "FAILED"
        return "READY" if self.allocated >= self.requested else "IN_PROGRESS"


@dataclass(slots=True, eq=False)
class _Want:
    fv: FunctionVersion
    count: int
    making: int = 0
    reason: str = ""
    again_s: float = _AGAIN_S
    again: asyncio.TimerHandle | None = None
    environments: set[ExecutionEnvironment] = field(default_factory=set)

    def stop(self) -> None:
        self.count = 0
        if self.again is not None:
            self.again.cancel()
            self.again = None


class Provisioner:
    """Keeps as many initialised environments of each version as are wanted."""

    def __init__(self, pools: Pools, host: Host, concurrency: Concurrency, clock: Clock, tasks: Tasks) -> None:
        self._pools = pools
        self._host = host
        self._concurrency = concurrency
        self._clock = clock
        self._tasks = tasks
        self._wants: dict[tuple[str, str], _Want] = {}
        #: By function: what is wanted no longer, and stays until what replaces it is there.
        self._leaving: dict[str, list[_Want]] = {}
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._wanted = asyncio.Event()
        self.closing = False
        pools.provisioned_gone = self._gone

    def provision(
        self, account_id: str, region: str, function_arn: str, wanted: Mapping[str, tuple[FunctionVersion, int]]
    ) -> None:
        """From now on the function's versions have these environments, and its other versions none, as soon as these
        are there."""
        counts = {version: count for version, (_, count) in wanted.items()}
        self._concurrency.provision(account_id, region, function_arn, counts)
        for key in [key for key in self._wants if key[0] == function_arn and key[1] not in wanted]:
            want = self._wants.pop(key)
            want.stop()
            self._leaving.setdefault(function_arn, []).append(want)
        for version, (fv, count) in wanted.items():
            self._set(fv, version, count)
        self._settle(function_arn)

    def _set(self, fv: FunctionVersion, version: str, count: int) -> None:
        key = (fv.arn, version)
        fv = replace(fv, initialization_type=KIND, snap_start=False)
        want = self._wants.get(key) or self._take_back(key)
        if want is not None and want.fv.revision != fv.revision:
            want.stop()
            self._shrink(want)
            want = None
        if want is None:
            want = self._wants[key] = _Want(fv, count)
            self._wanted.set()
        elif want.count != count:
            want.reason, want.again_s = "", _AGAIN_S
        want.fv, want.count = fv, count
        self._shrink(want)
        self._fill(want)

    def state(self, function_arn: str, version: str) -> Provisioned | None:
        """How far a version's provisioning is; None where nothing is wanted."""
        want = self._wants.get((function_arn, version))
        if want is None:
            return None
        allocated = len(want.environments)
        used = self._concurrency.provisioned_running(function_arn, version)
        return Provisioned(want.count, allocated, max(0, allocated - used), want.reason)

    def leaving(self, function_arn: str, kept: Collection[str]) -> tuple[int, int]:
        """How many environments there still are of versions other than `kept`, and how many of them are free."""
        wants = [want for (arn, version), want in self._wants.items() if arn == function_arn and version not in kept]
        wants += self._leaving.get(function_arn, ())
        environments = [environment for want in wants for environment in want.environments]
        return len(environments), sum(environment.usable for environment in environments)

    def close(self) -> None:
        self.closing = True
        for want in self._wants.values():
            want.stop()

    async def run(self) -> None:
        """Replace environments before their credentials run out, until cancelled."""
        while True:
            await self._wanted.wait()
            await self._clock.sleep(_TEND_S)
            if not self._wants:
                self._wanted.clear()
            for want in tuple(self._wants.values()):
                soon = self._clock.now() + want.fv.timeout_s + CREDENTIALS_MARGIN_S + _SPARE_S
                for environment in tuple(want.environments):
                    if environment.credentials.expires_at < soon:
                        self._tasks.start(self._replace(want, environment))

    # -- making and ending --------------------------------------------------------------------------------------------

    def _fill(self, want: _Want) -> None:
        if self.closing or want.again is not None:
            return
        while len(want.environments) + want.making < want.count:
            want.making += 1
            self._tasks.start(self._make(want))

    def _shrink(self, want: _Want) -> None:
        """End what is too much: idle ones now, busy ones become ordinary and expire as those do."""
        while len(want.environments) > want.count:
            environment = min(want.environments, key=lambda each: not each.usable)
            want.environments.discard(environment)
            environment.provisioned = False
            if environment.usable and environment.keeper is not None:
                environment.discard(keep_tmp=False)

    def _take_back(self, key: tuple[str, str]) -> _Want | None:
        """What is leaving is wanted again."""
        for want in self._leaving.get(key[0], ()):
            if want.fv.version == key[1]:
                self._leaving[key[0]].remove(want)
                self._wants[key] = want
                return want
        return None

    def _settle(self, function_arn: str) -> None:
        """Let go of what is leaving once all that is wanted is there, or cannot be had."""
        wants = [want for (arn, _), want in self._wants.items() if arn == function_arn]
        if not any(len(want.environments) < want.count and not want.reason for want in wants):
            for want in self._leaving.pop(function_arn, ()):
                self._shrink(want)

    async def _replace(self, want: _Want, old: ExecutionEnvironment) -> None:
        want.making += 1
        await self._make(want)
        if len(want.environments) > want.count and old in want.environments:
            want.environments.discard(old)
            old.provisioned = False  # it takes no further invocation: its credentials are too short-lived
            if old.usable:
                old.discard(keep_tmp=False)

    def _gone(self, environment: ExecutionEnvironment) -> None:
        """One of them ended: put another in its place."""
        for left in self._leaving.get(environment.fv.arn, ()):
            left.environments.discard(environment)
        want = self._wants.get((environment.fv.arn, environment.fv.version))
        if want is not None and environment in want.environments:
            want.environments.discard(environment)
            # One that ends as soon as it is there must not be made again as fast as the machine can.
            wait_s = 0.0 if environment.age_ms > _YOUNG_MS else 1.0
            asyncio.get_running_loop().call_later(wait_s, self._fill, want)

    async def _make(self, want: _Want) -> None:
        reason = ""
        try:
            async with self._at_once:
                if self.closing or not want.count:
                    return
                environment, reason = await self._initialise(want)
            if environment is not None:
                self._keep(want, environment)
        except ServiceError as error:
            log.info("nothing was provisioned for %s: %s", want.fv.qualified_arn, error)
            reason = "INTERNAL_ERROR" if error.status >= 500 else "FUNCTION_ERROR_INIT_FAILURE"
        finally:
            want.making -= 1
        if reason and want.count:
            self._try_again(want, reason)

    def _keep(self, want: _Want, environment: ExecutionEnvironment) -> None:
        if self.closing or self._wants.get((want.fv.arn, want.fv.version)) is not want:
            environment.discard(keep_tmp=False)
        elif environment.usable:
            want.reason, want.again_s = "", _AGAIN_S
            want.environments.add(environment)
            environment.provisioned = True
            assert environment.keeper is not None
            environment.keeper.environment_idle(environment)
            self._settle(want.fv.arn)

    async def _initialise(self, want: _Want) -> tuple[ExecutionEnvironment | None, str]:
        fv = want.fv
        with self._pools.room(fv) as pool:
            environment = await self._host.start(fv)
            self._pools.starting.add(environment)
            try:
                limit_s = max(INIT_LIMIT_S, float(fv.timeout_s))
                failure = await environment.wait_initialised(limit_s, Failure("timeout", ""))
                if failure is None:
                    await environment.ready()
            except BaseException:
                environment.discard(keep_tmp=False)
                self._tasks.start(environment.release())
                raise
            finally:
                self._pools.starting.discard(environment)
            if failure is not None:
                environment.log_init_report(environment.age_ms, "init", failure)
                environment.discard(keep_tmp=False)
                self._tasks.start(environment.release())
                return None, "FUNCTION_ERROR_INIT_FAILURE"
            pool.add(environment)
            return environment, ""

    def _try_again(self, want: _Want, reason: str) -> None:
        want.reason = reason
        self._settle(want.fv.arn)
        if want.again is not None or self.closing:
            return

        def again() -> None:
            want.again = None
            self._fill(want)

        want.again = asyncio.get_running_loop().call_later(want.again_s, again)
        want.again_s = min(2 * want.again_s, _AGAIN_MOST_S)
