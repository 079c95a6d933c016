"""Publishing: one transaction writes a job for every subscription that wants the message.

Standard topics: each job carries what its subscriber receives. FIFO topics: the messages of a group go into the outbox
in their order, and jobs only say that something is there (`delivering.py` takes it out in order).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cbor2
from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass, replace
from alonzo.engine.queue import Delivery
from alonzo.services.sns import store
from alonzo.services.sns.envelopes import Envelopes
from alonzo.services.sns.errors import no_topic
from alonzo.services.sns.filtering import Wanted
from alonzo.services.sns.messages import sequence_text
from alonzo.services.sns.models import Message, Subscription, Topic
from alonzo.services.sns.state import State

PRINCIPAL = "sns.amazonaws.com"
_REMEMBERED_S = 300.0
_RECORDED = ("email", "email-json", "sms")
#: Bytes of one publication's jobs beyond which the message is written once, and rendered at each delivery.
_INLINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Published:
    """What the publisher is told: `sequence` is "" but for FIFO topics."""

    message_id: str
    sequence: str = ""


async def publish(state: State, ctx: Context, topic: Topic, messages: Sequence[Message]) -> list[Published]:
    """Accept messages for a topic: when it returns, they are on disk with the jobs that deliver them."""
    endpoint = state.endpoint(ctx)
    if topic.fifo:
        published = await state.db.write(lambda connection: _to_fifo(state, connection, topic, messages, endpoint))
        state.queue.wake()
        return published
    if topic.subscriptions:
        await state.signer.prepare()
    plans = [_plan(state, topic, message, endpoint) for message in messages]
    if any(plan.jobs or plan.recorded for plan in plans):

        def write(connection: Connection) -> None:
            for plan in plans:
                if plan.parcel is not None:
                    users = [job.params["subscription"] for job in plan.jobs]
                    store.add_parcel(connection, plan.message_id, plan.parcel, users)
                state.queue.enqueue(connection, *plan.jobs)
                store.add_recorded(connection, *topic.key[:2], plan.recorded)

        await state.db.write(write)
        state.queue.wake()
    return [Published(message.id) for message in messages]


@dataclass(frozen=True, slots=True)
class _Plan:
    message_id: str
    jobs: Sequence[Delivery]
    recorded: Sequence[dict[str, Any]]
    parcel: bytes | None


def _plan(state: State, topic: Topic, message: Message, endpoint: str) -> _Plan:
    wanted = Wanted(message)
    receivers = [one for one in topic.subscriptions if not one.pending and wanted.by(one)]
    recorded = [record(topic, one, message) for one in receivers if one.protocol in _RECORDED]
    receivers = [one for one in receivers if one.protocol not in _RECORDED]
    parcel = None
    if len(receivers) > 1 and len(receivers) * (len(message.text) + 1_000) > _INLINE_BYTES:
        parcel = cbor2.dumps(packed(message, endpoint))
        jobs = [_job(state, topic, one, "Notify", {"parcel": message.id}, message) for one in receivers]
    else:
        envelopes = Envelopes(topic, message, state.signer, endpoint)
        jobs = [_job(state, topic, one, "Notify", rendered(envelopes, one, message), message) for one in receivers]
    return _Plan(message.id, jobs, recorded, parcel)


def packed(message: Message, endpoint: str) -> dict[str, Any]:
    """A message as it is stored once for many deliveries."""
    return {
        "id": message.id,
        "text": message.text,
        "timestamp": message.timestamp,
        "subject": message.subject,
        "texts": dict(message.texts),
        "attributes": {name: dict(value) for name, value in message.attributes.items()},
        "group": message.group,
        "endpoint": endpoint,
    }


def rendered(envelopes: Envelopes, subscription: Subscription, message: Message) -> dict[str, Any]:
    """What one subscriber receives: `body`, and what goes beside it."""
    content: dict[str, Any] = {"message_id": message.id}
    if subscription.protocol == "lambda":
        content["body"] = envelopes.event(subscription)
    elif subscription.raw:
        content["body"] = message.text_for(subscription.protocol)
        content["attributes"] = {name: dict(value) for name, value in message.attributes.items()}
    else:
        content["body"] = envelopes.envelope(subscription)
    if message.group:
        content["group"] = message.group
    if message.deduplication:
        content["deduplication"] = message.deduplication
    return content


def _job(
    state: State, topic: Topic, subscription: Subscription, name: str, params: dict[str, Any], message: Message
) -> Delivery:
    lane = subscription.id + (f"/{message.group}" if topic.fifo else "")
    return Delivery(
        id=state.ids.uuid(),
        account_id=topic.key[0],
        region=topic.key[1],
        service="sns",
        operation=name,
        params={"subscription": subscription.arn, **params},
        principal=PRINCIPAL,
        source_arn=topic.arn,
        trace_header=message.trace_header,
        labels={"lane": lane, "message": message.id},
    )


# -- FIFO -------------------------------------------------------------------------------------------------------------


def _to_fifo(
    state: State, connection: Connection, topic: Topic, messages: Sequence[Message], endpoint: str
) -> list[Published]:
    now = state.clock.now()
    store.forget_recent(connection, now)
    published = []
    for message in messages:
        known = _deduplication_key(topic, message)
        found = store.get_recent(connection, topic.key, known, now)
        if found is not None:
            published.append(Published(*found))
            continue
        if store.get_topic(connection, topic.key) is None:
            raise no_topic()
        sequence = sequence_text(store.next_sequence(connection, topic.key))
        message = replace(message, sequence=sequence)
        store.add_recent(connection, topic.key, known, message.id, sequence, now + _REMEMBERED_S)
        _into_outbox(state, connection, topic, message, endpoint)
        published.append(Published(message.id, sequence))
    return published


def _deduplication_key(topic: Topic, message: Message) -> str:
    if topic.attributes.get("FifoThroughputScope") == "MessageGroup":
        return f"{message.group}\n{message.deduplication}"
    return message.deduplication


def _into_outbox(state: State, connection: Connection, topic: Topic, message: Message, endpoint: str) -> None:
    wanted = Wanted(message)
    envelopes = Envelopes(topic, message, state.signer, endpoint)
    for subscription in topic.subscriptions:
        if subscription.pending or not wanted.by(subscription):
            continue
        body = cbor2.dumps(rendered(envelopes, subscription, message))
        seq = store.add_outbox(connection, subscription.arn, message.group, body)
        params = {"group": message.group, "last": seq}
        state.queue.enqueue(connection, _job(state, topic, subscription, "NotifyGroup", params, message))


# -- e-mails and text messages ----------------------------------------------------------------------------------------


def record(topic: Topic | None, subscription: Subscription, message: Message) -> dict[str, Any]:
    subject = message.subject or (topic.attributes.get("DisplayName") if topic is not None else "") or ""
    return {
        "protocol": subscription.protocol,
        "endpoint": subscription.endpoint,
        "subject": subject or "AWS Notification Message",
        "body": message.text_for(subscription.protocol),
        "message_id": message.id,
        "topic": topic.arn if topic is not None else "",
        "recorded_at": message.timestamp,
    }


async def send_text(state: State, ctx: Context, number: str, message: Message) -> None:
    """Publish to a phone number: recorded, as nothing is sent."""
    row = {
        "protocol": "sms",
        "endpoint": number,
        "subject": message.subject or "",
        "body": message.text_for("sms"),
        "message_id": message.id,
        "topic": "",
        "recorded_at": message.timestamp,
    }
    await state.db.write(lambda connection: store.add_recorded(connection, ctx.account_id, ctx.region, [row]))
