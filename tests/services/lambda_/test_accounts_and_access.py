"""Accounts, regions and permissions: whose functions are meant, and what each operation asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from alonzo.core.context import Principal
from alonzo.core.errors import ServiceError

OTHER = "222222222222"
ARN = "arn:aws:lambda:us-east-1:111111111111:function:f"


async def test_functions_of_accounts_and_regions_are_apart(world: Any) -> None:
    """The same name in another account or region is another function."""
    await world.create()
    for ctx in (
        replace(world.ctx, account_id=OTHER, principal=Principal.root(OTHER)),
        replace(world.ctx, region="eu-central-1"),
    ):
        with pytest.raises(ServiceError, match="Function not found"):
            await world.dispatcher.call(ctx, "lambda", "GetFunction", {"FunctionName": "f"})
        assert (await world.dispatcher.call(ctx, "lambda", "ListFunctions", {}))["Functions"] == []


async def test_another_account_reaches_a_function_by_its_arn(world: Any) -> None:
    """A full ARN names the owner's function; the permission asked for carries the owner and the policy."""
    await world.create()
    await world.call(
        "AddPermission", FunctionName="f", StatementId="s", Action="lambda:InvokeFunction", Principal=OTHER
    )
    ctx = replace(world.ctx, account_id=OTHER, principal=Principal.root(OTHER))
    await world.dispatcher.call(ctx, "lambda", "Invoke", {"FunctionName": ARN})
    asked = world.judge.asked[-1]
    assert (asked.resource, asked.resource_account) == (ARN, "111111111111")
    assert f"arn:aws:iam::{OTHER}:root" in asked.resource_policy
    assert world.engine.invoker.calls[-1][0].account_id == "111111111111"
    await world.dispatcher.call(ctx, "lambda", "Invoke", {"FunctionName": ARN, "InvocationType": "Event"})
    [event] = world.engine.queue.events.values()
    assert event.account_id == "111111111111"


@pytest.mark.parametrize(
    ("operation", "params", "action", "resource"),
    [
        ("GetFunction", {"FunctionName": "f", "Qualifier": "1"}, "lambda:GetFunction", f"{ARN}:1"),
        ("ListFunctions", {}, "lambda:ListFunctions", "*"),
        ("GetAccountSettings", {}, "lambda:GetAccountSettings", "*"),
        ("PublishVersion", {"FunctionName": f"{ARN}"}, "lambda:PublishVersion", ARN),
        ("ListTags", {"Resource": ARN}, "lambda:ListTags", ARN),
        ("GetAlias", {"FunctionName": "f", "Name": "a"}, "lambda:GetAlias", ARN),
        (
            "GetLayerVersion",
            {"LayerName": "l", "VersionNumber": 3},
            "lambda:GetLayerVersion",
            "arn:aws:lambda:us-east-1:111111111111:layer:l:3",
        ),
        (
            "GetLayerVersionByArn",
            {"Arn": "arn:aws:lambda:us-east-1:111111111111:layer:l:3"},
            "lambda:GetLayerVersion",
            "arn:aws:lambda:us-east-1:111111111111:layer:l:3",
        ),
        (
            "ListLayerVersions",
            {"LayerName": "l"},
            "lambda:ListLayerVersions",
            "arn:aws:lambda:us-east-1:111111111111:layer:l",
        ),
        ("InvokeAsync", {"FunctionName": "f", "InvokeArgs": b"{}"}, "lambda:InvokeFunction", ARN),
    ],
)
async def test_what_operations_ask_for(world: Any, operation: str, params: Any, action: str, resource: str) -> None:
    """Each operation asks for the action and resource of AWS's table, and is refused without them."""
    world.judge.denied.add(action)
    error = await world.fails(operation, **params)
    assert (error.code, error.status) == ("AccessDeniedException", 403)
    assert (world.judge.asked[-1].action, world.judge.asked[-1].resource) == (action, resource)


