"""The only way to an operation: find the handler, validate, authorise, run.

The gateway calls it for clients, the engine and the services call it for each other: whoever wants another service's
effect asks for the operation that a customer would call, so validation and permission checks come with it.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any, Protocol

from alonzo.config import Settings
from alonzo.core.clock import Clock
from alonzo.core.context import Context, Principal
from alonzo.core.dataclasses import dataclass, field
from alonzo.core.errors import NotImplementedOperation
from alonzo.core.ids import Ids
from alonzo.protocol.model import load_model
from alonzo.protocol.validate import prepare_validation, validate
from alonzo.storage import Blobs, Database

Params = dict[str, Any]
Result = dict[str, Any]
#: One operation: a context and parameters shaped by the service model; the result is shaped by the model too.
Handler = Callable[[Context, Params], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Access:
    """One permission that an operation needs.

    `resource_policy` is the JSON document attached to the resource, if it has one; `conditions` are the service's own
    condition keys (`s3:prefix`, `iam:PassedToService`, …), the global ones come from the context.
    """

    action: str
    resource: str
    resource_account: str = ""
    resource_policy: str | None = None
    conditions: Mapping[str, str | Sequence[str]] = field(default_factory=dict)


AccessOf = Callable[[Context, str, Params], Awaitable[Sequence[Access]]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Which attempt at a job this is (1 is the first), and how long ago the job was written, in seconds."""

    number: int
    age_s: float


#: Work of a service's own that it put into the durable queue: the job's parameters, and None when it is done, or the
#: seconds after which it is to be tried again. What it raises is tried again too, unless it is the client's error.
JobHandler = Callable[[Context, Params, Attempt], Awaitable[float | None]]


class Target(Protocol):
    """What an operation was asked for, as a service remembers it: the same object as long as nothing has changed."""

    @property
    def access(self) -> Sequence[Access]:
        """The permissions needed."""


@dataclass(slots=True)
class Call:
    """An operation to be run at once. `params` are without the payload, which is what REST has as the body; in other
    protocols it is empty. `done` is told the result, or the error."""

    principal: Principal
    account_id: str
    region: str
    params: Params
    payload: bytes
    request_id: str
    trace_header: str
    client_ip: str
    done: Callable[[Result | None, BaseException | None], None]


class PromptHandler(Protocol):
    """The way of an operation that waits for nothing on this side of its result, beside its ordinary handler.

    It need not know what to do in every case: where it does nothing the ordinary way is taken, and says what is wrong.
    """

    def find(self, call: Call) -> Target | None:
        """What the call is for, from memory."""

    def run(self, call: Call, target: Any) -> bool:
        """Start it; `call.done` is told how it ended. False: nothing was done. Raises nothing."""


class Authorizer(Protocol):
    """Decides whether the context's principal may do what an `Access` says."""

    def allows_nowait(self, principal: Principal, access: Access, account_id: str) -> bool:
        """Whether `authorize` is known to allow it; False says nothing."""

    async def authorize(self, ctx: Context, access: Access, *, denied_code: str) -> None:
        """Raise ServiceError with `denied_code` and AWS's text (action, resource, reason) unless it is allowed."""


async def _no_hook() -> None:
    return None


@dataclass(frozen=True)
class Service:
    """What a service gives the dispatcher.

    `name` is botocore's (`s3`, `lambda`, `iam`, `sts`, `logs`); `handlers` maps operation names to bound coroutines;
    `access` says which permissions an operation needs (none: allowed to whoever is authenticated, or anonymous).
    `start` runs once at start (load, sweep), `run` is the background work until cancelled, `stop` ends it cleanly.
    `prompt` are handlers for those operations that are asked for most, beside the ordinary ones.
    `live_blobs` names every blob a row still needs. `jobs` are what a Delivery to this service may name beside its
    operations; no request reaches them.
    """

    name: str
    handlers: Mapping[str, Handler]
    access: AccessOf
    denied_code: str = "AccessDeniedException"
    prompt: Mapping[str, PromptHandler] = field(default_factory=dict)
    start: Callable[[], Awaitable[None]] = _no_hook
    run: Callable[[], Awaitable[None]] | None = None
    stop: Callable[[], Awaitable[None]] = _no_hook
    live_blobs: Callable[[], Awaitable[set[str]]] | None = None
    jobs: Mapping[str, JobHandler] = field(default_factory=dict)


