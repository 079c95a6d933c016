"""Contents on their way in and out: never more of a large one in memory than a few batches."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from alonzo.core.dataclasses import dataclass
from alonzo.core.http import ResponseBody
from alonzo.core.streams import BytesStream, ByteStream, FileBody
from alonzo.services.s3 import checksums
from alonzo.services.s3.errors import entity_too_large, incomplete_body, invalid_request
from alonzo.services.s3.models import INLINE_BYTES, MAX_PUT_BYTES, Extent
from alonzo.services.s3.state import State
from alonzo.storage import Blobs

_CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Stored:
    """A content that has arrived whole and was checked: in `data`, or durable in the blob `blob_id`."""

    size: int
    md5: bytes
    algorithm: str
    checksum: str
    data: bytes | None
    blob_id: str | None

    @property
    def pieces(self) -> list[Extent]:
        return [] if self.blob_id is None else [Extent(self.blob_id, 0, self.size)]

    @property
    def fresh(self) -> tuple[str, ...]:
        """Blobs to remove if no row comes to name them."""
        return () if self.blob_id is None else (self.blob_id,)


class _Digests:
    """MD5 and the checksums asked for, fed together."""

    def __init__(self, algorithms: Sequence[str]) -> None:
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.others = {name: checksums.new(name) for name in algorithms}

    def update(self, data: bytes) -> None:
        self.md5.update(data)
        for other in self.others.values():
            other.update(data)


def as_stream(body: Any) -> ByteStream:
    """The body as it came through the gateway, or from another service as bytes."""
    if body is None:
        return BytesStream(b"")
    if isinstance(body, bytes):
        return BytesStream(body)
    stream: ByteStream = body
    return stream


@dataclass(frozen=True, slots=True)
class _Wanted:
    """`main` is the checksum to keep. `fixed`: whatever else comes. `strict`: and a checksum of it must come."""

    params: Mapping[str, Any]
    given: tuple[str, str] | None
    announced: str
    main: str
    fixed: bool
    strict: bool

    def settled(self, body: ByteStream) -> tuple[tuple[str, str] | None, str]:
        """What was given, trailers included, and the algorithm to keep. Called once the body is at its end."""
        given, main = self.given, self.main
        trailer = checksums.from_trailers(body.trailers) if body.trailers else None
        if trailer is not None:
            if given is not None:
                raise invalid_request("Expecting a single x-amz-checksum- header")
            given = trailer
            if not self.fixed and not self.announced:
                main = trailer[0]
        elif given is None and self.announced and not isinstance(self.params.get("Body"), bytes):
            raise invalid_request(
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers"
                " were found."
            )
        if self.strict and (given is None or given[0] != main):
            raise checksums.type_mismatch(main, given[0] if given is not None else "null")
        return given, main


async def ingest(state: State, params: Mapping[str, Any], *, algorithm: str = "", strict: bool = False) -> Stored:
    """Read, store and check a body. `algorithm` is what to keep ("": what came, else the default).

    With `strict` a checksum of that algorithm must come with it. Raises what the body's iteration raises,
    EntityTooLarge, IncompleteBody, BadDigest, InvalidDigest, InvalidRequest; then nothing remains of it.
    """
    body = as_stream(params.get("Body"))
    given = checksums.supplied(params)
    announced: str = params.get("ChecksumAlgorithm") or ""
    checksums.check_supported(announced)
    if given is not None and announced and announced != given[0]:
        raise invalid_request("Value for x-amz-sdk-checksum-algorithm header is invalid.")
    main = algorithm or (given[0] if given else announced) or checksums.DEFAULT
    wanted = _Wanted(params, given, announced, main, bool(algorithm), strict)
    if body.length is not None and body.length > MAX_PUT_BYTES:
        raise entity_too_large(body.length, MAX_PUT_BYTES)
    if body.length is not None and body.length <= INLINE_BYTES:
        return _check_small(wanted, await body.read(INLINE_BYTES), body)
    return await _ingest_stream(state, wanted, body)


def _check_small(wanted: _Wanted, data: bytes, body: ByteStream) -> Stored:
    if body.length is not None and len(data) != body.length:
        raise incomplete_body()
    md5 = _md5_of_small(data)
    checksums.check_md5(wanted.params.get("ContentMD5"), md5)
    given, main = wanted.settled(body)
    value = checksums.compute(main, data)
    if given is not None:
        actual = value if given[0] == main else checksums.compute(given[0], data)
        if actual != given[1]:
            raise checksums.mismatch(given[0])
    return Stored(len(data), md5, main, value, data, None)


def _md5_of_small(data: bytes) -> bytes:
    """MD5 in pieces below 2 KiB, for which hashlib keeps the interpreter's lock.

    Given up, the lock may stay with the writer thread for a whole switch interval (5 ms): far more than the hash costs.
    """
    digest = hashlib.md5(usedforsecurity=False)
    view = memoryview(data)
    for start in range(0, len(data), 2047):
        digest.update(view[start : start + 2047])
    return digest.digest()


async def _ingest_stream(state: State, wanted: _Wanted, body: ByteStream) -> Stored:
    expected = {wanted.main, wanted.given[0] if wanted.given else wanted.main, wanted.announced or wanted.main}
    digests = _Digests(sorted(expected))
    iterator = aiter(body)
    head: list[bytes] = []
    size = 0
    async for chunk in iterator:
        head.append(chunk)
        size += len(chunk)
        if size > INLINE_BYTES:
            break
    else:
        return _check_small(wanted, b"".join(head), body)
    async with state.blobs.create(digests.update, sha256=False) as writer:
        for chunk in head:
            await writer.write(chunk)
        head.clear()
        async for chunk in iterator:
            size += len(chunk)
            if size > MAX_PUT_BYTES:
                raise entity_too_large(size, MAX_PUT_BYTES)
            await writer.write(chunk)
        if body.length is not None and size != body.length:
            raise incomplete_body()
        given, main = wanted.settled(body)
        reference = await writer.finish()
        try:
            for name in {main, given[0] if given else main} - digests.others.keys():
                # A trailer that no header announced: its algorithm was not known while the body came.
                digests.others[name] = await asyncio.to_thread(_digest_file, state.blobs, reference.id, name)
            md5 = digests.md5.digest()
            checksums.check_md5(wanted.params.get("ContentMD5"), md5)
            values = {name: checksums.encode(digest.digest()) for name, digest in digests.others.items()}
            if given is not None and values[given[0]] != given[1]:
                raise checksums.mismatch(given[0])
        except BaseException:
            state.retire([reference.id])
            raise
    return Stored(size, md5, main, values[main], None, reference.id)


def _digest_file(blobs: Blobs, blob_id: str, algorithm: str) -> checksums.Digest:
    digest = checksums.new(algorithm)
    with blobs.path(blob_id).open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest


def cut(pieces: Sequence[Extent], offset: int, length: int) -> list[Extent]:
    """The pieces of a range of a content."""
    found: list[Extent] = []
    for piece in pieces:
        if length <= 0:
            break
        if offset >= piece.size:
            offset -= piece.size
            continue
        size = min(piece.size - offset, length)
        if piece.data is not None:
            found.append(Extent(None, 0, size, piece.data[offset : offset + size]))
        else:
            found.append(Extent(piece.blob_id, piece.offset + offset, size))
        length -= size
        offset = 0
    return found


def outgoing(state: State, pieces: Sequence[Extent]) -> ResponseBody:
    """A body of these pieces: bytes, one range of a file, or an iterator over several."""
    if not pieces:
        return b""
    if len(pieces) == 1:
        only = pieces[0]
        if only.blob_id is None:
            return only.data or b""
        return FileBody(state.blobs.path(only.blob_id), only.offset, only.size)
    return PieceStream(state, pieces)


class PieceStream:
    """Reads pieces one after the other. Their blobs stay on disk until it is at its end, closed or forgotten."""

    def __init__(self, state: State, pieces: Sequence[Extent]) -> None:
        self._state = state
        self._pieces = pieces
        self._lease = state.lease([piece.blob_id for piece in pieces if piece.blob_id is not None])
        self._index = 0
        self._done = 0
        self._fd = -1

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while self._index < len(self._pieces):
            piece = self._pieces[self._index]
            if piece.data is not None:
                self._index += 1
                return piece.data
            if self._done < piece.size:
                data = await asyncio.to_thread(self._read, piece)
                if not data:
                    raise OSError(f"blob {piece.blob_id} is shorter than its row says")
                self._done += len(data)
                return data
            self._close_file()
            self._index += 1
            self._done = 0
        await self.aclose()
        raise StopAsyncIteration

    def _read(self, piece: Extent) -> bytes:
        if self._fd < 0:
            assert piece.blob_id is not None
            self._fd = os.open(self._state.blobs.path(piece.blob_id), os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self._fd, min(_CHUNK, piece.size - self._done), piece.offset + self._done)

    async def aclose(self) -> None:
        self._close_file()
        self._pieces = ()
        self._state.release(self._lease)
        self._lease = ()

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self._close_file()
        self._state.release(self._lease)


async def digest_pieces(state: State, pieces: Sequence[Extent], algorithm: str) -> tuple[bytes, str]:
    """MD5 and checksum of stored pieces, read on a thread."""
    digests = _Digests([algorithm])

    def run() -> None:
        for piece in pieces:
            if piece.data is not None:
                digests.update(piece.data)
                continue
            assert piece.blob_id is not None
            with state.blobs.path(piece.blob_id).open("rb") as file:
                file.seek(piece.offset)
                left = piece.size
                while left:
                    data = file.read(min(1 << 20, left))
                    if not data:
                        raise OSError(f"blob {piece.blob_id} is shorter than its row says")
                    digests.update(data)
                    left -= len(data)

    lease = state.lease([piece.blob_id for piece in pieces if piece.blob_id is not None])
    try:
        await asyncio.to_thread(run)
    finally:
        state.release(lease)
    return digests.md5.digest(), checksums.encode(digests.others[algorithm].digest())
