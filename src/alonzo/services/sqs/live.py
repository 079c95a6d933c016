"""Queues as they run: their settings, their index, and those who wait for a message."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection

from alonzo.dispatch import Access
from alonzo.services.sqs import store
from alonzo.services.sqs.index import REFILL, FifoIndex, Index, StandardIndex
from alonzo.services.sqs.models import Key, Message, Queue
from alonzo.services.sqs.store import Move, NewMessage
from alonzo.services.sqs.timers import Timers
from alonzo.services.sqs.writer import Writer
from alonzo.storage import Database

#: Messages kept in memory after they were sent, in bytes: most are received soon.
CACHE_BYTES = 32 << 20


class Asked:
    """What an operation on a queue needs, as long as the queue's settings stay as they are."""

    __slots__ = ("access", "live", "queue")

    def __init__(self, live: LiveQueue, action: str) -> None:
        self.live = live
        self.queue = queue = live.queue
        self.access = (Access(f"sqs:{action.lower()}", queue.arn, queue.account_id, queue.policy),)


class LiveQueue:
    """One queue. Its index is read from disk when it is first wanted."""

    def __init__(self, queue: Queue, db: Database, timers: Timers, now_ms: Callable[[], int]) -> None:
        self.queue = queue
        self.deleted = False
        self.purged_ms = -math.inf
        #: FIFO receives by their ReceiveRequestAttemptId: until when, and the numbers and receipts given.
        self.attempts: dict[str, tuple[int, list[tuple[int, int]]]] = {}
        self._asked: dict[str, Asked] = {}
        self._db = db
        self._timers = timers
        self._now_ms = now_ms
        self._index: Index | None = None
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._armed_ms: float = math.inf

    def asked(self, action: str) -> Asked:
        """The same object until the queue's settings change, its policy above all."""
        found = self._asked.get(action)
        if found is None or found.queue is not self.queue:
            found = self._asked[action] = Asked(self, action)
        return found

    # -- the index ----------------------------------------------------------------------------------------------------

    @property
    def loaded(self) -> bool:
        return self._index is not None

    @property
    def index(self) -> Index:
        if self._index is None:
            self._index = self._load()
            self.arm()
        return self._index

    def reload(self) -> None:
        """Forget what memory knows: it is read again from disk. Everything must be flushed."""
        self._index = None

    def _load(self) -> Index:
        index: Index = FifoIndex() if self.queue.fifo else StandardIndex()
        now_ms, queue = self._now_ms(), self.queue

        def read(connection: Connection) -> None:
            index.open(store.survey(connection, queue), store.hidden(connection, queue, now_ms))

        self._db.read_nowait(read)
        self._refill(index)
        return index

    def _refill(self, index: Index) -> None:
        while index.wants_refill:
            found = self._db.read_nowait(lambda c: store.following(c, self.queue, index.cursor, REFILL))
            index.refill(found, REFILL, self._now_ms())

    def ready(self) -> Index:
        """The index, with everything offered that is visible now."""
        index = self.index
        if index.tick(self._now_ms()):
            self.arm()
        if index.wants_refill:
            self._refill(index)
        return index

    def added(self, seq: int, group_id: str | None, visible_ms: int, sent_ms: int, count: int = 0) -> None:
        """A message was written to this queue."""
        if self._index is None:
            return
        now_ms = self._now_ms()
        self._index.add(seq, group_id, visible_ms, sent_ms, now_ms, count)
        if visible_ms > now_ms:
            self.arm()
        elif self._waiters:
            self.wake()

    # -- waiting ------------------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """Look again when the next message becomes visible."""
        due_ms = self.index.next_due_ms
        if due_ms is not None and due_ms < self._armed_ms:
            self._armed_ms = due_ms
            self._timers.at(due_ms / 1000, self._due)

    def _due(self) -> None:
        self._armed_ms = math.inf
        if self.deleted or self._index is None:
            return
        found = self._index.tick(self._now_ms())
        self.arm()
        self.wake(found)

    def wake(self, count: int = 1) -> None:
        """Let up to `count` of those who wait look for a message."""
        while self._waiters and count > 0:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    def wake_all(self) -> None:
        self.wake(len(self._waiters))

    async def wait(self, until: float) -> None:
        """Return when there may be a message, or at `until` (seconds of the epoch)."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)

        def over() -> None:
            if not waiter.done():
                waiter.set_result(None)

        timer = self._timers.at(until, over)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.wake()  # this one was chosen and goes without looking: another must
            raise
        finally:
            timer.cancel()
            while self._waiters and self._waiters[0].done():
                self._waiters.popleft()


class Queues:
    """Every queue, by key and by id, and the messages that were sent lately."""

    def __init__(self, db: Database, writer: Writer, timers: Timers, now_ms: Callable[[], int]) -> None:
        self._db = db
        self._timers = timers
        self._now_ms = now_ms
        self._by_key: dict[Key, LiveQueue] = {}
        self._by_id: dict[int, LiveQueue] = {}
        self._cache: dict[int, Message] = {}
        self._cached_bytes = 0
        writer.on_sent = self._sent
        writer.on_moved = self._moved

    def load(self) -> None:
        for queue in self._db.read_nowait(store.all_queues):
            self.put(queue)

    def put(self, queue: Queue) -> LiveQueue:
        """A queue that is new, or whose settings changed."""
        live = self._by_id.get(queue.id)
        if live is None:
            live = self._by_id[queue.id] = self._by_key[queue.key] = LiveQueue(
                queue, self._db, self._timers, self._now_ms
            )
        live.queue = queue
        return live

    def drop(self, live: LiveQueue) -> None:
        live.deleted = True
        self._by_id.pop(live.queue.id, None)
        if self._by_key.get(live.queue.key) is live:
            del self._by_key[live.queue.key]
        live.wake_all()

    def purged(self, live: LiveQueue, last_seq: int) -> None:
        live.queue = replace(live.queue, purged_seq=last_seq)
        live.reload()

    def find(self, key: Key) -> LiveQueue | None:
        return self._by_key.get(key)

    def find_id(self, queue_id: int) -> LiveQueue | None:
        return self._by_id.get(queue_id)

    def all(self) -> list[LiveQueue]:
        return list(self._by_id.values())

    # -- messages -----------------------------------------------------------------------------------------------------

    def _sent(self, new: NewMessage) -> None:
        message = new.message
        live = self._by_id.get(message.queue_id)
        if live is None or message.seq <= live.queue.purged_seq:
            return
        self._cache[message.seq] = message
        self._cached_bytes += message.size
        while self._cached_bytes > CACHE_BYTES:
            self._uncache(next(iter(self._cache)))
        live.added(message.seq, message.group_id, new.visible_ms, message.sent_ms)

    def _moved(self, move: Move) -> None:
        self._uncache(move.seq)
        live = self._by_id.get(move.queue_id)
        if live is not None and move.new_seq > live.queue.purged_seq:
            live.added(move.new_seq, move.group_id, 0, move.sent_ms, move.receives)

    def _uncache(self, seq: int) -> None:
        message = self._cache.pop(seq, None)
        if message is not None:
            self._cached_bytes -= message.size

    def forget(self, seq: int) -> None:
        """A message is gone for good."""
        self._uncache(seq)

    def messages(self, seqs: list[int]) -> dict[int, Message]:
        """Messages with their bodies; those that are gone are missing."""
        found: dict[int, Message] = {}
        unknown: list[int] = []
        for seq in seqs:
            message = self._cache.get(seq)
            if message is None:
                unknown.append(seq)
            else:
                found[seq] = message
        if unknown:
            for message in self._db.read_nowait(lambda c: store.read_messages(c, unknown)):
                found[message.seq] = message
        return found
