"""What is done with a receipt handle: deleting messages, changing how long they are hidden."""

from __future__ import annotations

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.sqs.batches import check_batch, each
from alonzo.services.sqs.errors import expired_handle, invalid_value, missing, not_in_flight
from alonzo.services.sqs.handles import read_handle
from alonzo.services.sqs.index import State
from alonzo.services.sqs.live import LiveQueue
from alonzo.services.sqs.models import MAX_VISIBILITY_S
from alonzo.services.sqs.receiving import discard
from alonzo.services.sqs.state import Sqs


async def delete_message(state: Sqs, ctx: Context, params: Params) -> Result:
    return await _delete(state, state.live(ctx, params["QueueUrl"]), params)


async def delete_message_batch(state: Sqs, ctx: Context, params: Params) -> Result:
    live = state.live(ctx, params["QueueUrl"])
    entries = check_batch(params["Entries"], "DeleteMessageBatchRequestEntry")
    return await each(entries, lambda entry: _delete(state, live, entry))


async def _delete(state: Sqs, live: LiveQueue, params: Params) -> Result:
    """An old handle, or one of a message that is gone, deletes nothing, and that is no error.

    Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html
    """
    seq = find(live, params)
    if seq is not None:
        await discard(state, live, [seq])
        deleted(live)
    return {}


def find(live: LiveQueue, params: Params) -> int | None:
    """The message that a DeleteMessage means; None where there is nothing to do. Raises ServiceError."""
    handle = params.get("ReceiptHandle")
    if not handle:
        raise missing("ReceiptHandle")
    seq, receipt = read_handle(handle, live.queue.id)
    entry = live.ready().entries.get(seq)
    if entry is None or entry.receipt != receipt:
        return None
    if live.queue.fifo and entry.state is not State.IN_FLIGHT:
        raise expired_handle(handle)
    return seq


def deleted(live: LiveQueue) -> None:
    """After messages were deleted: the rest of a FIFO queue's group may be received now."""
    if live.queue.fifo:
        live.wake()


async def change_message_visibility(state: Sqs, ctx: Context, params: Params) -> Result:
    return await _change(state, state.live(ctx, params["QueueUrl"]), params)


async def change_message_visibility_batch(state: Sqs, ctx: Context, params: Params) -> Result:
    live = state.live(ctx, params["QueueUrl"])
    entries = check_batch(params["Entries"], "ChangeMessageVisibilityBatchRequestEntry")
    return await each(entries, lambda entry: _change(state, live, entry))


async def _change(state: Sqs, live: LiveQueue, params: Params) -> Result:
    handle, seconds = params.get("ReceiptHandle"), params.get("VisibilityTimeout")
    if not handle:
        raise missing("ReceiptHandle")
    if seconds is None:
        raise missing("VisibilityTimeout")
    if not 0 <= seconds <= MAX_VISIBILITY_S:
        raise invalid_value(
            seconds, "VisibilityTimeout", f"VisibilityTimeout must be an integer between 0 and {MAX_VISIBILITY_S}"
        )
    seq, receipt = read_handle(handle, live.queue.id)
    index = live.ready()
    entry = index.entries.get(seq)
    if entry is None or entry.receipt != receipt or entry.state is not State.IN_FLIGHT:
        raise not_in_flight(handle)
    now_ms = state.now_ms()
    if now_ms + seconds * 1000 > entry.started_ms + MAX_VISIBILITY_S * 1000 and entry.started_ms:
        raise invalid_value(
            seconds,
            "VisibilityTimeout",
            f"Total VisibilityTimeout for the message is beyond the limit [{MAX_VISIBILITY_S} seconds]",
        )
    index.hide(entry, now_ms + seconds * 1000)
    state.writer.touch(entry)
    if seconds == 0:
        index.tick(now_ms)
        live.wake()
    live.arm()
    return {}
