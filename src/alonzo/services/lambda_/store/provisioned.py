"""Provisioned concurrency configurations, of versions and aliases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Connection, Float, Integer, String, Table, delete, insert, select

from alonzo.core.dataclasses import dataclass
from alonzo.services.lambda_.models import Alias
from alonzo.services.lambda_.names import is_alias
from alonzo.services.lambda_.store import attachments, functions
from alonzo.services.lambda_.store.functions import Key
from alonzo.services.lambda_.store.tables import functions as functions_table
from alonzo.storage.database import metadata

provisioned = Table(
    "lambda_provisioned",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("qualifier", String, primary_key=True),
    Column("requested", Integer, nullable=False),
    Column("modified", Float, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Config:
    """One configuration. `shares` are the versions that it warms, and how many environments of each."""

    account_id: str
    region: str
    name: str
    qualifier: str
    requested: int
    modified: float
    shares: tuple[tuple[str, int], ...] = ()

    @property
    def key(self) -> Key:
        return (self.account_id, self.region, self.name)


def get(connection: Connection, key: Key, qualifier: str) -> Config | None:
    row = connection.execute(select(provisioned).where(*_of(key), provisioned.c.qualifier == qualifier)).first()
    return None if row is None else _with_shares(connection, Config(*row))


def put(connection: Connection, config: Config) -> None:
    remove(connection, config.key, config.qualifier)
    connection.execute(
        insert(provisioned).values(
            account_id=config.account_id,
            region=config.region,
            name=config.name,
            qualifier=config.qualifier,
            requested=config.requested,
            modified=config.modified,
        )
    )


def remove(connection: Connection, key: Key, qualifier: str) -> None:
    connection.execute(delete(provisioned).where(*_of(key), provisioned.c.qualifier == qualifier))


def of_function(connection: Connection, key: Key) -> list[Config]:
    rows = connection.execute(select(provisioned).where(*_of(key)).order_by(provisioned.c.qualifier))
    return [_with_shares(connection, Config(*row)) for row in rows.all()]


def versions_of(connection: Connection, key: Key, qualifier: str) -> tuple[str, ...]:
    """The versions that a qualifier leads to."""
    if not is_alias(qualifier):
        return (qualifier,)
    alias = attachments.get_alias(connection, key, qualifier)
    return (alias.version, *alias.weights) if alias is not None else ()


def page(connection: Connection, key: Key, after: str, limit: int) -> list[Config]:
    rows = connection.execute(
        select(provisioned)
        .where(*_of(key), provisioned.c.qualifier > after)
        .order_by(provisioned.c.qualifier)
        .limit(limit)
    )
    return [_with_shares(connection, Config(*row)) for row in rows.all()]


def keys(connection: Connection) -> set[Key]:
    """Every function that has a configuration."""
    columns = (provisioned.c.account_id, provisioned.c.region, provisioned.c.name)
    return {(row[0], row[1], row[2]) for row in connection.execute(select(*columns).distinct())}


def remove_orphans(connection: Connection, key: Key) -> None:
    """Remove configurations of versions and aliases that no longer exist."""
    rows = connection.execute(select(provisioned.c.qualifier).where(*_of(key))).scalars().all()
    for qualifier in rows:
        if is_alias(qualifier):
            found = attachments.get_alias(connection, key, qualifier) is not None
        else:
            found = functions.get_version(connection, key, qualifier) is not None
        if not found:
            remove(connection, key, qualifier)


def reservations(connection: Connection) -> list[tuple[str, str, str, int]]:
    """Account, region, name and reserved concurrency of every function that has a reservation."""
    table = functions_table
    query = select(table.c.account_id, table.c.region, table.c.name, table.c.reserved_concurrency).where(
        table.c.reserved_concurrency.is_not(None)
    )
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]


def pooled_total(connection: Connection, account_id: str, region: str, *, but: str = "") -> int:
    """What functions without a reservation have provisioned in a region, except the one named `but`."""
    reserved = {row[2] for row in reservations(connection) if row[:2] == (account_id, region)}
    rows = connection.execute(
        select(provisioned.c.name, provisioned.c.requested).where(
            provisioned.c.account_id == account_id, provisioned.c.region == region, provisioned.c.name != but
        )
    )
    return sum(requested for name, requested in rows if name not in reserved)


def _with_shares(connection: Connection, config: Config) -> Config:
    shares: tuple[tuple[str, int], ...] = ((config.qualifier, config.requested),)
    if is_alias(config.qualifier):
        alias = attachments.get_alias(connection, config.key, config.qualifier)
        shares = _split(alias, config.requested) if alias is not None else ()
    return Config(*config.key, config.qualifier, config.requested, config.modified, shares)


def _split(alias: Alias, requested: int) -> tuple[tuple[str, int], ...]:
    """An alias' environments are divided as its calls are."""
    others = [(version, int(requested * weight)) for version, weight in alias.weights.items()]
    rest = requested - sum(count for _, count in others)
    return tuple((version, count) for version, count in [(alias.version, rest), *others] if count)


def _of(key: Key) -> tuple[Any, ...]:
    return (provisioned.c.account_id == key[0], provisioned.c.region == key[1], provisioned.c.name == key[2])
