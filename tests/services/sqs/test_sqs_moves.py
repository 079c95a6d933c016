"""Message move tasks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from alonzo.core.errors import ServiceError


async def _dead_letters(api: Any, count: int) -> tuple[str, str]:
    """A source and its dead-letter queue with messages."""
    dead = await api.queue("dead")
    policy = json.dumps({"deadLetterTargetArn": await api.arn(dead), "maxReceiveCount": 1})
    url = await api.queue("source", VisibilityTimeout="0", RedrivePolicy=policy)
    for n in range(count):
        await api.send(url, str(n))
    while await api.receive(url):
        pass
    assert (await api.counts(dead))[0] == count
    return url, dead


async def _tasks(api: Any, dead: str, count: int = 1) -> list[dict[str, Any]]:
    arn = await api.arn(dead)
    return list((await api.call("ListMessageMoveTasks", SourceArn=arn, MaxResults=count))["Results"])


async def test_dead_letters_go_back_to_their_source(api: Any) -> None:
    """Without a destination each message returns as a new one to the queue that it came from."""
    url, dead = await _dead_letters(api, 3)
    await api.call("StartMessageMoveTask", SourceArn=await api.arn(dead))
    await api.pass_time(2)
    task = (await _tasks(api, dead))[0]
    assert task["Status"] == "COMPLETED" and task["ApproximateNumberOfMessagesMoved"] == 3
    assert await api.counts(dead) == (0, 0, 0)
    got = await api.receive(url)
    assert sorted(one["Body"] for one in got) == ["0", "1", "2"]
    assert {one["Attributes"]["ApproximateReceiveCount"] for one in got} == {"1"}
    assert not any("DeadLetterQueueSourceArn" in one["Attributes"] for one in got)


async def test_a_task_keeps_its_rate_and_can_be_cancelled(api: Any) -> None:
    """MaxNumberOfMessagesPerSecond is kept; a cancelled task moves nothing more; one task at a time."""
    _, dead = await _dead_letters(api, 30)
    other = await api.queue("other")
    arn, target = await api.arn(dead), await api.arn(other)
    params = {"SourceArn": arn, "DestinationArn": target, "MaxNumberOfMessagesPerSecond": 5}
    handle = (await api.call("StartMessageMoveTask", **params))["TaskHandle"]
    with pytest.raises(ServiceError, match="There is already a task running"):
        await api.call("StartMessageMoveTask", SourceArn=arn)
    for _ in range(8):
        await api.pass_time(0.25)
    moved = (await api.counts(other))[0]
    assert 5 <= moved <= 11
    assert (await _tasks(api, dead))[0]["TaskHandle"] == handle
    await api.call("CancelMessageMoveTask", TaskHandle=handle)
    for _ in range(8):
        await api.pass_time(0.25)
    assert (await api.counts(other))[0] <= moved + 1
    task = (await _tasks(api, dead))[0]
    assert task["Status"] == "CANCELLED" and "TaskHandle" not in task
    with pytest.raises(ServiceError, match="Only active tasks can be cancelled"):
        await api.call("CancelMessageMoveTask", TaskHandle=handle)


async def test_a_task_goes_on_after_a_restart(start: Any) -> None:
    """A task that was running when the server ended is finished by the next one."""
    async with start() as api:
        url, dead = await _dead_letters(api, 20)
        await api.call("StartMessageMoveTask", SourceArn=await api.arn(dead), MaxNumberOfMessagesPerSecond=5)
        await api.pass_time(0.3)
        before = (await api.counts(url))[0]
        assert 0 < before < 20
    async with start() as api:
        for _ in range(30):
            await api.pass_time(0.25)
        assert (await api.counts(url))[0] == 20
        assert (await _tasks(api, dead))[0]["Status"] == "COMPLETED"


async def test_messages_without_a_source_fail_the_task(api: Any) -> None:
    """A message that was sent to the dead-letter queue directly has nowhere to go back to, and stays."""
    _, dead = await _dead_letters(api, 0)
    await api.send(dead, "direct")
    await api.call("StartMessageMoveTask", SourceArn=await api.arn(dead))
    await api.pass_time(1)
    task = (await _tasks(api, dead))[0]
    assert (task["Status"], task["FailureReason"]) == ("FAILED", "CouldNotDetermineMessageSource")
    assert await api.bodies(dead) == ["direct"]


async def test_what_a_task_needs(api: Any) -> None:
    """The source must be somebody's dead-letter queue, the destination be there, the rate from 1 to 500."""
    url, dead = await _dead_letters(api, 0)
    arn, plain = await api.arn(dead), await api.arn(url)
    for params, text in (
        ({"SourceArn": plain}, "Source queue must be configured as a Dead Letter Queue."),
        ({"SourceArn": plain + "x"}, "SourceArn parameter doesn't exist"),
        ({"SourceArn": "x"}, "You must use this format to specify the SourceArn"),
        ({"SourceArn": arn, "DestinationArn": plain + "x"}, "DestinationArn parameter doesn't exist"),
        ({"SourceArn": arn, "DestinationArn": arn}, "must be different"),
        ({"SourceArn": arn, "MaxNumberOfMessagesPerSecond": 501}, "between 1 and 500"),
        ({"SourceArn": arn, "MaxNumberOfMessagesPerSecond": 0}, "between 1 and 500"),
    ):
        with pytest.raises(ServiceError, match=text):
            await api.call("StartMessageMoveTask", **params)
    for handle in ("x", "é", "bnVsbA==", "eyJ0YXNrSWQiOiAxfQ=="):
        with pytest.raises(ServiceError, match="TaskHandle"):
            await api.call("CancelMessageMoveTask", TaskHandle=handle)
