"""`$LATEST.PUBLISHED`: the published version that publishing replaces."""

from __future__ import annotations

from typing import Any

import pytest

PUBLISHED = "$LATEST.PUBLISHED"
ARN = "arn:aws:lambda:us-east-1:111111111111:function:f"
TO = {"PublishTo": "LATEST_PUBLISHED"}


async def shown(world: Any, qualifier: str = PUBLISHED) -> dict[str, Any]:
    answer: dict[str, Any] = await world.active("f", qualifier)
    return answer


async def test_publishing_there_makes_no_number(world: Any) -> None:
    """The version has its own name and ARN, the next number stays free, and what has not changed is not made anew."""
    await world.create()
    first = await world.call("PublishVersion", FunctionName="f", Description="mine", **TO)
    assert (first["Version"], first["FunctionArn"]) == (PUBLISHED, f"{ARN}:{PUBLISHED}")
    assert (first["State"], first["Description"]) == ("Active", "mine")
    assert await world.call("PublishVersion", FunctionName="f", **TO) == first
    assert (await world.call("PublishVersion", FunctionName="f"))["Version"] == "1"
    listed = (await world.call("ListVersionsByFunction", FunctionName="f"))["Versions"]
    assert [one["Version"] for one in listed] == ["$LATEST", "1", PUBLISHED]
    listed = (await world.call("ListFunctions", FunctionVersion="ALL"))["Functions"]
    assert [one["FunctionArn"] for one in listed] == [f"{ARN}:$LATEST", f"{ARN}:1", f"{ARN}:{PUBLISHED}"]


async def test_publishing_again_replaces_it(world: Any, make_zip: Any) -> None:
    """Configuration and code change together, and its running environments take nothing more."""
    await world.create()
    before = await world.call("PublishVersion", FunctionName="f", **TO)
    await world.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=9)
    await world.active()
    assert (await shown(world))["Timeout"] == 3
    world.engine.retired.clear()
    after = await world.call("PublishVersion", FunctionName="f", **TO)
    assert (after["Timeout"], after["RevisionId"] != before["RevisionId"]) == (9, True)
    assert (ARN, PUBLISHED) in world.engine.retired
    code = make_zip("other = 1")
    updated = await world.call("UpdateFunctionCode", FunctionName="f", ZipFile=code, Publish=True, **TO)
    assert (updated["Version"], updated["LastUpdateStatus"]) == (PUBLISHED, "InProgress")
    assert updated["CodeSha256"] != after["CodeSha256"]
    assert (await shown(world))["CodeSha256"] == updated["CodeSha256"]
    assert (await world.call("GetFunction", FunctionName=f"{ARN}:{PUBLISHED}"))["Configuration"]["State"] == "Active"


async def test_it_runs_what_it_was_until_the_new_one_is_ready(world: Any, make_zip: Any) -> None:
    """While its replacement is prepared, the version goes on with its code."""
    await world.create(Publish=True, **TO)
    old = (await shown(world))["CodeSha256"]
    world.runtimes.gate.clear()
    await world.call("UpdateFunctionCode", FunctionName="f", ZipFile=make_zip("other = 1"), **TO)
    await world.call("Invoke", FunctionName="f", Qualifier=PUBLISHED)
    ran = world.engine.invoker.calls[-1][0]
    assert ran.version == PUBLISHED
    first_code = ran.code
    world.runtimes.gate.set()
    assert (await shown(world))["CodeSha256"] != old
    await world.call("Invoke", FunctionName="f", Qualifier=PUBLISHED)
    assert world.engine.invoker.calls[-1][0].code != first_code


async def test_create_can_publish_there(world: Any) -> None:
    """PublishTo publishes, with Publish or without."""
    for name, more in (("f", {}), ("g", {"Publish": True})):
        answer = await world.create(name, **TO, **more)
        assert answer["Version"] == PUBLISHED
        assert (await world.active(name, PUBLISHED))["State"] == "Active"
        error = await world.fails("GetFunction", FunctionName=name, Qualifier="1")
        assert error.code == "ResourceNotFoundException"
    assert (await world.call("PublishVersion", FunctionName="f"))["Version"] == "1"


