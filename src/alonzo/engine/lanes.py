"""The part of the queue that is in memory: jobs in lanes."""

from __future__ import annotations

from collections import deque

from alonzo.engine.growth import Growth
from alonzo.engine.jobs import Job

#: Jobs of one lane in memory at most, beside those that run; and their bytes.
LANE_JOBS = 256
LANE_BYTES = 8 << 20


class Lane:
    """Jobs that share a fate: those of one function wait for each other, never for another's."""

    __slots__ = ("bytes", "growth", "jobs", "limit", "name", "queued", "running", "skipped_from")

    def __init__(self, name: str) -> None:
        self.name = name
        self.jobs: deque[Job] = deque()
        self.running = 0
        #: Jobs that may run at a time: one, until it is known (`growth` is set) what the function allows.
        self.limit = 1
        self.growth: Growth | None = None
        #: Whether it stands in the line of lanes that may start a job.
        self.queued = False
        self.bytes = 0
        #: The lowest sequence number left in the table because the lane was full; None: nothing was.
        self.skipped_from: int | None = None

    @property
    def full(self) -> bool:
        held = len(self.jobs) + self.running
        return held >= LANE_JOBS + self.limit or (held > 0 and self.bytes >= LANE_BYTES)

    @property
    def empty(self) -> bool:
        return not self.jobs and not self.running and self.skipped_from is None
