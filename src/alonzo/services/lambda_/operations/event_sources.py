"""Event source mappings: create, show, list, change, delete."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import event_sources, paging, tagging
from alonzo.services.lambda_.errors import conflict, not_found
from alonzo.services.lambda_.models import LATEST
from alonzo.services.lambda_.names import FunctionRef, function_ref
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.store import mappings
from alonzo.services.lambda_.store.mappings import EventSource, Key

_PAGE = 100
_MISSING = "The resource you requested does not exist."
#: On the way to another state, in which a mapping can be neither changed nor deleted.
_BUSY = frozenset({"Creating", "Enabling", "Disabling", "Updating", "Deleting"})
_DEFAULTS = {"BatchSize": 10, "MaximumBatchingWindowInSeconds": 0, "FunctionResponseTypes": []}


async def create_event_source_mapping(state: State, ctx: Context, params: Params) -> Result:
    source = event_sources.check_source(params)
    config = event_sources.merge(_DEFAULTS, params, source)
    tags = dict(params.get("Tags") or {})
    tagging.check(tags)
    ref = function_ref(ctx, params["FunctionName"])
    target = event_sources.find_function(state, ref, ctx.account_id)
    await event_sources.check_queue(state, ctx, source, target)
    enabled = params.get("Enabled", True)
    mapping = EventSource(
        ctx.account_id,
        ctx.region,
        state.new_id(),
        source,
        ref.name,
        ref.qualifier,
        enabled,
        "Creating" if enabled else "Disabled",
        config,
        tags,
        state.now(),
    )

    def create(connection: Connection) -> None:
        _need_single(connection, mapping)
        mappings.put_mapping(connection, mapping)

    await state.parts.db.write(create)
    state.mapping_changed(mapping.key)
    return event_sources.show(mapping)


async def get_event_source_mapping(state: State, ctx: Context, params: Params) -> Result:
    key = _key(ctx, params)
    mapping = await state.read(lambda connection: _need(connection, key))
    return event_sources.show(mapping, state.engine.pollers.problem(mapping.uuid))


async def list_event_source_mappings(state: State, ctx: Context, params: Params) -> Result:
    limit = min(params.get("MaxItems", _PAGE), _PAGE)
    (after,) = paging.decode(params.get("Marker"), ("",))
    ref = function_ref(ctx, params["FunctionName"]) if params.get("FunctionName") else None

    def read(connection: Connection) -> list[EventSource]:
        return mappings.list_mappings(
            connection,
            ctx.account_id,
            ctx.region,
            after,
            limit + 1,
            source=params.get("EventSourceArn") or "",
            function=ref.name if ref is not None else "",
        )

    found = await state.read(read)
    items, token = paging.page(found, limit, lambda mapping: (mapping.uuid,))
    shown = [
        event_sources.show(mapping, state.engine.pollers.problem(mapping.uuid))
        for mapping in items
        if ref is None or not ref.qualifier or _qualifier(mapping.qualifier) == _qualifier(ref.qualifier)
    ]
    return {"EventSourceMappings": shown, **({"NextMarker": token} if token else {})}


async def update_event_source_mapping(state: State, ctx: Context, params: Params) -> Result:
    key = _key(ctx, params)
    current = await state.read(lambda connection: _need(connection, key))
    changed = _changed(state, ctx, current, params)
    ref = FunctionRef(changed.account_id, changed.region, changed.function_name, changed.qualifier)
    if "FunctionName" in params or params.get("Enabled"):
        target = event_sources.find_function(state, ref, ctx.account_id)
        await event_sources.check_queue(state, ctx, changed.source_arn, target)

    def change(connection: Connection) -> EventSource:
        now = _need(connection, key)
        if now.state in _BUSY:
            raise _in_use("update")
        latest = _changed(state, ctx, now, params)
        _need_single(connection, latest)
        mappings.put_mapping(connection, latest)
        return latest

    mapping = await state.parts.db.write(change)
    state.mapping_changed(key)
    return event_sources.show(mapping)


async def delete_event_source_mapping(state: State, ctx: Context, params: Params) -> Result:
    key = _key(ctx, params)

    def delete(connection: Connection) -> EventSource:
        mapping = _need(connection, key)
        if mapping.state in _BUSY:
            raise _in_use("delete")
        mapping = replace(mapping, state="Deleting", enabled=False)
        mappings.put_mapping(connection, mapping)
        return mapping

    mapping = await state.parts.db.write(delete)
    state.mapping_changed(key)
    return event_sources.show(mapping)


def _changed(state: State, ctx: Context, mapping: EventSource, params: Params) -> EventSource:
    config = event_sources.merge(mapping.config, params, mapping.source_arn)
    enabled = params.get("Enabled", mapping.enabled)
    way = "Updating" if enabled == mapping.enabled else "Enabling" if enabled else "Disabling"
    changed = replace(mapping, config=config, enabled=enabled, state=way, modified=state.now())
    if "FunctionName" in params:
        ref = function_ref(ctx, params["FunctionName"])
        changed = replace(changed, function_name=ref.name, qualifier=ref.qualifier)
    return changed


def _key(ctx: Context, params: Params) -> Key:
    return (ctx.account_id, ctx.region, params["UUID"])


def _need(connection: Connection, key: Key) -> EventSource:
    mapping = mappings.get_mapping(connection, key)
    if mapping is None:
        raise not_found(_MISSING)
    return mapping


def _need_single(connection: Connection, mapping: EventSource) -> None:
    """One queue feeds one function (at one qualifier) through one mapping."""
    for other in mappings.of_source(connection, mapping.account_id, mapping.region, mapping.source_arn):
        same = other.function_name == mapping.function_name
        if same and other.uuid != mapping.uuid and _qualifier(other.qualifier) == _qualifier(mapping.qualifier):
            name = mapping.function_name + (f":{mapping.qualifier}" if mapping.qualifier else "")
            raise conflict(
                f'An event source mapping with SQS arn (" {mapping.source_arn} ") and function (" {name} ") already'
                f" exists. Please update or delete the existing mapping with UUID {other.uuid}"
            )


def _qualifier(qualifier: str) -> str:
    return "" if qualifier == LATEST else qualifier


def _in_use(doing: str) -> ServiceError:
    return ServiceError(
        "ResourceInUseException",
        f"Cannot {doing} the event source mapping because it is in use.",
        status=400,
        fields={"Type": "User"},
    )
