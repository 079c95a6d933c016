"""Recursive loops: stopped, or allowed for one function."""

from __future__ import annotations

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_.names import function_ref
from alonzo.services.lambda_.state import State, need_function
from alonzo.services.lambda_.store import settings
from alonzo.services.lambda_.store.code import Freed


async def put_function_recursion_config(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"])
    wanted = params["RecursiveLoop"]

    def put(connection: Connection, freed: Freed) -> None:
        need_function(connection, ref)
        settings.put(connection, ref.key, "recursion", wanted if wanted == "Allow" else None)

    await state.write(ref.key, put)
    return {"RecursiveLoop": wanted}


async def get_function_recursion_config(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"])

    def read(connection: Connection) -> str | None:
        need_function(connection, ref)
        found: str | None = settings.get(connection, ref.key, "recursion")
        return found

    return {"RecursiveLoop": await state.read(read) or "Terminate"}
