"""Rows of log groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from alonzo.services.logs.models import LogGroup
from alonzo.services.logs.store.tables import Key, groups, streams


def to_group(row: Row[Any], stored_bytes: int = 0) -> LogGroup:
    return LogGroup(
        *(row.id, row.account_id, row.region, row.name, row.created_ms, row.retention_days),
        *(row.group_class, row.kms_key_id, row.protected, row.tags, stored_bytes),
    )


# On the way of every write of log lines: built once and not each time.
_FIND = select(groups).where(
    groups.c.account_id == bindparam("account"),
    groups.c.region == bindparam("place"),
    groups.c.name == bindparam("log_group"),
)


def find_group(connection: Connection, key: Key, name: str) -> LogGroup | None:
    row = connection.execute(_FIND, {"account": key[0], "place": key[1], "log_group": name}).first()
    return None if row is None else to_group(row)


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
    """Groups by name, at most `limit`, with their stored bytes. `containing` heeds case, as AWS does."""
    query = select(groups).where(groups.c.account_id == key[0], groups.c.region == key[1], groups.c.name > after)
    if prefix:
        query = query.where(func.substr(groups.c.name, 1, len(prefix)) == prefix)
    if containing:
        query = query.where(func.replace(groups.c.name, containing, "") != groups.c.name)
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
    return [to_group(row, size_of.get(row.id, 0)) for row in rows]


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
