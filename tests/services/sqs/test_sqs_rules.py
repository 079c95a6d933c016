"""What is refused, and in which words."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from alonzo.core.errors import ServiceError
from alonzo.services.sqs.message_attributes import forbidden

INVALID = "InvalidParameterValueException"


async def _refused(call: Any, code: str, text: str) -> None:
    with pytest.raises(ServiceError) as error:
        await call
    assert error.value.code == code
    assert text in error.value.message


@pytest.mark.parametrize("name", ["", "a b", "x" * 81, "é", "a.b", "x" * 76 + ".fifo", "q\n"])
async def test_queue_names(api: Any, name: str) -> None:
    """Names are 1 to 80 letters, digits, hyphens and underscores."""
    text = "Can only include alphanumeric" if name else "Queue name cannot be empty"
    await _refused(api.call("CreateQueue", QueueName=name), INVALID, text)


@pytest.mark.parametrize(
    ("attributes", "code", "text"),
    [
        ({"VisibilityTimeout": "43201"}, "InvalidAttributeValue", "Invalid value for the parameter VisibilityTimeout."),
        ({"VisibilityTimeout": "-1"}, "InvalidAttributeValue", "VisibilityTimeout"),
        ({"VisibilityTimeout": "9" * 5000}, "InvalidAttributeValue", "VisibilityTimeout"),
        ({"DelaySeconds": "901"}, "InvalidAttributeValue", "DelaySeconds"),
        ({"MaximumMessageSize": "1023"}, "InvalidAttributeValue", "MaximumMessageSize"),
        ({"MaximumMessageSize": "1048577"}, "InvalidAttributeValue", "MaximumMessageSize"),
        ({"MessageRetentionPeriod": "59"}, "InvalidAttributeValue", "MessageRetentionPeriod"),
        ({"ReceiveMessageWaitTimeSeconds": "x"}, "InvalidAttributeValue", "ReceiveMessageWaitTimeSeconds"),
        ({"Policy": "{"}, "InvalidAttributeValue", "Policy"),
        ({"Policy": '{"Statement": []}'}, "InvalidAttributeValue", "Policy"),
        ({"Nonsense": "1"}, "InvalidAttributeName", "Unknown Attribute Nonsense."),
        ({"QueueArn": "x"}, "InvalidAttributeName", "Unknown Attribute QueueArn."),
        ({"All": "x"}, "InvalidAttributeName", "Unknown Attribute All."),
        ({"FifoQueue": "false"}, "InvalidAttributeName", "Unknown Attribute FifoQueue."),
        ({"ContentBasedDeduplication": "true"}, "InvalidAttributeName", "Unknown Attribute ContentBasedDeduplication."),
        ({"FifoQueue": "true"}, INVALID, "must end with .fifo suffix"),
        ({"RedrivePolicy": "[]"}, INVALID, "Redrive policy is not a valid JSON map."),
        ({"RedrivePolicy": "[" * 4000}, INVALID, "Redrive policy is not a valid JSON map."),
        ({"RedrivePolicy": "{}"}, INVALID, "does not contain mandatory attribute: maxReceiveCount."),
        ({"RedriveAllowPolicy": '{"redrivePermission": "some"}'}, INVALID, "redrivePermission is not valid"),
        ({"RedriveAllowPolicy": '{"redrivePermission": "byQueue"}'}, INVALID, "from 1 to 10 queues"),
    ],
)
async def test_attribute_values(api: Any, attributes: dict[str, str], code: str, text: str) -> None:
    """Every attribute has its range, and unknown ones are named."""
    await _refused(api.call("CreateQueue", QueueName="q", Attributes=attributes), code, text)


@pytest.mark.parametrize(
    ("count", "target", "text"),
    [
        (0, "dead", "Invalid value for maxReceiveCount: 0, valid values are from 1 to 1000 both inclusive."),
        (1001, "dead", "Invalid value for maxReceiveCount: 1001"),
        (True, "dead", "Invalid value for maxReceiveCount"),
        (1, "none", "Dead letter target does not exist."),
        (1, "dead.fifo", "Dead-letter queue must be same type of queue as the source."),
        (1, "closed", "does not allow this queue"),
    ],
)
async def test_redrive_targets(api: Any, count: int, target: str, text: str) -> None:
    """A dead-letter queue must exist, be of the same type, and allow its sources."""
    dead = await api.arn(await api.queue("dead"))
    await api.queue("dead.fifo")
    await api.queue("closed", RedriveAllowPolicy='{"redrivePermission": "denyAll"}')
    policy = {"deadLetterTargetArn": dead.removesuffix("dead") + target, "maxReceiveCount": count}
    await _refused(api.queue(RedrivePolicy=json.dumps(policy)), INVALID, text)


async def test_creating_twice(api: Any) -> None:
    """CreateQueue again with the same attributes gives the same URL; with others it is refused, naming one."""
    url = await api.queue(VisibilityTimeout="5")
    assert await api.queue(VisibilityTimeout="5") == await api.queue() == url
    await _refused(
        api.queue(VisibilityTimeout="6"),
        "QueueNameExists",
        "A queue already exists with the same name and a different value for attribute VisibilityTimeout",
    )


async def test_attributes_are_shown_and_changed(api: Any) -> None:
    """Defaults are shown, changes replace them, and an empty policy removes it."""
    dead = await api.queue("dead")
    url = await api.queue()
    shown = await api.attributes(url)
    assert shown["MaximumMessageSize"] == "1048576" and shown["MessageRetentionPeriod"] == "345600"
    assert "RedrivePolicy" not in shown and "FifoQueue" not in shown
    policy = json.dumps({"deadLetterTargetArn": await api.arn(dead), "maxReceiveCount": "7"})
    await api.pass_time(10)
    await api.call("SetQueueAttributes", QueueUrl=url, Attributes={"RedrivePolicy": policy, "KmsMasterKeyId": "k"})
    changed = await api.attributes(url)
    assert json.loads(changed["RedrivePolicy"])["maxReceiveCount"] == 7
    assert (changed["KmsDataKeyReusePeriodSeconds"], changed["SqsManagedSseEnabled"]) == ("300", "false")
    assert int(changed["LastModifiedTimestamp"]) == int(changed["CreatedTimestamp"]) + 10
    await api.call("SetQueueAttributes", QueueUrl=url, Attributes={"RedrivePolicy": ""})
    assert "RedrivePolicy" not in await api.attributes(url)
    asked = await api.call("GetQueueAttributes", QueueUrl=url, AttributeNames=["DelaySeconds", "Policy"])
    assert asked == {"Attributes": {"DelaySeconds": "0"}}
    await _refused(
        api.call("GetQueueAttributes", QueueUrl=url, AttributeNames=["x"]), "InvalidAttributeName", "Unknown Attribute"
    )


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"MaxNumberOfMessages": 11}, "Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between"),
        ({"MaxNumberOfMessages": 0}, "Value 0 for parameter MaxNumberOfMessages"),
        ({"WaitTimeSeconds": 21}, "Value 21 for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20"),
        ({"VisibilityTimeout": -1}, "Value -1 for parameter VisibilityTimeout"),
        ({"ReceiveRequestAttemptId": "a"}, "not valid for this queue type"),
    ],
)
async def test_receive_parameters(api: Any, params: dict[str, Any], text: str) -> None:
    """ReceiveMessage checks its numbers."""
    url = await api.queue()
    await _refused(api.call("ReceiveMessage", QueueUrl=url, **params), INVALID, text)


def _attribute(data_type: str = "String", **value: Any) -> dict[str, Any]:
    return {"DataType": data_type, **(value or {"StringValue": "v"})}


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        ({"MessageBody": ""}, "MissingRequiredParameterException", "must contain the parameter MessageBody"),
        ({"MessageBody": "a\x00"}, "InvalidMessageContents", "Invalid characters found"),
        ({"MessageBody": "a\ud800"}, "InvalidMessageContents", "Invalid characters found"),
        ({"MessageBody": "\ufffe"}, "InvalidMessageContents", "Invalid characters found"),
        ({"MessageBody": "x" * 1025}, INVALID, "Reason: Message must be shorter than 1024 bytes."),
        ({"MessageBody": "é" * 513}, INVALID, "Message must be shorter than 1024 bytes."),
        ({"DelaySeconds": 901}, INVALID, "Value 901 for parameter DelaySeconds is invalid."),
        ({"MessageDeduplicationId": "d"}, INVALID, "not valid for this queue type"),
        (
            {"MessageAttributes": {f"a{n}": _attribute() for n in range(11)}},
            INVALID,
            "Number of message attributes [11] exceeds the allowed maximum [10].",
        ),
        ({"MessageAttributes": {f"a{n}": _attribute() for n in range(10_000)}}, INVALID, "[10000] exceeds"),
        ({"MessageAttributes": {"": _attribute()}}, INVALID, "Invalid attribute name"),
        ({"MessageAttributes": {"aws.x": _attribute()}}, INVALID, "reserved for internal use"),
        ({"MessageAttributes": {"a..b": _attribute()}}, INVALID, "successive periods"),
        ({"MessageAttributes": {"\ud800": _attribute()}}, INVALID, "Invalid attribute name"),
        ({"MessageAttributes": {"a": _attribute("Float")}}, INVALID, "invalid message attribute type"),
        ({"MessageAttributes": {"a": _attribute("")}}, INVALID, "non-empty message attribute type"),
        ({"MessageAttributes": {"a": _attribute("String.\ud800")}}, "InvalidMessageContents", "Invalid characters"),
        ({"MessageAttributes": {"a": _attribute("Binary")}}, INVALID, "non-empty message attribute value"),
        ({"MessageAttributes": {"a": _attribute("Number")}}, INVALID, "to a number"),
        ({"MessageAttributes": {"a": _attribute("Number", StringValue="1" * 900 + "e")}}, INVALID, "to a number"),
        ({"MessageAttributes": {"a": _attribute(StringValue="\x01")}}, "InvalidMessageContents", "Invalid characters"),
        ({"MessageAttributes": {"a": _attribute(StringListValues=["v"])}}, INVALID, "list values"),
        ({"MessageAttributes": {"a": _attribute(StringValue="x" * 1024)}}, INVALID, "shorter than 1024 bytes"),
        ({"MessageSystemAttributes": {"Other": _attribute()}}, INVALID, "AWSTraceHeader"),
        ({"MessageSystemAttributes": {"AWSTraceHeader": _attribute("Binary", BinaryValue=b"x")}}, INVALID, "String"),
    ],
)
async def test_messages_that_are_refused(api: Any, params: dict[str, Any], code: str, text: str) -> None:
    """What breaks the rules of bodies, sizes and attributes gets AWS's error, alone or in a batch; nothing is sent."""
    url = await api.queue(MaximumMessageSize="1024")
    entry = {"MessageBody": "ok", **params}
    await _refused(api.call("SendMessage", QueueUrl=url, **entry), code, text)
    entries = [{"Id": "bad", **entry}, {"Id": "good", "MessageBody": "fine"}]
    result = await api.call("SendMessageBatch", QueueUrl=url, Entries=entries)
    assert [one["Id"] for one in result["Successful"]] == ["good"]
    failed = result["Failed"][0]
    assert failed["Id"] == "bad" and failed["SenderFault"] is True and text in failed["Message"]
    assert failed["Code"] in ("MissingParameter", "InvalidParameterValue", "InvalidMessageContents")
    assert await api.bodies(url) == ["fine"]


