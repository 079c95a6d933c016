"""The Telemetry API (2022-07-01) and the Logs API (2020-08-15) before it: what happens, carried to who subscribed.

Source: execution-environment contract §3; https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api.html
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from alonzo.core.clock import Clock
from alonzo.engine.log_lines import iso_ms
from alonzo.engine.subscriber import Budget, Connect, Subscriber
from alonzo.engine.subscriptions import Malformed, Request, Schema, shown
from alonzo.engine.tasks import Tasks

#: What is kept for those that subscribe late in the initialisation, in bytes.
_EARLY_BYTES = 1 << 20
#: Subscriptions of one environment: each gets what was kept, so their number bounds that work.
_MOST = 20
#: Bytes that all of them may hold together. (AWS charges them to the function's memory; here they are the server's.)
_HELD_BYTES = 8 << 20
_LOGS_REASON = "Consumer seems to have fallen behind as it has not acknowledged receipt of logs."
_REASON = "Some logs were dropped because the downstream consumer is slower than the logs production rate"


class _Event:
    """Something that happened; rendered once for each schema that wants it."""

    __slots__ = ("_record", "_rendered", "_time", "kind", "type")

    def __init__(self, kind: str, type: str, record: Any, moment: float) -> None:
        self.kind = kind
        self.type = type
        self._record = record
        self._time = moment
        self._rendered: dict[Schema, bytes] = {}

    def render(self, schema: Schema, structured: bool) -> bytes:
        """b"": the schema does not show it."""
        rendered = self._rendered.get(schema)
        if rendered is None:
            record = shown(schema, self.type, self._record, structured)
            rendered = b""
            if record is not None:
                rendered = orjson.dumps({"time": iso_ms(self._time), "type": self.type, "record": record})
            self._rendered[schema] = rendered
        return rendered

    @property
    def size(self) -> int:
        """Nearly."""
        return 100 + (len(self._record) if isinstance(self._record, str) else 200)


class Telemetry:
    """What happens in one environment. `structured`: the function's log format is JSON."""

    def __init__(self, clock: Clock, tasks: Tasks, connect: Connect, structured: bool = False) -> None:
        self._clock = clock
        self._tasks = tasks
        self._connect = connect
        self._structured = structured
        self._early: list[_Event] | None = []
        self._early_bytes = 0
        self._budget = Budget(_HELD_BYTES)
        self._subscribers: list[Subscriber] = []

    def emit(self, kind: str, type: str, record: Any, at_ms: int | None = None) -> None:
        """An event of a kind ("platform", "function" or "extension"); `at_ms` None: now."""
        if self._early is None and not self._subscribers:
            return
        event = _Event(kind, type, record, self._clock.now() if at_ms is None else at_ms / 1000)
        if self._early is not None and self._early_bytes + event.size <= _EARLY_BYTES:
            self._early.append(event)
            self._early_bytes += event.size
        for subscriber in self._subscribers:
            self._give(subscriber, event)

    def _give(self, subscriber: Subscriber, event: _Event) -> None:
        if event.kind in subscriber.request.kinds:
            rendered = event.render(subscriber.request.schema, self._structured)
            if rendered:
                subscriber.add(rendered)

    def subscribe(self, name: str, request: Request) -> bool:
        """From now on, and with what has happened since the environment's start.

        False: the extension has this very subscription already. Raises Malformed where there are too many.
        """
        if any(each.name == name and each.request == request for each in self._subscribers):
            return False
        if len(self._subscribers) >= _MOST:
            raise Malformed(f"an environment has no more than {_MOST} subscriptions")
        subscriber = Subscriber(
            name,
            request,
            tasks=self._tasks,
            connect=self._connect,
            budget=self._budget,
            tell_dropped=self._drop,
        )
        self._subscribers.append(subscriber)
        for event in self._early or ():
            self._give(subscriber, event)
        return True

    def _drop(self, subscriber: Subscriber, records: int, size: int) -> None:
        logs = subscriber.request.schema in (Schema.LOGS, Schema.LOGS_DONE)
        record = {"droppedRecords": records, "droppedBytes": size, "reason": _LOGS_REASON if logs else _REASON}
        self._give(subscriber, _Event("platform", "platform.logsDropped", record, self._clock.now()))

    def initialised(self) -> None:
        """Nobody can subscribe any more: what was kept for latecomers is forgotten."""
        self._early = None

    # -- the environment's life ---------------------------------------------------------------------------------------

    def pause(self) -> None:
        """The environment is frozen: nothing is delivered, and no time-out runs."""
        for subscriber in self._subscribers:
            subscriber.pause()

    def resume(self) -> None:
        """The environment goes on."""
        for subscriber in self._subscribers:
            subscriber.resume()

    async def flush(self, seconds: float) -> None:
        """Deliver what is there, as far as that is possible within the time."""
        sending = [task for task in (subscriber.flush() for subscriber in self._subscribers) if task is not None]
        if sending:
            await asyncio.wait(sending, timeout=max(0.0, seconds))

    def close(self) -> None:
        """The environment has ended."""
        for subscriber in self._subscribers:
            subscriber.close()
        self._subscribers = []
