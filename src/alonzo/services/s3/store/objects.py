"""Objects: the latest version, one version, putting and removing.

Every function runs inside a transaction of its caller. Those that remove return the blobs that nothing names any more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, delete, insert, literal_column, select, update

from alonzo.services.s3.models import Extent, S3Object
from alonzo.services.s3.store import extents as extent_store
from alonzo.services.s3.store.tables import objects, parts

_KEY = (objects.c.bucket == bindparam("bucket"), objects.c.key == bindparam("key"))
_CURRENT: ColumnElement[bool] = literal_column(
    "current = 1"
)  # written out: a bound value would not match the partial index
_GET_CURRENT = select(objects).where(*_KEY, _CURRENT)
_GET_LATEST = select(objects).where(*_KEY).order_by(objects.c.id.desc()).limit(1)
_GET_VERSION = select(objects).where(*_KEY, objects.c.version_id == bindparam("version_id"))
_GET_NULL = select(objects).where(*_KEY, objects.c.version_id.is_(None))
_HEAD: Select[Any] = (
    select(
        objects.c.id,
        objects.c.version_id,
        objects.c.delete_marker,
        objects.c.extents,
        objects.c.etag,
        objects.c.current,
        objects.c.modified_ms,
        objects.c.size,
    )
    .where(*_KEY)
    .order_by(objects.c.id.desc())
    .limit(1)
)
_INSERT = insert(objects)
_DELETE = delete(objects).where(objects.c.id == bindparam("object_id"))
_SET_CURRENT = update(objects).where(objects.c.id == bindparam("object_id")).values(current=bindparam("value"))
_TAGS = select(objects.c.tags).where(*_KEY, _CURRENT)


def from_row(row: Row[Any]) -> S3Object:
    return S3Object(
        row.id,
        row.bucket,
        row.key.decode(),
        row.version_id,
        row.delete_marker == 1,
        row.size,
        row.etag,
        row.modified_ms,
        row.storage_class,
        row.extents,
        json.loads(row.details),
        json.loads(row.tags) if row.tags else {},
        row.data,
    )


def current(connection: Connection, bucket: str, key: str) -> S3Object | None:
    """What a GET without version finds: None where there is nothing, or a delete marker."""
    row = connection.execute(_GET_CURRENT, {"bucket": bucket, "key": key.encode()}).first()
    return None if row is None else from_row(row)


def latest(connection: Connection, bucket: str, key: str) -> S3Object | None:
    """The newest version, delete marker or not."""
    row = connection.execute(_GET_LATEST, {"bucket": bucket, "key": key.encode()}).first()
    return None if row is None else from_row(row)


def version(connection: Connection, bucket: str, key: str, version_id: str) -> S3Object | None:
    values = {"bucket": bucket, "key": key.encode()}
    if version_id == "null":
        row = connection.execute(_GET_NULL, values).first()
    else:
        row = connection.execute(_GET_VERSION, {**values, "version_id": version_id}).first()
    return None if row is None else from_row(row)


def tags_of(connection: Connection, bucket: str, key: str, version_id: str = "") -> Mapping[str, str]:
    """The tags of an object, for conditions of policies."""
    if version_id:
        found = version(connection, bucket, key, version_id)
        return found.tags if found is not None else {}
    row = connection.execute(_TAGS, {"bucket": bucket, "key": key.encode()}).first()
    tags: Mapping[str, str] = json.loads(row.tags) if row is not None and row.tags else {}
    return tags


def head(connection: Connection, bucket: str, key: str) -> Row[Any] | None:
    """The little that writing must know of the latest version."""
    return connection.execute(_HEAD, {"bucket": bucket, "key": key.encode()}).first()


def add(
    connection: Connection,
    new: S3Object,
    *,
    owner: str,
    versioning: str,
    previous: Row[Any] | None,
    pieces: Sequence[Extent] = (),
) -> list[str]:
    """Insert a version as the latest. Without versioning, and for the null version, what it replaces is removed."""
    key = new.key.encode()
    dropped: list[str] = []
    if previous is not None:
        replaced: Row[Any] | None = None
        if new.version_id is None:
            if versioning and previous.version_id is not None:
                replaced = connection.execute(_GET_NULL, {"bucket": new.bucket, "key": key}).first()
            elif previous.version_id is None:
                replaced = previous
        if replaced is not None:
            dropped = _erase(connection, replaced.id, replaced.extents)
        if previous.current and (replaced is None or replaced.id != previous.id):
            connection.execute(_SET_CURRENT, {"object_id": previous.id, "value": 0})
    connection.execute(
        _INSERT,
        {
            "id": new.id,
            "bucket": new.bucket,
            "key": key,
            "version_id": new.version_id,
            "current": 0 if new.delete_marker else 1,
            "delete_marker": 1 if new.delete_marker else 0,
            "size": new.size,
            "etag": new.etag,
            "modified_ms": new.modified_ms,
            "storage_class": new.storage_class,
            "extents": new.extents,
            "owner": owner,
            "details": json.dumps(new.details),
            "tags": json.dumps(new.tags) if new.tags else None,
            "data": new.data,
        },
    )
    extent_store.add(connection, new.id, 0, pieces)
    return dropped


def remove(connection: Connection, found: S3Object) -> list[str]:
    """Remove one version for good; the one before it becomes the latest."""
    dropped = _erase(connection, found.id, found.extents)
    row = head(connection, found.bucket, found.key)
    if row is not None and not row.delete_marker and not row.current:
        connection.execute(_SET_CURRENT, {"object_id": row.id, "value": 1})
    return dropped


def set_tags(connection: Connection, object_id: int, tags: Mapping[str, str]) -> None:
    connection.execute(
        update(objects).where(objects.c.id == object_id).values(tags=json.dumps(dict(tags)) if tags else None)
    )


def _erase(connection: Connection, object_id: int, extents: int) -> list[str]:
    connection.execute(_DELETE, {"object_id": object_id})
    if not extents:
        return []
    connection.execute(delete(parts).where(parts.c.owner == object_id))
    return extent_store.drop(connection, object_id)


def highest_id(connection: Connection) -> int:
    row = connection.execute(select(objects.c.id).order_by(objects.c.id.desc()).limit(1)).first()
    return 0 if row is None else int(row.id)
