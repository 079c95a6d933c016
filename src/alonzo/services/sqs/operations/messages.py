"""Sending and receiving."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from alonzo.core.context import Context
from alonzo.dispatch import Call, Params, Result
from alonzo.services.sqs.batches import check_batch, each
from alonzo.services.sqs.errors import batch_too_long, invalid, invalid_value, no_queue, over_limit, unknown_attribute
from alonzo.services.sqs.handles import write_handle
from alonzo.services.sqs.index import Entry
from alonzo.services.sqs.live import LiveQueue
from alonzo.services.sqs.message_attributes import chosen, digest, unpack
from alonzo.services.sqs.models import (
    DEDUPLICATION_MS,
    MAX_IN_FLIGHT,
    MAX_MESSAGE_BYTES,
    MAX_VISIBILITY_S,
    MAX_WAIT_S,
    Message,
    Queue,
    sequence_number,
)
from alonzo.services.sqs.receiving import Taken, again, take
from alonzo.services.sqs.sending import Outgoing, check_token, prepare, send
from alonzo.services.sqs.state import Sqs

SYSTEM_ATTRIBUTES = frozenset(
    {
        "All",
        "SenderId",
        "SentTimestamp",
        "ApproximateReceiveCount",
        "ApproximateFirstReceiveTimestamp",
        "SequenceNumber",
        "MessageDeduplicationId",
        "MessageGroupId",
        "AWSTraceHeader",
        "DeadLetterQueueSourceArn",
    }
)
#: Receive attempts remembered for each queue.
_MAX_ATTEMPTS = 10_000


async def send_message(state: Sqs, ctx: Context, params: Params) -> Result:
    live = state.live(ctx, params["QueueUrl"])
    return await send(state, outgoing(state, ctx, live, params))


def outgoing(state: Sqs, ctx: Context | Call, live: LiveQueue, params: Params) -> Outgoing:
    """One message that satisfies every rule. Raises ServiceError."""
    out, limit = prepare(state, ctx, live, params), live.queue.max_bytes
    if out.size > limit:
        raise invalid(f"One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes.")
    return out


async def send_message_batch(state: Sqs, ctx: Context, params: Params) -> Result:
    live = state.live(ctx, params["QueueUrl"])

    async def one(entry: Params) -> Result:
        return await send(state, outgoing(state, ctx, live, entry))

    return await each(entries_to_send(params), one)


def entries_to_send(params: Params) -> list[Params]:
    """A batch's entries. Raises ServiceError where the batch as a whole is refused."""
    entries = check_batch(params["Entries"], "SendMessageBatchRequestEntry")
    size = sum(map(_size, entries))
    if size > MAX_MESSAGE_BYTES:
        raise batch_too_long(MAX_MESSAGE_BYTES, size)
    return entries


def _size(entry: Params) -> int:
    """A message's bytes, before anything is known to be right about it."""
    size = len((entry.get("MessageBody") or "").encode(errors="replace"))
    for name, value in (entry.get("MessageAttributes") or {}).items():
        text = (value.get("StringValue") or "").encode(errors="replace")
        size += len(name) + len(value.get("DataType") or "") + len(text) + len(value.get("BinaryValue") or b"")
    return size


class Receive(NamedTuple):
    """What a ReceiveMessage asks for."""

    limit: int
    visibility_ms: int
    wait_s: int
    names: list[str]
    attempt: str | None


