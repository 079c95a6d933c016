"""A new subscription: what it may be, whether it must be confirmed, and asking for that."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from alonzo.core.arn import parse_arn
from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params
from alonzo.engine.queue import Delivery
from alonzo.services.sns import store, subscription_attributes
from alonzo.services.sns.endpoints import check_endpoint, may_be_private
from alonzo.services.sns.models import Subscription, Topic
from alonzo.services.sns.publishing import PRINCIPAL
from alonzo.services.sns.state import State

#: One publication is one transaction over a topic's subscriptions. AWS takes 12.5 million.
_MAX_SUBSCRIPTIONS = 10_000
_MAX_FIFO_SUBSCRIPTIONS = 100
_MAX_FILTER_POLICIES = 200


def new_subscription(state: State, ctx: Context, topic: Topic, params: Params) -> Subscription:
    """Raises InvalidParameter."""
    protocol, endpoint = params["Protocol"], params.get("Endpoint") or ""
    check_endpoint(ctx, topic, protocol, endpoint)
    pending = _must_confirm(ctx, protocol, endpoint)
    new = Subscription(
        topic.key,
        state.ids.uuid(),
        ctx.account_id,
        protocol,
        endpoint,
        {},
        ctx.principal.role_arn or ctx.principal.arn,
        pending,
        state.ids.hex(128),
        not pending,
        False,
        may_be_private(ctx),
        state.clock.now(),
    )
    return replace(new, attributes=subscription_attributes.at_subscribe(topic, new, params.get("Attributes") or {}))


def _must_confirm(ctx: Context, protocol: str, endpoint: str) -> bool:
    """Whoever owns the queue or the function need not be asked; text messages are never asked for."""
    if protocol in ("sqs", "lambda"):
        return parse_arn(endpoint).account_id != ctx.account_id
    return protocol != "sms"


def check_limits(connection: Connection, topic: Topic, new: Subscription) -> None:
    """Raises SubscriptionLimitExceeded, FilterPolicyLimitExceeded."""
    limit = _MAX_FIFO_SUBSCRIPTIONS if topic.fifo else _MAX_SUBSCRIPTIONS
    if store.count_subscriptions(connection, topic.key) >= limit:
        raise ServiceError(
            "SubscriptionLimitExceeded", f"The topic has {limit} subscriptions, which is the limit.", status=403
        )
    if "FilterPolicy" in new.attributes:
        filters = sum("FilterPolicy" in one.attributes for one in topic.subscriptions)
        if filters >= _MAX_FILTER_POLICIES:
            raise ServiceError(
                "FilterPolicyLimitExceeded",
                f"The topic has {filters} filter policies; the limit is {_MAX_FILTER_POLICIES}.",
                status=403,
            )


def ask(state: State, connection: Connection, topic: Topic, subscription: Subscription, endpoint: str) -> None:
    """Write what asks for the confirmation, in the caller's transaction; the signer has been prepared."""
    if subscription.protocol in ("email", "email-json"):
        row = {
            "protocol": subscription.protocol,
            "endpoint": subscription.endpoint,
            "subject": "AWS Notification - Subscription Confirmation",
            "body": (
                f"You have chosen to subscribe to the topic {topic.arn}.\nTo confirm: {endpoint}/"
                f"?Action=ConfirmSubscription&TopicArn={topic.arn}&Token={subscription.token}&Version=2010-03-31"
            ),
            "message_id": state.ids.uuid(),
            "topic": topic.arn,
            "recorded_at": state.clock.now(),
        }
        store.add_recorded(connection, *topic.key[:2], [row])
        return
    job = Delivery(
        id=state.ids.uuid(),
        account_id=topic.key[0],
        region=topic.key[1],
        service="sns",
        operation="Confirm",
        params={"subscription": subscription.arn, "endpoint": endpoint, "message_id": state.ids.uuid()},
        principal=PRINCIPAL,
        source_arn=topic.arn,
        labels={"lane": subscription.id},
    )
    state.queue.enqueue(connection, job)
