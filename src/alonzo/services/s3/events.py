"""Event notifications: checking a configuration, which ones match, and AWS's document.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-filtering.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import orjson

from alonzo.core.arn import parse_arn
from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import ServiceError
from alonzo.engine.queue import Delivery
from alonzo.protocol.s3 import host_id
from alonzo.services.s3.errors import invalid_argument, malformed_xml
from alonzo.services.s3.models import Bucket

EVENT_VERSION = "2.5"

CREATED_PUT = "ObjectCreated:Put"
CREATED_COPY = "ObjectCreated:Copy"
CREATED_MULTIPART = "ObjectCreated:CompleteMultipartUpload"
REMOVED = "ObjectRemoved:Delete"
REMOVED_MARKER = "ObjectRemoved:DeleteMarkerCreated"
TAGS_PUT = "ObjectTagging:Put"
TAGS_DELETED = "ObjectTagging:Delete"

#: What Alonzo sends. Others of AWS's types belong to features that do not exist here, so asking for them is refused.
_TYPES = frozenset(
    {
        "s3:ObjectCreated:*",
        "s3:ObjectCreated:Put",
        "s3:ObjectCreated:Post",
        "s3:ObjectCreated:Copy",
        "s3:ObjectCreated:CompleteMultipartUpload",
        "s3:ObjectRemoved:*",
        "s3:ObjectRemoved:Delete",
        "s3:ObjectRemoved:DeleteMarkerCreated",
        "s3:ObjectTagging:*",
        "s3:ObjectTagging:Put",
        "s3:ObjectTagging:Delete",
    }
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of target: the list it is configured in, the member with its ARN, the ARN's service, and how the errors
    about it call it."""

    configurations: str
    arn_member: str
    service: str
    named: str


