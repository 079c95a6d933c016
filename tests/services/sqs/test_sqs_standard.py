"""Standard queues: visibility, delays, waiting, expiry, dead letters."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from alonzo.core.errors import ServiceError
from alonzo.testing.clock import settle


async def test_a_received_message_is_hidden_until_its_timeout(api: Any) -> None:
    """A message in flight is given to nobody else, and comes back, counted, when its visibility timeout is over."""
    url = await api.queue(VisibilityTimeout="10")
    await api.send(url, "one")
    first = (await api.receive(url))[0]
    assert first["Attributes"]["ApproximateReceiveCount"] == "1"
    assert await api.counts(url) == (0, 1, 0)
    await api.pass_time(9.9)
    assert await api.receive(url) == []
    await api.pass_time(0.2)
    again = (await api.receive(url))[0]
    assert again["MessageId"] == first["MessageId"]
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"
    assert (
        again["Attributes"]["ApproximateFirstReceiveTimestamp"]
        == first["Attributes"]["ApproximateFirstReceiveTimestamp"]
    )


async def test_only_the_last_receipt_handle_deletes(api: Any) -> None:
    """An older handle is accepted but deletes nothing; the last one deletes, even twice."""
    url = await api.queue(VisibilityTimeout="0")
    await api.send(url)
    old = (await api.receive(url))[0]
    new = (await api.receive(url, VisibilityTimeout=60))[0]
    await api.delete(url, old)
    assert await api.counts(url) == (0, 1, 0)
    await api.delete(url, new)
    await api.delete(url, new)
    assert await api.counts(url) == (0, 0, 0)


async def test_a_handle_deletes_after_its_timeout_if_nobody_received_since(api: Any) -> None:
    """In a standard queue a message that is visible again can still be deleted by its last receiver."""
    url = await api.queue(VisibilityTimeout="1")
    await api.send(url)
    message = (await api.receive(url))[0]
    await api.pass_time(2)
    await api.delete(url, message)
    assert await api.receive(url) == []
    assert await api.counts(url) == (0, 0, 0)


async def test_visibility_can_be_changed(api: Any) -> None:
    """ChangeMessageVisibility hides longer, or gives back at once; afterwards the handle changes nothing more."""
    url = await api.queue(VisibilityTimeout="10")
    await api.send(url)
    message = (await api.receive(url))[0]
    handle = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
    await api.call("ChangeMessageVisibility", **handle, VisibilityTimeout=100)
    await api.pass_time(50)
    assert await api.receive(url) == []
    await api.call("ChangeMessageVisibility", **handle, VisibilityTimeout=0)
    assert await api.counts(url) == (1, 0, 0)
    with pytest.raises(ServiceError, match="not available for visibility timeout change"):
        await api.call("ChangeMessageVisibility", **handle, VisibilityTimeout=5)
    later = (await api.receive(url))[0]
    await api.pass_time(5)
    with pytest.raises(ServiceError, match=r"Total VisibilityTimeout for the message is beyond the limit"):
        await api.call(
            "ChangeMessageVisibility", QueueUrl=url, ReceiptHandle=later["ReceiptHandle"], VisibilityTimeout=43_200
        )


async def test_delays_of_queue_and_message(api: Any) -> None:
    """A message is delayed by its own DelaySeconds, else by its queue's."""
    url = await api.queue(DelaySeconds="30", VisibilityTimeout="100")
    await api.send(url, "queue's")
    await api.send(url, "own", DelaySeconds=5)
    await api.send(url, "none", DelaySeconds=0)
    assert await api.counts(url) == (1, 0, 2)
    assert await api.bodies(url) == ["none"]
    await api.pass_time(5)
    assert await api.bodies(url) == ["own"]
    await api.pass_time(25)
    assert await api.bodies(url) == ["queue's"]


async def test_a_long_poll_ends_with_the_first_message(api: Any) -> None:
    """A waiting receiver gets a message in the moment in which it is sent."""
    url = await api.queue()
    waiting = asyncio.create_task(api.bodies(url, WaitTimeSeconds=20))
    await settle()
    assert not waiting.done()
    await api.send(url, "now")
    assert await asyncio.wait_for(waiting, 1) == ["now"]


