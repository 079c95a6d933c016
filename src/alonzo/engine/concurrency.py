"""Concurrent executions: the account's, and what functions reserve and provision of it. The only place that throttles.

The leases live in the memory of the one server that owns a data folder, so a crash cannot leak any: it ends every
environment, and the next run starts from zero. What is reserved and provisioned is told again by the lambda service at
the start (`reserve`, `provision`). Source: execution-environment contract §9 and §10;
https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from alonzo.core.dataclasses import dataclass, field
from alonzo.core.errors import ServiceError
from alonzo.engine.function import FunctionVersion

#: Invocations a second for each concurrent execution.
REQUESTS_PER_EXECUTION = 10.0
#: New environments of one function: at once, and then a second.
SCALING_BURST, SCALING_PER_S = 1_000.0, 100.0


def throttled(reason: str) -> ServiceError:
    """Source: execution-environment contract §10 (recorded on AWS)."""
    return ServiceError(
        "TooManyRequestsException", "Rate Exceeded.", status=429, fields={"Reason": reason, "Type": "User"}
    )


class _Bucket:
    """A rate: `per_s` tokens a second, at most `burst` together. A new bucket is full."""

    __slots__ = ("_at", "_taken")

    def __init__(self) -> None:
        self._at = 0.0
        self._taken = 0.0

    def take(self, now: float, per_s: float, burst: float) -> bool:
        taken = self._taken - (now - self._at) * per_s
        self._at = now
        if taken < 0.0:
            taken = 0.0
        if taken + 1.0 > burst:
            self._taken = taken
            return False
        self._taken = taken + 1.0
        return True

    def give_back(self) -> None:
        self._taken = max(0.0, self._taken - 1.0)


@dataclass(slots=True)
class _Account:
    """One account in one region. `unreserved` are the runs on demand of functions without a reservation."""

    unreserved: int = 0
    reserved: dict[str, int] = field(default_factory=dict)
    reserved_total: int = 0
    #: By function, of those without a reservation.
    provisioned: dict[str, int] = field(default_factory=dict)
    provisioned_total: int = 0
    rate: _Bucket = field(default_factory=_Bucket)


@dataclass(slots=True)
class _Function:
    running: int = 0
    #: Runs that no provisioned execution covers.
    on_demand: int = 0
    provisioned: Mapping[str, int] = field(default_factory=dict)
    provisioned_running: dict[str, int] = field(default_factory=dict)
    rate: _Bucket = field(default_factory=_Bucket)
    scaling: _Bucket = field(default_factory=_Bucket)


class Concurrency:
    """Counts running invocations. A lease is a function that gives it back; calling it twice does nothing more."""

    def __init__(self, account_limit: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limit = account_limit
        self._monotonic = monotonic
        self._accounts: dict[tuple[str, str], _Account] = {}
        self._functions: dict[str, _Function] = {}

    def _account(self, account_id: str, region: str) -> _Account:
        account = self._accounts.get((account_id, region))
        if account is None:
            account = self._accounts[(account_id, region)] = _Account()
        return account

    def _function(self, function_arn: str) -> _Function:
        function = self._functions.get(function_arn)
        if function is None:
            function = self._functions[function_arn] = _Function()
        return function

    # -- running ------------------------------------------------------------------------------------------------------

    def acquire(self, fv: FunctionVersion, *, rated: bool = True) -> Callable[[], None]:
        """Take one execution. Raises ServiceError TooManyRequestsException.

        The rate of requests bounds those that wait for their answer (`rated`): what comes from a queue waits there.
        Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html (invocation requests per second)

        What the version has provisioned is used first; more runs come out of the function's reservation or of what the
        account has unreserved, each less what is provisioned of it.
        """
        arn, reserved = fv.arn, fv.reserved_concurrency
        account = self._accounts.get((fv.account_id, fv.region)) or self._account(fv.account_id, fv.region)
        function = self._functions.get(arn) or self._function(arn)
        if account.reserved.get(arn) != reserved:
            self._reserve(account, arn, reserved)
        provisioned = function.provisioned
        covered = bool(provisioned) and function.provisioned_running.get(fv.version, 0) < provisioned.get(fv.version, 0)
        if reserved is not None:
            self._check_reserved(function, reserved, covered=covered, rated=rated)
        else:
            if not covered and account.unreserved >= self._limit - account.reserved_total - account.provisioned_total:
                raise throttled("ConcurrentInvocationLimitExceeded")
            most = self._limit * REQUESTS_PER_EXECUTION
            if rated and not account.rate.take(self._monotonic(), most, most):
                raise throttled("FunctionInvocationRateLimitExceeded")
        return self._lease(account, function, fv.version, covered=covered, pooled=reserved is None)

    def _check_reserved(self, function: _Function, reserved: int, *, covered: bool, rated: bool) -> None:
        if not covered and function.on_demand >= reserved - sum(function.provisioned.values()):
            raise throttled("ReservedFunctionConcurrentInvocationLimitExceeded")
        most = reserved * REQUESTS_PER_EXECUTION
        if rated and not function.rate.take(self._monotonic(), most, most):
            raise throttled("ReservedFunctionInvocationRateLimitExceeded")

    def _lease(
        self, account: _Account, function: _Function, version: str, *, covered: bool, pooled: bool
    ) -> Callable[[], None]:
        function.running += 1
        if covered:
            function.provisioned_running[version] = function.provisioned_running.get(version, 0) + 1
        else:
            function.on_demand += 1
            account.unreserved += pooled
        done = False

        def release() -> None:
            nonlocal done
            if done:
                return
            done = True
            function.running -= 1
            if covered:
                function.provisioned_running[version] -= 1
            else:
                function.on_demand -= 1
                account.unreserved -= pooled

        return release

    def scale(self, fv: FunctionVersion) -> None:
        """Count one new environment. Raises TooManyRequestsException when a function asks for too many too fast."""
        if not self._function(fv.arn).scaling.take(self._monotonic(), SCALING_PER_S, SCALING_BURST):
            raise throttled("ConcurrentInvocationLimitExceeded")

    def unscale(self, fv: FunctionVersion) -> None:
        """The environment was not made after all."""
        self._function(fv.arn).scaling.give_back()

    def running(self, function_arn: str) -> int:
        """Invocations of a function that run now."""
        found = self._functions.get(function_arn)
        return found.running if found is not None else 0

    def provisioned_running(self, function_arn: str, version: str) -> int:
        """Invocations that run on what a version has provisioned."""
        found = self._functions.get(function_arn)
        return found.provisioned_running.get(version, 0) if found is not None else 0

    # -- what is configured -------------------------------------------------------------------------------------------

    def reserve(self, account_id: str, region: str, function_arn: str, reserved: int | None) -> None:
        """A function's reservation is this from now on (None: there is none)."""
        self._reserve(self._account(account_id, region), function_arn, reserved)

    def provision(self, account_id: str, region: str, function_arn: str, wanted: Mapping[str, int]) -> None:
        """What a function's versions have provisioned from now on."""
        account, function = self._account(account_id, region), self._function(function_arn)
        function.provisioned = {version: count for version, count in wanted.items() if count > 0}
        self._pool(account, function_arn)

    def forget(self, account_id: str, region: str, function_arn: str) -> None:
        """The function was deleted: its reservation ends."""
        self.provision(account_id, region, function_arn, {})
        self.reserve(account_id, region, function_arn, None)
        if self.running(function_arn) == 0:
            self._functions.pop(function_arn, None)

    def _reserve(self, account: _Account, function_arn: str, reserved: int | None) -> None:
        account.reserved_total -= account.reserved.pop(function_arn, 0)
        if reserved is not None:
            account.reserved[function_arn] = reserved
            account.reserved_total += reserved
        self._pool(account, function_arn)

    def _pool(self, account: _Account, function_arn: str) -> None:
        """What a function provisions comes out of its reservation, else out of the account's pool."""
        function = self._functions.get(function_arn)
        total = sum(function.provisioned.values()) if function is not None else 0
        if total and function_arn not in account.reserved:
            account.provisioned[function_arn] = total
        else:
            account.provisioned.pop(function_arn, None)
        account.provisioned_total = sum(account.provisioned.values())
