"""Function URLs. A URL outlives the alias it was made for, not the function."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import Connection, Row, delete, insert, select

from alonzo.services.lambda_.models import UrlConfig
from alonzo.services.lambda_.store.functions import Key
from alonzo.services.lambda_.store.tables import url_configs


def get_url(connection: Connection, key: Key, qualifier: str) -> UrlConfig | None:
    row = connection.execute(select(url_configs).where(*_of(key), url_configs.c.qualifier == qualifier)).first()
    return None if row is None else _url(row)


def find_url(connection: Connection, url_id: str) -> UrlConfig | None:
    """The configuration behind a host name's first label."""
    row = connection.execute(select(url_configs).where(url_configs.c.url_id == url_id)).first()
    return None if row is None else _url(row)


def put_url(connection: Connection, config: UrlConfig) -> None:
    delete_url(connection, (config.account_id, config.region, config.name), config.qualifier)
    connection.execute(
        insert(url_configs).values(
            account_id=config.account_id,
            region=config.region,
            name=config.name,
            qualifier=config.qualifier,
            url_id=config.url_id,
            auth_type=config.auth_type,
            cors=None if config.cors is None else orjson.dumps(dict(config.cors)).decode(),
            invoke_mode=config.invoke_mode,
            created=config.created,
            modified=config.modified,
        )
    )


def delete_url(connection: Connection, key: Key, qualifier: str) -> bool:
    """Whether there was one."""
    result = connection.execute(delete(url_configs).where(*_of(key), url_configs.c.qualifier == qualifier))
    return result.rowcount > 0


def list_urls(connection: Connection, key: Key, after: str | None, limit: int) -> list[UrlConfig]:
    """In the order of qualifiers, the function's own first; after one (None: from the start)."""
    query = select(url_configs).where(*_of(key)).order_by(url_configs.c.qualifier).limit(limit)
    if after is not None:
        query = query.where(url_configs.c.qualifier > after)
    return [_url(row) for row in connection.execute(query)]


def _of(key: Key) -> tuple[Any, ...]:
    table = url_configs
    return (table.c.account_id == key[0], table.c.region == key[1], table.c.name == key[2])


def _url(row: Row[Any]) -> UrlConfig:
    return UrlConfig(
        row.account_id,
        row.region,
        row.name,
        row.qualifier,
        row.url_id,
        row.auth_type,
        None if row.cors is None else orjson.loads(row.cors),
        row.invoke_mode,
        row.created,
        row.modified,
    )