async def test_a_long_poll_ends_empty_at_its_time(api: Any) -> None:
    """Without a message the answer comes when WaitTimeSeconds (or the queue's default) is over, not before."""
    url = await api.queue(ReceiveMessageWaitTimeSeconds="7")
    waiting = asyncio.create_task(api.bodies(url))
    await settle()
    await api.pass_time(6.9)
    assert not waiting.done()
    await api.pass_time(0.2)
    assert waiting.done() and waiting.result() == []


@pytest.mark.parametrize("how", ["delay", "visibility", "given back"])
async def test_a_long_poll_sees_what_becomes_visible(api: Any, how: str) -> None:
    """Waiting receivers get messages whose delay or visibility timeout ends, or that are given back."""
    url = await api.queue(VisibilityTimeout="5")
    await api.send(url, "later", **({"DelaySeconds": 5} if how == "delay" else {}))
    held = await api.receive(url)
    waiting = asyncio.create_task(api.bodies(url, WaitTimeSeconds=20))
    await settle()
    if how == "given back":
        await api.call(
            "ChangeMessageVisibility", QueueUrl=url, ReceiptHandle=held[0]["ReceiptHandle"], VisibilityTimeout=0
        )
    else:
        assert not waiting.done()
        await api.pass_time(5)
    assert await asyncio.wait_for(waiting, 1) == ["later"]


async def test_a_thousand_waiters_share_what_comes(api: Any) -> None:
    """Each of a thousand long polls gets exactly one of a thousand messages, and a cancelled one takes none."""
    url = await api.queue()
    gone = asyncio.create_task(api.bodies(url, 1, WaitTimeSeconds=20))
    waiting = [asyncio.create_task(api.bodies(url, 1, WaitTimeSeconds=20)) for _ in range(1000)]
    await settle()
    gone.cancel()
    await asyncio.gather(*(api.send(url, str(n)) for n in range(1000)))
    got = await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert sorted(body for bodies in got for body in bodies) == sorted(str(n) for n in range(1000))


async def test_deleting_a_queue_ends_its_long_polls(api: Any) -> None:
    """Who waits at a queue that is deleted learns so at once; the name is free again after 60 seconds."""
    url = await api.queue()
    waiting = asyncio.create_task(api.receive(url, WaitTimeSeconds=20))
    await settle()
    await api.call("DeleteQueue", QueueUrl=url)
    with pytest.raises(ServiceError, match="The specified queue does not exist"):
        await asyncio.wait_for(waiting, 1)
    with pytest.raises(ServiceError, match="You must wait 60 seconds after deleting a queue") as error:
        await api.queue()
    assert error.value.code == "QueueDeletedRecently"
    await api.pass_time(60)
    assert await api.queue() == url
    assert await api.receive(url) == []


async def test_messages_expire(api: Any) -> None:
    """A message older than the retention period is not received, nor counted, and its row goes."""
    url = await api.queue(MessageRetentionPeriod="60", VisibilityTimeout="5")
    await api.send(url, "old")
    await api.receive(url)
    await api.pass_time(50)
    await api.send(url, "young")
    await api.pass_time(10.1)
    assert await api.bodies(url) == ["young"]
    assert await api.counts(url) == (0, 1, 0)
    await api.pass_time(60)
    assert await api.counts(url) == (0, 0, 0)
    assert _rows(api) == 0


def _rows(api: Any) -> int:
    return int(api.parts.db.read_nowait(lambda c: c.exec_driver_sql("SELECT count(*) FROM sqs_message").scalar()))


async def test_purge_empties_and_may_come_once_a_minute(api: Any) -> None:
    """PurgeQueue takes visible, delayed and in-flight messages away, and what is sent afterwards stays."""
    url = await api.queue()
    for n in range(5):
        await api.send(url, str(n), DelaySeconds=n % 2)
    held = (await api.receive(url, 1))[0]
    await api.call("PurgeQueue", QueueUrl=url)
    await api.send(url, "after")
    assert await api.counts(url) == (1, 0, 0)
    await api.delete(url, held)
    assert await api.bodies(url) == ["after"]
    with pytest.raises(ServiceError, match="Only one PurgeQueue operation on q is allowed every 60 seconds") as error:
        await api.call("PurgeQueue", QueueUrl=url)
    assert error.value.code == "PurgeQueueInProgress"
    await api.pass_time(60)
    await api.call("PurgeQueue", QueueUrl=url)
    await api.pass_time(1)
    assert _rows(api) == 0


