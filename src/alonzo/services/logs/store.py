"""Log groups, streams and chunks of events: all of this service's SQL."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    Row,
    Select,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from alonzo.services.logs import chunks
from alonzo.services.logs.models import MAX_SPAN_MS, LogEvent, LogGroup, LogStream
from alonzo.storage import metadata

# SQLite numbers rows of an INTEGER primary key only; AUTOINCREMENT never gives a number twice, which event ids need.
_Id = BigInteger().with_variant(Integer, "sqlite")

groups = Table(
    "logs_group",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", String, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("retention_days", Integer),
    Column("group_class", String, nullable=False),
    Column("kms_key_id", String, nullable=False),
    Column("protected", Boolean, nullable=False),
    Column("tags", JSON, nullable=False),
    UniqueConstraint("account_id", "region", "name"),
    sqlite_autoincrement=True,
)

streams = Table(
    "logs_stream",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("group_name", String, nullable=False),
    Column("name", String, nullable=False),
    Column("group_id", _Id, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("first_event_ms", BigInteger),
    Column("last_event_ms", BigInteger),
    Column("last_ingestion_ms", BigInteger),
    Column("stored_bytes", BigInteger, nullable=False, default=0),
    UniqueConstraint("account_id", "region", "group_name", "name"),
    Index("logs_stream_of_group", "group_id", "last_event_ms", "name"),
    sqlite_autoincrement=True,
)

# Chunks are found through their stream or group only, which account and region lead.
chunk_table = Table(
    "logs_chunk",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("stream_id", _Id, nullable=False),
    Column("group_id", _Id, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("events", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("ingested_ms", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("logs_chunk_of_stream", "stream_id", "first_ms", "last_ms"),
    Index("logs_chunk_of_group", "group_id", "first_ms", "last_ms"),
    sqlite_autoincrement=True,
)

_of_stream = (
    (streams.c.account_id == bindparam("b_account"))
    & (streams.c.region == bindparam("b_region"))
    & (streams.c.group_name == bindparam("b_group"))
    & (streams.c.name == bindparam("b_stream"))
)


def _smaller(column: Column[Any], value: Any) -> Any:
    return case((or_(column.is_(None), column > value), value), else_=column)


def _larger(column: Column[Any], value: Any) -> Any:
    return case((or_(column.is_(None), column < value), value), else_=column)


_touch_stream = (
    update(streams)
    .where(_of_stream)
    .values(
        first_event_ms=_smaller(streams.c.first_event_ms, bindparam("b_first")),
        last_event_ms=_larger(streams.c.last_event_ms, bindparam("b_last")),
        last_ingestion_ms=bindparam("b_now"),
        stored_bytes=streams.c.stored_bytes + bindparam("b_bytes"),
    )
    .returning(streams.c.id, streams.c.group_id)
)
_add_chunk = insert(chunk_table).inline()

Key = tuple[str, str]
"""Account id and region."""


# -- groups -----------------------------------------------------------------------------------------------------------


def _group(row: Row[Any], stored_bytes: int = 0) -> LogGroup:
    return LogGroup(
        *(row.id, row.account_id, row.region, row.name, row.created_ms, row.retention_days),
        *(row.group_class, row.kms_key_id, row.protected, row.tags, stored_bytes),
    )


def find_group(connection: Connection, key: Key, name: str) -> LogGroup | None:
    row = connection.execute(
        select(groups).where(groups.c.account_id == key[0], groups.c.region == key[1], groups.c.name == name)
    ).first()
    return None if row is None else _group(row)


def add_group(connection: Connection, group: LogGroup) -> None:
    connection.execute(
        insert(groups).values(
            account_id=group.account_id,
            region=group.region,
            name=group.name,
            created_ms=group.created_ms,
            retention_days=None,
            group_class=group.group_class,
            kms_key_id=group.kms_key_id,
            protected=group.protected,
            tags=dict(group.tags),
        )
    )


def list_groups(
    connection: Connection,
    key: Key,
    *,
    prefix: str = "",
    containing: str = "",
    names: Sequence[str] = (),
    group_class: str = "",
    after: str = "",
    limit: int,
) -> list[LogGroup]:
    """Groups by name, at most `limit`, with their stored bytes. `containing` ignores case, as AWS does."""
    query = select(groups).where(groups.c.account_id == key[0], groups.c.region == key[1], groups.c.name > after)
    if prefix:
        query = query.where(func.substr(groups.c.name, 1, len(prefix)) == prefix)
    if containing:
        query = query.where(func.lower(groups.c.name).contains(containing.lower(), autoescape=True))
    if names:
        query = query.where(groups.c.name.in_(names))
    if group_class:
        query = query.where(groups.c.group_class == group_class)
    rows = connection.execute(query.order_by(groups.c.name).limit(limit)).all()
    sizes = connection.execute(
        select(streams.c.group_id, func.sum(streams.c.stored_bytes))
        .where(streams.c.group_id.in_([row.id for row in rows]))
        .group_by(streams.c.group_id)
    )
    size_of = {group_id: int(size) for group_id, size in sizes}
    return [_group(row, size_of.get(row.id, 0)) for row in rows]


def set_retention(connection: Connection, group_id: int, days: int | None) -> None:
    connection.execute(update(groups).where(groups.c.id == group_id).values(retention_days=days))


def set_protected(connection: Connection, group_id: int, protected: bool) -> None:
    connection.execute(update(groups).where(groups.c.id == group_id).values(protected=protected))


def set_tags(connection: Connection, group_id: int, tags: Mapping[str, str]) -> None:
    connection.execute(update(groups).where(groups.c.id == group_id).values(tags=dict(tags)))


def delete_group(connection: Connection, group_id: int) -> None:
    """Its chunks are out of reach at once; the sweep removes them bit by bit."""
    connection.execute(delete(streams).where(streams.c.group_id == group_id))
    connection.execute(delete(groups).where(groups.c.id == group_id))


# -- streams ----------------------------------------------------------------------------------------------------------


def _stream(row: Row[Any]) -> LogStream:
    return LogStream(
        *(row.id, row.group_id, row.name, row.created_ms),
        *(row.first_event_ms, row.last_event_ms, row.last_ingestion_ms),
    )


def find_stream(connection: Connection, group_id: int, name: str) -> LogStream | None:
    row = connection.execute(select(streams).where(streams.c.group_id == group_id, streams.c.name == name)).first()
    return None if row is None else _stream(row)


def add_stream(connection: Connection, group: LogGroup, name: str, now_ms: int) -> None:
    connection.execute(
        insert(streams).values(
            account_id=group.account_id,
            region=group.region,
            group_name=group.name,
            name=name,
            group_id=group.id,
            created_ms=now_ms,
            stored_bytes=0,
        )
    )


def delete_stream(connection: Connection, stream_id: int) -> None:
    connection.execute(delete(streams).where(streams.c.id == stream_id))


def list_streams(
    connection: Connection,
    group_id: int,
    *,
    prefix: str = "",
    by_time: bool = False,
    descending: bool = False,
    after: tuple[int, str] | None = None,
    limit: int,
) -> list[LogStream]:
    """Streams by name, or by last event time and name; `after` is the last one's time (-1: no event) and name."""
    query = select(streams).where(streams.c.group_id == group_id)
    if prefix:
        query = query.where(func.substr(streams.c.name, 1, len(prefix)) == prefix)
    time = func.coalesce(streams.c.last_event_ms, -1)
    columns: list[Any] = [time, streams.c.name] if by_time else [streams.c.name]
    if after is not None:
        place, last = tuple_(*columns), tuple_(*(after if by_time else after[1:]))
        query = query.where(place < last if descending else place > last)
    query = query.order_by(*(column.desc() if descending else column.asc() for column in columns))
    return [_stream(row) for row in connection.execute(query.limit(limit))]


