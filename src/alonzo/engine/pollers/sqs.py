"""An SQS queue's poller: one long poll while the queue is quiet, parallel batches while it is not.

A message is deleted once the function has succeeded with it (or a filter left it out); until then the queue's
visibility timeout holds it back from others and brings it again, so a crash anywhere repeats work and loses none. In a
FIFO queue a group waits while a message of it is in flight, which keeps its order over parallel batches.
Source: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import orjson

from alonzo.core import tracing
from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass, field
from alonzo.core.errors import ServiceError
from alonzo.core.patterns import compile_pattern
from alonzo.engine.function import FunctionVersion
from alonzo.engine.pollers import records
from alonzo.engine.pollers.base import Backoff, Mapping, Slots, Tools

log = logging.getLogger(__name__)

_RECEIVE = 10
_WAIT_S = 20
#: Payload of one invocation in bytes, with room for the document around the records.
MAX_PAYLOAD = 6_291_456 - 16
#: Batches at a time that a mapping begins with, and how many more each second while all are in use.
#: Source: the page above, "scaling" (5 at first, 300 more a minute).
FIRST_BATCHES = 5
_GROW_BATCHES = 5
MOST_BATCHES = 1_250
_GROW_EVERY_S = 1.0
#: Batches at a time for each processor: more environments than this make a machine slower, not faster.
MOST_PER_PROCESSOR = 32
#: Batches at a time of one provisioned poller.
BATCHES_PER_POLLER = 10
#: How often a batch that waits for its window looks into the queue during the window's last second.
_LOOK_EVERY_S = 0.1
_DELETE_TRIES = 4
#: With so many batches being deleted, the next ones wait for them.
_MOST_DELETING = 64
#: A long poll that found nothing in less than this did not wait.
_BRIEF_S = 1.0
#: How long a role's context is used before the function is looked at again.
_ROLE_S = 60.0


@dataclass(slots=True)
class _Batch:
    """Messages with their records' JSON; `size` is that of all records together."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    shown: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, message: dict[str, Any], shown: bytes) -> None:
        self.messages.append(message)
        self.shown.append(shown)
        self.size += len(shown) + 1

    def payload(self) -> bytes:
        return b'{"Records":[' + b",".join(self.shown) + b"]}"


