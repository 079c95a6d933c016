"""Comparing what an event holds with what a pattern says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

#: A test of one value out of an event (JSON scalar, object or list; or a field's text).
Test = Callable[[Any], bool]


def number_in(text: str) -> float | None:
    """The number that `text` writes, or None."""
    if not text or text[0] not in "+-.0123456789" or "_" in text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def number_of(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    return number_in(value.strip()) if isinstance(value, str) and len(value) <= 64 else None


def text_of(value: Any) -> str | None:
    """A scalar as text; None for null, objects and lists."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    return None


def wildcard(pattern: str) -> Callable[[str], bool]:
    """A whole-text match where `*` stands for any characters, in linear time."""
    if "*" not in pattern:
        return lambda text: text == pattern
    first, *middle, last = pattern.split("*")

    def matches(text: str) -> bool:
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for piece in middle:
            at = text.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True

    return matches


def equals(written: str, *, quoted: bool) -> Test:
    """`=`: numbers by value where both are numbers, everything else as text with wildcards."""
    wanted = None if quoted else number_in(written)
    matches = wildcard(written)
    anything = bool(written) and not written.strip("*")

    def test(value: Any) -> bool:
        if wanted is not None and isinstance(value, int | float) and not isinstance(value, bool):
            return value == wanted
        text = text_of(value)
        return matches(text) if text is not None else anything and value is not None

    return test


def not_equals(written: str, *, quoted: bool) -> Test:
    """`!=`: the field is there and differs."""
    same = equals(written, quoted=quoted)
    return lambda value: not same(value)


_ORDERED: dict[str, Callable[[float, float], bool]] = {
    "<": lambda value, wanted: value < wanted,
    "<=": lambda value, wanted: value <= wanted,
    ">": lambda value, wanted: value > wanted,
    ">=": lambda value, wanted: value >= wanted,
}


def ordered(operator: str, wanted: float) -> Test:
    compare = _ORDERED[operator]

    def test(value: Any) -> bool:
        found = number_of(value)
        return found is not None and compare(found, wanted)

    return test


def any_of(test: Test) -> Callable[[Sequence[Any]], bool]:
    return lambda values: any(test(value) for value in values)
