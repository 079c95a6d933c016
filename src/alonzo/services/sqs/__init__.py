"""Simple Queue Service: standard and FIFO queues, dead letters, message move tasks."""

from __future__ import annotations

from functools import partial

from alonzo.dispatch import Parts, Service, bind
from alonzo.services.sqs import background, prompt, store
from alonzo.services.sqs.access import access
from alonzo.services.sqs.live import Queues
from alonzo.services.sqs.operations import handled, messages, moves, permissions, queues
from alonzo.services.sqs.state import Sqs
from alonzo.services.sqs.timers import Timers
from alonzo.services.sqs.writer import Writer


def build(parts: Parts) -> Service:
    writer, timers = Writer(parts.db, parts.clock), Timers(parts.clock)
    found = Queues(parts.db, writer, timers, lambda: int(parts.clock.now() * 1000))
    state = Sqs(parts, found, writer, timers)

    async def start() -> None:
        writer.start(await parts.db.read(store.last_seq))
        found.load()

    async def stop() -> None:
        await writer.flush()

    return Service(
        name="sqs",
        handlers=bind("sqs", state, (queues, messages, handled, permissions, moves)),
        access=partial(access, state),
        denied_code="AccessDenied",
        prompt=prompt.handlers(state),
        start=start,
        run=partial(background.run, state),
        stop=stop,
    )
