"""What a poller is, whatever it polls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from alonzo.core import tracing
from alonzo.core.clock import Clock
from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import ServiceError
from alonzo.core.ids import Ids
from alonzo.dispatch import Dispatcher
from alonzo.engine.credentials import Credentials
from alonzo.engine.function import FunctionVersion, Invocation, InvokeResult
from alonzo.engine.growth import Growth, Machine
from alonzo.engine.invoker import Invoker
from alonzo.engine.source import FunctionSource
from alonzo.engine.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Mapping:
    """An enabled event source mapping, as its poller sees it.

    `function_name` and `qualifier` ("" is $LATEST) are resolved anew for every batch. `filters` are patterns of which
    any one must match. `max_concurrency` None means as much as function and account allow. `min_pollers` and
    `max_pollers` are those of provisioned mode, 0 without it.
    """

    uuid: str
    account_id: str
    region: str
    source_arn: str
    function_name: str
    qualifier: str
    function_arn: str
    batch_size: int
    window_s: int = 0
    filters: tuple[str, ...] = ()
    max_concurrency: int | None = None
    report_failures: bool = False
    min_pollers: int = 0
    max_pollers: int = 0

    @property
    def kind(self) -> str:
        """The source's service: `sqs`, later `kinesis` and `dynamodb`."""
        return self.source_arn.split(":")[2]


class Poller(Protocol):
    """Runs one mapping from `start` until `stop`. What goes wrong stays within it and shows as `problem`."""

    @property
    def problem(self) -> str:
        """Why the mapping does nothing now, or ""."""

    def start(self) -> None: ...

    async def stop(self) -> None:
        """Take nothing more from the source. What is being handled already runs to its end."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What pollers work with. `machine` tells how many batches of one mapping are worth running at a time."""

    dispatcher: Dispatcher
    clock: Clock
    ids: Ids
    invoker: Invoker
    credentials: Credentials
    tasks: Tasks
    functions: Callable[[], FunctionSource | None]
    machine: Machine

    def function(self, mapping: Mapping) -> FunctionVersion:
        """The version that runs now. Raises ServiceError."""
        source = self.functions()
        if source is None:
            raise RuntimeError("the engine has no source of functions")
        return source.resolve(mapping.account_id, mapping.region, mapping.function_name, mapping.qualifier)

    async def role(self, fv: FunctionVersion) -> Context:
        """A context acting as the function's execution role. Raises ServiceError where it cannot be assumed."""
        given = await self.credentials.of(fv)
        return Context(fv.account_id, fv.region, given.principal, self.ids.uuid(), source_arn=fv.arn)

    async def invoke(self, mapping: Mapping, payload: bytes, trace_header: str = "") -> InvokeResult:
        """Run the function on one batch. Lambda invokes for its own mappings, so no policy is asked."""
        fv = self.function(mapping)
        header, before = tracing.enter(trace_header, tracing.mark_of(fv.arn), self.ids, self.clock.now())
        if before >= tracing.MAX_LOOPS and not fv.loops_allowed:
            raise ServiceError("RecursiveInvocationException", tracing.STOPPED, fields={"Type": "User"})
        return await self.invoker.invoke(
            fv, Invocation(self.ids.uuid(), payload, mapping.function_arn, trace_header=header, queued=True)
        )


@dataclass(slots=True)
class Backoff:
    """Seconds to wait after a failure: doubling from `first_s` to `most_s`."""

    first_s: float = 1.0
    most_s: float = 30.0
    failures: int = 0

    def next_s(self) -> float:
        delay_s: float = min(self.first_s * 2 ** min(self.failures, 30), self.most_s)
        self.failures += 1
        return delay_s

    def reset(self) -> None:
        self.failures = 0


class Slots:
    """How many batches of one mapping may run at a time: few at first, more while all are in use and more of them help
    (`alonzo.engine.growth`)."""

    def __init__(self, first: int, most: int) -> None:
        self._growth = Growth(first, max(most, 1), _now())
        self.used = 0
        self._freed = asyncio.Event()

    @property
    def limit(self) -> int:
        return self._growth.limit

    @property
    def most(self) -> int:
        return self._growth.most

    def take_nowait(self) -> bool:
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def give_back(self) -> None:
        self.used -= 1
        self._freed.set()

    async def freed(self, timeout_s: float) -> bool:
        """Wait until one is given back; False if none is in time."""
        self._freed.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._freed.wait()
        except TimeoutError:
            return False
        return True

    def begun(self) -> tuple[float, int]:
        """A batch's run begins; `ran` wants this back once the function has answered."""
        return _now(), self._growth.epoch

    def ran(self, begun: tuple[float, int]) -> None:
        self._growth.ran(begun[1], _now() - begun[0])

    def grow(self, step: int, machine: Machine) -> None:
        """All of them are in use: more, by `step` at most, where that helps; or fewer again, where it did not."""
        now = _now()
        idle = machine.idle(now)
        room = min(step, machine.room(idle))
        self._growth.look(now, room=room, starting=machine.starting(), idle=idle)

    def shrink(self) -> None:
        """Half as many, after the function was throttled."""
        self._growth.set(max(min(self._growth.first, 2), self.limit // 2), _now())

    def rest(self) -> None:
        """The source was empty: start small again."""
        self._growth.set(self._growth.first, _now())

    def bound(self, most: int) -> None:
        """The function or the mapping allows another number now."""
        self._growth.bound(max(most, 1))


def _now() -> float:
    return asyncio.get_running_loop().time()
