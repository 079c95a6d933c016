"""Times as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment(text: str, now: float) -> float:
    """Seconds since the epoch of `10m`, `2h`, `3d` (ago), of a day, or of an ISO time. Raises BadParameter."""
    match = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if match:
        return now - int(match[1]) * _UNITS[match[2]]
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time. Write 10m, 2h, 3d, or 2026-01-31T12:00.") from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
