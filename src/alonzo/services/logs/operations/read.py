"""GetLogEvents and FilterLogEvents."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.logs import store
from alonzo.services.logs.filters import compile_pattern
from alonzo.services.logs.models import (
    EVENT_OVERHEAD_BYTES,
    MAX_PAGE_BYTES,
    MAX_PAGE_EVENTS,
    LogEvent,
    LogGroup,
    digits,
    position,
    stream_missing,
)
from alonzo.services.logs.state import Logs, named_group
from alonzo.services.logs.tokens import invalid_token, read_token, write_token

#: Later than any event, in milliseconds.
FOREVER_MS = 1 << 53
#: A page of FilterLogEvents ends after this much work, found or not; its token goes on from there.
SCAN_BYTES = 64 << 20
SCAN_S = 1.0


async def get_log_events(state: Logs, ctx: Context, params: Params) -> Result:
    """One stream's events; `endTime` is exclusive. A token is `f/` or `b/` and a boundary between two positions.

    Going on from the end gives the same token again, and events that came since.
    Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
    """
    group = await state.group(ctx, named_group(ctx, params))
    stream = await state.parts.db.read(lambda c: store.find_stream(c, group, params["logStreamName"]))
    if stream is None:
        raise stream_missing()
    start_ms = max(params.get("startTime", 0), group.oldest_ms(state.now_ms()))
    end_ms = params.get("endTime", FOREVER_MS)
    forward, boundary = _read_boundary(params.get("nextToken"), params.get("startFromHead", False))
    limit = params.get("limit", MAX_PAGE_EVENTS)

    def read(connection: Connection) -> list[LogEvent]:
        wanted = [stream.id]
        with store.snapshot(connection):
            if forward:
                found = store.events_forward(connection, group.id, wanted, max(start_ms, boundary >> 64), end_ms)
                return _page((event for event in found if event.position >= boundary), limit)
            found = store.events_backward(connection, group.id, wanted, start_ms, min(end_ms, (boundary >> 64) + 1))
            return _page((event for event in found if event.position < boundary), limit)[::-1]

    events = await state.parts.db.scan(read)
    if events:
        before, after = events[0].position, events[-1].position + 1
    elif params.get("nextToken"):
        before = after = boundary
    else:
        before = after = position(min(start_ms, state.now_ms()))
    return {
        "events": [
            {"timestamp": event.timestamp_ms, "message": event.message, "ingestionTime": event.ingested_ms}
            for event in events
        ],
        "nextForwardToken": f"f/{digits(after)}/s",
        "nextBackwardToken": f"b/{digits(before)}/s",
    }


def _read_boundary(token: str | None, from_head: bool) -> tuple[bool, int]:
    if token is None:
        return from_head, 0 if from_head else position(FOREVER_MS)
    direction, _, rest = token.partition("/")
    number = rest.removesuffix("/s")
    if direction not in ("f", "b") or not (number.isascii() and number.isdigit() and len(number) == 56):
        raise invalid_token()
    boundary = int(number)
    if boundary > position(FOREVER_MS):
        raise invalid_token()
    return direction == "f", boundary


def _page(events: Iterator[LogEvent], limit: int) -> list[LogEvent]:
    """At most `limit` events and a megabyte, but one event at least."""
    page: list[LogEvent] = []
    size = 0
    for event in events:
        size += EVENT_OVERHEAD_BYTES + len(event.message.encode())
        if page and size > MAX_PAGE_BYTES:
            break
        page.append(event)
        if len(page) >= limit:
            break
    return page


@dataclass(slots=True)
class _Search:
    """What one page of FilterLogEvents looks for. Positions: `start` inclusive, `end` exclusive."""

    group: LogGroup
    names: list[str]
    prefix: str
    start: int
    end: int
    forward: bool
    limit: int
    matches: Callable[[str], bool]


async def filter_log_events(state: Logs, ctx: Context, params: Params) -> Result:
    """Events of a group's streams, interleaved by time; `endTime` is inclusive.

    A page may be empty and still have a token, as on AWS: the search is bounded per page.
    Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
    """
    names, prefix = params.get("logStreamNames", []), params.get("logStreamNamePrefix", "")
    if names and prefix:
        raise ServiceError(
            "InvalidParameterException", "logStreamNames and logStreamNamePrefix are mutually exclusive parameters."
        )
    start_ms, end_ms = params.get("startTime", 0), params.get("endTime", FOREVER_MS)
    if start_ms > end_ms:
        raise ServiceError("InvalidParameterException", "startTime must not be later than endTime.")
    forward, pattern = params.get("startFromHead", True), params.get("filterPattern", "")
    group = await state.group(ctx, named_group(ctx, params))
    scope = ["filter", group.id, names, prefix, start_ms, end_ms, pattern]
    place = read_token(params.get("nextToken"), scope)
    start = position(max(start_ms, group.oldest_ms(state.now_ms())))
    end = position(min(end_ms + 1, FOREVER_MS))
    if place is not None:
        try:
            direction, boundary = str(place[0]), int(place[1])
        except (IndexError, TypeError, ValueError):
            raise invalid_token() from None
        forward = direction == "f"  # the token's direction holds, whatever startFromHead says now
        start, end = (max(start, boundary), end) if forward else (start, min(end, boundary))
    search = _Search(
        group, names, prefix, start, end, forward, params.get("limit", MAX_PAGE_EVENTS), compile_pattern(pattern)
    )

    def read(connection: Connection) -> tuple[list[dict[str, Any]], int | None]:
        with store.snapshot(connection):
            return _search(connection, search)

    events, stopped = await state.parts.db.scan(read)
    result: Result = {"events": events, "searchedLogStreams": []}
    if stopped is not None:
        result["nextToken"] = write_token(scope, ["f" if forward else "b", str(stopped)])
    return result


def _search(connection: Connection, search: _Search) -> tuple[list[dict[str, Any]], int | None]:
    """A page of matching events, and the boundary to go on from where there may be more."""
    group_id = search.group.id
    wanted: store.Wanted = None
    if search.names:
        found = [store.find_stream(connection, search.group, name) for name in search.names]
        if None in found:
            raise stream_missing()
        wanted = [stream.id for stream in found if stream is not None]
    elif search.prefix:
        wanted = store.with_prefix(group_id, search.prefix)
    walk = store.events_forward if search.forward else store.events_backward
    events = walk(connection, group_id, wanted, search.start >> 64, (search.end >> 64) + 1)
    page: list[dict[str, Any]] = []
    stream_names: dict[int, str] = {}
    size = scanned = 0
    deadline = time.monotonic() + SCAN_S  # real time: it bounds work, whatever the service's clock says
    # Events are tuples that begin with time and sequence: they compare with a position's two halves as they are.
    start, end = divmod(search.start, 1 << 64), divmod(search.end, 1 << 64)
    for event in events:
        if not start <= event < end:
            continue
        if len(page) >= search.limit or size > MAX_PAGE_BYTES or scanned > SCAN_BYTES or time.monotonic() > deadline:
            return page, event.position if search.forward else event.position + 1
        length = EVENT_OVERHEAD_BYTES + len(event.message)
        scanned += length
        if not search.matches(event.message):
            continue
        name = stream_names.get(event.stream_id)
        if name is None:
            stream_names |= store.stream_names(connection, group_id, [event.stream_id])
            name = stream_names.setdefault(event.stream_id, "")
        if not name:
            continue  # the stream has been deleted, its chunks not yet swept
        size += length
        page.append(
            {
                "logStreamName": name,
                "timestamp": event.timestamp_ms,
                "message": event.message,
                "ingestionTime": event.ingested_ms,
                "eventId": digits(event.position),
            }
        )
    return page, None
