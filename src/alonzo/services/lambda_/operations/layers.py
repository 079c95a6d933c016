"""Layers: publish, show, list, delete."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import archives, configuration, paging
from alonzo.services.lambda_.errors import invalid, not_found
from alonzo.services.lambda_.models import LayerVersion
from alonzo.services.lambda_.names import LayerRef, layer_ref
from alonzo.services.lambda_.state import State, need_room
from alonzo.services.lambda_.store import code as code_store
from alonzo.services.lambda_.store import layers
from alonzo.services.lambda_.store.code import Freed

_PAGE = 50


def ref_of(layer: LayerVersion) -> LayerRef:
    return LayerRef(layer.account_id, layer.region, layer.name, layer.version)


def _show(layer: LayerVersion, location: str | None = None) -> Result:
    """A layer version; with `location` as the operations on a single one show it."""
    ref = ref_of(layer)
    shown: dict[str, Any] = {
        "LayerVersionArn": ref.version_arn,
        "Version": layer.version,
        "Description": layer.description,
        "CreatedDate": configuration.timestamp(layer.created),
    }
    if layer.runtimes is not None:
        shown["CompatibleRuntimes"] = list(layer.runtimes)
    if layer.architectures is not None:
        shown["CompatibleArchitectures"] = list(layer.architectures)
    if layer.license:
        shown["LicenseInfo"] = layer.license
    if location is not None:
        shown["LayerArn"] = ref.arn
        shown["Content"] = {
            "Location": location,
            "CodeSha256": configuration.code_sha256(layer.code.sha256),
            "CodeSize": layer.code.size,
        }
    return shown


async def publish_layer_version(state: State, ctx: Context, params: Params) -> Result:
    ref = layer_ref(ctx, params["LayerName"])
    archive = await archives.take(
        state, ctx, params["Content"], operation="PublishLayerVersion", account_id=ref.account_id
    )
    new = LayerVersion(
        *(ref.account_id, ref.region, ref.name),
        version=0,
        code=archive.code,
        description=params.get("Description", ""),
        created=state.now(),
        runtimes=_tuple(params.get("CompatibleRuntimes")),
        architectures=_tuple(params.get("CompatibleArchitectures")),
        license=params.get("LicenseInfo", ""),
    )

    def publish(connection: Connection, freed: Freed) -> tuple[LayerVersion, str]:
        need_room(connection, (ref.account_id, ref.region, ref.name), archive.code.size)
        code_store.keep(connection, archive.code, archive.blob_id, freed)
        layer = layers.add_version(connection, new, freed)
        return layer, code_store.blob_of(connection, layer.code) or ""

    try:
        layer, blob_id = await state.write((ref.account_id, ref.region, ref.name), publish)
    except Exception:
        await state.parts.blobs.delete(archive.blob_id)
        raise
    return _show(layer, state.links.url(ctx.endpoint, blob_id))


def _tuple(values: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


async def get_layer_version(state: State, ctx: Context, params: Params) -> Result:
    return await _get(state, ctx, layer_ref(ctx, params["LayerName"], params["VersionNumber"]))


async def get_layer_version_by_arn(state: State, ctx: Context, params: Params) -> Result:
    return await _get(state, ctx, layer_ref(ctx, params["Arn"]))


async def _get(state: State, ctx: Context, ref: LayerRef) -> Result:
    number = _number(ref)

    def read(connection: Connection) -> tuple[LayerVersion, str]:
        layer = layers.get_version(connection, (ref.account_id, ref.region, ref.name), number)
        if layer is None:
            raise not_found("The resource you requested does not exist.")
        return layer, code_store.blob_of(connection, layer.code) or ""

    layer, blob_id = await state.read(read)
    return _show(layer, state.links.url(ctx.endpoint, blob_id))


def _number(ref: LayerRef) -> int:
    if ref.version is None or ref.version < 1:
        raise invalid("Layer Version Cannot be less than 1")
    return ref.version


async def delete_layer_version(state: State, ctx: Context, params: Params) -> Result:
    ref = layer_ref(ctx, params["LayerName"], params["VersionNumber"])
    number = _number(ref)
    key = (ref.account_id, ref.region, ref.name)
    await state.write(key, lambda connection, freed: layers.delete_version(connection, key, number, freed))
    return {}


async def list_layer_versions(state: State, ctx: Context, params: Params) -> Result:
    ref = layer_ref(ctx, params["LayerName"])
    key = (ref.account_id, ref.region, ref.name)
    limit = min(params.get("MaxItems", _PAGE), _PAGE)
    (before,) = paging.decode(params.get("Marker"), (0,))
    found = await state.parts.db.scan(lambda connection: layers.list_versions(connection, key))
    fitting = [layer for layer in found if _fits(layer, params) and (not before or layer.version < before)]
    items, token = paging.page(fitting[: limit + 1], limit, lambda layer: (layer.version,))
    return {"LayerVersions": [_show(layer) for layer in items], **({"NextMarker": token} if token else {})}


async def list_layers(state: State, ctx: Context, params: Params) -> Result:
    limit = min(params.get("MaxItems", _PAGE), _PAGE)
    (after,) = paging.decode(params.get("Marker"), ("",))
    found = await state.parts.db.scan(lambda connection: layers.list_account(connection, ctx.account_id, ctx.region))
    newest: dict[str, LayerVersion] = {}
    for layer in found:
        if layer.name > after and _fits(layer, params):
            newest.setdefault(layer.name, layer)
    items, token = paging.page(list(newest.values())[: limit + 1], limit, lambda layer: (layer.name,))
    shown = [
        {"LayerName": layer.name, "LayerArn": ref_of(layer).arn, "LatestMatchingVersion": _show(layer)}
        for layer in items
    ]
    return {"Layers": shown, **({"NextMarker": token} if token else {})}


def _fits(layer: LayerVersion, params: Params) -> bool:
    runtime, architecture = params.get("CompatibleRuntime"), params.get("CompatibleArchitecture")
    return (runtime is None or runtime in (layer.runtimes or ())) and (
        architecture is None or architecture in (layer.architectures or ())
    )
