"""The database: every write is a function run by one writer thread, and those that wait together commit together.

SQLite in WAL mode with `synchronous=FULL`: when `write` returns, the transaction is on disk.
"""

from __future__ import annotations

import asyncio
import collections
import hashlib
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateIndex, CreateTable

from alonzo.storage.errors import DiskFull, StorageError
from alonzo.storage.statements import driver

#: Every table of every store is defined on this object, at import of its `store.py`.
metadata = MetaData()

#: Raised when tables change in a way that an older program cannot read.
SCHEMA_VERSION = 1

T = TypeVar("T")
Transaction = Callable[[Connection], T]

_GROUP = 256
#: What the database itself fails with, through SQLAlchemy or past it.
_FAILURES = (OperationalError, sqlite3.OperationalError)


def only_where(condition: str) -> dict[str, Any]:
    """Arguments of an Index over those rows alone for which the SQL `condition` holds.

    Another database's dialect would be named here; naming one imports it, and a start must not pay for two.
    """
    return {"sqlite_where": text(condition)}


class Database:
    """One database. `write` and `read` take a plain function of a connection, so that nothing can await inside it.

    A transaction may run twice (when another one of its group failed, the group is rolled back and each is run alone),
    so it must have no effect outside the database.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._path = path
        self._durable = durable
        self._waiting: collections.deque[tuple[Transaction[Any], asyncio.Future[Any]]] = collections.deque()
        #: Rung to wake the writer; `_asleep` says that it needs to be.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._asleep = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reader: Connection | None = None
        self._engine: Engine | None = None

    # -- opening and closing ------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open, create missing tables and start the writer. Raises StorageError with a plain sentence and the mend."""
        self._loop = asyncio.get_running_loop()
        _close_to_others(self._path)
        self._engine = self._make_engine()
        try:
            # Stays open: when the last connection goes, SQLite moves its journal into the database, with two flushes.
            self._reader = self._engine.connect()
            self._prepare_schema(self._reader)
        except BaseException as error:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
            if isinstance(error, DatabaseError):
                raise _plain(error, self._path) from error
            raise
        self._thread = threading.Thread(target=self._run_writer, name="alonzo-writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Finish what waits, then close every connection."""
        if self._thread is None:
            return
        self._closing = True
        self._bell.put(None)
        await asyncio.to_thread(self._thread.join)
        self._thread = None
        if self._reader is not None:
            self._reader.close()
        if self._engine is not None:
            self._engine.dispose()

    def _make_engine(self) -> Engine:
        engine = create_engine(
            f"sqlite:///{self._path}",
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"check_same_thread": False, "timeout": 10, "cached_statements": 512},
        )
        synchronous = "FULL" if self._durable else "OFF"

        @event.listens_for(engine, "connect")
        def _(dbapi_connection: Any, _record: Any) -> None:
            cursor = dbapi_connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute(f"PRAGMA synchronous={synchronous}")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.execute("PRAGMA cache_size=-8000")
            cursor.execute("PRAGMA wal_autocheckpoint=4000")
            cursor.close()

        return engine

    def _prepare_schema(self, connection: Connection) -> None:
        wanted = _fingerprint(metadata)
        known = connection.execute(text("SELECT 1 FROM sqlite_master WHERE name = 'alonzo_schema'")).first()
        row = connection.execute(text("SELECT version, fingerprint FROM alonzo_schema")).first() if known else None
        if row is not None and row.version > SCHEMA_VERSION:
            raise StorageError(
                f"The data folder {self._path.parent} was written by a newer Alonzo (schema {row.version}, this one"
                f" reads up to {SCHEMA_VERSION}). Upgrade Alonzo, or start with another --data-dir."
            )
        if row is not None and row.version == SCHEMA_VERSION and row.fingerprint == wanted:
            return
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # one flush to disk for all tables
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS alonzo_schema (version INTEGER, fingerprint TEXT)")
        _create_missing(connection)
        connection.execute(text("DELETE FROM alonzo_schema"))
        connection.execute(
            text("INSERT INTO alonzo_schema VALUES (:version, :fingerprint)"),
            {"version": SCHEMA_VERSION, "fingerprint": wanted},
        )
        connection.exec_driver_sql("COMMIT")

    # -- reading ------------------------------------------------------------------------------------------------------

    async def read(self, query: Transaction[T]) -> T:
        """Run a short query on the reader's connection, here and now: it sees every committed write."""
        return self.read_nowait(query)

    def read_nowait(self, query: Transaction[T]) -> T:
        """The same, for callers that cannot await. Only queries that touch a bounded number of rows belong here."""
        assert self._reader is not None, "the database is not open"
        try:
            return query(self._reader)
        except _FAILURES as error:
            raise _plain(error, self._path) from error

    async def scan(self, query: Transaction[T]) -> T:
        """Run a long query on a thread and a connection of its own."""
        assert self._engine is not None
        engine = self._engine

        def run() -> T:
            with engine.connect() as connection:
                return query(connection)

        return await asyncio.to_thread(run)

    # -- writing ------------------------------------------------------------------------------------------------------

    def write_nowait(self, transaction: Transaction[T]) -> asyncio.Future[T]:
        """Hand a transaction to the writer; the future is done when it is on disk, or holds what it raised."""
        assert self._loop is not None, "the database is not open"
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closing:
            future.set_exception(StorageError("The database is closing."))
            return future
        self._waiting.append((transaction, future))
        if self._asleep:
            self._asleep = False
            self._bell.put(None)
        return future

    async def write(self, transaction: Transaction[T]) -> T:
        """Run a transaction; it is on disk when this returns. Whatever it raises rolls it back and is raised here.

        Cancelling the caller does not undo a transaction that was handed over.
        """
        return await asyncio.shield(self.write_nowait(transaction))

    def _run_writer(self) -> None:
        assert self._engine is not None and self._loop is not None
        connection = self._engine.connect()
        waiting = self._waiting
        while True:
            while waiting:
                group = [waiting.popleft() for _ in range(min(len(waiting), _GROUP))]
                outcomes = self._commit(connection, group)
                self._loop.call_soon_threadsafe(_settle, outcomes)
            if self._closing and not waiting:
                connection.close()
                return
            self._asleep = True
            if not waiting:  # else it came before the loop could know that it has to ring
                self._bell.get()
            self._asleep = False

    def _commit(
        self, connection: Connection, group: list[tuple[Transaction[Any], asyncio.Future[Any]]]
    ) -> list[tuple[asyncio.Future[Any], Any, BaseException | None]]:
        """One transaction for the whole group; on any failure each one alone."""
        results: list[Any] = []
        execute = driver(connection).execute
        try:
            execute("BEGIN IMMEDIATE")
            for transaction, _ in group:
                results.append(transaction(connection))
            execute("COMMIT")
            return [(future, result, None) for (_, future), result in zip(group, results, strict=True)]
        except BaseException as error:
            _rollback(connection)
            if len(group) == 1:
                return [(group[0][1], None, self._explain(error))]
        return [outcome for one in group for outcome in self._commit(connection, [one])]

    def _explain(self, error: BaseException) -> BaseException:
        return _plain(error, self._path) if isinstance(error, _FAILURES) else error