@pytest.mark.parametrize(
    ("entries", "code", "text"),
    [
        ([], "EmptyBatchRequest", "There should be at least one SendMessageBatchRequestEntry in the request."),
        (["a"] * 11, "TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10. You have sent 11."),
        (["a"] * 100_000, "TooManyEntriesInBatchRequest", "You have sent 100000."),
        (["a", "a"], "BatchEntryIdsNotDistinct", "Id a repeated."),
        (["a b"], "InvalidBatchEntryId", "can only contain alphanumeric characters"),
        (["x" * 81], "InvalidBatchEntryId", "at most 80 letters"),
        ([""], "InvalidBatchEntryId", "can only contain"),
    ],
)
async def test_batches_that_are_refused(api: Any, entries: list[str], code: str, text: str) -> None:
    """A batch has one to ten entries with distinct, proper ids."""
    url = await api.queue()
    batch = [{"Id": one, "MessageBody": "x"} for one in entries]
    await _refused(api.call("SendMessageBatch", QueueUrl=url, Entries=batch), code, text)


async def test_a_batch_is_limited_as_a_whole(api: Any) -> None:
    """All messages of a batch together may have a mebibyte, attributes included."""
    url = await api.queue()
    half = [{"Id": str(n), "MessageBody": "x" * 600_000} for n in range(2)]
    text = "Batch requests cannot be longer than 1048576 bytes. You have sent 1200000 bytes."
    await _refused(api.call("SendMessageBatch", QueueUrl=url, Entries=half), "BatchRequestTooLong", text)
    for entry in half:
        entry["MessageBody"] = "x" * 500_000
        entry["MessageAttributes"] = {"a": _attribute("Binary", BinaryValue=b"y" * 100_000)}
    await _refused(api.call("SendMessageBatch", QueueUrl=url, Entries=half), "BatchRequestTooLong", "have sent 12000")
    whole = [{"Id": "1", "MessageBody": "x" * 1_048_576}]
    assert len((await api.call("SendMessageBatch", QueueUrl=url, Entries=whole))["Successful"]) == 1