async def test_every_operation_asks_for_something(world: Any) -> None:
    """No handler can be reached without a permission being asked for."""
    params = {"FunctionName": "f", "LayerName": "l", "Name": "a", "Qualifier": "1"}
    for operation in world.service.handlers:
        given: dict[str, Any] = dict(params)
        if operation in ("TagResource", "UntagResource", "ListTags"):
            given = {"Resource": ARN}
        elif operation == "GetLayerVersionByArn":
            given = {"Arn": "arn:aws:lambda:us-east-1:111111111111:layer:l:3"}
        elif "Layer" not in operation:
            del given["LayerName"]
        asked = await world.service.access(world.ctx, operation, given)
        assert asked and asked[0].action.startswith("lambda:"), operation


async def test_tags_of_a_request_are_conditions(world: Any, make_zip: Any) -> None:
    """Tags given to CreateFunction can be judged by aws:RequestTag and aws:TagKeys."""
    await world.create(Tags={"team": "blue"})
    asked = next(access for access in world.judge.asked if access.action == "lambda:CreateFunction")
    assert asked.conditions == {"aws:RequestTag/team": "blue", "aws:TagKeys": ["team"]}


async def test_invoke_async_is_an_event(world: Any) -> None:
    """The old InvokeAsync stores an event like Invoke with InvocationType Event."""
    await world.create()
    assert await world.call("InvokeAsync", FunctionName="f", InvokeArgs=b"[1]") == {"Status": 202}
    [event] = world.engine.queue.events.values()
    assert event.payload == b"[1]"


async def test_layers_page_and_filter(world: Any, make_zip: Any) -> None:
    """ListLayers and ListLayerVersions go page by page and keep to the compatible ones."""
    for name in ("a", "b", "c"):
        for runtime in ("python3.11", "python3.12"):
            await world.call(
                "PublishLayerVersion",
                LayerName=name,
                Content={"ZipFile": make_zip(name)},
                CompatibleRuntimes=[runtime],
            )
    first = await world.call("ListLayers", MaxItems=2)
    second = await world.call("ListLayers", MaxItems=2, Marker=first["NextMarker"])
    names = [layer["LayerName"] for layer in first["Layers"] + second["Layers"]]
    assert names == ["a", "b", "c"] and "NextMarker" not in second
    assert all(layer["LatestMatchingVersion"]["Version"] == 2 for layer in first["Layers"])
    [old] = (await world.call("ListLayers", CompatibleRuntime="python3.11", MaxItems=1))["Layers"]
    assert old["LatestMatchingVersion"]["Version"] == 1
    page = await world.call("ListLayerVersions", LayerName="a", MaxItems=1)
    rest = await world.call("ListLayerVersions", LayerName="a", MaxItems=1, Marker=page["NextMarker"])
    assert [page["LayerVersions"][0]["Version"], rest["LayerVersions"][0]["Version"]] == [2, 1]


@pytest.mark.slow
async def test_a_policy_has_a_limit(world: Any) -> None:
    """A policy beyond 20 KB is refused and stays as it was."""
    await world.create()
    params = {"FunctionName": "f", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    error = None
    for number in range(200):
        try:
            await world.call("AddPermission", **params, StatementId=f"s{number}", SourceArn="arn:aws:s3:::" + "b" * 60)
        except ServiceError as caught:
            error = caught
            break
    assert error is not None and error.code == "PolicyLengthExceededException"
    assert len((await world.call("GetPolicy", FunctionName="f"))["Policy"]) <= 20_480


async def test_a_version_with_an_alias_stays(world: Any) -> None:
    """A version that an alias points to cannot be deleted; without the alias it can."""
    await world.create(Publish=True)
    await world.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
    error = await world.fails("DeleteFunction", FunctionName="f", Qualifier="1")
    assert error.code == "ResourceConflictException" and "[live]" in error.message
    await world.call("DeleteAlias", FunctionName="f", Name="live")
    assert await world.call("DeleteFunction", FunctionName="f", Qualifier="1") == {"StatusCode": 204}
