"""Accepting goes first: while very many jobs arrive, only so many are started. What was accepted is safe on disk.

Accepting an event costs the server about 50 µs of CPU, running one 110, most of it in the same thread, and the function
its own. When it was 100 and 150, on two cores that others use, too, 5 s, 64 clients, three runs each (events accepted,
events run a second):

    bound 1,000   6,700 to 10,000   1,030
          1,500   5,400 to 7,600    1,270 to 1,500
          2,000   6,600 to 7,100    1,430 to 1,940
          3,000   3,900 to 6,200    1,660 to 1,940
          5,000   4,900 to 6,200    2,590 to 2,760

2,000 kept what was promised then with room to spare; now they take a sixth of two cores.
"""

from __future__ import annotations

import math

#: While more than so many jobs a second arrive, at most so many a second are started.
RUSH_PER_S = 1_500
STARTS_PER_S = 2_000
WINDOW_S = 0.05


class Rush:
    """Counts arrivals and starts in short windows. Times are in seconds of any clock that runs evenly."""

    __slots__ = ("_allowed", "_arrivals", "ends")

    def __init__(self) -> None:
        #: When the window ends, and with it a refusal.
        self.ends = 0.0
        self._arrivals = 0
        self._allowed = math.inf

    def look(self, now: float, arrivals: int) -> None:
        """Begin another window if this one is over; `arrivals` is how many jobs have arrived in all."""
        if now < self.ends:
            return
        length_s = now - self.ends + WINDOW_S
        arrived = arrivals - self._arrivals
        self._arrivals = arrivals
        self.ends = now + WINDOW_S
        self._allowed = STARTS_PER_S * WINDOW_S if arrived > RUSH_PER_S * length_s else math.inf

    def take(self) -> bool:
        """Whether one more job may start in this window."""
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True
