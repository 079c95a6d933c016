"""What UpdateFunctionCode and UpdateFunctionConfiguration have in common: `$LATEST` gets a new body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection

from alonzo.services.lambda_ import errors, publishing
from alonzo.services.lambda_.models import LATEST, Body, Version
from alonzo.services.lambda_.names import FunctionRef
from alonzo.services.lambda_.state import State, need_function, need_idle
from alonzo.services.lambda_.store import functions
from alonzo.services.lambda_.store.code import Freed


def latest(connection: Connection, ref: FunctionRef, revision_id: str | None) -> Version:
    """`$LATEST`, ready to be changed. Raises where it is busy, or not of the revision the caller expects."""
    need_function(connection, ref)
    version = functions.get_version(connection, ref.key)
    assert version is not None, "every function has a $LATEST"
    if revision_id and revision_id != version.revision_id:
        raise errors.stale(errors.STALE_FUNCTION)
    need_idle(ref, version)
    return version


async def update(
    state: State,
    ref: FunctionRef,
    revision_id: str | None,
    change: Callable[[Connection, Body, Freed], Body],
    *,
    publish_to: str = "",
) -> Version:
    """Store the body that `change` makes and have it prepared; returns what the operation shows.

    With `publish_to` (see `publishing.target`) that is the version published, which becomes active when the update is
    done.
    """

    def transaction(connection: Connection, freed: Freed) -> Version:
        current = latest(connection, ref, revision_id)
        body = replace(change(connection, current.body, freed), generation=state.new_id())
        failed = current.state.name == "Failed"
        updated = replace(
            current,
            revision_id=state.new_id(),
            body=body,
            previous=None if failed else current.running,
            modified=state.now(),
            update=publishing.UPDATING,
        )
        functions.put_version(connection, updated, freed)
        if not publish_to:
            return updated
        return publishing.publish(connection, state, updated, freed, to=publish_to, ready=False)

    def prepare(shown: Version) -> None:
        for version in {LATEST, shown.version}:
            state.prepare(ref.key, version)

    return await state.write(ref.key, transaction, prepare)
