"""Multipart uploads and parts."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select

from alonzo.services.s3.models import Extent, Part, Upload
from alonzo.services.s3.store import extents as extent_store
from alonzo.services.s3.store.prepared import Prepared
from alonzo.services.s3.store.tables import parts, uploads

_EXISTS = Prepared(select(uploads.c.id).where(uploads.c.id == bindparam("upload")))
_HAS_PART = Prepared(
    select(parts.c.number).where(parts.c.owner == bindparam("upload"), parts.c.number == bindparam("part"))
)
_INSERT_PART = Prepared(insert(parts))
_GET = Prepared(
    select(
        uploads.c.id,
        uploads.c.upload_id,
        uploads.c.bucket,
        uploads.c.key,
        uploads.c.initiated_ms,
        uploads.c.algorithm,
        uploads.c.checksum_type,
        uploads.c.storage_class,
        uploads.c.initiator,
        uploads.c.details,
        uploads.c.tags,
    ).where(uploads.c.upload_id == bindparam("upload_id"))
)


def from_row(row: Row[Any]) -> Upload:
    return _upload(
        (
            row.id,
            row.upload_id,
            row.bucket,
            row.key,
            row.initiated_ms,
            row.algorithm,
            row.checksum_type,
            row.storage_class,
            row.initiator,
            row.details,
            row.tags,
        )
    )


def _upload(row: Sequence[Any]) -> Upload:
    (id_, upload_id, bucket, key, initiated_ms, algorithm, kind, storage_class, initiator, details, tags) = row
    return Upload(
        id_,
        upload_id,
        bucket,
        key.decode(),
        initiated_ms,
        algorithm,
        kind,
        storage_class,
        initiator,
        json.loads(details),
        json.loads(tags) if tags else {},
    )


def create(connection: Connection, upload: Upload) -> None:
    connection.execute(
        insert(uploads),
        {
            "id": upload.id,
            "upload_id": upload.upload_id,
            "bucket": upload.bucket,
            "key": upload.key.encode(),
            "initiated_ms": upload.initiated_ms,
            "algorithm": upload.algorithm,
            "checksum_type": upload.checksum_type,
            "storage_class": upload.storage_class,
            "initiator": upload.initiator,
            "details": json.dumps(upload.details),
            "tags": json.dumps(upload.tags) if upload.tags else None,
        },
    )


def get(connection: Connection, bucket: str, key: str, upload_id: str) -> Upload | None:
    row = _GET.first(connection, {"upload_id": upload_id})
    found = None if row is None else _upload(row)
    return found if found is not None and (found.bucket, found.key) == (bucket, key) else None


def put_part(connection: Connection, upload_row_id: int, part: Part, pieces: Sequence[Extent]) -> list[str] | None:
    """Store a part in the place of one of the same number; None where the upload has gone, else dropped blobs."""
    if _EXISTS.first(connection, {"upload": upload_row_id}) is None:
        return None
    dropped: list[str] = []
    if _HAS_PART.first(connection, {"upload": upload_row_id, "part": part.number}) is not None:
        dropped = extent_store.drop(connection, upload_row_id, part.number)
        connection.execute(delete(parts).where(parts.c.owner == upload_row_id, parts.c.number == part.number))
    values = {
        "owner": upload_row_id,
        "number": part.number,
        "size": part.size,
        "etag": part.etag,
        "checksum": part.checksum,
        "modified_ms": part.modified_ms,
    }
    _INSERT_PART.run(connection, values).close()
    extent_store.add(connection, upload_row_id, part.number, pieces)
    return dropped


def list_parts(connection: Connection, owner: int, *, after: int = 0, limit: int = 10_000) -> list[Part]:
    query = select(parts).where(parts.c.owner == owner, parts.c.number > after).order_by(parts.c.number).limit(limit)
    return [Part(row.number, row.size, row.etag, row.checksum, row.modified_ms) for row in connection.execute(query)]


def keep_only(connection: Connection, owner: int, numbers: Collection[int]) -> list[str]:
    """Drop the parts that a completion leaves out."""
    dropped: list[str] = []
    for part in list_parts(connection, owner):
        if part.number not in numbers:
            dropped += extent_store.drop(connection, owner, part.number)
            connection.execute(delete(parts).where(parts.c.owner == owner, parts.c.number == part.number))
    return dropped


def hand_over(connection: Connection, upload: Upload, object_id: int) -> None:
    """Give parts and extents to the object that the upload became."""
    connection.execute(parts.update().where(parts.c.owner == upload.id).values(owner=object_id))
    extent_store.give(connection, upload.id, object_id)
    connection.execute(delete(uploads).where(uploads.c.id == upload.id))


def abort(connection: Connection, upload: Upload) -> list[str] | None:
    """Forget the upload and its parts; None where it had gone."""
    if connection.execute(delete(uploads).where(uploads.c.id == upload.id)).rowcount == 0:
        return None
    dropped = extent_store.drop(connection, upload.id)
    connection.execute(delete(parts).where(parts.c.owner == upload.id))
    return dropped