@pytest.mark.parametrize("handle", ["x", "AQEB" * 20, "é", "=", "A" * 100_000, "\x00"])
async def test_forged_receipt_handles(api: Any, handle: str) -> None:
    """What is no receipt handle of this queue deletes nothing and is refused, alone and in batches."""
    url = await api.queue()
    await api.send(url)
    delete = api.call("DeleteMessage", QueueUrl=url, ReceiptHandle=handle)
    await _refused(delete, "ReceiptHandleIsInvalid", "is not a valid receipt handle")
    entries = [{"Id": "1", "ReceiptHandle": handle, "VisibilityTimeout": 0}]
    for operation in ("DeleteMessageBatch", "ChangeMessageVisibilityBatch"):
        result = await api.call(operation, QueueUrl=url, Entries=entries)
        assert [one["Code"] for one in result["Failed"]] == ["ReceiptHandleIsInvalid"]
    assert await api.bodies(url) == ["hello"]


async def test_handles_of_other_queues(api: Any) -> None:
    """A receipt handle is worth nothing at another queue."""
    url, other = await api.queue("a"), await api.queue("b")
    await api.send(url)
    message = (await api.receive(url))[0]
    await _refused(api.delete(other, message), "ReceiptHandleIsInvalid", "is not a valid receipt handle")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://localhost/123456789012/none", "QueueDoesNotExist"),
        ("", "MissingRequiredParameterException"),
        ("q", "InvalidAddress"),
        ("http://localhost/x/q", "InvalidAddress"),
        ("http://[/123456789012/q", "InvalidAddress"),
        ("x" * 10_000, "InvalidAddress"),
    ],
)
async def test_queue_urls_that_are_none(api: Any, url: str, code: str) -> None:
    """A QueueUrl names an account and a queue that is there."""
    await _refused(api.call("ReceiveMessage", QueueUrl=url), code, "")


