"""The runtime's state machine: what a runtime process may say to the Runtime API, and when.

Source: execution-environment contract §1; https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from alonzo.engine.streaming import Flow, ResponseStream

#: Bytes that a function may answer.
MAX_RESPONSE = 6_291_556

_ERROR_TYPE = re.compile(r"(Runtime|Function)\.[A-Z][a-zA-Z]+")


class State(StrEnum):
    """Names as AWS's error texts show them."""

    STARTED = "Started"
    READY = "Ready"
    RUNNING = "Running"
    RESPONSE = "InvocationResponse"
    ERROR_RESPONSE = "InvocationErrorResponse"
    SENT = "RuntimeResponseSentState"
    INIT_ERROR = "InitError"
    RESTORE_READY = "RestoreReady"
    RESTORING = "Restoring"
    RESTORE_ERROR = "RestoreError"


# Looking a member up in its class costs more than the comparisons it is for.
_READY, _RUNNING, _SENT = State.READY, State.RUNNING, State.SENT


class TransitionError(Exception):
    """The runtime may not do this now (403 InvalidStateTransition)."""

    def __init__(self, source: State, target: State) -> None:
        super().__init__(
            f"State transition from {source.value} to {target.value} failed for runtime."
            " Error: State transition is not allowed"
        )


class RequestIdError(Exception):
    """The request id in the path is not that of the current invocation (400 InvalidRequestID)."""


class Listener(Protocol):
    """Who is told what the runtime did: the execution environment."""

    def runtime_ready(self) -> None:
        """The runtime asked for the next invocation: initialised, or finished with the one before."""

    def runtime_response(self, body: bytes) -> None:
        """The answer of the current invocation."""

    def runtime_response_too_large(self) -> None:
        """An answer over MAX_RESPONSE was refused."""

    def runtime_error(self, error_type: str, body: bytes) -> None:
        """The current invocation failed; `body` is the function's error document, untouched."""

    def runtime_init_error(self, error_type: str, body: bytes) -> None:
        """Initialisation failed."""

    def runtime_rests(self, frame: int, refusal: str, go: Callable[[], None]) -> None:
        """The runtime may be kept as a snapshot, and goes on when `go` is called.

        `frame` is the address in its memory at which a copy would go on; 0: it cannot be copied, `refusal` may say why.
        """

    def runtime_stream(self, content_type: str, flow: Flow) -> ResponseStream | None:
        """The answer comes in pieces: where they go, or None where the client wants it whole."""

    def runtime_streamed(self, error_type: str, body: bytes) -> None:
        """The pieces have all come; with an error type the function failed meanwhile."""

    def runtime_stream_too_large(self) -> None:
        """More came than a function may stream; the rest is forgotten."""

    def runtime_stream_broken(self) -> None:
        """The connection ended before the answer did."""


def filter_error_type(header: str, default: str = "Function.Unknown") -> str:
    """The header's error type where it has the shape AWS accepts, else `default`."""
    return header if _ERROR_TYPE.fullmatch(header) else default


