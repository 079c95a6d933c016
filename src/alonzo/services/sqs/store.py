"""Queues and messages: all of this service's SQL.

A message is on disk before it is acknowledged and gone from disk before its deletion is. What receiving changes (the
count, the receipt, until when it is hidden) is written a moment later, together with others' (`update`): after a crash
a message may be visible again at once and lack the receives of that moment; it is never lost.

Queues and purges leave their messages behind, out of reach, with a row in `sqs_garbage`; the sweep removes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from alonzo.services.sqs.models import Message, MoveTask, Queue
from alonzo.storage import metadata

_Id = BigInteger().with_variant(Integer, "sqlite")

_queues = Table(
    "sqs_queue",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", String, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("modified_ms", BigInteger, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("purged_seq", BigInteger, nullable=False),
    UniqueConstraint("account_id", "region", "name"),
    sqlite_autoincrement=True,
)

# Messages are found through their queue, which account and region lead. `seq` grows with time: its high bits are the
# millisecond of arrival. `receipt` is the random part of the last receipt handle.
_messages = Table(
    "sqs_message",
    metadata,
    Column("seq", _Id, primary_key=True, autoincrement=False),
    Column("queue_id", _Id, nullable=False),
    Column("message_id", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("attributes", LargeBinary),
    Column("sent_ms", BigInteger, nullable=False),
    Column("visible_ms", BigInteger, nullable=False),
    Column("sender_id", String, nullable=False),
    Column("group_id", String),
    Column("dedup_id", String),
    Column("trace", String),
    Column("dlq_source", String),
    Column("count", Integer, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("receipt", BigInteger, nullable=False),
    Index("sqs_message_of_queue", "queue_id", "seq", "visible_ms", "sent_ms"),
)

_dedups = Table(
    "sqs_deduplication",
    metadata,
    Column("queue_id", _Id, primary_key=True),
    Column("scope", String, primary_key=True),
    Column("dedup_id", String, primary_key=True),
    Column("message_id", String, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("sqs_deduplication_expiry", "expires_ms"),
)

_garbage = Table(
    "sqs_garbage",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("queue_id", _Id, nullable=False),
    Column("up_to_seq", BigInteger, nullable=False),
)

_moves = Table(
    "sqs_move_task",
    metadata,
    Column("id", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("source", String, nullable=False),
    Column("destination", String, nullable=False),
    Column("rate", Integer, nullable=False),
    Column("status", String, nullable=False),
    Column("moved", BigInteger, nullable=False),
    Column("to_move", BigInteger, nullable=False),
    Column("failure", String, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Index("sqs_move_task_of_source", "account_id", "region", "source", "started_ms"),
)

_CHUNK = 500


def _names(table: Table) -> list[str]:
    return [column.name for column in table.columns]


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


# -- queues -----------------------------------------------------------------------------------------------------------


def all_queues(connection: Connection) -> list[Queue]:
    return [Queue(**row._mapping) for row in connection.execute(select(_queues))]


def add_queue(connection: Connection, queue: Queue) -> int:
    values = {name: getattr(queue, name) for name in _names(_queues) if name != "id"}
    done = connection.execute(insert(_queues).values(values))
    assert done.inserted_primary_key is not None
    return int(done.inserted_primary_key[0])


def change_queue(connection: Connection, queue: Queue) -> None:
    connection.execute(
        update(_queues)
        .where(_queues.c.id == queue.id)
        .values(attributes=dict(queue.attributes), tags=dict(queue.tags), modified_ms=queue.modified_ms)
    )


def delete_queue(connection: Connection, queue: Queue, last_seq: int) -> None:
    connection.execute(delete(_queues).where(_queues.c.id == queue.id))
    connection.execute(insert(_garbage).values(queue_id=queue.id, up_to_seq=last_seq))


def purge(connection: Connection, queue_id: int, last_seq: int) -> None:
    connection.execute(update(_queues).where(_queues.c.id == queue_id).values(purged_seq=last_seq))
    connection.execute(insert(_garbage).values(queue_id=queue_id, up_to_seq=last_seq))


# -- writing messages -------------------------------------------------------------------------------------------------


def last_seq(connection: Connection) -> int:
    """The greatest number given, as far as the rows still tell."""
    found = connection.execute(select(func.max(_messages.c.seq))).scalar() or 0
    dedup = connection.execute(select(func.max(_dedups.c.seq))).scalar() or 0
    purged = connection.execute(select(func.max(_queues.c.purged_seq))).scalar() or 0
    garbage = connection.execute(select(func.max(_garbage.c.up_to_seq))).scalar() or 0
    return max(found, dedup, purged, garbage)


_INSERT = insert(_messages)


def insert_messages(connection: Connection, new: Sequence[NewMessage], now_ms: int) -> dict[int, Duplicate]:
    """Write messages but those whose deduplication id was used before; these by their `seq`."""
    duplicates: dict[int, Duplicate] = {}
    rows = []
    for one in new:
        message = one.message
        if one.dedup is not None:
            before = _deduplicate(connection, one, now_ms)
            if before is not None:
                duplicates[message.seq] = before
                continue
        rows.append(
            {
                "seq": message.seq,
                "queue_id": message.queue_id,
                "message_id": message.message_id,
                "body": message.body,
                "attributes": message.attributes,
                "sent_ms": message.sent_ms,
                "visible_ms": one.visible_ms,
                "sender_id": message.sender_id,
                "group_id": message.group_id,
                "dedup_id": message.dedup_id,
                "trace": message.trace,
                "dlq_source": message.dlq_source,
                "count": 0,
                "first_ms": 0,
                "receipt": 0,
            }
        )
    if rows:
        connection.execute(_INSERT, rows)
    return duplicates


def _deduplicate(connection: Connection, one: NewMessage, now_ms: int) -> Duplicate | None:
    assert one.dedup is not None
    scope, dedup_id, expires_ms = one.dedup
    message = one.message
    key = (_dedups.c.queue_id == message.queue_id) & (_dedups.c.scope == scope) & (_dedups.c.dedup_id == dedup_id)
    found = connection.execute(select(_dedups.c.message_id, _dedups.c.seq, _dedups.c.expires_ms).where(key)).first()
    if found is not None and found.expires_ms > now_ms:
        return Duplicate(found.message_id, found.seq)
    values = {"message_id": message.message_id, "seq": message.seq, "expires_ms": expires_ms}
    if found is not None:
        connection.execute(update(_dedups).where(key).values(values))
    else:
        connection.execute(insert(_dedups).values(queue_id=message.queue_id, scope=scope, dedup_id=dedup_id, **values))
    return None


_DELETE = delete(_messages).where(_messages.c.seq == bindparam("s"))


def delete_messages(connection: Connection, seqs: Iterable[int]) -> None:
    rows = [{"s": seq} for seq in seqs]
    if rows:
        connection.execute(_DELETE, rows)


_MOVE = (
    update(_messages)
    .where(_messages.c.seq == bindparam("s"))
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


_UPDATE = (
    update(_messages)
    .where(_messages.c.seq == bindparam("s"))
    .values(visible_ms=bindparam("v"), count=bindparam("c"), first_ms=bindparam("f"), receipt=bindparam("r"))
)


def update_messages(connection: Connection, held: Iterable[Held]) -> None:
    """Write what receiving changed."""
    rows = [{"s": h.seq, "v": h.visible_ms, "c": h.receives, "f": h.first_ms, "r": h.receipt} for h in held]
    if rows:
        connection.execute(_UPDATE, rows)


def redelay(connection: Connection, queue: Queue) -> None:
    """A FIFO queue's delay holds for the messages that are in it already."""
    connection.execute(
        update(_messages)
        .where(_messages.c.queue_id == queue.id, _messages.c.seq > queue.purged_seq, _messages.c.count == 0)
        .values(visible_ms=_messages.c.sent_ms + queue.delay_ms)
    )


