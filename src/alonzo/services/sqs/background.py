"""What runs without a request: timers, flushing, and removing what has expired or was left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy import Connection

from alonzo.services.sqs import moving, store
from alonzo.services.sqs.live import LiveQueue
from alonzo.services.sqs.state import Sqs

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 60.0
#: How long what receiving changed may stay in memory only.
FLUSH_AFTER_S = 0.5


async def run(state: Sqs) -> None:
    """Until cancelled; then long polls are answered, so that the server need not wait for them."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(state.timers.run())
            group.create_task(_flush(state))
            group.create_task(_sweep_regularly(state))
            group.create_task(_collect(state))
            group.create_task(moving.run(state))
    finally:
        state.closing = True
        for live in state.queues.all():
            live.wake_all()


async def _flush(state: Sqs) -> None:
    due = asyncio.Event()

    def arm() -> None:
        state.timers.at(state.parts.clock.now() + FLUSH_AFTER_S, due.set)

    state.writer.on_dirty = arm
    while True:
        await due.wait()
        due.clear()
        try:
            await state.writer.flush()
        except Exception:
            # A full disk, most likely: what changed is kept, and another flush is armed.
            log.exception("receives could not be written")


async def _sweep_regularly(state: Sqs) -> None:
    while True:
        await state.parts.clock.sleep(SWEEP_EVERY_S)
        try:
            await sweep(state)
        except Exception:
            log.exception("the queues could not be swept")


async def sweep(state: Sqs) -> None:
    """Remove what has expired, in transactions short enough for others to come between."""
    now_ms = state.now_ms()
    while await state.parts.db.write(_forgetting(now_ms)):
        pass
    for live in state.queues.all():
        await expire(state, live)
        live.attempts = {name: given for name, given in live.attempts.items() if given[0] > now_ms}
    state.to_sweep.set()


def _forgetting(now_ms: int) -> Callable[[Connection], bool]:
    return lambda connection: store.forget_deduplications(connection, now_ms)


async def expire(state: Sqs, live: LiveQueue) -> None:
    """Remove a queue's messages that are older than it keeps them."""
    before_ms = state.now_ms() - live.queue.retention_ms
    if live.loaded and (live.index.total == 0 or live.index.oldest_ms >= before_ms):
        return
    while seqs := await state.parts.db.scan(lambda c: store.expired(c, live.queue, before_ms)):
        await state.writer.delete(seqs)
        for seq in seqs:
            state.queues.forget(seq)
        if live.loaded:
            live.index.forget(seqs)
    if live.loaded:
        live.index.oldest_ms = before_ms


async def _collect(state: Sqs) -> None:
    """Remove the messages of purges and of queues that were deleted."""
    state.to_sweep.set()
    while True:
        await state.to_sweep.wait()
        state.to_sweep.clear()
        try:
            while await state.parts.db.write(_collecting):
                pass
        except Exception:
            log.exception("deleted messages could not be removed; the next sweep tries again")


def _collecting(connection: Connection) -> bool:
    return store.collect_garbage(connection)
