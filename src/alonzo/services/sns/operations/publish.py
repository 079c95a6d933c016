"""Publish and PublishBatch."""

from __future__ import annotations

import re

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.sns.endpoints import check_phone
from alonzo.services.sns.errors import invalid
from alonzo.services.sns.messages import read_message, size_of
from alonzo.services.sns.models import MAX_BYTES, Message, Topic, own_region, topic_key
from alonzo.services.sns.publishing import publish as publish_messages
from alonzo.services.sns.publishing import send_text
from alonzo.services.sns.state import State

_MAX_ENTRIES = 10
_ENTRY_ID = re.compile(r"^[A-Za-z0-9_-]{1,80}\Z")


async def publish(state: State, ctx: Context, params: Params) -> Result:
    targets = [name for name in ("TopicArn", "TargetArn", "PhoneNumber") if params.get(name) is not None]
    if len(targets) != 1:
        raise invalid(
            "TopicArn or TargetArn Reason: "
            + ("no value for required parameter" if not targets else "more than one was given")
        )
    if targets == ["PhoneNumber"]:
        check_phone(params["PhoneNumber"])
        message = _read(state, ctx, params, None)
        await send_text(state, ctx, params["PhoneNumber"], message)
        return {"MessageId": message.id}
    topic = _topic(state, ctx, params, targets[0])
    (published,) = await publish_messages(state, ctx, topic, [_read(state, ctx, params, topic)])
    result: Result = {"MessageId": published.message_id}
    if published.sequence:
        result["SequenceNumber"] = published.sequence
    return result


async def publish_batch(state: State, ctx: Context, params: Params) -> Result:
    entries = params["PublishBatchRequestEntries"]
    if not entries:
        raise ServiceError("EmptyBatchRequest", "The batch request doesn't contain any entries.")
    topic = _topic(state, ctx, params, "TopicArn")
    if len(entries) > _MAX_ENTRIES:
        raise ServiceError("TooManyEntriesInBatchRequest", "The batch request contains more entries than permissible.")
    ids = [entry["Id"] for entry in entries]
    for one in ids:
        if not _ENTRY_ID.match(one):
            raise ServiceError(
                "InvalidBatchEntryId", "The Id of a batch entry in a batch request doesn't abide by the specification."
            )
    if len(set(ids)) != len(ids):
        raise ServiceError("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")
    if sum(size_of(entry) for entry in entries) > MAX_BYTES:
        raise ServiceError(
            "BatchRequestTooLong", "The length of all the batch messages put together is more than the limit."
        )
    published = await publish_messages(state, ctx, topic, [_read(state, ctx, entry, topic) for entry in entries])
    return {
        "Successful": [
            {"Id": one, "MessageId": done.message_id, **({"SequenceNumber": done.sequence} if done.sequence else {})}
            for one, done in zip(ids, published, strict=True)
        ],
        "Failed": [],
    }


def _topic(state: State, ctx: Context, params: Params, name: str) -> Topic:
    arn = params[name]
    if name == "TargetArn" and ":endpoint/" in arn:
        raise invalid("TargetArn Reason: No endpoint found for the target arn specified")
    key = topic_key(arn)
    own_region(ctx, key)
    return state.topic(key)


def _read(state: State, ctx: Context, params: Params, topic: Topic | None) -> Message:
    return read_message(
        params, topic, message_id=state.ids.uuid(), now=state.clock.now(), trace_header=ctx.trace_header
    )
