"""SQS messages as a function sees them, and what its answer says of them.

Source: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html; order and members recorded on AWS.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from alonzo.core.patterns import Matcher

Message = Mapping[str, Any]

#: The order of AWS's records, in standard and in FIFO queues.
_ATTRIBUTES = (
    "ApproximateReceiveCount",
    "AWSTraceHeader",
    "SentTimestamp",
    "SequenceNumber",
    "MessageGroupId",
    "SenderId",
    "MessageDeduplicationId",
    "ApproximateFirstReceiveTimestamp",
    "DeadLetterQueueSourceArn",
)


def record(message: Message, source_arn: str, *, windowed: bool) -> dict[str, Any]:
    """One record. Mappings with a batching window show a null `md5OfMessageAttributes` where there are none."""
    attributes: Mapping[str, Any] = message.get("MessageAttributes") or {}
    system = message.get("Attributes") or {}
    shown: dict[str, Any] = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": {name: system[name] for name in _ATTRIBUTES if name in system},
        "messageAttributes": {name: _attribute(value) for name, value in attributes.items()},
    }
    digest = message.get("MD5OfMessageAttributes")
    if digest is not None or windowed:
        shown["md5OfMessageAttributes"] = digest
    shown["md5OfBody"] = message["MD5OfBody"]
    shown["eventSource"] = "aws:sqs"
    shown["eventSourceARN"] = source_arn
    shown["awsRegion"] = source_arn.split(":")[3]
    return shown


def _attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if "StringValue" in value:
        shown["stringValue"] = value["StringValue"]
    if "BinaryValue" in value:
        shown["binaryValue"] = base64.b64encode(value["BinaryValue"]).decode()
    return {**shown, "stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}


def passes(shown: Mapping[str, Any], filters: Sequence[Matcher]) -> bool:
    """Whether a record gets through the filters: one of them matches, or there are none.

    A body that is JSON is matched as JSON, any other as text.
    Source: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs-filtering.html
    """
    if not filters:
        return True
    event = dict(shown)
    try:
        event["body"] = orjson.loads(shown["body"])
    except orjson.JSONDecodeError:
        pass
    return any(matcher.matches(event) for matcher in filters)


def failed(payload: bytes, message_ids: Sequence[str]) -> set[str] | None:
    """The messages that a ReportBatchItemFailures answer calls failed; None where the whole batch counts as failed.

    Nothing, an empty answer and an empty or null list are success; an identifier that is missing, null, empty or not
    one of the batch fails all of it, as does an answer of another form.
    """
    try:
        answer = orjson.loads(payload or b"null")
    except orjson.JSONDecodeError:
        return None
    if answer in (None, "", [], {}) and not isinstance(answer, bool):
        return set()
    if not isinstance(answer, dict):
        return None
    failures = answer.get("batchItemFailures")
    if failures is None:
        return set()
    if not isinstance(failures, list):
        return None
    known = set(message_ids)
    found: set[str] = set()
    for one in failures:
        identifier = one.get("itemIdentifier") if isinstance(one, dict) else None
        if not isinstance(identifier, str) or identifier not in known:
            return None
        found.add(identifier)
    return found
