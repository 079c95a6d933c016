"""Log streams."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.logs import store
from alonzo.services.logs.models import LogStream, group_missing, stream_arn, stream_missing
from alonzo.services.logs.state import Logs, named_group
from alonzo.services.logs.tokens import invalid_token, read_token, write_token


async def create_log_stream(state: Logs, ctx: Context, params: Params) -> Result:
    def write(connection: Connection) -> None:
        group = store.find_group(connection, (ctx.account_id, ctx.region), params["logGroupName"])
        if group is None:
            raise group_missing()
        if store.find_stream(connection, group, params["logStreamName"]) is not None:
            raise ServiceError("ResourceAlreadyExistsException", "The specified log stream already exists")
        store.add_stream(connection, group, params["logStreamName"], state.now_ms())

    await state.parts.db.write(write)
    return {}


async def delete_log_stream(state: Logs, ctx: Context, params: Params) -> Result:
    def write(connection: Connection) -> None:
        group = store.find_group(connection, (ctx.account_id, ctx.region), params["logGroupName"])
        if group is None:
            raise group_missing()
        stream = store.find_stream(connection, group, params["logStreamName"])
        if stream is None:
            raise stream_missing()
        store.delete_stream(connection, stream.id)

    await state.parts.db.write(write)
    return {}


async def describe_log_streams(state: Logs, ctx: Context, params: Params) -> Result:
    name = named_group(ctx, params)
    prefix = params.get("logStreamNamePrefix", "")
    by_time = params.get("orderBy", "LogStreamName") == "LastEventTime"
    descending = params.get("descending", False)
    if by_time and prefix:
        raise ServiceError("InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix.")
    limit = params.get("limit", 50)
    scope = ["streams", name, prefix, by_time, descending]
    place = read_token(params.get("nextToken"), scope)
    if place is not None and (len(place) != 2 or not isinstance(place[0], int) or not isinstance(place[1], str)):
        raise invalid_token()
    group = await state.group(ctx, name)
    found = await state.parts.db.scan(
        lambda c: store.list_streams(
            c,
            group,
            prefix=prefix,
            by_time=by_time,
            descending=descending,
            after=None if place is None else (place[0], place[1]),
            limit=limit + 1,
        )
    )
    result: Result = {"logStreams": [_describe(ctx, name, stream) for stream in found[:limit]]}
    if len(found) > limit:
        last = found[limit - 1]
        result["nextToken"] = write_token(scope, [-1 if last.last_event_ms is None else last.last_event_ms, last.name])
    return result


def _describe(ctx: Context, group: str, stream: LogStream) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "logStreamName": stream.name,
        "creationTime": stream.created_ms,
        "arn": stream_arn(ctx.account_id, ctx.region, group, stream.name),
        # AWS has answered zero for every stream since June 2019.
        "storedBytes": 0,
    }
    if stream.last_event_ms is not None:
        shown["firstEventTimestamp"] = stream.first_event_ms
        shown["lastEventTimestamp"] = stream.last_event_ms
        shown["lastIngestionTime"] = stream.last_ingestion_ms
        shown["uploadSequenceToken"] = f"{stream.last_ingestion_ms:056d}"
    return shown
