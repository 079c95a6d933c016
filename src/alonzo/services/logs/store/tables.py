"""The tables."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
)

from alonzo.storage import metadata

# SQLite numbers rows of an INTEGER primary key only; AUTOINCREMENT never gives a number twice, which event ids need.
_Id = BigInteger().with_variant(Integer, "sqlite")

groups = Table(
    "logs_group",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", String, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("retention_days", Integer),
    Column("group_class", String, nullable=False),
    Column("kms_key_id", String, nullable=False),
    Column("protected", Boolean, nullable=False),
    Column("tags", JSON, nullable=False),
    UniqueConstraint("account_id", "region", "name"),
    sqlite_autoincrement=True,
)

streams = Table(
    "logs_stream",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("group_name", String, nullable=False),
    Column("name", String, nullable=False),
    Column("group_id", _Id, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("first_event_ms", BigInteger),
    Column("last_event_ms", BigInteger),
    Column("last_ingestion_ms", BigInteger),
    Column("stored_bytes", BigInteger, nullable=False, default=0),
    UniqueConstraint("account_id", "region", "group_name", "name"),
    Index("logs_stream_of_group", "group_id", "last_event_ms", "name"),
    sqlite_autoincrement=True,
)

# Chunks are found through their stream or group only, which account and region lead.
chunk_table = Table(
    "logs_chunk",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("stream_id", _Id, nullable=False),
    Column("group_id", _Id, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("events", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("ingested_ms", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("logs_chunk_of_stream", "stream_id", "first_ms", "last_ms"),
    Index("logs_chunk_of_group", "group_id", "first_ms", "last_ms"),
    sqlite_autoincrement=True,
)

Key = tuple[str, str]
"""Account id and region."""

Place = tuple[str, str, str, str]
"""Where a stream is: account id, region, group, stream."""
