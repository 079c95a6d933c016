"""Cross-origin requests: a bucket's own rules for S3, loopback pages for the APIs.

AWS's API endpoints answer every origin; this one does not, because on a developer's machine any web page could sign
with the customary test credentials. Pages served from this machine may, others are named in `cors_origins`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from alonzo.core.http import Response
from alonzo.gateway.routing import Route

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_EXPOSED = "x-amzn-requestid,x-amzn-errortype,x-amz-request-id,x-amz-id-2,etag,x-amz-version-id,date"

#: (bucket, origin, method, asked header names) -> the header fields to answer, or None where no rule matches.
BucketCors = Callable[[str, str, str, Sequence[str]], Awaitable[list[tuple[str, str]] | None]]


class Cors:
    """Answers preflights and adds the header fields to answers."""

    def __init__(self, origins: Sequence[str], bucket_cors: BucketCors) -> None:
        self._origins = frozenset(origins)
        self._bucket_cors = bucket_cors

    async def preflight(self, route: Route, origin: str) -> Response | None:
        """The answer to a preflight, None where the request is none."""
        headers = route.request.headers
        method = headers.get("access-control-request-method")
        if route.request.method != "OPTIONS" or method is None:
            return None
        asked = [name.strip() for name in (headers.get("access-control-request-headers") or "").split(",") if name]
        if route.service == "s3" and route.bucket:
            fields = await self._bucket_cors(route.bucket, origin, method, asked)
            if fields is not None:
                return Response(200, fields)
        if self._allowed(origin):
            return Response(
                204,
                [
                    *_allow(origin),
                    ("access-control-allow-methods", "GET,HEAD,POST,PUT,PATCH,DELETE"),
                    ("access-control-allow-headers", ",".join(asked) or "*"),
                    ("access-control-max-age", "600"),
                ],
            )
        return Response(
            403, [("content-type", "text/plain")], b"This origin is not allowed: see ALONZO_CORS_ORIGINS.\n"
        )

    async def headers(self, route: Route, origin: str) -> list[tuple[str, str]]:
        """What an answer to a request with an Origin carries."""
        if route.service == "s3" and route.bucket:
            fields = await self._bucket_cors(route.bucket, origin, route.request.method, ())
            if fields is not None:
                return fields
        if self._allowed(origin):
            return [*_allow(origin), ("access-control-expose-headers", _EXPOSED)]
        return []

    def _allowed(self, origin: str) -> bool:
        return origin in self._origins or "*" in self._origins or urlsplit(origin).hostname in _LOOPBACK


def _allow(origin: str) -> list[tuple[str, str]]:
    return [("access-control-allow-origin", origin), ("vary", "origin")]
