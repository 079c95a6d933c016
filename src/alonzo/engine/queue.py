"""The durable queue: two kinds of job, written in the transaction that causes them.

The table is the truth; memory holds a bounded part of it, in lanes (one per function, one per kind of delivery), and
the times at which to look again. New rows are found by their sequence number, retries by their time; nothing polls.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from alonzo.core.clock import Clock
from alonzo.engine.jobs import AsyncEvent, Delivery, Job, JobInfo, JobStore, Settlement, lane_of
from alonzo.engine.lanes import LANE_BYTES, LANE_JOBS, Lane
from alonzo.engine.settling import Settling
from alonzo.storage import Database

log = logging.getLogger(__name__)

__all__ = ["AsyncEvent", "Delivery", "Lane", "Queue"]

#: Jobs in memory at most, and their bytes.
_LOADED = 4_096
_LOADED_BYTES = 64 << 20
_BATCH = 256
#: Accepted jobs of one transaction, more or less, and how long the first of them is kept from it, in seconds.
_GATHERED = 64
_GATHER_S = 0.002

#: Told when a job is on disk, or why it is not.
Stored = Callable[[BaseException | None], None]


class Queue:
    """See the module. Services use `enqueue` and `wake`, or `accept`; the rest is the deliverer's."""

    def __init__(self, db: Database, clock: Clock, *, owner: str = "local", lease_s: float = math.inf) -> None:
        """`lease_s` is how long this host's claim on its jobs lasts where others share the database; it is renewed
        three times as often. Infinite: the database is this host's own."""
        self._db = db
        self._clock = clock
        self._store = JobStore(owner)
        self._lease_s = lease_s
        #: Called when there may be something to start.
        self.pump: Callable[[], None] = lambda: None
        #: Told of a lane whose places are all taken when one more of its jobs comes.
        self.waits: Callable[[Lane], None] = lambda lane: None
        self.lanes: dict[str, Lane] = {}
        self.ready: deque[Lane] = deque()
        self._stash: dict[int, Job] = {}
        self._loaded: dict[int, Job] = {}
        self._bytes = 0
        self._cursor = 0
        self._due_cursor: tuple[float, int] = (0.0, 0)
        self._next_due = math.inf
        self._due_changed = asyncio.Event()
        self._scheduled = False
        self._starved = False
        self._open = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._accepting: list[tuple[AsyncEvent | Delivery, Stored]] = []
        #: Somebody sees to it that they are written.
        self._gathering = False
        self._handing: dict[str, Job] = {}
        #: New jobs seen since the start.
        self.arrivals = 0
        self._settling = Settling(db, clock, self._store.settle, self._settled)

    # -- for services -------------------------------------------------------------------------------------------------

    def enqueue(self, connection: Connection, *jobs: AsyncEvent | Delivery) -> None:
        """Write jobs inside the caller's transaction. Call `wake` once it has committed."""
        # Saves reading them back; whether they were committed is still decided by what the table says.
        self._put_by(self._store.insert(connection, jobs, self._clock.now())[0])

    def _put_by(self, jobs: list[Job]) -> None:
        for job in jobs:
            if len(self._stash) < _LOADED:
                self._stash[job.seq] = job

    def wake(self) -> None:
        """Jobs may be due: look now."""
        if not self._scheduled and self._open and self._loop is not None:
            self._scheduled = True
            self._loop.call_soon(self._look)

    async def accept(self, job: AsyncEvent | Delivery) -> None:
        """Enqueue in a transaction of the queue's own, together with all that come in the same moment.

        When it returns, the job is on disk. Cheaper than `enqueue` where nothing else is to be written with it.
        An event that a delivery hands over is on disk already, as that delivery (`hand_over`).
        """
        if self._handing and isinstance(job, AsyncEvent) and self._carry(job):
            return
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def stored(error: BaseException | None) -> None:
            if accepted.done():
                return  # its caller has gone; the job is there all the same
            if error is None:
                accepted.set_result(None)
            else:
                accepted.set_exception(error)

        self.accept_nowait(job, stored)
        await accepted

    @contextmanager
    def hand_over(self, job: Job) -> Iterator[None]:
        """A delivery is about to hand its event to `accept`, for the first time.

        The event then needs no transaction before it runs: until the delivery's outcome is written the delivery's row
        stands for both, and that transaction writes the event's if it has not ended by then.
        """
        self._handing[job.what.id] = job
        try:
            yield
        finally:
            self._handing.pop(job.what.id, None)

    def _carry(self, event: AsyncEvent) -> bool:
        delivery = self._handing.get(event.request_id)
        if delivery is None:
            return False
        if delivery.carries is not None:
            return delivery.carries.what.id == event.id
        if self._crowded():
            return False
        lane = self.lanes.get(lane_of(event))
        if lane is not None and (lane.full or len(lane.jobs) >= LANE_JOBS):
            return False
        delivery.carries = self._store.carried(event, self._clock.now())
        return True

    def accept_nowait(self, job: AsyncEvent | Delivery, stored: Stored) -> None:
        """The same for callers without a coroutine: `stored` is told once, None when the job is on disk."""
        self._accepting.append((job, stored))
        if not self._gathering:
            self._gathering = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._gather, loop, 0, loop.time() + _GATHER_S)

    def _gather(self, loop: asyncio.AbstractEventLoop, before: int, until: float) -> None:
        """Wait for more as long as every round of the loop brings some: one commit costs as much as many rows."""
        count = len(self._accepting)
        if before < count < _GATHERED and loop.time() < until:
            loop.call_soon(self._gather, loop, count, until)
        else:
            self._write_accepted(loop)

    def _write_accepted(self, loop: asyncio.AbstractEventLoop) -> None:
        """One transaction at a time: what comes meanwhile is the next one's."""
        accepting, self._accepting = self._accepting, []
        jobs = [job for job, _ in accepting]
        now = self._clock.now()

        def done(written: asyncio.Future[tuple[list[Job], bool]]) -> None:
            if self._accepting:
                loop.call_soon(self._gather, loop, 0, loop.time() + _GATHER_S)
            else:
                self._gathering = False
            error = asyncio.CancelledError() if written.cancelled() else written.exception()
            for _, stored in accepting:
                try:
                    stored(error)
                except Exception:  # the others are to be told all the same
                    log.exception("an accepted job's caller failed")
            if error is None:
                self._accepted(*written.result())

        written = self._db.write_nowait(lambda connection: self._store.insert(connection, jobs, now))
        written.add_done_callback(done)

    def _accepted(self, jobs: list[Job], new: bool) -> None:
        """These are on disk: take them up as they are, unless the table knows better."""
        if not self._open:
            return
        if not new or jobs[0].seq != self._cursor + 1 or jobs[-1].seq - self._cursor != len(jobs):
            # One was there before; or other jobs were numbered between, of whose fate only the table tells.
            self._put_by(jobs)
            self.wake()
            return
        lanes = self.lanes
        for job in jobs:
            if len(self._loaded) >= _LOADED or self._bytes >= _LOADED_BYTES:
                self._starved = True
                break  # found in the table from the cursor on, as soon as there is room
            self._cursor = job.seq
            self.arrivals += 1
            lane = lanes.get(job.lane)
            if lane is not None and lane.skipped_from is not None and lane.running:
                continue  # behind others of its lane that are in the table only
            if self._wanted(job.seq, job.lane):
                self._push(job)
        self.pump()

    @property
    def idle(self) -> bool:
        """Nothing is known to be left to do: every job seen so far has ended, and its outcome is on disk."""
        return not self._loaded and not self.lanes and not self._gathering

    async def list_jobs(
        self, account_id: str = "", region: str = "", function: str = "", *, limit: int = 1_000
    ) -> list[JobInfo]:
        """Jobs in the order they came: waiting, running or retrying. `function` needs account and region."""
        rows = await self._db.scan(lambda connection: self._store.list(connection, account_id, region, function, limit))
        running = {seq for seq, job in self._loaded.items() if not self._waits(job)}
        return [
            JobInfo(
                row.origin or row.id,
                "event" if row.kind == "E" else "delivery",
                "running" if row.seq in running else "retrying" if row.due_at > 0 else "waiting",
                row.lane,
                row.account_id,
                row.region,
                row.enqueued_at,
                row.due_at,
                row.failures,
                row.throttles,
                row.tries,
                row.last_error,
            )
            for row in rows
        ]

    def _waits(self, job: Job) -> bool:
        lane = self.lanes.get(job.lane)
        return lane is not None and job in lane.jobs

    # -- finding jobs -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Claim what an earlier run (or a host that has gone) left."""
        self._loop = asyncio.get_running_loop()
        now = self._clock.now()
        until = now + self._lease_s
        await self._db.write(lambda connection: self._store.open(connection, now, until))
        self._open = True
        self._next_due = 0.0
        self.wake()

    async def run(self) -> None:
        """Settle, look when retries are due, keep the lease; until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settling.run())
            group.create_task(self._run_due())
            if self._lease_s != math.inf:
                group.create_task(self._run_lease())

    def _look(self) -> None:
        """Load what is due: retries first, then new jobs."""
        self._scheduled = False
        if not self._open or self._loop is None:
            return
        starved, self._starved = self._starved, False
        now = self._clock.now()
        try:
            if starved:
                for lane in list(self.lanes.values()):
                    if lane.skipped_from is not None and not lane.running:
                        self._look_in_lane(lane)  # nothing of it runs whose end would make room
            if self._next_due <= now:
                self._look_due(now)
            self._look_new()
        except Exception:
            log.exception("the queue cannot be read; it is tried again")
            self._loop.call_later(1.0, self.wake)
        self.pump()

    def _look_new(self) -> None:
        if self._crowded():
            return
        rows = self._db.read_nowait(lambda connection: self._store.new(connection, self._cursor, _BATCH))
        taken: list[tuple[int, int]] = []
        size_taken = 0
        for seq, lane, size in rows:
            if self._crowded(len(taken)) or size_taken >= LANE_BYTES:
                break
            self._cursor = seq
            self.arrivals += 1
            if self._wanted(seq, lane):
                taken.append((seq, size))
                size_taken += size
        self._take(taken)
        for seq in [seq for seq in list(self._stash) if seq <= self._cursor]:
            self._stash.pop(seq, None)
        if rows and (len(rows) == _BATCH or self._cursor < rows[-1][0]) and not self._starved:
            self.wake()

    def _look_due(self, now: float) -> None:
        rows = self._db.read_nowait(lambda connection: self._store.due(connection, self._due_cursor, now, _BATCH))
        taken: list[tuple[int, int]] = []
        size_taken = 0
        for due_at, seq, lane, size in rows:
            if self._crowded(len(taken)) or size_taken >= LANE_BYTES:
                self._next_due = due_at
                self._take(taken)
                if not self._starved:
                    self.wake()
                return
            size_taken += size
            self._due_cursor = (due_at, seq)
            if self._wanted(seq, lane):
                taken.append((seq, size))
        self._take(taken)
        if len(rows) == _BATCH:
            self.wake()
            return
        self._due_cursor = (max(now, self._due_cursor[0]), 1 << 62)
        found = self._db.read_nowait(lambda connection: self._store.next_due(connection, self._due_cursor[0]))
        self._next_due = math.inf if found is None else found
        self._due_changed.set()

    def _look_in_lane(self, lane: Lane) -> None:
        """The lane has room again: take up what was left in the table."""
        after = lane.skipped_from
        if after is None or lane.full or self._crowded():
            return
        now = self._clock.now()
        limit = max(LANE_JOBS - len(lane.jobs), 1)
        rows = self._db.read_nowait(lambda connection: self._store.in_lane(connection, lane.name, after, now, limit))
        lane.skipped_from = None
        taken: list[tuple[int, int]] = []
        size_taken = 0
        for seq, name, size in rows:
            if seq in self._loaded:
                continue
            if size_taken + lane.bytes >= LANE_BYTES and taken:
                lane.skipped_from = seq
                break
            # `_wanted` remembers the first one that does not fit.
            if self._wanted(seq, name, len(taken)):
                taken.append((seq, size))
                size_taken += size
        if len(rows) == limit and lane.skipped_from is None:
            lane.skipped_from = rows[-1][0] + 1
        self._take(taken)

    def _crowded(self, more: int = 0) -> bool:
        if len(self._loaded) + more >= _LOADED or self._bytes >= _LOADED_BYTES:
            self._starved = True
            return True
        return False

    def _wanted(self, seq: int, name: str, more: int = 0) -> bool:
        """Whether a job is to be loaded now; if its lane is full, the lane remembers that there is more."""
        if seq in self._loaded:
            return False
        lane = self.lanes.get(name)
        if lane is not None and (lane.full or len(lane.jobs) + more >= LANE_JOBS):
            if lane.skipped_from is None or seq < lane.skipped_from:
                lane.skipped_from = seq
            return False
        return True

    def _take(self, wanted: list[tuple[int, int]]) -> None:
        known = {seq: self._stash.pop(seq, None) for seq, _ in wanted}
        missing = [seq for seq, job in known.items() if job is None]
        if missing:
            for loaded in self._db.read_nowait(lambda connection: self._store.load(connection, missing)):
                known[loaded.seq] = loaded
        for job in known.values():
            if job is not None:
                self._push(job)

    def _push(self, job: Job) -> None:
        self._loaded[job.seq] = job
        self._bytes += job.size
        lane = self.lanes.get(job.lane)
        if lane is None:
            lane = self.lanes[job.lane] = Lane(job.lane)
        lane.jobs.append(job)
        lane.bytes += job.size
        if lane.running < lane.limit:
            self.line_up(lane)
        else:
            self.waits(lane)

    def line_up(self, lane: Lane) -> None:
        """Put a lane in the line, if it has a job that may start."""
        if not lane.queued and lane.jobs and lane.running < lane.limit:
            lane.queued = True
            self.ready.append(lane)

    def finished(self, lane: Lane, job: Job) -> None:
        """A job has run; it leaves memory once it is settled."""
        lane.running -= 1
        lane.bytes -= job.size
        if lane.skipped_from is not None and len(lane.jobs) < LANE_JOBS // 2:
            self._look_in_lane(lane)
        if lane.jobs:
            self.line_up(lane)
        elif lane.empty:
            self.lanes.pop(lane.name, None)

    # -- settling -----------------------------------------------------------------------------------------------------

    def settle(self, settlement: Settlement) -> None:
        """Write an outcome soon, together with those of the same moment."""
        self._settling.add(settlement)
        carried = settlement.job.carries
        if carried is None:
            return
        if settlement.due_at is not None:
            settlement.job.carries = None  # it will be handed over again
        elif self._open:
            # Not sooner: its outcome must not be written before the delivery's.
            self.arrivals += 1
            self._push(carried)
            self.pump()

    async def flush(self) -> None:
        """Write every outcome that waits."""
        await self._settling.flush()

    def _settled(self, settlements: list[Settlement], followers: list[Job]) -> None:
        self._put_by(followers)
        again: list[tuple[int, int]] = []
        look = self._starved or bool(followers)
        for settlement in settlements:
            job = settlement.job
            if self._loaded.pop(job.seq, None) is not None:
                self._bytes -= job.size
            if settlement.due_at is None:
                continue
            if settlement.due_at <= self._due_cursor[0]:
                # Its time came while it was being written: the cursor is past it.
                if self._wanted(job.seq, job.lane):
                    again.append((job.seq, job.size))
            elif settlement.due_at < self._next_due:
                self._next_due = settlement.due_at
                self._due_changed.set()
        self._take(again)
        if look:
            self.wake()
        if again:
            self.pump()

    async def _run_due(self) -> None:
        """Wake up when the next retry is due."""
        while True:
            self._due_changed.clear()
            due = self._next_due
            waits: list[asyncio.Task[Any]] = [asyncio.create_task(self._due_changed.wait())]
            if due != math.inf and not self._starved:
                waits.append(asyncio.create_task(self._sleep_until(due)))
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if self._next_due <= self._clock.now() and not self._starved:
                self.wake()

    async def _sleep_until(self, due: float) -> None:
        seconds = due - self._clock.now()
        if seconds > 0:
            await self._clock.sleep(seconds)
        else:  # it is time already, whatever the clock does next: look after a moment
            await asyncio.sleep(0.001)

    async def _run_lease(self) -> None:
        while True:
            await self._clock.sleep(self._lease_s / 3)
            if await self._adopt(self._clock.now()):
                self._cursor = 0
                self._due_cursor, self._next_due = (0.0, 0), 0.0
                self.wake()

    async def _adopt(self, now: float) -> int:
        return await self._db.write(lambda connection: self._store.adopt(connection, now, now + self._lease_s))

    def close(self) -> None:
        """Start nothing more."""
        self._open = False
        self.pump = lambda: None
