"""Tags of log groups, by ARN and, as before 2022, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.logs import store
from alonzo.services.logs.models import MAX_TAGS, group_missing, group_name_of
from alonzo.services.logs.state import Logs


async def tag_resource(state: Logs, ctx: Context, params: Params) -> Result:
    name = group_name_of(params["resourceArn"], ctx.account_id, ctx.region)
    await _change(state, ctx, name, params["tags"], (), too_many="TooManyTagsException")
    return {}


async def untag_resource(state: Logs, ctx: Context, params: Params) -> Result:
    name = group_name_of(params["resourceArn"], ctx.account_id, ctx.region)
    await _change(state, ctx, name, {}, params["tagKeys"])
    return {}


async def list_tags_for_resource(state: Logs, ctx: Context, params: Params) -> Result:
    group = await state.group(ctx, group_name_of(params["resourceArn"], ctx.account_id, ctx.region))
    return {"tags": dict(group.tags)}


async def tag_log_group(state: Logs, ctx: Context, params: Params) -> Result:
    await _change(state, ctx, params["logGroupName"], params["tags"], ())
    return {}


async def untag_log_group(state: Logs, ctx: Context, params: Params) -> Result:
    await _change(state, ctx, params["logGroupName"], {}, params["tags"])
    return {}


async def list_tags_log_group(state: Logs, ctx: Context, params: Params) -> Result:
    group = await state.group(ctx, params["logGroupName"])
    return {"tags": dict(group.tags)}


async def _change(
    state: Logs,
    ctx: Context,
    name: str,
    added: Mapping[str, str],
    removed: Iterable[str],
    *,
    too_many: str = "InvalidParameterException",
) -> None:
    def write(connection: Connection) -> None:
        group = store.find_group(connection, (ctx.account_id, ctx.region), name)
        if group is None:
            raise group_missing()
        tags = {**group.tags, **added}
        for key in removed:
            tags.pop(key, None)
        if len(tags) > MAX_TAGS:
            raise ServiceError(too_many, f"Resource {group.arn} can have at most {MAX_TAGS} tags.")
        store.set_tags(connection, group.id, tags)

    await state.parts.db.write(write)
