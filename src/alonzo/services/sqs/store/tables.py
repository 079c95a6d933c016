"""The tables."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from alonzo.storage import metadata

_Id = BigInteger().with_variant(Integer, "sqlite")

queues = Table(
    "sqs_queue",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", String, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("modified_ms", BigInteger, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("purged_seq", BigInteger, nullable=False),
    UniqueConstraint("account_id", "region", "name"),
    sqlite_autoincrement=True,
)

# Messages are found through their queue, which account and region lead. `seq` grows with time: its high bits are the
# millisecond of arrival. `receipt` is the random part of the last receipt handle.
messages = Table(
    "sqs_message",
    metadata,
    Column("seq", _Id, primary_key=True, autoincrement=False),
    Column("queue_id", _Id, nullable=False),
    Column("message_id", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("attributes", LargeBinary),
    Column("sent_ms", BigInteger, nullable=False),
    Column("visible_ms", BigInteger, nullable=False),
    Column("sender_id", String, nullable=False),
    Column("group_id", String),
    Column("dedup_id", String),
    Column("trace", String),
    Column("dlq_source", String),
    Column("count", Integer, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("receipt", BigInteger, nullable=False),
    Index("sqs_message_of_queue", "queue_id", "seq", "visible_ms", "sent_ms"),
)

dedups = Table(
    "sqs_deduplication",
    metadata,
    Column("queue_id", _Id, primary_key=True),
    Column("scope", String, primary_key=True),
    Column("dedup_id", String, primary_key=True),
    Column("message_id", String, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("sqs_deduplication_expiry", "expires_ms"),
)

garbage = Table(
    "sqs_garbage",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("queue_id", _Id, nullable=False),
    Column("up_to_seq", BigInteger, nullable=False),
)

moves = Table(
    "sqs_move_task",
    metadata,
    Column("id", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("source", String, nullable=False),
    Column("destination", String, nullable=False),
    Column("rate", Integer, nullable=False),
    Column("status", String, nullable=False),
    Column("moved", BigInteger, nullable=False),
    Column("to_move", BigInteger, nullable=False),
    Column("failure", String, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Index("sqs_move_task_of_source", "account_id", "region", "source", "started_ms"),
)

#: Rows handled at a time.
CHUNK = 500
