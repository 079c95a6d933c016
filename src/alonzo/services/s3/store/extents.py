"""The pieces of contents, and which blobs nothing names any more."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from alonzo.services.s3.models import Extent
from alonzo.services.s3.store.prepared import Prepared
from alonzo.services.s3.store.tables import extents

_INSERT = Prepared(insert(extents))

_OF = (
    select(extents.c.blob_id, extents.c.offset, extents.c.size, extents.c.data)
    .where(extents.c.owner == bindparam("owner"))
    .order_by(extents.c.part, extents.c.n)
)
_NAMED = select(extents.c.n).where(extents.c.blob_id == bindparam("blob_id")).limit(1)


def of(connection: Connection, owner: int) -> list[Extent]:
    return [Extent(row.blob_id, row.offset, row.size, row.data) for row in connection.execute(_OF, {"owner": owner})]


def of_part(connection: Connection, owner: int, part: int) -> list[Extent]:
    query = (
        select(extents.c.blob_id, extents.c.offset, extents.c.size, extents.c.data)
        .where(extents.c.owner == owner, extents.c.part == part)
        .order_by(extents.c.n)
    )
    return [Extent(row.blob_id, row.offset, row.size, row.data) for row in connection.execute(query)]


def add(connection: Connection, owner: int, part: int, pieces: Sequence[Extent]) -> None:
    for n, piece in enumerate(pieces):
        values = {
            "owner": owner,
            "part": part,
            "n": n,
            "blob_id": piece.blob_id,
            "offset": piece.offset,
            "size": piece.size,
            "data": piece.data,
        }
        _INSERT.run(connection, values).close()


def named(connection: Connection, pieces: Sequence[Extent]) -> bool:
    """Whether every blob of `pieces` is still named: what a copy must know before it names them too."""
    return all(
        piece.blob_id is None or connection.execute(_NAMED, {"blob_id": piece.blob_id}).first() is not None
        for piece in pieces
    )


def drop(connection: Connection, owner: int, part: int | None = None) -> list[str]:
    """Remove an owner's extents (of one part); returns the blobs that nothing names any more."""
    where = [extents.c.owner == owner]
    if part is not None:
        where.append(extents.c.part == part)
    query = select(extents.c.blob_id).where(*where, extents.c.blob_id.is_not(None)).distinct()
    blob_ids = [row.blob_id for row in connection.execute(query)]
    connection.execute(delete(extents).where(*where))
    return [one for one in blob_ids if connection.execute(_NAMED, {"blob_id": one}).first() is None]


def give(connection: Connection, owner: int, new_owner: int) -> None:
    connection.execute(update(extents).where(extents.c.owner == owner).values(owner=new_owner))


def live_blobs(connection: Connection) -> set[str]:
    query = select(extents.c.blob_id).where(extents.c.blob_id.is_not(None)).distinct()
    return {row.blob_id for row in connection.execute(query)}