async def test_dead_letters_move_after_max_receive_count(api: Any) -> None:
    """The receive after maxReceiveCount moves the message, with its id, times and count, to the dead-letter queue."""
    dead = await api.queue("dead")
    policy = json.dumps({"deadLetterTargetArn": await api.arn(dead), "maxReceiveCount": 2})
    url = await api.queue("source", VisibilityTimeout="0", RedrivePolicy=policy)
    sent = await api.send(url, "poison", MessageAttributes={"a": {"DataType": "Number", "StringValue": "1"}})
    assert len(await api.receive(url)) == len(await api.receive(url)) == 1
    waiting = asyncio.create_task(api.receive(dead, WaitTimeSeconds=20))
    await settle()
    assert await api.receive(url) == []
    message = (await asyncio.wait_for(waiting, 1))[0]
    assert message["MessageId"] == sent["MessageId"] and message["Body"] == "poison"
    assert message["Attributes"]["DeadLetterQueueSourceArn"] == await api.arn(url)
    assert message["Attributes"]["ApproximateReceiveCount"] == "3"
    assert message["Attributes"]["SentTimestamp"] == str(int(api.clock.now() * 1000))
    assert message["MessageAttributes"]["a"]["StringValue"] == "1"
    assert await api.counts(url) == (0, 0, 0)
    sources = await api.call("ListDeadLetterSourceQueues", QueueUrl=dead)
    assert sources == {"queueUrls": [url]}


async def test_a_dead_letter_expires_by_when_it_was_first_sent(api: Any) -> None:
    """Moving does not renew a standard queue's message."""
    dead = await api.queue("dead", MessageRetentionPeriod="100")
    policy = json.dumps({"deadLetterTargetArn": await api.arn(dead), "maxReceiveCount": 1})
    url = await api.queue("source", VisibilityTimeout="0", RedrivePolicy=policy)
    await api.send(url)
    await api.pass_time(90)
    await api.receive(url)
    await api.receive(url)
    assert await api.counts(dead) == (1, 0, 0)
    await api.pass_time(11)
    assert await api.receive(dead) == []


async def test_what_is_deleted_leaves_no_memory(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that are deleted long before their timeout leave nothing to remember until then."""
    monkeypatch.setattr("alonzo.services.sqs.index._SLACK", 20)
    url = await api.queue(VisibilityTimeout="43200")
    for _ in range(30):
        await api.send(url, "x")
        await api.delete(url, (await api.receive(url))[0])
    index = api.service.handlers["SendMessage"].args[0].queues.all()[0].index
    assert not index.entries and len(index._timed) <= 25


async def test_a_deep_queue_is_received_whole(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the index's window messages are found on disk: each is received exactly once."""
    monkeypatch.setattr("alonzo.services.sqs.index.StandardIndex.window", 30)
    monkeypatch.setattr("alonzo.services.sqs.live.REFILL", 7)
    url = await api.queue()
    for start in range(0, 200, 10):
        entries = [
            {"Id": str(n), "MessageBody": str(n), "DelaySeconds": 1 if n % 10 == 3 else 0}
            for n in range(start, start + 10)
        ]
        await api.call("SendMessageBatch", QueueUrl=url, Entries=entries)
    assert await api.counts(url) == (180, 0, 20)
    got: list[str] = []
    while found := await api.bodies(url):
        got += found
    assert len(got) == 180
    await api.pass_time(1)
    while found := await api.bodies(url):
        got += found
    assert sorted(got, key=int) == [str(n) for n in range(200)]
    assert await api.counts(url) == (0, 200, 0)


async def test_too_many_in_flight(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standard queue whose in-flight messages reach the limit answers OverLimit to a short poll."""
    monkeypatch.setattr("alonzo.services.sqs.operations.messages.MAX_IN_FLIGHT", 2)
    url = await api.queue()
    for n in range(3):
        await api.send(url, str(n))
    assert len(await api.receive(url, 2)) == 2
    with pytest.raises(ServiceError) as error:
        await api.receive(url)
    assert error.value.code == "OverLimit"
