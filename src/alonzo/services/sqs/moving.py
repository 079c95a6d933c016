"""Carries out message move tasks. A task goes on after a restart; a message is moved in one transaction."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial

from alonzo.services.sqs import store
from alonzo.services.sqs.index import Entry
from alonzo.services.sqs.live import LiveQueue
from alonzo.services.sqs.models import Message, MoveTask
from alonzo.services.sqs.receiving import discard
from alonzo.services.sqs.state import Sqs
from alonzo.services.sqs.store import Move

log = logging.getLogger(__name__)

#: Messages moved at a time, and in a second where no rate is given.
_BATCH = 100
_TOP_RATE = 500


async def run(state: Sqs) -> None:
    """Run tasks until cancelled."""
    running: dict[str, asyncio.Task[None]] = {}
    state.tasks_changed.set()
    async with asyncio.TaskGroup() as group:
        while True:
            await state.tasks_changed.wait()
            state.tasks_changed.clear()
            running = {task_id: task for task_id, task in running.items() if not task.done()}
            for task in await state.parts.db.read(store.open_tasks):
                if task.id not in running:
                    running[task.id] = group.create_task(_run(state, task))


async def _run(state: Sqs, task: MoveTask) -> None:
    while True:
        try:
            await _Mover(state, task).run()
            return
        except Exception:
            log.exception("message move task %s failed; it goes on in a while", task.id)
            await state.parts.clock.sleep(5.0)
            found = await state.parts.db.read(partial(store.find_task, task_id=task.id))
            if found is None:
                return
            task = found


class _Mover:
    """One task."""

    def __init__(self, state: Sqs, task: MoveTask) -> None:
        self._state = state
        self._task = task

    async def run(self) -> None:
        rate = self._task.rate or _TOP_RATE
        size = max(1, min(_BATCH, rate // 5))
        while True:
            status = await self._status()
            if status != "RUNNING":
                await self._end("CANCELLED" if status == "CANCELLING" else status)
                return
            source = self._state.live_by_arn(self._task.source)
            if source is None:
                await self._end("FAILED", "AWS.SimpleQueueService.NonExistentQueue")
                return
            moved, failure = await self._move(source, size)
            self._task = replace(self._task, moved=self._task.moved + moved)
            if failure:
                await self._end("FAILED", failure)
                return
            if moved == 0 or (self._task.to_move and self._task.moved >= self._task.to_move):
                await self._end("COMPLETED")
                return
            await self._write({"moved": self._task.moved})
            await self._state.parts.clock.sleep(moved / rate)

    async def _status(self) -> str:
        found = await self._state.parts.db.read(lambda c: store.find_task(c, self._task.id))
        return found.status if found is not None else "CANCELLED"

    async def _end(self, status: str, failure: str = "") -> None:
        await self._write({"status": status, "failure": failure, "moved": self._task.moved})

    async def _write(self, values: dict[str, object]) -> None:
        await self._state.parts.db.write(lambda c: store.change_task(c, self._task.id, values))

    async def _move(self, source: LiveQueue, limit: int) -> tuple[int, str]:
        """How many were moved, and why no more can be."""
        state, index = self._state, source.ready()
        entries = index.take(limit)
        found = state.queues.messages([entry.seq for entry in entries])
        now_ms = state.now_ms()
        oldest_ms = now_ms - source.queue.retention_ms
        waiting: list[tuple[Entry, asyncio.Future[Move]]] = []
        expired: list[int] = []
        failure = ""
        for entry in entries:
            message = found.get(entry.seq)
            if message is None or message.sent_ms < oldest_ms:
                expired.append(entry.seq)
                continue
            target = state.live_by_arn(self._task.destination or message.dlq_source or "")
            if target is None or failure:
                if not failure:
                    known = self._task.destination or message.dlq_source
                    failure = "AWS.SimpleQueueService.NonExistentQueue" if known else "CouldNotDetermineMessageSource"
                index.hide(entry, now_ms)
                continue
            waiting.append((entry, state.writer.move(partial(_move, target, message, now_ms))))
        if expired:
            await discard(state, source, expired)
        outcomes = await asyncio.gather(*(future for _, future in waiting), return_exceptions=True)
        moved = 0
        for (entry, _), outcome in zip(waiting, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                index.hide(entry, now_ms)
            else:
                index.remove(entry.seq)
                moved += 1
        source.ready()
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return moved, failure


def _move(target: LiveQueue, message: Message, now_ms: int, new_seq: int) -> Move:
    """A message that is moved back counts as new: it is sent now and was never received."""
    return Move(message.seq, new_seq, target.queue.id, now_ms, None, 0, 0, message.group_id)
