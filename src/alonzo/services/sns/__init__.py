"""Amazon SNS: topics, subscriptions, publishing and delivering.

The folder: `operations/` are the handlers by noun; `publishing.py` writes the jobs and `delivering.py` runs them;
`endpoints.py` says which endpoints may be subscribed by whom.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from alonzo.core.dataclasses import dataclass
from alonzo.dispatch import Parts, Service, bind
from alonzo.engine.queue import Queue
from alonzo.services.sns import delivering, store
from alonzo.services.sns.access import access_of
from alonzo.services.sns.operations import MODULES
from alonzo.services.sns.state import State

__all__ = ["SnsService", "build"]


@dataclass(frozen=True)
class SnsService(Service):
    """What the edge may ask SNS beside its operations."""

    state: State | None = None

    def certificate(self, name: str) -> bytes | None:
        """What is served below `/_alonzo/sns/`: the certificate (PEM) that signatures are verified with."""
        assert self.state is not None
        return self.state.signer.certificate(name)

    def recorded(self, account_id: str, region: str) -> Iterable[Mapping[str, Any]]:
        """The e-mails and text messages that would have been sent, the latest first."""
        assert self.state is not None
        return self.state.db.read_nowait(lambda connection: store.list_recorded(connection, account_id, region))


def build(parts: Parts, queue: Queue) -> SnsService:
    """The service, to be added to the dispatcher."""
    state = State(parts, queue)
    return SnsService(
        name="sns",
        handlers=bind("sns", state, MODULES),
        access=partial(access_of, state),
        denied_code="AuthorizationError",
        jobs={
            "Notify": partial(delivering.notify, state),
            "NotifyGroup": partial(delivering.notify_group, state),
            "Confirm": partial(delivering.confirm, state),
        },
        state=state,
    )
