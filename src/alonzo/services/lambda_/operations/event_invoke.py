"""How asynchronous invocations are retried, for how long, and where their outcome goes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from alonzo.core.arn import parse_arn
from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import paging
from alonzo.services.lambda_.destinations import check_destination
from alonzo.services.lambda_.errors import invalid, not_found
from alonzo.services.lambda_.models import LATEST, EventConfig
from alonzo.services.lambda_.names import FunctionRef, function_ref
from alonzo.services.lambda_.operations.functions import find_version
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.store import attachments, functions
from alonzo.services.lambda_.store.code import Freed
from alonzo.services.lambda_.targets import load

_PAGE = 50
_NONE = "The function doesn't exist."


def show(config: EventConfig) -> Result:
    ref = FunctionRef(config.account_id, config.region, config.name, config.qualifier)
    shown: Result = {
        "FunctionArn": ref.qualified_arn,
        "LastModified": datetime.fromtimestamp(config.modified, UTC),
        "DestinationConfig": {
            "OnSuccess": {"Destination": config.on_success} if config.on_success else {},
            "OnFailure": {"Destination": config.on_failure} if config.on_failure else {},
        },
    }
    if config.retries is not None:
        shown["MaximumRetryAttempts"] = config.retries
    if config.max_age_s is not None:
        shown["MaximumEventAgeInSeconds"] = config.max_age_s
    return shown


async def put_function_event_invoke_config(state: State, ctx: Context, params: Params) -> Result:
    ref = _ref(ctx, params)
    await _check(state, ctx, ref, params)

    def put(connection: Connection, freed: Freed) -> EventConfig:
        _need(connection, ref)
        empty = EventConfig(*ref.key, ref.qualifier, None, None, "", "", state.now())
        config = _merged(empty, params)
        attachments.put_event_config(connection, config)
        return config

    return show(await state.write(ref.key, put))


async def update_function_event_invoke_config(state: State, ctx: Context, params: Params) -> Result:
    ref = _ref(ctx, params)
    await _check(state, ctx, ref, params)

    def change(connection: Connection, freed: Freed) -> EventConfig:
        _need(connection, ref)
        current = attachments.get_event_config(connection, ref.key, ref.qualifier)
        if current is None:
            raise _missing(ref)
        config = replace(_merged(current, params), modified=state.now())
        attachments.put_event_config(connection, config)
        return config

    return show(await state.write(ref.key, change))


async def get_function_event_invoke_config(state: State, ctx: Context, params: Params) -> Result:
    ref = _ref(ctx, params)
    config = await state.read(lambda connection: attachments.get_event_config(connection, ref.key, ref.qualifier))
    if config is None:
        raise _missing(ref)
    return show(config)


async def delete_function_event_invoke_config(state: State, ctx: Context, params: Params) -> Result:
    ref = _ref(ctx, params)

    def delete(connection: Connection, freed: Freed) -> None:
        if not attachments.delete_event_config(connection, ref.key, ref.qualifier):
            raise _missing(ref)

    await state.write(ref.key, delete)
    return {}


async def list_function_event_invoke_configs(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"])
    limit = min(params.get("MaxItems", _PAGE), _PAGE)
    (after,) = paging.decode(params.get("Marker"), ("",))

    def read(connection: Connection) -> list[EventConfig]:
        if functions.get_function(connection, ref.key) is None:
            raise not_found(_NONE)
        return attachments.list_event_configs(connection, ref.key, after, limit + 1)

    items, token = paging.page(await state.read(read), limit, lambda config: (config.qualifier,))
    return {
        "FunctionEventInvokeConfigs": [show(config) for config in items],
        **({"NextMarker": token} if token else {}),
    }


def _ref(ctx: Context, params: Params) -> FunctionRef:
    ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))
    return replace(ref, qualifier=ref.qualifier or LATEST)


def _need(connection: Connection, ref: FunctionRef) -> None:
    try:
        find_version(connection, ref)
    except ServiceError:
        raise not_found(_NONE) from None


def _missing(ref: FunctionRef) -> ServiceError:
    return not_found(f"The function {ref.qualified_arn} doesn't have an EventInvokeConfig")


def _destination(params: Params, side: str) -> str | None:
    """The destination asked for: None where nothing is said of it, "" where there is to be none."""
    config: dict[str, Any] = params.get("DestinationConfig") or {}
    if side not in config:
        return None
    return (config[side] or {}).get("Destination") or ""


def _merged(config: EventConfig, params: Params) -> EventConfig:
    success, failure = _destination(params, "OnSuccess"), _destination(params, "OnFailure")
    return replace(
        config,
        retries=params.get("MaximumRetryAttempts", config.retries),
        max_age_s=params.get("MaximumEventAgeInSeconds", config.max_age_s),
        on_success=config.on_success if success is None else success,
        on_failure=config.on_failure if failure is None else failure,
    )


async def _check(state: State, ctx: Context, ref: FunctionRef, params: Params) -> None:
    """What both Put and Update check before they look at what is there."""

    target = state.parts.db.read_nowait(lambda connection: load(connection, ref))
    if target is None:
        raise not_found(_NONE)
    if not any(name in params for name in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig")):
        raise invalid("You must specify at least one of error handling or destination setting.")
    success, failure = _destination(params, "OnSuccess"), _destination(params, "OnFailure")
    described = (
        f"DestinationConfig(onSuccess={_describe('OnSuccess', success)}, onFailure={_describe('OnFailure', failure)})"
    )
    for destination, of_success in ((success, True), (failure, False)):
        if not destination:
            continue
        if parse_arn(destination).service == "lambda":
            _check_function(state, ctx, ref, destination)
        await check_destination(state, ctx, target.version, destination, described, success=of_success)


def _describe(kind: str, target: str | None) -> str:
    return f"{kind}(destination={target})" if target else "null"


def _check_function(state: State, ctx: Context, ref: FunctionRef, target: str) -> None:
    other = function_ref(ctx, target)
    if other.key == ref.key:
        raise invalid("You can't specify the function as a destination for itself.")
    if state.parts.db.read_nowait(lambda connection: functions.get_function(connection, other.key)) is None:
        raise invalid(f"The destination ARN {target} is invalid.")
