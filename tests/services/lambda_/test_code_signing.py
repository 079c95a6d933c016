"""Code signing configurations: kept, attached, and in force for code that is deployed."""

from __future__ import annotations

from typing import Any

ARN = "arn:aws:lambda:us-east-1:111111111111:function:"
PUBLISHER = "arn:aws:signer:us-east-1:111111111111:/signing-profiles/test"


async def make(world: Any, policy: str = "Enforce", **more: Any) -> str:
    answer = await world.call(
        "CreateCodeSigningConfig",
        AllowedPublishers={"SigningProfileVersionArns": [PUBLISHER]},
        CodeSigningPolicies={"UntrustedArtifactOnDeployment": policy},
        **more,
    )
    arn: str = answer["CodeSigningConfig"]["CodeSigningConfigArn"]
    return arn


async def test_enforce_refuses_code_and_warn_lets_it_pass(world: Any, make_zip: Any) -> None:
    """New code, new layers and a new function are refused under Enforce, and nothing of them is kept."""
    config = await make(world)
    await world.create("f")
    blobs = world.blob_count()
    await world.call("PutFunctionCodeSigningConfig", FunctionName="f", CodeSigningConfigArn=config)
    before = await world.active("f")
    error = await world.fails("UpdateFunctionCode", FunctionName="f", ZipFile=make_zip("a = 1"))
    assert (error.code, error.fields) == ("CodeVerificationFailedException", {"Type": "User"})
    assert error.message.endswith(f"Check the provided signature for {ARN}f.")
    layer = await world.call("PublishLayerVersion", LayerName="l", Content={"ZipFile": make_zip("b = 1")})
    error = await world.fails("UpdateFunctionConfiguration", FunctionName="f", Layers=[layer["LayerVersionArn"]])
    assert error.code == "CodeVerificationFailedException"
    new = {"Runtime": "python3.12", "Role": "arn:aws:iam::111111111111:role/worker", "Handler": "h.h"}
    code = {"ZipFile": make_zip("c = 1")}
    error = await world.fails("CreateFunction", FunctionName="g", Code=code, CodeSigningConfigArn=config, **new)
    assert error.code == "CodeVerificationFailedException"
    assert (await world.fails("GetFunction", FunctionName="g")).code == "ResourceNotFoundException"
    assert await world.active("f") == before and world.blob_count() == blobs + 1  # the layer's
    await world.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=9)  # no code comes with it
    await world.active("f")
    policy = {"UntrustedArtifactOnDeployment": "Warn"}
    await world.call("UpdateCodeSigningConfig", CodeSigningConfigArn=config, CodeSigningPolicies=policy)
    await world.call("UpdateFunctionCode", FunctionName="f", ZipFile=make_zip("a = 1"))
    await world.create("g", CodeSigningConfigArn=config)
    shown = await world.call("GetFunctionCodeSigningConfig", FunctionName="g")
    assert shown == {"CodeSigningConfigArn": config, "FunctionName": "g"}


async def test_a_configuration_in_use_is_not_deleted(world: Any) -> None:
    """It goes when no function has it any more; a deleted function has none."""
    config = await make(world, "Warn")
    for name in ("a", "b"):
        await world.create(name, CodeSigningConfigArn=config)
    listed = await world.call("ListFunctionsByCodeSigningConfig", CodeSigningConfigArn=config, MaxItems=1)
    assert listed["FunctionArns"] == [f"{ARN}a"]
    more = {"CodeSigningConfigArn": config, "Marker": listed["NextMarker"]}
    assert await world.call("ListFunctionsByCodeSigningConfig", **more) == {"FunctionArns": [f"{ARN}b"]}
    error = await world.fails("DeleteCodeSigningConfig", CodeSigningConfigArn=config)
    assert error.code == "ResourceConflictException"
    await world.call("DeleteFunctionCodeSigningConfig", FunctionName="a")
    await world.call("DeleteFunction", FunctionName="b")
    await world.call("DeleteCodeSigningConfig", CodeSigningConfigArn=config)
    error = await world.fails("GetCodeSigningConfig", CodeSigningConfigArn=config)
    assert error.code == "ResourceNotFoundException"


async def test_configurations_are_listed_in_pages_and_tagged(world: Any) -> None:
    """Every one comes once; tags are those of TagResource and Tags alike."""
    configs = {await make(world, Tags={"number": str(number)}) for number in range(3)}
    seen, marker = set(), {}
    for _ in range(3):
        page = await world.call("ListCodeSigningConfigs", MaxItems=1, **marker)
        seen |= {one["CodeSigningConfigArn"] for one in page["CodeSigningConfigs"]}
        marker = {"Marker": page.get("NextMarker")}
    assert seen == configs and marker == {"Marker": None}
    one = next(iter(configs))
    await world.call("TagResource", Resource=one, Tags={"a": "b"})
    await world.call("UntagResource", Resource=one, TagKeys=["number"])
    assert await world.call("ListTags", Resource=one) == {"Tags": {"a": "b"}}
    missing = one[:-17] + "0" * 17
    assert (await world.fails("ListTags", Resource=missing)).code == "ResourceNotFoundException"


async def test_attaching_needs_permission_for_both(world: Any) -> None:
    """PutFunctionCodeSigningConfig is asked for on the configuration and on the function."""
    config = await make(world)
    await world.create("f")
    world.judge.asked.clear()
    await world.call("PutFunctionCodeSigningConfig", FunctionName="f", CodeSigningConfigArn=config)
    asked = {(access.action, access.resource) for access in world.judge.asked}
    action = "lambda:PutFunctionCodeSigningConfig"
    assert asked == {(action, config), (action, f"{ARN}f")}
