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


class SyntaxFault(Fault):
    """What is no JSON. `place` is (line, column)."""

    def __init__(self, message: str, shown: str, place: tuple[int, int]) -> None:
        super().__init__(message + shown)
        self.message = message
        self.place = place

    @property
    def redacted(self) -> str:
        """The message with its place, and without the pattern."""
        return (
            f"{self.message}\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled);"
            f" line: {self.place[0]}, column: {self.place[1]}]"
        )


class TooComplex(Fault):
    """A fault of the whole pattern, which has no place."""
