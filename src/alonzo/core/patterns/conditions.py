"""What one leaf of an event is asked.

A leaf is a JSON scalar: str, int, float, bool or None. Every test is linear in the leaf's length.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from ipaddress import IPv4Network, IPv6Network

from alonzo.core.patterns.errors import Fault, TooComplex

Test = Callable[[object], bool]

#: Numbers are compared between these bounds only, exact to six digits after the point.
_BOUND = Decimal(5_000_000_000)
_SCALE = Decimal(1_000_000)
#: Wildcards of one pattern that the same character may follow: AWS refuses `*:*:*:*:*:event-bus/*`, and does not say
#: where it begins. Matching here is linear all the same.
_MAX_ALIKE = 4


def comparable(value: object) -> int | None:
    """A number as AWS compares it: millionths; None where it is no number or out of bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        number = Decimal(repr(value))
    elif abs(value) > 5_000_000_000:
        return None
    else:
        return value * 1_000_000
    if abs(number) > _BOUND:
        return None
    return math.floor(number * _SCALE)


def bounded(text: str) -> int:
    """A pattern's number, in millionths. Raises Fault when it is out of bounds."""
    number = _decimal(text)
    if number is None:
        raise Fault("Value must be between -5.0E9 and 5.0E9, inclusive")
    return math.floor(number * _SCALE)


def _decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    # An exponent of a million digits would be a number of a million digits.
    if not number.is_finite() or number.adjusted() > 10 or abs(number) > _BOUND:
        return None
    return number if number.adjusted() > -40 else Decimal(0)


def exactly(value: str | bool | None) -> Test:
    if isinstance(value, str):
        return lambda leaf: leaf == value
    return lambda leaf: leaf is value


def number(text: str) -> Test:
    """As AWS does: by value within the bounds; a greater number as it is written."""
    bound = _decimal(text)
    if bound is not None:
        wanted = math.floor(bound * _SCALE)
        return lambda leaf: comparable(leaf) == wanted
    written = text

    def same(leaf: object) -> bool:
        if isinstance(leaf, bool) or not isinstance(leaf, int | float):
            return False
        return (
            (str(leaf) if abs(leaf) < 10**1000 else "") == written if isinstance(leaf, int) else repr(leaf) == written
        )

    return same


def prefix(text: str, *, ignore_case: bool = False) -> Test:
    if ignore_case:
        folded = text.lower()
        return lambda leaf: isinstance(leaf, str) and leaf.lower().startswith(folded)
    return lambda leaf: isinstance(leaf, str) and leaf.startswith(text)


def suffix(text: str, *, ignore_case: bool = False) -> Test:
    if ignore_case:
        folded = text.lower()
        return lambda leaf: isinstance(leaf, str) and leaf.lower().endswith(folded)
    return lambda leaf: isinstance(leaf, str) and leaf.endswith(text)


def equals_ignore_case(text: str) -> Test:
    folded = text.lower()
    return lambda leaf: isinstance(leaf, str) and leaf.lower() == folded


def present(_leaf: object) -> bool:
    return True


def within(low: int | None, high: int | None, *, open_low: bool = False, open_high: bool = False) -> Test:
    """Between two bounds in millionths; None is no bound."""

    def test(leaf: object) -> bool:
        value = comparable(leaf)
        if value is None:
            return False
        if low is not None and (value <= low if open_low else value < low):
            return False
        return high is None or (value < high if open_high else value <= high)

    return test


def none_of(tests: Sequence[Test]) -> Test:
    return lambda leaf: not any(test(leaf) for test in tests)


def not_in(strings: frozenset[str], numbers: frozenset[int]) -> Test:
    def test(leaf: object) -> bool:
        if isinstance(leaf, str):
            return leaf not in strings
        return not numbers or comparable(leaf) not in numbers

    return test


def cidr(text: str) -> Test:
    """An address in a block. Raises Fault with AWS's text."""
    network = _network(text)

    def test(leaf: object) -> bool:
        # No address is longer; parsing is not linear in what is no address.
        if not isinstance(leaf, str) or len(leaf) > 45:
            return False
        try:
            address = ipaddress.ip_address(leaf)
        except ValueError:
            return False
        return address.version == network.version and address in network

    return test


def _network(text: str) -> IPv4Network | IPv6Network:
    parts = text.split("/")
    if len(parts) != 2:
        raise Fault("Malformed CIDR, one '/' required")
    if not parts[1].removeprefix("-").isascii() or not parts[1].removeprefix("-").isdigit() or len(parts[1]) > 9:
        raise Fault("Malformed CIDR, mask bits must be an integer")
    bits = int(parts[1])
    if bits < 0:
        raise Fault("Malformed CIDR, mask bits must not be negative")
    try:
        address = ipaddress.ip_address(parts[0][:46])
    except ValueError:
        raise Fault(f"Nonstandard IP address: {parts[0]}") from None
    if bits > address.max_prefixlen:
        raise Fault(f"IPv{address.version} mask bits must be < {address.max_prefixlen + 1}")
    return ipaddress.ip_network(f"{parts[0]}/{bits}", strict=False)


def wildcard(text: str) -> Test:
    r"""`*` is any text, `\*` a star, `\\` a backslash. Raises Fault with AWS's text.

    The parts between the stars are sought one after the other, each as far left as it goes: that is complete, and no
    part is ever sought twice.
    """
    parts = _wildcard_parts(text)
    _check_complexity(parts)
    first, last, middle = parts[0], parts[-1], parts[1:-1]
    if len(parts) == 1:
        return lambda leaf: leaf == first

    def test(leaf: object) -> bool:
        if not isinstance(leaf, str) or len(leaf) < len(first) + len(last):
            return False
        if not (leaf.startswith(first) and leaf.endswith(last)):
            return False
        at, end = len(first), len(leaf) - len(last)
        for part in middle:
            at = leaf.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True

    return test


def _check_complexity(parts: Sequence[str]) -> None:
    following = [part[:1] for part in parts[1:]]
    if any(following.count(char) > _MAX_ALIKE for char in set(following)):
        raise TooComplex(
            "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a"
            " wildcard character"
        )


def _wildcard_parts(text: str) -> list[str]:
    parts: list[list[str]] = [[]]
    position, index = 1, 0  # AWS counts bytes, and the quote that it puts in front
    while index < len(text):
        char = text[index]
        following = text[index + 1 : index + 2]
        if char == "*":
            if following == "*":
                raise Fault(f"Consecutive wildcard characters at pos {position}")
            parts.append([])
        elif char == "\\":
            if following not in ("*", "\\"):
                raise Fault(f"Invalid escape character at pos {position}")
            parts[-1].append(following)
            index += 1
            position += 1
        else:
            parts[-1].append(char)
        index += 1
        position += len(char.encode("utf-8", "surrogatepass"))
    return ["".join(part) for part in parts]
