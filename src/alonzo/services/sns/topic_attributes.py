"""The attributes of a topic: which there are, what they may be, what they are where nobody set them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from alonzo.core.arn import parse_arn
from alonzo.core.errors import ServiceError
from alonzo.core.policy import MalformedPolicy, compile_policy
from alonzo.services.sns.errors import invalid, unsupported
from alonzo.services.sns.models import Key, Topic, topic_arn
from alonzo.services.sns.retries import check_topic_policy, effective_policy

_FEEDBACK = tuple(
    f"{protocol}{what}"
    for protocol in ("HTTP", "Firehose", "Lambda", "Application", "SQS")
    for what in ("SuccessFeedbackRoleArn", "SuccessFeedbackSampleRate", "FailureFeedbackRoleArn")
)
_FIFO_ONLY = ("ContentBasedDeduplication", "FifoThroughputScope", "ArchivePolicy")
_MAX_POLICY = 30_720


def checked(name: str, value: str, *, fifo: bool) -> str:
    """A value as it is stored. Raises InvalidParameter."""
    if name not in _CHECKS:
        raise invalid("AttributeName")
    if name in _FIFO_ONLY and not fifo:
        raise invalid(f"{name}: only supported on FIFO topics")
    _CHECKS[name](name, value)
    if name in ("ContentBasedDeduplication", "FifoTopic"):
        return value.lower()
    return value


def shown(topic: Topic, confirmed: int, pending: int) -> dict[str, str]:
    """As GetTopicAttributes answers."""
    attributes = {
        "TopicArn": topic.arn,
        "Owner": topic.key[0],
        "Policy": topic.attributes.get("Policy") or default_policy(topic.key),
        "DisplayName": topic.attributes.get("DisplayName", ""),
        "SubscriptionsConfirmed": str(confirmed),
        "SubscriptionsPending": str(pending),
        "SubscriptionsDeleted": str(topic.deleted),
        "EffectiveDeliveryPolicy": json.dumps(effective_policy(topic.attributes.get("DeliveryPolicy"))),
    }
    if topic.fifo:
        attributes["FifoTopic"] = "true"
        attributes["ContentBasedDeduplication"] = topic.attributes.get("ContentBasedDeduplication", "false")
    return attributes | {name: value for name, value in topic.attributes.items() if name not in attributes and value}


def default_policy(key: Key) -> str:
    actions = (
        "GetTopicAttributes SetTopicAttributes AddPermission RemovePermission DeleteTopic Subscribe"
        " ListSubscriptionsByTopic Publish"
    )
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [f"SNS:{action}" for action in actions.split()],
        "Resource": topic_arn(key),
        "Condition": {"StringEquals": {"AWS:SourceOwner": key[0]}},
    }
    return json.dumps({"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]})


def checked_all(attributes: Mapping[str, str], *, fifo: bool) -> dict[str, str]:
    """Those of CreateTopic, whose errors say so."""
    found = {}
    for name, value in attributes.items():
        if name not in _CHECKS and name != "FifoTopic":
            raise invalid(f"Attributes Reason: Unknown attribute {name}")
        try:
            found[name] = _flag(name, value) if name == "FifoTopic" else checked(name, value, fifo=fifo)
        except ServiceError as error:
            if error.code != "InvalidParameter":
                raise
            raise invalid("Attributes Reason: " + error.message.removeprefix("Invalid parameter: ")) from None
    if found.get("FifoTopic") == "false":
        del found["FifoTopic"]
    return found


# -- what values may be -----------------------------------------------------------------------------------------------


def _flag(name: str, value: str) -> str:
    if value.lower() not in ("true", "false"):
        raise invalid(f"{name} Reason: Invalid value [{value}]. Must be true or false.")
    return value.lower()


def _true_or_false(name: str, value: str) -> None:
    _flag(name, value)


def _any(name: str, value: str) -> None:
    if len(value) > 2048:
        raise invalid(f"{name} Reason: The value is too long")


def _display_name(_name: str, value: str) -> None:
    if len(value) > 100 or any(ord(char) < 32 for char in value):
        raise invalid("DisplayName")


def _policy(_name: str, value: str) -> None:
    if not value:
        return
    if len(value.encode()) > _MAX_POLICY:
        raise invalid("Policy Error: The policy is too long")
    try:
        compile_policy(value)
        document: Any = json.loads(value)
        statements = document["Statement"]
    except (MalformedPolicy, ValueError, KeyError, TypeError, RecursionError):
        raise invalid("Policy failed to parse the policy document") from None
    for one in statements if isinstance(statements, list) else [statements]:
        if "Principal" not in one and "NotPrincipal" not in one:
            raise invalid("Policy Error: Policy statement must contain a principal")
        actions = one.get("Action", one.get("NotAction", []))
        for action in [actions] if isinstance(actions, str) else actions:
            if action != "*" and not action.lower().startswith("sns:"):
                raise invalid("Policy statement action out of service scope!")


def _one_of(*values: str) -> Callable[[str, str], None]:
    def check(name: str, value: str) -> None:
        if value not in values:
            raise invalid(f"{name} Reason: Invalid value [{value}]. Must be one of {', '.join(values)}.")

    return check


def _rate(name: str, value: str) -> None:
    if not (value.isascii() and value.isdigit() and len(value) <= 3 and int(value) <= 100):
        raise invalid(f"{name} Reason: Must be a number between 0 and 100")


def _role(name: str, value: str) -> None:
    try:
        fine = not value or (parse_arn(value).service == "iam" and len(value) <= 2048)
    except ValueError:
        fine = False
    if not fine:
        raise invalid(f"{name} Reason: Not a role's ARN")


def _refused(name: str, _value: str) -> None:
    raise unsupported(f"the topic attribute {name}")


_CHECKS: dict[str, Callable[[str, str], None]] = {
    "DisplayName": _display_name,
    "Policy": _policy,
    "DeliveryPolicy": lambda _name, value: check_topic_policy(value),
    "KmsMasterKeyId": _any,
    "SignatureVersion": _one_of("1", "2"),
    "TracingConfig": _one_of("PassThrough", "Active"),
    "ContentBasedDeduplication": _true_or_false,
    "FifoThroughputScope": _one_of("Topic", "MessageGroup"),
    "ArchivePolicy": _refused,
    **{name: _rate if name.endswith("Rate") else _role for name in _FEEDBACK},
}
