"""Scaling of functions on capacity providers. There are none here, so there is nothing to set, and none is shown."""

from __future__ import annotations

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_.errors import invalid
from alonzo.services.lambda_.names import FunctionRef, function_ref
from alonzo.services.lambda_.state import State, need_function, need_version


async def put_function_scaling_config(state: State, ctx: Context, params: Params) -> Result:
    await _find(state, ctx, params)
    raise invalid(
        "Scaling is configured for functions on a capacity provider, which Alonzo does not have. Use reserved or"
        " provisioned concurrency."
    )


async def get_function_scaling_config(state: State, ctx: Context, params: Params) -> Result:
    return {"FunctionArn": (await _find(state, ctx, params)).qualified_arn}


async def _find(state: State, ctx: Context, params: Params) -> FunctionRef:
    ref = function_ref(ctx, params["FunctionName"], params["Qualifier"])

    def read(connection: Connection) -> None:
        need_function(connection, ref, named=ref.qualified_arn)
        need_version(connection, ref, ref.qualifier)

    await state.read(read)
    return ref
