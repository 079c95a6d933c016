"""A response on its way from the runtime to the client while the handler still runs.

The runtime's connection writes, the client's side reads. Between them lies a bounded buffer: while it is full, the
runtime's connection is not read, so the handler waits in its own write, as on AWS, and no other environment does.
Source: execution-environment contract §8; https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from alonzo.engine.function import InvokeResult

#: Bytes that a function may stream in one response.
MAX_STREAMED = 200 * 1024 * 1024
#: AWS lets so many bytes pass at once before the rate counts.
BURST = 6 * 1024 * 1024
#: The runtime's connection is paused above the first, and read again below the second, in bytes.
_HIGH = 256 * 1024
_LOW = 64 * 1024


class Flow(Protocol):
    """The writer's connection."""

    def pause_stream(self) -> None: ...

    def resume_stream(self) -> None: ...


class Bucket:
    """Tokens for bytes: BURST of them at first, then `rate` bytes a second (0: no limit)."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._left = float(BURST)
        self._at = now

    def take(self, size: int, now: float) -> float:
        """Seconds to wait before `size` bytes may pass."""
        if self._rate <= 0:
            return 0.0
        self._left = min(self._left + (now - self._at) * self._rate, float(BURST)) - size
        self._at = now
        return max(0.0, -self._left / self._rate)


class ResponseStream:
    """One streamed response. Iterate over it once; `result` is complete after that.

    A client that goes away does not stop the function: what it writes from then on is counted and forgotten.
    """

    __slots__ = (
        "_abandoned",
        "_bucket",
        "_buffer",
        "_ended",
        "_error",
        "_flow",
        "_loop",
        "_paused",
        "_total",
        "_wake",
        "began",
        "content_type",
        "result",
        "version",
    )

    def __init__(self, rate: float) -> None:
        self._loop = asyncio.get_running_loop()
        #: Done once the response begins, or the function has ended without one. Raises what kept it from running.
        self.began: asyncio.Future[None] = self._loop.create_future()
        self.content_type = ""
        #: The version that runs.
        self.version = ""
        self.result: InvokeResult | None = None
        self._bucket = Bucket(rate, self._loop.time())
        self._buffer = bytearray()
        self._total = 0
        self._flow: Flow | None = None
        self._paused = False
        self._abandoned = False
        self._ended = False
        self._error: BaseException | None = None
        self._wake: asyncio.Future[None] | None = None

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self._total

    # -- the writer ---------------------------------------------------------------------------------------------------

    def begin(self, version: str, content_type: str, flow: Flow) -> None:
        """The runtime has begun to answer."""
        self.version = version
        self.content_type = content_type
        self._flow = flow
        self._started()

    def feed(self, data: bytes) -> bool:
        """Take more of the response; False once it is larger than a response may be."""
        self._total += len(data)
        if self._total > MAX_STREAMED:
            return False
        if self._abandoned or self._ended:
            return True
        self._buffer += data
        if not self._paused and len(self._buffer) > _HIGH and self._flow is not None:
            self._paused = True
            self._flow.pause_stream()
        self._notify()
        return True

    def end(self, result: InvokeResult) -> None:
        """The function has answered, or failed. Where it did not stream, `result` holds the whole answer."""
        if self._ended:
            return
        self._ended = True
        self.result = result
        if not self.version:
            self.version = result.executed_version
            if not result.function_error:
                self.content_type = "application/json"
                self._buffer += result.payload
        self._started()
        self._notify()

    def fail(self, error: BaseException) -> None:
        """It cannot run, or the server stops."""
        if self._ended:
            return
        self._ended = True
        self._error = error
        if not self.began.done():
            self.began.set_exception(error)
        self._notify()

    def _started(self) -> None:
        if not self.began.done():
            self.began.set_result(None)

    def _notify(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    # -- the reader ---------------------------------------------------------------------------------------------------

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes as they come. Raises ServiceError where the server stops meanwhile."""
        try:
            while True:
                if self._buffer:
                    chunk = bytes(self._buffer)
                    self._buffer.clear()
                    self._resume()
                    delay_s = self._bucket.take(len(chunk), self._loop.time())
                    if delay_s > 0:
                        await asyncio.sleep(delay_s)
                    yield chunk
                elif self._ended:
                    break
                else:
                    self._wake = self._loop.create_future()
                    await self._wake
            if self._error is not None:
                raise self._error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Nobody reads (any more)."""
        self._abandoned = True
        self._buffer.clear()
        self._resume()

    def _resume(self) -> None:
        if self._paused and len(self._buffer) <= _LOW:
            self._paused = False
            if self._flow is not None:
                self._flow.resume_stream()
