"""What S3's schema wants of a body: members that must be there. Its operations check all else themselves.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (MalformedXML, MissingRequestBodyError)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alonzo.core.errors import ServiceError
from alonzo.protocol.model import Shape
from alonzo.protocol.problems import MALFORMED_XML

Complete = Callable[[Any], bool]


def body_check(shape: Shape) -> Callable[[Any, str, list[str]], None] | None:
    """A check for `validate`, which raises S3's own errors; None where the operation's body has no structure."""
    payload = shape.payload
    member = shape.members.get(payload) if payload is not None else None
    if payload is None or member is None or member.type != "structure":
        return None
    needed, complete = payload in shape.required, _complete(member, {})

    def check(value: Any, _path: str, _problems: list[str]) -> None:
        body = value.get(payload)
        if body is None:
            if needed:
                raise ServiceError("MissingRequestBodyError", "Request Body is empty")
        elif complete is not None and not complete(body):
            raise ServiceError("MalformedXML", MALFORMED_XML)

    return check


def _complete(shape: Shape, memo: dict[Any, Complete | None]) -> Complete | None:
    """Whether a value has all required members, however deep; None where nothing is required."""
    key = shape.key
    if key in memo:
        return memo[key]

    def later(value: Any) -> bool:
        found = memo[key]
        return found is None or found(value)

    memo[key] = later
    memo[key] = _structure(shape, memo) if shape.type == "structure" else _list(shape, memo)
    return memo[key]


def _structure(shape: Shape, memo: dict[Any, Complete | None]) -> Complete | None:
    required = shape.required
    inner = [
        (name, test)
        for name, member in shape.members.items()
        if member.type in ("structure", "list") and (test := _complete(member, memo)) is not None
    ]
    if not required and not inner:
        return None

    def complete(value: Any) -> bool:
        if any(value.get(name) is None for name in required):
            return False
        return all(test(value[name]) for name, test in inner if value.get(name) is not None)

    return complete


def _list(shape: Shape, memo: dict[Any, Complete | None]) -> Complete | None:
    member = shape.member
    test = _complete(member, memo) if member.type in ("structure", "list") else None
    return None if test is None else lambda value: all(test(item) for item in value)
