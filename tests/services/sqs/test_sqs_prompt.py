"""What goes without a coroutine, what does not, and that nothing is answered before it is on disk.

That both ways do the same is shown by the other tests here, which run on each.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from alonzo.core.context import Context, Principal
from alonzo.core.errors import ServiceError
from alonzo.storage import DiskFull
from alonzo.testing.clock import FakeClock

from .conftest import ACCOUNT, REGION, SqsUnderTest, running


@pytest.fixture
async def api(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqsUnderTest]:
    async with running(tmp_path, clock, prompt=True) as found:
        yield found


async def _refused(call: Any) -> str:
    with pytest.raises(ServiceError) as caught:
        await call
    return caught.value.code


@pytest.mark.parametrize("name", ["q", "q.fifo"])
async def test_what_goes_well_goes_promptly(api: SqsUnderTest, name: str) -> None:
    """Sending, receiving and deleting, one by one and in batches, of both types of queue."""
    url = await api.queue(name, **({"ContentBasedDeduplication": "true"} if name == "q.fifo" else {}))
    more = {"MessageGroupId": "g"} if name == "q.fifo" else {}
    assert await api.counts(url) == (0, 0, 0)  # from the first call on its URL is known
    sent = await api.send(url, "one", **more)
    batch = [{"Id": f"i{n}", "MessageBody": f"b{n}", **more} for n in range(3)]
    result = await api.call("SendMessageBatch", QueueUrl=url, Entries=batch)
    assert [one["Id"] for one in result["Successful"]] == ["i0", "i1", "i2"] and "Failed" not in result
    received = await api.receive(url)
    assert [one["Body"] for one in received] == ["one", "b0", "b1", "b2"]
    assert [one["MessageId"] for one in received] == [
        sent["MessageId"],
        *(one["MessageId"] for one in result["Successful"]),
    ]
    await api.delete(url, received[0])
    handles = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(received)]
    result = await api.call("DeleteMessageBatch", QueueUrl=url, Entries=handles)
    assert result == {"Successful": [{"Id": str(n)} for n in range(4)]}
    assert await api.receive(url) == []
    expected = ["SendMessage", "SendMessageBatch", "ReceiveMessage", "DeleteMessage", "DeleteMessageBatch"]
    assert api.promptly == [*expected, "ReceiveMessage"]
    assert await api.counts(url) == (0, 0, 0)


async def test_what_is_refused_is_refused_by_the_operation(api: SqsUnderTest) -> None:
    """Where one entry is bad, nothing of its batch has been done; errors are the operations' own."""
    url = await api.queue(MaximumMessageSize="1024")
    await api.send(url)
    [message] = await api.receive(url)
    api.promptly.clear()
    handle = message["ReceiptHandle"]
    assert await _refused(api.send(url, "\x00")) == "InvalidMessageContents"
    assert await _refused(api.send(url, "x" * 1025)) == "InvalidParameterValueException"
    assert await _refused(api.receive(url, 11)) == "InvalidParameterValueException"
    assert await _refused(api.receive(url, AttributeNames=["Nonsense"])) == "InvalidAttributeName"
    assert await _refused(api.receive(url, ReceiveRequestAttemptId="a")) == "InvalidParameterValueException"
    assert await _refused(api.call("DeleteMessage", QueueUrl=url, ReceiptHandle="x")) == "ReceiptHandleIsInvalid"
    entries: list[dict[str, Any]] = [{"Id": "a", "MessageBody": "good"}, {"Id": "b", "MessageBody": "\x00"}]
    result = await api.call("SendMessageBatch", QueueUrl=url, Entries=entries)
    assert [one["Id"] for one in result["Successful"]] == ["a"] and [one["Id"] for one in result["Failed"]] == ["b"]
    entries = [{"Id": "a", "ReceiptHandle": handle}, {"Id": "b", "ReceiptHandle": "x"}]
    result = await api.call("DeleteMessageBatch", QueueUrl=url, Entries=entries)
    assert [one["Id"] for one in result["Successful"]] == ["a"] and [one["Id"] for one in result["Failed"]] == ["b"]
    assert api.promptly == []
    assert await api.bodies(url) == ["good"]


async def test_who_waits_goes_the_ordinary_way(api: SqsUnderTest) -> None:
    """A long poll that finds something is answered promptly; one that does not waits as ever."""
    url = await api.queue()
    waiting = asyncio.create_task(api.receive(url, WaitTimeSeconds=5))
    await asyncio.sleep(0.01)
    assert api.promptly == [] and not waiting.done()
    await api.send(url, "one")
    assert [one["Body"] for one in await waiting] == ["one"]
    await api.send(url, "two")
    assert await api.bodies(url, WaitTimeSeconds=5) == ["two"]
    assert api.promptly == ["SendMessage", "SendMessage", "ReceiveMessage"]


async def test_what_goes_elsewhere_is_given_back_first(api: SqsUnderTest) -> None:
    """A message that was received too often, or has expired, is moved or removed, and the others keep their order."""
    dead = await api.queue("dead")
    policy = json.dumps({"deadLetterTargetArn": await api.arn(dead), "maxReceiveCount": 1})
    url = await api.queue(RedrivePolicy=policy, MessageRetentionPeriod="60")
    await api.send(url, "spent")
    assert await api.bodies(url, VisibilityTimeout=0) == ["spent"]
    for body in ("a", "b"):
        await api.send(url, body)
    api.promptly.clear()
    assert await api.bodies(url) == ["a", "b"]
    assert api.promptly == []
    assert await api.bodies(dead) == ["spent"]
    await api.send(url, "old")
    await api.clock.advance(59)
    await api.send(url, "new")
    await api.clock.advance(2)
    api.promptly.clear()
    assert await api.bodies(url) == ["new"]
    assert api.promptly == []
    assert await api.counts(url) == (0, 1, 0)


