"""What is asked of queues most, without a coroutine: sending, receiving what is there, deleting.

The rules and the results are those of `operations`, whose functions are called. Where a request is to be refused, has
to wait for a message, or finds one that goes elsewhere, nothing is done here, and the operation does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Call, PromptHandler, Result
from alonzo.services.sqs.batches import check_batch
from alonzo.services.sqs.live import Asked, LiveQueue
from alonzo.services.sqs.operations.handled import deleted, find
from alonzo.services.sqs.operations.messages import (
    entries_to_send,
    full,
    others_may,
    outgoing,
    read_receive,
    received,
)
from alonzo.services.sqs.receiving import forget, take_nowait
from alonzo.services.sqs.sending import send_nowait
from alonzo.services.sqs.state import Sqs
from alonzo.services.sqs.writer import Deleted
from alonzo.storage import StorageError

#: Does what a call asks for; False: nothing was done. May raise ServiceError and StorageError before it has begun.
Run = Callable[[Sqs, Call, LiveQueue], bool]


def handlers(state: Sqs) -> Mapping[str, PromptHandler]:
    return {
        "SendMessage": _Handler(state, "SendMessage", _send),
        "SendMessageBatch": _Handler(state, "SendMessage", _send_batch),
        "ReceiveMessage": _Handler(state, "ReceiveMessage", _receive),
        "DeleteMessage": _Handler(state, "DeleteMessage", _delete),
        "DeleteMessageBatch": _Handler(state, "DeleteMessage", _delete_batch),
    }


@dataclass(frozen=True, slots=True)
class _Handler:
    """`action` is what has to be allowed: a batch needs what its entries need."""

    state: Sqs
    action: str
    act: Run

    def find(self, call: Call) -> Asked | None:
        live = self.state.known(call.region, call.params["QueueUrl"])
        return live.asked(self.action) if live is not None else None

    def run(self, call: Call, target: Asked) -> bool:
        try:
            return self.act(self.state, call, target.live)
        except (ServiceError, StorageError):
            return False
        except Exception as error:
            call.done(None, error)
            return True


def _send(state: Sqs, call: Call, live: LiveQueue) -> bool:
    send_nowait(state, outgoing(state, call, live, call.params), call.done)
    return True


def _send_batch(state: Sqs, call: Call, live: LiveQueue) -> bool:
    entries = entries_to_send(call.params)
    ready = [outgoing(state, call, live, entry) for entry in entries]
    sent: list[Result] = []

    def told(result: Result | None, error: BaseException | None) -> None:
        """They are one group: if one has failed, all have."""
        sent.append(result or {})
        if len(sent) < len(entries):
            return
        if error is not None:
            call.done(None, error)
        else:
            successful = [{"Id": entry["Id"], **one} for entry, one in zip(entries, sent, strict=True)]
            call.done({"Successful": successful}, None)

    for out in ready:
        send_nowait(state, out, told)
    return True


def _receive(state: Sqs, call: Call, live: LiveQueue) -> bool:
    asked = read_receive(live.queue, call.params)
    if asked.attempt is not None or full(live):
        return False
    found = take_nowait(state, live, asked.limit, asked.visibility_ms)
    if found is None or (not found and asked.wait_s):
        return False
    if found:
        others_may(live)
    call.done(received(live, call.params, asked, found), None)
    return True


def _delete(state: Sqs, call: Call, live: LiveQueue) -> bool:
    seq = find(live, call.params)
    if seq is None:
        call.done({}, None)
    else:
        _discard(state, call, live, [seq], {})
    return True


def _delete_batch(state: Sqs, call: Call, live: LiveQueue) -> bool:
    entries = check_batch(call.params["Entries"], "DeleteMessageBatchRequestEntry")
    found = [find(live, entry) for entry in entries]
    result: Result = {"Successful": [{"Id": entry["Id"]} for entry in entries]}
    seqs = [seq for seq in found if seq is not None]
    if seqs:
        _discard(state, call, live, seqs, result)
    else:
        call.done(result, None)
    return True


def _discard(state: Sqs, call: Call, live: LiveQueue, seqs: list[int], result: Result) -> None:
    """Delete, and answer when it is on disk."""

    def told(gone: Deleted | None, error: BaseException | None) -> None:
        if gone is None:
            call.done(None, error)
            return
        forget(state, live, gone)
        deleted(live)
        call.done(result, None)

    state.writer.delete_nowait(seqs, told)
