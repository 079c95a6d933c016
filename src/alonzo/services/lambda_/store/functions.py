"""Functions and their versions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select, text, update

from alonzo.services.lambda_.models import (
    LATEST,
    LATEST_PUBLISHED,
    Body,
    Code,
    Function,
    Layer,
    Status,
    Version,
)
from alonzo.services.lambda_.store import code as code_store
from alonzo.services.lambda_.store.code import Freed
from alonzo.services.lambda_.store.tables import (
    IS_LATEST,
    UNFINISHED,
    aliases,
    event_configs,
    functions,
    policies,
    settings,
    url_configs,
    versions,
)

Key = tuple[str, str, str]
#: Stands behind every number that will ever be published.
_PUBLISHED = 2**31 - 1


def number_of(version: str) -> int:
    """The number of a version; -1, which no version has, for what is none."""
    if version == LATEST:
        return 0
    if version == LATEST_PUBLISHED:
        return _PUBLISHED
    return int(version) if version.isdecimal() and len(version) < 18 and 0 < int(version) < _PUBLISHED else -1


def get_function(connection: Connection, key: Key) -> Function | None:
    row = connection.execute(select(functions).where(*_of(functions, key))).first()
    if row is None:
        return None
    return Function(*key, row.last_version, row.reserved_concurrency, orjson.loads(row.tags))


def put_function(connection: Connection, function: Function) -> None:
    values = {
        "last_version": function.last_version,
        "reserved_concurrency": function.reserved_concurrency,
        "tags": orjson.dumps(dict(function.tags)).decode(),
    }
    key = (function.account_id, function.region, function.name)
    if connection.execute(update(functions).where(*_of(functions, key)).values(values)).rowcount == 0:
        connection.execute(insert(functions).values(**_columns(key), **values))


def get_version(connection: Connection, key: Key, version: str = LATEST) -> Version | None:
    row = connection.execute(
        select(versions).where(*_of(versions, key), versions.c.number == number_of(version))
    ).first()
    return None if row is None else _version(row)


def put_version(connection: Connection, version: Version, freed: Freed) -> None:
    """Write a version and count what code it needs."""
    key = (version.account_id, version.region, version.name)
    number = number_of(version.version)
    values = {
        "revision_id": version.revision_id,
        "body": _dump(version.body),
        "previous": None if version.previous is None else _dump(version.previous),
        "modified": version.modified,
        "state": version.state.name,
        "state_reason": version.state.reason,
        "state_code": version.state.code,
        "update_status": version.update.name,
        "update_reason": version.update.reason,
        "update_code": version.update.code,
    }
    where = and_(*_of(versions, key), versions.c.number == number)
    if connection.execute(update(versions).where(where).values(values)).rowcount == 0:
        connection.execute(insert(versions).values(**_columns(key), number=number, **values))
    bodies = [version.body] if version.previous is None else [version.body, version.previous]
    needed = [code for body in bodies for code in (body.code, *(layer.code for layer in body.layers))]
    code_store.set_uses(connection, _user(key, number), needed, freed)


def touch(connection: Connection, key: Key, version: str, revision_id: str) -> None:
    """Give a version a new revision id (its policy changed)."""
    connection.execute(
        update(versions)
        .where(*_of(versions, key), versions.c.number == number_of(version))
        .values(revision_id=revision_id)
    )


def delete_version(connection: Connection, key: Key, version: str, freed: Freed) -> None:
    """Delete one published version with its policy and event configuration."""
    number = number_of(version)
    connection.execute(delete(versions).where(*_of(versions, key), versions.c.number == number))
    for table in (policies, event_configs, settings):
        connection.execute(delete(table).where(*_of(table, key), table.c.qualifier == version))
    code_store.set_uses(connection, _user(key, number), (), freed)


def delete_function(connection: Connection, key: Key, freed: Freed) -> None:
    """Delete a function with all that belongs to it."""
    numbers = connection.execute(select(versions.c.number).where(*_of(versions, key))).scalars().all()
    for number in numbers:
        code_store.set_uses(connection, _user(key, number), (), freed)
    for table in (versions, aliases, policies, event_configs, settings, url_configs, functions):
        connection.execute(delete(table).where(*_of(table, key)))


def list_versions(connection: Connection, key: Key, after: int, limit: int) -> list[Version]:
    """Versions of one function in the order of their numbers, `$LATEST` first, `$LATEST.PUBLISHED` last."""
    rows = connection.execute(
        select(versions).where(*_of(versions, key), versions.c.number > after).order_by(versions.c.number).limit(limit)
    )
    return [_version(row) for row in rows]


def list_account(
    connection: Connection, account_id: str, region: str, after: tuple[str, int], limit: int, *, all_versions: bool
) -> list[Version]:
    """Versions of all functions (only `$LATEST`s unless `all_versions`) by name, after a name and number."""
    name, number = after
    query = select(versions).where(
        versions.c.account_id == account_id,
        versions.c.region == region,
        or_(versions.c.name > name, and_(versions.c.name == name, versions.c.number > number)),
    )
    if not all_versions:
        query = query.where(versions.c.number == 0)
    rows = connection.execute(query.order_by(versions.c.name, versions.c.number).limit(limit))
    return [_version(row) for row in rows]


def count_functions(connection: Connection, account_id: str, region: str) -> int:
    found = connection.execute(
        select(func.count()).where(functions.c.account_id == account_id, functions.c.region == region)
    ).scalar()
    return found or 0


def reserved_total(connection: Connection, account_id: str, region: str, *, but: str = "") -> int:
    """Reserved concurrency of all functions of a region, except the one named `but`."""
    found = connection.execute(
        select(func.coalesce(func.sum(functions.c.reserved_concurrency), 0)).where(
            functions.c.account_id == account_id, functions.c.region == region, functions.c.name != but
        )
    ).scalar()
    return found or 0


def unfinished(connection: Connection) -> list[Version]:
    """Versions whose preparation a crash interrupted, or that only lacked a runtime or room."""
    rows = connection.execute(select(versions).where(text(UNFINISHED)))
    return [_version(row) for row in rows]


def changed_last(connection: Connection, limit: int) -> list[Version]:
    """The functions that can run and were changed last, in any account and region."""
    rows = connection.execute(
        select(versions)
        .where(versions.c.state == "Active", text(IS_LATEST))
        .order_by(versions.c.modified.desc())
        .limit(limit)
    )
    return [_version(row) for row in rows]


def _user(key: Key, number: int) -> str:
    return "/".join(("function", *key, str(number)))


def _columns(key: Key) -> dict[str, str]:
    return dict(zip(("account_id", "region", "name"), key, strict=True))


def _of(table: Any, key: Key) -> tuple[Any, ...]:
    return (table.c.account_id == key[0], table.c.region == key[1], table.c.name == key[2])


def dump_code(code: Code) -> list[Any]:
    return [code.account_id, code.sha256, code.size, code.unzipped]


def _dump(body: Body) -> str:
    return orjson.dumps(
        {
            "config": dict(body.config),
            "code": dump_code(body.code),
            "layers": [[layer.arn, dump_code(layer.code)] for layer in body.layers],
            "generation": body.generation,
        }
    ).decode()


def _load(text: str) -> Body:
    data = orjson.loads(text)
    layers = tuple(Layer(arn, Code(*code)) for arn, code in data["layers"])
    return Body(data["config"], Code(*data["code"]), layers, data["generation"])


def _version(row: Row[Any]) -> Version:
    return Version(
        account_id=row.account_id,
        region=row.region,
        name=row.name,
        version={0: LATEST, _PUBLISHED: LATEST_PUBLISHED}.get(row.number) or str(row.number),
        revision_id=row.revision_id,
        body=_load(row.body),
        previous=None if row.previous is None else _load(row.previous),
        modified=row.modified,
        state=Status(row.state, row.state_reason, row.state_code),
        update=Status(row.update_status, row.update_reason, row.update_code),
    )


def with_status(version: Version, *, state: Status | None = None, update: Status | None = None) -> Version:
    """The same version in another state."""
    return replace(version, state=state or version.state, update=update or version.update)
