"""The logs service behind a dispatcher, with a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from alonzo.config import Settings
from alonzo.core.context import Context, Principal
from alonzo.core.ids import Ids
from alonzo.dispatch import Access, Dispatcher, Parts
from alonzo.services import logs
from alonzo.storage import Blobs, Database

ACCOUNT = "123456789012"
REGION = "eu-central-1"
NOW_MS = 1_800_000_000_000


class StillClock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.time = NOW_MS / 1000

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)


class RecordingAuthorizer:
    """Allows everything and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[Access] = []

    async def authorize(self, ctx: Context, access: Access, *, denied_code: str) -> None:
        self.asked.append(access)


class LogsUnderTest:
    """Calls operations as a client would, through the dispatcher."""

    def __init__(self, parts: Parts, clock: StillClock, authorizer: RecordingAuthorizer) -> None:
        self.parts = parts
        self.clock = clock
        self.authorizer = authorizer
        self.service = parts.dispatcher.services["logs"]

    async def call(self, operation: str, /, *, account: str = ACCOUNT, **params: Any) -> dict[str, Any]:
        ctx = Context(account, REGION, Principal.root(account), "request")
        return await self.parts.dispatcher.call(ctx, "logs", operation, params)

    async def stream(self, group: str = "/aws/lambda/f", stream: str = "s") -> None:
        groups = await self.call("DescribeLogGroups", logGroupNamePrefix=group)
        if group not in [one["logGroupName"] for one in groups["logGroups"]]:
            await self.call("CreateLogGroup", logGroupName=group)
        await self.call("CreateLogStream", logGroupName=group, logStreamName=stream)

    async def put(
        self, *events: tuple[int, str], group: str = "/aws/lambda/f", stream: str = "s", **more: Any
    ) -> dict[str, Any]:
        """Put events given as (milliseconds after NOW_MS, message)."""
        return await self.call(
            "PutLogEvents",
            logGroupName=group,
            logStreamName=stream,
            logEvents=[{"timestamp": NOW_MS + after, "message": message} for after, message in events],
            **more,
        )

    async def get(self, **params: Any) -> dict[str, Any]:
        return await self.call("GetLogEvents", logGroupName="/aws/lambda/f", logStreamName="s", **params)

    async def filter(self, **params: Any) -> dict[str, Any]:
        return await self.call("FilterLogEvents", logGroupName="/aws/lambda/f", **params)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[LogsUnderTest]:
    clock, ids, authorizer = StillClock(), Ids(1), RecordingAuthorizer()
    db = Database(tmp_path / "alonzo.db")
    db.open()
    dispatcher = Dispatcher()
    parts = Parts(Settings(), clock, ids, db, Blobs(tmp_path / "blobs", ids), dispatcher)
    dispatcher.add(logs.build(parts))
    dispatcher.use(authorizer)
    yield LogsUnderTest(parts, clock, authorizer)
    await db.close()


@pytest.fixture
def logs_handlers(api: LogsUnderTest) -> set[str]:
    return set(api.service.handlers)
