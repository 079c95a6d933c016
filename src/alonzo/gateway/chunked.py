"""The `aws-chunked` content coding: chunks with signatures, and trailers.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and sigv4-streaming-trailers.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from enum import Enum

from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import ServiceError
from alonzo.core.streams import BodyTooLarge, ByteStream

#: A chunk's header is a hexadecimal length and a signature: 16 + 82 bytes. Extensions of other clients get some room.
MAX_CHUNK_HEADER = 512
#: All trailing fields together: a checksum and a signature need 200 bytes.
MAX_TRAILERS = 4096
#: Only the last chunk of S3 may be smaller.
MIN_CHUNK = 8192
#: How much of a chunk is handed on at once.
_PIECE = 1 << 20

_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


class Mode(Enum):
    """The values of x-amz-content-sha256 that mean `aws-chunked`: whether chunks are signed, and trailers follow."""

    SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

    @property
    def signed(self) -> bool:
        return self is not Mode.UNSIGNED_TRAILER


@dataclass(slots=True)
class ChunkSigner:
    """Follows the chain of signatures: each covers the one before it. `seed` is the request's own."""

    key: bytes
    timestamp: str
    scope: str
    previous: str

    def chunk(self, digest: str) -> str:
        return self._next(f"AWS4-HMAC-SHA256-PAYLOAD\n{self._base()}\n{_EMPTY_SHA256}\n{digest}")

    def trailer(self, canonical: bytes) -> str:
        return self._next(f"AWS4-HMAC-SHA256-TRAILER\n{self._base()}\n{hashlib.sha256(canonical).hexdigest()}")

    def _base(self) -> str:
        return f"{self.timestamp}\n{self.scope}\n{self.previous}"

    def _next(self, text: str) -> str:
        self.previous = hmac.digest(self.key, text.encode(), "sha256").hex()
        return self.previous


def _incomplete() -> ServiceError:
    return ServiceError("IncompleteBody", "The request body terminated unexpectedly", status=400)


def _wrong_length() -> ServiceError:
    return ServiceError(
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
        status=400,
    )


def _malformed(what: str) -> ServiceError:
    return ServiceError("InvalidRequest", f"The aws-chunked body is malformed: {what}.", status=400)


def _mismatch() -> ServiceError:
    return ServiceError(
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided."
        " Check your key and signing method.",
        status=403,
    )


class _Source:
    """Buffered reading of the raw body, never holding more than a bounded header or the piece that arrived."""

    __slots__ = ("_at", "_iterator", "_piece")

    def __init__(self, body: ByteStream) -> None:
        self._iterator = body.__aiter__()
        self._piece = b""
        self._at = 0

    async def _fill(self) -> bool:
        while True:
            try:
                self._piece = await self._iterator.__anext__()
            except StopAsyncIteration:
                self._piece = b""
                self._at = 0
                return False
            self._at = 0
            if self._piece:
                return True

    async def line(self, limit: int) -> bytes:
        """Up to and without CRLF (a lone LF ends a line too)."""
        parts: list[bytes] = []
        size = 0
        while True:
            end = self._piece.find(b"\n", self._at)
            if end >= 0:
                parts.append(self._piece[self._at : end])
                self._at = end + 1
                found = b"".join(parts)
                if len(found) > limit:
                    raise _malformed(f"a line is longer than {limit} bytes")
                return found[:-1] if found.endswith(b"\r") else found
            parts.append(self._piece[self._at :])
            size += len(parts[-1])
            if size > limit:
                raise _malformed(f"a line is longer than {limit} bytes")
            if not await self._fill():
                raise _incomplete()

    async def some(self, limit: int) -> bytes:
        """Between one and `limit` bytes."""
        if self._at >= len(self._piece) and not await self._fill():
            raise _incomplete()
        data = self._piece[self._at : self._at + limit]
        self._at += len(data)
        return data

    async def at_end(self) -> bool:
        return self._at >= len(self._piece) and not await self._fill()


class ChunkedStream:
    """The decoded body. What it yields counts only once iteration ends without an error: the last signature is last."""

    def __init__(self, body: ByteStream, mode: Mode, decoded_length: int, signer: ChunkSigner | None) -> None:
        """`decoded_length` is x-amz-decoded-content-length; `signer` None leaves signatures unchecked."""
        self._body = body
        self._mode = mode
        self._length = decoded_length
        self._signer = signer if mode.signed else None
        self._trailers: dict[str, str] = {}

    @property
    def length(self) -> int | None:
        return self._length

    @property
    def trailers(self) -> Mapping[str, str]:
        return self._trailers

    async def read(self, limit: int) -> bytes:
        if self._length > limit:
            raise BodyTooLarge
        return b"".join([piece async for piece in self])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        source = _Source(self._body)
        left = self._length
        small = False
        while True:
            size, signature = self._header(await source.line(MAX_CHUNK_HEADER))
            if size > left:
                raise _wrong_length()
            if small and size:
                raise ServiceError(
                    "InvalidChunkSizeError",
                    "Only the last chunk is allowed to have a size less than 8192 bytes",
                    status=403,
                )
            small = size < MIN_CHUNK
            left -= size
            digest = hashlib.sha256() if self._signer is not None else None
            remaining = size
            while remaining:
                piece = await source.some(min(remaining, _PIECE))
                remaining -= len(piece)
                if digest is not None:
                    digest.update(piece)
                yield piece
            if self._signer is not None and digest is not None:
                self._compare(self._signer.chunk(digest.hexdigest()), signature)
            if not size:
                break
            if await source.line(2):
                raise _malformed("a chunk is longer than it says")
        if left:
            raise _wrong_length()
        await self._read_trailers(source)

    def _header(self, line: bytes) -> tuple[int, str]:
        text, _, extension = line.partition(b";")
        text = text.strip()
        if not 1 <= len(text) <= 16 or text.strip(b"0123456789abcdefABCDEF"):
            raise _malformed("a chunk's length is no hexadecimal number")
        name, _, value = extension.strip().partition(b"=")
        signature = value.decode("latin-1") if name == b"chunk-signature" else ""
        return int(text, 16), signature

    def _compare(self, expected: str, given: str) -> None:
        if not hmac.compare_digest(expected.encode(), given.encode("latin-1", "replace")):
            raise _mismatch()

    async def _read_trailers(self, source: _Source) -> None:
        """Fields after the last chunk. The final empty line may be missing: some clients end without it."""
        size = 0
        signed: list[bytes] = []
        signature = ""
        while not await source.at_end():
            line = await source.line(MAX_TRAILERS)
            if not line:
                break
            size += len(line)
            if size > MAX_TRAILERS:
                raise _malformed(f"trailers are longer than {MAX_TRAILERS} bytes")
            raw_name, colon, raw_value = line.partition(b":")
            name, value = raw_name.strip().lower().decode("latin-1"), raw_value.strip().decode("latin-1")
            if not colon or not name:
                raise _malformed("a trailer is no header field")
            if name == "x-amz-trailer-signature":
                signature = value
                continue
            signed.append(f"{name}:{value}\n".encode("latin-1"))
            self._trailers[name] = value
        if not await source.at_end():
            raise _malformed("bytes follow the last chunk")
        if self._signer is not None and self._mode is Mode.SIGNED_TRAILER:
            self._compare(self._signer.trailer(b"".join(signed)), signature)
