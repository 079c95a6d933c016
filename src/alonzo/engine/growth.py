"""How many jobs of one kind may run at a time: grows with what helps, and shrinks where it did not.

Nothing says beforehand whether a function waits (then many environments do more) or computes (then more than the
processors carry only make each slower, until all of them run into their time-outs). So it is found out. While jobs
wait and every place is taken, the places are looked at again and again:

1. While twice as many environments as there are processors are starting, nothing grows (while processors are idle:
   eight times as many, for then starting mostly waits, too), and no more than that many places are added at once. What
   runs beside starting environments is not counted.
2. Jobs that take longer than a look, while processors are idle: grow. They mostly wait.
3. Otherwise places are tried: what they do (places / mean duration of a job) is compared with what the number before
   did. A larger number stays if it does at least half of what it promises (twice the places: half as much again), a
   smaller one if the larger did not. While processors are idle the number is tried upwards, by up to as many again;
   while they are not, by a quarter, downwards first: a machine that is busy with something else must not keep a
   function that waits from growing, and one that computes has to come down again.
4. After a trial that failed the next one waits a second, and twice as long after each further one, up to a minute.

AWS's own pollers grow in steps, too, and slow down where it does not help; their numbers are for a fleet.
Source: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

#: How often a lane is looked at, in seconds, and how long it is watched at least before it is judged.
LOOK_S = 0.1
_JUDGED_S = 0.3
#: With this share of the processors' time unused, there is room; below the other one, there is none to speak of.
_IDLE = 0.25
_BUSY = 0.10
_HOLD_S, _LONGEST_HOLD_S = 1.0, 64.0
#: A sample of the processors' times older than this says nothing about now.
_STALE_S = 3.0
#: Environments that may start at a time, for each processor: as a rule, and while processors are idle.
_STARTING, _STARTING_IDLE = 2, 8
_STAT = Path("/proc/stat")


class Growth:
    """The number of places for one function's jobs. Times are in seconds of any clock that runs evenly."""

    __slots__ = (
        "_down",
        "_failed",
        "_held_until",
        "_ran",
        "_spent_s",
        "_tried",
        "epoch",
        "first",
        "limit",
        "most",
        "since",
    )

    def __init__(self, first: int, most: int, now: float) -> None:
        self.first = min(first, most)
        self.most = most
        self.limit = self.first
        #: Since when is counted, and the number of that count: a job tells it back when it has run.
        self.since = now
        self.epoch = 0
        self._ran = 0
        self._spent_s = 0.0
        #: The number of places before the one that is tried, and what it did (jobs a second).
        self._tried: tuple[int, float] | None = None
        self._down = True
        self._failed = 0
        self._held_until = 0.0

    def ran(self, epoch: int, seconds: float) -> None:
        """A job has run, begun in this epoch. Not for those that only met a refusal."""
        if epoch == self.epoch:
            self._ran += 1
            self._spent_s += seconds

    def again(self, now: float) -> None:
        """Count from now on: what was so far says nothing (places stood empty)."""
        self.epoch += 1
        self.since = now
        self._ran = 0
        self._spent_s = 0.0

    def set(self, limit: int, now: float) -> None:
        """So many from now on, whatever was tried."""
        self._tried = None
        self._set(limit, now)

    def bound(self, most: int) -> None:
        """Another number is the largest now."""
        self.most = most
        self.limit = min(self.limit, most)

    def look(self, now: float, *, room: int, starting: int, idle: float) -> None:
        """All places are taken and jobs wait: set `limit`.

        `room` is how many places may be added, `starting` how many environments are starting, `idle` the share of the
        processors' time that was left over lately (all three: `Machine`).
        """
        watched_s = now - self.since
        if room <= 0:
            self.again(now)
        elif self._ran < self.limit:
            if watched_s >= LOOK_S * 0.9 and idle >= _IDLE and self.limit < self.most:
                self._set(self.limit + room, now)
            elif starting:
                self.again(now)
        elif starting:
            self.again(now)
        elif watched_s >= _JUDGED_S:
            self._judge(now, room, idle)

    def _judge(self, now: float, most: int, idle: float) -> None:
        """Enough jobs have run with this number of places."""
        did = self.limit / (self._spent_s / self._ran) if self._spent_s > 0 else float("inf")
        if self._tried is not None:
            before, did_before = self._tried
            self._tried = None
            fewer, more = (before, self.limit) if before < self.limit else (self.limit, before)
            little, much = (did_before, did) if before < self.limit else (did, did_before)
            helps = much >= little * (1 + (more / fewer - 1) / 2)
            if helps != (self.limit == more):
                self._failed += 1
                self._held_until = now + min(_HOLD_S * 2 ** min(self._failed - 1, 30), _LONGEST_HOLD_S)
                self._down = not self._down
                self._set(before, now)
                return
            self._failed = 0
        if now >= self._held_until:
            wanted = self._next(most, idle)
            if wanted != self.limit:
                self._tried = self.limit, did
                self._set(wanted, now)
                return
        self.again(now)

    def _next(self, most: int, idle: float) -> int:
        if idle >= _IDLE:
            return min(self.limit + min(self.limit, most), self.most)
        quarter = max(1, self.limit // 4)
        if idle < _BUSY and self.limit > self.first and (self._down or self.limit >= self.most):
            return max(self.limit - quarter, self.first)
        return min(self.limit + min(quarter, most), self.most)

    def _set(self, limit: int, now: float) -> None:
        self.limit = min(limit, self.most)
        self.again(now)


class Machine:
    """What growing has to know of the machine. `starting` tells how many environments are starting on it."""

    def __init__(
        self, starting: Callable[[], int], processors: int | None = None, stat: Callable[[], str] = _STAT.read_text
    ) -> None:
        self.processors = processors or os.cpu_count() or 1
        self.starting = starting
        self._stat = stat
        self._sampled: tuple[float, int, int] | None = None
        self._idle = 0.0

    def room(self, idle: float) -> int:
        """How many places may be added now: as many as environments may start."""
        most = (_STARTING_IDLE if idle >= _IDLE else _STARTING) * self.processors
        return min(most - self.starting(), _STARTING * self.processors)

    def idle(self, now: float) -> float:
        """The share of the processors' time that nobody used since the last look (0 where that is not known).

        To be asked every so often: the first answer after a pause is 0.
        Source: proc_stat(5).
        """
        sampled = self._sampled
        if sampled is not None and now - sampled[0] < LOOK_S * 0.9:
            return self._idle
        try:
            times = [int(field) for field in self._stat().split("\n", 1)[0].split()[1:9]]
        except (OSError, ValueError):  # no such file (macOS): only trials show what helps
            return 0.0
        total, unused = sum(times), times[3] + times[4] if len(times) > 4 else 0
        if sampled is None or now - sampled[0] > _STALE_S:
            self._idle = 0.0
        elif total > sampled[1]:
            self._idle = (unused - sampled[2]) / (total - sampled[1])
        self._sampled = now, total, unused
        return self._idle
