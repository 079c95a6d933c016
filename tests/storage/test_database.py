"""The database: durable, grouped, isolated from each other's failures."""

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from alonzo.storage import Database, StorageError, metadata
from alonzo.storage.database import SCHEMA_VERSION


@pytest.fixture
async def db(tmp_path):
    database = Database(tmp_path / "alonzo.db")
    database.open()
    await database.write(lambda c: c.execute(text("CREATE TABLE t (k INTEGER PRIMARY KEY)")))
    yield database
    await database.close()


def insert(k):
    return lambda c: c.execute(text("INSERT INTO t VALUES (:k)"), {"k": k}).rowcount


def keys(c):
    return [row.k for row in c.execute(text("SELECT k FROM t ORDER BY k"))]


async def test_write_is_seen_by_the_next_read(db):
    """What was written is read by the same program at once."""
    await db.write(insert(1))
    assert await db.read(keys) == [1]
    assert await db.scan(keys) == [1]


async def test_a_failing_transaction_leaves_its_group_alone(db):
    """Of transactions that wait together, one that raises is rolled back and the others are committed."""

    def bad(c):
        c.execute(text("INSERT INTO t VALUES (500)"))
        raise LookupError("no")

    outcomes = await asyncio.gather(
        *(db.write(insert(k)) for k in range(20)), db.write(bad), db.write(insert(21)), return_exceptions=True
    )
    assert isinstance(outcomes[20], LookupError)
    assert await db.read(keys) == [*range(20), 21]


async def test_cancelled_caller_does_not_undo(db):
    """A caller that goes away after handing over its transaction does not undo it."""
    task = asyncio.create_task(db.write(insert(7)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await db.write(insert(8))
    assert await db.read(keys) == [7, 8]


async def test_newer_folder_is_refused(tmp_path):
    """A data folder written by a newer program is refused with a sentence that says so."""
    database = Database(tmp_path / "alonzo.db")
    database.open()
    await database.write(lambda c: c.execute(text(f"UPDATE alonzo_schema SET version={SCHEMA_VERSION + 1}")))
    await database.close()
    again = Database(tmp_path / "alonzo.db")
    with pytest.raises(StorageError, match="written by a newer Alonzo"):
        again.open()


async def test_a_new_database_has_the_tables_that_were_declared(tmp_path):
    """Tables and indexes of a new file are those that SQLAlchemy itself would create."""
    import alonzo.app  # noqa: F401  # declares every table

    def made(path):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            found = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        return sorted(row for row in found if row[1] != "alonzo_schema")

    database = Database(tmp_path / "ours.db")
    database.open()
    await database.close()
    engine = create_engine(f"sqlite:///{tmp_path / 'theirs.db'}", poolclass=NullPool)
    metadata.create_all(engine)
    assert len(metadata.tables) > 40
    assert made(tmp_path / "ours.db") == made(tmp_path / "theirs.db")


async def test_nobody_else_can_read_it(tmp_path):
    """The database and its journal, which hold secrets, are readable by their owner only."""
    (tmp_path / "alonzo.db").touch(0o644)
    database = Database(tmp_path / "alonzo.db")
    database.open()
    await database.write(lambda c: c.execute(text("CREATE TABLE t (k INTEGER)")))
    assert {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {
        "alonzo.db": 0o600,
        "alonzo.db-wal": 0o600,
        "alonzo.db-shm": 0o600,
    }
    await database.close()


async def test_not_a_database(tmp_path):
    """A file that is no database gives a sentence, not a traceback."""
    (tmp_path / "alonzo.db").write_bytes(b"x" * 5000)
    with pytest.raises(StorageError, match=r"alonzo\.db"):
        Database(tmp_path / "alonzo.db").open()


@pytest.mark.slow
def test_kill_9_keeps_what_was_acknowledged(tmp_path):
    """Every row whose write had returned is there after the writing process was killed."""
    program = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from sqlalchemy import text
        from alonzo.storage import Database
        async def main():
            db = Database(Path(sys.argv[1]))
            db.open()
            await db.write(lambda c: c.execute(text("CREATE TABLE t (k INTEGER PRIMARY KEY)")))
            for k in range(1_000_000):
                await db.write(lambda c: c.execute(text("INSERT INTO t VALUES (:k)"), {"k": k}))
                print(k, flush=True)
        asyncio.run(main())
        """
    )
    path = tmp_path / "alonzo.db"
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(200):
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split("\n")
    process.wait()
    process.stdout.close()
    last = max([last, *(int(line) for line in rest[:-1])])

    async def look():
        db = Database(path)
        db.open()
        found = await db.read(keys)
        await db.close()
        return found

    assert asyncio.run(look())[: last + 1] == list(range(last + 1))
