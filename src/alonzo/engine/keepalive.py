"""How long an idle environment is worth keeping: learned from how long they waited to be used again.

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


class IdleTimes:
    """What is known of one function."""

    __slots__ = ("_counts", "_total")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._total = 0

    def used_after(self, idle_s: float) -> None:
        """An environment was used again after waiting so long."""
        bucket = 0 if idle_s <= _FIRST_S else math.ceil(math.log(idle_s / _FIRST_S, _STEP))
        self._counts[min(bucket, _BUCKETS - 1)] += 1
        self._total += 1
        if self._total >= _MANY:
            self._counts = [count // 2 for count in self._counts]
            self._total = sum(self._counts)

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
