"""What can go wrong between a function's configuration and its root tree."""

from __future__ import annotations


class RuntimesError(Exception):
    """Base of this package's errors."""


class RuntimeUnavailable(RuntimesError):
    """A managed runtime cannot be used on this machine, now.

    `str(error)` is one or two plain sentences, fit for a function's StateReason; `mend` alone says what helps.
    """

    def __init__(self, runtime: str, why: str, mend: str = "") -> None:
        self.runtime = runtime
        self.why = why
        self.mend = mend
        super().__init__(f"{why} {mend}".strip())


class CodeError(RuntimesError):
    """A package cannot be used; `code` and `message` are AWS's own where AWS has some."""

    def __init__(self, message: str, code: str = "InvalidParameterValueException") -> None:
        self.code = code
        self.message = message
        super().__init__(message)
