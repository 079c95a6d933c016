"""Preparing a runtime takes longer than a request may: it goes on by itself, and requests wait for news of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Literal, Protocol

from alonzo.core.dataclasses import dataclass, field
from alonzo.runtimes import RuntimesError

log = logging.getLogger(__name__)


class Installs(Protocol):
    async def install(self, runtime: str, progress: Callable[[str], None] | None = None) -> object: ...


@dataclass(slots=True)
class Job:
    """One preparation; `news` is set, and replaced, whenever something changes."""

    name: str
    state: Literal["INSTALLING", "READY", "FAILED"] = "INSTALLING"
    progress: str = "Waiting"
    reason: str = ""
    mend: str = ""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, progress: str) -> None:
        self.progress = progress
        self.news.set()
        self.news = asyncio.Event()


class Installer:
    """`run` does the work, until cancelled; `join` starts or finds a job."""

    def __init__(self, runtimes: Installs) -> None:
        self._runtimes = runtimes
        self._jobs: dict[str, Job] = {}
        self._asked: asyncio.Queue[Job] = asyncio.Queue()

    def join(self, name: str) -> Job:
        """The preparation under way, or a new one. The caller has made sure that the runtime exists."""
        job = self._jobs.get(name)
        if job is None or job.state != "INSTALLING":
            job = self._jobs[name] = Job(name)
            self._asked.put_nowait(job)
        return job

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._install(await self._asked.get()))

    async def _install(self, job: Job) -> None:
        try:
            await self._runtimes.install(job.name, job.tell)
        except RuntimesError as error:
            job.state, job.reason, job.mend = "FAILED", str(error), getattr(error, "mend", "")
            job.tell("Failed")
        except Exception as error:
            log.exception("runtime %s could not be prepared", job.name)
            job.state, job.reason = "FAILED", f"{type(error).__name__}: {error}"
            job.tell("Failed")
        else:
            job.state = "READY"
            job.tell("Ready")
