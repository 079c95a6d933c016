"""Log groups and how long they keep events."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.logs import store
from alonzo.services.logs.models import RETENTION_DAYS, LogGroup, group_missing, group_name_of
from alonzo.services.logs.state import Logs
from alonzo.services.logs.tokens import read_token, write_token


async def create_log_group(state: Logs, ctx: Context, params: Params) -> Result:
    name = params["logGroupName"]
    if name.startswith("aws/"):
        raise ServiceError("InvalidParameterException", "Log groups starting with AWS/ are reserved for AWS.")
    group = LogGroup(
        id=0,
        account_id=ctx.account_id,
        region=ctx.region,
        name=name,
        created_ms=state.now_ms(),
        group_class=params.get("logGroupClass", "STANDARD"),
        kms_key_id=params.get("kmsKeyId", ""),
        protected=params.get("deletionProtectionEnabled", False),
        tags=params.get("tags", {}),
    )

    def write(connection: Connection) -> None:
        if store.find_group(connection, (ctx.account_id, ctx.region), name) is not None:
            raise ServiceError("ResourceAlreadyExistsException", "The specified log group already exists")
        store.add_group(connection, group)

    await state.parts.db.write(write)
    return {}


async def delete_log_group(state: Logs, ctx: Context, params: Params) -> Result:
    def write(connection: Connection) -> None:
        group = store.find_group(connection, (ctx.account_id, ctx.region), params["logGroupName"])
        if group is None:
            raise group_missing()
        if group.protected:
            raise ServiceError(
                "ValidationException",
                "The log group has deletion protection enabled. Disable deletion protection before deleting it.",
            )
        store.delete_group(connection, group.id)

    await state.parts.db.write(write)
    return {}


async def put_log_group_deletion_protection(state: Logs, ctx: Context, params: Params) -> Result:
    group = await state.group(ctx, group_name_of(params["logGroupIdentifier"], ctx.account_id, ctx.region))
    await state.parts.db.write(lambda c: store.set_protected(c, group.id, params["deletionProtectionEnabled"]))
    return {}


async def describe_log_groups(state: Logs, ctx: Context, params: Params) -> Result:
    if params.get("includeLinkedAccounts") or set(params.get("accountIdentifiers", ())) - {ctx.account_id}:
        raise ServiceError("InvalidParameterException", "Alonzo does not show other accounts' log groups.")
    prefix, pattern = params.get("logGroupNamePrefix", ""), params.get("logGroupNamePattern", "")
    if prefix and pattern:
        raise ServiceError(
            "InvalidParameterException",
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        )
    identifiers = params.get("logGroupIdentifiers", [])
    names = [group_name_of(one, ctx.account_id, ctx.region) for one in identifiers]
    limit = params.get("limit", 50)
    scope = ["groups", prefix, pattern, *names, params.get("logGroupClass", "")]
    after = read_token(params.get("nextToken"), scope)
    found = await state.parts.db.scan(
        lambda c: store.list_groups(
            c,
            (ctx.account_id, ctx.region),
            prefix=prefix,
            containing=pattern,
            names=names,
            group_class=params.get("logGroupClass", ""),
            after=after[0] if after else "",
            limit=limit + 1,
        )
    )
    described = [_describe(group) for group in found[:limit]]
    if pattern:  # then AWS answers these three members only
        described = [{key: one[key] for key in ("logGroupName", "creationTime", "arn")} for one in described]
    result: Result = {"logGroups": described}
    if len(found) > limit:
        result["nextToken"] = write_token(scope, [found[limit - 1].name])
    return result


def _describe(group: LogGroup) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "logGroupName": group.name,
        "creationTime": group.created_ms,
        "metricFilterCount": 0,
        "arn": f"{group.arn}:*",
        "storedBytes": group.stored_bytes,
        "logGroupClass": group.group_class,
        "logGroupArn": group.arn,
        "deletionProtectionEnabled": group.protected,
    }
    if group.retention_days is not None:
        shown["retentionInDays"] = group.retention_days
    if group.kms_key_id:
        shown["kmsKeyId"] = group.kms_key_id
    return shown


async def put_retention_policy(state: Logs, ctx: Context, params: Params) -> Result:
    days = params["retentionInDays"]
    if days not in RETENTION_DAYS:
        allowed = ", ".join(map(str, RETENTION_DAYS))
        raise ServiceError(
            "InvalidParameterException",
            f"1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{allowed}]",
        )
    group = await state.group(ctx, params["logGroupName"])
    await state.parts.db.write(lambda c: store.set_retention(c, group.id, days))
    return {}


async def delete_retention_policy(state: Logs, ctx: Context, params: Params) -> Result:
    group = await state.group(ctx, params["logGroupName"])
    await state.parts.db.write(lambda c: store.set_retention(c, group.id, None))
    return {}
