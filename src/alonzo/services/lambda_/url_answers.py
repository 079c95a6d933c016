"""What a function returned as the HTTP response of its URL.

Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-response-payload
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from alonzo.core.http import Response

#: The content type of a streamed response that begins with status and header fields.
PRELUDE_TYPE = "application/vnd.awslambda.http-integration-response"
PRELUDE_END = b"\0" * 8
JSON = "application/json"

#: Fields that are the server's own: what a function says of them is passed on under another name.
_REMAPPED = frozenset({"connection", "content-length", "date", "host", "server", "www-authenticate", "authorization"})
_DROPPED = frozenset({"transfer-encoding", "keep-alive", "trailer", "upgrade", "te", "proxy-connection"})
#: Characters of all header fields of an answer together.
_MAX_FIELDS = 65_536
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")

Fields = list[tuple[str, str]]


class MalformedAnswer(Exception):
    """The function returned something that is no HTTP response: 502."""


def answer_of(payload: bytes) -> Response:
    """The response that a buffered payload means. Raises MalformedAnswer.

    What is not an object with a status code is the body of a 200.
    """
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise MalformedAnswer from None
    if not isinstance(value, dict) or "statusCode" not in value:
        body = value.encode() if isinstance(value, str) else orjson.dumps(value)
        return Response(200, [("content-type", JSON)], body)
    status, fields = head_of(value)
    return Response(status, fields, _body(value))


def head_of(value: Mapping[str, Any]) -> tuple[int, Fields]:
    """Status and header fields of a response object. Raises MalformedAnswer."""
    status = _status(value.get("statusCode", 200))
    fields: Fields = []
    headers = value.get("headers") or {}
    if not isinstance(headers, dict):
        raise MalformedAnswer
    for name, field in headers.items():
        lower = name.lower()
        if not _TOKEN.fullmatch(name) or isinstance(field, dict | list):
            raise MalformedAnswer
        if field is None or lower in _DROPPED:
            continue
        fields.append((f"x-amzn-remapped-{lower}" if lower in _REMAPPED else lower, _text(field)))
    cookies = value.get("cookies") or []
    if not isinstance(cookies, list) or not all(isinstance(cookie, str) for cookie in cookies):
        raise MalformedAnswer
    fields += [("set-cookie", cookie) for cookie in cookies]
    if sum(len(name) + len(field) + 4 for name, field in fields) > _MAX_FIELDS:
        raise MalformedAnswer
    if not any(name == "content-type" for name, _ in fields):
        fields.append(("content-type", JSON))
    return status, fields


def _status(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 200 <= value <= 599:
        raise MalformedAnswer
    return value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else str(value)


def _body(value: Mapping[str, Any]) -> bytes:
    body = value.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        return orjson.dumps(body)
    if value.get("isBase64Encoded") is True:
        try:
            return base64.b64decode(body)
        except (binascii.Error, ValueError):
            raise MalformedAnswer from None
    return body.encode(errors="replace")


# -- CORS -------------------------------------------------------------------------------------------------------------


def preflight(cors: Mapping[str, Any], origin: str) -> Response:
    """The answer to a preflight: the function is not asked. Without the fields where the origin may not."""
    fields = allowed(cors, origin)
    if fields:
        for member, name in (("AllowMethods", "methods"), ("AllowHeaders", "headers")):
            if cors.get(member):
                fields.append((f"access-control-allow-{name}", ",".join(cors[member])))
        if cors.get("MaxAge") is not None:
            fields.append(("access-control-max-age", str(cors["MaxAge"])))
    return Response(200, fields)


def with_cors(fields: Sequence[tuple[str, str]], cors: Mapping[str, Any], origin: str) -> Fields:
    """A response's fields with those of the configuration, which stand in for the function's own."""
    kept = [field for field in fields if not field[0].startswith("access-control-")]
    return kept + allowed(cors, origin)


def allowed(cors: Mapping[str, Any], origin: str) -> Fields:
    """The fields for any request from an origin, none where it may not."""
    if not any(_matches(pattern, origin) for pattern in cors.get("AllowOrigins") or ()):
        return []
    credentials = bool(cors.get("AllowCredentials"))
    anyone = "*" in cors["AllowOrigins"] and not credentials
    fields = [("access-control-allow-origin", "*" if anyone else origin)]
    if not anyone:
        fields.append(("vary", "Origin"))
    if credentials:
        fields.append(("access-control-allow-credentials", "true"))
    if cors.get("ExposeHeaders"):
        fields.append(("access-control-expose-headers", ",".join(cors["ExposeHeaders"])))
    return fields


def _matches(pattern: str, origin: str) -> bool:
    before, star, after = pattern.partition("*")
    if not star:
        return pattern == origin
    return len(origin) >= len(before) + len(after) and origin.startswith(before) and origin.endswith(after)
