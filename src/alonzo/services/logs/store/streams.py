"""Rows of log streams."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
)

from alonzo.services.logs.models import LogGroup, LogStream
from alonzo.services.logs.store.tables import streams


def _stream(row: Row[Any]) -> LogStream:
    return LogStream(
        *(row.id, row.group_id, row.name, row.created_ms),
        *(row.first_event_ms, row.last_event_ms, row.last_ingestion_ms),
    )


def _of(group: LogGroup) -> tuple[ColumnElement[bool], ...]:
    """The group's streams, by the leading columns of the unique key: by name they come out of its index."""
    c = streams.c
    return (c.account_id == group.account_id, c.region == group.region, c.group_name == group.name)


# Every environment has a stream: these two are built once and not each time.
_FIND = select(streams).where(
    streams.c.account_id == bindparam("account"),
    streams.c.region == bindparam("place"),
    streams.c.group_name == bindparam("log_group"),
    streams.c.name == bindparam("stream"),
)
_ADD = insert(streams)


def find_stream(connection: Connection, group: LogGroup, name: str) -> LogStream | None:
    asked = {"account": group.account_id, "place": group.region, "log_group": group.name, "stream": name}
    row = connection.execute(_FIND, asked).first()
    return None if row is None else _stream(row)


def add_stream(connection: Connection, group: LogGroup, name: str, now_ms: int) -> None:
    row = {
        "account_id": group.account_id,
        "region": group.region,
        "group_name": group.name,
        "name": name,
        "group_id": group.id,
        "created_ms": now_ms,
        "stored_bytes": 0,
    }
    connection.execute(_ADD, row)


def delete_stream(connection: Connection, stream_id: int) -> None:
    connection.execute(delete(streams).where(streams.c.id == stream_id))


def list_streams(
    connection: Connection,
    group: LogGroup,
    *,
    prefix: str = "",
    by_time: bool = False,
    descending: bool = False,
    after: tuple[int, str] | None = None,
    limit: int,
) -> list[LogStream]:
    """Streams by name, or by last event time and name; `after` is the last one's time (-1: no event) and name."""
    query = select(streams).where(*_of(group))
    if prefix:
        query = query.where(streams.c.name >= prefix, func.substr(streams.c.name, 1, len(prefix)) == prefix)
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
