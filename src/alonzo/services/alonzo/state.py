"""What the operations read: the engine, the sandbox and the runtimes, as far as they are needed here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from alonzo.core.dataclasses import dataclass
from alonzo.dispatch import Parts
from alonzo.engine.metering import Meter
from alonzo.runtimes import RuntimeStatus
from alonzo.sandbox.base import Enforcement
from alonzo.services.alonzo.installing import Installer


class Job(Protocol):
    """One job of the queue. Times are seconds since the epoch; `due_at` 0: at once."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def lane(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def enqueued_at(self) -> float: ...
    @property
    def due_at(self) -> float: ...
    @property
    def throttles(self) -> int: ...
    @property
    def tries(self) -> int: ...
    @property
    def last_error(self) -> str: ...


class Queue(Protocol):
    async def list_jobs(
        self, account_id: str = "", region: str = "", function: str = "", *, limit: int = ...
    ) -> Sequence[Job]: ...


class Engine(Protocol):
    @property
    def meter(self) -> Meter: ...

    @property
    def queue(self) -> Queue: ...


class Sandbox(Protocol):
    def enforcements(self) -> Sequence[Enforcement]: ...

    @property
    def summary(self) -> str: ...


class Runtimes(Protocol):
    async def install(self, runtime: str, progress: Callable[[str], None] | None = None) -> object: ...

    async def list_runtimes(self) -> list[RuntimeStatus]: ...


@dataclass(frozen=True, slots=True)
class Machine:
    """`started` is the clock's monotonic time at which the server was built."""

    parts: Parts
    engine: Engine
    sandbox: Sandbox
    runtimes: Runtimes
    installer: Installer
    started: float
