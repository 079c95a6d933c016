"""Delivering: the jobs of the queue, one for each message and subscription.

What cannot be delivered is tried again as `retries.py` says, and then goes to the subscription's dead-letter queue. A
subscriber's error that will not pass (no such queue, not allowed, 404) goes there at once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import cbor2
import orjson
from sqlalchemy import Connection

from alonzo.core.arn import parse_arn
from alonzo.core.context import Context, Principal
from alonzo.core.errors import NotImplementedOperation, ServiceError
from alonzo.dispatch import Attempt, Params
from alonzo.engine.queue import Delivery
from alonzo.services.sns import store
from alonzo.services.sns.envelopes import Envelopes, confirmation, dumps
from alonzo.services.sns.http_post import PostFailed, post
from alonzo.services.sns.models import Message, Subscription, Topic, subscription_key
from alonzo.services.sns.publishing import PRINCIPAL, rendered
from alonzo.services.sns.retries import aws_delay_s, http_delay_s, subscription_policy
from alonzo.services.sns.state import State
from alonzo.services.sns.subscription_attributes import dead_letter_arn

log = logging.getLogger(__name__)

_AGENT = "Amazon Simple Notification Service Agent"


class Failed(Exception):
    """A delivery that did not succeed. `passing`: it may another time."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


# -- the jobs ---------------------------------------------------------------------------------------------------------


async def notify(state: State, ctx: Context, params: Params, attempt: Attempt) -> float | None:
    """Deliver one message of a standard topic to one subscription."""
    topic, subscription = _receiver(state, params)
    parcel = params.get("parcel")
    if topic is not None and subscription is not None:
        content: Mapping[str, Any] | None = params
        if parcel:
            content = await _unpacked(state, topic, subscription, parcel)
        if content is not None:
            again_s = await _deliver(state, ctx, topic, subscription, content, attempt)
            if again_s is not None:
                return again_s
    if parcel:
        user = params["subscription"]
        await state.db.write(lambda connection: store.leave_parcel(connection, parcel, user))
    return None


async def notify_group(state: State, ctx: Context, params: Params, attempt: Attempt) -> float | None:
    """Deliver what a message group holds for one subscription, in order, up to the message of this job."""
    group, last = params["group"], params["last"]
    arn = params["subscription"]
    async with state.groups.alone(arn, group):
        while True:
            found = state.db.read_nowait(lambda connection: store.first_in_outbox(connection, arn, group, last))
            if found is None:
                return None
            seq, body = found
            topic, subscription = _receiver(state, params)
            if topic is not None and subscription is not None:
                again_s = await _deliver(state, ctx, topic, subscription, cbor2.loads(body), attempt)
                if again_s is not None:
                    return again_s
            await state.db.write(lambda connection, seq=seq: store.take_from_outbox(connection, seq))  # type: ignore[misc]


async def confirm(state: State, ctx: Context, params: Params, attempt: Attempt) -> float | None:
    """Ask an endpoint whether it wants to be subscribed."""
    topic, subscription = _receiver(state, params)
    if topic is None or subscription is None or not subscription.pending:
        return None
    await state.signer.prepare()
    body = confirmation(topic, subscription, state.signer, params["endpoint"], params["message_id"])
    content = {"message_id": params["message_id"], "body": body, "type": "SubscriptionConfirmation"}
    try:
        await _send(state, ctx, topic, subscription, content)
    except Failed as failed:
        log.warning("subscription %s cannot be confirmed: %s", subscription.arn, failed)
        return _again_s(topic, subscription, failed, attempt)
    return None


def _receiver(state: State, params: Params) -> tuple[Topic | None, Subscription | None]:
    """None where the topic or the subscription has gone since: nobody waits for the message any more."""
    key, subscription_id = subscription_key(params["subscription"])
    return state.find_topic(key), state.find_subscription(key, subscription_id)


async def _unpacked(state: State, topic: Topic, subscription: Subscription, parcel: str) -> Mapping[str, Any] | None:
    stored = state.db.read_nowait(lambda connection: store.get_parcel(connection, parcel))
    if stored is None:
        return None
    fields = cbor2.loads(stored)
    endpoint = fields.pop("endpoint")
    await state.signer.prepare()
    message = Message(**fields)
    return rendered(Envelopes(topic, message, state.signer, endpoint), subscription, message)


# -- one delivery -----------------------------------------------------------------------------------------------------


async def _deliver(
    state: State, ctx: Context, topic: Topic, subscription: Subscription, content: Mapping[str, Any], attempt: Attempt
) -> float | None:
    try:
        await _send(state, ctx, topic, subscription, content)
        return None
    except Failed as failed:
        again_s = _again_s(topic, subscription, failed, attempt)
        if again_s is None:
            await _give_up(state, ctx, topic, subscription, content, str(failed))
        return again_s


