"""Event notifications to functions."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from alonzo.core.context import Principal

ARN = "arn:aws:lambda:us-east-1:000000000000:function:thumb"
OTHER = "arn:aws:lambda:us-east-1:000000000000:function:other"


def _entry(arn: str = ARN, *events: str, **rules: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"LambdaFunctionArn": arn, "Events": list(events or ("s3:ObjectCreated:*",))}
    if rules:
        entry["Filter"] = {"Key": {"FilterRules": [{"Name": n, "Value": v} for n, v in rules.items()]}}
    return entry


def _configuration(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"Bucket": "bkt", "NotificationConfiguration": {"LambdaFunctionConfigurations": list(entries)}}


async def _notify(s3_: Any, *entries: dict[str, Any]) -> None:
    s3_.functions.allowed |= {ARN, OTHER}
    await s3_("PutBucketNotificationConfiguration", **_configuration(*entries))


def _records(s3_: Any) -> list[dict[str, Any]]:
    return [json.loads(job.params["Payload"])["Records"][0] for job in s3_.queue.jobs]


async def test_the_event(s3_: Any) -> None:
    """A put makes one delivery to the function, as S3 for the bucket, with AWS's document."""
    await _notify(s3_, {**_entry(), "Id": "conf"})
    key = "a b/ü+ö&x.jpg"
    user = Principal("user", "000000000000", "arn:aws:iam::000000000000:user/u", user_id="AIDAEXAMPLE")
    await s3_("PutObject", ctx=replace(s3_.ctx, principal=user), Bucket="bkt", Key=key, Body=b"123")
    (job,) = s3_.queue.jobs
    assert (job.service, job.operation, job.principal) == ("lambda", "Invoke", "s3.amazonaws.com")
    assert (job.source_arn, job.params["FunctionName"]) == ("arn:aws:s3:::bkt", ARN)
    assert job.params["InvocationType"] == "Event"
    assert s3_.queue.woken == 1
    (record,) = _records(s3_)
    assert record["s3"]["object"].pop("sequencer")
    assert record["responseElements"].pop("x-amz-id-2")
    owner = record["s3"]["bucket"].pop("ownerIdentity")
    assert owner["principalId"].startswith("A")
    assert record == {
        "eventVersion": "2.5",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-01-01T00:00:00.000Z",
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "AWS:AIDAEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "10.0.0.7"},
        "responseElements": {"x-amz-request-id": "req-1"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "conf",
            "bucket": {"name": "bkt", "arn": "arn:aws:s3:::bkt"},
            "object": {
                "key": "a+b/%C3%BC%2B%C3%B6%26x.jpg",
                "size": 3,
                "eTag": "202cb962ac59075b964b07152d234b70",
            },
        },
    }


async def test_every_change_has_its_event(s3_: Any) -> None:
    """Put, copy, multipart, tagging, delete and delete marker each announce themselves, in increasing order."""
    await _notify(s3_, _entry(ARN, "s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectTagging:*"))
    await s3_("PutObject", Bucket="bkt", Key="k", Body=b"1")
    await s3_("CopyObject", Bucket="bkt", Key="k", CopySource="bkt/k", MetadataDirective="REPLACE")
    upload = await s3_("CreateMultipartUpload", Bucket="bkt", Key="k")
    one = {"Bucket": "bkt", "Key": "k", "UploadId": upload["UploadId"]}
    part = await s3_("UploadPart", **one, PartNumber=1, Body=b"1")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    await s3_("CompleteMultipartUpload", **one, MultipartUpload=parts)
    await s3_("PutObjectTagging", Bucket="bkt", Key="k", Tagging={"TagSet": []})
    await s3_("DeleteObjectTagging", Bucket="bkt", Key="k")
    await s3_("DeleteObject", Bucket="bkt", Key="k")
    await s3_("DeleteObject", Bucket="bkt", Key="k")
    await s3_("PutBucketVersioning", Bucket="bkt", VersioningConfiguration={"Status": "Enabled"})
    put = await s3_("PutObject", Bucket="bkt", Key="k", Body=b"1")
    marker = await s3_("DeleteObject", Bucket="bkt", Key="k")
    await s3_("DeleteObject", Bucket="bkt", Key="k", VersionId=put["VersionId"])
    records = _records(s3_)
    assert [one["eventName"] for one in records] == [
        "ObjectCreated:Put",
        "ObjectCreated:Copy",
        "ObjectCreated:CompleteMultipartUpload",
        "ObjectTagging:Put",
        "ObjectTagging:Delete",
        "ObjectRemoved:Delete",
        "ObjectCreated:Put",
        "ObjectRemoved:DeleteMarkerCreated",
        "ObjectRemoved:Delete",
    ]
    sequence = [one["s3"]["object"]["sequencer"] for one in records]
    assert sequence == sorted(sequence) and len(set(sequence)) == len(sequence)
    assert records[2]["s3"]["object"]["eTag"].endswith("-1")
    versions = [one["s3"]["object"].get("versionId") for one in records[5:]]
    assert versions == [None, put["VersionId"], marker["VersionId"], put["VersionId"]]


