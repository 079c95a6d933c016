"""What is wrong with a pattern."""

from __future__ import annotations

from alonzo.core.errors import ServiceError


def invalid(reason: str) -> ServiceError:
    return ServiceError("InvalidParameterException", f"Invalid filter pattern: {reason}")