def read_receive(queue: Queue, params: Params) -> Receive:
    """Raises ServiceError."""
    limit = _between(params, "MaxNumberOfMessages", 1, 10, 1)
    visibility_s = _between(params, "VisibilityTimeout", 0, MAX_VISIBILITY_S, queue.visibility_ms // 1000)
    wait_s = _wait_s(params, queue.wait_s)
    names = [*(params.get("AttributeNames") or ()), *(params.get("MessageSystemAttributeNames") or ())]
    for name in names:
        if name not in SYSTEM_ATTRIBUTES:
            raise unknown_attribute(name)
    attempt = params.get("ReceiveRequestAttemptId")
    if attempt is not None:
        check_token(attempt, "ReceiveRequestAttemptId")
        if not queue.fifo:
            raise invalid_value(
                attempt,
                "ReceiveRequestAttemptId",
                "The request includes a parameter that is not valid for this queue type.",
            )
    return Receive(limit, visibility_s * 1000, wait_s, names, attempt)


async def receive_message(state: Sqs, ctx: Context, params: Params) -> Result:
    live = state.live(ctx, params["QueueUrl"])
    asked = read_receive(live.queue, params)
    attempt = asked.attempt
    found = again(state, live, attempt, asked.visibility_ms) if attempt is not None else []
    found = found or await _wait(state, live, asked.limit, asked.visibility_ms, asked.wait_s)
    if attempt is not None and found and len(live.attempts) < _MAX_ATTEMPTS:
        given = [(entry.seq, entry.receipt) for _, entry in found]
        live.attempts[attempt] = (state.now_ms() + DEDUPLICATION_MS, given)
    return received(live, params, asked, found)


def received(live: LiveQueue, params: Params, asked: Receive, found: Taken) -> Result:
    """A ReceiveMessage's result."""
    if not found:
        return {}
    wanted = params.get("MessageAttributeNames") or ()
    return {"Messages": [_shown(live, message, entry, asked.names, wanted) for message, entry in found]}


def full(live: LiveQueue) -> bool:
    """So much is in flight that nothing more is given."""
    return not live.queue.fifo and live.index.in_flight >= MAX_IN_FLIGHT


def others_may(live: LiveQueue) -> None:
    """After a receive: a wake-up that came for its messages may be wanted for others."""
    if live.index.indexed:
        live.wake()


async def _wait(state: Sqs, live: LiveQueue, limit: int, visibility_ms: int, wait_s: float) -> Taken:
    until = state.parts.clock.now() + wait_s
    while True:
        if full(live):
            if wait_s == 0:
                raise over_limit("Too many messages are in flight: no more than 120000 can be at one time.")
        else:
            found = await take(state, live, limit, visibility_ms)
            if found:
                others_may(live)
                return found
        if live.deleted:
            raise no_queue()
        if state.closing or state.parts.clock.now() >= until:
            return []
        await live.wait(until)


def _between(params: Params, name: str, low: int, high: int, default: int) -> int:
    value = params.get(name)
    if value is None:
        return default
    if not low <= value <= high:
        raise invalid_value(value, name, f"Must be between {low} and {high}, if provided.")
    return int(value)


def _wait_s(params: Params, default: int) -> int:
    value = params.get("WaitTimeSeconds")
    if value is None:
        return default
    if not 0 <= value <= MAX_WAIT_S:
        raise invalid_value(value, "WaitTimeSeconds", f"Must be >= 0 and <= {MAX_WAIT_S}, if provided.")
    return int(value)


def _shown(
    live: LiveQueue, message: Message, entry: Entry, names: Sequence[str], wanted: Sequence[str]
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "MessageId": message.message_id,
        "ReceiptHandle": write_handle(live.queue.id, message.seq, entry.receipt),
        "MD5OfBody": hashlib.md5(message.body.encode(), usedforsecurity=False).hexdigest(),
        "Body": message.body,
    }
    if names:
        every = _system_attributes(live, message, entry)
        system = every if "All" in names else {name: every[name] for name in names if name in every}
        if system:
            shown["Attributes"] = system
    if wanted and message.attributes is not None:
        attributes = chosen(unpack(message.attributes), wanted)
        if attributes:
            shown["MessageAttributes"] = attributes
            shown["MD5OfMessageAttributes"] = digest(attributes)
    return shown


def _system_attributes(live: LiveQueue, message: Message, entry: Entry) -> dict[str, str]:
    found = {
        "SenderId": message.sender_id,
        "SentTimestamp": str(message.sent_ms),
        "ApproximateReceiveCount": str(entry.count),
        "ApproximateFirstReceiveTimestamp": str(entry.first_ms),
    }
    if live.queue.fifo:
        found["SequenceNumber"] = sequence_number(message.seq)
    for name, value in (
        ("MessageDeduplicationId", message.dedup_id),
        ("MessageGroupId", message.group_id),
        ("AWSTraceHeader", message.trace),
        ("DeadLetterQueueSourceArn", message.dlq_source),
    ):
        if value is not None:
            found[name] = value
    return found
