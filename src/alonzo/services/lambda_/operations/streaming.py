"""InvokeWithResponseStream: the response's bytes reach the client while the function still runs.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.engine.function import Invocation
from alonzo.services.lambda_.invoking import enter_chain, not_ready, read_client_context, read_payload, version_for
from alonzo.services.lambda_.ports import ResponseStream
from alonzo.services.lambda_.state import State

#: Bytes of one PayloadChunk at most.
_MAX_CHUNK = 1 << 20


async def invoke_with_response_stream(state: State, ctx: Context, params: Params) -> Result:
    target = state.targets.find(ctx, params["FunctionName"], params.get("Qualifier"))
    payload = await read_payload(params.get("Payload", b""))
    client_context = read_client_context(params)
    if target.obstacle:
        raise not_ready(state, target)
    version = version_for(state, target, params)
    if params.get("InvocationType") == "DryRun":
        return {"StatusCode": 204, "EventStream": ()}
    trace = enter_chain(state, ctx, target)
    tail = params.get("LogType") == "Tail"
    stream = await state.engine.invoker.stream(
        version,
        Invocation(ctx.request_id, payload, target.ref.qualified_arn, client_context, trace, tail),
    )
    return {"StatusCode": 200, "ExecutedVersion": stream.version, "EventStream": _events(stream, tail)}


async def _events(stream: ResponseStream, tail: bool) -> AsyncIterator[dict[str, Any]]:
    async for piece in stream:
        for start in range(0, len(piece), _MAX_CHUNK):
            yield {"PayloadChunk": {"Payload": piece[start : start + _MAX_CHUNK]}}
    complete: dict[str, str] = {}
    result = stream.result
    if result is not None:
        if result.function_error:
            complete["ErrorCode"] = result.function_error
            complete["ErrorDetails"] = result.payload.decode(errors="replace")
        if tail:
            complete["LogResult"] = base64.b64encode(result.log_tail[-4096:]).decode()
    yield {"InvokeComplete": complete}
