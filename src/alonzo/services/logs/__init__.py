"""CloudWatch Logs: groups, streams, events, filter patterns, retention."""

from __future__ import annotations

from functools import partial

from alonzo.dispatch import Parts, Service, bind
from alonzo.services.logs import background
from alonzo.services.logs.access import access
from alonzo.services.logs.appending import Batches
from alonzo.services.logs.operations import groups, patterns, put, read, streams, tags
from alonzo.services.logs.state import Logs


def build(parts: Parts) -> Service:
    state = Logs(parts, Batches(parts.db))
    return Service(
        name="logs",
        handlers=bind("logs", state, (groups, streams, put, read, tags, patterns)),
        access=access,
        denied_code="AccessDeniedException",
        run=partial(background.run, state),
    )
