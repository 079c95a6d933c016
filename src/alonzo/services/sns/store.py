"""All SQL of SNS."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    text,
    tuple_,
    update,
)

from alonzo.services.sns.models import Key, Subscription, Topic
from alonzo.storage import metadata

_TOPIC = ("account_id", "region", "topic")

topics = Table(
    "sns_topics",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("topic", String, primary_key=True),
    Column("attributes", String, nullable=False),
    Column("tags", String, nullable=False),
    Column("deleted", Integer, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
)

subscriptions = Table(
    "sns_subscriptions",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("topic", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("owner", String, nullable=False),
    Column("protocol", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("attributes", String, nullable=False),
    Column("principal", String, nullable=False),
    Column("pending", Boolean, nullable=False),
    Column("token", String, nullable=False),
    Column("authenticated", Boolean, nullable=False),
    Column("authenticate_on_unsubscribe", Boolean, nullable=False),
    Column("private", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    UniqueConstraint(*_TOPIC, "protocol", "endpoint"),
    ForeignKeyConstraint(_TOPIC, [f"sns_topics.{name}" for name in _TOPIC], ondelete="CASCADE"),
    Index("sns_subscriptions_owner", "owner", "region", "topic", "id"),
)

#: What FIFO topics remember for five minutes.
recent = Table(
    "sns_recent",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("topic", String, primary_key=True),
    Column("deduplication", String, primary_key=True),
    Column("message_id", String, nullable=False),
    Column("sequence", String, nullable=False),
    Column("until", Float, nullable=False),
    ForeignKeyConstraint(_TOPIC, [f"sns_topics.{name}" for name in _TOPIC], ondelete="CASCADE"),
    Index("sns_recent_until", "until"),
)

#: What is on its way from a FIFO topic: in the order of `seq`, for each subscription and group.
outbox = Table(
    "sns_outbox",
    metadata,
    Column("seq", Integer().with_variant(BigInteger, "postgresql"), primary_key=True, autoincrement=True),
    Column("subscription", String, nullable=False),
    Column("message_group", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("sns_outbox_group", "subscription", "message_group", "seq"),
)

#: Messages too large to be written for every subscription, and the subscriptions that need them still.
parcels = Table(
    "sns_parcels",
    metadata,
    Column("message_id", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
parcel_users = Table(
    "sns_parcel_users",
    metadata,
    Column("message_id", String, primary_key=True),
    Column("subscription", String, primary_key=True),
)

#: E-mails and text messages, which leave nobody's machine: they are kept here to be looked at.
recorded = Table(
    "sns_recorded",
    metadata,
    Column("seq", Integer().with_variant(BigInteger, "postgresql"), primary_key=True, autoincrement=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("protocol", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("body", String, nullable=False),
    Column("message_id", String, nullable=False),
    Column("topic", String, nullable=False),
    Column("recorded_at", Float, nullable=False),
    Index("sns_recorded_account", "account_id", "region", "seq"),
)

#: The key that notifications are signed with: one for the server.
signing = Table(
    "sns_signing",
    metadata,
    Column("name", String, primary_key=True),
    Column("key", LargeBinary, nullable=False),
    Column("certificate", LargeBinary, nullable=False),
)


def _of(table: Table, key: Key) -> Any:
    return (table.c.account_id == key[0]) & (table.c.region == key[1]) & (table.c.topic == key[2])


def _keyed(key: Key) -> dict[str, str]:
    return dict(zip(_TOPIC, key, strict=True))


# -- topics -----------------------------------------------------------------------------------------------------------


def get_topic(connection: Connection, key: Key) -> Topic | None:
    """Without its subscriptions."""
    row = connection.execute(select(topics).where(_of(topics, key))).first()
    if row is None:
        return None
    return Topic(key, json.loads(row.attributes), json.loads(row.tags), row.deleted, row.created_at)


def add_topic(
    connection: Connection, key: Key, attributes: Mapping[str, str], tags: Mapping[str, str], now: float
) -> None:
    connection.execute(
        insert(topics).values(
            **_keyed(key),
            attributes=json.dumps(attributes),
            tags=json.dumps(tags),
            deleted=0,
            sequence=0,
            created_at=now,
        )
    )


def set_topic(
    connection: Connection,
    key: Key,
    *,
    attributes: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    values = {
        name: json.dumps(value) for name, value in (("attributes", attributes), ("tags", tags)) if value is not None
    }
    connection.execute(update(topics).where(_of(topics, key)).values(**values))


def delete_topic(connection: Connection, key: Key) -> None:
    connection.execute(delete(topics).where(_of(topics, key)))


def list_topics(connection: Connection, account_id: str, region: str, after: str, limit: int) -> list[str]:
    return list(
        connection.execute(
            select(topics.c.topic)
            .where(topics.c.account_id == account_id, topics.c.region == region, topics.c.topic > after)
            .order_by(topics.c.topic)
            .limit(limit)
        ).scalars()
    )


def next_sequence(connection: Connection, key: Key) -> int:
    """The next number of a FIFO topic."""
    connection.execute(update(topics).where(_of(topics, key)).values(sequence=topics.c.sequence + 1))
    return int(connection.execute(select(topics.c.sequence).where(_of(topics, key))).scalar_one())


# -- subscriptions ----------------------------------------------------------------------------------------------------


def _subscription(row: Any) -> Subscription:
    return Subscription(
        (row.account_id, row.region, row.topic),
        row.id,
        row.owner,
        row.protocol,
        row.endpoint,
        json.loads(row.attributes),
        row.principal,
        row.pending,
        row.token,
        row.authenticated,
        row.authenticate_on_unsubscribe,
        row.private,
        row.created_at,
    )


def get_subscription(connection: Connection, key: Key, subscription_id: str) -> Subscription | None:
    where = _of(subscriptions, key) & (subscriptions.c.id == subscription_id)
    row = connection.execute(select(subscriptions).where(where)).first()
    return None if row is None else _subscription(row)


def find_endpoint(connection: Connection, key: Key, protocol: str, endpoint: str) -> Subscription | None:
    where = _of(subscriptions, key) & (subscriptions.c.protocol == protocol) & (subscriptions.c.endpoint == endpoint)
    row = connection.execute(select(subscriptions).where(where)).first()
    return None if row is None else _subscription(row)


def subscriptions_of(connection: Connection, key: Key) -> list[Subscription]:
    rows = connection.execute(
        select(subscriptions).where(_of(subscriptions, key)).order_by(subscriptions.c.position, subscriptions.c.id)
    )
    return [_subscription(row) for row in rows]


def list_of_topic(connection: Connection, key: Key, after: str, limit: int) -> list[Subscription]:
    rows = connection.execute(
        select(subscriptions)
        .where(_of(subscriptions, key), subscriptions.c.id > after)
        .order_by(subscriptions.c.id)
        .limit(limit)
    )
    return [_subscription(row) for row in rows]


def list_of_owner(
    connection: Connection, owner: str, region: str, after: tuple[str, str], limit: int
) -> list[Subscription]:
    place = tuple_(subscriptions.c.topic, subscriptions.c.id)
    rows = connection.execute(
        select(subscriptions)
        .where(subscriptions.c.owner == owner, subscriptions.c.region == region, place > after)
        .order_by(subscriptions.c.topic, subscriptions.c.id)
        .limit(limit)
    )
    return [_subscription(row) for row in rows]


def count_subscriptions(connection: Connection, key: Key) -> int:
    return int(
        connection.execute(select(func.count()).select_from(subscriptions).where(_of(subscriptions, key))).scalar_one()
    )


def add_subscription(connection: Connection, new: Subscription) -> None:
    last = connection.execute(
        select(func.coalesce(func.max(subscriptions.c.position), 0)).where(_of(subscriptions, new.topic))
    ).scalar_one()
    connection.execute(
        insert(subscriptions).values(
            **_keyed(new.topic),
            id=new.id,
            position=last + 1,
            owner=new.owner,
            protocol=new.protocol,
            endpoint=new.endpoint,
            attributes=json.dumps(new.attributes),
            principal=new.principal,
            pending=new.pending,
            token=new.token,
            authenticated=new.authenticated,
            authenticate_on_unsubscribe=new.authenticate_on_unsubscribe,
            private=new.private,
            created_at=new.created_at,
        )
    )


def set_subscription(connection: Connection, key: Key, subscription_id: str, **values: Any) -> None:
    """`attributes` as a mapping, the other columns as they are."""
    if "attributes" in values:
        values["attributes"] = json.dumps(values["attributes"])
    connection.execute(
        update(subscriptions).where(_of(subscriptions, key), subscriptions.c.id == subscription_id).values(**values)
    )


def delete_subscription(connection: Connection, key: Key, subscription_id: str) -> None:
    connection.execute(delete(subscriptions).where(_of(subscriptions, key), subscriptions.c.id == subscription_id))
    connection.execute(update(topics).where(_of(topics, key)).values(deleted=topics.c.deleted + 1))


# -- what was published recently --------------------------------------------------------------------------------------


def get_recent(connection: Connection, key: Key, deduplication: str, now: float) -> tuple[str, str] | None:
    """(message id, sequence number) of a message that a FIFO topic has had already."""
    row = connection.execute(
        select(recent.c.message_id, recent.c.sequence).where(
            _of(recent, key), recent.c.deduplication == deduplication, recent.c.until > now
        )
    ).first()
    return None if row is None else (row.message_id, row.sequence)


def add_recent(
    connection: Connection, key: Key, deduplication: str, message_id: str, sequence: str, until: float
) -> None:
    connection.execute(delete(recent).where(_of(recent, key), recent.c.deduplication == deduplication))
    connection.execute(
        insert(recent).values(
            **_keyed(key), deduplication=deduplication, message_id=message_id, sequence=sequence, until=until
        )
    )


def forget_recent(connection: Connection, now: float) -> None:
    """A bounded number of those whose time is over."""
    connection.execute(
        text("DELETE FROM sns_recent WHERE rowid IN (SELECT rowid FROM sns_recent WHERE until <= :now LIMIT 500)"),
        {"now": now},
    )


# -- the outbox -------------------------------------------------------------------------------------------------------


def add_outbox(connection: Connection, subscription: str, group: str, body: bytes) -> int:
    result = connection.execute(insert(outbox).values(subscription=subscription, message_group=group, body=body))
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


def first_in_outbox(connection: Connection, subscription: str, group: str, last: int) -> tuple[int, bytes] | None:
    row = connection.execute(
        select(outbox.c.seq, outbox.c.body)
        .where(outbox.c.subscription == subscription, outbox.c.message_group == group, outbox.c.seq <= last)
        .order_by(outbox.c.seq)
        .limit(1)
    ).first()
    return None if row is None else (row.seq, row.body)


def take_from_outbox(connection: Connection, seq: int) -> None:
    connection.execute(delete(outbox).where(outbox.c.seq == seq))


# -- parcels ----------------------------------------------------------------------------------------------------------


def add_parcel(connection: Connection, message_id: str, body: bytes, users: Iterable[str]) -> None:
    connection.execute(insert(parcels).values(message_id=message_id, body=body))
    connection.execute(insert(parcel_users), [{"message_id": message_id, "subscription": user} for user in users])


def get_parcel(connection: Connection, message_id: str) -> bytes | None:
    return connection.execute(select(parcels.c.body).where(parcels.c.message_id == message_id)).scalar()


def leave_parcel(connection: Connection, message_id: str, user: str) -> None:
    """A subscription needs it no more; it goes with the last one. May be said twice."""
    mine = parcel_users.c.message_id == message_id
    connection.execute(delete(parcel_users).where(mine, parcel_users.c.subscription == user))
    if connection.execute(select(parcel_users.c.subscription).where(mine).limit(1)).first() is None:
        connection.execute(delete(parcels).where(parcels.c.message_id == message_id))


# -- e-mails and text messages ----------------------------------------------------------------------------------------

#: Kept for each account and region.
RECORDED = 1_000


def add_recorded(connection: Connection, account_id: str, region: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    connection.execute(insert(recorded), [{"account_id": account_id, "region": region, **row} for row in rows])
    mine = (recorded.c.account_id == account_id) & (recorded.c.region == region)
    oldest = connection.execute(
        select(recorded.c.seq).where(mine).order_by(recorded.c.seq.desc()).offset(RECORDED).limit(1)
    ).scalar()
    if oldest is not None:
        connection.execute(delete(recorded).where(mine, recorded.c.seq <= oldest))


def list_recorded(connection: Connection, account_id: str, region: str) -> Iterable[Mapping[str, Any]]:
    """The latest first."""
    rows = connection.execute(
        select(recorded)
        .where(recorded.c.account_id == account_id, recorded.c.region == region)
        .order_by(recorded.c.seq.desc())
    )
    return [dict(row) for row in rows.mappings()]


# -- the signing key --------------------------------------------------------------------------------------------------


def get_signing(connection: Connection) -> tuple[str, bytes, bytes] | None:
    """(name, private key, certificate), both as PEM."""
    row = connection.execute(select(signing)).first()
    return None if row is None else (row.name, row.key, row.certificate)


def add_signing(connection: Connection, name: str, key: bytes, certificate: bytes) -> tuple[str, bytes, bytes]:
    """Keep a new key, unless there is one: the one that counts."""
    found = get_signing(connection)
    if found is not None:
        return found
    connection.execute(insert(signing).values(name=name, key=key, certificate=certificate))
    return name, key, certificate
