"""The poller of a queue over a queue and a function that are fakes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from alonzo.core.clock import SystemClock
from alonzo.core.context import Context, Principal
from alonzo.core.errors import ServiceError
from alonzo.core.ids import Ids
from alonzo.engine.function import CodeRef, FunctionVersion, Invocation, InvokeResult
from alonzo.engine.growth import Machine
from alonzo.engine.pollers import Mapping, Pollers, Tools
from alonzo.engine.pollers.base import Slots
from alonzo.engine.tasks import Tasks

ARN = "arn:aws:sqs:us-east-1:000000000000:q"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
VERSION = FunctionVersion(
    "000000000000", "us-east-1", "f", "$LATEST", FUNCTION, "r", "python3.12", "h", "arn:aws:iam::000000000000:role/r",
    CodeRef("b", "s"),
)  # fmt: skip
MAPPING = Mapping("u-1", "000000000000", "us-east-1", ARN, "f", "", FUNCTION, 10)


class World:
    """A queue that hides what it gave for good, and a function that is `run`."""

    def __init__(self) -> None:
        self.waiting: list[dict[str, Any]] = []
        self.arrived = asyncio.Event()
        self.deleted: list[str] = []
        self.batches: list[list[str]] = []
        self.receives = 0
        self.version = VERSION
        self.error: ServiceError | None = None
        self.run: Callable[[list[str]], Awaitable[Any]] = self._succeed
        self.tasks = Tasks()
        self.pollers = Pollers(
            Tools(self, SystemClock(), Ids(), self, self, self.tasks, lambda: self, Machine(lambda: 0, 2))  # type: ignore[arg-type]
        )

    async def _succeed(self, bodies: list[str]) -> Any:
        return None

    def send(self, *bodies: str) -> None:
        for body in bodies:
            number = str(len(self.waiting) + len(self.batches) * 1_000)
            self.waiting.append(
                {
                    "MessageId": f"id-{body[:20]}",
                    "ReceiptHandle": f"{number}/{body[:20]}",
                    "Body": body,
                    "MD5OfBody": "",
                }
            )
        self.arrived.set()

    # the dispatcher
    async def call(self, ctx: Context, service: str, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        assert (service, ctx.principal.kind) == ("sqs", "role")
        if self.error is not None:
            raise self.error
        if operation == "DeleteMessageBatch":
            self.deleted += [entry["ReceiptHandle"].split("/")[1] for entry in params["Entries"]]
            return {"Successful": [], "Failed": []}
        assert operation == "ReceiveMessage" and 1 <= params["MaxNumberOfMessages"] <= 10
        self.receives += 1
        if not self.waiting and params["WaitTimeSeconds"]:
            self.arrived.clear()
            try:
                async with asyncio.timeout(params["WaitTimeSeconds"]):
                    await self.arrived.wait()
            except TimeoutError:
                return {}
        given = self.waiting[: params["MaxNumberOfMessages"]]
        del self.waiting[: len(given)]
        return {"Messages": given} if given else {}

    # the source of functions
    def resolve(self, account_id: str, region: str, name: str, qualifier: str) -> FunctionVersion:
        return self.version

    # the credentials
    async def of(self, fv: FunctionVersion) -> Any:
        principal = Principal("role", fv.account_id, "arn:aws:sts::000000000000:assumed-role/r/f")
        return type("Given", (), {"principal": principal})

    # the invoker
    async def invoke(self, fv: FunctionVersion, invocation: Invocation) -> InvokeResult:
        bodies = [record["body"] for record in json.loads(invocation.payload)["Records"]]
        self.batches.append([body[:20] for body in bodies])
        assert len(invocation.payload) <= 6_291_456
        answer = await self.run(bodies)
        if isinstance(answer, ServiceError):
            raise answer
        if answer == "error":
            return InvokeResult(b"{}", "$LATEST", "Unhandled")
        return InvokeResult(json.dumps(answer).encode(), "$LATEST")

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.002)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.pollers.stop()
    await made.tasks.join()


async def test_success_deletes(world: World) -> None:
    """What the function succeeded with is deleted, in the batches in which it came."""
    world.send(*"abcdefghijkl")
    await world.pollers.apply(MAPPING)
    await world.until(lambda: len(world.deleted) == 12)
    assert world.batches == [list("abcdefghij"), list("kl")]


@pytest.mark.parametrize("answer", ["error", ServiceError("TooManyRequestsException", "Rate Exceeded.", status=429)])
async def test_failure_deletes_nothing(world: World, answer: Any) -> None:
    """Function errors and throttles leave the messages to the visibility timeout, and polling goes on."""

    async def fail(bodies: list[str]) -> Any:
        return answer if "bad" in bodies else None

    world.run = fail
    world.send("bad")
    await world.pollers.apply(MAPPING)
    await world.until(lambda: world.batches)
    world.send("good")
    await world.until(lambda: world.deleted)
    assert world.deleted == ["good"]


async def test_partial_failure_deletes_the_rest(world: World) -> None:
    """Only what ReportBatchItemFailures does not name is deleted; without that setting the answer means nothing."""

    async def report(bodies: list[str]) -> Any:
        return {"batchItemFailures": [{"itemIdentifier": "id-b"}]} if "b" in bodies else None

    world.run = report
    world.send("a", "b", "c")
    await world.pollers.apply(replace(MAPPING, report_failures=True))
    await world.until(lambda: len(world.deleted) == 2)
    assert world.deleted == ["a", "c"]
    await world.pollers.apply(MAPPING)
    world.send("b")
    await world.until(lambda: world.deleted[2:] == ["b"])


async def test_filtered_out_messages_are_deleted(world: World) -> None:
    """What no filter lets through is deleted without the function hearing of it."""
    world.send('{"x": 1}', "text", '{"x": 2}')
    await world.pollers.apply(replace(MAPPING, filters=('{"body": {"x": [2]}}',)))
    await world.until(lambda: len(world.deleted) == 3)
    assert world.batches == [['{"x": 2}']]


async def test_large_batches_are_split(world: World) -> None:
    """Messages that together exceed an invocation's payload go in several invocations, and none is lost."""
    world.send(*(f"{n}" + "x" * 1_000_000 for n in range(10)))
    await world.pollers.apply(MAPPING)
    await world.until(lambda: len(world.deleted) == 10)
    assert [len(batch) for batch in world.batches] == [6, 4]


