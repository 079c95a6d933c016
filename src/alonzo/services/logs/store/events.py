"""Reading events out of chunks."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    bindparam,
    func,
    select,
)

from alonzo.services.logs import chunks
from alonzo.services.logs.models import MAX_SPAN_MS, LogEvent
from alonzo.services.logs.store.tables import chunk_table, streams

#: None: every stream of the group; else their ids, or a query that gives them.
Wanted = Sequence[int] | Select[tuple[int]] | None


def with_prefix(group_id: int, prefix: str) -> Select[tuple[int]]:
    """The ids of a group's streams whose name starts with `prefix`."""
    return select(streams.c.id).where(
        streams.c.group_id == group_id, func.substr(streams.c.name, 1, len(prefix)) == prefix
    )


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """What is read inside sees one state of the database, whatever is merged or swept meanwhile."""
    connection.exec_driver_sql("BEGIN")
    try:
        yield
    finally:
        connection.exec_driver_sql("ROLLBACK")


def events_forward(
    connection: Connection, group_id: int, wanted: Wanted, start_ms: int, end_ms: int
) -> Iterator[LogEvent]:
    """Events of the wanted streams with start <= time < end, in order of position, lazily."""
    rows = connection.execute(_overlapping(group_id, wanted, start_ms, end_ms).order_by(chunk_table.c.first_ms))
    return _merge(connection, rows, start_ms, end_ms, lambda row: row.first_ms, 1)


def events_backward(
    connection: Connection, group_id: int, wanted: Wanted, start_ms: int, end_ms: int
) -> Iterator[LogEvent]:
    """The same events, last first. Looks back in windows that grow, so that the end of a long log costs little."""
    last = connection.execute(select(func.max(streams.c.last_event_ms)).where(streams.c.group_id == group_id)).scalar()
    end_ms, window_ms = min(end_ms, (last or 0) + 1), _FIRST_WINDOW_MS
    earliest = connection.execute(
        select(func.min(streams.c.first_event_ms)).where(streams.c.group_id == group_id)
    ).scalar()
    start_ms = max(start_ms, earliest or 0)
    while start_ms < end_ms:
        begin_ms = max(start_ms, end_ms - window_ms)
        query = _overlapping(group_id, wanted, begin_ms, end_ms).order_by(chunk_table.c.last_ms.desc())
        yield from _merge(connection, connection.execute(query), begin_ms, end_ms, lambda row: row.last_ms, -1)
        end_ms, window_ms = begin_ms, window_ms * 4


_FIRST_WINDOW_MS = 600_000


def _overlapping(group_id: int, wanted: Wanted, start_ms: int, end_ms: int) -> Any:
    c = chunk_table.c
    query = select(c.id, c.stream_id, c.first_ms, c.last_ms, c.ingested_ms)
    query = query.where(c.group_id == group_id) if wanted is None else query.where(c.stream_id.in_(wanted))
    # No chunk spans more than MAX_SPAN_MS, which bounds the range of the index that is looked at.
    return query.where(c.first_ms >= start_ms - MAX_SPAN_MS, c.first_ms < end_ms, c.last_ms >= start_ms)


_data_of = select(chunk_table.c.data).where(chunk_table.c.id == bindparam("b_id"))


def _merge(
    connection: Connection,
    rows: Iterable[Row[Any]],
    start_ms: int,
    end_ms: int,
    edge: Callable[[Row[Any]], int],
    sign: int,
) -> Iterator[LogEvent]:
    """Chunks may overlap: events wait in a heap until no later chunk can hold an earlier one."""
    heap: list[tuple[int, int, LogEvent]] = []
    for row, following in _pairs(rows):
        while heap and heap[0][0] < sign * edge(row):
            yield heapq.heappop(heap)[2]
        data = connection.execute(_data_of, {"b_id": row.id}).scalar()
        if data is None:
            continue  # swept since, where the caller holds no snapshot
        events = chunks.decode(row.id, row.stream_id, row.ingested_ms, data)
        far_edge = row.last_ms if sign > 0 else row.first_ms
        if not heap and (following is None or sign * edge(following) > sign * far_edge):
            # The usual case, one environment writing its own stream: nothing overlaps, nothing need wait.
            ordered = list(events) if sign > 0 else list(events)[::-1]
            yield from (event for event in ordered if start_ms <= event.timestamp_ms < end_ms)
            continue
        for event in events:
            if start_ms <= event.timestamp_ms < end_ms:
                heapq.heappush(heap, (sign * event.timestamp_ms, sign * event.sequence, event))
    while heap:
        yield heapq.heappop(heap)[2]


def _pairs(rows: Iterable[Row[Any]]) -> Iterator[tuple[Row[Any], Row[Any] | None]]:
    """Each row with the one that follows it."""
    last: Row[Any] | None = None
    for row in rows:
        if last is not None:
            yield last, row
        last = row
    if last is not None:
        yield last, None
