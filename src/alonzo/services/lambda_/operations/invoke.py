"""Invoke. The way of RequestResponse touches no database and allocates little: it is the hottest of all."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson

from alonzo.core import tracing
from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.core.streams import BodyTooLarge
from alonzo.dispatch import Params, Result
from alonzo.engine.function import Invocation
from alonzo.engine.queue import AsyncEvent
from alonzo.services.lambda_.errors import conflict, invalid
from alonzo.services.lambda_.json_errors import explain
from alonzo.services.lambda_.models import MAX_ASYNC_PAYLOAD, MAX_CLIENT_CONTEXT, MAX_SYNC_PAYLOAD
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.targets import Target


async def invoke(state: State, ctx: Context, params: Params) -> Result:
    kind = params.get("InvocationType", "RequestResponse")
    target = state.targets.find(ctx, params["FunctionName"], params.get("Qualifier"))
    limit = MAX_ASYNC_PAYLOAD if kind == "Event" else MAX_SYNC_PAYLOAD
    payload = await read_payload(params.get("Payload", b""), limit)
    client_context = read_client_context(params)
    if target.obstacle:
        raise not_ready(state, target)
    if kind == "DryRun":
        return {"StatusCode": 204, "Payload": b""}
    if kind == "Event":
        await _accept(state, ctx, target, payload, client_context)
        return {"StatusCode": 202, "Payload": b""}
    trace = enter_chain(state, ctx, target)
    tail = params.get("LogType") == "Tail"
    result = await state.engine.invoker.invoke(
        target.pick(state.parts.ids),
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
    payload = await read_payload(params.get("InvokeArgs", b""), MAX_ASYNC_PAYLOAD)
    if target.obstacle:
        raise not_ready(state, target)
    await _accept(state, ctx, target, payload, "")
    return {"Status": 202}


def enter_chain(state: State, ctx: Context, target: Target) -> str:
    """The trace header for the function. Raises RecursiveInvocationException where the chain has gone round too often.

    Of events that is found out when they are run: see the engine.
    """
    header, before = tracing.enter(ctx.trace_header, target.mark, state.parts.ids, state.now())
    if before >= tracing.MAX_LOOPS and not target.version.loops_allowed:
        raise ServiceError("RecursiveInvocationException", tracing.STOPPED, fields={"Type": "User"})
    return header


def not_ready(state: State, target: Target) -> ServiceError:
    if target.retry:
        # The runtime may have been installed meanwhile; the next invocation finds out.
        state.prepare(target.ref.key, target.version.version)
    return conflict(target.obstacle)


async def _accept(state: State, ctx: Context, target: Target, payload: bytes, client_context: str) -> None:
    """Store the event; the request's id makes a repeated hand-over of one delivery harmless."""
    ref = target.ref
    event = AsyncEvent(
        id=f"{ref.arn}/{ctx.request_id}",
        account_id=ref.account_id,
        region=ref.region,
        function_name=ref.name,
        qualifier=ref.qualifier,
        invoked_arn=ref.qualified_arn,
        request_id=ctx.request_id,
        payload=payload,
        client_context=client_context,
        trace_header=tracing.enter(ctx.trace_header, target.mark, state.parts.ids, state.now())[0],
    )
    await state.engine.queue.accept(event)


async def read_payload(body: Any, limit: int) -> bytes:
    """The payload: at most `limit` bytes of JSON, or nothing."""
    if not isinstance(body, bytes):
        length = body.length
        if length is not None and length > limit:
            raise _too_large(limit)
        try:
            body = await body.read(limit)
        except BodyTooLarge:
            raise _too_large(limit) from None
    elif len(body) > limit:
        raise _too_large(limit)
    if body:
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError:
            raise _not_json(body) from None
    return bytes(body)


def _not_json(body: bytes) -> ServiceError:
    return ServiceError(
        "InvalidRequestContentException",
        f"Could not parse request body into json: Could not parse payload into json: {explain(body)}",
        fields={"Type": "User"},
    )


def _too_large(limit: int) -> ServiceError:
    return ServiceError(
        "RequestTooLargeException",
        f"Request must be smaller than {limit} bytes for the InvokeFunction operation",
        status=413,
        fields={"Type": "User"},
    )


def read_client_context(params: Params) -> str:
    """The decoded ClientContext ("" without one); refuses members that mean nothing here."""
    if params.get("DurableExecutionName"):
        raise invalid("Alonzo does not support durable executions yet. Leave DurableExecutionName out.")
    if params.get("TenantId"):
        raise invalid(
            "The invoked function is not enabled with tenancy configuration. Remove the tenant ID from your request and"
            " try again."
        )
    encoded = params.get("ClientContext")
    if not encoded:
        return ""
    if len(encoded) > MAX_CLIENT_CONTEXT:
        raise invalid(f"Client context must be smaller than {MAX_CLIENT_CONTEXT} bytes.")
    try:
        decoded = base64.b64decode(encoded, validate=True)
        orjson.loads(decoded)
    except (binascii.Error, orjson.JSONDecodeError):
        raise ServiceError(
            "InvalidRequestContentException", "Client context must be a valid Base64-encoded JSON object."
        ) from None
    return decoded.decode()
