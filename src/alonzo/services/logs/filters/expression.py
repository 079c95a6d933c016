"""Conditions joined by && and ||: the inside of `{ … }` patterns, and of each field of `[ … ]` patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from alonzo.services.logs.filters import values
from alonzo.services.logs.filters.errors import invalid
from alonzo.services.logs.filters.regex import compile_regex

#: Decides about an event: a parsed JSON document, or a mapping of fields.
Condition = Callable[[Any], bool]
#: Finds the values that a selector names in an event.
Lookup = Callable[[Any], Sequence[Any]]

MAX_DEPTH = 50
#: Source: "There is a limit of 2 regex for each filter pattern" (FilterAndPatternSyntax, quotas).
MAX_REGEXES = 2

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<op>&&|\|\||!=|<=|>=|[()=<>])
    | "(?P<string>(?:[^"\\]|\\.)*)"
    | %(?P<regex>(?:[^%\\]|\\.)*)%
    | (?P<selector>\$[^\s()=!<>&|"%]*(?:\['[^']*'\][^\s()=!<>&|"%]*)*)
    | (?P<word>[^\s()=!<>&|"%$]+)
    )""",
    re.VERBOSE | re.DOTALL,
)


def unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


class Parser:
    """Recursive descent: `or` binds weaker than `and`; parentheses nest up to MAX_DEPTH."""

    def __init__(self, source: str, selector: Callable[[str], Lookup], *, words_select: bool = False) -> None:
        self._selector = selector
        self._words_select = words_select
        self._tokens = _tokenize(source)
        self._at = 0
        if sum(kind == "regex" for kind, _ in self._tokens) > MAX_REGEXES:
            raise invalid(f"at most {MAX_REGEXES} regular expressions are supported in a pattern.")

    def parse(self) -> Condition:
        condition = self._either(0)
        if self._at < len(self._tokens):
            raise invalid(f"'{self._tokens[self._at][1]}' was not expected.")
        return condition

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise invalid("it ends too early.")
        self._at += 1
        return self._tokens[self._at - 1]

    def _accept(self, operator: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == ("op", operator):
            self._at += 1
            return True
        return False

    def _either(self, depth: int) -> Condition:
        found = [self._all(depth)]
        while self._accept("||"):
            found.append(self._all(depth))
        return found[0] if len(found) == 1 else lambda event: any(one(event) for one in found)

    def _all(self, depth: int) -> Condition:
        found = [self._one(depth)]
        while self._accept("&&"):
            found.append(self._one(depth))
        return found[0] if len(found) == 1 else lambda event: all(one(event) for one in found)

    def _one(self, depth: int) -> Condition:
        if self._accept("("):
            if depth >= MAX_DEPTH:
                raise invalid(f"parentheses nest deeper than {MAX_DEPTH}.")
            condition = self._either(depth + 1)
            if not self._accept(")"):
                raise invalid("a parenthesis is not closed.")
            return condition
        kind, text = self._next()
        if kind != "selector" and not (self._words_select and kind == "word"):
            raise invalid(f"'{text}' is no selector.")
        lookup = self._selector(text)
        kind, operator = self._next()
        if kind == "word":
            return self._postfix(lookup, operator)
        if kind != "op" or operator in ("(", ")", "&&", "||"):
            raise invalid(f"'{operator}' is no comparison.")
        test = values.any_of(self._test(operator))
        return lambda event: test(lookup(event))

    def _test(self, operator: str) -> values.Test:
        kind, text = self._next()
        if kind == "regex":
            search = compile_regex(text)
            if operator not in ("=", "!="):
                raise invalid(f"'{operator}' cannot compare with a regular expression.")
            wanted = operator == "="

            def test(value: Any) -> bool:
                found = values.text_of(value)
                return search(found) is wanted if found is not None else not wanted

            return test
        if kind not in ("string", "word"):
            raise invalid(f"'{text}' is no value.")
        if operator == "=":
            return values.equals(text, quoted=kind == "string")
        if operator == "!=":
            return values.not_equals(text, quoted=kind == "string")
        number = values.number_in(text)
        if number is None:
            raise invalid(f"'{operator}' needs a number, not '{text}'.")
        return values.ordered(operator, number)

    def _postfix(self, lookup: Lookup, first: str) -> Condition:
        """IS NULL, IS TRUE, IS FALSE, NOT EXISTS, EXISTS."""
        if first.upper() == "EXISTS":
            return lambda event: bool(lookup(event))
        kind, second = self._next()
        phrase = f"{first} {second}".upper()
        if kind != "word" or phrase not in ("IS NULL", "IS TRUE", "IS FALSE", "NOT EXISTS"):
            raise invalid(f"'{first} {second}' is no comparison.")
        if phrase == "NOT EXISTS":
            return lambda event: not lookup(event)
        wanted = {"IS NULL": None, "IS TRUE": True, "IS FALSE": False}[phrase]
        return lambda event: any(value is wanted for value in lookup(event))


def _tokenize(source: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = 0
    source = source.strip()
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None or match.end() == at or match.lastgroup is None:
            raise invalid(f"'{source[at : at + 20]}' was not understood.")
        text = match[match.lastgroup]
        tokens.append((match.lastgroup, unescape(text) if match.lastgroup == "string" else text))
        at = match.end()
    return tokens
