"""What is set for a function beside its configuration, one row per kind of setting; and code signing configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, Row, delete, insert, select

from alonzo.services.lambda_.models import CodeSigning
from alonzo.services.lambda_.store.functions import Key
from alonzo.services.lambda_.store.tables import code_signing, settings

Kind = Literal["recursion", "runtime", "code-signing"]


def get(connection: Connection, key: Key, kind: Kind, qualifier: str = "") -> Any:
    """A setting's value, or None."""
    found = connection.execute(select(settings.c.value).where(*_of(key, kind, qualifier))).scalar()
    return None if found is None else orjson.loads(found)


def put(connection: Connection, key: Key, kind: Kind, value: Any, qualifier: str = "") -> None:
    """Set it; None takes it away."""
    connection.execute(delete(settings).where(*_of(key, kind, qualifier)))
    if value is not None:
        connection.execute(
            insert(settings).values(
                account_id=key[0],
                region=key[1],
                name=key[2],
                qualifier=qualifier,
                kind=kind,
                value=orjson.dumps(value).decode(),
            )
        )


def _of(key: Key, kind: Kind, qualifier: str) -> tuple[Any, ...]:
    return (
        settings.c.account_id == key[0],
        settings.c.region == key[1],
        settings.c.name == key[2],
        settings.c.qualifier == qualifier,
        settings.c.kind == kind,
    )


def functions_signed_by(
    connection: Connection, account_id: str, region: str, config_arn: str, after: str = "", limit: int = 1
) -> list[str]:
    """Names of the functions that a code signing configuration is attached to, after a name."""
    rows = connection.execute(
        select(settings.c.name)
        .where(
            settings.c.account_id == account_id,
            settings.c.region == region,
            settings.c.kind == "code-signing",
            settings.c.value == orjson.dumps(config_arn).decode(),
            settings.c.name > after,
        )
        .order_by(settings.c.name)
        .limit(limit)
    )
    return list(rows.scalars())


def get_code_signing(connection: Connection, account_id: str, region: str, config_id: str) -> CodeSigning | None:
    row = connection.execute(select(code_signing).where(*_is(account_id, region, config_id))).first()
    return None if row is None else _code_signing(row)


def put_code_signing(connection: Connection, config: CodeSigning) -> None:
    delete_code_signing(connection, config.account_id, config.region, config.id)
    connection.execute(
        insert(code_signing).values(
            account_id=config.account_id,
            region=config.region,
            id=config.id,
            description=config.description,
            publishers=orjson.dumps(list(config.publishers)).decode(),
            policy=config.policy,
            modified=config.modified,
            tags=orjson.dumps(dict(config.tags)).decode(),
        )
    )


def delete_code_signing(connection: Connection, account_id: str, region: str, config_id: str) -> None:
    connection.execute(delete(code_signing).where(*_is(account_id, region, config_id)))


def list_code_signing(
    connection: Connection, account_id: str, region: str, after: str, limit: int
) -> list[CodeSigning]:
    rows = connection.execute(
        select(code_signing)
        .where(code_signing.c.account_id == account_id, code_signing.c.region == region, code_signing.c.id > after)
        .order_by(code_signing.c.id)
        .limit(limit)
    )
    return [_code_signing(row) for row in rows]


def _is(account_id: str, region: str, config_id: str) -> tuple[Any, ...]:
    return (
        code_signing.c.account_id == account_id,
        code_signing.c.region == region,
        code_signing.c.id == config_id,
    )


def _code_signing(row: Row[Any]) -> CodeSigning:
    tags: Mapping[str, str] = orjson.loads(row.tags)
    return CodeSigning(
        row.account_id,
        row.region,
        row.id,
        row.description,
        tuple(orjson.loads(row.publishers)),
        row.policy,
        row.modified,
        tags,
    )
