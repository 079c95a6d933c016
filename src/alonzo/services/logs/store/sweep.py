"""Removing what has expired or lost its stream, and merging small chunks."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Connection,
    delete,
    func,
    insert,
    select,
    update,
)

from alonzo.services.logs import chunks
from alonzo.services.logs.models import MAX_SPAN_MS, LogGroup
from alonzo.services.logs.store.groups import to_group
from alonzo.services.logs.store.tables import chunk_table, groups, streams

_SWEEP_ROWS = 200
#: A stream with more fresh chunks than this is worth merging.
_CROWD = 32
_MERGED_EVENTS = 5_000
_MERGED_BYTES = 512 << 10
_SMALL_EVENTS = _MERGED_EVENTS // 4


def drop_orphans(connection: Connection) -> int:
    """Remove some chunks whose stream is gone; how many."""
    c = chunk_table.c
    gone = select(c.stream_id).distinct().where(c.stream_id.not_in(select(streams.c.id))).limit(1)
    stream_id = connection.execute(gone).scalar()
    if stream_id is None:
        return 0
    ids = select(c.id).where(c.stream_id == stream_id).limit(_SWEEP_ROWS)
    return connection.execute(delete(chunk_table).where(c.id.in_(ids))).rowcount


def groups_with_retention(connection: Connection) -> list[LogGroup]:
    return [to_group(row) for row in connection.execute(select(groups).where(groups.c.retention_days.is_not(None)))]


def drop_expired(connection: Connection, group_id: int, before_ms: int) -> int:
    """Remove some chunks of a group whose every event is older; how many."""
    c = chunk_table.c
    rows = connection.execute(
        select(c.id, c.stream_id, c.bytes)
        .where(c.group_id == group_id, c.first_ms < before_ms, c.last_ms < before_ms)
        .limit(_SWEEP_ROWS)
    ).all()
    for row in rows:
        connection.execute(
            update(streams).where(streams.c.id == row.stream_id).values(stored_bytes=streams.c.stored_bytes - row.bytes)
        )
    connection.execute(delete(chunk_table).where(c.id.in_([row.id for row in rows])))
    return len(rows)


def crowded_streams(connection: Connection) -> list[int]:
    """Streams with many small chunks."""
    c = chunk_table.c
    query = select(c.stream_id).where(c.events < _SMALL_EVENTS).group_by(c.stream_id).having(func.count() > _CROWD)
    return list(connection.execute(query).scalars())


def merge_chunks(connection: Connection, stream_id: int, now_ms: int) -> bool:
    """Make one chunk of a stream's oldest small ones; whether there may be more to do. Event ids stay the same.

    Readers hold a snapshot, so they see each event once.
    """
    c = chunk_table.c
    rows = connection.execute(
        select(c.id, c.group_id, c.first_ms, c.last_ms, c.events, c.bytes, c.ingested_ms, c.data)
        .where(c.stream_id == stream_id, c.events < _SMALL_EVENTS)
        .order_by(c.first_ms)
        .limit(_SWEEP_ROWS)
    ).all()
    taken: list[Any] = []
    count = size = 0
    for row in rows:
        if taken and (
            count + row.events > _MERGED_EVENTS
            or size + row.bytes > _MERGED_BYTES
            or max(row.last_ms, *(one.last_ms for one in taken)) - taken[0].first_ms > MAX_SPAN_MS // 4
        ):
            break
        taken.append(row)
        count, size = count + row.events, size + row.bytes
    if len(taken) < 2 or len(rows) <= _CROWD:
        return False
    events = sorted(event for row in taken for event in chunks.decode(row.id, stream_id, row.ingested_ms, row.data))
    connection.execute(delete(chunk_table).where(c.id.in_([row.id for row in taken])))
    connection.execute(
        insert(chunk_table).values(
            stream_id=stream_id,
            group_id=taken[0].group_id,
            first_ms=taken[0].first_ms,
            last_ms=max(row.last_ms for row in taken),
            events=count,
            bytes=size,
            ingested_ms=max(row.ingested_ms for row in taken),
            data=chunks.encode_merged(events),
        )
    )
    return True
