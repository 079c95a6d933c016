"""Scenarios recorded on AWS, replayed: reserved and provisioned concurrency in force."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

pytestmark = pytest.mark.slow

FILE = "invoke.json"
API = "test_lambda.py::TestLambdaConcurrency::"
FN = {"FunctionName": "fn-1"}
ECHO = "def handler(event, context):\n    return event\n"
HELLO = b'{"hello": "world"}'
PUT, GET = "PutProvisionedConcurrencyConfig", "GetProvisionedConcurrencyConfig"
RESERVE, INVOKE = "PutFunctionConcurrency", "Invoke"
MEMBERS = ("Timeout", "MemorySize", "Runtime", "Environment", "Handler")


def like(step: Any, world: Any, code: bytes) -> dict[str, Any]:
    shown = step.get("CreateFunctionResponse", step.get("Configuration", step))
    params = {name: shown[name] for name in MEMBERS if name in shown}
    return {**FN, **params, "Role": world.role, "Code": {"ZipFile": code}}


async def ready(world: Any, qualifier: str) -> None:
    """Wait until provisioned concurrency is no longer in progress."""
    async with asyncio.timeout(60):
        while (await world.call(GET, **FN, Qualifier=qualifier))["Status"] == "IN_PROGRESS":
            await asyncio.sleep(0.02)


async def provisioned(s: Any, world: Any, steps: tuple[str, str, str], qualifier: str, wanted: int) -> None:
    """Ask for environments and watch them come; until it is looked at twice none is let begin."""
    world.runtimes.gate.clear()
    await s(steps[0], PUT, **FN, Qualifier=qualifier, ProvisionedConcurrentExecutions=wanted)
    if steps[1]:
        await s(steps[1], GET, **FN, Qualifier=qualifier)
    world.runtimes.gate.set()
    await ready(world, qualifier)
    await s(steps[2], GET, **FN, Qualifier=qualifier)


STEPS = ("put_provisioned_5", "get_provisioned_prewait", "get_provisioned_postwait")


@pytest.mark.parametrize("on_alias", [False, True])
async def test_provisioned(world: Any, scenario: Any, make_zip: Any, on_alias: bool) -> None:
    """test_provisioned_concurrency, test_provisioned_concurrency_on_alias"""
    s = scenario(f"{API}test_provisioned_concurrency{'_on_alias' if on_alias else ''}", FILE)
    code = make_zip(
        "import os\ndef handler(event, context):\n    return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']\n"
    )
    await world.create("fn-1", Code={"ZipFile": code}, Publish=True)
    await world.active("fn-1", "1")
    if on_alias:
        await world.call("CreateAlias", **FN, Name="live", FunctionVersion="1")
    qualifier = "live" if on_alias else "1"
    await provisioned(s, world, STEPS, qualifier, 5)
    assert (await world.call(INVOKE, **FN, Qualifier=qualifier))["Payload"] == b'"provisioned-concurrency"'
    assert (await world.call(INVOKE, **FN))["Payload"] == b'"on-demand"'
    assert s.seen == set(s.steps)


async def test_provisioned_that_fails(world: Any, scenario: Any, make_zip: Any) -> None:
    """test_provisioned_concurrency_init_failure"""
    s = scenario(f"{API}test_provisioned_concurrency_init_failure", FILE)
    await world.create("fn-1", Code={"ZipFile": make_zip("raise Exception('init')\n")}, Publish=True)
    await world.active("fn-1", "1")
    await provisioned(s, world, ("put_provisioned", *STEPS[1:]), "1", 1)
    assert s.seen == set(s.steps)


async def test_provisioned_and_scheduled(world: Any, scenario: Any, make_zip: Any) -> None:
    """test_lambda_provisioned_concurrency_scheduling: one environment, and what is more runs on demand"""
    s = scenario(f"{API}test_lambda_provisioned_concurrency_scheduling", FILE)
    code = make_zip(
        "import os, time\ndef handler(event, context):\n    time.sleep(1)\n"
        "    return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']\n"
    )
    await world.create("fn-1", Code={"ZipFile": code}, Timeout=10, Publish=True)
    await world.active("fn-1", "1")
    await world.call(PUT, **FN, Qualifier="1", ProvisionedConcurrentExecutions=1)
    await ready(world, "1")
    await s("get_provisioned_postwait", GET, **FN, Qualifier="1")
    answers = await asyncio.gather(*(world.call(INVOKE, **FN, Qualifier="1") for _ in range(2)))
    assert sorted(one["Payload"] for one in answers) == [b'"on-demand"', b'"provisioned-concurrency"']


async def test_reserved_is_used_up_by_provisioned(world: Any, scenario: Any, make_zip: Any) -> None:
    """test_lambda_concurrency_block"""
    s = scenario(f"{API}test_lambda_concurrency_block", FILE)
    await s("", "CreateFunction", **like(s.steps["v1_result"], world, make_zip(ECHO)))
    await world.active("fn-1")
    await s("v1_result", "PublishVersion", **FN)
    await s("reserved_concurrency_result", RESERVE, **FN, ReservedConcurrentExecutions=1)
    await s("invoke_latest_before_block", INVOKE, **FN, Payload=HELLO)
    one = {"Qualifier": "1", "ProvisionedConcurrentExecutions": 1}
    world.runtimes.gate.clear()
    await s("provisioned_concurrency_result", PUT, **FN, **one)
    world.runtimes.gate.set()
    await ready(world, "1")
    await s("invoke_latest_first_exc", INVOKE, **FN, Payload=HELLO)
    await s("invoke_v1_after_block", INVOKE, **FN, Payload=HELLO, Qualifier="1")
    await s("invoke_latest_second_exc", INVOKE, **FN, Payload=HELLO)
    assert s.seen == set(s.steps)


async def test_reserved_and_provisioned_overlap(world: Any, scenario: Any, make_zip: Any) -> None:
    """test_reserved_provisioned_overlap"""
    s = scenario(f"{API}test_reserved_provisioned_overlap", FILE)
    create = {**like(s.steps["update_func_config"], world, make_zip(ECHO)), "Timeout": 10}
    await s("", "CreateFunction", **create)
    await world.active("fn-1")
    await s("", "PublishVersion", **FN)
    await provisioned(s, world, STEPS, "1", 2)
    await s("reserved_lower_than_provisioned_exc", RESERVE, **FN, ReservedConcurrentExecutions=1)
    await s("", RESERVE, **FN, ReservedConcurrentExecutions=2)
    await s("get_concurrency", "GetFunctionConcurrency", **FN)
    await s("", INVOKE, **FN, Qualifier="1")
    await s("reserved_equals_provisioned_latest_invoke_exc", INVOKE, **FN)
    await s("update_func_config", "UpdateFunctionConfiguration", **FN, Timeout=15)
    await world.active("fn-1")
    await s("", "PublishVersion", **FN)
    more = {"Qualifier": "2", "ProvisionedConcurrentExecutions": 1}
    await s("reserved_equals_provisioned_another_provisioned_exc", PUT, **FN, **more)
    more = {"Qualifier": "1", "ProvisionedConcurrentExecutions": 3}
    await s("reserved_equals_provisioned_increase_provisioned_exc", PUT, **FN, **more)
    assert s.seen == set(s.steps)


async def test_reserved_and_events(world: Any, scenario: Any, make_zip: Any) -> None:
    """test_reserved_concurrency_async_queue: while an event runs, nothing else does"""
    s = scenario(f"{API}test_reserved_concurrency_async_queue", FILE)
    code = make_zip("import time\ndef handler(event, context):\n    time.sleep(event.get('wait', 0))\n")
    await s("", "CreateFunction", **like(s.steps["fn"], world, code))
    await world.active("fn-1")
    await s("fn", "GetFunctionConfiguration", **FN, Qualifier="$LATEST")
    await s("put_fn_concurrency", RESERVE, **FN, ReservedConcurrentExecutions=1)
    await s("", INVOKE, **FN, InvocationType="Event", Payload=b'{"wait": 3}')
    async with asyncio.timeout(10):
        while not await busy(world):
            await asyncio.sleep(0.05)
    await s("too_many_requests_exc", INVOKE, **FN, Payload=b"{}")
    assert s.seen == set(s.steps)


async def busy(world: Any) -> bool:
    """Whether the function's only place is taken."""
    try:
        await world.call(INVOKE, **FN, Payload=b"{}")
    except Exception as error:
        assert getattr(error, "code", "") == "TooManyRequestsException"
        return True
    return False


