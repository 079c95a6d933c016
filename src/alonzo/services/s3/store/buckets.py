"""Buckets and their configuration."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from alonzo.services.s3.models import Bucket
from alonzo.services.s3.store import extents as extent_store
from alonzo.services.s3.store.tables import buckets, objects, parts, uploads

_GET = select(buckets).where(buckets.c.name == bindparam("name"))


def _bucket(row: Row[Any]) -> Bucket:
    return Bucket(
        row.name, row.account_id, row.region, row.created_ms, row.versioning, row.tagged, json.loads(row.config)
    )


def get(connection: Connection, name: str) -> Bucket | None:
    row = connection.execute(_GET, {"name": name}).first()
    return None if row is None else _bucket(row)


def create(connection: Connection, bucket: Bucket) -> Bucket | None:
    """Insert unless the name is taken; returns the bucket that has it already."""
    existing = get(connection, bucket.name)
    if existing is not None:
        return existing
    connection.execute(
        insert(buckets),
        {
            "name": bucket.name,
            "account_id": bucket.account_id,
            "region": bucket.region,
            "created_ms": bucket.created_ms,
            "versioning": bucket.versioning,
            "tagged": bucket.tagged,
            "config": json.dumps(bucket.config),
        },
    )
    return None


def count(connection: Connection, account_id: str) -> int:
    return connection.execute(
        select(func.count()).select_from(buckets).where(buckets.c.account_id == account_id)
    ).scalar_one()


def list_owned(
    connection: Connection, account_id: str, *, prefix: str, after: str, region: str, limit: int
) -> list[Bucket]:
    query = select(buckets).where(buckets.c.account_id == account_id, buckets.c.name > after)
    if prefix:
        query = query.where(buckets.c.name >= prefix, buckets.c.name < prefix + "\U0010ffff")
    if region:
        query = query.where(buckets.c.region == region)
    return [_bucket(row) for row in connection.execute(query.order_by(buckets.c.name).limit(limit))]


def has_objects(connection: Connection, name: str) -> bool:
    return connection.execute(select(objects.c.id).where(objects.c.bucket == name).limit(1)).first() is not None


def remove(connection: Connection, name: str) -> list[str]:
    """Delete an empty bucket with its unfinished uploads; returns the blobs that nothing names any more."""
    owners = [row.id for row in connection.execute(select(uploads.c.id).where(uploads.c.bucket == name))]
    dropped: list[str] = []
    for owner in owners:
        dropped += extent_store.drop(connection, owner)
        connection.execute(delete(parts).where(parts.c.owner == owner))
    connection.execute(delete(uploads).where(uploads.c.bucket == name))
    connection.execute(delete(buckets).where(buckets.c.name == name))
    return dropped


def configure(connection: Connection, name: str, noun: str, document: Any) -> bool:
    """Store or (with None) remove one document; False where the bucket is gone."""
    bucket = get(connection, name)
    if bucket is None:
        return False
    config = {key: value for key, value in bucket.config.items() if key != noun}
    if document is not None:
        config[noun] = document
    connection.execute(update(buckets).where(buckets.c.name == name).values(config=json.dumps(config)))
    return True


def set_versioning(connection: Connection, name: str, status: str) -> bool:
    return connection.execute(update(buckets).where(buckets.c.name == name).values(versioning=status)).rowcount == 1


def mark_tagged(connection: Connection, name: str) -> None:
    connection.execute(update(buckets).where(buckets.c.name == name).values(tagged=True))