async def test_a_body_that_cannot_be_read_hides_nothing(api: SqsUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk fails while messages are fetched, they can be received when it is well again."""
    url = await api.queue()
    await api.send(url, "one")
    await api.send(url, "two")
    queues = api.service.handlers["SendMessage"].args[0].queues  # type: ignore[attr-defined]

    def broken(_: list[int]) -> dict[int, Any]:
        raise DiskFull("No space is left.")

    with monkeypatch.context() as patched:
        patched.setattr(queues, "messages", broken)
        with pytest.raises(DiskFull):
            await api.receive(url)
    assert await api.counts(url) == (2, 0, 0)
    assert await api.bodies(url) == ["one", "two"]


def _call(api: SqsUnderTest, operation: str, **params: Any) -> asyncio.Future[dict[str, Any]]:
    ctx = Context(ACCOUNT, REGION, Principal.root(ACCOUNT), "request")
    answer = api.call_nowait(ctx, operation, params)
    assert answer is not None
    return answer


OPERATIONS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "SendMessage": lambda url, _: {"QueueUrl": url, "MessageBody": "x"},
    "SendMessageBatch": lambda url, _: {
        "QueueUrl": url,
        "Entries": [{"Id": str(n), "MessageBody": "x"} for n in range(3)],
    },
    "DeleteMessage": lambda url, handle: {"QueueUrl": url, "ReceiptHandle": handle},
    "DeleteMessageBatch": lambda url, handle: {"QueueUrl": url, "Entries": [{"Id": "a", "ReceiptHandle": handle}]},
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_nothing_is_answered_before_it_is_on_disk(
    api: SqsUnderTest, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the transaction is under way there is no answer; if it fails, that is the answer, and nothing changed."""
    url = await api.queue()
    await api.send(url, "there")
    [message] = await api.receive(url)
    params = OPERATIONS[operation](url, message["ReceiptHandle"])
    held: list[asyncio.Future[Any]] = []
    before = await api.counts(url)

    def hold(transaction: Any) -> asyncio.Future[Any]:
        held.append(asyncio.get_running_loop().create_future())
        return held[-1]

    with monkeypatch.context() as patched:
        patched.setattr(api.parts.db, "write_nowait", hold)
        answer = _call(api, operation, **params)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(held) == 1 and not answer.done()
        held[0].set_exception(DiskFull("No space is left."))
        with pytest.raises(DiskFull):
            await answer
    assert await api.counts(url) == before
    result = await _call(api, operation, **params)
    assert result == {} if operation == "DeleteMessage" else result
    visible, hidden, _ = await api.counts(url)
    sent = {"SendMessage": 1, "SendMessageBatch": 3}.get(operation, 0)
    assert (visible, hidden) == (before[0] + sent, before[1] - (0 if sent else 1))


async def test_many_are_one_transaction(api: SqsUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes while one group is being written is the next group, and each gets an answer of its own."""
    url, writes = await api.queue(), 0
    assert await api.counts(url) == (0, 0, 0)
    write = api.parts.db.write_nowait

    def count(transaction: Any) -> asyncio.Future[Any]:
        nonlocal writes
        writes += 1
        return write(transaction)

    monkeypatch.setattr(api.parts.db, "write_nowait", count)
    answers = [_call(api, "SendMessage", QueueUrl=url, MessageBody=str(n)) for n in range(100)]
    ids = [(await answer)["MessageId"] for answer in answers]
    assert len(set(ids)) == 100 and writes == 1
    received = [one for _ in range(10) for one in await api.receive(url)]
    assert [one["MessageId"] for one in received] == ids
    assert [one["Body"] for one in received] == [str(n) for n in range(100)]
    answers = [_call(api, "DeleteMessage", QueueUrl=url, ReceiptHandle=one["ReceiptHandle"]) for one in received]
    assert [await answer for answer in answers] == [{}] * 100
    assert writes <= 3  # the receives may have been flushed meanwhile
    assert await api.counts(url) == (0, 0, 0)


async def test_a_queue_is_known_until_it_changes(api: SqsUnderTest) -> None:
    """The permission that is asked for is the same object until the queue's policy, or any setting, is another."""
    url = await api.queue()
    await api.send(url)
    asked = api.authorizer.asked
    first = asked[-1]
    await api.send(url)
    assert asked[-1] is first and api.promptly[-1:] == ["SendMessage"]
    await api.call("ReceiveMessage", QueueUrl=url)
    assert asked[-1] is not first and asked[-1].action == "sqs:receivemessage"
    policy = {"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}]}
    await api.call("SetQueueAttributes", QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    await api.send(url)
    assert asked[-1] is not first and "Deny" in (asked[-1].resource_policy or "")
    await api.call("DeleteQueue", QueueUrl=url)
    count = len(api.promptly)
    assert await _refused(api.send(url)) == "QueueDoesNotExist"
    assert len(api.promptly) == count
