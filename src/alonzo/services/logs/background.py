"""What runs without a request: retention, what deleted groups and streams left, and merging of small chunks."""

from __future__ import annotations

from alonzo.services.logs import store
from alonzo.services.logs.state import Logs

SWEEP_EVERY_S = 30.0


async def run(state: Logs) -> None:
    """Sweep until cancelled."""
    while True:
        await state.parts.clock.sleep(SWEEP_EVERY_S)
        await sweep(state)


async def sweep(state: Logs) -> None:
    """Remove and merge in transactions short enough for others to come between."""
    db = state.parts.db
    while await db.write(store.drop_orphans):
        pass
    now_ms = state.now_ms()
    for group in await db.read(store.groups_with_retention):
        before = group.oldest_ms(now_ms)
        while await db.write(lambda c, id=group.id, before=before: store.drop_expired(c, id, before)):  # type: ignore[misc]
            pass
    for stream_id in await db.scan(store.crowded_streams):
        while await db.write(lambda c, id=stream_id: store.merge_chunks(c, id, now_ms)):  # type: ignore[misc]
            pass
