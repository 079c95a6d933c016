"""One invocation on its way from the invoker through an environment to its answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from alonzo.engine.function import Invocation, InvokeResult
from alonzo.engine.log_lines import Restored
from alonzo.engine.outcome import Failure
from alonzo.engine.streaming import ResponseStream

log = logging.getLogger(__name__)

_NOT_TAKEN = "request_id=%s the answer was not taken"

#: Told the client's answer, or why there is none; once.
Settled = Callable[[InvokeResult | None, BaseException | None], None]


class Run:
    """One invocation on its way. `settled` takes the client's answer; `release` gives the concurrency back, once.

    With a `stream` the client's answer goes there instead.
    """

    __slots__ = (
        "answered",
        "failure",
        "init_ms",
        "invocation",
        "over",
        "release",
        "restored",
        "settled",
        "spent_ms",
        "started",
        "stream",
        "tail",
    )

    def __init__(
        self,
        invocation: Invocation,
        settled: Settled | None,
        release: Callable[[], None],
        stream: ResponseStream | None = None,
    ) -> None:
        self.invocation = invocation
        self.settled = settled
        self.release = release
        self.stream = stream
        self.init_ms: float | None = None
        #: How long its environment took to go on from a snapshot.
        self.restored: Restored | None = None
        #: Milliseconds of the time-out used up before the runtime was ready (an initialisation run again).
        self.spent_ms = 0.0
        self.started = 0.0
        self.failure: Failure | None = None
        #: The client has its answer and the concurrency is given back.
        self.over = False
        self.answered: InvokeResult | None = None
        self.tail: list[str] | None = [] if invocation.log_tail else None

    def settle(self, result: InvokeResult) -> None:
        """Answer the client, if it is still there."""
        settled, self.settled = self.settled, None
        if self.stream is not None:
            self.stream.end(result)
        elif settled is not None:
            try:
                settled(result, None)
            except Exception:  # what the client's side does must not stop the environment's
                log.exception(_NOT_TAKEN, self.invocation.request_id)

    def fail(self, error: BaseException) -> None:
        settled, self.settled = self.settled, None
        if self.stream is not None:
            self.stream.fail(error)
        elif settled is not None:
            try:
                settled(None, error)
            except Exception:
                log.exception(_NOT_TAKEN, self.invocation.request_id)


def into(future: asyncio.Future[InvokeResult]) -> Settled:
    """The answer as the result of a future, unless that was cancelled."""

    def settled(result: InvokeResult | None, error: BaseException | None) -> None:
        if future.done():
            return
        if result is not None:
            future.set_result(result)
        elif error is not None:
            future.set_exception(error)

    return settled
