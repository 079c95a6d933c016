"""Removing what has expired or lost its stream, and merging small chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from alonzo.core.dataclasses import dataclass
from alonzo.services.logs import chunks
from alonzo.services.logs.models import LogGroup
from alonzo.services.logs.store.groups import to_group
from alonzo.services.logs.store.tables import chunk_table, groups, streams

_SWEEP_ROWS = 200
#: A stream with more small chunks than this, lately, is worth merging.
_CROWD = 32
#: A merged chunk is small enough for a search of many streams to hold one of each.
_MERGED_EVENTS = 1_000
_MERGED_BYTES = 128 << 10
_MERGED_SPAN_MS = 600_000
#: Chunks with fewer events are merged.
SMALL_EVENTS = _MERGED_EVENTS // 4


@dataclass(frozen=True, slots=True)
class Merge:
    """Chunks to replace by one: `data` holds the events of all `ids`."""

    stream_id: int
    group_id: int
    ids: tuple[int, ...]
    first_ms: int
    last_ms: int
    events: int
    size: int
    ingested_ms: int
    data: bytes


def orphans(connection: Connection) -> list[int]:
    """Ids of streams that are gone and have left chunks. Looks through an index: for a reader's thread."""
    c = chunk_table.c
    return list(
        connection.execute(select(c.stream_id).distinct().where(c.stream_id.not_in(select(streams.c.id)))).scalars()
    )


def drop_chunks(connection: Connection, stream_id: int) -> int:
    """Remove some chunks of a stream that is gone; how many."""
    c = chunk_table.c
    if connection.execute(select(streams.c.id).where(streams.c.id == stream_id)).first() is not None:
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
    sizes: dict[int, int] = {}
    for row in rows:
        sizes[row.stream_id] = sizes.get(row.stream_id, 0) + row.bytes
    for stream_id, size in sizes.items():
        smaller = update(streams).where(streams.c.id == stream_id)
        connection.execute(smaller.values(stored_bytes=streams.c.stored_bytes - size))
    connection.execute(delete(chunk_table).where(c.id.in_([row.id for row in rows])))
    return len(rows)


def busy_streams(connection: Connection, since_ms: int) -> list[int]:
    """Streams that took events in since then."""
    return list(connection.execute(select(streams.c.id).where(streams.c.last_ingestion_ms >= since_ms)).scalars())


def plan_merge(connection: Connection, stream_id: int, since_ms: int, after_ms: int) -> Merge | int | None:
    """One chunk made of a stream's small ones; or the time to go on from, where these are too far apart; or None.

    For a reader's thread: decoding and compressing must not keep the writer waiting. Chunks before `since_ms` have been
    looked at earlier; `after_ms` is where an earlier call told to go on.
    """
    c = chunk_table.c
    rows: Sequence[Any] = connection.execute(
        select(c.id, c.group_id, c.first_ms, c.last_ms, c.events, c.bytes, c.ingested_ms)
        .where(c.stream_id == stream_id, c.first_ms >= max(since_ms, after_ms), c.events < SMALL_EVENTS)
        .order_by(c.first_ms, c.id)
        .limit(_SWEEP_ROWS)
    ).all()
    if len(rows) <= (1 if after_ms else _CROWD):
        return None
    for start in range(len(rows) - 1):
        run = _run(rows[start:])
        if len(run) > 1:
            return _merged(connection, stream_id, run)
    return int(rows[-1].first_ms) if rows[-1].first_ms > after_ms else None


def _run(rows: Sequence[Any]) -> Sequence[Any]:
    """As many of the first rows as fit into one chunk."""
    count = size = last_ms = 0
    for taken, row in enumerate(rows):
        count, size, last_ms = count + row.events, size + row.bytes, max(last_ms, row.last_ms)
        if count > _MERGED_EVENTS or size > _MERGED_BYTES or last_ms - rows[0].first_ms > _MERGED_SPAN_MS:
            return rows[:taken]
    return rows


def _merged(connection: Connection, stream_id: int, rows: Sequence[Any]) -> Merge:
    data_of = select(chunk_table.c.id, chunk_table.c.data).where(chunk_table.c.id.in_([row.id for row in rows]))
    data = {row.id: row.data for row in connection.execute(data_of)}
    kept = [row for row in rows if row.id in data]
    events = sorted(event for row in kept for event in chunks.decode(row.id, stream_id, row.ingested_ms, data[row.id]))
    return Merge(
        stream_id,
        rows[0].group_id,
        tuple(row.id for row in rows),
        rows[0].first_ms,
        max(row.last_ms for row in rows),
        len(events),
        sum(row.bytes for row in rows),
        max(row.ingested_ms for row in rows),
        chunks.encode_merged(events),
    )


def merge(connection: Connection, plan: Merge) -> bool:
    """Carry a plan out; False where some of its chunks have gone meanwhile. Event ids stay the same.

    Readers hold a snapshot, so they see each event once.
    """
    c = chunk_table.c
    if _count(connection, plan.ids) != len(plan.ids):
        return False
    connection.execute(delete(chunk_table).where(c.id.in_(plan.ids)))
    connection.execute(
        insert(chunk_table).values(
            stream_id=plan.stream_id,
            group_id=plan.group_id,
            first_ms=plan.first_ms,
            last_ms=plan.last_ms,
            events=plan.events,
            bytes=plan.size,
            ingested_ms=plan.ingested_ms,
            data=plan.data,
        )
    )
    return True


def _count(connection: Connection, ids: Sequence[int]) -> int:
    return int(connection.execute(select(func.count()).where(chunk_table.c.id.in_(ids))).scalar_one())