def _close_to_others(path: Path) -> None:
    """Make the file if it is missing, readable by its owner only; SQLite gives its journals the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise StorageError(f"The database {path} cannot be used: {error.strerror}.") from error


def _create_missing(connection: Connection) -> None:
    """Create every table and index that is not there. `create_all` takes three times as long, because it looks for each
    first, and adds no index to a table of an older folder."""
    execute, dialect = driver(connection).execute, connection.dialect
    for table in metadata.sorted_tables:
        execute(str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)))
        for index in table.indexes:
            execute(str(CreateIndex(index, if_not_exists=True).compile(dialect=dialect)))


def _fingerprint(tables: MetaData) -> str:
    """Changes whenever a table, a column or an index comes or goes. Compiling the DDL would say more, for 60 ms."""
    digest = hashlib.sha256()
    for name in sorted(tables.tables):
        table = tables.tables[name]
        columns = [(c.name, repr(c.type), c.nullable, c.primary_key) for c in table.columns]
        indexes = sorted((str(i.name), [c.name for c in i.columns], i.unique) for i in table.indexes)
        digest.update(repr((name, columns, indexes)).encode())
    return digest.hexdigest()


def _rollback(connection: Connection) -> None:
    try:
        driver(connection).execute("ROLLBACK")
    except sqlite3.OperationalError:
        pass  # SQLite has rolled back already (disk full, I/O error)


def _settle(outcomes: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for future, result, error in outcomes:
        if future.cancelled():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _plain(error: BaseException, path: Path) -> StorageError:
    message = str(getattr(error, "orig", error))
    if "full" in message or ("disk I/O" in message and _no_room(path.parent)):
        return DiskFull(f"No space is left on the disk that holds {path.parent}.")
    return StorageError(f"The database {path} failed: {message}.")


def _no_room(folder: Path) -> bool:
    """Where there is no room for the index of the journal, SQLite says "disk I/O error"."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < 64 * 1024