async def test_queue_urls_of_any_host(api: Any) -> None:
    """Any host will do in a QueueUrl; `sqs.REGION.…` says the region."""
    await api.queue()
    for host in ("http://localhost:1", "https://sqs.eu-central-1.amazonaws.com", "http://sqs.eu-central-1.localhost:9"):
        await api.send(f"{host}/123456789012/q")
    await _refused(api.send("http://sqs.us-west-2.localhost/123456789012/q"), "QueueDoesNotExist", "does not exist")


async def test_tags(api: Any) -> None:
    """Tags are added, replaced and removed; there are at most fifty."""
    url = (await api.call("CreateQueue", QueueName="q", tags={"a": "1"}))["QueueUrl"]
    await api.call("TagQueue", QueueUrl=url, Tags={"a": "2", "b": "3"})
    await api.call("UntagQueue", QueueUrl=url, TagKeys=["b", "c"])
    assert await api.call("ListQueueTags", QueueUrl=url) == {"Tags": {"a": "2"}}
    many = {f"k{n}": "" for n in range(50)}
    await _refused(api.call("TagQueue", QueueUrl=url, Tags=many), INVALID, "Too many tags")


async def test_listing_queues_in_pages(api: Any) -> None:
    """ListQueues gives names with a prefix, in pages when MaxResults asks for them."""
    for n in range(5):
        await api.queue(f"a{n}")
    await api.queue("b")
    first = await api.call("ListQueues", QueueNamePrefix="a", MaxResults=3)
    rest = await api.call("ListQueues", QueueNamePrefix="a", MaxResults=3, NextToken=first["NextToken"])
    assert [url[-2:] for url in first["QueueUrls"] + rest["QueueUrls"]] == ["a0", "a1", "a2", "a3", "a4"]
    assert "NextToken" not in rest
    assert await api.call("ListQueues", QueueNamePrefix="zzz") == {}
    await _refused(api.call("ListQueues", NextToken="%%%", MaxResults=1), INVALID, "token")
    await _refused(api.call("ListQueues", MaxResults=0), INVALID, "MaxResults")


