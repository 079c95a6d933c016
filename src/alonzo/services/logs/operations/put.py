"""PutLogEvents: one batch, one row."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.logs import chunks, store
from alonzo.services.logs.models import (
    DAY_MS,
    EVENT_OVERHEAD_BYTES,
    MAX_AGE_MS,
    MAX_AHEAD_MS,
    MAX_BATCH_BYTES,
    MAX_SPAN_MS,
    group_missing,
    stream_missing,
)
from alonzo.services.logs.state import Logs
from alonzo.services.logs.store.tables import Place


async def put_log_events(state: Logs, ctx: Context, params: Params) -> Result:
    """Store a batch; what is too old, expired or too new is left out and reported. Sequence tokens are ignored.

    Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
    """
    events = params["logEvents"]
    place = (ctx.account_id, ctx.region, params["logGroupName"], params["logStreamName"])
    times = [event["timestamp"] for event in events]
    messages = [event["message"] for event in events]
    _check_order(times)
    size = _check_size(messages)
    now_ms = state.now_ms()
    rejected: dict[str, int] = {}
    first, last = 0, len(times)
    if times[0] < now_ms - DAY_MS or times[-1] > now_ms + MAX_AHEAD_MS:
        first, last, rejected = await _accepted(state, ctx, params["logGroupName"], times, now_ms)
        times, messages = times[first:last], messages[first:last]
        size = _check_size(messages)
    if times:
        _check_span(times)
        data = chunks.encode(times, messages)
        chunk = store.NewChunk(place, times[0], times[-1], len(times), size, now_ms, data)
        if not await state.batches.append(chunk):
            raise await state.parts.db.read(lambda c: _missing(c, place))
    else:
        await state.parts.db.read(lambda c: _check_place(c, place))
    result: Result = {"nextSequenceToken": f"{now_ms:056d}"}
    if rejected:
        result["rejectedLogEventsInfo"] = rejected
    return result


def _check_order(times: list[int]) -> None:
    if times != sorted(times):
        raise ServiceError(
            "InvalidParameterException",
            "Log events in a single PutLogEvents request must be in chronological order.",
        )
    if times[0] < 0:
        raise ServiceError(
            "InvalidParameterException",
            f"1 validation error detected: Value '{times[0]}' at 'logEvents.1.member.timestamp' failed to satisfy "
            "constraint: Member must have value greater than or equal to 0",
        )


def _check_span(times: Sequence[int]) -> None:
    """Only valid events count."""
    if times[-1] - times[0] > MAX_SPAN_MS:
        raise ServiceError(
            "InvalidParameterException",
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        )


def _check_size(messages: Sequence[str]) -> int:
    """The batch's bytes as AWS counts them."""
    size = EVENT_OVERHEAD_BYTES * len(messages) + _bytes("".join(messages))
    if size <= MAX_BATCH_BYTES:
        return size
    largest = EVENT_OVERHEAD_BYTES + max(_bytes(message) for message in messages)
    if largest > MAX_BATCH_BYTES:
        raise ServiceError(
            "InvalidParameterException", f"Log event too large: {largest} bytes exceeds limit of {MAX_BATCH_BYTES}"
        )
    raise ServiceError(
        "InvalidParameterException", f"Upload too large: {size} bytes exceeds limit of {MAX_BATCH_BYTES}"
    )


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


async def _accepted(
    state: Logs, ctx: Context, group_name: str, times: Sequence[int], now_ms: int
) -> tuple[int, int, dict[str, int]]:
    """The range of events that are accepted, and rejectedLogEventsInfo (end indexes are exclusive)."""
    group = await state.group(ctx, group_name)
    rejected: dict[str, int] = {}
    too_old = bisect_left(times, now_ms - MAX_AGE_MS)
    expired = bisect_left(times, group.oldest_ms(now_ms))
    too_new = bisect_right(times, now_ms + MAX_AHEAD_MS)
    if too_old:
        rejected["tooOldLogEventEndIndex"] = too_old
    if expired:
        rejected["expiredLogEventEndIndex"] = expired
    if too_new < len(times):
        rejected["tooNewLogEventStartIndex"] = too_new
    return max(too_old, expired), too_new, rejected


def _check_place(connection: Connection, place: Place) -> None:
    group = store.find_group(connection, (place[0], place[1]), place[2])
    if group is None or store.find_stream(connection, group, place[3]) is None:
        raise _missing(connection, place)


def _missing(connection: Connection, place: Place) -> ServiceError:
    found = store.find_group(connection, (place[0], place[1]), place[2])
    return group_missing() if found is None else stream_missing()
