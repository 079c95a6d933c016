"""What the service needs of the engine; tests' fakes fit as well as the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any, Protocol

from alonzo.engine.function import FunctionVersion, Invocation, InvokeResult
from alonzo.engine.outcome import Failure
from alonzo.engine.pollers import Mapping as EventSourceMapping
from alonzo.engine.queue import AsyncEvent


class ResponseStream(Protocol):
    """A response that has begun. `result` is there once it has been iterated over; `content_type` is the runtime's."""

    version: str
    content_type: str
    result: InvokeResult | None

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def abandon(self) -> None:
        """Nobody will read (on)."""


class Invoker(Protocol):
    async def invoke(self, version: FunctionVersion, invocation: Invocation) -> InvokeResult: ...

    def begin(
        self,
        version: FunctionVersion,
        invocation: Invocation,
        settled: Callable[[InvokeResult | None, BaseException | None], None],
    ) -> None:
        """As `invoke`, without waiting."""

    async def stream(self, version: FunctionVersion, invocation: Invocation) -> ResponseStream: ...


class EventQueue(Protocol):
    async def accept(self, job: AsyncEvent) -> None:
        """Store an event in a transaction of its own: it is on disk, once for its id, when this returns."""

    def accept_nowait(self, job: AsyncEvent, stored: Callable[[BaseException | None], None]) -> None:
        """The same without a coroutine: `stored` is told None, or why it is not on disk."""


class Root(Protocol):
    @property
    def runtime_version_arn(self) -> str: ...


class Runtimes(Protocol):
    async def root(self, function: FunctionVersion) -> Root:
        """Prepare the runtime and unpack code and layers. Raises RuntimeUnavailable or CodeError."""

    def version_arn(self, runtime: str, region: str) -> str:
        """The ARN of a runtime's build, "" as long as it is not known."""

    async def forget(self, live: set[str]) -> int:
        """Remove unpacked code whose SHA-256 is not in `live`."""


class Provisioned(Protocol):
    @property
    def allocated(self) -> int: ...
    @property
    def available(self) -> int: ...
    @property
    def reason(self) -> str: ...


class Pollers(Protocol):
    async def apply(self, mapping: EventSourceMapping) -> None:
        """Run an event source mapping as it now is."""

    async def remove(self, uuid: str) -> None:
        """Run it no longer; what it has taken is still handled."""

    def problem(self, uuid: str) -> str:
        """Why it does nothing now, or ""."""


class Engine(Protocol):
    """`functions` is where the engine looks functions up; the service sets it."""

    functions: Any

    @property
    def invoker(self) -> Invoker: ...

    @property
    def queue(self) -> EventQueue: ...
    @property
    def pollers(self) -> Pollers: ...

    async def prepare(self, version: FunctionVersion) -> None:
        """Have ready what the version's environments are made of, beside its code. Raises ServiceError."""

    async def snapshot(self, version: FunctionVersion) -> tuple[bool, Failure | None]:
        """Initialise a version with SnapStart and keep that: whether it is kept, and why initialising it failed."""

    def retire(self, function_arn: str, version: str = "") -> None:
        """Let the environments of a version, or of every version, take no further invocation."""

    def forget(self, account_id: str, region: str, function_arn: str) -> None:
        """A function was deleted."""

    def reserve(self, account_id: str, region: str, function_arn: str, reserved: int | None) -> None:
        """A function's reserved concurrency is this from now on."""

    def provision(
        self, account_id: str, region: str, function_arn: str, wanted: Mapping[str, tuple[FunctionVersion, int]]
    ) -> None:
        """Keep so many environments of each version ready, and of the function's other versions none."""

    def provisioned(self, function_arn: str, version: str) -> Provisioned | None:
        """How far that is; None where nothing is wanted."""

    def leaving(self, function_arn: str, kept: Collection[str]) -> tuple[int, int]:
        """How many provisioned environments there still are of other versions than `kept`; how many are free."""

    def code_in_use(self) -> set[str]:
        """SHA-256 of every package that an environment was made of and may still read."""
