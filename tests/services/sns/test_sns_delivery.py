"""Deliveries that fail, retries, dead letters, order."""

from __future__ import annotations

import asyncio
import json

import pytest

from alonzo.core.errors import ServiceError
from alonzo.services.sns.retries import DEFAULT, aws_delay_s, http_delay_s

from .conftest import FUNCTION, QUEUE, SnsUnderTest

DENIED = ServiceError("AccessDenied", "no", status=403)
BROKEN = ServiceError("InternalError", "try again", status=500)


def _redrive(name: str) -> str:
    return json.dumps({"deadLetterTargetArn": QUEUE + name})


async def test_what_will_not_pass_goes_to_the_dead_letter_queue_at_once(api: SnsUnderTest) -> None:
    """A queue that refuses is asked once; the message goes to the subscription's dead-letter queue as it was."""
    topic = await api.topic()
    await api.subscribe(topic, QUEUE + "q", RedrivePolicy=_redrive("dead"))
    await api.subscribe(topic, QUEUE + "fine")
    api.receivers.errors["q"] = [DENIED]
    sent = await api.publish(topic)
    await api.idle()
    assert sorted(api.receivers.attempts) == ["dead", "fine", "q"]
    (dead,) = api.receivers.bodies("dead")
    assert dead["MessageId"] == sent["MessageId"] and "/?Action=Unsubscribe" in dead["UnsubscribeURL"]
    (ctx,) = [ctx for name, _, ctx in api.receivers.received if name == "dead"]
    assert (ctx.principal.name, ctx.source_arn) == ("sns.amazonaws.com", topic)


async def test_raw_dead_letters_keep_their_attributes(api: SnsUnderTest) -> None:
    """The dead letter of a raw subscription is the message alone with its attributes."""
    topic = await api.topic()
    await api.subscribe(topic, QUEUE + "q", RawMessageDelivery="true", RedrivePolicy=_redrive("dead"))
    api.receivers.errors["q"] = [DENIED]
    attributes = {"n": {"DataType": "Number", "StringValue": "1"}}
    await api.publish(topic, "raw", MessageAttributes=attributes)
    await api.idle()
    (dead,) = api.receivers.by("dead")
    assert (dead["MessageBody"], dead["MessageAttributes"]) == ("raw", attributes)


async def test_the_dead_letter_of_a_function_is_an_envelope(api: SnsUnderTest) -> None:
    """What a function could not be given lies in the queue as a queue's envelope."""
    topic = await api.topic()
    await api.subscribe(topic, FUNCTION + "f", "lambda", RedrivePolicy=_redrive("dead"))
    api.receivers.errors["f"] = [ServiceError("ResourceNotFoundException", "gone", status=404)]
    await api.publish(topic, MessageAttributes={"n": {"DataType": "Number", "StringValue": "1"}})
    await api.idle()
    (dead,) = api.receivers.bodies("dead")
    assert (dead["Type"], dead["Message"]) == ("Notification", "hello")
    assert "SigningCertURL" in dead and "UnsubscribeURL" in dead and "Subject" not in dead
    assert dead["MessageAttributes"] == {"n": {"Type": "Number", "Value": "1"}}


@pytest.mark.slow
async def test_what_may_pass_is_tried_again(api: SnsUnderTest) -> None:
    """A failing service is asked three times at once, then every second, and the message arrives."""
    topic = await api.topic()
    await api.subscribe(topic, QUEUE + "q")
    api.receivers.errors["q"] = [BROKEN] * 4
    await api.publish(topic)
    async with asyncio.timeout(5):
        while len(api.receivers.attempts) < 4:
            await api.retrying()
            await api.clock.advance(0.0015)
    await api.retrying()
    await api.clock.advance(0.9)
    assert len(api.receivers.attempts) == 4 and not api.receivers.received
    await api.clock.advance(0.11)
    await api.idle()
    assert len(api.receivers.by("q")) == 1


