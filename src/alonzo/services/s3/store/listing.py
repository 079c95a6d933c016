"""Listing keys and versions in order, skipping what a delimiter rolls up: the work grows with what is answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, bindparam, literal_column, or_, select

from alonzo.core.dataclasses import dataclass
from alonzo.services.s3.store.tables import objects, uploads

#: Rows of one rolled-up prefix that are stepped over before seeking behind it.
_STEP = 8

_COLUMNS = (
    objects.c.key,
    objects.c.id,
    objects.c.size,
    objects.c.etag,
    objects.c.modified_ms,
    objects.c.storage_class,
    objects.c.owner,
    objects.c.details,
)
_CURRENT: Select[Any] = (
    select(*_COLUMNS)
    .where(
        objects.c.bucket == bindparam("bucket"),
        literal_column("current = 1"),
        objects.c.key >= bindparam("low"),
        objects.c.key < bindparam("high"),
    )
    .order_by(objects.c.key)
    .limit(bindparam("rows"))
)
_VERSIONS: Select[Any] = (
    select(*_COLUMNS, objects.c.version_id, objects.c.delete_marker)
    .where(
        objects.c.bucket == bindparam("bucket"),
        objects.c.key < bindparam("high"),
        or_(
            objects.c.key > bindparam("low"),
            and_(objects.c.key == bindparam("low"), objects.c.id < bindparam("below")),
        ),
        objects.c.key >= bindparam("low"),
    )
    .order_by(objects.c.key, objects.c.id.desc())
    .limit(bindparam("rows"))
)
_UPLOADS: Select[Any] = (
    select(uploads)
    .where(
        uploads.c.bucket == bindparam("bucket"),
        uploads.c.key < bindparam("high"),
        uploads.c.key >= bindparam("low"),
        or_(
            uploads.c.key > bindparam("low"),
            and_(uploads.c.key == bindparam("low"), uploads.c.id > bindparam("above")),
        ),
    )
    .order_by(uploads.c.key, uploads.c.id)
    .limit(bindparam("rows"))
)

#: Behind every key: keys are UTF-8, in which this byte never occurs.
_END = b"\xff"
_ALL = 2**62


@dataclass(frozen=True, slots=True)
class Found:
    """A page: rows and rolled-up prefixes, together at most as many as asked for, and whether there is more."""

    rows: list[Row[Any]]
    prefixes: list[bytes]
    truncated: bool
    last: bytes
    last_row: Row[Any] | None


def successor(prefix: bytes) -> bytes:
    """The least bytes greater than every key that starts with `prefix`."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else _END


def _collect(rows_from: Any, *, prefix: bytes, delimiter: bytes, start: bytes, after: bytes, limit: int) -> Found:
    """Walk from `start`. `rows_from(low)` iterates rows in order from a key on."""
    rows: list[Row[Any]] = []
    prefixes: list[bytes] = []
    last, last_row = b"", None
    iterator: Iterator[Row[Any]] = rows_from(start)
    stepped = 0
    while True:
        row = next(iterator, None)
        if row is None:
            return Found(rows, prefixes, False, last, last_row)
        key: bytes = row.key
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        rolled = key[: cut + len(delimiter)] if cut >= 0 else b""
        if rolled and (rolled <= after or (prefixes and prefixes[-1] == rolled)):
            stepped += 1
            if stepped >= _STEP:
                iterator = rows_from(successor(rolled))
                stepped = 0
            continue
        stepped = 0
        if len(rows) + len(prefixes) >= limit:
            return Found(rows, prefixes, True, last, last_row)
        if rolled:
            prefixes.append(rolled)
            last, last_row = rolled, None
        else:
            rows.append(row)
            last, last_row = key, row


def current(connection: Connection, bucket: str, *, prefix: str, delimiter: str, after: bytes, limit: int) -> Found:
    """Keys behind `after` that start with `prefix`, in the order of their bytes."""
    if limit == 0:
        return Found([], [], False, b"", None)
    low = prefix.encode()
    high = successor(low) if low else _END
    start = max(low, after + b"\x00") if after else low

    def rows_from(key: bytes) -> Iterator[Row[Any]]:
        values: dict[str, Any] = {"bucket": bucket, "low": key, "high": high, "rows": limit + _STEP + 1}
        while True:
            count = 0
            for row in connection.execute(_CURRENT, values):
                count += 1
                last = row.key
                yield row
            if count < values["rows"]:
                return
            values["low"] = last + b"\x00"

    return _collect(rows_from, prefix=low, delimiter=delimiter.encode(), start=start, after=after, limit=limit)


def versions(
    connection: Connection,
    bucket: str,
    *,
    prefix: str,
    delimiter: str,
    after: bytes,
    below: int,
    limit: int,
) -> Found:
    """Versions by key, newest first. `after` with `below` goes on within that key, under that version's number."""
    if limit == 0:
        return Found([], [], False, b"", None)
    low = prefix.encode()
    high = successor(low) if low else _END
    start = max(low, after)
    first_below = below if after and start == after else _ALL

    def rows_from(key: bytes) -> Iterator[Row[Any]]:
        values: dict[str, Any] = {
            "bucket": bucket,
            "low": key,
            "high": high,
            "below": first_below if key == start else _ALL,
            "rows": limit + _STEP + 1,
        }
        while True:
            count = 0
            for row in connection.execute(_VERSIONS, values):
                count += 1
                last = row
                yield row
            if count < values["rows"]:
                return
            values["low"], values["below"] = last.key, last.id

    return _collect(
        rows_from, prefix=low, delimiter=delimiter.encode(), start=start, after=after if after else b"", limit=limit
    )


def uploads_of(
    connection: Connection, bucket: str, *, prefix: str, delimiter: str, after: bytes, above: int, limit: int
) -> Found:
    """Unfinished uploads by key, oldest first. `after` with `above` goes on within that key, behind that upload."""
    if limit == 0:
        return Found([], [], False, b"", None)
    low = prefix.encode()
    high = successor(low) if low else _END
    start = max(low, after)
    first_above = above if after and start == after else -1

    def rows_from(key: bytes) -> Iterator[Row[Any]]:
        values: dict[str, Any] = {
            "bucket": bucket,
            "low": key,
            "high": high,
            "above": first_above if key == start else -1,
            "rows": limit + _STEP + 1,
        }
        while True:
            count = 0
            for row in connection.execute(_UPLOADS, values):
                count += 1
                last = row
                yield row
            if count < values["rows"]:
                return
            values["low"], values["above"] = last.key, last.id

    return _collect(
        rows_from, prefix=low, delimiter=delimiter.encode(), start=start, after=after if after else b"", limit=limit
    )
