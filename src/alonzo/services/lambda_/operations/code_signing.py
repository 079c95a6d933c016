"""Code signing: no function has a configuration yet, which tools ask for after every creation."""

from __future__ import annotations

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_.names import function_ref
from alonzo.services.lambda_.state import State, need_function


async def get_function_code_signing_config(state: State, ctx: Context, params: Params) -> Result:
    """AWS's answer for a function without a configuration is empty."""
    ref = function_ref(ctx, params["FunctionName"])
    await state.read(lambda connection: need_function(connection, ref))
    return {}
