"""Records as functions see them, filters, and what answers mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from alonzo.core.patterns import compile_pattern
from alonzo.engine.pollers import records

ARN = "arn:aws:sqs:eu-west-1:000000000000:q"
MESSAGE: dict[str, Any] = {
    "MessageId": "m-1",
    "ReceiptHandle": "r-1",
    "Body": "hello",
    "MD5OfBody": "5d41402abc4b2a76b9719d911017c592",
    "Attributes": {
        "ApproximateFirstReceiveTimestamp": "2",
        "SenderId": "S",
        "SentTimestamp": "1",
        "ApproximateReceiveCount": "1",
        "AWSTraceHeader": "Root=1-00000000-000000000000000000000000",
    },
}


def test_a_record_has_awss_members_in_awss_order() -> None:
    """Members and system attributes stand in the order in which AWS sends them."""
    shown = records.record(MESSAGE, ARN, windowed=False)
    assert list(shown) == [
        "messageId",
        "receiptHandle",
        "body",
        "attributes",
        "messageAttributes",
        "md5OfBody",
        "eventSource",
        "eventSourceARN",
        "awsRegion",
    ]
    assert list(shown["attributes"]) == [
        "ApproximateReceiveCount",
        "AWSTraceHeader",
        "SentTimestamp",
        "SenderId",
        "ApproximateFirstReceiveTimestamp",
    ]
    assert shown["awsRegion"] == "eu-west-1"


def test_windowed_mappings_show_a_null_digest() -> None:
    """With a batching window the digest of attributes that are not there is null; without one it is left out."""
    assert records.record(MESSAGE, ARN, windowed=True)["md5OfMessageAttributes"] is None
    assert "md5OfMessageAttributes" not in records.record(MESSAGE, ARN, windowed=False)


def test_binary_attributes_are_base64() -> None:
    """A binary attribute arrives as base64 beside its type."""
    message = {**MESSAGE, "MessageAttributes": {"b": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}}}
    assert records.record(message, ARN, windowed=False)["messageAttributes"]["b"] == {
        "binaryValue": "AP8=",
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": "Binary",
    }


@pytest.mark.parametrize(
    ("pattern", "body", "passes"),
    [
        ({"body": {"n": [{"numeric": [">", 1]}]}}, '{"n": 2}', True),
        ({"body": {"n": [{"numeric": [">", 1]}]}}, '{"n": 1}', False),
        ({"body": {"n": [1]}}, "plain text", False),
        ({"body": ["plain text"]}, "plain text", True),
        ({"body": ["plain text"]}, '{"plain": "text"}', False),
        ({"attributes": {"SenderId": ["S"]}}, "anything", True),
        ({"eventSource": ["aws:other"]}, "anything", False),
    ],
)
def test_filters(pattern: dict[str, Any], body: str, passes: bool) -> None:
    """JSON bodies are matched as JSON, others as text, and the record's other members as they are."""
    shown = records.record({**MESSAGE, "Body": body}, ARN, windowed=False)
    assert records.passes(shown, [compile_pattern(json.dumps(pattern), "lambda")]) is passes


def test_any_filter_will_do() -> None:
    """A record passes if one of several filters matches, and where there are none."""
    shown = records.record({**MESSAGE, "Body": '{"a": 1}'}, ARN, windowed=False)
    filters = [compile_pattern(json.dumps({"body": {"a": [n]}}), "lambda") for n in (2, 1)]
    assert records.passes(shown, filters) and records.passes(shown, [])
    assert not records.passes(shown, filters[:1])


@pytest.mark.parametrize(
    "answer",
    [b"", b"null", b"{}", b"[]", b'""', b'{"batchItemFailures": []}', b'{"batchItemFailures": null}', b'{"x": 1}'],
)
def test_answers_that_are_success(answer: bytes) -> None:
    """Nothing, emptiness and answers about something else mean that the whole batch succeeded."""
    assert records.failed(answer, ["a", "b"]) == set()


@pytest.mark.parametrize(
    "answer",
    [
        b"not json",
        b'"text"',
        b"5",
        b"true",
        b'["a"]',
        b'{"batchItemFailures": "a"}',
        b'{"batchItemFailures": {"itemIdentifier": "a"}}',
        b'{"batchItemFailures": ["a"]}',
        b'{"batchItemFailures": [{"itemIdentifier": ""}]}',
        b'{"batchItemFailures": [{"itemIdentifier": null}]}',
        b'{"batchItemFailures": [{"itemIdentifier": 1}]}',
        b'{"batchItemFailures": [{"foo": "a"}]}',
        b'{"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "unknown"}]}',
    ],
)
def test_answers_that_fail_the_batch(answer: bytes) -> None:
    """An answer that names no message of the batch, or is of another form, fails all of it."""
    assert records.failed(answer, ["a", "b"]) is None


def test_answers_that_name_messages() -> None:
    """Named messages failed, however often they are named; the others succeeded."""
    answer = json.dumps({"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "a"}]}).encode()
    assert records.failed(answer, ["a", "b"]) == {"a"}
