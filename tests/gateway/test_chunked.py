"""The aws-chunked coding: whole, cut to pieces, tampered with and hostile."""

import hashlib
from collections.abc import AsyncIterator, Mapping

import pytest

from alonzo.core.errors import ServiceError
from alonzo.core.streams import BodyTooLarge, BytesStream
from alonzo.gateway.chunked import ChunkedStream, ChunkSigner, Mode

KEY, STAMP, SCOPE, SEED = b"k" * 32, "20250101T000000Z", "20250101/us-east-1/s3/aws4_request", "0" * 64


class Pieces:
    """A body that arrives `size` bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data, self.size = data, size

    @property
    def length(self) -> int | None:
        return len(self.data)

    @property
    def trailers(self) -> Mapping[str, str]:
        return {}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self.data), self.size):
            yield self.data[at : at + self.size]

    async def read(self, limit: int) -> bytes:
        return self.data


def signer() -> ChunkSigner:
    return ChunkSigner(KEY, STAMP, SCOPE, SEED)


def encode(data: bytes, size: int, *, signed: bool, trailers: Mapping[str, str] | None = None) -> bytes:
    out, chain = b"", signer()
    for piece in [*(data[at : at + size] for at in range(0, len(data), size)), b""]:
        mark = f";chunk-signature={chain.chunk(hashlib.sha256(piece).hexdigest())}" if signed else ""
        out += f"{len(piece):x}{mark}\r\n".encode() + piece + (b"\r\n" if piece or trailers is None else b"")
    if trailers is not None:
        lines = [f"{name}:{value}\n".encode() for name, value in trailers.items()]
        out += b"".join(line[:-1] + b"\r\n" for line in lines)
        if signed:
            out += f"x-amz-trailer-signature:{chain.trailer(b''.join(lines))}\r\n".encode()
        out += b"\r\n"
    return out


DATA = bytes(range(256)) * 100
TRAILERS = {"x-amz-checksum-crc32": "AAAAAA=="}


@pytest.mark.parametrize("arriving", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("mode", list(Mode))
async def test_bodies_decode_however_they_arrive(mode: Mode, arriving: int) -> None:
    """Every mode decodes to the same bytes and trailers, whatever pieces the network makes."""
    trailers = None if mode is Mode.SIGNED else TRAILERS
    body = encode(DATA, 8192, signed=mode.signed, trailers=trailers)
    stream = ChunkedStream(Pieces(body, arriving), mode, len(DATA), signer())
    assert await stream.read(len(DATA)) == DATA
    assert dict(stream.trailers) == (trailers or {})
    assert stream.length == len(DATA)


async def refused(body: bytes, mode: Mode = Mode.SIGNED, length: int = len(DATA)) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await ChunkedStream(Pieces(body, 500), mode, length, signer()).read(1 << 30)
    return caught.value


async def test_tampering_is_noticed_in_data_signatures_and_order() -> None:
    """Changed data, a changed chunk signature, and chunks in another order fail the chain of signatures."""
    body = encode(DATA, 8192, signed=True)
    chunk = len(body) // 4
    assert (await refused(body[:200] + bytes([body[200] ^ 1]) + body[201:])).code == "SignatureDoesNotMatch"
    mark = body.index(b"chunk-signature=") + 20
    assert (await refused(body[:mark] + b"zz" + body[mark + 2 :])).code == "SignatureDoesNotMatch"
    starts = [at for at in range(len(body)) if body.startswith(b"2000;", at)]
    swapped = body[starts[1] : starts[2]] + body[: starts[1]] + body[starts[2] :]
    assert chunk and (await refused(swapped)).code == "SignatureDoesNotMatch"


async def test_trailers_are_signed_too() -> None:
    """A changed trailer, or a missing trailer signature, is refused where trailers are signed."""
    body = encode(DATA, 8192, signed=True, trailers=TRAILERS)
    assert (await refused(body.replace(b"AAAAAA==", b"BBBBBB=="), Mode.SIGNED_TRAILER)).code == "SignatureDoesNotMatch"
    cut = body[: body.index(b"x-amz-trailer-signature")] + b"\r\n"
    assert (await refused(cut, Mode.SIGNED_TRAILER)).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("keep", [0, 3, 100, 9000, -6, -1])
async def test_truncated_bodies_are_incomplete(keep: int) -> None:
    """A body that ends early is an IncompleteBody (its very last byte belongs to the end of a line)."""
    assert (await refused(encode(DATA, 8192, signed=True)[:keep])).code == "IncompleteBody"


@pytest.mark.parametrize("length", [0, len(DATA) - 1, len(DATA) + 1, 10**9])
async def test_the_decoded_length_must_be_true(length: int) -> None:
    """More or fewer bytes than x-amz-decoded-content-length says is an IncompleteBody."""
    body = encode(DATA, 8192, signed=False, trailers={})
    assert (await refused(body, Mode.UNSIGNED_TRAILER, length)).code == "IncompleteBody"


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n\r\n",
        b"zz\r\n",
        b"-1\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5" * 17 + b"\r\n",
        b"f" * 1000,
        b"5;" + b"x" * 1000 + b"\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloworld\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n" + b"a:b\r\n" * 2000,
        b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\nmore",
    ],
)
async def test_malformed_framing_is_refused(body: bytes) -> None:
    """Lengths that are no plain hexadecimal, endless lines, excess bytes and broken trailers are client errors."""
    assert (await refused(body, Mode.UNSIGNED_TRAILER, 5)).code == "InvalidRequest"


@pytest.mark.parametrize("size", [b"ffffffffffffffff", b"7fffffffffffffff", b"6"])
async def test_huge_chunk_lengths_cost_nothing(size: bytes) -> None:
    """A chunk that claims more than the decoded length is refused before any of it is read."""
    assert (await refused(size + b"\r\nhello", Mode.UNSIGNED_TRAILER, 5)).code == "IncompleteBody"


async def test_only_the_last_chunk_may_be_small() -> None:
    """Bodies chopped into tiny chunks are refused, as S3 does."""
    assert (await refused(encode(DATA, 100, signed=False, trailers={}), Mode.UNSIGNED_TRAILER)).code == (
        "InvalidChunkSizeError"
    )


async def test_reading_stops_at_the_readers_limit() -> None:
    """A reader that allows less than the declared length gets BodyTooLarge."""
    stream = ChunkedStream(BytesStream(b""), Mode.SIGNED, 1 << 40, None)
    with pytest.raises(BodyTooLarge):
        await stream.read(1 << 20)