def _again_s(topic: Topic, subscription: Subscription, failed: Failed, attempt: Attempt) -> float | None:
    if not failed.passing:
        return None
    if subscription.protocol not in ("http", "https"):
        return aws_delay_s(attempt.number, attempt.age_s)
    policy = subscription_policy(topic.attributes.get("DeliveryPolicy"), subscription.attributes.get("DeliveryPolicy"))
    return http_delay_s(policy["healthyRetryPolicy"], attempt.number)


async def _give_up(
    state: State, ctx: Context, topic: Topic, subscription: Subscription, content: Mapping[str, Any], why: str
) -> None:
    policy = subscription.attributes.get("RedrivePolicy")
    target = dead_letter_arn(policy) if policy else ""
    if not target:
        log.warning("message %s for %s dropped: %s", content["message_id"], subscription.arn, why)
        return
    log.warning("message %s for %s goes to %s: %s", content["message_id"], subscription.arn, target, why)
    body = content["body"]
    if subscription.protocol == "lambda":
        body = _envelope_of_event(body)
    queue = parse_arn(target)
    job = Delivery(
        # The same for the same message, so that a second try at giving up adds nothing.
        id=f"{content['message_id']}/{subscription.id}",
        account_id=queue.account_id,
        region=queue.region,
        service="sqs",
        operation="SendMessage",
        params=_queue_message(target, {**content, "body": body}),
        principal=PRINCIPAL,
        source_arn=topic.arn,
        trace_header=ctx.trace_header,
        labels={"lane": subscription.id},
    )

    def write(connection: Connection) -> None:
        state.queue.enqueue(connection, job)

    await state.db.write(write)
    state.queue.wake()


def _envelope_of_event(event: bytes) -> str:
    """What a queue receives of what was meant for a function."""
    sns: dict[str, Any] = orjson.loads(event)["Records"][0]["Sns"]
    spelling = {"SigningCertUrl": "SigningCertURL", "UnsubscribeUrl": "UnsubscribeURL"}
    return dumps({spelling.get(name, name): value for name, value in sns.items() if value})


async def _send(
    state: State, ctx: Context, topic: Topic, subscription: Subscription, content: Mapping[str, Any]
) -> None:
    """Raises Failed."""
    if subscription.protocol in ("http", "https"):
        await _post(topic, subscription, content)
        return
    target = parse_arn(subscription.endpoint)
    if subscription.protocol == "sqs":
        service, operation = "sqs", "SendMessage"
        params = _queue_message(subscription.endpoint, content)
        if ctx.trace_header:
            params["MessageSystemAttributes"] = {
                "AWSTraceHeader": {"DataType": "String", "StringValue": ctx.trace_header}
            }
    else:
        service, operation = "lambda", "Invoke"
        params = {"FunctionName": subscription.endpoint, "InvocationType": "Event", "Payload": content["body"]}
    acting = Context(
        target.account_id,
        target.region,
        Principal.service(PRINCIPAL, topic.key[0]),
        ctx.request_id,
        source_arn=topic.arn,
        source_account=topic.key[0],
        trace_header=ctx.trace_header,
    )
    try:
        await state.dispatcher.call(acting, service, operation, params)
    except ServiceError as error:
        raise Failed(str(error), passing=_may_pass(error)) from None


def _may_pass(error: ServiceError) -> bool:
    if isinstance(error, NotImplementedOperation):
        return False
    return error.status >= 500 or error.status == 429 or "Throttl" in error.code


def _queue_message(queue_arn: str, content: Mapping[str, Any]) -> dict[str, Any]:
    queue = parse_arn(queue_arn)
    params: dict[str, Any] = {
        "QueueUrl": f"http://localhost/{queue.account_id}/{queue.resource}",
        "MessageBody": content["body"],
    }
    if content.get("attributes"):
        params["MessageAttributes"] = content["attributes"]
    fifo = queue.resource.endswith(".fifo")
    if content.get("group") and (fifo or not content.get("deduplication")):
        params["MessageGroupId"] = content["group"]
    if content.get("deduplication") and fifo:
        params["MessageDeduplicationId"] = content["deduplication"]
    return params


async def _post(topic: Topic, subscription: Subscription, content: Mapping[str, Any]) -> None:
    policy = subscription_policy(topic.attributes.get("DeliveryPolicy"), subscription.attributes.get("DeliveryPolicy"))
    headers = {
        "x-amz-sns-message-type": content.get("type", "Notification"),
        "x-amz-sns-message-id": content["message_id"],
        "x-amz-sns-topic-arn": topic.arn,
        "x-amz-sns-subscription-arn": subscription.arn,
        "Content-Type": policy["requestPolicy"]["headerContentType"],
        "User-Agent": _AGENT,
    }
    if subscription.raw and "type" not in content:
        headers["x-amz-sns-rawdelivery"] = "true"
    if "type" in content:
        del headers["x-amz-sns-subscription-arn"]
    try:
        await post(subscription.endpoint, headers, content["body"].encode(), private=subscription.private)
    except PostFailed as failed:
        raise Failed(str(failed), passing=failed.passing) from None
