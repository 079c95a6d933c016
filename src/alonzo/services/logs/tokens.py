"""Page tokens hold where a listing goes on, and what was asked: one cannot be used for another question."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from typing import Any

import orjson

from alonzo.core.errors import ServiceError


def write_token(scope: Sequence[Any], place: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([_digest(scope), *place])).decode()


def read_token(token: str | None, scope: Sequence[Any]) -> list[Any] | None:
    """Where to go on; None without a token. Raises InvalidParameterException."""
    if token is None:
        return None
    try:
        digest, *place = orjson.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError):
        raise invalid_token() from None
    if digest != _digest(scope) or not place:
        raise invalid_token()
    return list(place)


def invalid_token() -> ServiceError:
    return ServiceError("InvalidParameterException", "The specified nextToken is invalid.")


def _digest(scope: Sequence[Any]) -> int:
    return zlib.crc32(orjson.dumps(list(scope)))
