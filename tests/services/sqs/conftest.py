"""SQS behind a dispatcher, with a real database and a clock that moves when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from alonzo.config import Settings
from alonzo.core.context import Context, Principal
from alonzo.core.errors import ServiceError
from alonzo.core.ids import Ids
from alonzo.dispatch import Access, Call, Dispatcher, Parts
from alonzo.protocol.model import load_model
from alonzo.protocol.validate import validate
from alonzo.services import sqs
from alonzo.storage import Blobs, Database
from alonzo.testing.clock import FakeClock, settle

ACCOUNT = "123456789012"
REGION = "eu-central-1"


class AllowAndRecord:
    """Allows everything and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[Access] = []

    async def authorize(self, ctx: Context, access: Access, *, denied_code: str) -> None:
        self.asked.append(access)

    def allows_nowait(self, principal: Principal, access: Access, account_id: str) -> bool:
        self.asked.append(access)
        return True


class SqsUnderTest:
    """Calls operations as a client would, through the dispatcher: where it is `prompt`, as the gateway does with those
    that it knows. `promptly` are the operations that went that way."""

    def __init__(self, parts: Parts, clock: FakeClock, authorizer: AllowAndRecord, *, prompt: bool) -> None:
        self.prompt = prompt
        self.promptly: list[str] = []
        self.parts = parts
        self.clock = clock
        self.authorizer = authorizer
        self.service = parts.dispatcher.services["sqs"]

    async def call(self, operation: str, /, *, trace: str = "", **params: Any) -> dict[str, Any]:
        ctx = Context(ACCOUNT, REGION, Principal.root(ACCOUNT), "request", trace_header=trace)
        if self.prompt and operation in self.service.prompt:
            answer = self.call_nowait(ctx, operation, params)
            if answer is not None:
                return await answer
        return await self.parts.dispatcher.call(ctx, "sqs", operation, params)

    def call_nowait(
        self, ctx: Context, operation: str, params: dict[str, Any]
    ) -> asyncio.Future[dict[str, Any]] | None:
        """The answer to come, or None where the operation has to be called in the ordinary way."""
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def done(result: dict[str, Any] | None, error: BaseException | None) -> None:
            if answer.cancelled():
                return
            if result is None:
                answer.set_exception(error or AssertionError("neither result nor error"))
            else:
                answer.set_result(result)

        try:
            validate(load_model("sqs"), operation, params)
        except ServiceError:
            return None
        call = Call(ctx.principal, ctx.account_id, ctx.region, params, b"", "request", ctx.trace_header, "", done)
        if not self.parts.dispatcher.call_nowait(self.service.prompt[operation], call):
            assert not answer.done()
            return None
        self.promptly.append(operation)
        return answer

    async def queue(self, name: str = "q", **attributes: str) -> str:
        if name.endswith(".fifo"):
            attributes["FifoQueue"] = "true"
        return str((await self.call("CreateQueue", QueueName=name, Attributes=attributes))["QueueUrl"])

    async def send(self, url: str, body: str = "hello", **more: Any) -> dict[str, Any]:
        return await self.call("SendMessage", QueueUrl=url, MessageBody=body, **more)

    async def receive(self, url: str, count: int = 10, **more: Any) -> list[dict[str, Any]]:
        params = {"AttributeNames": ["All"], "MessageAttributeNames": ["All"], **more}
        result = await self.call("ReceiveMessage", QueueUrl=url, MaxNumberOfMessages=count, **params)
        return list(result.get("Messages", []))

    async def bodies(self, url: str, count: int = 10, **more: Any) -> list[str]:
        return [one["Body"] for one in await self.receive(url, count, **more)]

    async def delete(self, url: str, message: dict[str, Any]) -> None:
        await self.call("DeleteMessage", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    async def attributes(self, url: str) -> dict[str, str]:
        found = await self.call("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])
        return dict(found["Attributes"])

    async def counts(self, url: str) -> tuple[int, int, int]:
        """Visible, in flight, delayed."""
        found = await self.attributes(url)
        kinds = ("", "NotVisible", "Delayed")
        visible, hidden, delayed = (int(found[f"ApproximateNumberOfMessages{kind}"]) for kind in kinds)
        return visible, hidden, delayed

    async def arn(self, url: str) -> str:
        return (await self.attributes(url))["QueueArn"]

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        for _ in range(6):  # the database's answers come from its threads: what was begun before these has ended
            await self.parts.db.scan(lambda connection: None)
            await self.parts.db.write(lambda connection: None)
            await asyncio.sleep(0.001)
            await settle()


@asynccontextmanager
async def running(folder: Path, clock: FakeClock, *, prompt: bool = False) -> AsyncIterator[SqsUnderTest]:
    """The service on a data folder; left without goodbye, as after a crash, but for what was being written."""
    ids, authorizer = Ids(), AllowAndRecord()
    db = Database(folder / "alonzo.db")
    db.open()
    dispatcher = Dispatcher()
    parts = Parts(Settings(), clock, ids, db, Blobs(folder / "blobs", ids), dispatcher)
    service = sqs.build(parts)
    dispatcher.add(service)
    dispatcher.use(authorizer)
    await service.start()
    assert service.run is not None
    background = asyncio.create_task(service.run())  # type: ignore[arg-type]
    await settle()
    try:
        yield SqsUnderTest(parts, clock, authorizer, prompt=prompt)
    finally:
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
        await db.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=[False, True], ids=["ordinary", "prompt"])
def prompt(request: pytest.FixtureRequest) -> bool:
    """Everything holds on both ways to the operations."""
    return bool(request.param)


@pytest.fixture
async def api(tmp_path: Path, clock: FakeClock, prompt: bool) -> AsyncIterator[SqsUnderTest]:
    async with running(tmp_path, clock, prompt=prompt) as found:
        yield found


@pytest.fixture
def start(tmp_path: Path, clock: FakeClock, prompt: bool) -> Any:
    """Starts the service again and again on one folder."""
    return lambda: running(tmp_path, clock, prompt=prompt)
