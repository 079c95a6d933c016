"""Writes what became of jobs: those that come closely together in one transaction, unless somebody waits for more.

An outcome that waits costs nothing but a repeated run if the server is killed meanwhile, which is what "at least once"
allows. A transaction for each costs more than many a function, and holds up whatever is to be written next: the event
that a delivery has just handed over, the next object.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy import Connection

from alonzo.core.clock import Clock
from alonzo.engine.jobs import Job, Settlement
from alonzo.storage import Database, StorageError

log = logging.getLogger(__name__)

#: How long outcomes are gathered, in real seconds, and how many at most.
_GATHER_S = 0.02
_GATHERED = 256


class Settling:
    """Outcomes on their way to the table. `write` is given to the database, `settled` is called afterwards."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        write: Callable[[Connection, list[Settlement], float], list[Job]],
        settled: Callable[[list[Settlement], list[Job]], None],
    ) -> None:
        self._db = db
        self._clock = clock
        self._write = write
        self._settled = settled
        self._waiting: list[Settlement] = []
        self._due = asyncio.Event()
        self._gathering: asyncio.TimerHandle | None = None

    def add(self, settlement: Settlement) -> None:
        """Write an outcome soon; at once, with all that wait, where something follows from it."""
        self._waiting.append(settlement)
        if settlement.follow_up or len(self._waiting) >= _GATHERED:
            self._due.set()
        elif self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(_GATHER_S, self._due.set)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            if self._gathering is not None:
                self._gathering.cancel()
                self._gathering = None
            try:
                await self.flush()
            except Exception as error:
                # A full disk, most likely. Nothing is lost: the rows stay, and so do the outcomes, until it works.
                if isinstance(error, StorageError):
                    log.error("outcomes wait: %s", error)
                else:
                    log.exception("outcomes cannot be written; they are tried again")
                await self._clock.sleep(1.0)
                self._due.set()

    async def flush(self) -> None:
        """Write every outcome that waits."""
        settlements = self._waiting
        if not settlements:
            return
        self._waiting = []
        now = self._clock.now()
        try:
            jobs = await self._db.write(lambda connection: self._write(connection, settlements, now))
        except BaseException:
            self._waiting = settlements + self._waiting
            raise
        self._settled(settlements, jobs)
