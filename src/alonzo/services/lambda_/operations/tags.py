"""Tags of functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import tagging
from alonzo.services.lambda_.errors import invalid
from alonzo.services.lambda_.names import FunctionRef, function_ref
from alonzo.services.lambda_.state import State, need_function
from alonzo.services.lambda_.store import functions
from alonzo.services.lambda_.store.code import Freed

Tags = dict[str, str]


async def tag_resource(state: State, ctx: Context, params: Params) -> Result:
    ref = _ref(ctx, params["Resource"])
    new: Tags = params["Tags"]
    if not new:
        raise invalid("An error occurred and the request cannot be processed.")
    await _change(state, ref, lambda tags: {**tags, **new})
    return {}


async def untag_resource(state: State, ctx: Context, params: Params) -> Result:
    ref = _ref(ctx, params["Resource"])
    gone = set(params["TagKeys"])
    await _change(state, ref, lambda tags: {name: value for name, value in tags.items() if name not in gone})
    return {}


async def list_tags(state: State, ctx: Context, params: Params) -> Result:
    ref = _ref(ctx, params["Resource"])
    return {"Tags": dict((await state.read(lambda connection: need_function(connection, ref))).tags)}


async def _change(state: State, ref: FunctionRef, change: Callable[[Tags], Tags]) -> None:
    def apply(connection: Connection, freed: Freed) -> None:
        function = need_function(connection, ref)
        tags = change(dict(function.tags))
        tagging.check(tags)
        functions.put_function(connection, replace(function, tags=tags))

    await state.write(ref.key, apply)


def _ref(ctx: Context, resource: str) -> FunctionRef:
    kind = resource.split(":")[5]
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
