"""Appending chunks: many at once, because functions in hundreds of environments write at the same moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    bindparam,
    case,
    insert,
    or_,
    select,
    update,
)

from alonzo.core.dataclasses import dataclass
from alonzo.services.logs.store.tables import Place, chunk_table, streams


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A batch of events to append to the stream at `place`; `size` in bytes as AWS counts them."""

    place: Place
    first_ms: int
    last_ms: int
    count: int
    size: int
    now_ms: int
    data: bytes


def _smaller(column: Column[Any], value: Any) -> Any:
    return case((or_(column.is_(None), column > value), value), else_=column)


def _larger(column: Column[Any], value: Any) -> Any:
    return case((or_(column.is_(None), column < value), value), else_=column)


_place_columns = (streams.c.account_id, streams.c.region, streams.c.group_name, streams.c.name)
_by_id = select(streams.c.id, streams.c.group_id, *_place_columns).where(
    streams.c.id.in_(bindparam("b_ids", expanding=True))
)
_by_place = select(streams.c.id, streams.c.group_id).where(
    *(column == bindparam(f"b_{number}") for number, column in enumerate(_place_columns))
)
_touch = (
    update(streams)
    .where(streams.c.id == bindparam("b_id"))
    .values(
        first_event_ms=_smaller(streams.c.first_event_ms, bindparam("b_first")),
        last_event_ms=_larger(streams.c.last_event_ms, bindparam("b_last")),
        last_ingestion_ms=bindparam("b_now"),
        stored_bytes=streams.c.stored_bytes + bindparam("b_bytes"),
    )
)
_add = insert(chunk_table).inline()
_KNOWN_STREAMS = 20_000


class Appender:
    """Remembers the ids of streams, and checks them in each transaction. Only the writer's thread calls it."""

    def __init__(self) -> None:
        self._ids: dict[Place, int] = {}

    def append(self, connection: Connection, new: Sequence[NewChunk]) -> list[bool]:
        """Append chunks in order; for each, whether its stream is there."""
        found = self._find(connection, {one.place for one in new})
        touched: dict[int, dict[str, int]] = {}
        rows: list[dict[str, Any]] = []
        for one in new:
            if one.place not in found:
                continue
            stream_id, group_id = found[one.place]
            stream = touched.setdefault(
                stream_id, {"b_id": stream_id, "b_first": one.first_ms, "b_last": one.last_ms, "b_bytes": 0}
            )
            stream["b_first"] = min(stream["b_first"], one.first_ms)
            stream["b_last"] = max(stream["b_last"], one.last_ms)
            stream["b_now"] = one.now_ms
            stream["b_bytes"] += one.size
            rows.append(
                {
                    "stream_id": stream_id,
                    "group_id": group_id,
                    "first_ms": one.first_ms,
                    "last_ms": one.last_ms,
                    "events": one.count,
                    "bytes": one.size,
                    "ingested_ms": one.now_ms,
                    "data": one.data,
                }
            )
        if rows:
            connection.execute(_touch, list(touched.values()))
            connection.execute(_add, rows)
        return [one.place in found for one in new]

    def _find(self, connection: Connection, places: set[Place]) -> dict[Place, tuple[int, int]]:
        known = [self._ids[place] for place in places if place in self._ids]
        found: dict[Place, tuple[int, int]] = {}
        for row in connection.execute(_by_id, {"b_ids": known}) if known else ():
            found[row[2], row[3], row[4], row[5]] = (row[0], row[1])
        for place in places - found.keys():
            one = connection.execute(_by_place, {f"b_{n}": part for n, part in enumerate(place)}).first()
            if one is not None:
                found[place] = (one[0], one[1])
        if len(self._ids) > _KNOWN_STREAMS:
            self._ids.clear()
        self._ids.update((place, ids[0]) for place, ids in found.items())
        return found
