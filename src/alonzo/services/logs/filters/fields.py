"""`[ip, user, ..., status = 4*, bytes]`: patterns for events of fields between spaces."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from alonzo.services.logs.filters.errors import invalid
from alonzo.services.logs.filters.expression import Condition, Lookup, Parser

_START = re.compile(r"\S")
_WORD = re.compile(r"\S+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PART = re.compile(r'(?:[^,"%]|"(?:[^"\\]|\\.)*"|%(?:[^%\\]|\\.)*%)*')
_NAME = re.compile(r"\s*\$?([\w.-]+)")
MAX_FIELDS = 100


class FieldsPattern:
    """Matches messages with as many fields as the pattern has (`...` stands for any number), each meeting its test."""

    def __init__(self, source: str) -> None:
        self._names: list[str] = []
        self._gap: int | None = None
        conditions: list[str] = []
        for part in _split(source):
            if part == "...":
                if self._gap is not None:
                    raise invalid("only one '...' is supported.")
                self._gap = len(self._names)
                continue
            match = _NAME.match(part)
            if match is None:
                raise invalid(f"'{part}' is no field.")
            self._names.append(match[1])
            if match.end() < len(part):
                conditions.append(part)
        if len(self._names) > MAX_FIELDS:
            raise invalid(f"more than {MAX_FIELDS} fields.")
        self._conditions: list[Condition] = [
            Parser(condition, self._select, words_select=True).parse() for condition in conditions
        ]

    def _select(self, name: str) -> Lookup:
        name = name.removeprefix("$").removeprefix(".")
        if name not in self._names:
            raise invalid(f"'{name}' is no field of the pattern.")

        def lookup(event: Mapping[str, str]) -> Sequence[str]:
            return (event[name],)

        return lookup

    def extract(self, message: str) -> dict[str, str] | None:
        """The fields by name, or None where their number differs."""
        found = _fields(message)
        count = len(self._names)
        if self._gap is None:
            if len(found) != count:
                return None
        elif len(found) < count:
            return None
        else:
            found = found[: self._gap] + found[len(found) - (count - self._gap) :]
        return dict(zip(self._names, found, strict=True))

    def __call__(self, message: str) -> bool:
        event = self.extract(message)
        return event is not None and all(condition(event) for condition in self._conditions)


def _fields(message: str) -> list[str]:
    """Words; what stands in quotes or brackets is one field.

    An opening sign without its closing one is looked for only once, or many of them would cost the square of a message.
    """
    found: list[str] = []
    closing = {'"': True, "[": True}
    at = 0
    while (start := _START.search(message, at)) is not None:
        at = start.start()
        sign = message[at]
        if closing.get(sign):
            field, end = _enclosed(message, at, sign)
            if end >= 0:
                found.append(field)
                at = end
                continue
            closing[sign] = False
        word = _WORD.match(message, at)
        assert word is not None
        found.append(word[0])
        at = word.end()
    return found


def _enclosed(message: str, at: int, sign: str) -> tuple[str, int]:
    """What stands between the sign at `at` and its closing one, and where that ends; -1 where there is none."""
    if sign == "[":
        end = message.find("]", at)
        return message[at + 1 : end], end + 1 if end >= 0 else -1
    match = _QUOTED.match(message, at)
    return (match[1], match.end()) if match is not None else ("", -1)


def _split(source: str) -> list[str]:
    parts: list[str] = []
    at = 0
    while True:
        match = _PART.match(source, at)
        assert match is not None
        parts.append(match[0].strip())
        at = match.end()
        if at >= len(source):
            break
        if source[at] != ",":
            raise invalid(f"'{source[at:]}' was not understood.")
        at += 1
    if parts == [""]:
        return []
    if "" in parts:
        raise invalid("a field is empty.")
    return parts