async def test_provisioned_moves_with_its_alias(world: Any, scenario: Any, make_zip: Any) -> None:
    """test_lambda_provisioned_concurrency_moves_with_alias"""
    s = scenario(f"{API}test_lambda_provisioned_concurrency_moves_with_alias", FILE)
    await s("create-result", "CreateFunction", **like(s.steps["create-result"], world, make_zip(ECHO)))
    await world.active("fn-1")
    await s("get-function-configuration", "GetFunctionConfiguration", **FN, Qualifier="$LATEST")
    await s("publish_version_1", "PublishVersion", **FN, Description="my-first-version")
    await s("get_function_configuration_version_1", "GetFunctionConfiguration", **FN, Qualifier="1")
    await s("create_alias", "CreateAlias", **FN, Name="live", FunctionVersion="1")
    await s("get_function_before_provisioned", "GetFunction", **FN, Qualifier="1")
    await world.call(PUT, **FN, Qualifier="live", ProvisionedConcurrentExecutions=1)
    await ready(world, "live")
    await s("get_function_after_provisioned", "GetFunction", **FN, Qualifier="live")
    await world.call("UpdateFunctionConfiguration", **FN, Timeout=10)
    await world.active("fn-1")
    await s("get_function_after_update", "GetFunctionConfiguration", **FN)
    await s("publish_version_2", "PublishVersion", **FN)
    # Until the new version's environments are there the old one's stay, and are shown.
    world.runtimes.gate.clear()
    await s("update_alias", "UpdateAlias", **FN, Name="live", FunctionVersion="2")
    await s("get_provisioned_config_after_alias_move", GET, **FN, Qualifier="live")
    async with asyncio.timeout(30):
        while leaving(world) != (1, 1):
            await asyncio.sleep(0.01)
    await s("get_provisioned_config_after_alias_move", GET, **FN, Qualifier="live")
    assert json.loads((await world.call("Invoke", **FN, Qualifier="1", Payload=b"[1]"))["Payload"]) == [1]
    world.runtimes.gate.set()
    await ready(world, "live")
    assert leaving(world) == (0, 0)
    await s("provisioned_concurrency_notfound", GET, **FN, Qualifier="1")
    assert s.seen == set(s.steps)


def leaving(world: Any) -> tuple[int, int]:
    """How many provisioned environments there are that their alias has been moved away from, and how many are free."""
    arn = f"arn:aws:lambda:us-east-1:{world.account}:function:fn-1"

    async def look() -> tuple[int, int]:
        found: tuple[int, int] = world.server.app.engine.leaving(arn, {"2"})
        return found

    return asyncio.run_coroutine_threadsafe(look(), world.server.loop).result(30)
