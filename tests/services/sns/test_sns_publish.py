"""What may be published, and what the subscribers get."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from .conftest import ACCOUNT, FUNCTION, QUEUE, REGION, SnsUnderTest


async def test_the_envelope(api: SnsUnderTest) -> None:
    """A queue gets AWS's envelope: these fields in this order, with these spaces."""
    topic = await api.topic()
    subscription = await api.subscribe(topic, QUEUE + "q")
    attributes = {
        "s": {"DataType": "String", "StringValue": "é"},
        "b": {"DataType": "Binary", "BinaryValue": b"\x02\x03"},
    }
    sent = await api.publish(topic, 'a "message"', Subject="Subject", MessageAttributes=attributes)
    await api.until(lambda: bool(api.receivers.received))
    ((name, params, ctx),) = api.receivers.received
    assert (name, ctx.source_arn, ctx.principal.name) == ("q", topic, "sns.amazonaws.com")
    assert (ctx.account_id, ctx.region, ctx.source_account) == (ACCOUNT, REGION, ACCOUNT)
    assert "MessageAttributes" not in params
    assert params["MessageBody"].startswith('{\n  "Type" : "Notification",\n  "MessageId" : "')
    body = json.loads(params["MessageBody"])
    assert list(body) == [
        "Type", "MessageId", "TopicArn", "Subject", "Message", "Timestamp", "SignatureVersion", "Signature",
        "SigningCertURL", "UnsubscribeURL", "MessageAttributes",
    ]  # fmt: skip
    assert body["MessageId"] == sent["MessageId"] and body["TopicArn"] == topic
    assert (body["Subject"], body["Message"]) == ("Subject", 'a "message"')
    assert body["Timestamp"] == "2026-01-01T00:00:00.000Z"
    assert body["MessageAttributes"] == {
        "s": {"Type": "String", "Value": "é"},
        "b": {"Type": "Binary", "Value": base64.b64encode(b"\x02\x03").decode()},
    }
    assert f"/?Action=Unsubscribe&SubscriptionArn={subscription}" in body["UnsubscribeURL"]


async def test_no_subject_and_no_attributes_are_no_fields(api: SnsUnderTest) -> None:
    """Fields that would be empty are left out of the envelope."""
    topic = await api.topic()
    await api.subscribe(topic, QUEUE + "q")
    await api.publish(topic)
    await api.until(lambda: bool(api.receivers.received))
    assert not {"Subject", "MessageAttributes"} & set(api.receivers.bodies("q")[0])


async def test_raw_delivery(api: SnsUnderTest) -> None:
    """A raw subscription gets the message alone, and its attributes as the queue's own."""
    topic = await api.topic()
    await api.subscribe(topic, QUEUE + "q", RawMessageDelivery="true")
    attributes = {"n": {"DataType": "Number", "StringValue": "1.5"}, "b": {"DataType": "Binary", "BinaryValue": b"x"}}
    await api.publish(topic, "plain", MessageAttributes=attributes)
    await api.until(lambda: bool(api.receivers.received))
    (params,) = api.receivers.by("q")
    assert (params["MessageBody"], params["MessageAttributes"]) == ("plain", attributes)


async def test_a_functions_event(api: SnsUnderTest) -> None:
    """A function gets AWS's record, asynchronously, with the empty fields and the other spelling."""
    topic = await api.topic()
    subscription = await api.subscribe(topic, FUNCTION + "f", "lambda")
    await api.publish(topic)
    await api.until(lambda: bool(api.receivers.received))
    (params,) = api.receivers.by("f")
    assert params["InvocationType"] == "Event"
    (record,) = json.loads(params["Payload"])["Records"]
    sns = record.pop("Sns")
    assert record == {"EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": subscription}
    assert set(sns) == {
        "Type", "MessageId", "TopicArn", "Subject", "Message", "Timestamp", "SignatureVersion", "Signature",
        "SigningCertUrl", "UnsubscribeUrl", "MessageAttributes",
    }  # fmt: skip
    assert (sns["Subject"], sns["Message"], sns["MessageAttributes"]) == (None, "hello", {})


async def test_message_structure_json(api: SnsUnderTest) -> None:
    """Each protocol gets its own text, or the default one."""
    topic = await api.topic()
    await api.subscribe(topic, QUEUE + "q", RawMessageDelivery="true")
    await api.subscribe(topic, FUNCTION + "f", "lambda")
    await api.publish(topic, json.dumps({"default": "d", "sqs": "for queues", "http": 1}), MessageStructure="json")
    await api.until(lambda: len(api.receivers.received) == 2)
    assert api.receivers.by("q")[0]["MessageBody"] == "for queues"
    assert json.loads(api.receivers.by("f")[0]["Payload"])["Records"][0]["Sns"]["Message"] == "d"


