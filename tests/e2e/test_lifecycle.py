"""What environments go through: provisioned concurrency, extensions, telemetry and the end, on a real server."""

from __future__ import annotations

import base64
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

WHO = """
import os, time, uuid
ME = uuid.uuid4().hex
def handler(event, context):
    time.sleep(event.get("sleep", 0))
    if event.get("crash"):
        os._exit(3)
    return [os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], ME]
"""


def ready(make, name, qualifier, seconds=60.0):
    """Wait until a qualifier's provisioned concurrency is no longer in progress; answers its configuration."""
    deadline = time.monotonic() + seconds
    while True:
        found = make.functions.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
        if found["Status"] != "IN_PROGRESS":
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def provision(make, name, count, qualifier=None):
    version = qualifier or make.functions.publish_version(FunctionName=name)["Version"]
    put = make.functions.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=version, ProvisionedConcurrentExecutions=count
    )
    assert put["Status"] == "IN_PROGRESS"
    assert put["AllocatedProvisionedConcurrentExecutions"] == 0
    return version


def test_provisioned_environments_are_warm_preferred_and_spill_over(make):
    """The first calls find initialised environments without Init Duration; one call more starts on demand."""
    name = make.function(WHO)
    version = provision(make, name, 2)
    found = ready(make, name, version)
    assert (found["Status"], found["AvailableProvisionedConcurrentExecutions"]) == ("READY", 2)
    (kind, _), response = make.invoke(name, Qualifier=version, LogType="Tail")
    assert kind == "provisioned-concurrency"
    assert b"Init Duration" not in base64.b64decode(response["LogResult"])
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: make.invoke(name, {"sleep": 0.6}, Qualifier=version)[0], range(3)))
    assert sorted(kind for kind, _ in answers) == ["on-demand", "provisioned-concurrency", "provisioned-concurrency"]


def test_a_provisioned_environment_that_dies_is_replaced(make):
    """After a crash the configuration becomes READY again, with another process."""
    name = make.function(WHO)
    version = provision(make, name, 1)
    ready(make, name, version)
    (_, before), _ = make.invoke(name, Qualifier=version)
    make.invoke(name, {"crash": True}, Qualifier=version)
    deadline = time.monotonic() + 20
    while True:
        found = make.functions.get_provisioned_concurrency_config(FunctionName=name, Qualifier=version)
        if found["Status"] == "READY":
            (kind, after), _ = make.invoke(name, Qualifier=version)
            if kind == "provisioned-concurrency":
                break
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    assert after != before


def test_provisioned_concurrency_fails_where_initialisation_does(make):
    """FAILED with FUNCTION_ERROR_INIT_FAILURE, and nothing allocated."""
    name = make.function("raise Exception('no')\ndef handler(event, context): pass")
    version = provision(make, name, 1)
    found = ready(make, name, version)
    assert found["Status"] == "FAILED"
    assert found["StatusReason"] == "FUNCTION_ERROR_INIT_FAILURE"
    assert found["AllocatedProvisionedConcurrentExecutions"] == 0


def test_a_reservation_that_is_all_provisioned_leaves_nothing_to_latest(make):
    """Reserved equal to provisioned: $LATEST is throttled, the version is not; neither may outgrow the other."""
    name = make.function(WHO)
    version = provision(make, name, 2)
    ready(make, name, version)
    with pytest.raises(ClientError, match=r" ReservedConcurrentExecutions  1 should not be lower .* \[2\]\."):
        make.functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    make.functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    with pytest.raises(ClientError) as caught:
        make.invoke(name)
    assert caught.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert make.invoke(name, Qualifier=version)[0][0] == "provisioned-concurrency"
    with pytest.raises(ClientError, match="should not be greater than the reservedConcurrentExecution for function"):
        make.functions.put_provisioned_concurrency_config(
            FunctionName=name, Qualifier=version, ProvisionedConcurrentExecutions=3
        )


def test_provisioned_concurrency_of_an_alias_follows_it(make):
    """The alias' new version is warmed, the old one's environments end, and deleting the alias ends it all."""
    name = make.function(WHO)
    one = make.functions.publish_version(FunctionName=name)["Version"]
    make.functions.update_function_configuration(FunctionName=name, Description="other")
    make.functions.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    two = make.functions.publish_version(FunctionName=name)["Version"]
    make.functions.create_alias(FunctionName=name, Name="live", FunctionVersion=one)
    provision(make, name, 1, "live")
    assert ready(make, name, "live")["Status"] == "READY"
    with pytest.raises(ClientError, match="Version is pointed by a Provisioned Concurrency alias"):
        provision(make, name, 1, one)
    make.functions.update_alias(FunctionName=name, Name="live", FunctionVersion=two)
    deadline = time.monotonic() + 20
    while make.invoke(name, Qualifier=two)[0][0] != "provisioned-concurrency":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    listed = make.functions.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]
    assert [each["FunctionArn"].rpartition(":")[2] for each in listed] == ["live"]
    make.functions.delete_alias(FunctionName=name, Name="live")
    with pytest.raises(ClientError, match="Cannot find alias arn"):
        make.functions.get_provisioned_concurrency_config(FunctionName=name, Qualifier="live")
    assert not make.functions.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]


def test_a_provisioned_first_call_is_as_fast_as_a_warm_one(make):
    """The best first call of six provisioned environments is within the spread of warm calls."""
    name = make.function(WHO)
    version = provision(make, name, 6)
    ready(make, name, version)
    time.sleep(0.2)

    def call(sleep=0.0):
        before = time.perf_counter()
        make.invoke(name, {"sleep": sleep}, Qualifier=version)
        return time.perf_counter() - before - sleep

    first = call()
    warm = sorted(call() for _ in range(20))
    if os.environ.get("ALONZO_SHOW_FIGURES"):
        print(f"first {first * 1000:.2f} ms, warm p50 {warm[10] * 1000:.2f} ms, worst {warm[-1] * 1000:.2f} ms")
    assert first < 3 * warm[-1] + 0.01