async def test_nobody_waits_for_a_deleted_subscription(api: SnsUnderTest) -> None:
    """A message whose subscription ends while it is retried is dropped."""
    topic = await api.topic()
    subscription = await api.subscribe(topic, QUEUE + "q", RedrivePolicy=_redrive("dead"))
    api.receivers.errors["q"] = [BROKEN] * 100
    await api.publish(topic)
    await api.retrying()
    await api.call("Unsubscribe", SubscriptionArn=subscription)
    await api.clock.advance(0.01)
    await api.idle()
    assert not api.receivers.received


@pytest.mark.slow
async def test_a_broken_receiver_holds_up_no_other(api: SnsUnderTest) -> None:
    """While one queue fails, the other subscriptions of the topic get every message."""
    topic = await api.topic()
    await api.subscribe(topic, QUEUE + "broken")
    await api.subscribe(topic, QUEUE + "fine")
    api.receivers.errors["broken"] = [BROKEN] * 10_000
    for n in range(50):
        await api.publish(topic, str(n))
    await api.until(lambda: len(api.receivers.by("fine")) == 50)


# -- FIFO -------------------------------------------------------------------------------------------------------------


async def test_fifo_messages(api: SnsUnderTest) -> None:
    """A FIFO queue gets group and deduplication id; the envelope has a sequence number and no signature."""
    topic = await api.fifo(ContentBasedDeduplication="true")
    await api.subscribe(topic, QUEUE + "q.fifo")
    sent = await api.publish(topic, "Test", MessageGroupId="g")
    assert len(sent["SequenceNumber"]) == 20
    await api.idle()
    (params,) = api.receivers.by("q.fifo")
    assert params["MessageGroupId"] == "g"
    assert params["MessageDeduplicationId"] == "532eaabd9574880dbf76b9b8cc00832c20a6ec113d682299550d7a6e0f345e25"
    body = json.loads(params["MessageBody"])
    assert list(body) == [
        "Type", "MessageId", "SequenceNumber", "TopicArn", "Message", "Timestamp", "UnsubscribeURL"
    ]  # fmt: skip
    assert body["SequenceNumber"] == sent["SequenceNumber"]


@pytest.mark.slow
async def test_fifo_deduplication(api: SnsUnderTest) -> None:
    """The same deduplication id within five minutes is answered like the first time, and delivered once."""
    topic = await api.fifo()
    await api.subscribe(topic, QUEUE + "q.fifo")
    first = await api.publish(topic, "a", MessageGroupId="g", MessageDeduplicationId="d")
    assert await api.publish(topic, "b", MessageGroupId="h", MessageDeduplicationId="d") == first
    await api.clock.advance(301)
    third = await api.publish(topic, "c", MessageGroupId="g", MessageDeduplicationId="d")
    assert third["SequenceNumber"] > first["SequenceNumber"]
    await api.idle()
    assert [body["Message"] for body in api.receivers.bodies("q.fifo")] == ["a", "c"]
    assert [await api.rows(table) for table in ("sns_recent", "sns_outbox")] == [1, 0]


async def test_deduplication_by_group(api: SnsUnderTest) -> None:
    """With the throughput scope MessageGroup, ids are compared within their group."""
    topic = await api.fifo(FifoThroughputScope="MessageGroup")
    first = await api.publish(topic, MessageGroupId="g", MessageDeduplicationId="d")
    assert await api.publish(topic, MessageGroupId="g", MessageDeduplicationId="d") == first
    assert await api.publish(topic, MessageGroupId="h", MessageDeduplicationId="d") != first


