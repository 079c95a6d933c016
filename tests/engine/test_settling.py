"""Outcomes on their way to the table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from alonzo.core.clock import SystemClock
from alonzo.engine.jobs import AsyncEvent, Delivery, Job, Settlement
from alonzo.engine.settling import Settling
from alonzo.storage import Database, StorageError


def outcome(n: int, *follow_up: Delivery) -> Settlement:
    event = AsyncEvent("", "000000000000", "us-east-1", "f", "", "arn", f"r{n}", b"1")
    return Settlement(Job(n, "f", event, 0.0, 1), follow_up=follow_up)


@dataclass
class Books:
    """In place of the table: each write as the numbers of its jobs, or a failure."""

    settling: Settling
    written: list[list[int]] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    failures: int = 0

    def write(self, _connection: Any, settlements: list[Settlement], _now: float) -> list[Job]:
        if self.failures:
            self.failures -= 1
            raise StorageError("No space is left.")
        self.written.append([settlement.job.seq for settlement in settlements])
        return []

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not check():
                await asyncio.sleep(0.001)


@pytest.fixture
async def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Books]:
    monkeypatch.setattr("alonzo.engine.settling._GATHER_S", 0.1)
    db = Database(tmp_path / "db", durable=False)
    db.open()
    made: list[Books] = []
    clock = SystemClock()
    settling = Settling(
        db,
        clock,
        lambda *given: made[0].write(*given),
        lambda settlements, _: made[0].settled.extend(one.job.seq for one in settlements),
    )
    made.append(Books(settling))
    running = asyncio.create_task(settling.run())
    yield made[0]
    running.cancel()
    await db.close()


async def test_those_of_a_moment_go_together(books: Books) -> None:
    """Outcomes that come soon after one another share a transaction; the next ones are gathered anew."""
    for n in range(5):
        books.settling.add(outcome(n))
        await asyncio.sleep(0.001)
    assert books.written == []
    await books.until(lambda: len(books.settled) == 5)
    books.settling.add(outcome(5))
    await books.until(lambda: len(books.settled) == 6)
    assert books.written == [[0, 1, 2, 3, 4], [5]]


async def test_what_follows_from_an_outcome_does_not_wait(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outcome with a destination takes those that wait along; so does one too many."""
    monkeypatch.setattr("alonzo.engine.settling._GATHER_S", 60.0)
    books.settling.add(outcome(1))
    books.settling.add(outcome(2, Delivery("d", "000000000000", "us-east-1", "sqs", "SendMessage", {}, "arn")))
    await books.until(lambda: books.settled == [1, 2])
    monkeypatch.setattr("alonzo.engine.settling._GATHERED", 3)
    for n in (3, 4, 5):
        books.settling.add(outcome(n))
    await books.until(lambda: books.settled == [1, 2, 3, 4, 5])
    assert books.written == [[1, 2], [3, 4, 5]]


@pytest.mark.slow
async def test_a_failed_write_is_tried_again(books: Books) -> None:
    """Outcomes that could not be written are kept, before those that came meanwhile."""
    books.failures = 1
    books.settling.add(outcome(0))
    await books.until(lambda: books.failures == 0)
    books.settling.add(outcome(1))
    assert books.written == []
    await books.until(lambda: books.settled == [0, 1])
    assert books.written in ([[0, 1]], [[0], [1]])
