"""Match expressions: `{"prefix": "a"}`, `{"numeric": [">", 0, "<=", 5]}`, `{"anything-but": …}` and the others."""

from __future__ import annotations

from collections.abc import Callable

from alonzo.core.patterns import conditions
from alonzo.core.patterns.conditions import Test
from alonzo.core.patterns.errors import Fault, TooComplex
from alonzo.core.patterns.tokens import Tokens

_ONE_KEY = "Only one key allowed in match expression"
_TOO_MANY = "Too many elements in numeric expression"


def expression(tokens: Tokens) -> Test | None:
    """The expression whose brace has just been opened, to its end; None asks for absence."""
    if tokens.advance() != "name":
        tokens.fail("Match expression name not found")
    name = tokens.name
    kind = tokens.advance() if name in _KNOWN else ""
    if name in ("prefix", "suffix"):
        return _affix(tokens, name, kind)
    if name == "numeric":
        if kind != "[":
            tokens.fail("Value of numeric must be an array.")
        test = _numeric(tokens)
        _close(tokens, _TOO_MANY)
        return test
    if name == "anything-but":
        return _anything_but(tokens, kind)
    if name == "exists":
        if kind not in ("true", "false"):
            tokens.fail("exists match pattern must be either true or false.")
        _close(tokens)
        return conditions.present if kind == "true" else None
    if name not in _SIMPLE:
        tokens.fail(f"Unrecognized match type {name}")
    make, what = _SIMPLE[name]
    if kind != "string":
        tokens.fail(f"{what} match pattern must be a string")
    text = tokens.text
    test = _made(tokens, make, text) if name == "wildcard" else make(text)
    _close(tokens)
    return test


_SIMPLE: dict[str, tuple[Callable[[str], Test], str]] = {
    "exactly": (conditions.exactly, "exact"),
    "equals-ignore-case": (conditions.equals_ignore_case, "equals-ignore-case"),
    "wildcard": (conditions.wildcard, "wildcard"),
    "cidr": (conditions.cidr, "prefix"),  # AWS's text says prefix
}
_KNOWN = frozenset({*_SIMPLE, "prefix", "suffix", "numeric", "anything-but", "exists"})


def _close(tokens: Tokens, message: str = _ONE_KEY) -> None:
    if tokens.advance() != "}":
        tokens.fail(message)


def _made(tokens: Tokens, make: Callable[[str], Test], text: str) -> Test:
    try:
        return make(text)
    except TooComplex:
        raise
    except Fault as fault:
        tokens.fail(str(fault))


def _affix(tokens: Tokens, name: str, kind: str) -> Test:
    make = conditions.prefix if name == "prefix" else conditions.suffix
    if kind == "{":
        if tokens.advance() != "name":
            tokens.fail(f"{name.capitalize()} expression name not found")
        if tokens.name != "equals-ignore-case":
            tokens.fail(f"Unsupported {name} pattern: {tokens.name}")
        if tokens.advance() != "string":
            tokens.fail("equals-ignore-case match pattern must be a string")
        text = tokens.text
        _close(tokens)
        _close(tokens)
        return make(text, ignore_case=True)
    if kind != "string":
        tokens.fail(f"{name} match pattern must be a string")
    text = tokens.text
    _close(tokens)
    return make(text)


# -- numeric ----------------------------------------------------------------------------------------------------------


def _numeric(tokens: Tokens) -> Test:
    if tokens.advance() != "string":
        tokens.fail(f"Invalid member in numeric match: {tokens.text}")
    operator = tokens.text
    kind = tokens.advance()
    if operator not in ("=", ">=", ">", "<=", "<"):
        tokens.fail(f"Unrecognized numeric range operator: {operator}")
    if kind != "number":
        tokens.fail(f"Value of {'equals' if operator == '=' else operator} must be numeric")
    text = tokens.text
    kind = tokens.advance()
    if operator in (">=", ">") and kind != "]":
        return _range(tokens, kind, text, open_low=operator == ">")
    if kind != "]":
        tokens.fail(_TOO_MANY)
    value = _bound(tokens, text)
    if operator == "=":
        return conditions.within(value, value)
    if operator in (">=", ">"):
        return conditions.within(value, None, open_low=operator == ">")
    return conditions.within(None, value, open_high=operator == "<")