@pytest.mark.slow
async def test_fifo_order_survives_failures(api: SnsUnderTest) -> None:
    """While the head of a group fails, nothing of that group overtakes it, and other groups go on."""
    topic = await api.fifo(ContentBasedDeduplication="true")
    await api.subscribe(topic, QUEUE + "q.fifo", RawMessageDelivery="true")
    api.receivers.errors["q.fifo"] = [BROKEN]
    for n in range(30):
        await api.publish(topic, f"g{n}", MessageGroupId="g")
        await api.publish(topic, f"h{n}", MessageGroupId="h")
    for _ in range(20):
        await api.clock.advance(0.5)
        if not await api.queue.list_jobs():
            break
    await api.idle()
    got = [params["MessageBody"] for params in api.receivers.by("q.fifo")]
    assert [one for one in got if one[0] == "g"] == [f"g{n}" for n in range(30)]
    assert [one for one in got if one[0] == "h"] == [f"h{n}" for n in range(30)]


async def test_fifo_dead_letters_make_way(api: SnsUnderTest) -> None:
    """A message that cannot be delivered goes to the FIFO dead-letter queue, and the next one is delivered."""
    topic = await api.fifo(ContentBasedDeduplication="true")
    await api.subscribe(topic, QUEUE + "q.fifo", RedrivePolicy=_redrive("dead.fifo"))
    api.receivers.errors["q.fifo"] = [DENIED]
    await api.publish(topic, "1", MessageGroupId="g")
    await api.publish(topic, "2", MessageGroupId="g")
    await api.idle()
    (dead,) = api.receivers.by("dead.fifo")
    assert (dead["MessageGroupId"], json.loads(dead["MessageBody"])["Message"]) == ("g", "1")
    assert [body["Message"] for body in api.receivers.bodies("q.fifo")] == ["2"]


async def test_fifo_to_a_standard_queue(api: SnsUnderTest) -> None:
    """A standard queue may be subscribed to a FIFO topic; it gets neither group nor deduplication id."""
    topic = await api.fifo(ContentBasedDeduplication="true")
    await api.subscribe(topic, QUEUE + "q")
    await api.publish(topic, MessageGroupId="g")
    await api.idle()
    assert not {"MessageGroupId", "MessageDeduplicationId"} & set(api.receivers.by("q")[0])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "Invalid parameter: The MessageGroupId parameter is required for FIFO topics"),
        (
            {"MessageGroupId": "g"},
            "Invalid parameter: The topic should either have ContentBasedDeduplication enabled or"
            " MessageDeduplicationId provided explicitly",
        ),
    ],
)
async def test_fifo_parameters(api: SnsUnderTest, params: dict[str, str], message: str) -> None:
    """FIFO topics ask for what they need, in AWS's words."""
    topic = await api.fifo()
    assert await api.refused("Publish", TopicArn=topic, Message="x", **params) == ("InvalidParameter", message)


# -- the schedules ----------------------------------------------------------------------------------------------------


def test_the_schedule_of_awss_own_services() -> None:
    """Three attempts at once, two after a second, ten that back off to twenty seconds, then every twenty seconds."""
    delays = [aws_delay_s(n, 0.0) for n in range(1, 20)]
    assert delays[:5] == [0, 0, 0, 1, 1]
    assert delays[5:15] == sorted(delays[5:15], key=lambda value: value or 0) and delays[14] == pytest.approx(20)
    assert delays[15:] == [20] * 4
    assert aws_delay_s(5, 21_601) is None


def test_the_schedules_of_http_endpoints() -> None:
    """The default is three retries after twenty seconds each; the four phases come in their order."""
    assert [http_delay_s(DEFAULT, n) for n in range(1, 5)] == [20, 20, 20, None]
    policy = {
        **DEFAULT, "minDelayTarget": 1, "maxDelayTarget": 60, "numRetries": 10, "numNoDelayRetries": 2,
        "numMinDelayRetries": 2, "numMaxDelayRetries": 2,
    }  # fmt: skip
    for function in ("linear", "arithmetic", "geometric", "exponential"):
        delays = [http_delay_s({**policy, "backoffFunction": function}, n) for n in range(1, 12)]
        assert delays[:4] == [0, 0, 1, 1] and delays[8:] == [60, 60, None]
        middle = [value or 0 for value in delays[4:8]]
        assert middle == sorted(middle) and middle[-1] == pytest.approx(60) and middle[0] > 1
