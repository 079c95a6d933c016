"""The engine's view of the service: functions and their asynchronous configuration."""

from __future__ import annotations

from sqlalchemy import Connection

from alonzo.engine.function import FunctionVersion
from alonzo.engine.source import EventConfig
from alonzo.services.lambda_.errors import conflict
from alonzo.services.lambda_.models import LATEST
from alonzo.services.lambda_.names import FunctionRef, is_alias
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.store import attachments, functions

_DEFAULT = EventConfig()


class Functions:
    """Implements the engine's FunctionSource."""

    def __init__(self, state: State) -> None:
        self._state = state

    def resolve(self, account_id: str, region: str, name: str, qualifier: str) -> FunctionVersion:
        """Raises ResourceNotFoundException, or ResourceConflictException while the version cannot run."""
        target = self._state.targets.of(FunctionRef(account_id, region, name, qualifier))
        if target.obstacle:
            raise conflict(target.obstacle)
        return target.pick(self._state.parts.ids)

    def event_config(self, account_id: str, region: str, name: str, qualifier: str) -> EventConfig:
        """The configuration of exactly this qualifier, as on AWS; the dead-letter queue is the version's own."""
        ref = FunctionRef(account_id, region, name, qualifier)
        return self._state.targets.recall(ref, "events", lambda connection: _event_config(connection, ref))


def _event_config(connection: Connection, ref: FunctionRef) -> EventConfig:
    stored = attachments.get_event_config(connection, ref.key, ref.qualifier or LATEST)
    dead_letter = _dead_letter(connection, ref)
    if stored is None:
        return EventConfig(dead_letter=dead_letter) if dead_letter else _DEFAULT
    return EventConfig(
        _DEFAULT.max_retries if stored.retries is None else stored.retries,
        _DEFAULT.max_age_s if stored.max_age_s is None else stored.max_age_s,
        stored.on_success,
        stored.on_failure,
        dead_letter,
    )


def _dead_letter(connection: Connection, ref: FunctionRef) -> str:
    number = ref.qualifier or LATEST
    if is_alias(ref.qualifier):
        alias = attachments.get_alias(connection, ref.key, ref.qualifier)
        number = alias.version if alias is not None else LATEST
    version = functions.get_version(connection, ref.key, number)
    if version is None:
        return ""
    target: str = (version.running.config.get("DeadLetterConfig") or {}).get("TargetArn", "")
    return target
