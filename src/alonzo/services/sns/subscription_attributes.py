"""The attributes of a subscription: which there are, what they may be, how they are shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from alonzo.core.arn import parse_arn
from alonzo.core.errors import ServiceError
from alonzo.core.patterns import PatternError, json_fault
from alonzo.services.sns.errors import invalid, unsupported
from alonzo.services.sns.models import Subscription, Topic
from alonzo.services.sns.retries import check_subscription_policy, subscription_policy
from alonzo.services.sns.state import matcher_of

_NAMES = ("DeliveryPolicy", "FilterPolicy", "FilterPolicyScope", "RawMessageDelivery", "RedrivePolicy")
_UNSUPPORTED = ("ReplayPolicy", "SubscriptionRoleArn")


def changed(topic: Topic, subscription: Subscription, changes: Mapping[str, str]) -> dict[str, str]:
    """The attributes after some have been set; an empty value takes one away. Raises InvalidParameter."""
    attributes = dict(subscription.attributes)
    for name, value in changes.items():
        if name in _UNSUPPORTED:
            raise unsupported(f"the subscription attribute {name}")
        if name not in _NAMES:
            raise invalid("AttributeName")
        _check(topic, subscription, name, value)
        if name == "RawMessageDelivery":
            value = value.lower()
        if value and not (name == "FilterPolicy" and value.strip() == "{}"):
            attributes[name] = value
        else:
            attributes.pop(name, None)
    try:
        matcher_of(replace(subscription, attributes=attributes))
    except PatternError as error:
        raise invalid(error.message) from None
    return attributes


def at_subscribe(topic: Topic, subscription: Subscription, attributes: Mapping[str, str]) -> dict[str, str]:
    """The same for Subscribe, whose errors say so."""
    try:
        return changed(topic, subscription, attributes)
    except ServiceError as error:
        if error.code != "InvalidParameter" or "does not support nested" in error.message:
            raise
        raise invalid("Attributes Reason: " + error.message.removeprefix("Invalid parameter: ")) from None


def _check(topic: Topic, subscription: Subscription, name: str, value: str) -> None:
    if name == "RawMessageDelivery":
        if value.lower() not in ("true", "false"):
            raise invalid(f"RawMessageDelivery: Invalid value [{value}]. Must be true or false.")
        if value.lower() == "true" and subscription.protocol not in ("sqs", "http", "https"):
            raise invalid(f"Delivery protocol [{subscription.protocol}] does not support raw message delivery.")
    elif name == "FilterPolicyScope":
        if value not in ("MessageAttributes", "MessageBody"):
            raise invalid(
                f"FilterPolicyScope: Invalid value [{value}]. Please use either MessageBody or MessageAttributes"
            )
    elif name == "DeliveryPolicy":
        if value and subscription.protocol not in ("http", "https"):
            raise invalid(f"DeliveryPolicy: The protocol {subscription.protocol} takes no delivery policy")
        check_subscription_policy(value)
    elif name == "RedrivePolicy" and value:
        _check_redrive(topic, subscription, value)


def _check_redrive(topic: Topic, subscription: Subscription, value: str) -> None:
    if len(value) > 2048:
        raise invalid("RedrivePolicy: the policy is too long")
    fault = json_fault(value)
    if fault is not None:
        raise invalid(f"RedrivePolicy: failed to parse JSON. {fault}")
    target = dead_letter_arn(value)
    try:
        found = parse_arn(target)
    except ValueError:
        raise invalid("RedrivePolicy: deadLetterTargetArn is an invalid arn") from None
    if found.service != "sqs" or not found.account_id.isdigit() or not found.resource:
        raise invalid("RedrivePolicy: deadLetterTargetArn is an invalid arn")
    if found.region != topic.key[1]:
        raise invalid("RedrivePolicy: deadLetterTargetArn must be in the region of the topic")
    fifo = subscription.endpoint.endswith(".fifo") and topic.fifo
    if fifo and not found.resource.endswith(".fifo"):
        raise invalid("RedrivePolicy: must use a FIFO queue as DLQ for a FIFO Subscription to a FIFO Topic.")
    if found.resource.endswith(".fifo") and not topic.fifo:
        raise invalid("RedrivePolicy: must use a standard queue as DLQ for a subscription to a standard topic.")


def dead_letter_arn(policy: str) -> str:
    """The queue of a redrive policy, "" where it names none."""
    document: Any = json.loads(policy)
    target = document.get("deadLetterTargetArn") if isinstance(document, dict) else None
    return target if isinstance(target, str) else ""


def shown(topic: Topic, subscription: Subscription) -> dict[str, str]:
    """As GetSubscriptionAttributes answers."""
    own = subscription.attributes
    attributes = {
        "SubscriptionArn": subscription.arn,
        "TopicArn": topic.arn,
        "Owner": subscription.owner,
        "Protocol": subscription.protocol,
        "Endpoint": subscription.shown_endpoint,
        "PendingConfirmation": _text(subscription.pending),
        "ConfirmationWasAuthenticated": _text(subscription.authenticated),
        "RawMessageDelivery": own.get("RawMessageDelivery", "false"),
        "SubscriptionPrincipal": subscription.principal,
    }
    if "FilterPolicy" in own:
        attributes["FilterPolicy"] = own["FilterPolicy"]
        attributes["FilterPolicyScope"] = own.get("FilterPolicyScope", "MessageAttributes")
    if "RedrivePolicy" in own:
        attributes["RedrivePolicy"] = own["RedrivePolicy"]
    if subscription.protocol in ("http", "https"):
        policy = subscription_policy(topic.attributes.get("DeliveryPolicy"), own.get("DeliveryPolicy"))
        attributes["EffectiveDeliveryPolicy"] = json.dumps(policy)
        if "DeliveryPolicy" in own:
            attributes["DeliveryPolicy"] = own["DeliveryPolicy"]
    return attributes


def _text(value: bool) -> str:
    return "true" if value else "false"