def stream_names(connection: Connection, group_id: int, stream_ids: Iterable[int]) -> dict[int, str]:
    query = select(streams.c.id, streams.c.name).where(
        streams.c.group_id == group_id, streams.c.id.in_(list(stream_ids))
    )
    return {row.id: row.name for row in connection.execute(query)}


# -- events -----------------------------------------------------------------------------------------------------------


def add_chunk(
    connection: Connection,
    place: tuple[str, str, str, str],
    *,
    first_ms: int,
    last_ms: int,
    count: int,
    size: int,
    now_ms: int,
    data: bytes,
) -> bool:
    """Append a chunk to the stream at `place` (account, region, group, stream); False where there is none."""
    account_id, region, group, stream = place
    row = connection.execute(
        _touch_stream,
        {
            "b_account": account_id,
            "b_region": region,
            "b_group": group,
            "b_stream": stream,
            "b_first": first_ms,
            "b_last": last_ms,
            "b_now": now_ms,
            "b_bytes": size,
        },
    ).first()
    if row is None:
        return False
    connection.execute(
        _add_chunk,
        {
            "stream_id": row[0],
            "group_id": row[1],
            "first_ms": first_ms,
            "last_ms": last_ms,
            "events": count,
            "bytes": size,
            "ingested_ms": now_ms,
            "data": data,
        },
    )
    return True


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
    for row in rows:
        while heap and heap[0][0] < sign * edge(row):
            yield heapq.heappop(heap)[2]
        data = connection.execute(_data_of, {"b_id": row.id}).scalar()
        if data is None:
            continue  # swept since, where the caller holds no snapshot
        for event in chunks.decode(row.id, row.stream_id, row.ingested_ms, data):
            if start_ms <= event.timestamp_ms < end_ms:
                heapq.heappush(heap, (sign * event.timestamp_ms, sign * event.sequence, event))
    while heap:
        yield heapq.heappop(heap)[2]


# -- sweeping ---------------------------------------------------------------------------------------------------------

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
    return [_group(row) for row in connection.execute(select(groups).where(groups.c.retention_days.is_not(None)))]


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