TOO_LONG = "Invalid parameter: Message too long"
NO_DEFAULT = "Invalid parameter: Message Structure - No default entry in JSON message body"
NO_JSON = "Invalid parameter: Message Structure - JSON message body failed to parse"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"Message": ""}, "Invalid parameter: Empty message"),
        ({"Message": "x" * 262_145}, TOO_LONG),
        ({"Message": "é" * 131_073}, TOO_LONG),
        ({"Message": "x" * 262_144, "MessageAttributes": {"a": {"DataType": "String", "StringValue": "x"}}}, TOO_LONG),
        ({"Message": "x", "Subject": ""}, "Invalid parameter: Subject"),
        ({"Message": "x", "Subject": "x" * 101}, "Invalid parameter: Subject"),
        ({"Message": "x", "Subject": "a\nb"}, "Invalid parameter: Subject"),
        ({"Message": "{}", "MessageStructure": "json"}, NO_DEFAULT),
        ({"Message": '{"default": 1}', "MessageStructure": "json"}, NO_DEFAULT),
        ({"Message": "{", "MessageStructure": "json"}, NO_JSON),
        ({"Message": "[" * 100_000, "MessageStructure": "json"}, NO_JSON),
        ({"Message": "\ud800"}, "Invalid parameter: Message"),
        (
            {"Message": "x", "MessageDeduplicationId": "d"},
            "Invalid parameter: MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter"
            " that is not valid for this topic type",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_may_not_be_published(api: SnsUnderTest, params: dict[str, Any], message: str) -> None:
    """Sizes, subjects and structures are checked, in AWS's words."""
    topic = await api.topic()
    assert await api.refused("Publish", TopicArn=topic, **params) == ("InvalidParameter", message)


def _must_use(kind: str, field: str) -> str:
    return f"The message attribute 'a' with type '{kind}' must use field '{field}'."


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("a", {"DataType": "String", "StringValue": ""}, "The message attribute 'a' must contain non-empty message"
         " attribute value for message attribute type 'String'."),
        ("a", {"DataType": "String"}, "The message attribute 'a' must contain non-empty message attribute value for"
         " message attribute type 'String'."),
        ("a", {"DataType": "String", "BinaryValue": b"x"}, _must_use("String", "String")),
        ("a", {"DataType": "Number", "BinaryValue": b"x"}, _must_use("Number", "String")),
        ("a", {"DataType": "Binary", "StringValue": "x"}, _must_use("Binary", "Binary")),
        ("a", {"DataType": "Text", "StringValue": "x"}, "The message attribute 'a' has an invalid message attribute"
         " type, the set of supported type prefixes is Binary, Number, and String."),
        ("a", {"DataType": "Number", "StringValue": "x"}, "Could not cast message attribute 'a' value to number."),
        ("a" * 257, {"DataType": "String", "StringValue": "x"},
         "Length of message attribute name must be less than 256 bytes."),
        ("a^", {"DataType": "String", "StringValue": "x"}, "Invalid non-alphanumeric character '#x5E' was found in the"
         " message attribute name. Can only include alphanumeric characters, hyphens, underscores, or dots."),
        (".a", {"DataType": "String", "StringValue": "x"},
         "Invalid message attribute name starting with character '.' was found."),
        ("a.", {"DataType": "String", "StringValue": "x"},
         "Invalid message attribute name ending with character '.' was found."),
        ("a..b", {"DataType": "String", "StringValue": "x"},
         "Message attribute name can not have successive '.' character."),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
async def test_attributes_are_checked(api: SnsUnderTest, name: str, value: dict[str, Any], message: str) -> None:
    """Names, types and values of message attributes are refused with AWS's recorded texts, also in batches."""
    topic = await api.topic()
    wrong = {"Message": "x", "MessageAttributes": {name: value}}
    assert await api.refused("Publish", TopicArn=topic, **wrong) == ("ParameterValueInvalid", message)
    entries = [{"Id": "1", **wrong}]
    assert await api.refused("PublishBatch", TopicArn=topic, PublishBatchRequestEntries=entries) == (
        "ParameterValueInvalid",
        message,
    )


async def test_batches(api: SnsUnderTest) -> None:
    """A batch publishes all its entries; a batch that breaks a rule publishes none."""
    topic = await api.topic()
    await api.subscribe(topic, QUEUE + "q", RawMessageDelivery="true")
    entries = [{"Id": str(n), "Message": f"m{n}"} for n in range(10)]
    answer = await api.call("PublishBatch", TopicArn=topic, PublishBatchRequestEntries=entries)
    assert [one["Id"] for one in answer["Successful"]] == [str(n) for n in range(10)] and answer["Failed"] == []
    await api.until(lambda: len(api.receivers.received) == 10)
    assert {params["MessageBody"] for params in api.receivers.by("q")} == {f"m{n}" for n in range(10)}
    for wrong, code in [
        ([], "EmptyBatchRequest"),
        ([{"Id": str(n), "Message": "x"} for n in range(11)], "TooManyEntriesInBatchRequest"),
        ([{"Id": "1", "Message": "x"}] * 2, "BatchEntryIdsNotDistinct"),
        ([{"Id": "a b", "Message": "x"}], "InvalidBatchEntryId"),
        ([{"Id": str(n), "Message": "x" * 140_000} for n in range(2)], "BatchRequestTooLong"),
        ([{"Id": "1", "Message": "x"}, {"Id": "2", "Message": ""}], "InvalidParameter"),
    ]:
        refused = await api.refused("PublishBatch", TopicArn=topic, PublishBatchRequestEntries=wrong)
        assert refused[0] == code
    await api.idle()
    assert len(api.receivers.received) == 10


async def test_filters_on_attributes(api: SnsUnderTest) -> None:
    """A subscription gets what its filter matches: texts, numbers, arrays, presence; types of one's own are unseen."""
    topic = await api.topic()
    filters = {
        "text": {"color": ["red"]},
        "number": {"price": [{"numeric": [">=", 100]}]},
        "array": {"tags": ["b"]},
        "absent": {"color": [{"exists": False}]},
        "own": {"price": ["100"]},
    }
    for name, policy in filters.items():
        await api.subscribe(topic, QUEUE + name, RawMessageDelivery="true", FilterPolicy=json.dumps(policy))
    await api.publish(topic, "1", MessageAttributes={"color": {"DataType": "String", "StringValue": "red"}})
    await api.publish(
        topic,
        "2",
        MessageAttributes={
            "price": {"DataType": "Number", "StringValue": "100.0"},
            "tags": {"DataType": "String.Array", "StringValue": '["a", "b"]'},
        },
    )
    await api.publish(topic, "3", MessageAttributes={"price": {"DataType": "Number.int", "StringValue": "100"}})
    await api.idle()
    got = {name: sorted(params["MessageBody"] for params in api.receivers.by(name)) for name in filters}
    assert got == {"text": ["1"], "number": ["2"], "array": ["2"], "absent": ["2", "3"], "own": []}


async def test_filters_on_the_body(api: SnsUnderTest) -> None:
    """With the scope MessageBody, the filter reads the JSON of the message; what is no object matches nothing."""
    topic = await api.topic()
    await api.subscribe(
        topic,
        QUEUE + "q",
        RawMessageDelivery="true",
        FilterPolicyScope="MessageBody",
        FilterPolicy='{"order": {"state": ["paid"]}}',
    )
    for text in ('{"order": {"state": "paid"}}', '{"order": {"state": "open"}}', "paid", "[]", "[" * 50_000):
        await api.publish(topic, text)
    await api.idle()
    assert [params["MessageBody"] for params in api.receivers.by("q")] == ['{"order": {"state": "paid"}}']


@pytest.mark.slow
async def test_large_messages_are_written_once(api: SnsUnderTest) -> None:
    """A large message for many subscriptions is one row, which goes with the last delivery."""
    topic = await api.topic()
    for n in range(20):
        await api.subscribe(topic, f"{QUEUE}q{n}")
    text = "x" * 200_000
    await api.publish(topic, text, MessageAttributes={"b": {"DataType": "Binary", "BinaryValue": b"\x00"}})
    assert await api.rows("sns_parcels") == 1
    await api.idle()
    assert len(api.receivers.received) == 20
    assert all(json.loads(params["MessageBody"])["Message"] == text for _, params, _ in api.receivers.received)
    assert [await api.rows(table) for table in ("sns_parcels", "sns_parcel_users")] == [0, 0]


async def test_text_messages_and_mails_are_recorded(api: SnsUnderTest) -> None:
    """What would be sent to people is kept, bounded, and sent to nobody."""
    topic = await api.topic()
    await api.subscribe(topic, "+4915112345678", "sms")
    await api.publish(topic, "for phones")
    await api.call("Publish", PhoneNumber="+4915112345678", Message="direct")
    rows = list(api.service.recorded(ACCOUNT, REGION))
    assert [(row["protocol"], row["body"]) for row in rows] == [("sms", "direct"), ("sms", "for phones")]
    assert await api.refused("Publish", PhoneNumber="+1a234", Message="x") == (
        "InvalidParameter",
        "Invalid parameter: PhoneNumber Reason: +1a234 is not valid to publish to",
    )
    assert (await api.refused("Subscribe", TopicArn=topic, Protocol="sms", Endpoint="NAA+15551234567"))[1] == (
        "Invalid SMS endpoint: NAA+15551234567"
    )
