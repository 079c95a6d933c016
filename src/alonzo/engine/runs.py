"""One invocation on its way from the invoker through an environment to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from alonzo.engine.function import Invocation, InvokeResult
from alonzo.engine.outcome import Failure
from alonzo.engine.streaming import ResponseStream


class Run:
    """One invocation on its way. `future` is the client's answer; `release` gives the concurrency back, once.

    With a `stream` the client's answer goes there instead.
    """

    __slots__ = (
        "answered",
        "failure",
        "future",
        "init_ms",
        "invocation",
        "release",
        "spent_ms",
        "started",
        "stream",
        "tail",
    )

    def __init__(
        self,
        invocation: Invocation,
        future: asyncio.Future[InvokeResult],
        release: Callable[[], None],
        stream: ResponseStream | None = None,
    ) -> None:
        self.invocation = invocation
        self.future = future
        self.release = release
        self.stream = stream
        self.init_ms: float | None = None
        #: Milliseconds of the time-out used up before the runtime was ready (an initialisation run again).
        self.spent_ms = 0.0
        self.started = 0.0
        self.failure: Failure | None = None
        self.answered: InvokeResult | None = None
        self.tail: list[str] | None = [] if invocation.log_tail else None

    def settle(self, result: InvokeResult) -> None:
        """Answer the client, if it is still there."""
        if self.stream is not None:
            self.stream.end(result)
        elif not self.future.done():
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        if self.stream is not None:
            self.stream.fail(error)
        elif not self.future.done():
            self.future.set_exception(error)
