"""Publishing: from `$LATEST` to a version with the next number, or to `$LATEST.PUBLISHED`, which is replaced.

Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-version-publishing.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from alonzo.services.lambda_ import configuration
from alonzo.services.lambda_.models import CREATING, LATEST_PUBLISHED, Status, Version
from alonzo.services.lambda_.names import FunctionRef
from alonzo.services.lambda_.state import State, need_function, need_room
from alonzo.services.lambda_.store import functions
from alonzo.services.lambda_.store.code import Freed

PENDING = Status("Pending", CREATING, "Creating")
UPDATING = Status("InProgress", CREATING, "Creating")


def target(params: Mapping[str, Any]) -> str:
    """Where a request publishes to: "" nowhere, `$LATEST.PUBLISHED`, or "next"."""
    if params.get("PublishTo"):
        return LATEST_PUBLISHED
    return "next" if params.get("Publish") else ""


def publish(
    connection: Connection,
    state: State,
    current: Version,
    freed: Freed,
    *,
    to: str,
    ready: bool,
    description: str | None = None,
) -> Version:
    """Store what `$LATEST` is as a version, and return that.

    `ready`: it can run at once, because `$LATEST` does; else it has to be prepared. Where `$LATEST.PUBLISHED` is
    replaced it goes on running what it was until then. Raises CodeStorageExceededException.
    """
    ref = FunctionRef(current.account_id, current.region, current.name)
    before = functions.get_version(connection, ref.key, LATEST_PUBLISHED) if to == LATEST_PUBLISHED else None
    need_room(connection, ref.key, current.body.code.size - (before.body.code.size if before else 0))
    number = to if to == LATEST_PUBLISHED else _next_number(connection, ref)
    # A snapshot is taken of the version itself, before it becomes active.
    ready = ready and not configuration.snap_start(current.body.config, number)
    config = {**current.body.config, configuration.SOURCE_DESCRIPTION: current.body.config["Description"]}
    if description:
        config["Description"] = description
    published = replace(
        current,
        version=number,
        revision_id=state.new_id(),
        body=replace(current.body, config=config, generation=state.new_id()),
        previous=None,
        state=current.state if ready else PENDING,
        update=Status("Successful" if ready else ""),
    )
    if before is not None and before.state.name == "Active" and not ready:
        published = replace(published, previous=before.running, state=before.state, update=UPDATING)
    functions.put_version(connection, published, freed)
    return published


def same(published: Version, current: Version) -> bool:
    """Whether `$LATEST` is what was published; the description given to PublishVersion is not a difference."""
    config = dict(published.body.config)
    config.pop(configuration.SNAPSHOT, None)
    config["Description"] = config.pop(configuration.SOURCE_DESCRIPTION, config["Description"])
    return (
        config == current.body.config
        and published.body.code.sha256 == current.body.code.sha256
        and published.body.layers == current.body.layers
    )


def last(connection: Connection, ref: FunctionRef, to: str) -> Version | None:
    """What was published there last."""
    number = to if to == LATEST_PUBLISHED else str(need_function(connection, ref).last_version)
    return functions.get_version(connection, ref.key, number)


def _next_number(connection: Connection, ref: FunctionRef) -> str:
    function = need_function(connection, ref)
    number = function.last_version + 1
    functions.put_function(connection, replace(function, last_version=number))
    return str(number)