# -- reading messages -------------------------------------------------------------------------------------------------

_HELD = (
    _messages.c.seq,
    _messages.c.visible_ms,
    _messages.c.count,
    _messages.c.first_ms,
    _messages.c.receipt,
    _messages.c.group_id,
)
_FIXED = (
    _messages.c.seq,
    _messages.c.queue_id,
    _messages.c.message_id,
    _messages.c.body,
    _messages.c.sent_ms,
    _messages.c.sender_id,
    _messages.c.attributes,
    _messages.c.group_id,
    _messages.c.dedup_id,
    _messages.c.trace,
    _messages.c.dlq_source,
)


class Survey(NamedTuple):
    """A queue as a whole: how many messages, when the oldest was sent, the greatest number."""

    total: int
    oldest_ms: int
    last_seq: int


def survey(connection: Connection, queue: Queue) -> Survey:
    row = connection.execute(
        select(func.count(), func.min(_messages.c.sent_ms), func.max(_messages.c.seq)).where(
            _messages.c.queue_id == queue.id, _messages.c.seq > queue.purged_seq
        )
    ).one()
    return Survey(row[0], row[1] or 0, row[2] or 0)


def hidden(connection: Connection, queue: Queue, now_ms: int) -> list[Held]:
    """The messages that are delayed or in flight."""
    rows = connection.execute(
        select(*_HELD).where(
            _messages.c.queue_id == queue.id, _messages.c.seq > queue.purged_seq, _messages.c.visible_ms > now_ms
        )
    )
    return [Held(*row) for row in rows]