class Dispatcher:
    """Calls operations. Services are added once, at start."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}
        #: By service and operation, once looked up.
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._authorizer: Authorizer | None = None

    def add(self, service: Service) -> None:
        self._services[service.name] = service
        self._handlers.clear()

    def use(self, authorizer: Authorizer) -> None:
        """Set who decides on permissions. Without one, every call is refused."""
        self._authorizer = authorizer

    @property
    def services(self) -> Mapping[str, Service]:
        return self._services

    async def call(self, ctx: Context, service: str, operation: str, params: Params) -> Result:
        """Run one operation. Raises ServiceError: validation, denial, NotImplementedOperation or the handler's own."""
        handler = self._handlers.get((service, operation)) or self._handler(service, operation)
        validate(load_model(service), operation, params)
        found = self._services[service]
        for access in await found.access(ctx, operation, params):
            await self.authorize(ctx, access, denied_code=found.denied_code)
        return await handler(ctx, params)

    def prepare(self, service: str, *operations: str) -> None:
        """Read now, in any thread, what the first calls of these operations would read."""
        if service in self._services:
            for operation in operations:
                self._handler(service, operation)
                prepare_validation(load_model(service), operation)

    def _handler(self, service: str, operation: str) -> Handler:
        found = self._services.get(service)
        handler = found.handlers.get(operation) if found is not None else None
        if handler is None:
            raise NotImplementedOperation(service, operation)
        self._handlers[service, operation] = handler
        return handler

    def call_nowait(self, handler: PromptHandler, call: Call) -> bool:
        """Run an operation at once if all about it is known, permissions above all. False: `call` must be called.

        The parameters have been validated.
        """
        target = handler.find(call)
        if target is None or self._authorizer is None:
            return False
        allows, account_id = self._authorizer.allows_nowait, call.account_id
        for access in target.access:
            if not allows(call.principal, access, account_id):
                return False
        return handler.run(call, target)

    async def authorize(self, ctx: Context, access: Access, *, denied_code: str) -> None:
        """Check one more permission from inside a handler (PassRole, the source of a copy, a role's log group)."""
        if self._authorizer is None:
            raise RuntimeError("no authorizer")
        await self._authorizer.authorize(ctx, access, denied_code=denied_code)


class _Handlers(Mapping[str, Handler]):
    """Handlers by operation. The model, which knows the operations' names, is read when the first is looked up: a start
    need not read eight models, and most servers never use all services.
    """

    def __init__(self, service: str, found: Mapping[str, Handler]) -> None:
        self._service = service
        self._by_snake = found
        self._by_operation: dict[str, Handler] | None = None

    def _named(self) -> dict[str, Handler]:
        if self._by_operation is None:
            names = load_model(self._service).snake_names()
            strange = sorted(self._by_snake.keys() - names.keys())
            if strange:
                raise LookupError(f"{', '.join(strange)}: no operation of {self._service}")
            self._by_operation = {names[name]: handler for name, handler in self._by_snake.items()}
        return self._by_operation

    def __getitem__(self, operation: str) -> Handler:
        return self._named()[operation]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named())

    def __len__(self) -> int:
        return len(self._by_snake)


def bind(
    service: str, state: object, modules: Iterable[ModuleType], around: Callable[[Handler], Handler] | None = None
) -> Mapping[str, Handler]:
    """Handlers of a service: each public coroutine function of `modules` named as an operation in snake case.

    A handler is written `async def get_object(state, ctx, params) -> dict`; `around` is applied to each. A coroutine
    function that matches no operation of the model is a programming error and raises LookupError when the first
    handler is looked up.
    """
    handlers: dict[str, Handler] = {}
    for module in modules:
        for name, function in vars(module).items():
            if (
                not name.startswith("_")
                and getattr(function, "__module__", "") == module.__name__  # asked first: most names are imported ones
                and inspect.iscoroutinefunction(function)
            ):
                handler: Handler = partial(function, state)
                handlers[name] = around(handler) if around is not None else handler
    return _Handlers(service, handlers)


@dataclass(frozen=True, slots=True)
class Parts:
    """What every service and the engine are built from."""

    settings: Settings
    clock: Clock
    ids: Ids
    db: Database
    blobs: Blobs
    dispatcher: Dispatcher
