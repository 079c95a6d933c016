"""Function URLs: their configuration. `dataplane` serves them.

Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import paging
from alonzo.services.lambda_.errors import conflict, not_found
from alonzo.services.lambda_.models import UrlConfig
from alonzo.services.lambda_.names import FunctionRef, function_ref
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.store import attachments, functions, urls
from alonzo.services.lambda_.store.code import Freed

_PAGE = 50
_ID_LENGTH = 32


async def create_function_url_config(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))

    def create(connection: Connection, freed: Freed) -> UrlConfig:
        _need_target(connection, ref)
        if urls.get_url(connection, ref.key, ref.qualifier) is not None:
            raise conflict(
                f"Failed to create function url config for [functionArn = {ref.qualified_arn}]. Error message: "
                " FunctionUrlConfig exists for this Lambda function"
            )
        now = state.now()
        url_id = state.parts.ids.upper(_ID_LENGTH).lower()
        mode = params.get("InvokeMode", "")
        config = UrlConfig(*ref.key, ref.qualifier, url_id, params["AuthType"], params.get("Cors"), mode, now, now)
        urls.put_url(connection, config)
        return config

    shown = _show(state, ctx, await state.write(ref.key, create))
    del shown["LastModifiedTime"]
    return shown


async def get_function_url_config(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))
    config = await state.read(lambda connection: urls.get_url(connection, ref.key, ref.qualifier))
    if config is None:
        raise _missing()
    return _show_whole(state, ctx, config)


async def update_function_url_config(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))

    def change(connection: Connection, freed: Freed) -> UrlConfig:
        _need_target(connection, ref)
        current = urls.get_url(connection, ref.key, ref.qualifier)
        if current is None:
            raise _missing()
        config = replace(
            current,
            auth_type=params.get("AuthType", current.auth_type),
            cors=params.get("Cors", current.cors),
            invoke_mode=params.get("InvokeMode", current.invoke_mode),
            modified=state.now(),
        )
        urls.put_url(connection, config)
        return config

    return _show(state, ctx, await state.write(ref.key, change))


async def delete_function_url_config(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))

    def delete(connection: Connection, freed: Freed) -> None:
        if not urls.delete_url(connection, ref.key, ref.qualifier):
            raise _missing()

    await state.write(ref.key, delete)
    return {}


async def list_function_url_configs(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"])
    limit = min(params.get("MaxItems", _PAGE), _PAGE)
    marker = params.get("Marker")
    (after,) = paging.decode(marker, ("",))

    def read(connection: Connection) -> list[UrlConfig]:
        if functions.get_function(connection, ref.key) is None:
            raise _no_function()
        return urls.list_urls(connection, ref.key, after if marker else None, limit + 1)

    items, token = paging.page(await state.read(read), limit, lambda config: (config.qualifier,))
    return {
        "FunctionUrlConfigs": [_show_whole(state, ctx, config) for config in items],
        **({"NextMarker": token} if token else {}),
    }


def _need_target(connection: Connection, ref: FunctionRef) -> None:
    found = functions.get_function(connection, ref.key) is not None
    if found and ref.qualifier:
        found = attachments.get_alias(connection, ref.key, ref.qualifier) is not None
    if not found:
        raise _no_function()


def _no_function() -> ServiceError:
    return not_found("Function does not exist")


def _missing() -> ServiceError:
    return not_found("The resource you requested does not exist.")


def _show(state: State, ctx: Context, config: UrlConfig) -> Result:
    """As Create and Update answer: without an invoke mode that was never given."""
    ref = FunctionRef(config.account_id, config.region, config.name, config.qualifier)
    shown: Result = {
        "FunctionUrl": function_url(state, ctx, config),
        "FunctionArn": ref.qualified_arn,
        "AuthType": config.auth_type,
        "CreationTime": _time(config.created),
        "LastModifiedTime": _time(config.modified),
    }
    if config.cors is not None:
        shown["Cors"] = dict(config.cors)
    if config.invoke_mode:
        shown["InvokeMode"] = config.invoke_mode
    return shown


def _show_whole(state: State, ctx: Context, config: UrlConfig) -> Result:
    return {**_show(state, ctx, config), "InvokeMode": config.mode}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def function_url(state: State, ctx: Context, config: UrlConfig) -> str:
    """The URL under the base domain and port that the client used; under the first base domain where it used none."""
    settings = state.parts.settings
    bases = [base.strip() for base in settings.base_domains.split(",") if base.strip()] or ["localhost"]
    scheme, _, authority = ctx.endpoint.partition("://")
    host, _, port = authority.lower().partition(":")
    label = f"{config.url_id}.lambda-url.{config.region}"
    for base in sorted(bases, key=len, reverse=True):
        if host == base or host.endswith(f".{base}"):
            return f"{scheme}://{label}.{base}{f':{port}' if port.isdigit() else ''}/"
    return f"http://{label}.{bases[0]}:{settings.port}/"
