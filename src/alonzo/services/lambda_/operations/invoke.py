"""Invoke. The way of RequestResponse touches no database and allocates little: it is the hottest of all."""

from __future__ import annotations

import base64

import orjson

from alonzo.core import tracing
from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Call, Params, Result
from alonzo.engine.function import Invocation, InvokeResult
from alonzo.engine.queue import AsyncEvent
from alonzo.services.lambda_.invoking import enter_chain, not_ready, read_client_context, read_payload, version_for
from alonzo.services.lambda_.models import MAX_ASYNC_PAYLOAD, MAX_SYNC_PAYLOAD
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


class PromptInvoke:
    """Invoke without a coroutine: of an active function, by those who may, with a payload that is JSON.

    All else (another version's share, a tenant, a client context, the log's tail, every refusal) is `invoke`'s.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._arns: dict[int, tuple[Target, str]] = {}

    def find(self, call: Call) -> Target | None:
        params = call.params
        return self._state.targets.known(call, params["FunctionName"], params.get("Qualifier"))

    def run(self, call: Call, target: Target) -> bool:
        params, payload = call.params, call.payload
        kind = params.get("InvocationType", "RequestResponse")
        limit = MAX_ASYNC_PAYLOAD if kind == "Event" else MAX_SYNC_PAYLOAD
        if target.obstacle or target.routes or target.version.tenant_isolation or len(payload) > limit:
            return False
        if not _ORDINARY.issuperset(params):
            return False
        try:
            if payload:
                orjson.loads(payload)
            if kind == "RequestResponse":
                self._begin(call, target)
            elif kind == "Event":
                self._accept(call, target)
            else:
                return False
        except (orjson.JSONDecodeError, ServiceError):
            return False
        return True

    def _begin(self, call: Call, target: Target) -> None:
        """Raises ServiceError where the invocation cannot begin."""
        state, done = self._state, call.done
        trace, before = tracing.enter(call.trace_header, target.mark, state.parts.ids, state.parts.clock.now())
        if before >= tracing.MAX_LOOPS:
            raise ServiceError("RecursiveInvocationException", "")  # or allowed after all: `invoke` looks closer

        def settled(result: InvokeResult | None, error: BaseException | None) -> None:
            if result is None:
                done(None, error)
                return
            answer: Result = {"StatusCode": 200, "ExecutedVersion": result.executed_version, "Payload": result.payload}
            if result.function_error:
                answer["FunctionError"] = result.function_error
            done(answer, None)

        invocation = Invocation(call.request_id, call.payload, self._arn(target), "", trace)
        state.engine.invoker.begin(target.version, invocation, settled)

    def _accept(self, call: Call, target: Target) -> None:
        done = call.done

        def stored(error: BaseException | None) -> None:
            done(None if error is not None else {"StatusCode": 202, "Payload": b""}, error)

        event = _event(self._state, target, call, self._arn(target), call.payload, "", "")
        self._state.engine.queue.accept_nowait(event, stored)

    def _arn(self, target: Target) -> str:
        """The target's qualified ARN, put together once."""
        found = self._arns.get(id(target))
        if found is None:
            if len(self._arns) >= _MAX_ARNS:
                self._arns.clear()
            found = self._arns[id(target)] = (target, target.ref.qualified_arn)
        return found[1]


#: Parameters that a prompt invocation may have.
_ORDINARY = frozenset({"FunctionName", "Qualifier", "InvocationType"})
_MAX_ARNS = 1_024


async def _accept(state: State, ctx: Context, target: Target, payload: bytes, client_context: str, tenant: str) -> None:
    """Store the event."""
    arn = target.ref.qualified_arn
    await state.engine.queue.accept(_event(state, target, ctx, arn, payload, client_context, tenant))


def _event(
    state: State,
    target: Target,
    asked: Context | Call,
    invoked_arn: str,
    payload: bytes,
    client_context: str,
    tenant: str,
) -> AsyncEvent:
    """The request's id makes a repeated hand-over of one delivery harmless.

    What came over a connection got its id there, and nobody has it to repeat it.
    """
    ref = target.ref
    return AsyncEvent(
        "" if asked.client_ip else f"{ref.arn}/{asked.request_id}",
        ref.account_id,
        ref.region,
        ref.name,
        ref.qualifier,
        invoked_arn,
        asked.request_id,
        payload,
        client_context,
        tracing.enter(asked.trace_header, target.mark, state.parts.ids, state.parts.clock.now())[0],
        tenant,
    )