async def test_filters(s3_: Any) -> None:
    """Prefix, suffix and event type decide who hears of a change."""
    await _notify(
        s3_,
        _entry(ARN, "s3:ObjectCreated:Put", prefix="in/", suffix=".jpg"),
        _entry(OTHER, "s3:ObjectCreated:*", prefix="out/"),
        _entry(OTHER, "s3:ObjectRemoved:Delete"),
    )
    for key in ("in/a.jpg", "in/a.png", "a.jpg", "out/b"):
        await s3_("PutObject", Bucket="bkt", Key=key, Body=b"")
    await s3_("CopyObject", Bucket="bkt", Key="in/c.jpg", CopySource="bkt/out/b")
    await s3_("DeleteObject", Bucket="bkt", Key="a.jpg")
    found = [(job.params["FunctionName"], job.labels["key"], job.labels["event"]) for job in s3_.queue.jobs]
    assert found == [
        (ARN, "in/a.jpg", "ObjectCreated:Put"),
        (OTHER, "out/b", "ObjectCreated:Put"),
        (OTHER, "a.jpg", "ObjectRemoved:Delete"),
    ]


async def test_a_failed_put_announces_nothing(s3_: Any) -> None:
    """No object, no event."""
    await _notify(s3_, _entry())
    await s3_("PutObject", Bucket="bkt", Key="k", Body=b"")
    await s3_.fails("PreconditionFailed", "PutObject", Bucket="bkt", Key="k", Body=b"", IfNoneMatch="*")
    await s3_.fails("BadDigest", "PutObject", Bucket="bkt", Key="k", Body=b"", ChecksumCRC32="AAAAAQ==")
    assert len(s3_.queue.jobs) == 1


async def test_configuration_comes_back(s3_: Any) -> None:
    """What is put is answered, with an Id each; an empty configuration removes it."""
    await _notify(s3_, _entry(ARN, prefix="p"))
    (entry,) = (await s3_("GetBucketNotificationConfiguration", Bucket="bkt"))["LambdaFunctionConfigurations"]
    assert len(entry.pop("Id")) == 36
    assert entry == {
        "LambdaFunctionArn": ARN,
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "Prefix", "Value": "p"}]}},
    }
    await s3_("PutBucketNotificationConfiguration", Bucket="bkt", NotificationConfiguration={})
    assert await s3_("GetBucketNotificationConfiguration", Bucket="bkt") == {}


async def test_destinations_are_checked(s3_: Any) -> None:
    """A function that S3 may not invoke for this bucket is refused with AWS's text, unless the check is skipped."""
    error = await s3_.fails("InvalidArgument", "PutBucketNotificationConfiguration", **_configuration(_entry()))
    assert error.message == "Unable to validate the following destination configurations"
    assert error.fields["ArgumentValue"] == f"Not authorized to invoke function [{ARN}]"
    ctx, params = s3_.functions.asked[0]
    assert (ctx.principal.kind, ctx.principal.name) == ("service", "s3.amazonaws.com")
    assert (ctx.source_arn, ctx.source_account) == ("arn:aws:s3:::bkt", "000000000000")
    assert params["InvocationType"] == "DryRun"
    assert await s3_("GetBucketNotificationConfiguration", Bucket="bkt") == {}
    await s3_("PutBucketNotificationConfiguration", **_configuration(_entry()), SkipDestinationValidation=True)
    assert s3_.queue.jobs == []  # functions get no test event


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([_entry(), _entry(OTHER)], "Configurations overlap."),
        ([_entry(ARN, "s3:ObjectCreated:Put"), _entry(OTHER)], "Configurations overlap."),
        ([_entry(ARN, prefix="a"), _entry(OTHER, prefix="ab")], "Configuration is ambiguously defined."),
        ([_entry(ARN, suffix="g"), _entry(OTHER, suffix="jpg")], "Configuration is ambiguously defined."),
        ([_entry(ARN, "s3:Unheard:Of")], "The event is not supported for notifications"),
        ([_entry("arn:aws:sqs:us-east-1:000000000000:q")], "The ARN could not be parsed"),
        ([{**_entry(ARN, prefix="a"), "Id": "x"}, {**_entry(OTHER, prefix="b"), "Id": "x"}], "Same ID used"),
    ],
)
async def test_bad_configurations(s3_: Any, entries: list[dict[str, Any]], message: str) -> None:
    """Overlapping, unknown and malformed configurations are refused."""
    s3_.functions.allowed |= {ARN, OTHER}
    error = await s3_.fails("InvalidArgument", "PutBucketNotificationConfiguration", **_configuration(*entries))
    assert error.message.startswith(message)


