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
#: Heads above this size, in bytes, and of more fields are the parser's.
_MAX_HEAD, _MAX_FIELDS = 8_192, 64
_PRINTABLE = bytes(range(0x20, 0x7F))
#: Names of fields remembered in lower case.
_MAX_NAMES = 1_024


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
    """Reads heads; remembers the names of fields."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def read(self, data: bytes) -> PlainHead | None:
        """The request that `data` is, all of it and nothing more; None where the parser has to say."""
        end = data.find(b"\r\n\r\n", 0, _MAX_HEAD)
        if end < 0:
            return None
        raw = data[:end]
        breaks = raw.translate(None, _PRINTABLE)
        try:
            head = raw.decode("ascii")
        except UnicodeDecodeError:
            return None
        lines = head.split("\r\n")
        # Nothing but printable characters and the ends of the lines.
        if len(lines) > _MAX_FIELDS or breaks != b"\r\n" * (len(lines) - 1):
            return None
        method, _, rest = lines[0].partition(" ")
        target = rest[:-9]
        if method not in _METHODS or target[:1] != "/" or rest[-9:] != " HTTP/1.1" or " " in target or "#" in target:
            return None
        del lines[0]
        # A space at an end is not part of a value; to be without one is not the same as to be empty.
        if ":  " in head or " \r\n" in head or head[-1] == " ":
            return None
        names = self._names
        parts = [line.partition(": ") for line in lines]
        try:
            items = [(names[name], value) for name, _, value in parts]
        except KeyError:
            if not all([self._name(name) for name, _, _ in parts]):  # noqa: C419 - all of them are to be learned
                return None
            items = [(name.lower(), value) for name, _, value in parts]
        fields = dict(items)
        if len(fields) != len(items) or "" in fields.values() or not _UNUSUAL.isdisjoint(fields):
            return None
        if "connection" in fields and fields["connection"].lower() != "keep-alive":
            return None
        length = fields.get("content-length", "0")
        if not length.isdigit() or len(length) > 9 or len(data) - end - 4 != int(length):
            return None
        return PlainHead(method, target, items, fields, data[end + 4 :])

    def _name(self, name: str) -> str:
        """A field's name in lower case, remembered; "" where it is none (or the line has no value)."""
        if not _TOKEN.fullmatch(name):
            return ""
        lowered = name.lower()
        if len(name) <= 64:
            if len(self._names) >= _MAX_NAMES:
                self._names.clear()
            self._names[name] = lowered
        return lowered
