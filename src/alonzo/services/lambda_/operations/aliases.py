"""Aliases: names for versions, with a share of the calls for a second one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import errors, paging
from alonzo.services.lambda_.errors import conflict, function_not_found, invalid, not_found, untyped
from alonzo.services.lambda_.models import LATEST, Alias
from alonzo.services.lambda_.names import FunctionRef, function_ref
from alonzo.services.lambda_.provisioning import refuse_snap_start
from alonzo.services.lambda_.state import State, need_function
from alonzo.services.lambda_.store import attachments, functions, provisioned
from alonzo.services.lambda_.store.code import Freed

_PAGE = 50


def show(alias: Alias) -> Result:
    ref = FunctionRef(alias.account_id, alias.region, alias.name, alias.alias)
    shown: Result = {
        "AliasArn": ref.qualified_arn,
        "Name": alias.alias,
        "FunctionVersion": alias.version,
        "Description": alias.description,
        "RevisionId": alias.revision_id,
    }
    if alias.weights:
        shown["RoutingConfig"] = {"AdditionalVersionWeights": dict(alias.weights)}
    return shown


async def create_alias(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"])
    name, version = params["Name"], params["FunctionVersion"]
    weights = _weights(params)

    def create(connection: Connection, freed: Freed) -> Alias:
        need_function(connection, ref, named=f"{ref.arn}:{version}")
        _check_routes(connection, ref, version, weights)
        if attachments.get_alias(connection, ref.key, name) is not None:
            raise conflict(f"Alias already exists: {ref.arn}:{name}")
        alias = Alias(*ref.key, name, version, params.get("Description", ""), weights, state.new_id())
        attachments.put_alias(connection, alias)
        return alias

    return show(await state.write(ref.key, create))


async def get_alias(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"])

    def read(connection: Connection) -> Alias:
        alias = attachments.get_alias(connection, ref.key, params["Name"])
        if alias is None:
            raise not_found(f"Cannot find alias arn: {ref.arn}:{params['Name']}")
        return alias

    return show(await state.read(read))


async def update_alias(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"])
    name = params["Name"]

    def change(connection: Connection, freed: Freed) -> Alias:
        need_function(connection, ref, named=f"{ref.arn}:{name}")
        alias = attachments.get_alias(connection, ref.key, name)
        if alias is None:
            raise not_found(f"Alias not found: {ref.arn}:{name}")
        if params.get("RevisionId") not in (None, alias.revision_id):
            raise errors.stale(errors.STALE_FUNCTION)
        version = params.get("FunctionVersion", alias.version)
        weights = _weights(params) if "RoutingConfig" in params else alias.weights
        _check_routes(connection, ref, version, weights)
        if provisioned.get(connection, ref.key, name) is not None:
            refuse_snap_start(connection, ref.key, (version, *weights))
        changed = replace(
            alias,
            version=version,
            weights=weights,
            description=params.get("Description", alias.description),
            revision_id=state.new_id(),
        )
        attachments.put_alias(connection, changed)
        return changed

    return show(await state.write(ref.key, change))


async def delete_alias(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"])

    def delete(connection: Connection, freed: Freed) -> None:
        attachments.delete_alias(connection, ref.key, params["Name"])

    await state.write(ref.key, delete)
    return {}


async def list_aliases(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"])
    limit = min(params.get("MaxItems", _PAGE), _PAGE)
    (after,) = paging.decode(params.get("Marker"), ("",))
    version = params.get("FunctionVersion")

    def read(connection: Connection) -> list[Alias]:
        need_function(connection, ref)
        if version is not None:
            found = attachments.aliases_of_version(connection, ref.key, version)
            return [alias for alias in found if alias.alias > after][: limit + 1]
        return attachments.list_aliases(connection, ref.key, after, limit + 1)

    items, token = paging.page(await state.read(read), limit, lambda alias: (alias.alias,))
    return {"Aliases": [show(alias) for alias in items], **({"NextMarker": token} if token else {})}


def _weights(params: Params) -> dict[str, float]:
    weights: Mapping[str, float] = (params.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    if len(weights) > 1:
        raise invalid("Number of items in AdditionalVersionWeights cannot be greater than 1")
    return dict(weights)


def _check_routes(connection: Connection, ref: FunctionRef, version: str, weights: Mapping[str, float]) -> None:
    if weights and version == LATEST:
        # One of the few errors of AWS's without a Type.
        raise untyped("$LATEST is not supported for an alias pointing to more than 1 version")
    if version in weights:
        raise invalid(
            f"Invalid function version {version}. Function version {version} is already included in routing"
            " configuration."
        )
    for number in (version, *weights):
        if functions.get_version(connection, ref.key, number) is None:
            raise function_not_found(f"{ref.arn}:{number}")
