"""Page tokens: where a listing goes on."""

from __future__ import annotations

import base64
import binascii
import json

from alonzo.services.sns.errors import invalid


def write_token(*place: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def read_token(token: str | None, length: int) -> tuple[str, ...]:
    """Empty texts without a token. Raises InvalidParameter."""
    if not token:
        return ("",) * length
    try:
        place = json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, RecursionError):
        raise invalid("NextToken") from None
    if not isinstance(place, list) or len(place) != length or not all(isinstance(one, str) for one in place):
        raise invalid("NextToken")
    return tuple(place)
