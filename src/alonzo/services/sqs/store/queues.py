"""Rows of queues and move tasks, and what queues leave behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update

from alonzo.services.sqs.models import MoveTask, Queue
from alonzo.services.sqs.store.tables import garbage, moves, queues


def _names(table: Table) -> list[str]:
    return [column.name for column in table.columns]


def all_queues(connection: Connection) -> list[Queue]:
    return [Queue(**row._mapping) for row in connection.execute(select(queues))]


def add_queue(connection: Connection, queue: Queue) -> int:
    values = {name: getattr(queue, name) for name in _names(queues) if name != "id"}
    done = connection.execute(insert(queues).values(values))
    assert done.inserted_primary_key is not None
    return int(done.inserted_primary_key[0])


def change_queue(connection: Connection, queue: Queue) -> None:
    connection.execute(
        update(queues)
        .where(queues.c.id == queue.id)
        .values(attributes=dict(queue.attributes), tags=dict(queue.tags), modified_ms=queue.modified_ms)
    )


def delete_queue(connection: Connection, queue: Queue, last_seq: int) -> None:
    connection.execute(delete(queues).where(queues.c.id == queue.id))
    connection.execute(insert(garbage).values(queue_id=queue.id, up_to_seq=last_seq))


def purge(connection: Connection, queue_id: int, last_seq: int) -> None:
    connection.execute(update(queues).where(queues.c.id == queue_id).values(purged_seq=last_seq))
    connection.execute(insert(garbage).values(queue_id=queue_id, up_to_seq=last_seq))


def add_task(connection: Connection, task: MoveTask) -> None:
    connection.execute(insert(moves).values({name: getattr(task, name) for name in _names(moves)}))


def change_task(connection: Connection, task_id: str, values: Mapping[str, Any]) -> None:
    connection.execute(update(moves).where(moves.c.id == task_id).values(values))


def find_task(connection: Connection, task_id: str) -> MoveTask | None:
    row = connection.execute(select(moves).where(moves.c.id == task_id)).first()
    return None if row is None else MoveTask(**row._mapping)


def tasks_of(connection: Connection, account_id: str, region: str, source: str, limit: int) -> list[MoveTask]:
    """The newest tasks of a dead-letter queue."""
    rows = connection.execute(
        select(moves)
        .where(moves.c.account_id == account_id, moves.c.region == region, moves.c.source == source)
        .order_by(moves.c.started_ms.desc())
        .limit(limit)
    )
    return [MoveTask(**row._mapping) for row in rows]


def open_tasks(connection: Connection) -> list[MoveTask]:
    rows = connection.execute(select(moves).where(moves.c.status.in_(("RUNNING", "CANCELLING"))))
    return [MoveTask(**row._mapping) for row in rows]
