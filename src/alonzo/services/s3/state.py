"""What the handlers share: the parts, the known buckets, transactions with their after-effects, and blobs to remove."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass, field
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Access, Parts
from alonzo.engine.queue import Delivery, Queue
from alonzo.services.s3.errors import no_such_bucket, no_such_key
from alonzo.services.s3.models import Bucket
from alonzo.services.s3.store import buckets as bucket_store
from alonzo.services.s3.store import objects as object_store

T = TypeVar("T")

#: An answer under way may still open the file of an object that was overwritten meanwhile.
GRACE_S = 5.0


@dataclass(slots=True)
class Effects:
    """What is to happen once a transaction has committed."""

    dropped: list[str] = field(default_factory=list)
    enqueued: bool = False


Work = Callable[[Connection, Effects], T | ServiceError]


class State:
    """One per server."""

    def __init__(self, parts: Parts, queue: Queue, *, grace_s: float = GRACE_S) -> None:
        self.clock = parts.clock
        self.ids = parts.ids
        self.db = parts.db
        self.blobs = parts.blobs
        self.dispatcher = parts.dispatcher
        self._queue = queue
        self._grace_s = grace_s
        self._buckets: dict[str, Bucket] = {}
        #: Set once somebody has asked for a bucket that exists, or changed one.
        self.used = asyncio.Event()
        self._last_id = 0
        self._leases: collections.Counter[str] = collections.Counter()
        self._retired: collections.deque[tuple[float, list[str]]] = collections.deque()
        self._retiring = asyncio.Event()

    # -- time and order -----------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        return int(self.clock.now() * 1000)

    def next_id(self) -> int:
        """The next number of the order in which versions and events happen: microseconds, never the same twice.

        Called inside transactions only, so by one thread.
        """
        self._last_id = max(self._last_id + 1, int(self.clock.now() * 1_000_000))
        return self._last_id

    def start(self) -> None:
        """Go on after the highest number on disk, should the clock have been set back."""
        self._last_id = self.db.read_nowait(object_store.highest_id)

    # -- buckets ------------------------------------------------------------------------------------------------------

    def find_bucket(self, name: str) -> Bucket | None:
        """A bucket from memory, or from the database. What changes one calls `forget` after its commit."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self.db.read_nowait(lambda connection: bucket_store.get(connection, name))
            if bucket is not None:
                self._buckets[name] = bucket
                self.used.set()
        return bucket

    def bucket(self, name: str) -> Bucket:
        """Raises NoSuchBucket."""
        bucket = self.find_bucket(name)
        if bucket is None:
            raise no_such_bucket(name)
        return bucket

    def forget(self, name: str) -> None:
        self._buckets.pop(name, None)
        self.used.set()

    # -- transactions -------------------------------------------------------------------------------------------------

    def enqueue(self, connection: Connection, effects: Effects, jobs: Iterable[Delivery]) -> None:
        found = list(jobs)
        if found:
            self._queue.enqueue(connection, *found)
            effects.enqueued = True

    async def commit(self, work: Work[T], *, bucket: str, fresh: Sequence[str] = (), changes_bucket: bool = False) -> T:
        """Run `work` as one transaction; an error it returns (nothing written yet) is raised here.

        `fresh` are blobs that only this transaction would name: they are removed if it fails. Removing blobs, waking
        the queue and forgetting the bucket happen even where the caller is cancelled meanwhile.
        """

        def run(connection: Connection) -> tuple[T | ServiceError, Effects]:
            effects = Effects()
            return work(connection, effects), effects

        def settle(future: asyncio.Future[tuple[T | ServiceError, Effects]]) -> None:
            if changes_bucket:
                self.forget(bucket)
            if future.cancelled() or future.exception() is not None:
                self.retire(fresh)
                return
            result, effects = future.result()
            self.retire(effects.dropped)
            if isinstance(result, ServiceError):
                self.retire(fresh)
            if effects.enqueued:
                self._queue.wake()

        future = self.db.write_nowait(run)
        future.add_done_callback(settle)
        try:
            result, _ = await asyncio.shield(future)
        except IntegrityError as error:  # the only reference is an object's bucket
            self.forget(bucket)
            raise no_such_bucket(bucket) from error
        if isinstance(result, ServiceError):
            raise result
        return result

    # -- blobs to remove ----------------------------------------------------------------------------------------------

    def lease(self, blob_ids: Sequence[str]) -> tuple[str, ...]:
        """Keep blobs on disk until `release`, though no row may name them any more."""
        self._leases.update(blob_ids)
        return tuple(blob_ids)

    def release(self, lease: Sequence[str]) -> None:
        for blob_id in lease:
            if self._leases[blob_id] <= 1:
                del self._leases[blob_id]
            else:
                self._leases[blob_id] -= 1

    def retire(self, blob_ids: Sequence[str]) -> None:
        """Remove blobs that no row names any more, a little later."""
        if blob_ids:
            self._retired.append((self.clock.monotonic() + self._grace_s, list(blob_ids)))
            self._retiring.set()

    async def reap(self) -> None:
        """Remove retired blobs as they come due, until cancelled."""
        while True:
            await self._retiring.wait()
            self._retiring.clear()
            while self._retired:
                await self.clock.sleep(max(0.0, self._retired[0][0] - self.clock.monotonic()))
                await self.remove_retired()

    async def remove_retired(self, *, now: bool = False) -> None:
        """Remove what is due (or everything); what is being read waits for another turn."""
        for _ in range(len(self._retired)):
            due, blob_ids = self._retired[0]
            if not now and due > self.clock.monotonic():
                return
            self._retired.popleft()
            busy = [] if now else [one for one in blob_ids if one in self._leases]
            await self.blobs.delete(*(one for one in blob_ids if one not in busy))
            if busy:
                self._retired.append((self.clock.monotonic() + max(self._grace_s, 0.05), busy))

    # -- permissions --------------------------------------------------------------------------------------------------

    async def missing_key(self, ctx: Context, bucket: Bucket, key: str, headers: dict[str, str]) -> ServiceError:
        """NoSuchKey for who may list the bucket; others must not learn what is there: raises AccessDenied for them.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html (Permissions)
        """
        access = Access("s3:ListBucket", bucket.arn, bucket.account_id, bucket.policy, {})
        await self.dispatcher.authorize(ctx, access, denied_code="AccessDenied")
        return no_such_key(key, headers)

    def read(self, query: Callable[[Connection], Any]) -> Any:
        return self.db.read_nowait(query)
