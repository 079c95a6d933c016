"""Which permission each operation needs, and the topic's policy that may grant it.

Confirming needs no permission but the token; unsubscribing by the link in a message needs none either, unless the
subscription asks for it (AuthenticateOnUnsubscribe).
Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html
"""

from __future__ import annotations

from collections.abc import Sequence

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Access, Params
from alonzo.services.sns.models import Key, subscription_key, topic_arn, topic_key
from alonzo.services.sns.state import State

_ACTIONS = {"PublishBatch": "Publish"}
_OF_SUBSCRIPTION = frozenset({"GetSubscriptionAttributes", "SetSubscriptionAttributes", "Unsubscribe"})
_OF_ACCOUNT = frozenset({"ListTopics", "ListSubscriptions"})


async def access_of(state: State, ctx: Context, operation: str, params: Params) -> Sequence[Access]:
    if operation == "ConfirmSubscription":
        return await _confirming(state, ctx, params)
    action = f"SNS:{_ACTIONS.get(operation, operation)}"
    if operation in _OF_ACCOUNT:
        return [Access(action, f"arn:aws:sns:{ctx.region}:{ctx.account_id}:*", ctx.account_id)]
    if operation in _OF_SUBSCRIPTION:
        return _of_subscription(state, ctx, action, params)
    if operation == "Publish" and params.get("PhoneNumber"):
        return [Access(action, params["PhoneNumber"], ctx.account_id)]
    key = _topic_key(ctx, operation, params)
    if key is None:
        # The handler says what is wrong with the name; nobody without any permission learns more than that.
        return [] if ctx.principal.kind != "anonymous" else [Access(action, "*", ctx.account_id)]
    conditions = {}
    if operation == "Subscribe":
        conditions = {"sns:Protocol": params.get("Protocol") or "", "sns:Endpoint": params.get("Endpoint") or ""}
    return [_access(state, action, key, conditions)]


def _access(state: State, action: str, key: Key, conditions: dict[str, str] | None = None) -> Access:
    topic = state.find_topic(key)
    policy = topic.attributes.get("Policy") if topic is not None else None
    return Access(
        action, topic_arn(key), resource_account=key[0], resource_policy=policy or None, conditions=conditions or {}
    )


def _topic_key(ctx: Context, operation: str, params: Params) -> Key | None:
    if operation == "CreateTopic":
        return ctx.account_id, ctx.region, params["Name"]
    try:
        return topic_key(params.get("TopicArn") or params.get("TargetArn") or params.get("ResourceArn") or "")
    except ServiceError:
        return None


def _of_subscription(state: State, ctx: Context, action: str, params: Params) -> Sequence[Access]:
    try:
        key, subscription_id = subscription_key(params["SubscriptionArn"])
    except ServiceError:
        return [] if ctx.principal.kind != "anonymous" else [Access(action, "*", ctx.account_id)]
    found = state.find_subscription(key, subscription_id)
    if action == "SNS:Unsubscribe" and ctx.principal.kind == "anonymous":
        # Whoever has the link may follow it. One that is gone already is answered like one that goes now.
        if found is None or not found.authenticate_on_unsubscribe:
            return []
        return [Access(action, params["SubscriptionArn"], found.owner)]
    if found is not None and found.owner == ctx.account_id:
        # The subscriber decides over the subscription, whoever's topic it is.
        return [Access(action, topic_arn(key), resource_account=found.owner)]
    return [_access(state, action, key)]


async def _confirming(state: State, ctx: Context, params: Params) -> Sequence[Access]:
    if (params.get("AuthenticateOnUnsubscribe") or "").lower() != "true":
        return []
    try:
        key = topic_key(params["TopicArn"])
    except ServiceError:
        return []
    return [_access(state, "SNS:ConfirmSubscription", key)]
