"""Queue attributes: which there are, what they may be, and how they are shown.

Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from alonzo.core.policy.document import MalformedPolicy
from alonzo.core.policy.validate import check_resource
from alonzo.services.sqs.errors import bad_attribute, invalid, invalid_value, unknown_attribute
from alonzo.services.sqs.models import MAX_MESSAGE_BYTES, Queue

_NUMBERS: Mapping[str, tuple[int, int]] = {
    "VisibilityTimeout": (0, 43_200),
    "MaximumMessageSize": (1_024, MAX_MESSAGE_BYTES),
    "MessageRetentionPeriod": (60, 1_209_600),
    "DelaySeconds": (0, 900),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "KmsDataKeyReusePeriodSeconds": (60, 86_400),
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "SqsManagedSseEnabled": ("true", "false"),
    "ContentBasedDeduplication": ("true", "false"),
    "DeduplicationScope": ("messageGroup", "queue"),
    "FifoThroughputLimit": ("perQueue", "perMessageGroupId"),
}
_FIFO_ONLY = frozenset({"ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"})
_FREE = frozenset({"Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId"})
_READ_ONLY = frozenset(
    {
        "QueueArn",
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
        "CreatedTimestamp",
        "LastModifiedTimestamp",
    }
)
#: Setting these to nothing removes them.
_REMOVABLE = frozenset({*_FREE, "KmsDataKeyReusePeriodSeconds"})
ALL = frozenset({*_NUMBERS, *_CHOICES, *_FREE, *_READ_ONLY, "FifoQueue", "All"})
_MAX_POLICY = 131_072
_MAX_VALUE = 8_192
_MAX_SOURCES = 10

#: Finds a queue by ARN; None where there is none.
Find = Callable[[str], Queue | None]


def check_changes(queue: Queue, changes: Mapping[str, str], find: Find, *, creating: bool = False) -> dict[str, str]:
    """The attributes that `queue` has after `changes`. Raises InvalidAttributeName, InvalidAttributeValue, ….

    `queue` is the queue as it is, without an id where it is to be made.
    """
    merged = dict(queue.attributes)
    for name, value in changes.items():
        if name == "FifoQueue" and creating:
            _check_fifo(queue, value)
            continue
        if name == "FifoQueue" or name in _READ_ONLY or name not in ALL or name == "All":
            raise unknown_attribute(name)
        if name in _FIFO_ONLY and not queue.fifo:
            raise unknown_attribute(name)
        if value == "" and name in _REMOVABLE:
            merged.pop(name, None)
            continue
        merged[name] = _check(queue, name, value, find)
    if creating and queue.fifo and changes.get("FifoQueue") != "true":
        raise _fifo_name()
    _check_together(merged, changes)
    return merged


def _fifo_name() -> Exception:
    return invalid("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")


def _check_fifo(queue: Queue, value: str) -> None:
    if value != "true":
        # AWS knows the attribute for FIFO queues only.
        raise unknown_attribute("FifoQueue") if not queue.fifo else bad_attribute("FifoQueue")
    if not queue.fifo:
        raise invalid(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end "
            "with .fifo suffix and be 1 to 80 in length."
        )


def _check(queue: Queue, name: str, value: str, find: Find) -> str:
    if name in _NUMBERS:
        low, high = _NUMBERS[name]
        if not value.isascii() or not value.isdigit() or len(value) > 10 or not low <= int(value) <= high:
            raise bad_attribute(name)
        return str(int(value))
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise bad_attribute(name)
        return value
    if len(value) > (_MAX_POLICY if name == "Policy" else _MAX_VALUE):
        raise bad_attribute(name)
    if name == "Policy":
        try:
            check_resource(value)
        except MalformedPolicy:
            raise bad_attribute("Policy") from None
    elif name == "RedrivePolicy":
        return _check_redrive(queue, value, find)
    elif name == "RedriveAllowPolicy":
        _check_allow(value)
    return value


def _json_map(name: str, text: str, said: str) -> dict[str, Any]:
    try:
        parsed = orjson.loads(text)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise invalid_value(_shown(text), name, f"{said} is not a valid JSON map.")
    return parsed


def _shown(text: str) -> str:
    return text[:1024].encode(errors="replace").decode()


def _check_redrive(queue: Queue, text: str, find: Find) -> str:
    def refuse(reason: str) -> Exception:
        return invalid_value(_shown(text), "RedrivePolicy", reason)

    policy = _json_map("RedrivePolicy", text, "Redrive policy")
    for name in ("maxReceiveCount", "deadLetterTargetArn"):
        if name not in policy:
            raise refuse(f"Redrive policy does not contain mandatory attribute: {name}.")
    if set(policy) - {"deadLetterTargetArn", "maxReceiveCount"}:
        raise refuse("Only following attributes are supported: [deadLetterTargetArn, maxReceiveCount].")
    count, target = policy["maxReceiveCount"], policy["deadLetterTargetArn"]
    if isinstance(count, str) and count.isascii() and count.isdigit() and len(count) < 5:
        count = int(count)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 1000:
        raise refuse(f"Invalid value for maxReceiveCount: {count}, valid values are from 1 to 1000 both inclusive.")
    parts = target.split(":") if isinstance(target, str) else []
    if len(parts) != 6 or parts[0] != "arn" or parts[2] != "sqs":
        raise refuse("Only SQS queues are valid resources for deadLetterTargetArn.")
    if (parts[4], parts[3]) != (queue.account_id, queue.region):
        raise refuse("Dead-letter target owner should be same as the source.")
    found = queue if target == queue.arn else find(target)
    if found is None:
        raise refuse("Dead letter target does not exist.")
    if found.fifo != queue.fifo:
        raise refuse("Dead-letter queue must be same type of queue as the source.")
    if not _allows(found, queue):
        raise refuse("Dead letter target does not allow this queue as a source: see its RedriveAllowPolicy.")
    return orjson.dumps({"deadLetterTargetArn": target, "maxReceiveCount": count}).decode()


def _allows(target: Queue, source: Queue) -> bool:
    text = target.attributes.get("RedriveAllowPolicy")
    if not text:
        return True
    policy = orjson.loads(text)
    permission = policy["redrivePermission"]
    return permission == "allowAll" or (permission == "byQueue" and source.arn in policy["sourceQueueArns"])


def _check_allow(text: str) -> None:
    def refuse(reason: str) -> Exception:
        return invalid_value(_shown(text), "RedriveAllowPolicy", reason)

    policy = _json_map("RedriveAllowPolicy", text, "Redrive allow policy")
    permission = policy.get("redrivePermission")
    sources = policy.get("sourceQueueArns")
    if permission not in ("allowAll", "denyAll", "byQueue"):
        raise refuse("Amazon SQS can't create the redrive allow policy, as redrivePermission is not valid.")
    if set(policy) - {"redrivePermission", "sourceQueueArns"}:
        raise refuse("Only following attributes are supported: [redrivePermission, sourceQueueArns].")
    if permission != "byQueue":
        if sources is not None:
            raise refuse("sourceQueueArns is only allowed when redrivePermission is byQueue.")
        return
    if not isinstance(sources, list) or not 1 <= len(sources) <= _MAX_SOURCES:
        raise refuse(f"sourceQueueArns must name from 1 to {_MAX_SOURCES} queues when redrivePermission is byQueue.")
    if not all(isinstance(one, str) and one.startswith("arn:") and one.count(":") == 5 for one in sources):
        raise refuse("sourceQueueArns must be ARNs of queues.")


def _check_together(merged: dict[str, str], changes: Mapping[str, str]) -> None:
    limit, scope = merged.get("FifoThroughputLimit", "perQueue"), merged.get("DeduplicationScope", "queue")
    if limit == "perMessageGroupId" and scope != "messageGroup":
        name = "FifoThroughputLimit" if "FifoThroughputLimit" in changes else "DeduplicationScope"
        raise bad_attribute(
            name, "perMessageGroupId is only allowed for FifoThroughputLimit when DeduplicationScope is messageGroup."
        )
    if changes.get("KmsMasterKeyId"):
        if changes.get("SqsManagedSseEnabled") == "true":
            raise bad_attribute("SqsManagedSseEnabled", "You can use one type of server-side encryption at one time.")
        merged["SqsManagedSseEnabled"] = "false"
    elif changes.get("SqsManagedSseEnabled") == "true":
        merged.pop("KmsMasterKeyId", None)


def same(queue: Queue, asked: Mapping[str, str], changed: Mapping[str, str]) -> str | None:
    """The first attribute in which a queue differs from what CreateQueue asked for; None: it is the same."""
    for name in asked:
        if name == "FifoQueue":
            continue
        wanted, has = changed.get(name, ""), queue.effective.get(name, "")
        if wanted != has and not _same_json(wanted, has):
            return name
    return None


def _same_json(one: str, other: str) -> bool:
    try:
        return bool(one.startswith("{") and json.loads(one) == json.loads(other))
    except ValueError:
        return False


def shown(queue: Queue) -> dict[str, str]:
    """The attributes that do not change by themselves."""
    attributes = {
        "QueueArn": queue.arn,
        "CreatedTimestamp": str(queue.created_ms // 1000),
        "LastModifiedTimestamp": str(queue.modified_ms // 1000),
        **queue.effective,
    }
    if "KmsMasterKeyId" in attributes:
        attributes.setdefault("KmsDataKeyReusePeriodSeconds", "300")
    else:
        attributes.pop("KmsDataKeyReusePeriodSeconds", None)
    return attributes
