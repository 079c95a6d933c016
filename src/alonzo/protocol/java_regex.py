r"""Regular expressions of the models, which are Java's, as Python's.

What differs: `\p{L}` and its kin, astral ranges written as surrogate pairs, `\z`, `\h`. AWS matches whole values.
"""

from __future__ import annotations

import re
import sys
import unicodedata
import warnings
from functools import cache
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

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
#: Values longer than this are not given to a pattern that could take exponential time.
RISKY_LENGTH = 2_048


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


@cache
def _ranges(name: str, negated: bool) -> str:
    """The characters of a Unicode category (or POSIX class), as the inside of a set. Some 20 ms once for each."""
    if name in _POSIX and not negated:
        return _POSIX[name]
    if name in _POSIX or len(name) > 2:
        raise KeyError(name)
    found: list[str] = []
    start: int | None = None
    category = unicodedata.category
    for code in range(sys.maxunicode + 2):
        inside = code <= sys.maxunicode and category(chr(code)).startswith(name) is not negated
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            found.append(f"\\U{start:08x}" if start == code - 1 else f"\\U{start:08x}-\\U{code - 1:08x}")
            start = None
    if not found:
        raise KeyError(name)
    return "".join(found)


def is_risky(pattern: str) -> bool:
    """Whether an unbounded repeat lies within another, so that a match may take exponential time."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _nested(_parser.parse(pattern), inside=False)
    except (re.error, RecursionError):
        return True


def _nested(items: Any, *, inside: bool) -> bool:
    for operator, argument in items:
        if operator in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            unbounded = argument[1] is _constants.MAXREPEAT or argument[1] > 64
            if unbounded and inside:
                return True
            if _nested(argument[2], inside=inside or unbounded):
                return True
        elif operator is _constants.SUBPATTERN:
            if _nested(argument[3], inside=inside):
                return True
        elif operator is _constants.BRANCH:
            if any(_nested(branch, inside=inside) for branch in argument[1]):
                return True
        elif operator in (_constants.ASSERT, _constants.ASSERT_NOT) and _nested(argument[1], inside=inside):
            return True
    return False
