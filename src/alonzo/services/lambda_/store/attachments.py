"""What hangs on a function's qualifiers: aliases, resource policies, event invoke configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, Row, delete, insert, select, update

from alonzo.services.lambda_.models import Alias, EventConfig
from alonzo.services.lambda_.store.functions import Key
from alonzo.services.lambda_.store.tables import aliases, event_configs, policies

Statement = Mapping[str, Any]


def get_alias(connection: Connection, key: Key, alias: str) -> Alias | None:
    row = connection.execute(select(aliases).where(*_of(aliases, key), aliases.c.alias == alias)).first()
    return None if row is None else _alias(row)


def put_alias(connection: Connection, alias: Alias) -> None:
    key = (alias.account_id, alias.region, alias.name)
    connection.execute(delete(aliases).where(*_of(aliases, key), aliases.c.alias == alias.alias))
    connection.execute(
        insert(aliases).values(
            account_id=alias.account_id,
            region=alias.region,
            name=alias.name,
            alias=alias.alias,
            version=alias.version,
            description=alias.description,
            weights=orjson.dumps(dict(alias.weights)).decode(),
            revision_id=alias.revision_id,
        )
    )


def delete_alias(connection: Connection, key: Key, alias: str) -> None:
    connection.execute(delete(aliases).where(*_of(aliases, key), aliases.c.alias == alias))
    for table in (policies, event_configs):
        connection.execute(delete(table).where(*_of(table, key), table.c.qualifier == alias))


def list_aliases(connection: Connection, key: Key, after: str, limit: int) -> list[Alias]:
    rows = connection.execute(
        select(aliases).where(*_of(aliases, key), aliases.c.alias > after).order_by(aliases.c.alias).limit(limit)
    )
    return [_alias(row) for row in rows]


def aliases_of_version(connection: Connection, key: Key, version: str) -> list[Alias]:
    """Aliases that route any share of their calls to a version."""
    rows = connection.execute(select(aliases).where(*_of(aliases, key)).order_by(aliases.c.alias))
    found = [_alias(row) for row in rows]
    return [alias for alias in found if version == alias.version or version in alias.weights]


def get_policy(connection: Connection, key: Key, qualifier: str) -> dict[str, Any] | None:
    """A qualifier's policy, or None."""
    text = connection.execute(
        select(policies.c.statements).where(*_of(policies, key), policies.c.qualifier == qualifier)
    ).scalar()
    if not text:
        return None
    found: Any = orjson.loads(text)
    return with_statements(None, found) if isinstance(found, list) else found


def put_policy(connection: Connection, key: Key, qualifier: str, document: Mapping[str, Any] | None) -> None:
    """Replace a qualifier's policy; None removes it."""
    connection.execute(delete(policies).where(*_of(policies, key), policies.c.qualifier == qualifier))
    if document is not None:
        connection.execute(
            insert(policies).values(
                account_id=key[0],
                region=key[1],
                name=key[2],
                qualifier=qualifier,
                statements=orjson.dumps(document).decode(),
            )
        )


def statements_of(document: Mapping[str, Any] | None) -> list[Statement]:
    """A policy's statements; a policy put whole may have a single one without a list around it."""
    found = document["Statement"] if document else []
    return list(found) if isinstance(found, list) else [found]


def with_statements(document: Mapping[str, Any] | None, statements: Sequence[Statement]) -> dict[str, Any]:
    """The policy with other statements, or a new one as AddPermission begins it."""
    return {**(document or {"Version": "2012-10-17", "Id": "default"}), "Statement": list(statements)}


def policy_text(document: Mapping[str, Any] | None) -> str | None:
    """A policy as GetPolicy shows it, or None."""
    return None if document is None else orjson.dumps(document).decode()


def policy_document(statements: Sequence[Statement]) -> str | None:
    """Statements of a layer version as a policy, or None."""
    return policy_text(with_statements(None, statements)) if statements else None


def get_event_config(connection: Connection, key: Key, qualifier: str) -> EventConfig | None:
    row = connection.execute(
        select(event_configs).where(*_of(event_configs, key), event_configs.c.qualifier == qualifier)
    ).first()
    return None if row is None else EventConfig(*row)


def put_event_config(connection: Connection, config: EventConfig) -> None:
    delete_event_config(connection, (config.account_id, config.region, config.name), config.qualifier)
    connection.execute(
        insert(event_configs).values(
            account_id=config.account_id,
            region=config.region,
            name=config.name,
            qualifier=config.qualifier,
            retries=config.retries,
            max_age_s=config.max_age_s,
            on_success=config.on_success,
            on_failure=config.on_failure,
            modified=config.modified,
        )
    )


def delete_event_config(connection: Connection, key: Key, qualifier: str) -> bool:
    """Whether there was one."""
    result = connection.execute(
        delete(event_configs).where(*_of(event_configs, key), event_configs.c.qualifier == qualifier)
    )
    return result.rowcount > 0


def list_event_configs(connection: Connection, key: Key, after: str, limit: int) -> list[EventConfig]:
    rows = connection.execute(
        select(event_configs)
        .where(*_of(event_configs, key), event_configs.c.qualifier > after)
        .order_by(event_configs.c.qualifier)
        .limit(limit)
    )
    return [EventConfig(*row) for row in rows]


def _of(table: Any, key: Key) -> tuple[Any, ...]:
    return (table.c.account_id == key[0], table.c.region == key[1], table.c.name == key[2])


def _alias(row: Row[Any]) -> Alias:
    return Alias(
        row.account_id,
        row.region,
        row.name,
        row.alias,
        row.version,
        row.description,
        orjson.loads(row.weights),
        row.revision_id,
    )


def touch_alias(connection: Connection, key: Key, alias: str, revision_id: str) -> None:
    """Give an alias a new revision id (its policy changed)."""
    connection.execute(
        update(aliases).where(*_of(aliases, key), aliases.c.alias == alias).values(revision_id=revision_id)
    )
