"""Reserved concurrency."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_.errors import invalid, untyped
from alonzo.services.lambda_.models import LATEST, MIN_UNRESERVED, Function
from alonzo.services.lambda_.names import FunctionRef, function_ref
from alonzo.services.lambda_.state import State, need_function
from alonzo.services.lambda_.store import functions, provisioned
from alonzo.services.lambda_.store.code import Freed


async def put_function_concurrency(state: State, ctx: Context, params: Params) -> Result:
    ref = _ref(ctx, params)
    wanted = params["ReservedConcurrentExecutions"]

    def put(connection: Connection, freed: Freed) -> None:
        function = need_function(connection, ref, named=f"{ref.arn}:{LATEST}")
        others = functions.reserved_total(connection, ref.account_id, ref.region, but=ref.name)
        total = sum(config.requested for config in provisioned.of_function(connection, ref.key))
        if wanted < total:
            raise untyped(
                f" ReservedConcurrentExecutions  {wanted} should not be lower than function's total provisioned"
                f" concurrency [{total}].",
            )
        others += provisioned.pooled_total(connection, ref.account_id, ref.region, but=ref.name)
        unreserved = state.parts.settings.account_concurrency - others - wanted
        if wanted and unreserved < MIN_UNRESERVED:
            raise untyped(
                "Specified ReservedConcurrentExecutions for function decreases account's"
                f" UnreservedConcurrentExecution below its minimum value of [{MIN_UNRESERVED}].",
            )
        functions.put_function(connection, replace(function, reserved_concurrency=wanted))

    def tell(_: None) -> None:
        state.engine.reserve(ref.account_id, ref.region, ref.arn, wanted)

    await state.write(ref.key, put, tell)
    return {"ReservedConcurrentExecutions": wanted}


async def get_function_concurrency(state: State, ctx: Context, params: Params) -> Result:
    ref = _ref(ctx, params)

    def read(connection: Connection) -> Function:
        return need_function(connection, ref)

    reserved = (await state.read(read)).reserved_concurrency
    return {} if reserved is None else {"ReservedConcurrentExecutions": reserved}


async def delete_function_concurrency(state: State, ctx: Context, params: Params) -> Result:
    ref = _ref(ctx, params)

    def delete(connection: Connection, freed: Freed) -> None:
        function = need_function(connection, ref)
        functions.put_function(connection, replace(function, reserved_concurrency=None))

    def tell(_: None) -> None:
        state.engine.reserve(ref.account_id, ref.region, ref.arn, None)

    await state.write(ref.key, delete, tell)
    return {}


def _ref(ctx: Context, params: Params) -> FunctionRef:
    ref = function_ref(ctx, params["FunctionName"])
    if ref.qualifier:
        raise invalid(
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation."
            " Please specify either a function name or an unqualified function ARN."
        )
    return ref
