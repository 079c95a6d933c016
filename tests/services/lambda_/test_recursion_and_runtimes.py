"""Recursive loops, runtime management, scaling: settings of functions beside their configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from alonzo.core import tracing
from alonzo.core.errors import ServiceError
from alonzo.core.ids import Ids

ARN = "arn:aws:lambda:us-east-1:111111111111:function:f"


def gone_round(times: int) -> str:
    """The header that the function `f` has after so many invocations."""
    header = ""
    for _ in range(times):
        header, _ = tracing.enter(header, tracing.mark_of(ARN), Ids(), 0.0)
    return header


async def test_the_seventeenth_invocation_in_a_chain_is_refused(world: Any) -> None:
    """Sixteen run, the next gets AWS's exception; another chain is not concerned."""
    await world.create("f")

    async def invoke(header: str) -> Any:
        return await world.dispatcher.call(
            replace(world.ctx, trace_header=header), "lambda", "Invoke", {"FunctionName": "f"}
        )

    await invoke(gone_round(15))
    last = world.engine.invoker.calls[-1][1].trace_header
    assert tracing.loops_of(last, ARN) == 15
    with pytest.raises(ServiceError, match="recursive loop with other AWS resources") as caught:
        await invoke(last)
    assert caught.value.code == "RecursiveInvocationException" and caught.value.fields == {"Type": "User"}
    await invoke("")
    assert len(world.engine.invoker.calls) == 2


async def test_a_loop_that_is_allowed_goes_on(world: Any) -> None:
    """RecursiveLoop Allow lets every invocation through, from the next one on, and Terminate stops them again."""
    await world.create("f")
    ctx = replace(world.ctx, trace_header=gone_round(40))
    await world.call("PutFunctionRecursionConfig", FunctionName="f", RecursiveLoop="Allow")
    await world.dispatcher.call(ctx, "lambda", "Invoke", {"FunctionName": "f"})
    assert world.engine.invoker.calls[-1][0].loops_allowed
    await world.call("PutFunctionRecursionConfig", FunctionName="f", RecursiveLoop="Terminate")
    with pytest.raises(ServiceError, match="recursive loop"):
        await world.dispatcher.call(ctx, "lambda", "Invoke", {"FunctionName": "f"})


async def test_events_carry_their_lineage(world: Any) -> None:
    """An event of a loop is accepted; the engine, which knows its destinations, finds the loop in its header."""
    await world.create("f")
    ctx = replace(world.ctx, trace_header=gone_round(16))
    params = {"FunctionName": "f", "InvocationType": "Event"}
    assert (await world.dispatcher.call(ctx, "lambda", "Invoke", params))["StatusCode"] == 202
    [event] = world.engine.queue.events.values()
    assert tracing.loops_of(event.trace_header, ARN) == 16


async def test_a_deleted_functions_settings_are_gone(world: Any) -> None:
    """A function made anew under the name begins with the defaults."""
    await world.create("f")
    await world.call("PutFunctionRecursionConfig", FunctionName="f", RecursiveLoop="Allow")
    await world.call("PutRuntimeManagementConfig", FunctionName="f", UpdateRuntimeOn="FunctionUpdate")
    await world.call("DeleteFunction", FunctionName="f")
    await world.create("f")
    assert await world.call("GetFunctionRecursionConfig", FunctionName="f") == {"RecursiveLoop": "Terminate"}
    shown = await world.call("GetRuntimeManagementConfig", FunctionName="f")
    assert shown == {"UpdateRuntimeOn": "Auto", "FunctionArn": ARN}


async def test_runtime_management(world: Any) -> None:
    """Manual takes the runtime version that the function has, for each version by itself, and no other."""
    await world.create("f", Publish=True)
    await world.active("f", "1")
    present = (await world.active("f"))["RuntimeVersionConfig"]["RuntimeVersionArn"]
    put = "PutRuntimeManagementConfig"
    manual = {"FunctionName": "f", "UpdateRuntimeOn": "Manual"}
    shown = await world.call(put, **manual, RuntimeVersionArn=present, Qualifier="1")
    assert shown == {"UpdateRuntimeOn": "Manual", "FunctionArn": f"{ARN}:1", "RuntimeVersionArn": present}
    assert await world.call("GetRuntimeManagementConfig", FunctionName="f", Qualifier="1") == shown
    auto = await world.call("GetRuntimeManagementConfig", FunctionName="f")
    assert auto == {"UpdateRuntimeOn": "Auto", "FunctionArn": ARN}
    assert "is required" in (await world.fails(put, **manual)).message
    other = present[:-4] + "0000"
    assert "not available" in (await world.fails(put, **manual, RuntimeVersionArn=other)).message
    both = {"FunctionName": "f", "UpdateRuntimeOn": "Auto", "RuntimeVersionArn": present}
    assert "only be set" in (await world.fails(put, **both)).message
    for name, qualifier, code in (("f", "7", 404), ("nosuch", "1", 404), ("f", "live", 400)):
        error = await world.fails("GetRuntimeManagementConfig", FunctionName=name, Qualifier=qualifier)
        assert error.status == code


async def test_scaling_is_refused_with_the_reason(world: Any) -> None:
    """Without capacity providers a scaling configuration cannot be kept; none is shown."""
    await world.create("f", Publish=True)
    one = {"FunctionName": "f", "Qualifier": "1"}
    error = await world.fails("PutFunctionScalingConfig", **one, FunctionScalingConfig={"MinExecutionEnvironments": 1})
    assert "capacity provider" in error.message
    assert await world.call("GetFunctionScalingConfig", **one) == {"FunctionArn": f"{ARN}:1"}
    error = await world.fails("GetFunctionScalingConfig", FunctionName="f", Qualifier="9")
    assert error.code == "ResourceNotFoundException"
