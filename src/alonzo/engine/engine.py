"""The engine put together: what the services and the application see of it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection, Mapping

from alonzo.dispatch import Parts
from alonzo.engine.concurrency import Concurrency
from alonzo.engine.credentials import Credentials
from alonzo.engine.delivery import Deliverer
from alonzo.engine.environments import Surroundings
from alonzo.engine.function import FunctionVersion
from alonzo.engine.growth import Machine
from alonzo.engine.hosts import LocalHost, RootSource, ServeAws
from alonzo.engine.invoker import Invoker, stopping
from alonzo.engine.log_shipper import LogShipper
from alonzo.engine.metering import Meter
from alonzo.engine.outcome import Failure
from alonzo.engine.pollers import Pollers, Tools
from alonzo.engine.pools import Pools
from alonzo.engine.provisioned import Provisioned, Provisioner
from alonzo.engine.queue import Queue
from alonzo.engine.source import FunctionSource
from alonzo.engine.tasks import Tasks
from alonzo.sandbox.available import MachineMemory
from alonzo.sandbox.base import Sandbox

log = logging.getLogger(__name__)

#: A clean stop gives the log and the bill this long, in seconds.
_STOP_S = 3.0


class Engine:
    """Runs functions. `functions` may be set after construction, before the first invocation.

    `start`, then `run` until cancelled, then `stop`. Its owner starts and stops the sandbox around it.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        sandbox: Sandbox,
        runtimes: RootSource,
        serve_aws: ServeAws,
        functions: FunctionSource | None = None,
    ) -> None:
        settings = parts.settings
        self._parts = parts
        self.functions = functions
        self.runtimes = runtimes
        self._tasks = Tasks()
        self.meter = Meter(parts.db, parts.clock)
        self.logs = LogShipper(parts.dispatcher, parts.clock, parts.ids, settings.log_flush_ms)
        self.credentials = Credentials(parts.dispatcher, parts.clock, parts.ids)
        self.concurrency = Concurrency(settings.account_concurrency)
        machine_memory = MachineMemory()
        self.pools = Pools(
            parts.clock,
            self._tasks,
            max_environments=settings.max_environments,
            idle_timeout_s=settings.idle_timeout_s,
            freeze_after_ms=settings.freeze_after_ms,
            idle_memory_bytes=machine_memory.total * settings.idle_memory_percent / 100 or math.inf,
            machine=machine_memory,
        )
        shared = Surroundings(parts.clock, parts.ids, self._tasks, self.logs, self.meter)
        self._host = LocalHost(
            parts, shared, sandbox=sandbox, runtimes=runtimes, serve_aws=serve_aws, credentials=self.credentials
        )
        self.invoker = Invoker(
            self.pools, self._host, self.concurrency, shared, stream_rate=settings.stream_rate_mib * (1 << 20)
        )
        self.provisioner = Provisioner(self.pools, self._host, self.concurrency, parts.clock, self._tasks)
        self.queue = Queue(parts.db, parts.clock)
        machine = Machine(lambda: self.pools.beginning)
        self._deliverer = Deliverer(
            self.queue,
            self.invoker,
            parts.dispatcher,
            parts.clock,
            self._tasks,
            lambda: self.functions,
            retry_base_s=settings.retry_base_s,
            throttle_base_s=settings.throttle_base_s,
            concurrency=settings.account_concurrency,
            machine=machine,
        )
        self.pollers = Pollers(
            Tools(
                parts.dispatcher,
                parts.clock,
                parts.ids,
                self.invoker,
                self.credentials,
                self._tasks,
                lambda: self.functions,
                machine,
            )
        )

    async def start(self) -> None:
        """Take up what an earlier run left in the queue. Needs an open database, and the services."""
        await self.queue.start()

    async def run(self) -> None:
        """The background work, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.queue.run())
            group.create_task(self.pools.run())
            group.create_task(self.pools.idle_memory.run())
            group.create_task(self.provisioner.run())
            group.create_task(self.logs.run())
            group.create_task(self.meter.run())

    async def stop(self) -> None:
        """End every environment; then store what is left of logs and bill. Invocations under way fail with 503."""
        await self.pollers.stop()
        self.queue.close()
        self._deliverer.close()
        self.invoker.closing = True
        self.provisioner.close()
        self._host.snapshots.close()
        self.pools.close(stopping())
        try:
            async with asyncio.timeout(_STOP_S):
                await self._tasks.join()
        except TimeoutError:
            await self._tasks.cancel()
        for store in (self.queue.flush, self.logs.drain, self.meter.flush):
            try:
                async with asyncio.timeout(_STOP_S):
                    await store()
            except Exception:  # the others are still to be stored
                log.exception("not everything could be stored at the stop")

    async def prepare(self, fv: FunctionVersion) -> None:
        """Start what the version's environments will be forked from, if they can be. Raises ServiceError."""
        await self._host.prepare(fv)

    async def snapshot(self, fv: FunctionVersion) -> tuple[bool, Failure | None]:
        """Initialise a version with SnapStart, and keep that for its environments to go on from.

        Whether there is a snapshot now; and why the initialisation failed. Raises ServiceError.
        """
        failure = await self._host.snapshots.make(fv)
        return self._host.snapshots.has(fv), failure

    def retire(self, function_arn: str, version: str = "") -> None:
        """A function, or one version of it, was changed: its environments take no further invocation.

        The Lambda service calls it in this form (`services/lambda_/ports.py`).
        """
        self.pools.retire(function_arn, version)
        if version.isdigit():  # such a version is retired only when it is deleted
            self._host.snapshots.forget(function_arn, version)

    def forget(self, account_id: str, region: str, function_arn: str) -> None:
        """A function was deleted."""
        self.provisioner.provision(account_id, region, function_arn, {})
        self.pools.retire(function_arn)
        self._host.snapshots.forget(function_arn)
        self.concurrency.forget(account_id, region, function_arn)

    def reserve(self, account_id: str, region: str, function_arn: str, reserved: int | None) -> None:
        """A function's reserved concurrency is this from now on (None: it has none)."""
        self.concurrency.reserve(account_id, region, function_arn, reserved)

    def provision(
        self, account_id: str, region: str, function_arn: str, wanted: Mapping[str, tuple[FunctionVersion, int]]
    ) -> None:
        """Keep so many environments of each version ready from now on, and of a function's other versions none."""
        self.provisioner.provision(account_id, region, function_arn, wanted)

    def provisioned(self, function_arn: str, version: str) -> Provisioned | None:
        """How far that is; None where nothing is wanted."""
        return self.provisioner.state(function_arn, version)

    def leaving(self, function_arn: str, kept: Collection[str]) -> tuple[int, int]:
        """How many provisioned environments there still are of other versions than `kept`; how many are free."""
        return self.provisioner.leaving(function_arn, kept)

    def code_in_use(self) -> set[str]:
        """SHA-256 of every package that an environment was made of and may still read."""
        return self.pools.code_in_use()
