"""Reading messages, and removing those whose time is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select

from alonzo.services.sqs.models import Message, Queue
from alonzo.services.sqs.store.tables import CHUNK, dedups, garbage, messages
from alonzo.services.sqs.store.writing import Held, delete_messages
from alonzo.storage import ForKeys

_HELD = (
    messages.c.seq,
    messages.c.visible_ms,
    messages.c.count,
    messages.c.first_ms,
    messages.c.receipt,
    messages.c.group_id,
)


class Survey(NamedTuple):
    """A queue as a whole: how many messages, when the oldest was sent, the greatest number."""

    total: int
    oldest_ms: int
    last_seq: int


def survey(connection: Connection, queue: Queue) -> Survey:
    row = connection.execute(
        select(func.count(), func.min(messages.c.sent_ms), func.max(messages.c.seq)).where(
            messages.c.queue_id == queue.id, messages.c.seq > queue.purged_seq
        )
    ).one()
    return Survey(row[0], row[1] or 0, row[2] or 0)


def hidden(connection: Connection, queue: Queue, now_ms: int) -> list[Held]:
    """The messages that are delayed or in flight."""
    rows = connection.execute(
        select(*_HELD).where(
            messages.c.queue_id == queue.id, messages.c.seq > queue.purged_seq, messages.c.visible_ms > now_ms
        )
    )
    return [Held(*row) for row in rows]


def following(connection: Connection, queue: Queue, after_seq: int, limit: int) -> list[Held]:
    """The next messages by number, hidden or not."""
    rows = connection.execute(
        select(*_HELD)
        .where(messages.c.queue_id == queue.id, messages.c.seq > max(after_seq, queue.purged_seq))
        .order_by(messages.c.seq)
        .limit(limit)
    )
    return [Held(*row) for row in rows]


_READ = ForKeys(f"SELECT {', '.join(Message._fields)} FROM {messages.name} WHERE seq IN (?)")


def read_messages(connection: Connection, seqs: Sequence[int]) -> list[Message]:
    return [Message(*row) for row in _READ.run(connection, seqs)]


def expired(connection: Connection, queue: Queue, before_ms: int) -> list[int]:
    """Some of the messages that were sent before a time."""
    rows = connection.execute(
        select(messages.c.seq)
        .where(messages.c.queue_id == queue.id, messages.c.seq > queue.purged_seq, messages.c.sent_ms < before_ms)
        .limit(CHUNK)
    )
    return [row[0] for row in rows]


def collect_garbage(connection: Connection) -> bool:
    """Remove some of what deleted queues and purges left. Whether there may be more."""
    row = connection.execute(select(garbage).limit(1)).first()
    if row is None:
        return False
    seqs = connection.execute(
        select(messages.c.seq).where(messages.c.queue_id == row.queue_id, messages.c.seq <= row.up_to_seq).limit(CHUNK)
    )
    found = [seq for (seq,) in seqs]
    delete_messages(connection, found)
    if len(found) < CHUNK:
        connection.execute(delete(garbage).where(garbage.c.id == row.id))
    return True


def forget_deduplications(connection: Connection, now_ms: int) -> bool:
    """Remove some deduplication ids whose time is over. Whether there may be more."""
    rows = connection.execute(
        select(dedups.c.queue_id, dedups.c.scope, dedups.c.dedup_id).where(dedups.c.expires_ms <= now_ms).limit(CHUNK)
    ).all()
    for queue_id, scope, dedup_id in rows:
        connection.execute(
            delete(dedups).where(dedups.c.queue_id == queue_id, dedups.c.scope == scope, dedups.c.dedup_id == dedup_id)
        )
    return len(rows) == CHUNK
