"""Tags of functions, code signing configurations and event source mappings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import signing, tagging
from alonzo.services.lambda_.errors import invalid, not_found
from alonzo.services.lambda_.names import FunctionRef, function_ref
from alonzo.services.lambda_.state import State, need_function
from alonzo.services.lambda_.store import functions, mappings, settings
from alonzo.services.lambda_.store.code import Freed

Tags = dict[str, str]
_SIGNING = "code-signing-config"
_MAPPING = "event-source-mapping"


async def tag_resource(state: State, ctx: Context, params: Params) -> Result:
    new: Tags = params["Tags"]
    if not new:
        raise invalid("An error occurred and the request cannot be processed.")
    await _change(state, ctx, params["Resource"], lambda tags: {**tags, **new})
    return {}


async def untag_resource(state: State, ctx: Context, params: Params) -> Result:
    gone = set(params["TagKeys"])
    await _change(
        state, ctx, params["Resource"], lambda tags: {name: value for name, value in tags.items() if name not in gone}
    )
    return {}


async def list_tags(state: State, ctx: Context, params: Params) -> Result:
    resource = params["Resource"]
    if _kind(resource) == _SIGNING:
        config = await state.read(lambda connection: signing.need(connection, ctx.account_id, ctx.region, resource))
        return {"Tags": dict(config.tags)}
    if _kind(resource) == _MAPPING:
        mapping = await state.read(lambda connection: _mapping(connection, resource))
        return {"Tags": dict(mapping.tags)}
    ref = _ref(ctx, resource)
    return {"Tags": dict((await state.read(lambda connection: need_function(connection, ref))).tags)}


async def _change(state: State, ctx: Context, resource: str, change: Callable[[Tags], Tags]) -> None:
    if _kind(resource) == _SIGNING:
        await _change_signing(state, ctx, resource, change)
        return
    if _kind(resource) == _MAPPING:
        await _change_mapping(state, resource, change)
        return
    ref = _ref(ctx, resource)

    def apply(connection: Connection, freed: Freed) -> None:
        function = need_function(connection, ref)
        tags = change(dict(function.tags))
        tagging.check(tags)
        functions.put_function(connection, replace(function, tags=tags))

    await state.write(ref.key, apply)


async def _change_signing(state: State, ctx: Context, resource: str, change: Callable[[Tags], Tags]) -> None:
    def apply(connection: Connection) -> None:
        config = signing.need(connection, ctx.account_id, ctx.region, resource)
        tags = change(dict(config.tags))
        tagging.check(tags)
        settings.put_code_signing(connection, replace(config, tags=tags))

    await state.parts.db.write(apply)


async def _change_mapping(state: State, resource: str, change: Callable[[Tags], Tags]) -> None:
    def apply(connection: Connection) -> None:
        mapping = _mapping(connection, resource)
        tags = change(dict(mapping.tags))
        tagging.check(tags)
        mappings.put_mapping(connection, replace(mapping, tags=tags))

    await state.parts.db.write(apply)


def _mapping(connection: Connection, resource: str) -> mappings.EventSource:
    _, _, _, region, account_id, _, uuid = resource.split(":")
    mapping = mappings.get_mapping(connection, (account_id, region, uuid))
    if mapping is None:
        raise not_found(f"Event source mapping not found: {resource}")
    return mapping


def _kind(resource: str) -> str:
    return resource.split(":")[5]


def _ref(ctx: Context, resource: str) -> FunctionRef:
    kind = _kind(resource)
    if kind != "function":
        # The other kinds that the model's pattern lets through belong to operations that are not there.
        raise ServiceError(
            "ResourceNotFoundException",
            f"{kind.replace('-', ' ').capitalize()} not found: {resource}",
            status=404,
            fields={"Type": "User"},
        )
    ref = function_ref(ctx, resource)
    if ref.qualifier:
        raise invalid("Tags on function aliases and versions are not supported. Please specify a function ARN.")
    return ref
