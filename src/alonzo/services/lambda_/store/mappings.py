"""Event source mappings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Column, Connection, Float, Index, Integer, Row, String, Table, delete, insert, select, update

from alonzo.core.arn import arn
from alonzo.core.dataclasses import dataclass
from alonzo.storage.database import metadata

Key = tuple[str, str, str]

#: `enabled` is what the customer wants; `state` is where it is on the way there. `config` and `tags` are JSON.
mappings = Table(
    "lambda_event_source_mappings",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("uuid", String, primary_key=True),
    Column("source_arn", String, nullable=False),
    Column("function_name", String, nullable=False),
    Column("qualifier", String, nullable=False),
    Column("enabled", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("config", String, nullable=False),
    Column("tags", String, nullable=False),
    Column("modified", Float, nullable=False),
    Index("lambda_event_source_mappings_by_source", "account_id", "region", "source_arn"),
)


@dataclass(frozen=True, slots=True)
class EventSource:
    """A mapping. `qualifier` is as it was written ("" for none); `config` holds members named as in the API."""

    account_id: str
    region: str
    uuid: str
    source_arn: str
    function_name: str
    qualifier: str
    enabled: bool
    state: str
    config: Mapping[str, Any]
    tags: Mapping[str, str]
    modified: float

    @property
    def key(self) -> Key:
        return (self.account_id, self.region, self.uuid)

    @property
    def arn(self) -> str:
        return arn("lambda", self.region, self.account_id, f"event-source-mapping:{self.uuid}")


def get_mapping(connection: Connection, key: Key) -> EventSource | None:
    row = connection.execute(select(mappings).where(*_is(key))).first()
    return None if row is None else _read(row)


def put_mapping(connection: Connection, mapping: EventSource) -> None:
    values = {
        "source_arn": mapping.source_arn,
        "function_name": mapping.function_name,
        "qualifier": mapping.qualifier,
        "enabled": int(mapping.enabled),
        "state": mapping.state,
        "config": orjson.dumps(dict(mapping.config)).decode(),
        "tags": orjson.dumps(dict(mapping.tags)).decode(),
        "modified": mapping.modified,
    }
    if connection.execute(update(mappings).where(*_is(mapping.key)).values(values)).rowcount == 0:
        account_id, region, uuid = mapping.key
        connection.execute(insert(mappings).values(account_id=account_id, region=region, uuid=uuid, **values))


def move_state(connection: Connection, key: Key, before: str, after: str) -> None:
    """Go on to the next state, unless another change came between."""
    connection.execute(update(mappings).where(*_is(key), mappings.c.state == before).values(state=after))


def delete_mapping(connection: Connection, key: Key) -> None:
    connection.execute(delete(mappings).where(*_is(key)))


def all_keys(connection: Connection) -> list[Key]:
    """Of every account and region: what starts with the server."""
    rows = connection.execute(select(mappings.c.account_id, mappings.c.region, mappings.c.uuid))
    return [(row.account_id, row.region, row.uuid) for row in rows]


def of_source(connection: Connection, account_id: str, region: str, source_arn: str) -> list[EventSource]:
    rows = connection.execute(
        select(mappings).where(
            mappings.c.account_id == account_id, mappings.c.region == region, mappings.c.source_arn == source_arn
        )
    )
    return [_read(row) for row in rows]


def list_mappings(
    connection: Connection, account_id: str, region: str, after: str, limit: int, *, source: str, function: str
) -> list[EventSource]:
    """In the order of their UUIDs, after one. `source` and `function` are "" where any will do."""
    query = select(mappings).where(
        mappings.c.account_id == account_id, mappings.c.region == region, mappings.c.uuid > after
    )
    if source:
        query = query.where(mappings.c.source_arn == source)
    if function:
        query = query.where(mappings.c.function_name == function)
    return [_read(row) for row in connection.execute(query.order_by(mappings.c.uuid).limit(limit))]


def _is(key: Key) -> tuple[Any, ...]:
    return (mappings.c.account_id == key[0], mappings.c.region == key[1], mappings.c.uuid == key[2])


def _read(row: Row[Any]) -> EventSource:
    return EventSource(
        row.account_id,
        row.region,
        row.uuid,
        row.source_arn,
        row.function_name,
        row.qualifier,
        bool(row.enabled),
        row.state,
        orjson.loads(row.config),
        orjson.loads(row.tags),
        row.modified,
    )
