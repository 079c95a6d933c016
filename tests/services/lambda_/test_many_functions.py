"""What looks for a few functions does not read all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from alonzo.services.lambda_.store import functions
from alonzo.storage import Database


def _plans(connection: Connection, query: Any) -> list[str]:
    """How SQLite finds the rows of each statement that `query` executes."""
    statements: list[tuple[str, Any]] = []

    def executed(conn: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        statements.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", executed)
    try:
        query(connection)
    finally:
        event.remove(connection, "before_cursor_execute", executed)
    return [
        row[3]
        for statement, parameters in statements
        for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    ]


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "alonzo.db", durable=False)
    database.open()
    yield database
    await database.close()


async def test_a_start_reads_only_what_it_resumes_and_warms_up(db: Database) -> None:
    """Both have an index of their own, without which a start would read every function there is."""

    def look(connection: Connection) -> None:
        (unfinished,) = _plans(connection, functions.unfinished)
        (changed,) = _plans(connection, lambda each: functions.changed_last(each, 100))
        assert unfinished.endswith("USING INDEX lambda_versions_unfinished")
        assert changed.endswith("USING INDEX lambda_versions_by_change")

    await db.scan(look)


async def test_an_older_folder_gets_the_indexes(db: Database) -> None:
    """They are made at the next start where the tables are there without them."""
    wanted = {"lambda_versions_unfinished", "lambda_versions_by_change"}

    def drop(connection: Connection) -> None:
        for name in wanted:
            connection.execute(text(f"DROP INDEX {name}"))
        connection.execute(text("UPDATE alonzo_schema SET fingerprint = 'older'"))

    def there(connection: Connection) -> set[str]:
        return wanted & set(connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'index'")).scalars())

    await db.write(drop)
    assert await db.scan(there) == set()
    await db.close()
    db.open()
    assert await db.scan(there) == wanted
