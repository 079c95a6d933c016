"""FIFO queues: order and blocking within groups, deduplication, receive attempts."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from alonzo.core.errors import ServiceError
from alonzo.testing.clock import settle


async def _fifo(api: Any, name: str = "q.fifo", **attributes: str) -> str:
    return str(await api.queue(name, **{"ContentBasedDeduplication": "true", **attributes}))


async def test_a_group_is_blocked_while_one_of_its_messages_is_in_flight(api: Any) -> None:
    """No message of a group is given while another is in flight; deleting it lets a waiting receiver have the next."""
    url = await _fifo(api)
    for body in ("a1", "a2", "b1"):
        await api.send(url, body, MessageGroupId=body[0])
    first = (await api.receive(url, 1))[0]
    assert first["Body"] == "a1"
    assert await api.bodies(url, 1) == ["b1"]
    waiting = asyncio.create_task(api.bodies(url, WaitTimeSeconds=20))
    await settle()
    assert not waiting.done()
    await api.delete(url, first)
    assert await asyncio.wait_for(waiting, 1) == ["a2"]


async def test_order_survives_timeouts_in_any_order(api: Any) -> None:
    """Messages that come back one by one, in the wrong order, are given in the right one, and only all together."""
    url = await _fifo(api, VisibilityTimeout="60")
    for n in range(4):
        await api.send(url, str(n), MessageGroupId="g")
    held = await api.receive(url, 3)
    assert [one["Body"] for one in held] == ["0", "1", "2"]
    for index in (1, 0):
        handle = held[index]["ReceiptHandle"]
        await api.call("ChangeMessageVisibility", QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
        assert await api.receive(url) == []
    await api.pass_time(60)
    assert await api.bodies(url) == ["0", "1", "2", "3"]


async def test_one_receive_takes_from_several_groups_in_order(api: Any) -> None:
    """Ten messages of three groups come in one answer, each group in order, with growing sequence numbers."""
    url = await _fifo(api)
    for n in range(9):
        await api.send(url, f"{'abc'[n % 3]}{n}", MessageGroupId="abc"[n % 3])
    got = await api.receive(url)
    for group in "abc":
        own = [one for one in got if one["Attributes"]["MessageGroupId"] == group]
        assert [one["Body"] for one in own] == sorted(one["Body"] for one in own)
        numbers = [one["Attributes"]["SequenceNumber"] for one in own]
        assert numbers == sorted(numbers) and {len(number) for number in numbers} == {20}
    assert len(got) == 9


async def test_deduplication_lasts_five_minutes(api: Any) -> None:
    """The same deduplication id within five minutes, even after the deletion, is accepted and delivers nothing."""
    url = await _fifo(api)
    sent = await api.send(url, "x", MessageGroupId="g", MessageDeduplicationId="d")
    await api.delete(url, (await api.receive(url))[0])
    await api.pass_time(299)
    again = await api.send(url, "y", MessageGroupId="h", MessageDeduplicationId="d")
    assert (again["MessageId"], again["SequenceNumber"]) == (sent["MessageId"], sent["SequenceNumber"])
    assert await api.receive(url) == []
    await api.pass_time(2)
    await api.send(url, "z", MessageGroupId="h", MessageDeduplicationId="d")
    assert await api.bodies(url) == ["z"]


async def test_deduplication_by_content_counts_the_body_only(api: Any) -> None:
    """With ContentBasedDeduplication equal bodies are duplicates, whatever their attributes; also in one batch."""
    url = await _fifo(api)
    entries = [
        {"Id": "1", "MessageBody": "x", "MessageGroupId": "g"},
        {
            "Id": "2",
            "MessageBody": "x",
            "MessageGroupId": "g",
            "MessageAttributes": {"a": {"DataType": "String", "StringValue": "v"}},
        },
        {"Id": "3", "MessageBody": "y", "MessageGroupId": "g"},
    ]
    result = await api.call("SendMessageBatch", QueueUrl=url, Entries=entries)
    one, two, three = (entry["MessageId"] for entry in result["Successful"])
    assert one == two != three
    assert await api.bodies(url) == ["x", "y"]


async def test_deduplication_scope_message_group(api: Any) -> None:
    """With DeduplicationScope=messageGroup the same id in another group is another message."""
    url = await _fifo(api, DeduplicationScope="messageGroup", FifoThroughputLimit="perMessageGroupId")
    for group in ("g", "h", "g"):
        await api.send(url, "x", MessageGroupId=group)
    got = await api.receive(url)
    assert sorted(one["Attributes"]["MessageGroupId"] for one in got) == ["g", "h"]


async def test_deduplication_survives_a_restart(start: Any) -> None:
    """Deduplication ids and the growth of sequence numbers outlive the process."""
    async with start() as api:
        url = await _fifo(api)
        sent = await api.send(url, "x", MessageGroupId="g")
        await api.delete(url, (await api.receive(url))[0])
    async with start() as api:
        again = await api.send(url, "x", MessageGroupId="g")
        assert again["MessageId"] == sent["MessageId"]
        other = await api.send(url, "y", MessageGroupId="g")
        assert other["SequenceNumber"] > sent["SequenceNumber"]
        assert await api.bodies(url) == ["y"]


async def test_expired_handles_are_refused(api: Any) -> None:
    """A FIFO message that is visible again cannot be deleted with its old handle."""
    url = await _fifo(api, VisibilityTimeout="5")
    await api.send(url, "x", MessageGroupId="g")
    message = (await api.receive(url))[0]
    await api.pass_time(5)
    with pytest.raises(ServiceError, match="The receipt handle has expired"):
        await api.delete(url, message)
    assert await api.bodies(url) == ["x"]


async def test_a_repeated_receive_attempt_gives_the_same_messages(api: Any) -> None:
    """The same ReceiveRequestAttemptId gives the same messages and handles again, until one is deleted."""
    url = await _fifo(api)
    for n in range(3):
        await api.send(url, str(n), MessageGroupId="g")
    first = await api.receive(url, 2, ReceiveRequestAttemptId="t")
    again = await api.receive(url, 2, ReceiveRequestAttemptId="t")
    assert first == again and len(first) == 2
    assert await api.receive(url, ReceiveRequestAttemptId="u") == []


async def test_the_queues_delay_holds_for_messages_in_it(api: Any) -> None:
    """Changing a FIFO queue's DelaySeconds changes when its waiting messages become visible."""
    url = await _fifo(api, DelaySeconds="100")
    await api.send(url, "x", MessageGroupId="g")
    await api.send(url, "y", MessageGroupId="g")
    await api.pass_time(10)
    assert await api.counts(url) == (0, 0, 2)
    await api.call("SetQueueAttributes", QueueUrl=url, Attributes={"DelaySeconds": "20"})
    assert await api.counts(url) == (0, 0, 2)
    await api.pass_time(10)
    assert await api.bodies(url) == ["x", "y"]


