"""Invoke. The way of RequestResponse touches no database and allocates little: it is the hottest of all."""

from __future__ import annotations

import base64

from alonzo.core import tracing
from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.engine.function import Invocation
from alonzo.engine.queue import AsyncEvent
from alonzo.services.lambda_.invoking import enter_chain, not_ready, read_client_context, read_payload, version_for
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.targets import Target


async def invoke(state: State, ctx: Context, params: Params) -> Result:
    kind = params.get("InvocationType", "RequestResponse")
    target = state.targets.find(ctx, params["FunctionName"], params.get("Qualifier"))
    payload = await read_payload(params.get("Payload", b""), event=kind == "Event")
    client_context = read_client_context(params)
    if target.obstacle:
        raise not_ready(state, target)
    version = version_for(state, target, params)
    if kind == "DryRun":
        return {"StatusCode": 204, "Payload": b""}
    if kind == "Event":
        await _accept(state, ctx, target, payload, client_context, version.tenant)
        return {"StatusCode": 202, "Payload": b""}
    trace = enter_chain(state, ctx, target)
    tail = params.get("LogType") == "Tail"
    result = await state.engine.invoker.invoke(
        version,
        Invocation(ctx.request_id, payload, target.ref.qualified_arn, client_context, trace, tail),
    )
    answer: Result = {"StatusCode": 200, "ExecutedVersion": result.executed_version, "Payload": result.payload}
    if result.function_error:
        answer["FunctionError"] = result.function_error
    if tail:
        answer["LogResult"] = base64.b64encode(result.log_tail[-4096:]).decode()
    return answer


async def invoke_async(state: State, ctx: Context, params: Params) -> Result:
    target = state.targets.find(ctx, params["FunctionName"], None)
    payload = await read_payload(params.get("InvokeArgs", b""), event=True)
    if target.obstacle:
        raise not_ready(state, target)
    await _accept(state, ctx, target, payload, "", version_for(state, target, params).tenant)
    return {"Status": 202}


async def _accept(state: State, ctx: Context, target: Target, payload: bytes, client_context: str, tenant: str) -> None:
    """Store the event; the request's id makes a repeated hand-over of one delivery harmless.

    What came over a connection got its id there, and nobody has it to repeat it.
    """
    ref = target.ref
    event = AsyncEvent(
        id="" if ctx.client_ip else f"{ref.arn}/{ctx.request_id}",
        account_id=ref.account_id,
        region=ref.region,
        function_name=ref.name,
        qualifier=ref.qualifier,
        invoked_arn=ref.qualified_arn,
        request_id=ctx.request_id,
        payload=payload,
        client_context=client_context,
        trace_header=tracing.enter(ctx.trace_header, target.mark, state.parts.ids, state.now())[0],
        tenant=tenant,
    )
    await state.engine.queue.accept(event)