def following(connection: Connection, queue: Queue, after_seq: int, limit: int) -> list[Held]:
    """The next messages by number, hidden or not."""
    rows = connection.execute(
        select(*_HELD)
        .where(_messages.c.queue_id == queue.id, _messages.c.seq > max(after_seq, queue.purged_seq))
        .order_by(_messages.c.seq)
        .limit(limit)
    )
    return [Held(*row) for row in rows]


_READ = select(*_FIXED).where(_messages.c.seq.in_(bindparam("seqs", expanding=True)))


def read_messages(connection: Connection, seqs: Sequence[int]) -> list[Message]:
    return [Message(*row) for row in connection.execute(_READ, {"seqs": list(seqs)})]


# -- sweeping ---------------------------------------------------------------------------------------------------------


def expired(connection: Connection, queue: Queue, before_ms: int) -> list[int]:
    """Some of the messages that were sent before a time."""
    rows = connection.execute(
        select(_messages.c.seq)
        .where(_messages.c.queue_id == queue.id, _messages.c.seq > queue.purged_seq, _messages.c.sent_ms < before_ms)
        .limit(_CHUNK)
    )
    return [row[0] for row in rows]


def collect_garbage(connection: Connection) -> bool:
    """Remove some of what deleted queues and purges left. Whether there may be more."""
    row = connection.execute(select(_garbage).limit(1)).first()
    if row is None:
        return False
    seqs = connection.execute(
        select(_messages.c.seq)
        .where(_messages.c.queue_id == row.queue_id, _messages.c.seq <= row.up_to_seq)
        .limit(_CHUNK)
    )
    found = [seq for (seq,) in seqs]
    delete_messages(connection, found)
    if len(found) < _CHUNK:
        connection.execute(delete(_garbage).where(_garbage.c.id == row.id))
    return True


def forget_deduplications(connection: Connection, now_ms: int) -> bool:
    """Remove some deduplication ids whose time is over. Whether there may be more."""
    rows = connection.execute(
        select(_dedups.c.queue_id, _dedups.c.scope, _dedups.c.dedup_id)
        .where(_dedups.c.expires_ms <= now_ms)
        .limit(_CHUNK)
    ).all()
    for queue_id, scope, dedup_id in rows:
        connection.execute(
            delete(_dedups).where(
                _dedups.c.queue_id == queue_id, _dedups.c.scope == scope, _dedups.c.dedup_id == dedup_id
            )
        )
    return len(rows) == _CHUNK


# -- move tasks -------------------------------------------------------------------------------------------------------


def add_task(connection: Connection, task: MoveTask) -> None:
    connection.execute(insert(_moves).values({name: getattr(task, name) for name in _names(_moves)}))


def change_task(connection: Connection, task_id: str, values: Mapping[str, Any]) -> None:
    connection.execute(update(_moves).where(_moves.c.id == task_id).values(values))


def find_task(connection: Connection, task_id: str) -> MoveTask | None:
    row = connection.execute(select(_moves).where(_moves.c.id == task_id)).first()
    return None if row is None else MoveTask(**row._mapping)


def tasks_of(connection: Connection, account_id: str, region: str, source: str, limit: int) -> list[MoveTask]:
    """The newest tasks of a dead-letter queue."""
    rows = connection.execute(
        select(_moves)
        .where(_moves.c.account_id == account_id, _moves.c.region == region, _moves.c.source == source)
        .order_by(_moves.c.started_ms.desc())
        .limit(limit)
    )
    return [MoveTask(**row._mapping) for row in rows]


def open_tasks(connection: Connection) -> list[MoveTask]:
    rows = connection.execute(select(_moves).where(_moves.c.status.in_(("RUNNING", "CANCELLING"))))
    return [MoveTask(**row._mapping) for row in rows]
