"""Concurrent executions: the account's, and what functions reserve of it. The only place that throttles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from alonzo.core.errors import ServiceError
from alonzo.engine.function import FunctionVersion


def throttled(reason: str) -> ServiceError:
    """Source: execution-environment contract §10 (recorded on AWS)."""
    return ServiceError(
        "TooManyRequestsException", "Rate Exceeded.", status=429, fields={"Reason": reason, "Type": "User"}
    )


@dataclass(slots=True)
class _Account:
    """One account in one region. `unreserved` runs are those of functions without a reservation."""

    unreserved: int = 0
    reserved: dict[str, int] = field(default_factory=dict)
    reserved_total: int = 0


@dataclass(slots=True)
class _Function:
    running: int = 0


class Concurrency:
    """Counts running invocations. A lease is a function that gives it back; calling it twice does nothing more."""

    def __init__(self, account_limit: int) -> None:
        self._limit = account_limit
        self._accounts: dict[tuple[str, str], _Account] = {}
        self._functions: dict[str, _Function] = {}

    def acquire(self, fv: FunctionVersion) -> Callable[[], None]:
        """Take one execution. Raises ServiceError TooManyRequestsException."""
        account = self._accounts.get((fv.account_id, fv.region))
        if account is None:
            account = self._accounts[(fv.account_id, fv.region)] = _Account()
        function = self._functions.get(fv.arn)
        if function is None:
            function = self._functions[fv.arn] = _Function()
        reserved = fv.reserved_concurrency
        if account.reserved.get(fv.arn) != reserved:
            self._reserve(account, fv.arn, reserved)
        if reserved is not None:
            if function.running >= reserved:
                raise throttled("ReservedFunctionConcurrentInvocationLimitExceeded")
        elif account.unreserved >= self._limit - account.reserved_total:
            raise throttled("ConcurrentInvocationLimitExceeded")
        else:
            account.unreserved += 1
        function.running += 1
        done = False

        def release() -> None:
            nonlocal done
            if done:
                return
            done = True
            function.running -= 1
            if reserved is None:
                account.unreserved -= 1

        return release

    def running(self, function_arn: str) -> int:
        """Invocations of a function that run now."""
        found = self._functions.get(function_arn)
        return found.running if found is not None else 0

    def forget(self, account_id: str, region: str, function_arn: str) -> None:
        """The function was deleted: its reservation ends."""
        account = self._accounts.get((account_id, region))
        if account is not None:
            self._reserve(account, function_arn, None)
        if self.running(function_arn) == 0:
            self._functions.pop(function_arn, None)

    def _reserve(self, account: _Account, function_arn: str, reserved: int | None) -> None:
        account.reserved_total -= account.reserved.pop(function_arn, 0)
        if reserved is not None:
            account.reserved[function_arn] = reserved
            account.reserved_total += reserved
