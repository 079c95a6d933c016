"""Changing a queue's settings."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from alonzo.services.sqs import store
from alonzo.services.sqs.errors import no_queue
from alonzo.services.sqs.live import LiveQueue
from alonzo.services.sqs.models import Queue
from alonzo.services.sqs.state import Sqs


async def change(state: Sqs, live: LiveQueue, changed: Queue) -> None:
    """Write a queue's settings; `state.lock` is held."""
    if live.deleted:
        raise no_queue()
    redelay = changed.fifo and changed.delay_ms != live.queue.delay_ms
    if redelay:
        await state.writer.flush()

    def write(connection: Connection) -> None:
        store.change_queue(connection, changed)
        if redelay:
            store.redelay(connection, changed)

    await state.parts.db.write(write)
    state.queues.put(replace(changed, purged_seq=live.queue.purged_seq))
    if redelay:
        live.reload()
        live.arm()
        live.wake_all()