async def test_it_is_a_version_to_everything_else(world: Any) -> None:
    """Aliases, policies and event configurations take it; deleted, it and its own are gone."""
    await world.create()
    error = await world.fails("Invoke", FunctionName="f", Qualifier=PUBLISHED)
    assert error.message == f"Function not found: {ARN}:{PUBLISHED}"
    await world.call("PublishVersion", FunctionName="f", **TO)
    await world.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion=PUBLISHED)
    await world.call("Invoke", FunctionName="f:live")
    assert world.engine.invoker.calls[-1][0].version == PUBLISHED
    await world.call("PutFunctionEventInvokeConfig", FunctionName="f", Qualifier=PUBLISHED, MaximumRetryAttempts=1)
    await world.call(
        "AddPermission", FunctionName=f"f:{PUBLISHED}", StatementId="s", Action="lambda:*", Principal="s3.amazonaws.com"
    )
    config = {"FunctionName": "f", "Qualifier": PUBLISHED}
    assert "live" in (await world.fails("DeleteFunction", **config)).message
    await world.call("DeleteAlias", FunctionName="f", Name="live")
    await world.call("DeleteFunction", **config)
    for operation in ("GetFunction", "GetPolicy", "GetFunctionEventInvokeConfig"):
        assert (await world.fails(operation, **config)).status == 404
    await world.call("GetFunction", FunctionName="f")


@pytest.mark.parametrize("number", ["2147483647", "2147483648"])
async def test_no_number_means_it(world: Any, number: str) -> None:
    """A number as large as any is that of no version."""
    await world.create()
    await world.call("PublishVersion", FunctionName="f", **TO)
    assert (await world.fails("GetFunction", FunctionName="f", Qualifier=number)).status == 404


async def test_another_place_is_refused(world: Any) -> None:
    """LATEST_PUBLISHED is the only place there is."""
    await world.create()
    assert (await world.fails("PublishVersion", FunctionName="f", PublishTo="ELSEWHERE")).code == "ValidationException"


async def test_there_is_not_both_snap_start_and_provisioned_concurrency(world: Any) -> None:
    """It is refused for a version with SnapStart, for an alias that leads to one, and for an alias that shall."""
    text = "Provisioned Concurrency is not supported for SnapStart enabled functions."
    await world.create(Publish=True)
    await world.call("UpdateFunctionConfiguration", FunctionName="f", SnapStart={"ApplyOn": "PublishedVersions"})
    await world.active()
    assert (await world.call("PublishVersion", FunctionName="f"))["Version"] == "2"
    routing = {"AdditionalVersionWeights": {"2": 0.5}}
    await world.call("CreateAlias", FunctionName="f", Name="new", FunctionVersion="2")
    await world.call("CreateAlias", FunctionName="f", Name="both", FunctionVersion="1", RoutingConfig=routing)
    await world.call("CreateAlias", FunctionName="f", Name="old", FunctionVersion="1")
    one: dict[str, Any] = {"FunctionName": "f", "ProvisionedConcurrentExecutions": 1}
    for qualifier in ("2", "new", "both"):
        error = await world.fails("PutProvisionedConcurrencyConfig", Qualifier=qualifier, **one)
        assert (error.code, error.message, error.status) == ("InvalidParameterValueException", text, 400)
    await world.call("PutProvisionedConcurrencyConfig", Qualifier="old", **one)
    changes: tuple[dict[str, Any], ...] = ({"FunctionVersion": "2"}, {"RoutingConfig": routing})
    for change in changes:
        assert (await world.fails("UpdateAlias", FunctionName="f", Name="old", **change)).message == text
    await world.call("UpdateAlias", FunctionName="f", Name="old", Description="still one version without it")
    await world.call("DeleteProvisionedConcurrencyConfig", FunctionName="f", Qualifier="old")
    await world.call("UpdateAlias", FunctionName="f", Name="old", FunctionVersion="2")
