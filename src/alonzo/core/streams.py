"""Bodies that may be larger than memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Protocol

from alonzo.core.dataclasses import dataclass


class ByteStream(Protocol):
    """A body read once, in chunks. `length` is in bytes, None where the sender did not say."""

    @property
    def length(self) -> int | None: ...

    @property
    def trailers(self) -> Mapping[str, str]:
        """Trailing header fields (lower case), complete once the body has been read to its end."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises `BodyTooLarge` once it exceeds `limit` bytes, without reading on."""


class BodyTooLarge(Exception):
    """More bytes came than the reader allows."""


class BodyBroken(Exception):
    """A response's body cannot be sent to its end: the client must see its connection end instead."""


class BytesStream:
    """A body that is in memory already."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def length(self) -> int:
        return len(self._data)

    @property
    def trailers(self) -> Mapping[str, str]:
        return {}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._data:
            yield self._data

    async def read(self, limit: int) -> bytes:
        if len(self._data) > limit:
            raise BodyTooLarge
        return self._data


@dataclass(frozen=True, slots=True)
class FileBody:
    """A response body that is a range of a file: the edge sends it in chunks, or with sendfile."""

    path: Path
    offset: int
    length: int
