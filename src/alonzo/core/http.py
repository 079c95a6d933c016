"""One request and one response, whatever server received them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from alonzo.core.dataclasses import dataclass, field
from alonzo.core.streams import BytesStream, ByteStream, FileBody

ResponseBody = bytes | FileBody | AsyncIterator[bytes]


class Headers:
    """Header fields in the order they came; names are lower case, values decoded as Latin-1 and not trimmed twice."""

    __slots__ = ("_first", "items")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self.items: list[tuple[str, str]] = [(name.lower(), value) for name, value in items]
        self._first: dict[str, str] = {}
        for name, value in self.items:
            self._first.setdefault(name, value)

    @classmethod
    def lowered(cls, items: list[tuple[str, str]]) -> Headers:
        """From items whose names are lower case already; the list is kept, not copied."""
        headers = cls.__new__(cls)
        headers.items = items
        headers._first = dict(reversed(items))
        return headers

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of `name` (lower case), or `default`."""
        return self._first.get(name, default)

    def get_all(self, name: str) -> list[str]:
        return [value for key, value in self.items if key == name]

    def __contains__(self, name: str) -> bool:
        return name in self._first

    def __getitem__(self, name: str) -> str:
        return self._first[name]


@dataclass(slots=True)
class Request:
    """`path` and `query` are as on the wire: percent-encoded, without the `?`. `body` may be read once."""

    method: str
    path: str
    query: str
    headers: Headers
    body: ByteStream = field(default_factory=lambda: BytesStream(b""))
    scheme: str = "http"
    client: str = ""

    @property
    def host(self) -> str:
        return self.headers.get("host") or ""


@dataclass(slots=True)
class Response:
    """`headers` hold no Content-Length unless the body is an iterator of known length, or HEAD's answer."""

    status: int
    headers: list[tuple[str, str]]
    body: ResponseBody = b""
