"""Brings mappings from the state a request left them in to the one that was asked for, and pollers with them."""

from __future__ import annotations

import asyncio
import logging

from alonzo.services.lambda_.event_sources import to_poller
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.store import mappings
from alonzo.services.lambda_.store.mappings import Key

log = logging.getLogger(__name__)

_RETRY_S = 1.0


class MappingKeeper:
    """Rows are the truth: at the start every mapping is taken up from where its row says it is."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._changed: set[Key] = set()
        self._wake = asyncio.Event()

    def changed(self, key: Key) -> None:
        """A mapping's row was written."""
        self._changed.add(key)
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        for key in await self._state.read(mappings.all_keys):
            self.changed(key)
        while True:
            await self._wake.wait()
            self._wake.clear()
            keys, self._changed = self._changed, set()
            await asyncio.gather(*(self._try(key) for key in keys))

    async def _try(self, key: Key) -> None:
        try:
            await self._settle(key)
        except Exception:  # a full disk, say: the other mappings go on
            log.exception("event source mapping %s cannot be settled", key[2])
            await self._state.parts.clock.sleep(_RETRY_S)
            self.changed(key)

    async def _settle(self, key: Key) -> None:
        pollers = self._state.engine.pollers
        mapping = await self._state.read(lambda connection: mappings.get_mapping(connection, key))
        if mapping is None or mapping.state == "Deleting":
            await pollers.remove(key[2])
            await self._state.parts.db.write(lambda connection: mappings.delete_mapping(connection, key))
            return
        if mapping.enabled:
            await pollers.apply(to_poller(mapping))
        else:
            await pollers.remove(mapping.uuid)
        before, after = mapping.state, "Enabled" if mapping.enabled else "Disabled"
        if before != after:
            await self._state.parts.db.write(lambda connection: mappings.move_state(connection, key, before, after))
