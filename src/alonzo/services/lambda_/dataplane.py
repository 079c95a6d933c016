"""Function URLs, served: `ID.lambda-url.REGION.BASE`.

A request is authorised against the resource policy of the URL's function or alias (also where it needs no signature),
becomes an event, and the function's answer becomes the response.
Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html and .../urls-auth.html
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
from sqlalchemy import Connection

from alonzo.core.context import ANONYMOUS, Context
from alonzo.core.dataplane import Visit
from alonzo.core.errors import ServiceError
from alonzo.core.http import Response
from alonzo.core.streams import BodyBroken, BodyTooLarge, ByteStream
from alonzo.dispatch import Access
from alonzo.engine.function import Invocation
from alonzo.services.lambda_.invoking import enter_chain, not_ready, too_large
from alonzo.services.lambda_.models import MAX_SYNC_PAYLOAD, UrlConfig
from alonzo.services.lambda_.names import FunctionRef
from alonzo.services.lambda_.ports import ResponseStream
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.store import attachments, urls
from alonzo.services.lambda_.targets import Target
from alonzo.services.lambda_.url_answers import (
    JSON,
    PRELUDE_END,
    PRELUDE_TYPE,
    MalformedAnswer,
    answer_of,
    head_of,
    preflight,
    with_cors,
)
from alonzo.services.lambda_.url_events import event_of

_FORBIDDEN = (
    "Forbidden. For troubleshooting Function URL authorization issues, see:"
    " https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
)
#: Bytes of status and header fields that a streamed response may begin with.
_MAX_PRELUDE = 1 << 20


class FunctionUrls:
    """The data plane; `serve` is a core.dataplane.DataPlane."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def serve(self, visit: Visit) -> Response:
        """Answer a request to a function URL. Errors are answered as AWS words them, never raised."""
        found = self._state.parts.db.read_nowait(lambda connection: _find(connection, visit.label))
        if found is None or visit.region not in ("", found[0].region):
            return _refusal(403, "AccessDeniedException", None)
        config, access = found
        headers = visit.request.headers
        origin = headers.get("origin")
        if config.cors and origin and visit.request.method == "OPTIONS" and "access-control-request-method" in headers:
            return preflight(config.cors, origin)
        response = await self._answer(visit, config, access)
        response.headers.append(("x-amzn-requestid", visit.ctx.request_id))
        if config.cors and origin:
            response.headers = with_cors(response.headers, config.cors, origin)
        return response

    async def _answer(self, visit: Visit, config: UrlConfig, access: Access) -> Response:
        try:
            ctx, body = await self._authorise(visit, config, access)
            ref = FunctionRef(config.account_id, config.region, config.name, config.qualifier)
            own = replace(ctx, account_id=config.account_id, region=config.region)
            target = self._target(own, ref)
            trace = enter_chain(self._state, own, target)
            data = await body.read(MAX_SYNC_PAYLOAD)
            event = event_of(config, ctx, visit.request, data, trace, self._state.now())
            if len(event) > MAX_SYNC_PAYLOAD:
                raise too_large()
            invocation = Invocation(visit.ctx.request_id, event, ref.qualified_arn, "", trace)
            if config.mode == "RESPONSE_STREAM":
                response = await self._stream(visit, target, invocation)
            else:
                response = await self._buffer(target, invocation)
            response.headers.append(("x-amzn-trace-id", trace))
            return response
        except MalformedAnswer:
            return _failed()
        except BodyTooLarge:
            return _error(too_large())
        except ServiceError as error:
            return _error(error)

    async def _authorise(self, visit: Visit, config: UrlConfig, access: Access) -> tuple[Context, ByteStream]:
        """Who asks, and the body. Raises AccessDeniedException with AWS's text, or what is wrong with the signature."""
        if config.auth_type == "AWS_IAM":
            try:
                ctx, body = await visit.identify("lambda", MAX_SYNC_PAYLOAD)
            except ServiceError as error:
                if error.code.startswith("MissingAuthenticationToken"):
                    raise _denied() from None
                raise
        else:
            ctx, body = replace(visit.ctx, principal=ANONYMOUS), visit.request.body
        try:
            await self._state.parts.dispatcher.authorize(
                replace(ctx, region=config.region), access, denied_code="AccessDeniedException"
            )
        except ServiceError:
            raise _denied() from None
        return ctx, body

    def _target(self, ctx: Context, ref: FunctionRef) -> Target:
        try:
            target = self._state.targets.find(ctx, ref.name, ref.qualifier or None)
        except ServiceError:
            raise _denied() from None  # the alias has gone, the URL is still there
        if target.obstacle:
            raise not_ready(self._state, target)
        return target

    async def _buffer(self, target: Target, invocation: Invocation) -> Response:
        result = await self._state.engine.invoker.invoke(target.pick(self._state.parts.ids), invocation)
        if result.function_error:
            return _failed()
        return answer_of(result.payload)

    async def _stream(self, visit: Visit, target: Target, invocation: Invocation) -> Response:
        stream = await self._state.engine.invoker.stream(target.pick(self._state.parts.ids), invocation)
        if stream.result is not None and stream.result.function_error and not stream.content_type:
            return _failed()
        pieces = stream.__aiter__()
        if stream.content_type.partition(";")[0].strip().lower() == PRELUDE_TYPE:
            try:
                status, fields, first = await _prelude(pieces)
            except MalformedAnswer:
                stream.abandon()
                raise
        else:
            status, fields, first = 200, [("content-type", stream.content_type)], b""
        if visit.request.method == "HEAD" or status in (204, 304):
            stream.abandon()  # the function goes on; nobody reads what it writes
            return Response(status, fields)
        return Response(status, fields, _rest(stream, pieces, first))