async def test_a_failed_part_stops_the_rest_of_a_fifo_batch(world: World) -> None:
    """After a failure nothing that came behind it in a FIFO queue is handled: it may be of the same group."""

    async def fail(bodies: list[str]) -> Any:
        return "error"

    world.run = fail
    world.send(*(f"{n}" + "x" * 1_000_000 for n in range(10)))
    await world.pollers.apply(replace(MAPPING, source_arn=f"{ARN}.fifo"))
    await world.until(lambda: world.batches)
    world.send("next")
    await world.until(lambda: len(world.batches) == 2)
    assert [len(batch) for batch in world.batches] == [6, 1]
    assert world.deleted == []


async def test_concurrency_is_bounded(world: World) -> None:
    """No more batches run at a time than MaximumConcurrency and the function's reservation allow."""
    release = asyncio.Event()
    running = most = 0

    async def slow(bodies: list[str]) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1

    world.run = slow
    for mapping, reserved, expected in (
        (replace(MAPPING, batch_size=1, max_concurrency=2), None, 2),
        (replace(MAPPING, batch_size=1, max_concurrency=4), 3, 3),
    ):
        release.clear()
        most, before = 0, len(world.deleted)
        world.version = replace(VERSION, reserved_concurrency=reserved)
        world.send(*"abcdefgh")
        await world.pollers.apply(mapping)
        await world.until(lambda expected=expected: running == expected)
        await asyncio.sleep(0.02)
        assert most == expected
        release.set()
        await world.until(lambda before=before: len(world.deleted) == before + 8)


