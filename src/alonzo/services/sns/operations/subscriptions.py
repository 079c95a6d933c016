"""Subscriptions: making, confirming, listing, changing and ending them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.sns import store, subscription_attributes
from alonzo.services.sns.errors import invalid, no_subscription, no_topic
from alonzo.services.sns.models import PAGE, Subscription, Topic, own_region, subscription_key, topic_key
from alonzo.services.sns.paging import read_token, write_token
from alonzo.services.sns.state import State
from alonzo.services.sns.subscribing import ask, check_limits, new_subscription

_PENDING = "pending confirmation"
_TOKEN = re.compile(r"^[0-9a-f]{128}\Z")


async def subscribe(state: State, ctx: Context, params: Params) -> Result:
    key = topic_key(params["TopicArn"])
    own_region(ctx, key)
    topic = state.topic(key)
    new = new_subscription(state, ctx, topic, params)
    endpoint = state.endpoint(ctx)
    await state.signer.prepare()

    def write(connection: Connection) -> Subscription:
        if store.get_topic(connection, key) is None:
            raise no_topic()
        found = store.find_endpoint(connection, key, new.protocol, new.endpoint)
        if found is not None:
            given = params.get("Attributes") or {}
            if any(found.attributes.get(name, "") != new.attributes.get(name, "") for name in given):
                raise invalid("Attributes Reason: Subscription already exists with different attributes")
            if found.pending:
                ask(state, connection, topic, found, endpoint)
            return found
        check_limits(connection, topic, new)
        store.add_subscription(connection, new)
        if new.pending:
            ask(state, connection, topic, new, endpoint)
        return new

    subscription = await state.write_subscription(key, write)
    state.queue.wake()
    shown = not subscription.pending or params.get("ReturnSubscriptionArn")
    return {"SubscriptionArn": subscription.arn if shown else _PENDING}


async def confirm_subscription(state: State, ctx: Context, params: Params) -> Result:
    key = topic_key(params["TopicArn"])
    token = params["Token"]
    if not _TOKEN.match(token):
        raise invalid("Token")
    authenticate = (params.get("AuthenticateOnUnsubscribe") or "false").lower()
    if authenticate not in ("true", "false"):
        raise invalid("AuthenticateOnUnsubscribe")
    topic = state.topic(key)
    subscription = next((one for one in topic.subscriptions if one.token == token), None)
    if subscription is None:
        raise ServiceError("InvalidParameter", "Invalid token")
    if subscription.pending:

        def write(connection: Connection) -> None:
            store.set_subscription(
                connection,
                key,
                subscription.id,
                pending=False,
                authenticated=ctx.principal.kind != "anonymous",
                authenticate_on_unsubscribe=authenticate == "true",
            )

        await state.write(key, write)
    return {"SubscriptionArn": subscription.arn}


async def unsubscribe(state: State, ctx: Context, params: Params) -> Result:
    text = params["SubscriptionArn"]
    if text.lower() in ("pendingconfirmation", _PENDING):
        raise invalid("SubscriptionArn Reason: " + text)
    try:
        key, subscription_id = subscription_key(text)
    except ServiceError as error:
        if error.code == "NotFound":
            raise invalid("SubscriptionId") from None
        raise
    if state.find_subscription(key, subscription_id) is not None:
        await state.write(key, lambda connection: store.delete_subscription(connection, key, subscription_id))
    return {}


async def list_subscriptions(state: State, ctx: Context, params: Params) -> Result:
    topic, subscription = read_token(params.get("NextToken"), 2)
    found = await state.db.read(
        lambda connection: store.list_of_owner(connection, ctx.account_id, ctx.region, (topic, subscription), PAGE + 1)
    )
    return _page(found, lambda last: write_token(last.topic[2], last.id))


async def list_subscriptions_by_topic(state: State, ctx: Context, params: Params) -> Result:
    key = topic_key(params["TopicArn"])
    own_region(ctx, key)
    state.topic(key)
    (after,) = read_token(params.get("NextToken"), 1)
    found = await state.db.read(lambda connection: store.list_of_topic(connection, key, after, PAGE + 1))
    return _page(found, lambda last: write_token(last.id))


def _page(found: Sequence[Subscription], token: Callable[[Subscription], str]) -> Result:
    result: Result = {
        "Subscriptions": [
            {
                "SubscriptionArn": "PendingConfirmation" if one.pending else one.arn,
                "Owner": one.owner,
                "Protocol": one.protocol,
                "Endpoint": one.shown_endpoint,
                "TopicArn": one.topic_arn,
            }
            for one in found[:PAGE]
        ]
    }
    if len(found) > PAGE:
        result["NextToken"] = token(found[PAGE - 1])
    return result


async def get_subscription_attributes(state: State, ctx: Context, params: Params) -> Result:
    topic, subscription = _find(state, ctx, params)
    return {"Attributes": subscription_attributes.shown(topic, subscription)}


async def set_subscription_attributes(state: State, ctx: Context, params: Params) -> Result:
    topic, subscription = _find(state, ctx, params)
    change = {params["AttributeName"]: params.get("AttributeValue") or ""}
    subscription_attributes.changed(topic, subscription, change)

    def write(connection: Connection) -> None:
        found = store.get_subscription(connection, topic.key, subscription.id)
        if found is None:
            raise no_subscription()
        attributes = subscription_attributes.changed(topic, found, change)
        store.set_subscription(connection, topic.key, found.id, attributes=attributes)

    await state.write(topic.key, write)
    return {}


def _find(state: State, ctx: Context, params: Params) -> tuple[Topic, Subscription]:
    key, subscription_id = subscription_key(params["SubscriptionArn"])
    own_region(ctx, key)
    topic = state.find_topic(key)
    subscription = state.find_subscription(key, subscription_id)
    if topic is None or subscription is None:
        raise no_subscription()
    return topic, subscription
