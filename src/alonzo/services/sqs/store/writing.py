"""Writing messages, many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select, update

from alonzo.services.sqs.models import Message, Queue
from alonzo.services.sqs.store.tables import dedups, garbage, messages, queues
from alonzo.storage import ForKeys, InsertMany, run_each


class Held(NamedTuple):
    """What the index keeps of a message: where it stands, and what receiving it changed."""

    seq: int
    visible_ms: int
    receives: int
    first_ms: int
    receipt: int
    group_id: str | None


class NewMessage(NamedTuple):
    """A message to insert; `dedup` is (scope, id, expiry) in FIFO queues."""

    message: Message
    visible_ms: int
    dedup: tuple[str, str, int] | None = None


class Duplicate(NamedTuple):
    """The message that was sent before with the same deduplication id."""

    message_id: str
    seq: int


class Move(NamedTuple):
    """A message that goes to another queue, as number `new_seq`, keeping its id and its count of receives."""

    seq: int
    new_seq: int
    queue_id: int
    sent_ms: int
    dlq_source: str | None
    receives: int
    first_ms: int
    group_id: str | None


def last_seq(connection: Connection) -> int:
    """The greatest number given, as far as the rows still tell."""
    columns = (messages.c.seq, dedups.c.seq, queues.c.purged_seq, garbage.c.up_to_seq)
    return max(connection.execute(select(func.max(column))).scalar() or 0 for column in columns)


#: Column sets, so that most messages bind few values.
_PLAIN = ("seq", "queue_id", "message_id", "body", "sent_ms", "visible_ms", "sender_id", "count", "first_ms", "receipt")
_FULL = (*_PLAIN, "attributes", "group_id", "dedup_id", "trace")


def _insert(names: Sequence[str]) -> InsertMany:
    return InsertMany(f"INSERT INTO {messages.name} ({', '.join(names)})", f"({', '.join('?' * len(names))})")


_insert_plain = _insert(_PLAIN)
_insert_full = _insert(_FULL)


def insert_messages(connection: Connection, new: Sequence[NewMessage], now_ms: int) -> dict[int, Duplicate]:
    """Write messages but those whose deduplication id was used before; these by their `seq`."""
    duplicates: dict[int, Duplicate] = {}
    plain: list[tuple[Any, ...]] = []
    full: list[tuple[Any, ...]] = []
    for one in new:
        m = one.message
        if one.dedup is not None:
            before = _deduplicate(connection, one, now_ms)
            if before is not None:
                duplicates[m.seq] = before
                continue
        row = (m.seq, m.queue_id, m.message_id, m.body, m.sent_ms, one.visible_ms, m.sender_id, 0, 0, 0)
        if m.attributes is None and m.group_id is None and m.trace is None:
            plain.append(row)
        else:
            full.append((*row, m.attributes, m.group_id, m.dedup_id, m.trace))
    _insert_plain.run(connection, plain)
    _insert_full.run(connection, full)
    return duplicates


def _deduplicate(connection: Connection, one: NewMessage, now_ms: int) -> Duplicate | None:
    assert one.dedup is not None
    scope, dedup_id, expires_ms = one.dedup
    message = one.message
    key = (dedups.c.queue_id == message.queue_id) & (dedups.c.scope == scope) & (dedups.c.dedup_id == dedup_id)
    found = connection.execute(select(dedups.c.message_id, dedups.c.seq, dedups.c.expires_ms).where(key)).first()
    if found is not None and found.expires_ms > now_ms:
        return Duplicate(found.message_id, found.seq)
    values = {"message_id": message.message_id, "seq": message.seq, "expires_ms": expires_ms}
    if found is not None:
        connection.execute(update(dedups).where(key).values(values))
    else:
        connection.execute(insert(dedups).values(queue_id=message.queue_id, scope=scope, dedup_id=dedup_id, **values))
    return None


_DELETE = ForKeys(f"DELETE FROM {messages.name} WHERE seq IN (?)")


def delete_messages(connection: Connection, seqs: Sequence[int]) -> None:
    _DELETE.run(connection, seqs)


_MOVE = (
    update(messages)
    .where(messages.c.seq == bindparam("s"))
    .values(
        seq=bindparam("new_seq"),
        queue_id=bindparam("to_queue"),
        sent_ms=bindparam("to_sent_ms"),
        dlq_source=bindparam("source"),
        count=bindparam("to_count"),
        first_ms=bindparam("to_first_ms"),
        visible_ms=0,
        receipt=0,
    )
)


def move_messages(connection: Connection, moves: Sequence[Move]) -> None:
    connection.execute(
        _MOVE,
        [
            {
                "s": one.seq,
                "new_seq": one.new_seq,
                "to_queue": one.queue_id,
                "to_sent_ms": one.sent_ms,
                "source": one.dlq_source,
                "to_count": one.receives,
                "to_first_ms": one.first_ms,
            }
            for one in moves
        ],
    )


_UPDATE = f"UPDATE {messages.name} SET visible_ms = ?, count = ?, first_ms = ?, receipt = ? WHERE seq = ?"


def update_messages(connection: Connection, held: Iterable[Held]) -> None:
    """Write what receiving changed."""
    run_each(connection, _UPDATE, [(h.visible_ms, h.receives, h.first_ms, h.receipt, h.seq) for h in held])


def redelay(connection: Connection, queue: Queue) -> None:
    """A FIFO queue's delay holds for the messages that are in it already."""
    connection.execute(
        update(messages)
        .where(messages.c.queue_id == queue.id, messages.c.seq > queue.purged_seq, messages.c.count == 0)
        .values(visible_ms=messages.c.sent_ms + queue.delay_ms)
    )