async def test_message_attributes_are_chosen_by_name_and_prefix(api: Any) -> None:
    """Receivers get the attributes they name, by `prefix.*` too, with the digest of just those."""
    url = await api.queue(VisibilityTimeout="0")
    names = ("foo.a", "foo.b", "bar")
    await api.send(url, MessageAttributes={name: _attribute() for name in names})
    for wanted, expected in ((["foo.*"], {"foo.a", "foo.b"}), (["bar"], {"bar"}), ([".*"], set(names)), ([], set())):
        message = (await api.receive(url, MessageAttributeNames=wanted))[0]
        assert set(message.get("MessageAttributes", {})) == expected
        assert ("MD5OfMessageAttributes" in message) == bool(expected)


async def test_hostile_numbers_cost_no_time(api: Any) -> None:
    """A megabyte of digits that is no number after all is refused without being read as one."""
    url = await api.queue()
    started = time.thread_time()
    hostile = {"a": _attribute("Number", StringValue="1" * 1_000_000 + "e")}
    await _refused(api.send(url, MessageAttributes=hostile), INVALID, "to a number")
    assert time.thread_time() - started < 2


async def test_the_callers_trace_goes_along(api: Any) -> None:
    """AWSTraceHeader is the message's own, else the request's trace."""
    url = await api.queue()
    own = {"AWSTraceHeader": _attribute(StringValue="Root=1-2-3")}
    sent = await api.send(url, "own", MessageSystemAttributes=own, trace="Root=4")
    assert len(sent["MD5OfMessageSystemAttributes"]) == 32
    await api.send(url, "request's", trace="Root=4")
    await api.send(url, "none")
    got = {one["Body"]: one["Attributes"].get("AWSTraceHeader") for one in await api.receive(url)}
    assert got == {"own": "Root=1-2-3", "request's": "Root=4", "none": None}


def test_every_character() -> None:
    """A message may contain the characters that XML 1.0 has, and no others, alone and beside others."""
    ranges = [(0x9, 0xA), (0xD, 0xD), (0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFF), (0x10FFFF, 0x10FFFF)]
    allowed = {code for low, high in ranges for code in range(low, high + 1)}
    for beside in ("a", "ä"):
        found = {code for code in (*range(0x11000), 0x10FFFF) if not forbidden(f"{beside}{chr(code)}\n")}
        assert found == allowed
