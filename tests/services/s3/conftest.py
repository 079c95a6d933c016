"""S3 called through a real dispatcher, on a real database and real blobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from alonzo.config import Settings
from alonzo.core.context import Context, Principal
from alonzo.core.errors import ServiceError
from alonzo.core.ids import Ids
from alonzo.core.streams import FileBody
from alonzo.dispatch import Access, Dispatcher, Parts, Service
from alonzo.engine.queue import Delivery, Queue
from alonzo.services import s3
from alonzo.storage import Blobs, Database
from alonzo.testing.clock import FakeClock

ACCOUNT = "000000000000"
OTHER = "111111111111"


class RecordingQueue(Queue):
    """Keeps what is enqueued in committed transactions."""

    def __init__(self) -> None:
        self.jobs: list[Delivery] = []
        self.woken = 0

    def enqueue(self, connection: Connection, *jobs: Any) -> None:
        self.jobs.extend(jobs)

    def wake(self) -> None:
        self.woken += 1


class Allow:
    """Allows everything but `denied` actions, and remembers what it was asked."""

    def __init__(self) -> None:
        self.denied: set[str] = set()
        self.asked: list[Access] = []

    async def authorize(self, ctx: Context, access: Access, *, denied_code: str) -> None:
        self.asked.append(access)
        if access.action in self.denied:
            raise ServiceError(denied_code, f"not authorized to perform: {access.action}", status=403)


class FakeLambda:
    """Functions that S3 may or may not invoke."""

    def __init__(self) -> None:
        self.allowed: set[str] = set()
        self.asked: list[tuple[Context, dict[str, Any]]] = []

    async def invoke(self, ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((ctx, params))
        if params["FunctionName"] not in self.allowed:
            raise ServiceError("AccessDeniedException", "no", status=403)
        return {"StatusCode": 204}


async def _nothing(ctx: Context, operation: str, params: dict[str, Any]) -> list[Access]:
    return []


@dataclass
class S3:
    """The service under test."""

    service: s3.S3Service
    dispatcher: Dispatcher
    db: Database
    blobs: Blobs
    queue: RecordingQueue
    authorizer: Allow
    functions: FakeLambda
    clock: FakeClock
    ctx: Context = field(
        default_factory=lambda: Context(ACCOUNT, "us-east-1", Principal.root(ACCOUNT), "req-1", client_ip="10.0.0.7")
    )

    async def __call__(self, operation: str, *, ctx: Context | None = None, **params: Any) -> dict[str, Any]:
        return await self.dispatcher.call(ctx or self.ctx, "s3", operation, params)

    def as_account(self, account_id: str, region: str = "us-east-1") -> Context:
        return replace(self.ctx, account_id=account_id, region=region, principal=Principal.root(account_id))

    async def fails(self, code: str, operation: str, **params: Any) -> ServiceError:
        """Call and return the error, which must be `code`."""
        with pytest.raises(ServiceError) as caught:
            await self(operation, **params)
        assert caught.value.code == code, caught.value
        return caught.value

    async def body(self, **params: Any) -> bytes:
        return await content((await self("GetObject", **params))["Body"])

    def files(self) -> list[Path]:
        """Every file in the blob store, unfinished ones included."""
        return [path for path in self.blobs.path("00").parent.parent.rglob("*") if path.is_file()]


async def content(body: Any) -> bytes:
    """A response body's bytes."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, FileBody):
        with body.path.open("rb") as file:
            file.seek(body.offset)
            return file.read(body.length)
    return b"".join([chunk async for chunk in body])


@pytest.fixture
def read_body() -> Callable[[Any], Awaitable[bytes]]:
    return content


@pytest.fixture
async def s3_(tmp_path: Path) -> AsyncIterator[S3]:
    """S3 with the bucket `bkt`."""
    async for one in _make(tmp_path):
        await one("CreateBucket", Bucket="bkt")
        yield one


async def _make(folder: Path) -> AsyncIterator[S3]:
    clock = FakeClock()
    db, ids = Database(folder / "alonzo.db", durable=False), Ids(seed=1)
    blobs = Blobs(folder / "blobs", ids, durable=False)
    db.open()
    blobs.open()
    dispatcher, authorizer, queue, functions = Dispatcher(), Allow(), RecordingQueue(), FakeLambda()
    dispatcher.use(authorizer)
    service = s3.build(Parts(Settings(), clock, ids, db, blobs, dispatcher), queue)
    dispatcher.add(service)
    dispatcher.add(Service("lambda", {"Invoke": functions.invoke}, _nothing))
    await service.start()
    try:
        yield S3(service, dispatcher, db, blobs, queue, authorizer, functions, clock)
    finally:
        await service.stop()
        await db.close()


class Chunks:
    """A streaming body: chunks, then trailers, or an error."""

    def __init__(
        self,
        *chunks: bytes,
        length: int | None = None,
        trailers: Mapping[str, str] | None = None,
        error: BaseException | None = None,
    ) -> None:
        self._chunks = chunks
        self.length = length
        self._trailers = trailers or {}
        self._error = error
        self._ended = False

    @property
    def trailers(self) -> Mapping[str, str]:
        return self._trailers if self._ended else {}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._error is not None:
            raise self._error
        self._ended = True

    async def read(self, limit: int) -> bytes:
        data = b"".join([chunk async for chunk in self])
        assert len(data) <= limit
        return data


@pytest.fixture
def chunks() -> type[Chunks]:
    return Chunks
