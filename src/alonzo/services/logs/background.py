"""What runs without a request: retention, what deleted groups and streams left, and merging of small chunks."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy import Connection

from alonzo.services.logs import store
from alonzo.services.logs.state import Logs

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 30.0


#: How far back small chunks are looked for: by the first sweep, and by those that follow it.
_FIRST_LOOK_MS = 86_400_000
_LOOK_MS = 3_600_000


async def run(state: Logs) -> None:
    """Sweep until cancelled. A failure (a full disk) is logged, and the next sweep tries again."""
    look_ms = _FIRST_LOOK_MS
    while True:
        await state.parts.clock.sleep(SWEEP_EVERY_S)
        try:
            await sweep(state, look_ms)
            look_ms = _LOOK_MS
        except Exception:
            log.exception("the logs could not be swept")


async def sweep(state: Logs, look_ms: int = _FIRST_LOOK_MS) -> None:
    """Remove and merge in transactions short enough for others to come between."""
    db = state.parts.db
    for stream_id in await db.scan(store.orphans):
        await _until_done(state, _dropping(stream_id))
    now_ms = state.now_ms()
    for group in await db.scan(store.groups_with_retention):
        await _until_done(state, _expiring(group.id, group.oldest_ms(now_ms)))
    for stream_id in await db.scan(lambda connection: store.busy_streams(connection, now_ms - look_ms)):
        await _merge_stream(state, stream_id, now_ms - look_ms)


async def _until_done(state: Logs, step: Callable[[Connection], int]) -> None:
    while await state.parts.db.write(step):
        pass


def _dropping(stream_id: int) -> Callable[[Connection], int]:
    return lambda connection: store.drop_chunks(connection, stream_id)


def _expiring(group_id: int, before_ms: int) -> Callable[[Connection], int]:
    return lambda connection: store.drop_expired(connection, group_id, before_ms)


async def _merge_stream(state: Logs, stream_id: int, since_ms: int) -> None:
    """Plan on a reader's thread, then replace in a short transaction."""
    after_ms = 0
    while True:
        plan = await state.parts.db.scan(_planning(stream_id, since_ms, after_ms))
        if isinstance(plan, int):
            after_ms = plan
        elif plan is None or not await state.parts.db.write(_merging(plan)):
            return


def _planning(stream_id: int, since_ms: int, after_ms: int) -> Callable[[Connection], store.Merge | int | None]:
    return lambda connection: store.plan_merge(connection, stream_id, since_ms, after_ms)


def _merging(plan: store.Merge) -> Callable[[Connection], bool]:
    return lambda connection: store.merge(connection, plan)