async def test_dead_letters_of_a_group_let_the_rest_pass(api: Any) -> None:
    """A message moved to the dead-letter queue no longer blocks its group, and keeps its group there."""
    dead = await _fifo(api, "dead.fifo")
    policy = json.dumps({"deadLetterTargetArn": await api.arn(dead), "maxReceiveCount": 1})
    url = await _fifo(api, VisibilityTimeout="5", RedrivePolicy=policy)
    await api.send(url, "bad", MessageGroupId="g")
    await api.send(url, "good", MessageGroupId="g")
    assert await api.bodies(url, 1) == ["bad"]
    await api.pass_time(5)
    assert await api.bodies(url, 1) == ["good"]
    message = (await api.receive(dead))[0]
    assert message["Body"] == "bad" and message["Attributes"]["MessageGroupId"] == "g"


async def test_many_groups_leave_nothing_behind(api: Any) -> None:
    """When all is received and deleted, memory holds neither entries nor groups."""
    url = await _fifo(api, DelaySeconds="1")
    for n in range(50):
        await api.send(url, str(n), MessageGroupId=f"g{n % 20}")
    await api.pass_time(1)
    while got := await api.receive(url):
        for message in got:
            await api.delete(url, message)
    index = api.service.handlers["SendMessage"].args[0].queues.all()[0].index
    assert await api.counts(url) == (0, 0, 0)
    assert (index.entries, index._groups, index._timed, index.indexed) == ({}, {}, [], 0)


async def test_a_deep_fifo_queue_keeps_its_order(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the index's window messages are found on disk, in order."""
    monkeypatch.setattr("alonzo.services.sqs.index.FifoIndex.window", 20)
    monkeypatch.setattr("alonzo.services.sqs.live.REFILL", 7)
    url = await _fifo(api)
    for n in range(100):
        await api.send(url, str(n), MessageGroupId=f"g{n % 3}")
    got: list[str] = []
    while found := await api.receive(url):
        got += [one["Body"] for one in found]
        for message in found:
            await api.delete(url, message)
    assert len(got) == 100
    for group in range(3):
        own = [int(body) for body in got if int(body) % 3 == group]
        assert own == sorted(own)


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        ({}, "MissingRequiredParameterException", "The request must contain the parameter MessageGroupId."),
        ({"MessageGroupId": "g", "DelaySeconds": 1}, "InvalidParameterValueException", "Value 1 for parameter Delay"),
        ({"MessageGroupId": "g h"}, "InvalidParameterValueException", "alphanumeric and punctuation characters"),
        ({"MessageGroupId": "g", "MessageDeduplicationId": "x" * 129}, "InvalidParameterValueException", "1 to 128"),
    ],
)
async def test_what_fifo_messages_need(api: Any, params: dict[str, Any], code: str, text: str) -> None:
    """Messages of FIFO queues need a group, no delay of their own, and proper ids."""
    url = await _fifo(api)
    with pytest.raises(ServiceError) as error:
        await api.send(url, "x", **params)
    assert error.value.code == code and text in error.value.message


async def test_without_content_deduplication_an_id_is_needed(api: Any) -> None:
    """A FIFO queue without ContentBasedDeduplication refuses messages without a deduplication id."""
    url = await api.queue("plain.fifo")
    with pytest.raises(ServiceError, match="should either have ContentBasedDeduplication enabled"):
        await api.send(url, "x", MessageGroupId="g")
