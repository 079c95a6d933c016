"""How long an idle environment is worth keeping, and how much: learned from how long they waited to be used again.

A histogram of idle times for each function, as in the policy of Shahrad et al., "Serverless in the Wild" (USENIX ATC
2020), but with one window only: environments here are cheap to start, so nothing is started in expectation.
"""

from __future__ import annotations

import math

#: Idle times below the first bound, in seconds, are not told apart; each bound is so many times the one before.
_FIRST_S, _STEP = 0.1, 1.25
_BUCKETS = 48  # up to 1.25 hours
#: Nothing is concluded from fewer idle times than this; of more than that, half are forgotten.
_ENOUGH, _MANY = 20, 2_000
#: The share of idle times that an environment is kept for, and how much longer than those, and the least it is kept.
_SHARE, _MARGIN, LEAST_S = 0.99, 1.5, 15.0


def _bucket(idle_s: float) -> int:
    bucket = 0 if idle_s <= _FIRST_S else math.ceil(math.log(idle_s / _FIRST_S, _STEP))
    return min(bucket, _BUCKETS - 1)


class IdleTimes:
    """What is known of one function."""

    __slots__ = ("_counts", "_start_ms", "_total", "_unused")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._total = 0
        self._unused = 0
        self._start_ms = 0.0

    def used_after(self, idle_s: float) -> None:
        """An environment was used again after waiting so long."""
        self._counts[_bucket(idle_s)] += 1
        self._total += 1
        if self._total >= _MANY:
            self._counts = [count // 2 for count in self._counts]
            self._total = sum(self._counts)
            self._unused //= 2

    def expired(self) -> None:
        """An environment was kept as long as it was thought worth it, and nobody wanted it."""
        self._unused += 1
        if self._unused >= _MANY:
            self._unused //= 2

    def started(self, start_ms: float) -> None:
        """A new environment took so long; later ones count more."""
        self._start_ms += (start_ms - self._start_ms) * (0.2 if self._start_ms else 1.0)

    def chance(self, idle_s: float, most_s: float) -> float:
        """How likely an environment that has been idle for so long is used again before it expires, between 0 and 1.

        Of those that waited as long, the share that was used after that. Where few did, that share of all counts as
        well, as two of them would; where nothing is known it is a half.
        """
        later = sum(self._counts[_bucket(idle_s) + 1 : _bucket(self.worth_s(most_s)) + 1])
        of_all = (later + 1) / (self._total + self._unused + 2)
        return (later + 2 * of_all) / (later + self._unused + 2)

    def worth_ms(self, idle_s: float, most_s: float) -> float:
        """The time of starting that keeping such an environment is expected to save."""
        return self.chance(idle_s, most_s) * self._start_ms

    def worth_s(self, most_s: float) -> float:
        """How long to keep an idle environment, at most `most_s`: that, as long as too little is known."""
        if self._total < _ENOUGH:
            return most_s
        wanted, seen = _SHARE * self._total, 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen >= wanted:
                return min(most_s, max(LEAST_S, _FIRST_S * _STEP**bucket * _MARGIN))
        return most_s
