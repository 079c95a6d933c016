"""Continuation tokens: opaque to clients, the last key seen to us."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson

from alonzo.services.lambda_.errors import invalid

T = TypeVar("T")


def encode(key: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(list(key))).decode()


def decode(token: str | None, start: tuple[Any, ...]) -> tuple[Any, ...]:
    """The key in a token, or `start`. Raises for a token that is not ours."""
    if not token:
        return start
    try:
        key = orjson.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise invalid("The pagination token is not valid.") from error
    if not isinstance(key, list) or [type(part) for part in key] != [type(part) for part in start]:
        raise invalid("The pagination token is not valid.")
    return tuple(key)


def page(items: Sequence[T], limit: int, key: Callable[[T], Sequence[Any]]) -> tuple[Sequence[T], str | None]:
    """The first `limit` of `items` (which holds one more where there is more) and the token that goes on after them."""
    if len(items) <= limit:
        return items, None
    return items[:limit], encode(key(items[limit - 1]))
