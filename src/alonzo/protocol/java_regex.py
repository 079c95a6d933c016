r"""Regular expressions of the models, which are Java's, as Python's.

What differs: `\p{L}` and its kin, astral ranges written as surrogate pairs, `\z`, `\h`. AWS matches whole values.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable
from functools import cache
from itertools import groupby

from alonzo.protocol.linear_regex import LinearPattern, Unsupported, effort

_POSIX = {
    "Alpha": "a-zA-Z",
    "Digit": "0-9",
    "Alnum": "a-zA-Z0-9",
    "Upper": "A-Z",
    "Lower": "a-z",
    "Punct": r"!-/:-@\[-`{-~",
    "Graph": "!-~",
    "Print": " -~",
    "Blank": r" \t",
    "Space": r" \t\n\x0b\f\r",
    "Cntrl": r"\x00-\x1f\x7f",
    "XDigit": "0-9a-fA-F",
    "ASCII": r"\x00-\x7f",
}
_PROPERTY = re.compile(r"\\([pP])(?:\{(?:Is|general_category=)?(\w+)\}|(\w))")
#: Every astral character, as Java's pairs of surrogates say it inside a class.
_SURROGATES = re.compile(r"\\u[dD]800\\u[dD][cC]00-\\u[dD][bB][fF][fF]\\u[dD][fF][fF][fF]")
#: Up to here, in characters, Python's matcher is quick with any pattern that has no repeat within a repeat.
SAFE_LENGTH = 256
#: Longer values fail a pattern with several repeats. No such pattern of a model is for values nearly as long.
MAX_LENGTH = 16_384
#: Values for patterns that only Python's matcher knows and that have a repeat within a repeat.
SHORT = 24


def compile_java(pattern: str) -> re.Pattern[str] | None:
    """The pattern for `fullmatch`, or None where it has something that Python has no word for."""
    translated = _SURROGATES.sub(r"\\U00010000-\\U0010ffff", pattern)
    translated = translated.replace(r"\z", r"\Z").replace(r"\h", r"[ \t]")
    try:
        translated = _properties(translated)
        with warnings.catch_warnings():
            # Java's sets may hold what Python announces to mean otherwise one day.
            warnings.simplefilter("ignore")
            return re.compile(translated)
    except (re.error, KeyError, OverflowError, RecursionError):
        return None


def _properties(pattern: str) -> str:
    out: list[str] = []
    at, in_class = 0, False
    while at < len(pattern):
        found = _PROPERTY.match(pattern, at)
        if found is not None:
            negated = found.group(1) == "P"
            ranges = _ranges(found.group(2) or found.group(3), negated)
            out.append(ranges if in_class else f"[{ranges}]")
            at = found.end()
            continue
        if pattern[at] == "\\":
            out.append(pattern[at : at + 2])
            at += 2
            if in_class and out[-1][1:] in tuple("wWdDsS") and pattern[at : at + 1] == "-":
                # A hyphen after a set such as \w is a hyphen in Java, a bad range in Python.
                out.append(r"\-")
                at += 1
            continue
        if pattern[at] == "[" and not in_class:
            in_class = True
        elif pattern[at] == "]" and in_class:
            in_class = False
        elif pattern[at] == "[" and in_class:
            # A set within a set is a union in Java, a bracket in Python.
            raise KeyError("nested set")
        out.append(pattern[at])
        at += 1
    return "".join(out)


#: Nothing but unassigned and private-use characters lies in these: they are not looked at one by one.
_EMPTY = (
    (0x323B0, 0xDFFFF, "Cn"),
    (0xE01F0, 0xEFFFF, "Cn"),
    (0xF0000, 0xFFFFD, "Co"),
    (0x100000, 0x10FFFD, "Co"),
    (0x10FFFE, 0x10FFFF, "Cn"),
)


@cache
def _runs() -> tuple[tuple[int, int, str], ...]:
    """Every run of characters with one category, as (first, last, category). One pass, some 40 ms."""
    category = unicodedata.category
    found: list[tuple[int, int, str]] = []
    at = 0
    for first, last, name in _EMPTY:
        for kind, run in groupby(range(at, first), lambda code: category(chr(code))):
            codes = list(run)
            found.append((codes[0], codes[-1], kind))
        found.append((first, last, name))
        at = last + 1
    return tuple(found)


@cache
def _ranges(name: str, negated: bool) -> str:
    """The characters of a Unicode category (or POSIX class), as the inside of a set."""
    if name in _POSIX and not negated:
        return _POSIX[name]
    if name in _POSIX or len(name) > 2:
        raise KeyError(name)
    merged: list[list[int]] = []
    for first, last, category in _runs():
        if category.startswith(name) is negated:
            continue
        if merged and merged[-1][1] == first - 1:
            merged[-1][1] = last
        else:
            merged.append([first, last])
    if not merged:
        raise KeyError(name)
    return "".join(f"\\U{a:08x}" if a == b else f"\\U{a:08x}-\\U{b:08x}" for a, b in merged)


def pattern_test(pattern: str) -> Callable[[str], bool] | None:
    """Whether a whole value satisfies a model's pattern; None where it cannot be expressed here.

    No value, however made, keeps the matcher busy: what could, goes to the one that is linear.
    """
    compiled = compile_java(pattern)
    if compiled is None:
        return None
    matches = compiled.fullmatch
    grows = effort(compiled.pattern)
    if grows == 0:
        return lambda value: matches(value) is not None
    safe_length = SAFE_LENGTH if grows == 1 else 0
    linear: list[LinearPattern | None] = []

    def test(value: str) -> bool:
        if len(value) <= safe_length:
            return matches(value) is not None
        if len(value) > MAX_LENGTH:
            return False
        if not linear:
            linear.append(_linear(compiled.pattern))
        if linear[0] is None:
            return len(value) <= SHORT and matches(value) is not None
        return linear[0].matches(value)

    return test


def _linear(pattern: str) -> LinearPattern | None:
    try:
        return LinearPattern(pattern)
    except Unsupported:
        return None