KINDS = (
    Kind("TopicConfigurations", "TopicArn", "sns", "Topic"),
    Kind("QueueConfigurations", "QueueArn", "sqs", "Queue"),
    Kind("LambdaFunctionConfigurations", "LambdaFunctionArn", "lambda", "LambdaFunction"),
)


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to an object. `size` and `etag` are None where the event does not carry them."""

    name: str
    key: str
    size: int | None = None
    etag: str | None = None
    version_id: str | None = None


def kind_of(entry: Mapping[str, Any]) -> Kind:
    """Which kind of target a stored entry has."""
    return next(kind for kind in KINDS if kind.arn_member in entry)


def target_of(entry: Mapping[str, Any]) -> str:
    """The ARN that a stored entry sends to."""
    found: str = entry[kind_of(entry).arn_member]
    return found


def check_configuration(configuration: Mapping[str, Any], new_id: Iterator[str]) -> list[dict[str, Any]]:
    """The configurations as they are stored, each with an Id. Raises InvalidArgument, MalformedXML."""
    if configuration.get("EventBridgeConfiguration") is not None:
        raise ServiceError(
            "NotImplemented",
            "Alonzo does not send S3 notifications to Amazon EventBridge yet; use LambdaFunctionConfigurations,"
            " QueueConfigurations or TopicConfigurations.",
            status=501,
        )
    stored = [_check_entry(kind, one, new_id) for kind in KINDS for one in configuration.get(kind.configurations) or []]
    if len({one["Id"] for one in stored}) != len(stored):
        raise invalid_argument("Same ID used for multiple configurations.", "Id", "")
    if len(stored) > 100:
        raise invalid_argument("The maximum number of notification configurations is 100.", "Id", len(stored))
    for first, second in itertools.combinations(stored, 2):
        _check_overlap(first, second)
    return stored


def _check_entry(kind: Kind, one: Mapping[str, Any], new_id: Iterator[str]) -> dict[str, Any]:
    arn, types = one.get(kind.arn_member), one.get("Events")
    if not arn or not types:
        raise malformed_xml()
    _check_arn(kind, arn)
    for name in types:
        if name not in _TYPES:
            raise invalid_argument("The event is not supported for notifications", "Event", name)
    entry = {"Id": one.get("Id") or next(new_id), kind.arn_member: arn, "Events": list(types)}
    rules = _check_rules(one)
    if rules:
        entry["Filter"] = {"Key": {"FilterRules": rules}}
    return entry


def _check_arn(kind: Kind, text: str) -> None:
    try:
        arn = parse_arn(text)
    except ValueError:
        arn = None
    if arn is None or arn.service != kind.service or not arn.resource:
        raise invalid_argument("The ARN could not be parsed", kind.named, text)
    if kind.service == "lambda" and not arn.resource.startswith("function:"):
        raise invalid_argument("The ARN could not be parsed", kind.named, text)
    if kind.service != "lambda" and arn.resource.endswith(".fifo"):
        what = "SQS queues" if kind.service == "sqs" else "SNS topics"
        raise invalid_argument(f"FIFO {what} are not supported as notification targets.", kind.named, text)


def _check_rules(configuration: Mapping[str, Any]) -> list[dict[str, str]]:
    rules = (((configuration.get("Filter") or {}).get("Key")) or {}).get("FilterRules") or []
    found: dict[str, str] = {}
    for rule in rules:
        name, value = str(rule.get("Name") or "").lower(), rule.get("Value") or ""
        if name not in ("prefix", "suffix"):
            raise invalid_argument("filter rule name must be either prefix or suffix", "FilterRule.Name", name)
        if name in found:
            raise invalid_argument(f"Cannot specify more than one {name} rule in a filter.", "FilterRule.Name", name)
        if len(value.encode()) > 1024:
            raise invalid_argument(
                "Size of filter rule value cannot exceed 1024 bytes in UTF-8", "FilterRule.Value", value
            )
        found[name] = value
    # Shown with a capital, as AWS answers them.
    return [{"Name": name.capitalize(), "Value": value} for name, value in found.items()]


def _filter(configuration: Mapping[str, Any]) -> tuple[str, str]:
    rules = {
        rule["Name"].lower(): rule["Value"]
        for rule in configuration.get("Filter", {}).get("Key", {}).get("FilterRules", [])
    }
    return rules.get("prefix", ""), rules.get("suffix", "")


def _check_overlap(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Two configurations may not both get one event. Raises InvalidArgument."""
    shared = next(((a, b) for a in first["Events"] for b in second["Events"] if _covers(a, b) or _covers(b, a)), None)
    if shared is None:
        return
    (prefix, suffix), (other_prefix, other_suffix) = _filter(first), _filter(second)
    prefixes = prefix.startswith(other_prefix) or other_prefix.startswith(prefix)
    suffixes = suffix.endswith(other_suffix) or other_suffix.endswith(suffix)
    if not (prefixes and suffixes):
        return
    if (prefix, suffix) == (other_prefix, other_suffix) == ("", ""):
        raise invalid_argument(
            "Configurations overlap. Configurations on the same bucket cannot share a common event type.",
            "Event",
            ", ".join(shared),
        )
    raise ServiceError(
        "InvalidArgument",
        "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the prefixes are"
        " overlapping for the same event type.",
        fields={"ArgumentName": "Event", "ArgumentValue": ", ".join(shared)},
    )


def _covers(pattern: str, name: str) -> bool:
    return pattern == name or (pattern.endswith(":*") and name.startswith(pattern[:-1]))


def matching(bucket: Bucket, change: Change) -> list[Mapping[str, Any]]:
    """The configurations that want to hear of a change."""
    configurations: Sequence[Mapping[str, Any]] = bucket.config.get("notification") or ()
    found = []
    for one in configurations:
        prefix, suffix = _filter(one)
        if (
            any(_covers(pattern, f"s3:{change.name}") for pattern in one["Events"])
            and change.key.startswith(prefix)
            and change.key.endswith(suffix)
        ):
            found.append(one)
    return found


