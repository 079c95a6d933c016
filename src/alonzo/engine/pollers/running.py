"""Every poller of the server: started, changed and stopped by the service that owns the mappings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Mapping as Table

from alonzo.engine.pollers.base import Mapping, Poller, Tools
from alonzo.engine.pollers.sqs import SqsPoller

#: What makes the poller of each kind of source. Streams are to be added here.
KINDS: Table[str, Callable[[Mapping, Tools], Poller]] = {"sqs": SqsPoller}


class Pollers:
    """The mappings at work, by UUID. One that fails does not touch the others."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._running: dict[str, Poller] = {}
        self._closing = False

    @property
    def kinds(self) -> frozenset[str]:
        """Services whose queues or streams can be polled."""
        return frozenset(KINDS)

    async def apply(self, mapping: Mapping) -> None:
        """Run a mapping as it now is. What an earlier form of it has taken is still handled in that form."""
        await self.remove(mapping.uuid)
        if self._closing:
            return
        poller = self._running[mapping.uuid] = KINDS[mapping.kind](mapping, self._tools)
        poller.start()

    async def remove(self, uuid: str) -> None:
        """Stop polling for a mapping, if it runs."""
        poller = self._running.pop(uuid, None)
        if poller is not None:
            await poller.stop()

    def problem(self, uuid: str) -> str:
        """Why a mapping does nothing now; "" if it works, or does not run."""
        poller = self._running.get(uuid)
        return poller.problem if poller is not None else ""

    async def stop(self) -> None:
        """Take nothing more."""
        self._closing = True
        await asyncio.gather(*(self.remove(uuid) for uuid in list(self._running)))