class SqsPoller:
    """See the module."""

    def __init__(self, mapping: Mapping, tools: Tools) -> None:
        self._mapping = mapping
        self._tools = tools
        self._filters = tuple(compile_pattern(pattern, "lambda") for pattern in mapping.filters)
        queue = mapping.source_arn.split(":")
        self._url = f"http://sqs.{queue[3]}.localhost/{queue[4]}/{queue[5]}"
        self._fifo = mapping.source_arn.endswith(".fifo")
        self._slots = Slots(_first(mapping), self._most(None))
        self._backoff = Backoff()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        #: In the long poll, with nothing in hand: it may be cut off.
        self._idle = False
        self._grown_at = 0.0
        #: Batches whose messages are being deleted.
        self._deleting = 0
        self._ctx: tuple[float, Context] | None = None
        self.problem = ""

    def start(self) -> None:
        self._task = self._tools.tasks.start(self._run())

    async def stop(self) -> None:
        self._stopping = True
        task = self._task
        if task is None or task.done():
            return
        if self._idle:
            task.cancel()
        await asyncio.wait([task])

    # -- taking messages ----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._turn()
            except ServiceError as error:
                await self._rest(_problem(error))
            except Exception as error:  # whatever it was, this mapping goes on, and the others never stopped
                log.exception("event source mapping %s", self._mapping.uuid)
                await self._rest(f"PROBLEM: {type(error).__name__}")

    async def _turn(self) -> None:
        """Wait for a place, then for messages, and hand them over."""
        ctx = await self._role()
        if not self._slots.take_nowait():
            await self._wait_for_slot()
            return
        batches: list[_Batch] = []
        try:
            batches = await self._gather(ctx)
            self._recover()
            if not batches and not self._stopping:
                self._slots.rest()
        finally:
            if not batches:
                self._slots.give_back()
        for part in self._parts(batches):
            self._tools.tasks.start(self._handle(ctx, part))

    def _parts(self, batches: list[_Batch]) -> list[list[_Batch]]:
        """What is handled side by side, one part for each place that is free (the first is taken already).

        Batches of a FIFO queue may be of one group, and so go one after another.
        """
        count = min(len(batches), 1)
        while not self._fifo and count < len(batches) and self._slots.take_nowait():
            count += 1
        return [batches[number::count] for number in range(count)]

    def _recover(self) -> None:
        self._backoff.reset()
        self.problem = ""

    async def _rest(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("event source mapping %s: %s", self._mapping.uuid, problem)
        self.problem = problem
        self._ctx = None
        await self._pause(self._backoff.next_s())

    async def _pause(self, seconds: float) -> None:
        self._idle = True
        try:
            await self._tools.clock.sleep(seconds)
        finally:
            self._idle = False

    async def _role(self) -> Context:
        """The execution role, looked up again now and then: function, role and reservation may change."""
        now = self._tools.clock.now()
        if self._ctx is None or now - self._ctx[0] > _ROLE_S or now < self._ctx[0]:
            fv = self._tools.function(self._mapping)
            self._bound(fv)
            self._ctx = (now, await self._tools.role(fv))
        return self._ctx[1]

    def _bound(self, fv: FunctionVersion) -> None:
        if fv.reserved_concurrency == 0:
            # Nothing could run; taking messages would only wear out their receive counts.
            raise ServiceError("TooManyRequestsException", "Function concurrency is 0.", status=429)
        self._slots.bound(self._most(fv.reserved_concurrency))

    def _most(self, reserved: int | None) -> int:
        mapping = self._mapping
        wanted = mapping.max_concurrency or MOST_BATCHES
        if mapping.max_pollers:
            wanted = mapping.max_pollers * BATCHES_PER_POLLER
        if reserved is not None:
            wanted = min(wanted, reserved)
        return min(wanted, max(self._tools.machine.processors * MOST_PER_PROCESSOR, _first(mapping)))

    async def _wait_for_slot(self) -> None:
        """Until a batch ends; while none does and more are allowed, allow more."""
        slots = self._slots
        now = self._tools.clock.now()
        if slots.limit < slots.most and now - self._grown_at >= _GROW_EVERY_S:
            self._grown_at = now
            slots.grow(_GROW_BATCHES, self._tools.machine)
            return
        self._idle = True
        try:
            await slots.freed(_GROW_EVERY_S)
        finally:
            self._idle = False

    async def _gather(self, ctx: Context) -> list[_Batch]:
        """One batch, or several: where one would be too large for an invocation, and where several small ones can run.

        Empty: nothing came in time.
        """
        size = self._mapping.batch_size
        began = self._tools.clock.now()
        several = 1 if self._fifo or self._mapping.window_s else self._slots.limit - self._slots.used + 1
        found = await self._receive(ctx, min(size * max(several, 1), _RECEIVE), _WAIT_S)
        if not found:
            if not self._stopping and self._tools.clock.now() - began < _BRIEF_S:
                await self._pause(_BRIEF_S)  # the server is stopping, and long polls no longer wait
            return []
        batches = [_Batch()]
        ends = self._tools.clock.now() + self._mapping.window_s
        await self._sort(ctx, found, batches)
        while len(batches) == 1 and len(batches[0].messages) < size and not self._stopping:
            left_s = ends - self._tools.clock.now()
            if left_s <= 0:
                break
            if left_s < 1:
                await self._tools.clock.sleep(min(left_s, _LOOK_EVERY_S))
            wanted = min(size - len(batches[0].messages), _RECEIVE)
            try:
                found = await self._receive(ctx, wanted, min(int(left_s), 1))
            except ServiceError as error:
                self.problem = _problem(error)
                break  # what is in hand is handled; the next turn finds the same error
            await self._sort(ctx, found, batches)
        return [batch for batch in batches if batch.messages]

    async def _receive(self, ctx: Context, most: int, wait_s: int) -> list[dict[str, Any]]:
        if self._stopping and wait_s == _WAIT_S:
            return []
        self._idle = wait_s == _WAIT_S
        try:
            answer = await self._tools.dispatcher.call(
                ctx,
                "sqs",
                "ReceiveMessage",
                {
                    "QueueUrl": self._url,
                    "MaxNumberOfMessages": most,
                    "WaitTimeSeconds": wait_s,
                    "MessageSystemAttributeNames": ["All"],
                    "MessageAttributeNames": ["All"],
                },
            )
        finally:
            self._idle = False
        found: list[dict[str, Any]] = answer.get("Messages") or []
        return found

    async def _sort(self, ctx: Context, found: Sequence[dict[str, Any]], batches: list[_Batch]) -> None:
        """Put messages into the last batch, or a new one where it is full; delete those that no filter lets through."""
        unwanted = []
        for message in found:
            shown = records.record(message, self._mapping.source_arn, windowed=self._mapping.window_s > 0)
            if not records.passes(shown, self._filters):
                unwanted.append(message)
                continue
            data = orjson.dumps(shown)
            full = len(batches[-1].messages) >= self._mapping.batch_size
            if full or (batches[-1].messages and batches[-1].size + len(data) + 1 > MAX_PAYLOAD):
                batches.append(_Batch())
            batches[-1].add(message, data)
        if unwanted:
            await self._delete(ctx, unwanted)

    # -- handling a batch ---------------------------------------------------------------------------------------------

    async def _handle(self, ctx: Context, batches: list[_Batch]) -> None:
        """Invoke batch after batch. In a FIFO queue those after a failed one wait too: they may be of its group."""
        holding = True
        try:
            for batch in batches:
                done = await self._invoke(ctx, batch)
                if batch is batches[-1] and self._deleting < _MOST_DELETING:
                    # The function is free again; its messages' end on disk need not hold up the next batch.
                    holding = False
                    self._slots.give_back()
                if done:
                    await self._delete(ctx, done)
                if self._fifo and len(done) < len(batch.messages):
                    return
        finally:
            if holding:
                self._slots.give_back()

    async def _invoke(self, ctx: Context, batch: _Batch) -> list[dict[str, Any]]:
        """Run the function; the messages that are done with."""
        headers = [str((message.get("Attributes") or {}).get("AWSTraceHeader", "")) for message in batch.messages]
        trace = tracing.deepest(headers, self._mapping.function_arn)
        begun = self._slots.begun()
        try:
            result = await self._tools.invoke(self._mapping, batch.payload(), trace)
        except ServiceError as error:
            self._ctx = None
            if error.code == "RecursiveInvocationException":
                return await self._stop_loop(ctx, batch, headers)
            if error.status == 429:
                self._slots.shrink()
            else:
                self.problem = _problem(error)
            return []
        except Exception:
            log.exception("event source mapping %s: a batch failed", self._mapping.uuid)
            return []
        self._slots.ran(begun)
        if result.function_error:
            return []
        if not self._mapping.report_failures:
            return batch.messages
        failures = records.failed(result.payload, [message["MessageId"] for message in batch.messages])
        if failures is None:
            return []
        return [message for message in batch.messages if message["MessageId"] not in failures]

    async def _stop_loop(self, ctx: Context, batch: _Batch, headers: Sequence[str]) -> list[dict[str, Any]]:
        """Messages that have gone round too often are not handled: they go to the queue's dead-letter queue with their
        receives, or away where it has none. The others of the batch are handled without them.

        Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
        """
        rest, looping = _Batch(), []
        for message, shown, header in zip(batch.messages, batch.shown, headers, strict=True):
            if tracing.loops_of(header, self._mapping.function_arn) + 1 >= tracing.MAX_LOOPS:
                looping.append(message)
            else:
                rest.add(message, shown)
        log.warning("event source mapping %s: recursive loop, %d messages", self._mapping.uuid, len(looping))
        self.problem = f"PROBLEM: {tracing.STOPPED}"
        try:
            answer = await self._tools.dispatcher.call(
                ctx, "sqs", "GetQueueAttributes", {"QueueUrl": self._url, "AttributeNames": ["RedrivePolicy"]}
            )
        except ServiceError:
            return []
        done = [] if answer.get("Attributes") else looping
        if not rest.messages or not looping:
            return done
        return [*done, *await self._invoke(ctx, rest)]

    async def _delete(self, ctx: Context, messages: Sequence[dict[str, Any]]) -> None:
        self._deleting += 1
        try:
            for start in range(0, len(messages), _RECEIVE):
                await self._delete_some(ctx, messages[start : start + _RECEIVE])
        finally:
            self._deleting -= 1

    async def _delete_some(self, ctx: Context, messages: Sequence[dict[str, Any]]) -> None:
        """Ten at most. What cannot be deleted comes again, as at-least-once delivery allows."""
        entries = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]
        backoff = Backoff(0.1)
        for attempt in range(_DELETE_TRIES):
            try:
                answer = await self._tools.dispatcher.call(
                    ctx, "sqs", "DeleteMessageBatch", {"QueueUrl": self._url, "Entries": entries}
                )
            except ServiceError as error:
                if error.status < 500 or attempt + 1 == _DELETE_TRIES:
                    self.problem = _problem(error)
                    return
            else:
                again = {one["Id"] for one in answer.get("Failed") or () if not one.get("SenderFault")}
                entries = [one for one in entries if one["Id"] in again]
                if not entries:
                    return
            await self._tools.clock.sleep(backoff.next_s())


def _first(mapping: Mapping) -> int:
    return max(FIRST_BATCHES, mapping.min_pollers * BATCHES_PER_POLLER)


def _problem(error: ServiceError) -> str:
    """LastProcessingResult, in the form AWS gives its problems."""
    return f"PROBLEM: {error.message}"
