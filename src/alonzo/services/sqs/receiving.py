"""Taking messages from a queue: what has expired and what was received too often goes elsewhere on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from alonzo.services.sqs.index import Entry, State
from alonzo.services.sqs.live import LiveQueue
from alonzo.services.sqs.models import Message
from alonzo.services.sqs.state import Sqs
from alonzo.services.sqs.store import Move

#: How long a message is hidden that could not be moved or removed.
_RETRY_MS = 1_000

Taken = list[tuple[Message, Entry]]


async def take(state: Sqs, live: LiveQueue, limit: int, visibility_ms: int) -> Taken:
    """Up to `limit` messages, hidden from others for `visibility_ms`."""
    taken: Taken = []
    try:
        while len(taken) < limit and not live.deleted:
            entries = live.ready().take(limit - len(taken))
            if not await _sort(state, live, entries, taken):
                break
    finally:
        now_ms = state.now_ms()
        # Only now, so that nothing is given twice in one answer where `visibility_ms` is 0.
        for _, entry in taken:
            _start(state, live, entry, now_ms, visibility_ms)
        live.arm()
    return taken


def take_nowait(state: Sqs, live: LiveQueue, limit: int, visibility_ms: int) -> Taken | None:
    """The same where nothing has to go elsewhere on the way; None where something has, and nothing was taken."""
    entries = live.ready().take(limit)
    try:
        taken, gone, spent, _ = _sorted(state, live, entries)
    except BaseException:
        live.index.give_back(entries)
        raise
    if gone or spent:
        live.index.give_back(entries)
        return None
    now_ms = state.now_ms()
    for _, entry in taken:
        _start(state, live, entry, now_ms, visibility_ms)
    live.arm()
    return taken


def _sorted(state: Sqs, live: LiveQueue, entries: list[Entry]) -> tuple[Taken, list[Entry], Taken, LiveQueue | None]:
    """What can be given, what is gone or has expired, and what was received too often and goes to the last."""
    taken: Taken = []
    gone: list[Entry] = []
    spent: Taken = []
    found = state.queues.messages([entry.seq for entry in entries]) if entries else {}
    redrive = live.queue.redrive
    # Where the dead-letter queue is gone, messages are given as if there were no limit.
    target = state.live_by_arn(redrive.target) if redrive is not None else None
    oldest_ms = state.now_ms() - live.queue.retention_ms
    for entry in entries:
        message = found.get(entry.seq)
        if message is None or message.sent_ms < oldest_ms:
            gone.append(entry)
        elif redrive is not None and target is not None and entry.count >= redrive.max_receives:
            spent.append((message, entry))
        else:
            taken.append((message, entry))
    return taken, gone, spent, target


async def _sort(state: Sqs, live: LiveQueue, entries: list[Entry], taken: Taken) -> bool:
    """Add to `taken` what can be given, and send the rest where it belongs. Whether there was any of the latter."""
    try:
        given, gone, spent, target = _sorted(state, live, entries)
    except BaseException:
        live.index.give_back(entries)
        raise
    taken += given
    try:
        if gone:
            await discard(state, live, [entry.seq for entry in gone])
        if spent and target is not None:
            await _to_dead_letters(state, live, target, spent)
    except BaseException:
        for entry in [*gone, *(entry for _, entry in spent)]:
            if not entry.gone:
                live.index.hide(entry, state.now_ms() + _RETRY_MS)
        raise
    return bool(gone or spent)


def _start(state: Sqs, live: LiveQueue, entry: Entry, now_ms: int, visibility_ms: int) -> None:
    entry.count += 1
    entry.first_ms = entry.first_ms or now_ms
    entry.started_ms = now_ms
    entry.receipt = int.from_bytes(state.parts.ids.token_bytes(8)) >> 1
    live.index.hide(entry, now_ms + visibility_ms)
    state.writer.touch(entry)


async def discard(state: Sqs, live: LiveQueue, seqs: list[int]) -> None:
    """Delete messages for good."""
    await state.writer.delete(seqs)
    forget(state, live, seqs)


def forget(state: Sqs, live: LiveQueue, seqs: Sequence[int]) -> None:
    """Messages have been deleted."""
    for seq in seqs:
        if live.loaded:
            live.index.remove(seq)
        state.queues.forget(seq)


async def _to_dead_letters(state: Sqs, live: LiveQueue, target: LiveQueue, spent: list[tuple[Message, Entry]]) -> None:
    now_ms = state.now_ms()
    moves = [state.writer.move(partial(_move, live, target, message, entry, now_ms)) for message, entry in spent]
    await asyncio.gather(*moves)
    for _, entry in spent:
        live.index.remove(entry.seq)


def _move(live: LiveQueue, target: LiveQueue, message: Message, entry: Entry, now_ms: int, new_seq: int) -> Move:
    """A standard queue's message keeps the time at which it was sent, and so when it expires; a FIFO queue's does not.

    Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
    """
    sent_ms = now_ms if live.queue.fifo else message.sent_ms
    return Move(
        message.seq,
        new_seq,
        target.queue.id,
        sent_ms,
        message.dlq_source or live.queue.arn,
        entry.count,
        entry.first_ms,
        message.group_id,
    )


def again(state: Sqs, live: LiveQueue, attempt: str, visibility_ms: int) -> Taken:
    """What an earlier receive with the same attempt id was given, as far as it is still in flight unchanged."""
    until_ms, given = live.attempts.get(attempt, (0, []))
    now_ms = state.now_ms()
    if until_ms <= now_ms:
        return []
    index = live.ready()
    entries = [index.entries.get(seq) for seq, _ in given]
    held = [
        entry
        for entry, (_, receipt) in zip(entries, given, strict=True)
        if entry is not None and entry.receipt == receipt and entry.state is State.IN_FLIGHT
    ]
    found = state.queues.messages([entry.seq for entry in held])
    for entry in held:
        index.hide(entry, now_ms + visibility_ms)
        state.writer.touch(entry)
    live.arm()
    return [(found[entry.seq], entry) for entry in held if entry.seq in found]
