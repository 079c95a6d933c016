"""The limits by themselves: reservations, provisioned executions and rates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alonzo.core.errors import ServiceError
from alonzo.engine.concurrency import Concurrency
from alonzo.engine.function import CodeRef, FunctionVersion

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
F = FunctionVersion(
    "000000000000", "us-east-1", "f", "1", ARN, "r", "python3.11", "a.b", "role", CodeRef("blob", "0" * 64)
)
OTHER = replace(F, name="g", arn=ARN[:-1] + "g")


def reason(limits: Concurrency, fv: FunctionVersion) -> str:
    with pytest.raises(ServiceError) as caught:
        limits.acquire(fv)
    return str(caught.value.fields["Reason"])


def test_a_reservation_counts_before_its_first_invocation() -> None:
    """What one function reserves, the others do not have, although it never ran."""
    limits = Concurrency(3, lambda: 0.0)
    limits.reserve(F.account_id, F.region, F.arn, 2)
    limits.acquire(OTHER)
    assert reason(limits, OTHER) == "ConcurrentInvocationLimitExceeded"
    limits.reserve(F.account_id, F.region, F.arn, None)
    limits.acquire(OTHER)


def test_provisioned_executions_are_used_first_and_given_back() -> None:
    """They come out of the pool whether used or not, and a second release changes nothing."""
    limits = Concurrency(2, lambda: 0.0)
    limits.provision(F.account_id, F.region, F.arn, {"1": 1})
    release = limits.acquire(F)
    assert limits.provisioned_running(ARN, "1") == 1
    limits.acquire(F)  # on demand: it spills over
    assert reason(limits, F) == "ConcurrentInvocationLimitExceeded"
    release()
    release()
    assert (limits.provisioned_running(ARN, "1"), limits.running(ARN)) == (0, 1)
    limits.acquire(F)


def test_ten_requests_a_second_for_each_execution() -> None:
    """A reservation of one takes ten requests at once, and one more every tenth of a second."""
    now = 0.0
    limits = Concurrency(1000, lambda: now)
    one = replace(F, reserved_concurrency=1)
    for _ in range(10):
        limits.acquire(one)()
    assert reason(limits, one) == "ReservedFunctionInvocationRateLimitExceeded"
    now = 0.11
    limits.acquire(one)()
    assert reason(limits, one) == "ReservedFunctionInvocationRateLimitExceeded"


def test_a_thousand_environments_in_ten_seconds() -> None:
    """The 1,001st new environment of one function waits for a hundredth of a second; other functions do not."""
    now = 0.0
    limits = Concurrency(5000, lambda: now)
    for _ in range(1000):
        limits.scale(F)
    with pytest.raises(ServiceError, match="Rate Exceeded"):
        limits.scale(F)
    limits.scale(OTHER)
    now = 0.011
    limits.scale(F)


def test_no_reservation_left_means_no_invocation() -> None:
    """Zero is zero."""
    assert reason(Concurrency(10), replace(F, reserved_concurrency=0)).startswith("ReservedFunctionConcurrent")


def test_what_comes_from_a_queue_is_not_rated() -> None:
    """The rate of requests bounds those that wait for an answer; queued work is bounded by executions alone."""
    limits = Concurrency(1000, lambda: 0.0)
    one = replace(F, reserved_concurrency=1)
    for _ in range(50):
        limits.acquire(one, rated=False)()
    for _ in range(10):
        limits.acquire(one)()
    assert reason(limits, one) == "ReservedFunctionInvocationRateLimitExceeded"
    limits.acquire(one, rated=False)()
