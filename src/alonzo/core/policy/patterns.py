"""Wildcards and policy variables, matched in time that does not depend on how cunning the pattern is.

Between two `*` a pattern is a plain run of characters (and `?`), found leftmost first; nothing is ever tried twice.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html and _variables.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

#: What a context key's values are: None where the request has no such key.
Lookup = Callable[[str], Sequence[str] | None]


class Wild(Enum):
    """A wildcard inside a pattern."""

    STAR = "*"
    ONE = "?"


class Variable(NamedTuple):
    """`${key}` or `${key, 'default'}`."""

    key: str
    default: str | None


Token = str | Wild | Variable
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_DEFAULT = re.compile(r"([^,]*?)\s*,\s*'([^']*)'\s*")


def tokenize(text: str, *, variables: bool) -> tuple[Token, ...]:
    """Split into literal text, wildcards and (from version 2012-10-17 on) variables. `${*}` is a literal star."""
    tokens: list[Token] = []
    at = 0
    for found in _VARIABLE.finditer(text) if variables else ():
        _literal(text[at : found.start()], tokens)
        inside = found.group(1).strip()
        if inside in ("*", "?", "$"):
            tokens.append(inside)
        else:
            default = _DEFAULT.fullmatch(inside)
            tokens.append(
                Variable(default.group(1).lower(), default.group(2)) if default else Variable(inside.lower(), None)
            )
        at = found.end()
    _literal(text[at:], tokens)
    return tuple(tokens)


def _literal(text: str, tokens: list[Token]) -> None:
    for part in re.split(r"([*?])", text):
        if part == "*":
            tokens.append(Wild.STAR)
        elif part == "?":
            tokens.append(Wild.ONE)
        elif part:
            tokens.append(part)


def substitute(tokens: Sequence[Token], lookup: Lookup) -> list[Token] | None:
    """Put values in the place of variables, as literal text. None where one has no value (and no default)."""
    done: list[Token] = []
    for token in tokens:
        if isinstance(token, Variable):
            values = lookup(token.key)
            if values is not None and len(values) == 1:
                done.append(values[0])
            elif token.default is not None and values is None:
                done.append(token.default)
            else:
                return None
        else:
            done.append(token)
    return done


Matcher = Callable[[str], bool]


def matcher(tokens: Sequence[Token], *, fold: bool = False) -> Matcher:
    """A function that says whether a whole text matches. With `fold`, the text must come in lower case."""
    runs: list[list[str | Wild]] = [[]]
    for token in tokens:
        if token is Wild.STAR:
            runs.append([])
        elif isinstance(token, str):
            runs[-1].append(token.lower() if fold else token)
        elif token is Wild.ONE:
            runs[-1].append(token)
    if len(runs) == 1:
        return _whole(runs[0])
    if all(Wild.ONE not in run for run in runs):
        return _literal_runs(["".join(str(part) for part in run) for run in runs])
    return _pattern_runs(runs)


def _whole(run: list[str | Wild]) -> Matcher:
    if Wild.ONE not in run:
        literal = "".join(str(part) for part in run)
        return lambda text: text == literal
    pattern = _run_pattern(run)
    return lambda text: pattern.fullmatch(text) is not None


def _literal_runs(runs: list[str]) -> Matcher:
    first, *middle, last = runs
    middle = [run for run in middle if run]
    if not middle and not last:
        return (lambda text: True) if not first else (lambda text: text.startswith(first))
    least = len(first) + len(last) + sum(map(len, middle))

    def match(text: str) -> bool:
        if len(text) < least or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for run in middle:
            found = text.find(run, at, end)
            if found < 0:
                return False
            at = found + len(run)
        return True

    return match


def _run_pattern(run: list[str | Wild]) -> re.Pattern[str]:
    """A run without stars has a fixed length, so that this regular expression cannot backtrack."""
    return re.compile("".join("." if part is Wild.ONE else re.escape(str(part)) for part in run), re.DOTALL)


def _pattern_runs(runs: list[list[str | Wild]]) -> Matcher:
    sizes = [sum(1 if part is Wild.ONE else len(str(part)) for part in run) for run in runs]
    patterns = [_run_pattern(run) for run in runs]
    first, last = patterns[0], patterns[-1]
    middle = [(pattern, size) for pattern, size in zip(patterns[1:-1], sizes[1:-1], strict=True) if size]
    least = sum(sizes)

    def match(text: str) -> bool:
        end = len(text) - sizes[-1]
        if len(text) < least or first.match(text) is None or last.match(text, end) is None:
            return False
        at = sizes[0]
        for pattern, size in middle:
            found = pattern.search(text, at, end)
            if found is None:
                return False
            at = found.start() + size
        return True

    return match


def split_arn(tokens: Sequence[Token]) -> list[list[Token]] | None:
    """The six segments of an ARN pattern; None where it has fewer (as `*`)."""
    segments: list[list[Token]] = [[]]
    for token in tokens:
        if not isinstance(token, str):
            segments[-1].append(token)
            continue
        parts = token.split(":", 6 - len(segments))
        for index, part in enumerate(parts):
            if index:
                segments.append([])
            if part:
                segments[-1].append(part)
    return segments if len(segments) == 6 else None


def arn_matcher(tokens: Sequence[Token]) -> Matcher:
    """Match an ARN segment by segment: a wildcard does not reach over a colon, except in the last segment."""
    segments = split_arn(tokens)
    if segments is None:
        return matcher(tokens)
    if all(isinstance(token, str) for segment in segments[:5] for token in segment):
        prefix = ":".join("".join(str(token) for token in segment) for segment in segments[:5]) + ":"
        rest = matcher(segments[5])
        size = len(prefix)
        return lambda text: text.startswith(prefix) and rest(text[size:])
    parts = [matcher(segment) for segment in segments]

    def match(text: str) -> bool:
        values = text.split(":", 5)
        return len(values) == 6 and all(part(value) for part, value in zip(parts, values, strict=True))

    return match


class Pattern:
    """A pattern of a policy, compiled once; those with variables are completed for each request."""

    __slots__ = ("_fixed", "_make", "_tokens", "text")

    def __init__(self, text: str, *, variables: bool, arn: bool = False, fold: bool = False) -> None:
        self.text = text
        self._tokens = tokenize(text, variables=variables)
        self._make: Callable[[Sequence[Token]], Matcher] = (
            arn_matcher if arn else (lambda tokens: matcher(tokens, fold=fold))
        )
        self._fixed = None if any(isinstance(token, Variable) for token in self._tokens) else self._make(self._tokens)

    @property
    def dynamic(self) -> bool:
        return self._fixed is None

    def matches(self, text: str, lookup: Lookup) -> bool:
        """A variable without a value matches nothing."""
        if self._fixed is not None:
            return self._fixed(text)
        tokens = substitute(self._tokens, lookup)
        return tokens is not None and self._make(tokens)(text)


def expand(text: str, lookup: Lookup, *, variables: bool) -> str | None:
    """A condition's value with its variables replaced, wildcards as plain characters."""
    if not variables or "${" not in text:
        return text
    tokens = substitute(tokenize(text, variables=True), lookup)
    if tokens is None:
        return None
    return "".join(token.value if isinstance(token, Wild) else str(token) for token in tokens)
