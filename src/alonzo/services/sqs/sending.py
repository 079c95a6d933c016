"""From parameters to a message."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from alonzo.core.context import Context
from alonzo.dispatch import Call, Params, Result
from alonzo.services.sqs.errors import bad_contents, invalid, invalid_value, missing
from alonzo.services.sqs.live import LiveQueue
from alonzo.services.sqs.message_attributes import (
    check_attributes,
    check_system_attributes,
    digest,
    forbidden,
    pack,
)
from alonzo.services.sqs.models import DEDUPLICATION_MS, MAX_DELAY_S, Message, Queue, sequence_number
from alonzo.services.sqs.state import Sqs
from alonzo.services.sqs.store import Duplicate, NewMessage
from alonzo.services.sqs.writer import Sent, Told

_TOKEN = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")
_OTHER_TYPE = "The request includes a parameter that is not valid for this queue type."


class Outgoing(NamedTuple):
    """A message that satisfies every rule but those of size."""

    live: LiveQueue
    message_id: str
    body: str
    size: int
    md5: str
    sender_id: str
    delay_ms: int
    attributes: bytes | None
    attributes_md5: str | None
    trace: str | None
    system_md5: str | None
    group_id: str | None
    dedup_id: str | None


def prepare(state: Sqs, ctx: Context | Call, live: LiveQueue, entry: Params) -> Outgoing:
    """Check one message. Raises ServiceError."""
    queue = live.queue
    body = entry.get("MessageBody")
    if not body:
        raise missing("MessageBody")
    if forbidden(body):
        raise bad_contents()
    encoded = body.encode()
    attributes = entry.get("MessageAttributes")
    size = len(encoded) + (check_attributes(attributes) if attributes else 0)
    system = entry.get("MessageSystemAttributes")
    trace = check_system_attributes(system)[0] if system else None
    group_id, dedup_id = _ordering(queue, entry, encoded)
    return Outgoing(
        live,
        state.parts.ids.uuid(),
        body,
        size,
        hashlib.md5(encoded, usedforsecurity=False).hexdigest(),
        ctx.principal.user_id or ctx.principal.account_id or "anonymous",
        _delay_ms(queue, entry.get("DelaySeconds")),
        pack(attributes) if attributes else None,
        digest(attributes) if attributes else None,
        trace or _tracing(ctx),
        digest(system) if system else None,
        group_id,
        dedup_id,
    )


def _tracing(ctx: Context | Call) -> str | None:
    """The caller's trace goes on through the queue, as with AWS's SDKs."""
    header = ctx.trace_header
    return header if header and len(header) <= 1024 and not forbidden(header) else None


def _delay_ms(queue: Queue, seconds: int | None) -> int:
    if seconds is None:
        return queue.delay_ms
    if not 0 <= seconds <= MAX_DELAY_S:
        raise invalid_value(seconds, "DelaySeconds", f"DelaySeconds must be >= 0 and <= {MAX_DELAY_S}.")
    if queue.fifo:
        if seconds:
            raise invalid_value(
                seconds, "DelaySeconds", "The request include parameter that is not valid for this queue type."
            )
        return queue.delay_ms
    return seconds * 1000


def _ordering(queue: Queue, entry: Mapping[str, Any], body: bytes) -> tuple[str | None, str | None]:
    """The group and the deduplication id."""
    group_id, dedup_id = entry.get("MessageGroupId"), entry.get("MessageDeduplicationId")
    if group_id is not None:
        check_token(group_id, "MessageGroupId")
    if not queue.fifo:
        if dedup_id is not None:
            raise invalid_value(_shown(dedup_id), "MessageDeduplicationId", _OTHER_TYPE)
        return group_id, None
    if group_id is None:
        raise missing("MessageGroupId")
    if dedup_id is not None:
        check_token(dedup_id, "MessageDeduplicationId")
    elif queue.by_content:
        dedup_id = hashlib.sha256(body).hexdigest()
    else:
        raise invalid(
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided "
            "explicitly"
        )
    return group_id, dedup_id


def check_token(value: str, parameter: str) -> None:
    """Ids of groups, deduplication and receive attempts. Raises InvalidParameterValue."""
    if not _TOKEN.fullmatch(value):
        raise invalid_value(
            _shown(value),
            parameter,
            f"{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length.",
        )


def _shown(value: str) -> str:
    return value[:256].encode(errors="replace").decode()


async def send(state: Sqs, out: Outgoing) -> Result:
    """Write a message; it is on disk when the result (SendMessage's) is there."""
    return _result(out, *await state.writer.send(partial(_draft, state, out)))


def send_nowait(state: Sqs, out: Outgoing, told: Told[Result]) -> None:
    """The same for callers without a coroutine."""

    def written(sent: Sent | None, error: BaseException | None) -> None:
        told(_result(out, *sent) if sent is not None else None, error)

    state.writer.send_nowait(partial(_draft, state, out), written)


def _result(out: Outgoing, sent: Message, before: Duplicate | None) -> Result:
    result: Result = {
        "MD5OfMessageBody": out.md5,
        "MessageId": before.message_id if before is not None else sent.message_id,
    }
    if out.attributes_md5 is not None:
        result["MD5OfMessageAttributes"] = out.attributes_md5
    if out.system_md5 is not None:
        result["MD5OfMessageSystemAttributes"] = out.system_md5
    if out.live.queue.fifo:
        result["SequenceNumber"] = sequence_number(before.seq if before is not None else sent.seq)
    return result


def _draft(state: Sqs, out: Outgoing, seq: int) -> NewMessage:
    queue, now_ms = out.live.queue, state.now_ms()
    message = Message(
        seq,
        queue.id,
        out.message_id,
        out.body,
        now_ms,
        out.sender_id,
        out.attributes,
        out.group_id,
        out.dedup_id,
        out.trace,
    )
    dedup = None
    if out.dedup_id is not None:
        scope = out.group_id if queue.per_group else ""
        dedup = (scope or "", out.dedup_id, now_ms + DEDUPLICATION_MS)
    return NewMessage(message, now_ms + out.delay_ms if out.delay_ms else 0, dedup)
