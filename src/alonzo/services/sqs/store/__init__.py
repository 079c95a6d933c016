"""Queues and messages: all of this service's SQL.

A message is on disk before it is acknowledged and gone from disk before its deletion is. What receiving changes (the
count, the receipt, until when it is hidden) is written a moment later, together with others' (`update`): after a crash
a message may be visible again at once and lack the receives of that moment; it is never lost.

Queues and purges leave their messages behind, out of reach, with a row in `sqs_garbage`; the sweep removes them.
"""

from __future__ import annotations

from alonzo.services.sqs.store.queues import (
    add_queue,
    add_task,
    all_queues,
    change_queue,
    change_task,
    delete_queue,
    find_task,
    open_tasks,
    purge,
    tasks_of,
)
from alonzo.services.sqs.store.reading import (
    Survey,
    collect_garbage,
    expired,
    following,
    forget_deduplications,
    hidden,
    read_messages,
    survey,
)
from alonzo.services.sqs.store.writing import (
    Duplicate,
    Held,
    Move,
    NewMessage,
    delete_messages,
    insert_messages,
    last_seq,
    move_messages,
    redelay,
    update_messages,
)

__all__ = [
    "Duplicate",
    "Held",
    "Move",
    "NewMessage",
    "Survey",
    "add_queue",
    "add_task",
    "all_queues",
    "change_queue",
    "change_task",
    "collect_garbage",
    "delete_messages",
    "delete_queue",
    "expired",
    "find_task",
    "following",
    "forget_deduplications",
    "hidden",
    "insert_messages",
    "last_seq",
    "move_messages",
    "open_tasks",
    "purge",
    "read_messages",
    "redelay",
    "survey",
    "tasks_of",
    "update_messages",
]
