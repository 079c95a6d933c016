"""IAM's tables. IAM is global: region is always empty. Names are compared without regard to case, as AWS does.

Every function takes a connection and runs inside a transaction of `Database.read` or `Database.write`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Float,
    Integer,
    Row,
    String,
    Table,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from alonzo.services.iam.models import AccessKey, Entity, Kind, ManagedPolicy, Tags, Version
from alonzo.storage.database import metadata


def _table(name: str, *columns: Column[Any]) -> Table:
    return Table(
        name,
        metadata,
        Column("account_id", String, primary_key=True),
        Column("region", String, primary_key=True, default=""),
        *columns,
    )


def _key(name: str) -> Column[Any]:
    return Column(name, String, primary_key=True)


entities = _table(
    "iam_entities",
    _key("kind"),
    _key("key"),
    Column("name", String, nullable=False),
    Column("path", String, nullable=False),
    Column("entity_id", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("tags", String, nullable=False),
    Column("boundary", String, nullable=False),
    Column("trust", String, nullable=False),
    Column("description", String, nullable=False),
    Column("max_session_s", Integer, nullable=False),
)
members = _table("iam_members", _key("group_key"), _key("user_key"))
attachments = _table("iam_attachments", _key("kind"), _key("key"), _key("policy_arn"))
inline = _table("iam_inline", _key("kind"), _key("key"), _key("name"), Column("document", String, nullable=False))
policies = _table(
    "iam_policies",
    _key("key"),
    Column("name", String, nullable=False),
    Column("path", String, nullable=False),
    Column("policy_id", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("default", Integer, nullable=False),
    Column("next_version", Integer, nullable=False),
    Column("description", String, nullable=False),
    Column("tags", String, nullable=False),
)
versions = _table(
    "iam_policy_versions",
    _key("key"),
    Column("number", Integer, primary_key=True),
    Column("document", String, nullable=False),
    Column("created_at", Float, nullable=False),
)
access_keys = _table(
    "iam_access_keys",
    _key("access_key_id"),
    Column("user_key", String, nullable=False),
    Column("user", String, nullable=False),
    Column("secret", String, nullable=False),
    Column("active", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
)


def _of(table: Table, account_id: str, **values: object) -> Any:
    """Rows of an account with these values."""
    tests = [table.c.account_id == account_id, table.c.region == ""]
    return and_(*tests, *(table.c[name] == value for name, value in values.items()))


def _load_tags(text: str) -> Tags:
    return tuple((key, value) for key, value in json.loads(text))


# -- users, roles, groups ---------------------------------------------------------------------------------------------


def _entity(row: Row[Any]) -> Entity:
    return Entity(
        row.account_id,
        row.kind,
        row.name,
        row.path,
        row.entity_id,
        row.created_at,
        _load_tags(row.tags),
        row.boundary,
        row.trust,
        row.description,
        row.max_session_s,
    )


def find(c: Connection, account_id: str, kind: Kind, name: str) -> Entity | None:
    row = c.execute(select(entities).where(_of(entities, account_id, kind=kind, key=name.lower()))).first()
    return _entity(row) if row is not None else None


def put(c: Connection, entity: Entity) -> None:
    """Insert or replace."""
    where = _of(entities, entity.account_id, kind=entity.kind, key=entity.name.lower())
    c.execute(delete(entities).where(where))
    c.execute(
        insert(entities).values(
            account_id=entity.account_id,
            region="",
            kind=entity.kind,
            key=entity.name.lower(),
            name=entity.name,
            path=entity.path,
            entity_id=entity.entity_id,
            created_at=entity.created_at,
            tags=json.dumps(entity.tags),
            boundary=entity.boundary,
            trust=entity.trust,
            description=entity.description,
            max_session_s=entity.max_session_s,
        )
    )


def remove(c: Connection, entity: Entity) -> None:
    c.execute(delete(entities).where(_of(entities, entity.account_id, kind=entity.kind, key=entity.name.lower())))


def count(c: Connection, account_id: str, kind: Kind) -> int:
    query = select(func.count()).select_from(entities).where(_of(entities, account_id, kind=kind))
    return int(c.execute(query).scalar_one())


def page(c: Connection, account_id: str, kind: Kind, prefix: str, after: str, limit: int) -> list[Entity]:
    """Entities whose path starts with `prefix`, by name, after the name `after`."""
    query = (
        select(entities)
        .where(_of(entities, account_id, kind=kind), entities.c.key > after.lower())
        .where(func.substr(entities.c.path, 1, len(prefix)) == prefix)
        .order_by(entities.c.key)
        .limit(limit)
    )
    return [_entity(row) for row in c.execute(query)]


# -- groups and their members -----------------------------------------------------------------------------------------


def add_member(c: Connection, account_id: str, group: str, user: str) -> None:
    keys = {"group_key": group.lower(), "user_key": user.lower()}
    if c.execute(select(members).where(_of(members, account_id, **keys))).first() is None:
        c.execute(insert(members).values(account_id=account_id, region="", **keys))


def remove_member(c: Connection, account_id: str, group: str, user: str) -> bool:
    where = _of(members, account_id, group_key=group.lower(), user_key=user.lower())
    return c.execute(delete(members).where(where)).rowcount > 0


def members_of(c: Connection, account_id: str, group: str) -> list[Entity]:
    keys = c.execute(select(members.c.user_key).where(_of(members, account_id, group_key=group.lower()))).scalars()
    return [user for key in sorted(keys) if (user := find(c, account_id, "user", key)) is not None]


def groups_of(c: Connection, account_id: str, user: str) -> list[Entity]:
    keys = c.execute(select(members.c.group_key).where(_of(members, account_id, user_key=user.lower()))).scalars()
    return [group for key in sorted(keys) if (group := find(c, account_id, "group", key)) is not None]


# -- policies of an entity --------------------------------------------------------------------------------------------


def attach(c: Connection, entity: Entity, policy_arn: str) -> None:
    if policy_arn not in attached(c, entity):
        c.execute(
            insert(attachments).values(
                account_id=entity.account_id,
                region="",
                kind=entity.kind,
                key=entity.name.lower(),
                policy_arn=policy_arn,
            )
        )


def detach(c: Connection, entity: Entity, policy_arn: str) -> bool:
    where = _of(attachments, entity.account_id, kind=entity.kind, key=entity.name.lower(), policy_arn=policy_arn)
    return c.execute(delete(attachments).where(where)).rowcount > 0


def attached(c: Connection, entity: Entity) -> list[str]:
    where = _of(attachments, entity.account_id, kind=entity.kind, key=entity.name.lower())
    return sorted(c.execute(select(attachments.c.policy_arn).where(where)).scalars())


def attached_to(c: Connection, account_id: str, policy_arn: str) -> list[Entity]:
    rows = c.execute(
        select(attachments.c.kind, attachments.c.key).where(_of(attachments, account_id, policy_arn=policy_arn))
    ).all()
    return [one for row in sorted(rows, key=tuple) if (one := find(c, account_id, row.kind, row.key)) is not None]


def attachment_counts(c: Connection, account_id: str) -> dict[str, int]:
    query = (
        select(attachments.c.policy_arn, func.count())
        .where(_of(attachments, account_id))
        .group_by(attachments.c.policy_arn)
    )
    return {arn: int(number) for arn, number in c.execute(query)}


def boundary_users(c: Connection, account_id: str, policy_arn: str) -> list[Entity]:
    rows = c.execute(select(entities).where(_of(entities, account_id, boundary=policy_arn)))
    return [_entity(row) for row in rows]


def boundary_counts(c: Connection, account_id: str) -> dict[str, int]:
    query = select(entities.c.boundary, func.count()).where(_of(entities, account_id)).group_by(entities.c.boundary)
    return {arn: int(number) for arn, number in c.execute(query) if arn}


def put_inline(c: Connection, entity: Entity, name: str, document: str) -> None:
    remove_inline(c, entity, name)
    c.execute(
        insert(inline).values(
            account_id=entity.account_id,
            region="",
            kind=entity.kind,
            key=entity.name.lower(),
            name=name,
            document=document,
        )
    )


def remove_inline(c: Connection, entity: Entity, name: str) -> bool:
    where = _of(inline, entity.account_id, kind=entity.kind, key=entity.name.lower(), name=name)
    return c.execute(delete(inline).where(where)).rowcount > 0


def inline_of(c: Connection, entity: Entity) -> dict[str, str]:
    """Documents by name, in order of names."""
    where = _of(inline, entity.account_id, kind=entity.kind, key=entity.name.lower())
    return {row.name: row.document for row in c.execute(select(inline).where(where).order_by(inline.c.name))}


# -- managed policies -------------------------------------------------------------------------------------------------


def _policy(row: Row[Any]) -> ManagedPolicy:
    return ManagedPolicy(
        row.account_id,
        row.name,
        row.path,
        row.policy_id,
        row.created_at,
        row.updated_at,
        row.default,
        row.description,
        _load_tags(row.tags),
        row.next_version,
    )


def find_policy(c: Connection, account_id: str, name: str) -> ManagedPolicy | None:
    row = c.execute(select(policies).where(_of(policies, account_id, key=name.lower()))).first()
    return _policy(row) if row is not None else None


def put_policy(c: Connection, policy: ManagedPolicy) -> None:
    """Insert or replace; versions stay."""
    c.execute(delete(policies).where(_of(policies, policy.account_id, key=policy.name.lower())))
    c.execute(
        insert(policies).values(
            account_id=policy.account_id,
            region="",
            key=policy.name.lower(),
            name=policy.name,
            path=policy.path,
            policy_id=policy.policy_id,
            created_at=policy.created_at,
            updated_at=policy.updated_at,
            default=policy.default,
            next_version=policy.next_version,
            description=policy.description,
            tags=json.dumps(policy.tags),
        )
    )


def remove_policy(c: Connection, policy: ManagedPolicy) -> None:
    for table in (policies, versions):
        c.execute(delete(table).where(_of(table, policy.account_id, key=policy.name.lower())))


def all_policies(c: Connection, account_id: str) -> list[ManagedPolicy]:
    query = select(policies).where(_of(policies, account_id)).order_by(policies.c.key)
    return [_policy(row) for row in c.execute(query)]


def put_version(c: Connection, policy: ManagedPolicy, version: Version) -> None:
    c.execute(
        insert(versions).values(
            account_id=policy.account_id,
            region="",
            key=policy.name.lower(),
            number=version.number,
            document=version.document,
            created_at=version.created_at,
        )
    )


def remove_version(c: Connection, policy: ManagedPolicy, number: int) -> None:
    c.execute(delete(versions).where(_of(versions, policy.account_id, key=policy.name.lower(), number=number)))


def versions_of(c: Connection, policy: ManagedPolicy) -> list[Version]:
    """Newest first."""
    where = _of(versions, policy.account_id, key=policy.name.lower())
    rows: Iterable[Row[Any]] = c.execute(select(versions).where(where).order_by(versions.c.number.desc()))
    return [Version(row.number, row.document, row.created_at) for row in rows]


# -- access keys ------------------------------------------------------------------------------------------------------


def _access_key(row: Row[Any]) -> AccessKey:
    return AccessKey(row.account_id, row.user, row.access_key_id, row.secret, bool(row.active), row.created_at)


def find_key(c: Connection, account_id: str, access_key_id: str) -> AccessKey | None:
    row = c.execute(select(access_keys).where(_of(access_keys, account_id, access_key_id=access_key_id))).first()
    return _access_key(row) if row is not None else None


def keys_of(c: Connection, account_id: str, user: str) -> list[AccessKey]:
    where = _of(access_keys, account_id, user_key=user.lower())
    query = select(access_keys).where(where).order_by(access_keys.c.created_at, access_keys.c.access_key_id)
    return [_access_key(row) for row in c.execute(query)]


def put_key(c: Connection, key: AccessKey) -> None:
    c.execute(
        insert(access_keys).values(
            account_id=key.account_id,
            region="",
            access_key_id=key.access_key_id,
            user_key=key.user.lower(),
            user=key.user,
            secret=key.secret,
            active=int(key.active),
            created_at=key.created_at,
        )
    )


def set_key_active(c: Connection, key: AccessKey, active: bool) -> None:
    where = _of(access_keys, key.account_id, access_key_id=key.access_key_id)
    c.execute(update(access_keys).where(where).values(active=int(active)))


def remove_key(c: Connection, key: AccessKey) -> None:
    c.execute(delete(access_keys).where(_of(access_keys, key.account_id, access_key_id=key.access_key_id)))
