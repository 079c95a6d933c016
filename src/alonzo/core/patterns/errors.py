"""What is wrong with a pattern."""

from __future__ import annotations


class PatternError(ValueError):
    """A pattern that is no pattern.

    `code` and `message` are what the dialect's service answers; `reason` is the fault alone, with its place.
    """

    def __init__(self, code: str, message: str, reason: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason


class Fault(Exception):
    """A fault found while compiling; `PatternError` tells it in the dialect's words."""


class TooComplex(Fault):
    """A fault of the whole pattern, which has no place."""
