"""A request to a function URL as the event that its function gets (payload format 2.0).

Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson

from alonzo.core.context import Context
from alonzo.core.http import Request
from alonzo.services.lambda_.models import UrlConfig

#: Fields that are not passed on: the connection's own, and what becomes another member.
_DROPPED = frozenset({"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"})
_TEXT = frozenset({"application/json", "application/javascript", "application/xml", "application/graphql"})


def event_of(config: UrlConfig, ctx: Context, request: Request, body: bytes, trace: str, now: float) -> bytes:
    """The event as JSON. `ctx` is whose request it is, anonymous without IAM authentication."""
    name, _, port = request.host.partition(":")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": request.query,
    }
    cookies = [part.strip() for line in request.headers.get_all("cookie") for part in line.split(";") if part.strip()]
    if cookies:
        event["cookies"] = cookies
    event["headers"] = _headers(config, ctx, request, trace, port)
    if request.query:
        event["queryStringParameters"] = _query(request.query)
    event["requestContext"] = {
        **_caller(config, ctx),
        "apiId": config.url_id,
        "domainName": name.lower(),
        "domainPrefix": config.url_id,
        "http": {
            "method": request.method,
            "path": request.path,
            "protocol": "HTTP/1.1",
            "sourceIp": request.client,
            "userAgent": request.headers.get("user-agent") or "",
        },
        "requestId": ctx.request_id,
        "routeKey": "$default",
        "stage": "$default",
        "time": datetime.fromtimestamp(now, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "timeEpoch": int(now * 1000),
    }
    text = _as_text(request, body)
    if body:
        event["body"] = base64.b64encode(body).decode() if text is None else text
    event["isBase64Encoded"] = text is None
    return orjson.dumps(event)


def _headers(config: UrlConfig, ctx: Context, request: Request, trace: str, port: str) -> dict[str, str]:
    """Lower case; what came more than once is joined with commas."""
    joined: dict[str, str] = {}
    for name, value in request.headers.items:
        if name in _DROPPED or name == "cookie" or (name == "authorization" and config.auth_type == "AWS_IAM"):
            continue
        value = value.encode("latin-1", "replace").decode(errors="replace")
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    before = joined.get("x-forwarded-for")
    joined["x-forwarded-for"] = f"{before}, {request.client}" if before else request.client
    joined["x-forwarded-port"] = port if port.isdigit() else "443" if ctx.secure else "80"
    joined["x-forwarded-proto"] = request.scheme
    joined["x-amzn-trace-id"] = trace
    return joined


def _query(query: str) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _caller(config: UrlConfig, ctx: Context) -> dict[str, Any]:
    if config.auth_type != "AWS_IAM":
        return {"accountId": "anonymous"}
    who = ctx.principal
    iam = {
        "accessKey": who.access_key_id,
        "accountId": who.account_id,
        "callerId": who.user_id,
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": who.arn,
        "userId": who.user_id,
    }
    return {"accountId": who.account_id, "authorizer": {"iam": iam}}


def _as_text(request: Request, body: bytes) -> str | None:
    """The body as text, None where it goes in Base64: its type is none of text, or it is compressed or not UTF-8."""
    if not body:
        return ""
    kind = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
    textual = kind.startswith("text/") or kind in _TEXT or kind.endswith(("+json", "+xml"))
    if not textual or request.headers.get("content-encoding"):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
