"""Whole requests as SDKs write them, read in one go. What is at all unusual is left to the parser.

Reading field by field costs more than all else that is done with a small request's head. This module decides nothing
that the parser would decide otherwise: it takes only heads that can be read in one way.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
#: Fields that change how the rest is to be read, or what has to be answered before it is.
_UNUSUAL = frozenset({"transfer-encoding", "upgrade", "expect", "te", "trailer", "keep-alive", "proxy-connection"})
#: Fields that are another in every request: not worth remembering.
_EVER_NEW = frozenset(
    {
        "authorization",
        "amz-sdk-invocation-id",
        "content-md5",
        "x-amz-content-sha256",
        "x-amz-security-token",
        "x-amzn-trace-id",
    }
)
#: Heads above this size, in bytes, and of more fields are the parser's.
_MAX_HEAD, _MAX_FIELDS = 8_192, 64
#: Lines remembered, of each kind, and their length at most.
_MAX_LINES, _MAX_LINE = 1_024, 256


class PlainHead:
    """A request that came whole: its first line, its fields in order, and its body."""

    __slots__ = ("body", "fields", "items", "method", "target")

    def __init__(
        self, method: str, target: str, items: list[tuple[str, str]], fields: dict[str, str], body: bytes
    ) -> None:
        self.method = method
        self.target = target
        self.items = items
        self.fields = fields
        self.body = body


class HeadReader:
    """Reads heads; remembers lines, of which a client repeats most, as what they mean."""

    __slots__ = ("_firsts", "_lines")

    def __init__(self) -> None:
        self._firsts: dict[str, tuple[str, str]] = {}
        self._lines: dict[str, tuple[str, str]] = {}

    def read(self, data: bytes) -> PlainHead | None:
        """The request that `data` is, all of it and nothing more; None where the parser has to say."""
        end = data.find(b"\r\n\r\n", 0, _MAX_HEAD)
        if end < 0:
            return None
        try:
            lines = data[:end].decode("ascii").split("\r\n")
        except UnicodeDecodeError:
            return None
        first = self._firsts.get(lines[0]) or self._first(lines[0])
        if first is None or len(lines) > _MAX_FIELDS:
            return None
        known, items = self._lines, list[tuple[str, str]]()
        del lines[0]
        for line in lines:
            item = known.get(line) or self._field(line)
            if item is None:
                return None
            items.append(item)
        fields = dict(items)
        length = int(fields.get("content-length", 0))
        if len(fields) != len(items) or len(data) - end - 4 != length:
            return None
        return PlainHead(*first, items, fields, data[end + 4 :])

    def _first(self, line: str) -> tuple[str, str] | None:
        """Method and target."""
        method, _, rest = line.partition(" ")
        target = rest[:-9]
        if method not in _METHODS or target[:1] != "/" or rest[-9:] != " HTTP/1.1" or " " in target or "#" in target:
            return None
        return _remember(self._firsts, line, (method, target)) if line.isprintable() else None

    def _field(self, line: str) -> tuple[str, str] | None:
        """A field's name in lower case, and its value; None where either is none, or is unusual."""
        name, _, value = line.partition(": ")
        # A space at an end is not part of a value; to be without one is not the same as to be empty.
        if not value or value[0] == " " or value[-1] == " " or not line.isprintable() or not _TOKEN.fullmatch(name):
            return None
        lowered = name.lower()
        if lowered in _UNUSUAL or (lowered == "connection" and value.lower() != "keep-alive"):
            return None
        if lowered == "content-length" and not (value.isdigit() and len(value) <= 9):
            return None
        item = (lowered, value)
        return item if lowered in _EVER_NEW else _remember(self._lines, line, item)


def _remember(lines: dict[str, tuple[str, str]], line: str, item: tuple[str, str]) -> tuple[str, str]:
    if len(line) <= _MAX_LINE:
        if len(lines) >= _MAX_LINES:
            lines.clear()
        lines[line] = item
    return item