class RuntimeState:
    """One runtime process's state. `dispatch` gives it an invocation; the other methods are what it says.

    Every method either changes the state and tells the listener, or raises and changes nothing.
    """

    __slots__ = ("_event", "_listener", "_request_id", "_waiter", "state")

    def __init__(self, listener: Listener) -> None:
        self.state = State.STARTED
        self._listener = listener
        self._event: bytes = b""
        self._request_id = ""
        self._waiter: Callable[[bytes], None] | None = None

    def dispatch(self, request_id: str, event: bytes) -> None:
        """Hand over an invocation: `event` is the whole HTTP response to `next`. Only in READY.

        Where the connection that waited has gone, the event waits for the next `next`.
        """
        if self.state is not _READY:
            raise TransitionError(self.state, State.RUNNING)
        self.state = _RUNNING
        self._request_id = request_id
        self._event = event
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter(event)

    def next(self, waiter: Callable[[bytes], None]) -> None:
        """`waiter` is called with the response now or later."""
        if self.state is _RUNNING:
            waiter(self._event)  # AWS hands out the same event again
            return
        if self.state is _READY:
            if self._waiter is not None:
                raise TransitionError(self.state, State.READY)
            self._waiter = waiter
            return
        if self.state is not _SENT and self.state not in (State.STARTED, State.RESTORING):
            raise TransitionError(self.state, State.READY)
        self.state = _READY
        self._event = b""
        self._waiter = waiter
        self._listener.runtime_ready()

    def restore_next(self, frame: int, refusal: str, waiter: Callable[[], None]) -> None:
        """The runtime is ready to be kept as a snapshot; `waiter` answers it, now or later."""
        if self.state is not State.STARTED:
            raise TransitionError(self.state, State.RESTORE_READY)
        self.state = State.RESTORE_READY

        def go() -> None:
            if self.state is State.RESTORE_READY:
                self.state = State.RESTORING
                waiter()

        self._listener.runtime_rests(frame, refusal, go)

    def restore_error(self) -> None:
        if self.state is not State.RESTORING:
            raise TransitionError(self.state, State.RESTORE_ERROR)
        self.state = State.RESTORE_ERROR

    def forget(self, waiter: Callable[[bytes], None]) -> None:
        """The connection of a waiting `next` has gone."""
        if self._waiter == waiter:
            self._waiter = None

    def check(self, request_id: str, target: State) -> None:
        """Raise unless a response (or error) for `request_id` may come now."""
        if not self._request_id or request_id != self._request_id:
            raise RequestIdError
        if self.state is not State.RUNNING:
            raise TransitionError(self.state, target)

    def response(self, request_id: str, body: bytes) -> None:
        self.begin_response(request_id)
        self._listener.runtime_response(body)

    def begin_response(self, request_id: str) -> None:
        """The first half of `response`, for whoever has to say something to the runtime before the client is told."""
        if self.state is not _RUNNING or request_id != self._request_id:
            self.check(request_id, State.RESPONSE)
        self.state = _SENT

    def end_response(self, body: bytes) -> None:
        """The second half."""
        self._listener.runtime_response(body)

    def response_too_large(self, request_id: str) -> None:
        self.check(request_id, State.RESPONSE)
        self.state = State.SENT
        self._listener.runtime_response_too_large()

    def response_failed(self, request_id: str, error_type: str, body: bytes) -> None:
        """A response whose trailers say that the function failed while it wrote."""
        self.check(request_id, State.RESPONSE)
        self.state = State.SENT
        self._listener.runtime_error(filter_error_type(error_type), body)

    def stream(self, request_id: str, content_type: str, flow: Flow) -> ResponseStream | None:
        """A streamed response begins. None: collect it, and call `response` with the whole."""
        self.check(request_id, State.RESPONSE)
        stream = self._listener.runtime_stream(content_type, flow)
        if stream is not None:
            self.state = State.RESPONSE
        return stream

    def streamed(self, error_type: str = "", body: bytes = b"") -> None:
        if self.state is State.RESPONSE:
            self.state = State.SENT
            self._listener.runtime_streamed(filter_error_type(error_type) if error_type else "", body)

    def stream_too_large(self) -> None:
        self._listener.runtime_stream_too_large()

    def stream_broken(self) -> None:
        if self.state is State.RESPONSE:
            self.state = State.SENT
            self._listener.runtime_stream_broken()

    def error(self, request_id: str, error_type: str, body: bytes) -> None:
        self.check(request_id, State.ERROR_RESPONSE)
        self.state = State.SENT
        self._listener.runtime_error(filter_error_type(error_type), body)

    def init_error(self, error_type: str, body: bytes) -> None:
        if self.state is not State.STARTED:
            raise TransitionError(self.state, State.INIT_ERROR)
        self.state = State.INIT_ERROR
        self._listener.runtime_init_error(filter_error_type(error_type, "Runtime.Unknown"), body)