async def test_reserved_zero_takes_nothing(world: World) -> None:
    """A function that may not run at all leaves its messages alone, and the mapping says why."""
    world.version = replace(VERSION, reserved_concurrency=0)
    world.send("a")
    await world.pollers.apply(MAPPING)
    await world.until(lambda: world.pollers.problem("u-1"))
    assert world.receives == 0 and len(world.waiting) == 1


async def test_a_failing_queue_backs_off(world: World) -> None:
    """A queue that is gone is asked again after a pause, and shown as the mapping's problem until it answers."""
    world.error = ServiceError("QueueDoesNotExist", "The specified queue does not exist.")
    await world.pollers.apply(MAPPING)
    await world.until(lambda: world.pollers.problem("u-1"))
    assert world.pollers.problem("u-1") == "PROBLEM: The specified queue does not exist."
    await asyncio.sleep(0.05)
    assert world.receives == 0


async def test_removal_stops_at_once_and_what_runs_ends(world: World) -> None:
    """Removing a mapping ends its long poll at once; what its function runs already is finished and deleted."""
    release, began = asyncio.Event(), asyncio.Event()

    async def slow(bodies: list[str]) -> Any:
        began.set()
        await release.wait()

    world.run = slow
    world.send("a")
    await world.pollers.apply(MAPPING)
    await began.wait()
    async with asyncio.timeout(0.2):
        await world.pollers.remove("u-1")
    world.send("b")
    release.set()
    await world.until(lambda: world.deleted == ["a"])
    assert len(world.waiting) == 1


async def test_a_window_gathers_what_comes(world: World) -> None:
    """Within the window messages are put together, up to the batch size; a full batch does not wait for its end."""
    await world.pollers.apply(replace(MAPPING, batch_size=25, window_s=300))
    world.send(*(f"a{n}" for n in range(7)))
    await asyncio.sleep(0.05)
    assert world.batches == []
    world.send(*(f"b{n}" for n in range(18)))
    await world.until(lambda: world.batches)
    assert [len(batch) for batch in world.batches] == [25]
    await world.until(lambda: len(world.deleted) == 25)


async def test_slots_begin_few_and_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapping begins with five batches at a time, gets more while all are used and that helps, fewer when throttled
    or quiet."""
    now = [100.0]
    monkeypatch.setattr("alonzo.engine.pollers.base._now", lambda: now[0])
    starting = [0]
    times = [0, 0]
    machine = Machine(lambda: starting[0], 4, lambda: f"cpu {times[0]} 0 0 {times[1]} 0 0 0 0")

    def later(busy: int, idle: int) -> None:
        now[0] += 1
        times[0] += busy
        times[1] += idle
        slots.grow(5, machine)

    slots = Slots(5, 12)
    assert [slots.take_nowait() for _ in range(6)] == [True] * 5 + [False]
    later(0, 0)
    assert slots.limit == 5  # nothing is known of the processors yet
    starting[0] = 8
    later(1, 0)
    assert slots.limit == 5
    starting[0] = 0
    later(0, 1)
    assert slots.limit == 10
    later(0, 1)
    assert slots.limit == 12
    begun = [slots.begun() for _ in range(12)]
    later(1, 0)
    for one in begun:
        slots.ran(one)
    later(1, 0)
    assert slots.limit == 9  # busy: whether fewer do as much
    slots.shrink()
    assert slots.limit == 4
    slots.rest()
    assert slots.limit == 5
    for _ in range(10):
        slots.shrink()
    assert slots.limit == 2
    slots.bound(1)
    assert slots.limit == 1


async def test_small_batches_are_received_together(world: World) -> None:
    """One look into the queue feeds several small batches side by side; in a FIFO queue it feeds one."""
    world.send(*"abcde")
    await world.pollers.apply(replace(MAPPING, batch_size=2))
    await world.until(lambda: len(world.deleted) == 5)
    assert sorted(map(len, world.batches)) == [1, 2, 2] and world.receives <= 2
    await world.pollers.apply(replace(MAPPING, batch_size=2, source_arn=f"{ARN}.fifo"))
    world.send(*"fghij")
    await world.until(lambda: len(world.deleted) == 10)
    assert world.batches[3:] == [["f", "g"], ["h", "i"], ["j"]]
