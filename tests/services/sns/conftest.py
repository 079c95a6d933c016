"""SNS behind a dispatcher, with a real database, the real queue and its deliverer, and receivers that are recorded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from alonzo.config import Settings
from alonzo.core.context import ANONYMOUS, Context, Principal
from alonzo.core.errors import ServiceError
from alonzo.core.ids import Ids
from alonzo.dispatch import Access, Dispatcher, Parts, Service
from alonzo.engine.delivery import Deliverer
from alonzo.engine.queue import Queue
from alonzo.engine.tasks import Tasks
from alonzo.services import sns
from alonzo.storage import Blobs, Database
from alonzo.testing.clock import FakeClock

ACCOUNT = "123456789012"
REGION = "eu-central-1"
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:"


class Allow:
    """Allows everything but `denied` actions, and remembers what it was asked."""

    def __init__(self) -> None:
        self.denied: set[str] = set()
        self.asked: list[tuple[Context, Access]] = []

    async def authorize(self, ctx: Context, access: Access, *, denied_code: str) -> None:
        self.asked.append((ctx, access))
        if access.action in self.denied:
            raise ServiceError(denied_code, f"not authorized to perform: {access.action}", status=403)


class Receivers:
    """Queues and functions. `errors` holds what a queue or a function answers instead, once for each entry."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, Any], Context]] = []
        self.errors: dict[str, list[ServiceError]] = {}
        self.attempts: list[str] = []

    async def send_message(self, ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
        return self._take(params["QueueUrl"].rpartition("/")[2], ctx, params)

    async def invoke(self, ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
        return self._take(params["FunctionName"].rpartition(":")[2], ctx, params)

    def _take(self, name: str, ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
        self.attempts.append(name)
        if self.errors.get(name):
            raise self.errors[name].pop(0)
        self.received.append((name, params, ctx))
        return {}

    def by(self, name: str) -> list[dict[str, Any]]:
        return [params for receiver, params, _ in self.received if receiver == name]

    def bodies(self, name: str) -> list[Any]:
        """Of a queue: the envelopes."""
        return [json.loads(params["MessageBody"]) for params in self.by(name)]


class SnsUnderTest:
    """Calls operations as clients would, through the dispatcher."""

    def __init__(self, parts: Parts, clock: FakeClock, allow: Allow, receivers: Receivers, queue: Queue) -> None:
        self.parts = parts
        self.clock = clock
        self.allow = allow
        self.receivers = receivers
        self.queue = queue
        service = parts.dispatcher.services["sns"]
        assert isinstance(service, sns.SnsService)
        self.service = service

    async def call(self, operation: str, /, *, who: Principal | None = None, **params: Any) -> dict[str, Any]:
        principal = who or Principal.root(ACCOUNT)
        ctx = Context(principal.account_id or ACCOUNT, REGION, principal, "request", client_ip="127.0.0.1")
        return await self.parts.dispatcher.call(ctx, "sns", operation, params)

    async def refused(self, operation: str, /, **params: Any) -> tuple[str, str]:
        with pytest.raises(ServiceError) as caught:
            await self.call(operation, **params)
        return caught.value.code, caught.value.message

    async def topic(self, name: str = "topic", **attributes: str) -> str:
        return str((await self.call("CreateTopic", Name=name, Attributes=attributes))["TopicArn"])

    async def fifo(self, name: str = "topic.fifo", **attributes: str) -> str:
        return await self.topic(name, FifoTopic="true", **attributes)

    async def subscribe(self, topic: str, endpoint: str, protocol: str = "sqs", **attributes: str) -> str:
        answer = await self.call(
            "Subscribe",
            TopicArn=topic,
            Protocol=protocol,
            Endpoint=endpoint,
            Attributes=attributes,
            ReturnSubscriptionArn=True,
        )
        return str(answer["SubscriptionArn"])

    async def publish(self, topic: str, message: str = "hello", **params: Any) -> dict[str, Any]:
        return await self.call("Publish", TopicArn=topic, Message=message, **params)

    async def until(self, condition: Callable[[], bool], seconds: float = 5.0) -> None:
        """Wait in real time; the clock stands still meanwhile."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.002)

    async def idle(self) -> None:
        """Until the queue holds no job."""
        async with asyncio.timeout(5):
            while await self.queue.list_jobs():
                await asyncio.sleep(0.005)

    async def retrying(self) -> None:
        """Until the queue holds only jobs that wait for their time."""
        async with asyncio.timeout(5):
            while {job.state for job in await self.queue.list_jobs()} != {"retrying"}:
                await asyncio.sleep(0.005)

    async def rows(self, table: str) -> int:
        from sqlalchemy import text

        return int(await self.parts.db.read(lambda c: c.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()))


async def _nothing(ctx: Context, operation: str, params: dict[str, Any]) -> list[Access]:
    return []


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[SnsUnderTest]:
    clock, ids, allow, receivers = FakeClock(), Ids(1), Allow(), Receivers()
    db = Database(tmp_path / "alonzo.db")
    db.open()
    dispatcher = Dispatcher()
    parts = Parts(Settings(), clock, ids, db, Blobs(tmp_path / "blobs", ids), dispatcher)
    queue, tasks = Queue(db, clock), Tasks()
    none: Any = None
    deliverer = Deliverer(
        queue, none, dispatcher, clock, tasks, lambda: None, retry_base_s=60, throttle_base_s=1, concurrency=1000
    )
    dispatcher.add(sns.build(parts, queue))
    dispatcher.add(Service("sqs", {"SendMessage": receivers.send_message}, _nothing))
    dispatcher.add(Service("lambda", {"Invoke": receivers.invoke}, _nothing))
    dispatcher.use(allow)
    await queue.start()
    running = asyncio.create_task(queue.run())
    yield SnsUnderTest(parts, clock, allow, receivers, queue)
    queue.close()
    deliverer.close()
    await tasks.join()
    await queue.flush()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await db.close()


@pytest.fixture
def anonymous() -> Principal:
    return ANONYMOUS


@pytest.fixture
def role() -> Principal:
    """What a function acts as."""
    return Principal(
        "role",
        ACCOUNT,
        f"arn:aws:sts::{ACCOUNT}:assumed-role/r/f",
        role_arn=f"arn:aws:iam::{ACCOUNT}:role/r",
        name="r",
    )