def deliveries(
    ctx: Context, bucket: Bucket, change: Change, *, sequence: int, now_ms: int, new_id: Iterator[str]
) -> list[Delivery]:
    """A job for each configuration that matches; to be enqueued in the transaction of the change."""
    found = []
    for configuration in matching(bucket, change):
        message = orjson.dumps(document(ctx, bucket, change, configuration["Id"], sequence, now_ms))
        service, operation, params = message_to(target_of(configuration), message)
        found.append(
            Delivery(
                id=next(new_id),
                account_id=bucket.account_id,
                region=bucket.region,
                service=service,
                operation=operation,
                params=params,
                principal="s3.amazonaws.com",
                source_arn=bucket.arn,
                trace_header=ctx.trace_header,
                labels={"bucket": bucket.name, "key": change.key, "event": change.name},
            )
        )
    return found


def message_to(target: str, message: bytes) -> tuple[str, str, dict[str, Any]]:
    """Service, operation and parameters that bring a message to a target."""
    parsed = parse_arn(target)
    match parsed.service:
        case "sqs":
            # The host tells the queue's region, which may be another than the bucket's.
            url = f"http://sqs.{parsed.region}.localhost/{parsed.account_id}/{parsed.resource}"
            return "sqs", "SendMessage", {"QueueUrl": url, "MessageBody": message.decode()}
        case "sns":
            params = {"TopicArn": target, "Subject": "Amazon S3 Notification", "Message": message.decode()}
            return "sns", "Publish", params
        case _:
            return "lambda", "Invoke", {"FunctionName": target, "InvocationType": "Event", "Payload": message}


def test_event(ctx: Context, bucket: Bucket, now_ms: int) -> bytes:
    """What a queue or topic gets when it is configured."""
    return orjson.dumps(
        {
            "Service": "Amazon S3",
            "Event": "s3:TestEvent",
            "Time": _iso(now_ms),
            "Bucket": bucket.name,
            "RequestId": ctx.request_id,
            "HostId": host_id(ctx.request_id),
        }
    )


def _iso(now_ms: int) -> str:
    moment = datetime.fromtimestamp(now_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now_ms % 1000:03d}Z"


def document(
    ctx: Context, bucket: Bucket, change: Change, configuration_id: str, sequence: int, now_ms: int
) -> dict[str, Any]:
    """The event as a function receives it."""
    item: dict[str, Any] = {"key": quote_plus(change.key, safe="/*-._", errors="surrogatepass")}
    if change.size is not None:
        item["size"] = change.size
    if change.etag is not None:
        item["eTag"] = change.etag
    if change.version_id is not None:
        item["versionId"] = change.version_id
    item["sequencer"] = f"{sequence:018X}"
    return {
        "Records": [
            {
                "eventVersion": EVENT_VERSION,
                "eventSource": "aws:s3",
                "awsRegion": bucket.region,
                "eventTime": _iso(now_ms),
                "eventName": change.name,
                "userIdentity": {"principalId": _principal_id(ctx)},
                "requestParameters": {"sourceIPAddress": ctx.client_ip or "127.0.0.1"},
                "responseElements": {
                    "x-amz-request-id": ctx.request_id,
                    "x-amz-id-2": host_id(ctx.request_id),
                },
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": configuration_id,
                    "bucket": {
                        "name": bucket.name,
                        "ownerIdentity": {"principalId": _owner_id(bucket.account_id)},
                        "arn": bucket.arn,
                    },
                    "object": item,
                },
            }
        ]
    }


def _principal_id(ctx: Context) -> str:
    principal = ctx.principal
    if principal.kind == "anonymous":
        return "AWS:ANONYMOUS"
    return f"AWS:{principal.user_id or principal.name or principal.account_id}"


def _owner_id(account_id: str) -> str:
    digest = int.from_bytes(hashlib.sha256(f"owner:{account_id}".encode()).digest()[:9], "big")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return "A" + "".join(letters[(digest // 36**n) % 36] for n in range(13))
