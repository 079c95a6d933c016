"""Tenant isolation: each tenant has environments of its own."""

from __future__ import annotations

import json
import sys
import time
import uuid
from typing import Any

import pytest

TENANCY = {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}


async def test_a_tenant_is_required_or_refused(world: Any) -> None:
    """A function with tenancy is invoked with a tenant only, and one without it never, whatever the way."""
    await world.create("f", **TENANCY)
    assert (await world.active("f"))["TenancyConfig"] == {"TenantIsolationMode": "PER_TENANT"}
    for kind in ("RequestResponse", "Event", "DryRun"):
        error = await world.fails("Invoke", FunctionName="f", InvocationType=kind)
        assert error.code == "InvalidParameterValueException" and "Add a valid tenant ID" in error.message
    await world.create("g")
    error = await world.fails("Invoke", FunctionName="g", TenantId="blue")
    assert "Remove the tenant ID" in error.message
    await world.call("Invoke", FunctionName="f", TenantId="blue")
    assert world.engine.invoker.calls[-1][0].tenant == "blue"
    await world.call("Invoke", FunctionName="f", TenantId="green", InvocationType="Event")
    [event] = world.engine.queue.events.values()
    assert event.tenant == "green"


async def test_what_has_no_tenant_is_refused(world: Any) -> None:
    """SnapStart and provisioned concurrency prepare environments before there is a tenant."""
    await world.create("f", **TENANCY, Publish=True)
    await world.active("f", "1")
    error = await world.fails(
        "UpdateFunctionConfiguration", FunctionName="f", SnapStart={"ApplyOn": "PublishedVersions"}
    )
    assert "tenant isolation" in error.message
    one = {"FunctionName": "f", "Qualifier": "1", "ProvisionedConcurrentExecutions": 1}
    assert "tenant isolation" in (await world.fails("PutProvisionedConcurrencyConfig", **one)).message


@pytest.mark.slow
def test_tenants_share_nothing(alonzo: Any, make_zip: Any) -> None:
    """Memory and /tmp of one tenant are never seen by another; the tenant is in the context; its own are reused."""
    iam, functions = alonzo.client("iam"), alonzo.client("lambda")
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    name = f"tenants-{uuid.uuid4().hex[:8]}"
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    code = (
        "import os\nseen = []\ndef handler(event, context):\n    seen.append(context.tenant_id)\n"
        "    open('/tmp/' + context.tenant_id, 'w').close()\n    return [seen, sorted(os.listdir('/tmp'))]\n"
    )
    functions.create_function(
        FunctionName=name,
        Runtime=f"python3.{sys.version_info.minor}",
        Role=role,
        Handler="handler.handler",
        Code={"ZipFile": make_zip(code)},
        **TENANCY,
    )
    try:
        functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})

        def run(tenant: str) -> Any:
            return json.load(functions.invoke(FunctionName=name, TenantId=tenant)["Payload"])

        assert run("blue") == [["blue"], ["blue"]]
        assert run("green") == [["green"], ["green"]]
        assert run("blue") == [["blue", "blue"], ["blue"]]
        functions.invoke(FunctionName=name, TenantId="green", InvocationType="Event")
        time.sleep(1.0)
        assert run("green")[0] == ["green"] * 3  # the event has run in the environment of its tenant
    finally:
        functions.delete_function(FunctionName=name)
