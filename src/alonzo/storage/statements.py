"""Statements about many rows that the driver runs in one step each, for the tables that are written most.

The driver gives the interpreter's lock back at every step and asks for it again. While the event loop is busy each of
those hand-overs takes longer than the row, so a group's rows go in few steps; and what SQLAlchemy adds to a statement
costs more than an insert. Rows are cut into pieces of 1, 2, 4, … rows, so that few forms of a statement stay prepared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, cast

from sqlalchemy import Connection

#: Rows of one step at most. SQLite before 3.32 takes 999 parameters.
_ROWS = 64
_KEYS = 256


def driver(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection, in the same transaction."""
    return cast(sqlite3.Connection, connection.connection.driver_connection)


def run_each(connection: Connection, text: str, rows: Sequence[Sequence[Any]]) -> None:
    """Run a statement for every row, one step each: for what waits on nobody."""
    driver(connection).executemany(text, rows)


class InsertMany:
    """An `INSERT` of rows, at most fifteen parameters each.

    `head` goes up to VALUES, `row` is one row with a question mark for each parameter, `tail` what follows.
    """

    def __init__(self, head: str, row: str, tail: str = "") -> None:
        self._forms = {1 << n: f"{head} VALUES {', '.join([row] * (1 << n))} {tail}" for n in range(_ROWS.bit_length())}

    def run(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> int:
        """How many rows were written: fewer than were given where `tail` says what to do about conflicts."""
        execute, written = driver(connection).execute, 0
        for start, size in _pieces(len(rows)):
            values = [value for row in rows[start : start + size] for value in row]
            written += execute(self._forms[size], values).rowcount
        return written


class ForKeys:
    """A statement about rows by their key; `text` has `IN (?)` once, and no other parameter."""

    def __init__(self, text: str) -> None:
        head, _, tail = text.partition("IN (?)")
        self._forms = {1 << n: f"{head}IN ({', '.join('?' * (1 << n))}){tail}" for n in range(_KEYS.bit_length())}

    def run(self, connection: Connection, keys: Sequence[Any]) -> list[Any]:
        """Every row that the statement gives, as tuples."""
        execute, found = driver(connection).execute, list[Any]()
        for start in range(0, len(keys), _KEYS):
            piece = list(keys[start : start + _KEYS])
            size = 1 << (len(piece) - 1).bit_length()
            piece += piece[-1:] * (size - len(piece))  # the same key again changes nothing
            found += execute(self._forms[size], piece).fetchall()
        return found


def _pieces(count: int) -> Iterator[tuple[int, int]]:
    """Where each piece begins, and its size: a power of two."""
    start = 0
    while start < count:
        size = min(_ROWS, 1 << ((count - start).bit_length() - 1))
        yield start, size
        start += size
