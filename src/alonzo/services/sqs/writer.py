"""Everything that is written of messages, in groups: what comes while one group is being written makes up the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from alonzo.core.clock import Clock
from alonzo.core.dataclasses import dataclass, field
from alonzo.services.sqs import store
from alonzo.services.sqs.index import Entry
from alonzo.services.sqs.models import Message
from alonzo.services.sqs.store import Duplicate, Move, NewMessage
from alonzo.storage import Database

log = logging.getLogger(__name__)

#: Messages whose receives are written in one transaction.
_FLUSHED = 256

#: Makes a message once its number is known.
Draft = Callable[[int], NewMessage]
MoveDraft = Callable[[int], Move]
T = TypeVar("T")
#: Is told once how writing ended: the outcome when it is on disk, or the error.
Told = Callable[[T | None, BaseException | None], None]
#: A message as it was written, or what it repeats.
Sent = tuple[Message, Duplicate | None]
#: The numbers of the messages deleted.
Deleted = Sequence[int]


@dataclass(slots=True)
class _Group:
    sends: list[tuple[Draft, Told[Sent]]] = field(default_factory=list)
    moves: list[tuple[MoveDraft, Told[Move]]] = field(default_factory=list)
    deletes: list[int] = field(default_factory=list)
    deleted: list[tuple[Deleted, Told[Deleted]]] = field(default_factory=list)


class Writer:
    """Sends, deletes and moves; each is on disk when its future is done, or its caller told."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._next: _Group | None = None
        self._writing = False
        self._last_seq = 0
        self._dirty: dict[int, Entry] = {}
        #: Called when something waits to be written by `flush`, the first time after each.
        self.on_dirty: Callable[[], None] = lambda: None
        #: Called for each message written, moved or deleted.
        self.on_sent: Callable[[NewMessage], None] = lambda _: None
        self.on_moved: Callable[[Move], None] = lambda _: None

    def start(self, last_seq: int) -> None:
        self._last_seq = last_seq

    @property
    def last_seq(self) -> int:
        """The greatest number given so far."""
        return self._last_seq

    def send(self, draft: Draft) -> asyncio.Future[Sent]:
        future: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        self.send_nowait(draft, _telling(future))
        return future

    def send_nowait(self, draft: Draft, told: Told[Sent]) -> None:
        """The same for callers without a coroutine. What is handed over without a pause in between is one group."""
        self._group().sends.append((draft, told))

    def move(self, draft: MoveDraft) -> asyncio.Future[Move]:
        future: asyncio.Future[Move] = asyncio.get_running_loop().create_future()
        self._group().moves.append((draft, _telling(future)))
        return future

    def delete(self, seqs: Deleted) -> asyncio.Future[Deleted]:
        future: asyncio.Future[Deleted] = asyncio.get_running_loop().create_future()
        self.delete_nowait(seqs, _telling(future))
        return future

    def delete_nowait(self, seqs: Deleted, told: Told[Deleted]) -> None:
        """The same for callers without a coroutine."""
        group = self._group()
        group.deletes.extend(seqs)
        group.deleted.append((seqs, told))

    def touch(self, entry: Entry) -> None:
        """What receiving changed is written by the next `flush`."""
        if not self._dirty:
            self.on_dirty()
        self._dirty[entry.seq] = entry

    async def flush(self) -> None:
        """Write what was touched, in transactions short enough for sends and deletes to come between."""
        dirty, self._dirty = list(self._dirty.values()), {}
        for start in range(0, len(dirty), _FLUSHED):
            held = [entry.held() for entry in dirty[start : start + _FLUSHED] if not entry.gone]
            if not held:
                continue
            try:
                await self._db.write(partial(store.update_messages, held=held))
            except BaseException:
                for entry in dirty[start:]:
                    self.touch(entry)
                raise

    def _group(self) -> _Group:
        if self._next is None:
            self._next = _Group()
            if not self._writing:
                asyncio.get_running_loop().call_soon(self._write)
        return self._next

    def _number(self, now_ms: int) -> int:
        """Numbers grow with time, so that they grow across restarts too."""
        self._last_seq = max(self._last_seq + 1, now_ms << 20)
        return self._last_seq

    def _write(self) -> None:
        group, self._next = self._next, None
        if group is None or self._writing:
            return
        now_ms = int(self._clock.now() * 1000)
        try:
            new = [draft(self._number(now_ms)) for draft, _ in group.sends]
            moves = [draft(self._number(now_ms)) for draft, _ in group.moves]
        except Exception as error:
            _fail(group, error)  # and the next group is written all the same
            return
        self._writing = True

        def write(connection: Connection) -> dict[int, Duplicate]:
            duplicates = store.insert_messages(connection, new, now_ms) if new else {}
            if moves:
                store.move_messages(connection, moves)
            store.delete_messages(connection, group.deletes)
            return duplicates

        def done(written: asyncio.Future[dict[int, Duplicate]]) -> None:
            self._writing = False
            if self._next is not None:
                self._write()
            error = asyncio.CancelledError() if written.cancelled() else written.exception()
            if error is not None:
                _fail(group, error)
            else:
                self._settle(group, new, moves, written.result())

        self._db.write_nowait(write).add_done_callback(done)

    def _settle(
        self, group: _Group, new: list[NewMessage], moves: list[Move], duplicates: dict[int, Duplicate]
    ) -> None:
        for (_, sent), one in zip(group.sends, new, strict=True):
            before = duplicates.get(one.message.seq) if duplicates else None
            if before is None:
                self.on_sent(one)
            _tell(sent, (one.message, before), None)
        for (_, moved), move in zip(group.moves, moves, strict=True):
            self.on_moved(move)
            _tell(moved, move, None)
        for seqs, deleted in group.deleted:
            _tell(deleted, seqs, None)


def _tell(told: Told[T], outcome: T | None, error: BaseException | None) -> None:
    try:
        told(outcome, error)
    except Exception:  # the others are to be told all the same
        log.exception("what follows on a write failed")


def _fail(group: _Group, error: BaseException) -> None:
    for _, sent in group.sends:
        _tell(sent, None, error)
    for _, moved in group.moves:
        _tell(moved, None, error)
    for _, deleted in group.deleted:
        _tell(deleted, None, error)


def _telling(future: asyncio.Future[T]) -> Told[T]:
    def told(outcome: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(outcome)  # type: ignore[arg-type]
        else:
            future.set_exception(error)
            future.exception()  # a caller that has gone is no reason to complain

    return told