def _find(connection: Connection, url_id: str) -> tuple[UrlConfig, Access] | None:
    config = urls.find_url(connection, url_id.lower())
    if config is None:
        return None
    ref = FunctionRef(config.account_id, config.region, config.name, config.qualifier)
    policy = attachments.get_policy(connection, ref.key, config.qualifier)
    return config, Access(
        "lambda:InvokeFunctionUrl",
        ref.qualified_arn,
        resource_account=config.account_id,
        resource_policy=attachments.policy_text(policy),
        conditions={"lambda:FunctionUrlAuthType": config.auth_type},
    )


async def _prelude(pieces: AsyncIterator[bytes]) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, header fields, and the bytes of the body that have come with them."""
    data = bytearray()
    async for piece in pieces:
        start = max(len(data) - len(PRELUDE_END), 0)
        data += piece
        end = data.find(PRELUDE_END, start)
        if end >= 0:
            try:
                value = orjson.loads(bytes(data[:end]))
            except orjson.JSONDecodeError:
                raise MalformedAnswer from None
            if not isinstance(value, dict):
                raise MalformedAnswer
            return *head_of(value), bytes(data[end + len(PRELUDE_END) :])
        if len(data) > _MAX_PRELUDE:
            break
    raise MalformedAnswer


async def _rest(stream: ResponseStream, pieces: AsyncIterator[bytes], first: bytes) -> AsyncIterator[bytes]:
    """The body. Raises BodyBroken where the function failed in the middle: the client must see that it is not whole."""
    try:
        if first:
            yield first
        async for piece in pieces:
            yield piece
        if stream.result is None or stream.result.function_error:
            raise BodyBroken
    except ServiceError:
        raise BodyBroken from None
    finally:
        stream.abandon()


def _denied() -> ServiceError:
    return ServiceError("AccessDeniedException", _FORBIDDEN, status=403)


def _refusal(status: int, code: str, message: str | None) -> Response:
    return Response(status, [("content-type", JSON), ("x-amzn-errortype", code)], orjson.dumps({"Message": message}))


def _error(error: ServiceError) -> Response:
    """An invocation that was refused: throttled (429, with the reason), too large, not ready, badly signed."""
    if not error.fields:
        return _refusal(error.status, error.code, error.message)
    body = orjson.dumps({**error.fields, "message": error.message})
    return Response(error.status, [("content-type", JSON), ("x-amzn-errortype", error.code)], body)


def _failed() -> Response:
    """The function failed, or returned no HTTP response."""
    return Response(502, [("content-type", JSON)], b"Internal Server Error")
