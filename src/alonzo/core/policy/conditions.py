"""The Condition element: every operator, with IfExists, ForAllValues and ForAnyValue.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html and
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from alonzo.core.policy.patterns import Lookup, Pattern, expand

#: Whether a request's value fits one of the policy's (which is expanded already).
Test = Callable[[str, str], bool]


@lru_cache(maxsize=1024)
def _number(text: str) -> Decimal | None:
    try:
        found = Decimal(text.strip()) if len(text) <= 64 else None
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() else None


@lru_cache(maxsize=1024)
def date(text: str) -> float | None:
    """Epoch seconds of an ISO 8601 date or of a number."""
    text = text.strip()
    try:
        return float(text) if text.lstrip("+-").replace(".", "", 1).isdigit() and len(text) != 4 else _iso(text)
    except (ValueError, OverflowError):
        return None


def _iso(text: str) -> float:
    if len(text) == 4:
        text += "-01-01"
    elif len(text) == 7:
        text += "-01"
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


@lru_cache(maxsize=1024)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return None


def _in_network(value: str, wanted: str) -> bool:
    network, address = _network(wanted), _network(value)
    if network is None or address is None or network.version != address.version:
        return False
    shift = network.max_prefixlen - network.prefixlen
    return address.prefixlen >= network.prefixlen and (
        int(address.network_address) >> shift == int(network.network_address) >> shift
    )


def _binary(value: str, wanted: str) -> bool:
    try:
        return base64.b64decode(value, validate=True) == base64.b64decode(wanted, validate=True)
    except (binascii.Error, ValueError):
        return False


def _numeric(compare: Callable[[Decimal, Decimal], bool]) -> Test:
    def test(value: str, wanted: str) -> bool:
        a, b = _number(value), _number(wanted)
        return a is not None and b is not None and compare(a, b)

    return test


def _dated(compare: Callable[[float, float], bool]) -> Test:
    def test(value: str, wanted: str) -> bool:
        a, b = date(value), date(wanted)
        return a is not None and b is not None and compare(a, b)

    return test


def _equal_folded(value: str, wanted: str) -> bool:
    return value.lower() == wanted.lower()


#: Operators that compare a value with a value; the name in lower case.
TESTS: dict[str, Test] = {
    "stringequals": lambda value, wanted: value == wanted,
    "stringequalsignorecase": _equal_folded,
    "numericequals": _numeric(lambda a, b: a == b),
    "numericlessthan": _numeric(lambda a, b: a < b),
    "numericlessthanequals": _numeric(lambda a, b: a <= b),
    "numericgreaterthan": _numeric(lambda a, b: a > b),
    "numericgreaterthanequals": _numeric(lambda a, b: a >= b),
    "dateequals": _dated(lambda a, b: a == b),
    "datelessthan": _dated(lambda a, b: a < b),
    "datelessthanequals": _dated(lambda a, b: a <= b),
    "dategreaterthan": _dated(lambda a, b: a > b),
    "dategreaterthanequals": _dated(lambda a, b: a >= b),
    "bool": _equal_folded,
    "binaryequals": _binary,
    "ipaddress": _in_network,
}
#: Operators whose values are patterns.
PATTERNS = frozenset({"stringlike", "arnequals", "arnlike"})
#: Negated operators and what they negate.
NEGATED = {
    "stringnotequals": "stringequals",
    "stringnotequalsignorecase": "stringequalsignorecase",
    "stringnotlike": "stringlike",
    "numericnotequals": "numericequals",
    "datenotequals": "dateequals",
    "notipaddress": "ipaddress",
    "arnnotequals": "arnequals",
    "arnnotlike": "arnlike",
}
OPERATORS = frozenset(TESTS) | PATTERNS | frozenset(NEGATED) | {"null"}


class UnknownOperator(ValueError):
    """A condition operator that there is not."""


class Condition:
    """One operator on one key."""

    __slots__ = ("_if_exists", "_key", "_matches", "_negated", "_null", "_set")

    def __init__(self, operator: str, key: str, values: Sequence[str], *, variables: bool) -> None:
        """Raises UnknownOperator."""
        self._key = key.lower()
        name = operator.lower()
        self._set = ""
        for prefix in ("forallvalues:", "foranyvalue:"):
            if name.startswith(prefix):
                self._set, name = prefix[:-1], name[len(prefix) :]
        self._if_exists = name.endswith("ifexists") and name != "ifexists"
        if self._if_exists:
            name = name[: -len("ifexists")]
        if name not in OPERATORS or (name == "null" and self._if_exists):
            raise UnknownOperator(operator)
        self._null = [value.lower() == "true" for value in values] if name == "null" else None
        self._negated = name in NEGATED
        self._matches = _matching(NEGATED.get(name, name), values, variables)

    def holds(self, lookup: Lookup) -> bool:
        found = lookup(self._key)
        if self._null is not None:
            return (found is None) in self._null
        if not found:
            return self._missing()
        matches, negated = self._matches, self._negated
        if self._set == "forallvalues":
            return all(matches(value, lookup) is not negated for value in found)
        if self._set == "foranyvalue":
            return any(matches(value, lookup) is not negated for value in found)
        return any(matches(value, lookup) for value in found) is not negated

    def _missing(self) -> bool:
        if self._set:
            return self._set == "forallvalues" or self._if_exists
        return self._if_exists or self._negated


def _matching(name: str, values: Sequence[str], variables: bool) -> Callable[[str, Lookup], bool]:
    """Whether a request's value fits any of the policy's values."""
    if name in PATTERNS:
        arn = name != "stringlike"
        patterns = [Pattern(value, variables=variables, arn=arn) for value in values]
        return lambda value, lookup: any(pattern.matches(value, lookup) for pattern in patterns)
    test = TESTS.get(name, _equal_folded)

    def matches(value: str, lookup: Lookup) -> bool:
        for wanted in values:
            expanded = expand(wanted, lookup, variables=variables)
            if expanded is not None and test(value, expanded):
                return True
        return False

    return matches
