"""Published versions."""

from __future__ import annotations

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import configuration, paging, publishing
from alonzo.services.lambda_.errors import conflict, invalid
from alonzo.services.lambda_.models import LATEST, LATEST_PUBLISHED, Version
from alonzo.services.lambda_.names import FunctionRef, function_ref
from alonzo.services.lambda_.state import State, need_function
from alonzo.services.lambda_.store import functions
from alonzo.services.lambda_.store.code import Freed
from alonzo.services.lambda_.targets import obstacle
from alonzo.services.lambda_.updates import latest

_PAGE = 50


async def publish_version(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"])
    to = publishing.target({**params, "Publish": True})
    wanted = params.get("CodeSha256")

    def publish(connection: Connection, freed: Freed) -> Version:
        current = latest(connection, ref, params.get("RevisionId"))
        sha256 = configuration.code_sha256(current.body.code.sha256)
        if wanted and wanted != sha256:
            raise invalid(
                f"CodeSHA256 ({wanted}) is different from current CodeSHA256 in $LATEST ({sha256}). Please try again"
                " with the CodeSHA256 in $LATEST."
            )
        if current.state.name == "Failed":
            raise conflict(obstacle(current))
        before = publishing.last(connection, ref, to)
        if before is not None and publishing.same(before, current):
            return before
        # After an update that failed, `$LATEST` runs something older than what is published here.
        ready = current.previous is None
        published = publishing.publish(
            connection, state, current, freed, to=to, ready=ready, description=params.get("Description")
        )
        functions.touch(connection, ref.key, LATEST, state.new_id())
        return published

    def then(version: Version) -> None:
        if version.state.name == "Pending" or version.update.name == "InProgress":
            state.prepare(ref.key, version.version)
        elif version.version == LATEST_PUBLISHED:
            state.engine.retire(ref.arn, LATEST_PUBLISHED)

    version = await state.write(ref.key, publish, then)
    return configuration.show(version, suffix=version.version)


async def list_versions_by_function(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"])
    limit = min(params.get("MaxItems", _PAGE), _PAGE)
    (after,) = paging.decode(params.get("Marker"), (-1,))

    def read(connection: Connection) -> list[Version]:
        need_function(connection, FunctionRef(*ref.key))
        return functions.list_versions(connection, ref.key, after, limit + 1)

    found = await state.read(read)
    items, token = paging.page(found, limit, lambda version: (functions.number_of(version.version),))
    shown = [configuration.show(version, suffix=version.version, listed=True) for version in items]
    return {"Versions": shown, **({"NextMarker": token} if token else {})}
