"""Layers and their versions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import Connection, Row, delete, insert, select, update

from alonzo.services.lambda_.models import Code, LayerVersion
from alonzo.services.lambda_.store import code as code_store
from alonzo.services.lambda_.store.code import Freed
from alonzo.services.lambda_.store.functions import Key, dump_code
from alonzo.services.lambda_.store.tables import layer_versions, layers


def add_version(connection: Connection, layer: LayerVersion, freed: Freed) -> LayerVersion:
    """Store a layer version under the next number."""
    key = (layer.account_id, layer.region, layer.name)
    last = connection.execute(select(layers.c.last_version).where(*_of(layers, key))).scalar()
    number = (last or 0) + 1
    if last is None:
        connection.execute(insert(layers).values(account_id=key[0], region=key[1], name=key[2], last_version=number))
    else:
        connection.execute(update(layers).where(*_of(layers, key)).values(last_version=number))
    connection.execute(
        insert(layer_versions).values(
            account_id=key[0],
            region=key[1],
            name=key[2],
            version=number,
            code=orjson.dumps(dump_code(layer.code)).decode(),
            description=layer.description,
            created=layer.created,
            runtimes=_dump(layer.runtimes),
            architectures=_dump(layer.architectures),
            license=layer.license,
            policy="[]",
            policy_revision="",
        )
    )
    code_store.set_uses(connection, _user(key, number), [layer.code], freed)
    return replace(layer, version=number)


def get_version(connection: Connection, key: Key, version: int) -> LayerVersion | None:
    row = connection.execute(
        select(layer_versions).where(*_of(layer_versions, key), layer_versions.c.version == version)
    ).first()
    return None if row is None else _layer(row)


def delete_version(connection: Connection, key: Key, version: int, freed: Freed) -> None:
    """Delete it if it is there; functions that refer to it keep its code."""
    connection.execute(delete(layer_versions).where(*_of(layer_versions, key), layer_versions.c.version == version))
    code_store.set_uses(connection, _user(key, version), (), freed)


def set_policy(connection: Connection, layer: LayerVersion) -> None:
    key = (layer.account_id, layer.region, layer.name)
    connection.execute(
        update(layer_versions)
        .where(*_of(layer_versions, key), layer_versions.c.version == layer.version)
        .values(policy=orjson.dumps(list(layer.policy)).decode(), policy_revision=layer.policy_revision)
    )


def list_versions(connection: Connection, key: Key) -> list[LayerVersion]:
    """All versions of a layer, newest first."""
    rows = connection.execute(
        select(layer_versions).where(*_of(layer_versions, key)).order_by(layer_versions.c.version.desc())
    )
    return [_layer(row) for row in rows]


def list_account(connection: Connection, account_id: str, region: str) -> list[LayerVersion]:
    """Every layer version of a region, by name, newest first."""
    rows = connection.execute(
        select(layer_versions)
        .where(layer_versions.c.account_id == account_id, layer_versions.c.region == region)
        .order_by(layer_versions.c.name, layer_versions.c.version.desc())
    )
    return [_layer(row) for row in rows]


def _user(key: Key, version: int) -> str:
    return "/".join(("layer", *key, str(version)))


def _of(table: Any, key: Key) -> tuple[Any, ...]:
    return (table.c.account_id == key[0], table.c.region == key[1], table.c.name == key[2])


def _dump(values: tuple[str, ...] | None) -> str | None:
    return None if values is None else orjson.dumps(list(values)).decode()


def _layer(row: Row[Any]) -> LayerVersion:
    return LayerVersion(
        row.account_id,
        row.region,
        row.name,
        row.version,
        Code(*orjson.loads(row.code)),
        row.description,
        row.created,
        None if row.runtimes is None else tuple(orjson.loads(row.runtimes)),
        None if row.architectures is None else tuple(orjson.loads(row.architectures)),
        row.license,
        tuple(orjson.loads(row.policy)),
        row.policy_revision,
    )
