"""Days pass in a server with a clock that jumps, asked over HTTP: what a log group keeps, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any

import boto3
import pytest

from alonzo.app import App
from alonzo.config import load_settings
from alonzo.testing.clock import FakeClock

pytestmark = pytest.mark.slow

DAY_S = 86_400


def stored(folder: Path) -> dict[str, int]:
    """How many events of each group the database holds."""
    count = "SELECT g.name, sum(c.events) FROM logs_chunk c JOIN logs_group g ON g.id = c.group_id GROUP BY g.name"
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'alonzo.db'}?mode=ro", uri=True)) as connection:
        return dict(connection.execute(count))


async def swept(clock: FakeClock, folder: Path, expected: dict[str, int]) -> None:
    """Let half minutes pass until the database holds just that: a sweep wakes with the clock, and takes real time."""
    async with asyncio.timeout(10):
        while stored(folder) != expected:
            await clock.advance(31)
            await asyncio.sleep(0.02)


async def test_retention_removes_what_is_too_old(tmp_path: Path) -> None:
    """With a retention of three days an event is shown for three days, then no more, and its row is removed."""
    # Requests are signed by the real clock, which stays behind.
    settings = load_settings({"data_dir": tmp_path, "port": 0, "clock_skew_s": 1e9}, {})
    clock = FakeClock(time.time())
    async with App(settings, clock) as app:

        def call(operation: str, **params: Any) -> Any:
            client = boto3.client(
                "logs",
                endpoint_url=app.endpoint,
                region_name="us-east-1",
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )
            return asyncio.to_thread(getattr(client, operation), **params)

        async def shown(group: str) -> list[str]:
            found = await call("filter_log_events", logGroupName=group)
            return [event["message"] for event in found["events"]]

        async def put(message: str) -> None:
            event = {"timestamp": int(clock.now() * 1000), "message": message}
            for group in ("kept", "three"):
                await call("put_log_events", logGroupName=group, logStreamName="s", logEvents=[event])

        for group in ("kept", "three"):
            await call("create_log_group", logGroupName=group)
            await call("create_log_stream", logGroupName=group, logStreamName="s")
        await call("put_retention_policy", logGroupName="three", retentionInDays=3)
        await put("first")
        await clock.advance(2 * DAY_S)
        await put("second")
        assert await shown("three") == ["first", "second"]
        await clock.advance(1.5 * DAY_S)
        assert await shown("three") == ["second"]
        assert await shown("kept") == ["first", "second"]
        await swept(clock, tmp_path, {"three": 1, "kept": 2})
        await clock.advance(2 * DAY_S)
        await swept(clock, tmp_path, {"kept": 2})
        assert await shown("three") == []
        assert await shown("kept") == ["first", "second"]
        # Taken away, nothing comes back; and what is put now stays.
        await call("delete_retention_policy", logGroupName="three")
        await put("third")
        await clock.advance(100 * DAY_S)
        assert await shown("three") == ["third"]
        assert await shown("kept") == ["first", "second", "third"]