def _range(tokens: Tokens, kind: str, text: str, *, open_low: bool) -> Test:
    if kind != "string":
        tokens.fail(f"Bad value in numeric range: {tokens.text}")
    operator = tokens.text
    if operator not in ("<", "<="):
        tokens.fail(f"Bad numeric range operator: {operator}")
    if tokens.advance() != "number":
        tokens.fail(f"Value of {operator} must be numeric")
    top = tokens.text
    if tokens.advance() != "]":
        tokens.fail("Too many terms in numeric range expression")
    low, high = _bound(tokens, text), _bound(tokens, top)
    if low >= high:
        tokens.fail("Bottom must be less than top")
    return conditions.within(low, high, open_low=open_low, open_high=operator == "<")


def _bound(tokens: Tokens, text: str) -> int:
    try:
        return conditions.bounded(text)
    except Fault as fault:
        tokens.fail(str(fault))


# -- anything-but -----------------------------------------------------------------------------------------------------

_BUT: dict[str, Callable[[str], Test]] = {
    "prefix": conditions.prefix,
    "suffix": conditions.suffix,
    "wildcard": conditions.wildcard,
    "equals-ignore-case": conditions.equals_ignore_case,
}
_BUT_STRING = {
    "prefix": "prefix/suffix match pattern must be a string",
    "suffix": "prefix/suffix match pattern must be a string",
    "wildcard": "wildcard match pattern must be a string",
    "equals-ignore-case": ("Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported."),
}


def _anything_but(tokens: Tokens, kind: str) -> Test:
    name = ""
    if kind == "{":
        if tokens.advance() != "name":
            tokens.fail("Anything-But expression name not found")
        name = tokens.name
        if name not in _BUT:
            tokens.fail(f"Unsupported anything-but pattern: {name}")
        kind = tokens.advance()
    if kind not in ("[", "string", "number"):
        tokens.fail("Value of anything-but must be an array or single string/number value.")
    test = _but_parts(tokens, kind, name) if name else _but_values(tokens, kind)
    _close(tokens, _TOO_MANY)
    if name:
        _close(tokens, _TOO_MANY)
    return test


def _but_values(tokens: Tokens, kind: str) -> Test:
    strings: set[str] = set()
    numbers: set[int] = set()
    if kind == "string":
        strings.add(tokens.text)
    elif kind == "number":
        numbers.add(conditions.bounded(tokens.text))
    else:
        try:
            while (kind := tokens.advance()) != "]":
                if kind == "string":
                    strings.add(tokens.text)
                elif kind == "number":
                    numbers.add(conditions.bounded(tokens.text))
                else:
                    tokens.fail("Inside anything but list, start|null|boolean is not supported.")
        except Fault as fault:
            tokens.fail(str(fault))  # AWS names the place twice
        if bool(strings) == bool(numbers):
            tokens.fail("Inside anything but list, either all values are number or string, mixed type is not supported")
    return conditions.not_in(frozenset(strings), frozenset(numbers))


def _but_parts(tokens: Tokens, kind: str, name: str) -> Test:
    if kind != "[":
        return conditions.none_of((_but_part(tokens, kind, name),))
    tests: list[Test] = []
    try:
        while (kind := tokens.advance()) != "]":
            tests.append(_but_part(tokens, kind, name))
    except TooComplex:
        raise
    except Fault as fault:
        tokens.fail(str(fault))  # AWS names the place twice
    return conditions.none_of(tests)


def _but_part(tokens: Tokens, kind: str, name: str) -> Test:
    if kind != "string":
        tokens.fail(_BUT_STRING[name])
    if name in ("prefix", "suffix") and not tokens.text:
        tokens.fail("Null prefix/suffix not allowed")
    return _made(tokens, _BUT[name], tokens.text)
