"""Code archives: shared by content within an account, counted by who uses them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, select

from alonzo.core.dataclasses import dataclass, field
from alonzo.services.lambda_.models import Code
from alonzo.services.lambda_.store.tables import code, code_users


@dataclass(slots=True)
class Freed:
    """What may be removed once the transaction has committed: blobs, and perhaps a folder of unpacked code."""

    blob_ids: list[str] = field(default_factory=list)
    unpacked: bool = False


def keep(connection: Connection, item: Code, blob_id: str, freed: Freed) -> None:
    """Record a new archive. Where the account has this content already, the new blob is the one to be removed."""
    found = connection.execute(select(code.c.blob_id).where(*_is(item))).scalar()
    if found is None:
        connection.execute(
            insert(code).values(
                account_id=item.account_id,
                sha256=item.sha256,
                blob_id=blob_id,
                size=item.size,
                unzipped=item.unzipped,
            )
        )
    elif found != blob_id:
        freed.blob_ids.append(blob_id)


def set_uses(connection: Connection, user: str, wanted: Iterable[Code], freed: Freed) -> None:
    """Make `wanted` the archives that `user` needs; what nobody needs any more is dropped."""
    new = {(item.account_id, item.sha256) for item in wanted}
    rows = connection.execute(
        select(code_users.c.account_id, code_users.c.sha256).where(code_users.c.user == user)
    ).all()
    old = {(row.account_id, row.sha256) for row in rows}
    for account_id, sha256 in new - old:
        connection.execute(insert(code_users).values(account_id=account_id, sha256=sha256, user=user))
    for account_id, sha256 in old - new:
        connection.execute(
            delete(code_users).where(
                code_users.c.account_id == account_id, code_users.c.sha256 == sha256, code_users.c.user == user
            )
        )
        _drop_unused(connection, account_id, sha256, freed)


def _drop_unused(connection: Connection, account_id: str, sha256: str, freed: Freed) -> None:
    used = exists().where(code_users.c.account_id == account_id, code_users.c.sha256 == sha256)
    if connection.execute(select(used)).scalar():
        return
    where = (code.c.account_id == account_id, code.c.sha256 == sha256)
    blob_id = connection.execute(select(code.c.blob_id).where(*where)).scalar()
    if blob_id is None:
        return
    connection.execute(delete(code).where(*where))
    freed.blob_ids.append(blob_id)
    freed.unpacked = True


def blob_of(connection: Connection, item: Code) -> str | None:
    """The blob that holds an archive."""
    found: str | None = connection.execute(select(code.c.blob_id).where(*_is(item))).scalar()
    return found


def live_contents(connection: Connection) -> set[str]:
    """SHA-256 of every archive that something uses, in any account."""
    return set(connection.execute(select(code.c.sha256)).scalars())


def live_blobs(connection: Connection) -> set[str]:
    return set(connection.execute(select(code.c.blob_id)).scalars())


def sizes_used(connection: Connection, account_id: str, region: str) -> int:
    """Bytes that an account's versions and layer versions count for in a region: each use counts, as on AWS."""
    total = 0
    for kind in ("function", "layer"):
        prefix = f"{kind}/{account_id}/{region}"
        mine = select(func.coalesce(func.sum(code.c.size), 0)).where(
            code.c.account_id == code_users.c.account_id,
            code.c.sha256 == code_users.c.sha256,
            code.c.account_id == account_id,
            # A range of the index: "0" is what follows "/".
            code_users.c.user > f"{prefix}/",
            code_users.c.user < f"{prefix}0",
        )
        total += connection.execute(mine).scalar() or 0
    return total


def _is(item: Code) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (code.c.account_id == item.account_id, code.c.sha256 == item.sha256)
