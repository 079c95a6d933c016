"""Puts that come in the same moment are written by one transaction."""

from __future__ import annotations

import asyncio
from functools import partial

from alonzo.services.logs.store import Appender, NewChunk
from alonzo.storage import Database


class Batches:
    """Collects chunks until the event loop comes round, then writes them together."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._appender = Appender()
        self._waiting: list[tuple[NewChunk, asyncio.Future[bool]]] = []

    async def append(self, chunk: NewChunk) -> bool:
        """Whether the stream is there; if so the chunk is on disk when this returns. Raises StorageError."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._write)
        self._waiting.append((chunk, done))
        return await done

    def _write(self) -> None:
        batch, self._waiting = self._waiting, []
        chunks = [chunk for chunk, _ in batch]
        written = self._db.write_nowait(lambda connection: self._appender.append(connection, chunks))
        written.add_done_callback(partial(_settle, [done for _, done in batch]))


def _settle(waiting: list[asyncio.Future[bool]], written: asyncio.Future[list[bool]]) -> None:
    error = written.exception()
    for index, done in enumerate(waiting):
        if done.done():
            continue  # its caller was cancelled; the chunk is stored all the same
        if error is None:
            done.set_result(written.result()[index])
        else:
            done.set_exception(error)
