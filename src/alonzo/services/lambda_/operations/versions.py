"""Published versions."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import configuration, paging
from alonzo.services.lambda_.errors import conflict, invalid
from alonzo.services.lambda_.models import CREATING, Status, Version
from alonzo.services.lambda_.names import FunctionRef, function_ref
from alonzo.services.lambda_.state import State, need_function, need_room
from alonzo.services.lambda_.store import functions
from alonzo.services.lambda_.store.code import Freed
from alonzo.services.lambda_.targets import obstacle
from alonzo.services.lambda_.updates import latest

_PAGE = 50


async def publish_version(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"])
    if params.get("PublishTo"):
        raise invalid("Alonzo does not support PublishTo yet. Leave it out.")
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
        function = need_function(connection, ref)
        before = functions.get_version(connection, ref.key, str(function.last_version))
        if before is not None and _same(before, current):
            return before
        need_room(connection, ref.key, current.body.code.size)
        number = function.last_version + 1
        functions.put_function(connection, replace(function, last_version=number))
        config = {**current.body.config, configuration.SOURCE_DESCRIPTION: current.body.config["Description"]}
        if params.get("Description"):
            config["Description"] = params["Description"]
        published = replace(
            current,
            version=str(number),
            revision_id=state.new_id(),
            body=replace(current.body, config=config, generation=state.new_id()),
            previous=None,
            # After an update that failed, `$LATEST` runs something older than what is published here.
            state=current.state if current.previous is None else Status("Pending", CREATING, "Creating"),
            update=Status("Successful" if current.previous is None else ""),
        )
        functions.put_version(connection, published, freed)
        functions.touch(connection, ref.key, "$LATEST", state.new_id())
        return published

    def prepare(version: Version) -> None:
        if version.state.name == "Pending":
            state.prepare(ref.key, version.version)

    version = await state.write(ref.key, publish, prepare)
    return configuration.show(version, suffix=version.version)


def _same(published: Version, current: Version) -> bool:
    """Whether `$LATEST` is what was published last; the description given to PublishVersion is not a difference."""
    config = dict(published.body.config)
    config["Description"] = config.pop(configuration.SOURCE_DESCRIPTION, config["Description"])
    return (
        config == current.body.config
        and published.body.code.sha256 == current.body.code.sha256
        and published.body.layers == current.body.layers
    )


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
