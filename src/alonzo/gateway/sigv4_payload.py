"""The body of a signed request: decoded, and compared with the hash that was signed, while it is read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Mapping

from alonzo.core.errors import ServiceError
from alonzo.core.http import Headers, Request
from alonzo.core.streams import ByteStream
from alonzo.gateway.chunked import ChunkedStream, ChunkSigner, Mode
from alonzo.gateway.sigv4_errors import AuthErrors

UNSIGNED = "UNSIGNED-PAYLOAD"
MODES = {mode.value: mode for mode in Mode}
HEX64 = re.compile(r"[0-9a-f]{64}")


def payload_of(request: Request, declared: str, errors: AuthErrors, signer: ChunkSigner | None) -> ByteStream:
    """The body as the service may read it."""
    mode = MODES.get(declared)
    if mode is not None:
        return ChunkedStream(request.body, mode, _decoded_length(request.headers), signer)
    if declared == UNSIGNED:
        return request.body
    if HEX64.fullmatch(declared):
        return HashedStream(request.body, declared, errors)
    if declared.startswith("STREAMING-AWS4-ECDSA"):
        raise errors.unsupported("Signature Version 4A")
    raise errors.bad_payload_header(declared)


def _decoded_length(headers: Headers) -> int:
    text = headers.get("x-amz-decoded-content-length")
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 15:
        raise ServiceError("MissingContentLength", "You must provide the Content-Length HTTP header.", status=411)
    return int(text)


class HashedStream:
    """A body that raises at its end unless its SHA-256 is what was signed."""

    def __init__(self, body: ByteStream, declared: str, errors: AuthErrors) -> None:
        self._body = body
        self._declared = declared
        self._errors = errors

    @property
    def length(self) -> int | None:
        return self._body.length

    @property
    def trailers(self) -> Mapping[str, str]:
        return self._body.trailers

    async def __aiter__(self) -> AsyncIterator[bytes]:
        digest = hashlib.sha256()
        async for piece in self._body:
            digest.update(piece)
            yield piece
        self._compare(digest.hexdigest())

    async def read(self, limit: int) -> bytes:
        data = await self._body.read(limit)
        self._compare(hashlib.sha256(data).hexdigest())
        return data

    def _compare(self, computed: str) -> None:
        if computed != self._declared:
            raise self._errors.payload_mismatch(self._declared, computed)
