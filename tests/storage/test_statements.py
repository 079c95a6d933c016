"""Statements of many rows: the same rows as one by one, in the same transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from alonzo.storage import Database, ForKeys, InsertMany, StorageError

ADD = InsertMany("INSERT INTO t (k, v)", "(?, ?)", "ON CONFLICT (k) DO NOTHING")
DROP = ForKeys("DELETE FROM t WHERE k IN (?)")
FIND = ForKeys("SELECT k, v FROM t WHERE k IN (?) ORDER BY k")


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "alonzo.db")
    database.open()
    await database.write(lambda c: c.execute(text("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT NOT NULL)")))
    yield database
    await database.close()


def keys(connection: Connection) -> list[int]:
    return [row.k for row in connection.execute(text("SELECT k FROM t ORDER BY k"))]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 63, 64, 65, 127, 128, 255, 256, 257, 1_000])
async def test_as_many_rows_as_were_given(db: Database, count: int) -> None:
    """Any number of rows is written, found and removed, whatever pieces it is cut into."""
    rows = [(k, f"v{k}") for k in range(count)]
    assert await db.write(lambda c: ADD.run(c, rows)) == count
    assert await db.read(lambda c: FIND.run(c, range(count))) == rows
    assert await db.read(keys) == list(range(count))
    await db.write(lambda c: DROP.run(c, range(0, count, 2)))
    assert await db.read(keys) == list(range(1, count, 2))


async def test_conflicts_are_not_counted(db: Database) -> None:
    """The number of rows written leaves out those that a conflict kept out, within one step too."""
    assert await db.write(lambda c: ADD.run(c, [(2, "old")])) == 1
    assert await db.write(lambda c: ADD.run(c, [(1, "a"), (2, "b"), (1, "c"), (3, "d")])) == 2
    assert await db.read(lambda c: FIND.run(c, [1, 2, 3])) == [(1, "a"), (2, "old"), (3, "d")]


async def test_they_belong_to_the_transaction(db: Database) -> None:
    """What they wrote goes when the transaction fails, and SQLAlchemy's own statements see it before."""
    seen: list[list[int]] = []

    def fails(connection: Connection) -> None:
        ADD.run(connection, [(1, "a"), (2, "b")])
        seen.append(keys(connection))
        raise LookupError

    with pytest.raises(LookupError):
        await db.write(fails)
    assert seen == [[1, 2]]
    assert await db.read(keys) == []


async def test_their_failure_is_a_plain_one(db: Database) -> None:
    """A failure of the database itself becomes a StorageError, as with every other statement."""
    missing = InsertMany("INSERT INTO nowhere (k)", "(?)")
    with pytest.raises(StorageError, match="no such table: nowhere"):
        await db.write(lambda c: missing.run(c, [(1,)]))
    with pytest.raises(StorageError, match="no such table: nowhere"):
        await db.read(lambda c: ForKeys("SELECT k FROM nowhere WHERE k IN (?)").run(c, [1]))
