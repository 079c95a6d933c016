"""The durable queue: two kinds of job, written in the transaction that causes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class AsyncEvent:
    """An accepted `Invoke(Event)`. `id` is the idempotence key: enqueueing an id that is there already does nothing."""

    id: str
    account_id: str
    region: str
    function_name: str
    qualifier: str
    invoked_arn: str
    request_id: str
    payload: bytes
    client_context: str = ""
    trace_header: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An operation to call later, as a service: S3's notification (lambda Invoke), a destination (sqs SendMessage).

    `params` must survive JSON, except that bytes are kept as bytes.
    """

    id: str
    account_id: str
    region: str
    service: str
    operation: str
    params: Mapping[str, Any]
    principal: str
    source_arn: str = ""
    trace_header: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


class Queue:
    """Contract; the engine fills it in."""

    def enqueue(self, connection: Connection, *jobs: AsyncEvent | Delivery) -> None:
        """Write jobs inside the caller's transaction. Call `wake` once it has committed."""
        raise NotImplementedError

    def wake(self) -> None:
        """Jobs may be due: look now."""
        raise NotImplementedError