async def test_disjoint_configurations(s3_: Any) -> None:
    """The same event may go to two functions where prefixes or suffixes keep them apart."""
    await _notify(s3_, _entry(ARN, prefix="a/", suffix=".jpg"), _entry(OTHER, prefix="a/", suffix=".png"))
    await _notify(s3_, _entry(ARN, "s3:ObjectCreated:Put"), _entry(OTHER, "s3:ObjectCreated:Copy"))


async def test_eventbridge_is_refused(s3_: Any) -> None:
    """EventBridge is refused clearly."""
    error = await s3_.fails(
        "NotImplemented",
        "PutBucketNotificationConfiguration",
        Bucket="bkt",
        NotificationConfiguration={"EventBridgeConfiguration": {}},
    )
    assert error.status == 501 and "LambdaFunctionConfigurations" in error.message


@pytest.mark.parametrize(
    ("configurations", "entry", "message"),
    [
        ("QueueConfigurations", {"QueueArn": ARN}, "The ARN could not be parsed"),
        ("TopicConfigurations", {"TopicArn": "arn:aws:sqs:us-east-1:000000000000:q"}, "The ARN could not be parsed"),
        ("QueueConfigurations", {"QueueArn": "arn:aws:sqs:us-east-1:000000000000:q.fifo"}, "FIFO SQS queues are not"),
        ("TopicConfigurations", {"TopicArn": "arn:aws:sns:us-east-1:000000000000:t.fifo"}, "FIFO SNS topics are not"),
    ],
)
async def test_bad_queues_and_topics(s3_: Any, configurations: str, entry: dict[str, Any], message: str) -> None:
    """A target of the wrong kind, or one that S3 cannot send to, is refused."""
    error = await s3_.fails(
        "InvalidArgument",
        "PutBucketNotificationConfiguration",
        Bucket="bkt",
        NotificationConfiguration={configurations: [{**entry, "Events": ["s3:ObjectCreated:*"]}]},
    )
    assert error.message.startswith(message)


async def test_queues_and_topics_get_the_event(s3_: Any) -> None:
    """A put makes a delivery to the queue and one to the topic that asked for it, with the same document."""
    both = {
        "QueueConfigurations": [
            {
                "QueueArn": "arn:aws:sqs:eu-west-1:000000000000:q",
                "Events": ["s3:ObjectCreated:*"],
                "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "q/"}]}},
            }
        ],
        "TopicConfigurations": [
            {
                "TopicArn": "arn:aws:sns:us-east-1:000000000000:t",
                "Events": ["s3:ObjectCreated:*"],
                "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "t/"}]}},
            }
        ],
    }
    await s3_(
        "PutBucketNotificationConfiguration",
        Bucket="bkt",
        NotificationConfiguration=both,
        SkipDestinationValidation=True,
    )
    shown = await s3_("GetBucketNotificationConfiguration", Bucket="bkt")
    assert [one["QueueArn"] for one in shown["QueueConfigurations"]] == ["arn:aws:sqs:eu-west-1:000000000000:q"]
    assert [one["TopicArn"] for one in shown["TopicConfigurations"]] == ["arn:aws:sns:us-east-1:000000000000:t"]
    for key in ("q/1", "t/1", "other"):
        await s3_("PutObject", Bucket="bkt", Key=key, Body=b"")
    queue, topic = s3_.queue.jobs
    assert (queue.service, queue.operation, queue.principal) == ("sqs", "SendMessage", "s3.amazonaws.com")
    assert queue.params["QueueUrl"] == "http://sqs.eu-west-1.localhost/000000000000/q"
    assert json.loads(queue.params["MessageBody"])["Records"][0]["s3"]["object"]["key"] == "q/1"
    assert (topic.service, topic.operation) == ("sns", "Publish")
    assert topic.params["Subject"] == "Amazon S3 Notification"
    assert json.loads(topic.params["Message"])["Records"][0]["s3"]["object"]["key"] == "t/1"
