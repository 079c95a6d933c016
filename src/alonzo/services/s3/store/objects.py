"""Objects: the latest version, one version, putting and removing.

Every function runs inside a transaction of its caller. Those that remove return the blobs that nothing names any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, literal_column, select, update

from alonzo.services.s3.models import NULL_VERSION, Extent, S3Object
from alonzo.services.s3.store import extents as extent_store
from alonzo.services.s3.store.prepared import Prepared
from alonzo.services.s3.store.tables import objects, parts, uploads

_KEY = (objects.c.bucket == bindparam("bucket"), objects.c.key == bindparam("key"))
_CURRENT: ColumnElement[bool] = literal_column(
    "current = 1"
)  # written out: a bound value would not match the partial index
_COLUMNS = (
    objects.c.id,
    objects.c.bucket,
    objects.c.key,
    objects.c.version_id,
    objects.c.delete_marker,
    objects.c.size,
    objects.c.etag,
    objects.c.modified_ms,
    objects.c.storage_class,
    objects.c.extents,
    objects.c.details,
    objects.c.tags,
    objects.c.data,
)
_GET_CURRENT = Prepared(select(*_COLUMNS).where(*_KEY, _CURRENT))
_GET_LATEST = Prepared(select(*_COLUMNS).where(*_KEY).order_by(objects.c.id.desc()).limit(1))
_GET_VERSION = Prepared(select(*_COLUMNS).where(*_KEY, objects.c.version_id == bindparam("version_id")))
_GET_NULL = Prepared(select(*_COLUMNS).where(*_KEY, objects.c.version_id.is_(None)))
_HEAD = Prepared(
    select(
        objects.c.id,
        objects.c.version_id,
        objects.c.delete_marker,
        objects.c.extents,
        objects.c.etag,
        objects.c.current,
    )
    .where(*_KEY)
    .order_by(objects.c.id.desc())
    .limit(1)
)
_INSERT = Prepared(insert(objects))
_DELETE = Prepared(delete(objects).where(objects.c.id == bindparam("object_id")))
_SET_CURRENT = Prepared(
    update(objects).where(objects.c.id == bindparam("object_id")).values(current=bindparam("value"))
)
_TAGS = select(objects.c.tags).where(*_KEY, _CURRENT)


class Head(NamedTuple):
    """The little that writing must know of a key's latest version."""

    id: int
    version_id: str | None
    delete_marker: int
    extents: int
    etag: str
    current: int


def _from_row(row: Sequence[Any]) -> S3Object:
    (id_, bucket, key, version_id, marker, size, etag, modified, storage_class, extents, details, tags, data) = row
    return S3Object(
        id_,
        bucket,
        key.decode(),
        version_id,
        marker == 1,
        size,
        etag,
        modified,
        storage_class,
        extents,
        orjson.loads(details),
        orjson.loads(tags) if tags else {},
        data,
    )


def _json(document: Mapping[str, Any]) -> str:
    return orjson.dumps(document).decode()


def current(connection: Connection, bucket: str, key: str) -> S3Object | None:
    """What a GET without version finds: None where there is nothing, or a delete marker."""
    row = _GET_CURRENT.first(connection, {"bucket": bucket, "key": key.encode()})
    return None if row is None else _from_row(row)


def latest(connection: Connection, bucket: str, key: str) -> S3Object | None:
    """The newest version, delete marker or not."""
    row = _GET_LATEST.first(connection, {"bucket": bucket, "key": key.encode()})
    return None if row is None else _from_row(row)


def version(connection: Connection, bucket: str, key: str, version_id: str) -> S3Object | None:
    values = {"bucket": bucket, "key": key.encode()}
    if version_id == NULL_VERSION:
        row = _GET_NULL.first(connection, values)
    else:
        row = _GET_VERSION.first(connection, {**values, "version_id": version_id})
    return None if row is None else _from_row(row)


def tags_of(connection: Connection, bucket: str, key: str, version_id: str = "") -> Mapping[str, str]:
    """The tags of an object, for conditions of policies."""
    if version_id:
        found = version(connection, bucket, key, version_id)
        return found.tags if found is not None else {}
    row = connection.execute(_TAGS, {"bucket": bucket, "key": key.encode()}).first()
    tags: Mapping[str, str] = orjson.loads(row.tags) if row is not None and row.tags else {}
    return tags


def head(connection: Connection, bucket: str, key: str) -> Head | None:
    """The latest version, delete marker or not."""
    row = _HEAD.first(connection, {"bucket": bucket, "key": key.encode()})
    return None if row is None else Head._make(row)


def add(
    connection: Connection,
    new: S3Object,
    *,
    owner: str,
    versioning: str,
    previous: Head | None,
    pieces: Sequence[Extent] = (),
) -> list[str]:
    """Insert a version as the latest. Without versioning, and for the null version, what it replaces is removed."""
    key = new.key.encode()
    dropped: list[str] = []
    if previous is not None:
        replaced: Head | S3Object | None = None
        if new.version_id is None:
            if previous.version_id is None:
                replaced = previous
            elif versioning:
                replaced = version(connection, new.bucket, new.key, NULL_VERSION)
        if replaced is not None:
            dropped = _erase(connection, replaced.id, replaced.extents)
        if previous.current and (replaced is None or replaced.id != previous.id):
            _SET_CURRENT.run(connection, {"object_id": previous.id, "value": 0}).close()
    _INSERT.run(
        connection,
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
            "details": _json(new.details),
            "tags": _json(new.tags) if new.tags else None,
            "data": new.data,
        },
    ).close()
    extent_store.add(connection, new.id, 0, pieces)
    return dropped


def remove(connection: Connection, found: S3Object) -> list[str]:
    """Remove one version for good; the one before it becomes the latest."""
    dropped = _erase(connection, found.id, found.extents)
    row = head(connection, found.bucket, found.key)
    if row is not None and not row.delete_marker and not row.current:
        _SET_CURRENT.run(connection, {"object_id": row.id, "value": 1}).close()
    return dropped


def set_tags(connection: Connection, object_id: int, tags: Mapping[str, str]) -> None:
    connection.execute(update(objects).where(objects.c.id == object_id).values(tags=_json(tags) if tags else None))


def _erase(connection: Connection, object_id: int, extents: int) -> list[str]:
    _DELETE.run(connection, {"object_id": object_id}).close()
    if not extents:
        return []
    connection.execute(delete(parts).where(parts.c.owner == object_id))
    return extent_store.drop(connection, object_id)


def highest_id(connection: Connection) -> int:
    """The greatest number that objects and uploads have been given and still have."""
    highest = (connection.execute(select(func.max(table.c.id))).scalar() for table in (objects, uploads))
    return max(number or 0 for number in highest)
