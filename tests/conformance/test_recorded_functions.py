"""Scenarios recorded on AWS, replayed: functions, versions, aliases, revisions, names."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

ACCOUNT = "111111111111"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/worker"
ARN = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:"
VARS = {"Environment": {"Variables": {}}}


def new(zip_file: bytes, **more: Any) -> dict[str, Any]:
    """Parameters of CreateFunction as the recorded scenarios used them."""
    base = {"FunctionName": "fn-1", "Runtime": "python3.12", "Role": ROLE, "Handler": "index.handler"}
    return {**base, "Code": {"ZipFile": zip_file}, **more}


async def test_function_lifecycle(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaFunction::test_function_lifecycle"""
    s = scenario("test_lambda_api.py::TestLambdaFunction::test_function_lifecycle")
    await s(
        "create_response",
        "CreateFunction",
        **new(make_zip(), Handler="handler.handler", MemorySize=256, Timeout=5, **VARS),
    )
    await world.active("fn-1")
    await s("get_function_response", "GetFunction", FunctionName="fn-1")
    await s(
        "update_func_conf_response",
        "UpdateFunctionConfiguration",
        FunctionName="fn-1",
        Description="Changed-Description",
        MemorySize=512,
        Timeout=10,
        Runtime="python3.11",
        Environment={"Variables": {"ENV_A": "a"}},
    )
    await world.active("fn-1")
    await s("get_function_response_postupdate", "GetFunction", FunctionName="fn-1")
    await s("update_code_response", "UpdateFunctionCode", FunctionName="fn-1", ZipFile=make_zip("x = 1"))
    await world.active("fn-1")
    await s("get_function_response_postcodeupdate", "GetFunction", FunctionName="fn-1")
    await s("delete_response", "DeleteFunction", FunctionName="fn-1")
    await s("delete_postdelete", "GetFunction", FunctionName="fn-1")
    assert s.seen == set(s.steps)


async def test_redundant_updates(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaFunction::test_redundant_updates"""
    s = scenario("test_lambda_api.py::TestLambdaFunction::test_redundant_updates")
    created = new(make_zip(), Handler="handler.handler", Description="Initial description", Timeout=30, **VARS)
    recorded = s.steps["create_response"].get("CreateFunctionResponse", s.steps["create_response"])
    created["Description"] = recorded["Description"]
    await s("create_response", "CreateFunction", **created)
    await world.active("fn-1")
    change = {"FunctionName": "fn-1", "Description": "1st update description"}
    await s("first_update_result", "UpdateFunctionConfiguration", **change)
    await world.active("fn-1")
    await s("get_fn_config_result", "GetFunctionConfiguration", FunctionName="fn-1")
    await s("get_fn_result", "GetFunction", FunctionName="fn-1")
    await s("redundant_update_result", "UpdateFunctionConfiguration", **change)
    await world.active("fn-1")
    await s("get_fn_result_after_redundant_update", "GetFunction", FunctionName="fn-1")
    assert s.seen == set(s.steps)


@pytest.mark.parametrize("operation", ["delete_function", "get_function", "get_function_configuration"])
async def test_qualifier_mismatch(scenario: Any, operation: str) -> None:
    """TestLambdaFunction::test_ops_with_arn_qualifier_mismatch"""
    s = scenario(f"test_lambda_api.py::TestLambdaFunction::test_ops_with_arn_qualifier_mismatch[{operation}]")
    name = "".join(part.capitalize() for part in operation.split("_"))
    await s("not_match_exception", name, FunctionName=f"{ARN}some-function:1", Qualifier="$LATEST")
    await s("match_exception", name, FunctionName=f"{ARN}some-function:$LATEST", Qualifier="$LATEST")
    assert s.seen == set(s.steps)


@pytest.mark.parametrize(
    "operation", ["get_function", "get_function_configuration", "get_function_event_invoke_config"]
)
async def test_nonexisting_version(world: Any, scenario: Any, operation: str) -> None:
    """TestLambdaFunction::test_ops_on_nonexisting_version"""
    s = scenario(f"test_lambda_api.py::TestLambdaFunction::test_ops_on_nonexisting_version[{operation}]")
    await world.create("fn-1")
    name = "".join(part.capitalize() for part in operation.split("_"))
    await s("version_not_found_exception", name, FunctionName="fn-1", Qualifier="1221")
    assert s.seen == set(s.steps)


async def test_delete_nonexisting_version(world: Any, scenario: Any) -> None:
    """TestLambdaFunction::test_delete_on_nonexisting_version"""
    s = scenario("test_lambda_api.py::TestLambdaFunction::test_delete_on_nonexisting_version")
    await s("delete_function_response_non_existent", "DeleteFunction", FunctionName="fn-1")
    await s(
        "delete_function_response_non_existent_with_qualifier", "DeleteFunction", FunctionName="fn-1", Qualifier="1"
    )
    assert s.seen == set(s.steps)


@pytest.mark.parametrize(
    "operation",
    [
        "delete_function",
        "get_function",
        "get_function_configuration",
        "get_function_event_invoke_config",
        "get_function_concurrency",
    ],
)
async def test_nonexisting_function(scenario: Any, operation: str) -> None:
    """TestLambdaFunction::test_ops_on_nonexisting_fn and test_get_function_wrong_region"""
    s = scenario(f"test_lambda_api.py::TestLambdaFunction::test_ops_on_nonexisting_fn[{operation}]")
    name = "".join(part.capitalize() for part in operation.split("_"))
    await s("not_found_exception", name, FunctionName="i-dont-exist-1")
    s = scenario(f"test_lambda_api.py::TestLambdaFunction::test_get_function_wrong_region[{operation}]")
    await s("wrong_region_exception", name, FunctionName=f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:f")


async def test_code_locations(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaFunction::test_lambda_code_location_zipfile, test_lambda_code_location_s3 and its errors"""
    s = scenario("test_lambda_api.py::TestLambdaFunction::test_lambda_code_location_zipfile")
    await s("create-response-zip-file", "CreateFunction", **new(make_zip()))
    await world.active("fn-1")
    await s("get-function-response", "GetFunction", FunctionName="fn-1")
    world.runtimes.gate.clear()
    await s("update-function-response", "UpdateFunctionCode", FunctionName="fn-1", ZipFile=make_zip("a = 1"))
    await s("get-function-response-updated", "GetFunction", FunctionName="fn-1")
    world.runtimes.gate.set()
    assert s.seen == set(s.steps)
    s = scenario("test_lambda_api.py::TestLambdaFunction::test_lambda_code_location_s3")
    world.objects["bucket", "one.zip"], world.objects["bucket", "two.zip"] = make_zip("b = 1"), make_zip("c = 1")
    source = {"S3Bucket": "bucket", "S3Key": "one.zip"}
    await s("create_response_s3", "CreateFunction", **new(b"", FunctionName="fn-2", Code=source))
    await world.active("fn-2")
    await s("get-function-response", "GetFunction", FunctionName="fn-2")
    world.runtimes.gate.clear()
    await s("update-function-response", "UpdateFunctionCode", FunctionName="fn-2", S3Bucket="bucket", S3Key="two.zip")
    await s("get-function-response-updated", "GetFunction", FunctionName="fn-2")
    world.runtimes.gate.set()
    await world.active("fn-2")
    assert s.seen == set(s.steps)
    s = scenario("test_lambda_api.py::TestLambdaFunction::test_lambda_code_location_s3_errors")
    wrong = {"S3Bucket": "nowhere", "S3Key": "k"}
    await s("create-error-wrong-bucket", "CreateFunction", **new(b"", FunctionName="fn-3", Code=wrong))
    missing = {"S3Bucket": "bucket", "S3Key": "k"}
    await s("create-error-wrong-key", "CreateFunction", **new(b"", FunctionName="fn-3", Code=missing))
    await s("update-error-wrong-bucket", "UpdateFunctionCode", FunctionName="fn-2", **wrong)
    await s("update-error-wrong-key", "UpdateFunctionCode", FunctionName="fn-2", **missing)


async def test_publish_on_create(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaVersions::test_publish_version_on_create"""
    s = scenario("test_lambda_api.py::TestLambdaVersions::test_publish_version_on_create")
    await s("create_response", "CreateFunction", **new(make_zip(), Publish=True))
    await world.active("fn-1")
    await world.active("fn-1", "1")
    await s("get_function_result", "GetFunction", FunctionName="fn-1")
    await s("get_function_version_result", "GetFunction", FunctionName="fn-1", Qualifier="1")
    await s("get_function_latest_result", "GetFunction", FunctionName="fn-1", Qualifier="$LATEST")
    await s("list_versions_result", "ListVersionsByFunction", FunctionName="fn-1")
    await s("repeated_publish_response", "PublishVersion", FunctionName="fn-1")
    await s("list_versions_result_after_publish", "ListVersionsByFunction", FunctionName="fn-1")
    assert s.seen == set(s.steps)


async def test_version_lifecycle(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaVersions::test_version_lifecycle"""
    s = scenario("test_lambda_api.py::TestLambdaVersions::test_version_lifecycle")
    await s("create_response", "CreateFunction", **new(make_zip(), Description="No version :("))
    await world.active("fn-1")
    await s("get_function_result", "GetFunction", FunctionName="fn-1")
    await s("list_versions_result", "ListVersionsByFunction", FunctionName="fn-1")
    change = {"FunctionName": "fn-1", "Description": "First version :)"}
    await s("first_update_response", "UpdateFunctionConfiguration", **change)
    await world.active("fn-1")
    await s("first_update_get_function", "GetFunction", FunctionName="fn-1")
    publish = {"FunctionName": "fn-1", "Description": "First version description :)"}
    await s("first_publish_response", "PublishVersion", **publish)
    await s("first_publish_get_function", "GetFunction", FunctionName="fn-1", Qualifier="1")
    await s("first_publish_get_function_config", "GetFunctionConfiguration", FunctionName="fn-1", Qualifier="1")
    change = {"FunctionName": "fn-1", "Description": "Second version :))"}
    await s("second_update_response", "UpdateFunctionConfiguration", **change)
    await world.active("fn-1")
    await s("first_publish_get_function_after_update", "GetFunction", FunctionName="fn-1", Qualifier="1")
    await s("second_publish_response", "PublishVersion", FunctionName="fn-1")
    await s("third_publish_response", "PublishVersion", FunctionName="fn-1")
    await s("list_versions_result_after_third_publish", "ListVersionsByFunction", FunctionName="fn-1")
    await s("", "DeleteFunction", FunctionName="fn-1", Qualifier="1")
    await s("list_versions_result_after_deletion_of_first_version", "ListVersionsByFunction", FunctionName="fn-1")
    assert s.seen == set(s.steps)


async def test_publish_checks(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaVersions::test_publish_with_wrong_revisionid and test_publish_with_wrong_sha256"""
    s = scenario("test_lambda_api.py::TestLambdaVersions::test_publish_with_wrong_revisionid")
    await s("create_response", "CreateFunction", **new(make_zip(), **_same_function(s)))
    await world.active("fn-1")
    shown = await s("get_fn_response", "GetFunction", FunctionName="fn-1")
    await s("publish_wrong_revisionid_exc", "PublishVersion", FunctionName="fn-1", RevisionId="wrong")
    revision = shown["Configuration"]["RevisionId"]
    await s("publish_result", "PublishVersion", FunctionName="fn-1", RevisionId=revision)
    s = scenario("test_lambda_api.py::TestLambdaVersions::test_publish_with_wrong_sha256")
    await s("create_response", "CreateFunction", **new(make_zip(), FunctionName="fn-2", **_same_function(s)))
    await world.active("fn-2")
    shown = await s("get_fn_response", "GetFunction", FunctionName="fn-2")
    await s("publish_wrong_sha256_exc", "PublishVersion", FunctionName="fn-2", CodeSha256="somenonexistentsha256")
    sha256 = shown["Configuration"]["CodeSha256"]
    await s("publish_result", "PublishVersion", FunctionName="fn-2", CodeSha256=sha256)
    assert s.seen == set(s.steps)


async def test_publish_with_update(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaVersions::test_publish_with_update"""
    s = scenario("test_lambda_api.py::TestLambdaVersions::test_publish_with_update")
    await s("create_response", "CreateFunction", **new(make_zip()))
    await world.active("fn-1")
    await s("get_function_result", "GetFunction", FunctionName="fn-1")
    world.runtimes.gate.clear()
    update = {"FunctionName": "fn-1", "ZipFile": make_zip("a = 1"), "Publish": True}
    await s("update_function_code_result", "UpdateFunctionCode", **update)
    await s("get_function_version_result", "GetFunction", FunctionName="fn-1", Qualifier="1")
    await s("get_function_latest_result", "GetFunction", FunctionName="fn-1", Qualifier="$LATEST")
    world.runtimes.gate.set()
    assert s.seen == set(s.steps)


async def test_alias_lifecycle(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaAlias::test_alias_lifecycle"""
    s = scenario("test_lambda_api.py::TestLambdaAlias::test_alias_lifecycle")
    recorded = s.steps["create_response"]
    created = new(make_zip())
    for member in ("Environment", "Timeout", "Handler", "Description"):
        if member in recorded:
            created[member] = recorded[member]
    await s("create_response", "CreateFunction", **created)
    await world.active("fn-1")
    await s("publish_v1", "PublishVersion", FunctionName="fn-1", **_described(s, "publish_v1"))
    after = s.steps["publish_v2"]
    change = {name: after[name] for name in ("Environment", "Timeout", "MemorySize") if name in after}
    await s("", "UpdateFunctionConfiguration", FunctionName="fn-1", **change)
    await world.active("fn-1")
    await s("publish_v2", "PublishVersion", FunctionName="fn-1", **_described(s, "publish_v2"))
    await _aliases(s)
    assert s.seen == set(s.steps)


def _described(s: Any, step: str) -> dict[str, str]:
    text = s.steps[step]["Description"]
    return {"Description": text} if text else {}


async def _aliases(s: Any) -> None:
    fn = {"FunctionName": "fn-1"}
    custom = {"Description": "custom-alias"}
    weights = {"RoutingConfig": {"AdditionalVersionWeights": {"2": 0.2}}}
    await s("create_alias_1_1", "CreateAlias", **fn, Name="aliasname1_1", FunctionVersion="1", **custom, **weights)
    await s("get_alias_1_1", "GetAlias", **fn, Name="aliasname1_1")
    await s("get_function_alias_1_1", "GetFunction", **fn, Qualifier="aliasname1_1")
    await s("get_function_byarn_alias_1_1", "GetFunction", FunctionName=f"{ARN}fn-1:aliasname1_1")
    await s("get_function_alias_notfound_exc", "GetFunction", **fn, Qualifier="aliasdoesnotexist")
    await s("get_function_alias_byarn_notfound_exc", "GetFunction", FunctionName=f"{ARN}fn-1:aliasdoesnotexist")
    await s("create_alias_1_2", "CreateAlias", **fn, Name="aliasname1_2", FunctionVersion="1", **custom)
    await s("get_alias_1_2", "GetAlias", **fn, Name="aliasname1_2")
    await s("create_alias_1_3", "CreateAlias", **fn, Name="aliasname1_3", FunctionVersion="1")
    await s("get_alias_1_3", "GetAlias", **fn, Name="aliasname1_3")
    await s("create_alias_2", "CreateAlias", **fn, Name="aliasname2", FunctionVersion="2", **custom)
    await s("get_alias_2", "GetAlias", **fn, Name="aliasname2")
    await s("list_aliases_for_fnname", "ListAliases", **fn)
    none: dict[str, Any] = {"RoutingConfig": {"AdditionalVersionWeights": {}}}
    await s("update_alias_1_1", "UpdateAlias", **fn, Name="aliasname1_1", **none)
    await s("get_alias_1_1_after_update", "GetAlias", **fn, Name="aliasname1_1")
    await s("list_aliases_for_fnname_after_update", "ListAliases", **fn)
    await s("update_alias_1_2", "UpdateAlias", **fn, Name="aliasname1_2", **none)
    await s("get_alias_1_2_after_update", "GetAlias", **fn, Name="aliasname1_2")
    await s("list_aliases_for_fnname_after_update_2", "ListAliases", **fn)
    await s("list_aliases_for_version", "ListAliases", **fn, FunctionVersion="1")
    await s("delete_alias_response", "DeleteAlias", **fn, Name="aliasname1_1")
    await s("list_aliases_for_fnname_afterdelete", "ListAliases", **fn)


async def test_alias_errors(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaAlias::test_notfound_and_invalid_routingconfigs, test_alias_naming, updates of what is not there"""
    s = scenario("test_lambda_api.py::TestLambdaAlias::test_notfound_and_invalid_routingconfigs")
    recorded = s.steps["create_response"]
    shown = {name: recorded[name] for name in ("Handler", "Timeout", "Runtime", "Environment")}
    await s("create_response", "CreateFunction", **new(make_zip(), **shown, Publish=True))
    await world.active("fn-1")
    await world.active("fn-1", "1")
    await s("publish_v1", "PublishVersion", FunctionName="fn-1")
    prod = s.steps["publish_v2"]["Environment"]
    await s("", "UpdateFunctionConfiguration", FunctionName="fn-1", Environment=prod)
    await world.active("fn-1")
    await s("publish_v2", "PublishVersion", FunctionName="fn-1")

    def alias(version: str = "1", name: str = "custom", fn: str = "fn-1", **weights: float) -> dict[str, Any]:
        params: dict[str, Any] = {"FunctionName": fn, "Name": name, "FunctionVersion": version}
        if weights:
            params["RoutingConfig"] = {"AdditionalVersionWeights": weights}
        return params

    await s("routing_config_exc_toomany", "CreateAlias", **alias("1", **{"1": 0.8, "2": 0.2}))
    await s("routing_config_exc_toohigh", "CreateAlias", **alias("1", **{"2": 2.0}))
    await s("routing_config_exc_subzero", "CreateAlias", **alias("1", **{"2": -1.0}))
    await s("routing_config_exc_sameversion", "CreateAlias", **alias("1", **{"1": 0.5}))
    await s("target_version_doesnotexist", "CreateAlias", **alias("10", **{"2": 0.5}))
    await s("routing_config_exc_version_doesnotexist", "CreateAlias", **alias("1", **{"10": 0.5}))
    await s("target_version_exc_version_latest", "CreateAlias", **alias("$LATEST", **{"1": 0.5}))
    await s("routing_config_exc_version_latest", "CreateAlias", **alias("1", **{"$LATEST": 0.5}))
    await s("create-alias-latest", "CreateAlias", **alias("$LATEST", s.steps["create-alias-latest"]["Name"]))
    await s("routing_config_exc_fn_doesnotexist", "CreateAlias", **alias("1", fn="fn-1-unknown", **{"2": 0.5}))
    name = s.steps["create_alias_empty_routingconfig"]["Name"]
    await s("create_alias_empty_routingconfig", "CreateAlias", **alias("1", name), RoutingConfig={})
    await s("create_alias_response", "CreateAlias", **alias("1", **{"2": 0.5}))
    await s("routing_config_exc_already_exist", "CreateAlias", **alias("1", **{"2": 0.5}))
    await s("alias_does_not_exist_esc", "GetAlias", FunctionName="fn-1", Name="non-existent")
    assert s.seen == set(s.steps)
    s = scenario("test_lambda_api.py::TestLambdaAlias::test_alias_naming")
    await s("create_alias_number_exception", "CreateAlias", **alias("1", "2024"))
    s = scenario("test_lambda_api.py::TestLambdaAlias::test_non_existent_alias_update")
    await s("update_alias_response", "UpdateAlias", FunctionName="fn-1", Name="non-existent")


async def test_revisions(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaRevisions::test_function_revisions_basic and test_function_revisions_version_and_alias"""
    s = scenario("test_lambda_api.py::TestLambdaRevisions::test_function_revisions_basic")
    recorded = s.steps["create_function_response_rev1"]["CreateFunctionResponse"]
    created = new(make_zip(), **{name: recorded[name] for name in ("Timeout", "Handler", "Environment")})
    await s("create_function_response_rev1", "CreateFunction", **created)
    await world.active("fn-1")
    fn = {"FunctionName": "fn-1"}
    await s("get_function_response_rev2", "GetFunction", **fn)
    await s("update_function_revision_exception", "UpdateFunctionCode", **fn, ZipFile=make_zip(), RevisionId="wrong")
    await s("update_function_code_response_rev3", "UpdateFunctionCode", **fn, ZipFile=make_zip())
    await world.active("fn-1")
    rev4 = await s("get_function_response_rev4", "GetFunction", **fn)
    configure = "UpdateFunctionConfiguration"
    runtime = s.steps["update_function_configuration_response_rev5"]["Runtime"]
    await s("update_function_configuration_revision_exception", configure, **fn, Runtime=runtime, RevisionId="wrong")
    right = {"Runtime": runtime, "RevisionId": rev4["Configuration"]["RevisionId"]}
    await s("update_function_configuration_response_rev5", configure, **fn, **right)
    await world.active("fn-1")
    await s("get_function_response_rev6", "GetFunction", **fn)
    assert s.seen == set(s.steps)
    s = scenario("test_lambda_api.py::TestLambdaRevisions::test_function_revisions_version_and_alias")
    fn = {"FunctionName": "fn-2"}
    await s("create_function_response_rev1", "CreateFunction", **{**created, **fn, **_same_function(s)})
    await world.active("fn-2")
    await s("get_function_active_rev2", "GetFunction", **fn)
    await s("publish_version_revision_exception", "PublishVersion", **fn, RevisionId="wrong")
    await s("publish_version_response_rev_v1", "PublishVersion", **fn)
    await s("get_function_published_version_rev_v2", "GetFunction", **fn, Qualifier="1")
    await s("get_function_latest_rev3", "GetFunction", **fn)
    name = s.steps["create_alias_response_rev_a1"]["Name"]
    name = "revision_alias" if "<" in name else name
    await s("create_alias_response_rev_a1", "CreateAlias", **fn, Name=name, FunctionVersion="1")
    await s("get_function_latest_rev4", "GetFunction", **fn)
    await s("get_function_published_version_rev_v3", "GetFunction", **fn, Qualifier="1")
    await s("update_alias_revision_exception", "UpdateAlias", **fn, Name=name, RevisionId="wrong")
    text = "something changed"
    await s("update_alias_response_rev_a2", "UpdateAlias", **fn, Name=name, Description=text)
    assert s.seen == set(s.steps)


def _same_function(s: Any, step: str = "") -> dict[str, Any]:
    """Parameters that make the function which a scenario's first step (or the one named) created."""
    recorded = s.steps[step] if step else next(iter(s.steps.values()))
    recorded = recorded.get("CreateFunctionResponse", recorded)
    return {
        name: recorded[name]
        for name in ("Handler", "Timeout", "MemorySize", "Runtime", "Environment")
        if name in recorded
    }


async def test_create_and_update_errors(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaFunction::test_create_lambda_exceptions and test_update_lambda_exceptions"""
    s = scenario("test_lambda_api.py::TestLambdaFunction::test_create_lambda_exceptions")
    await s("invalid_role_arn_exc", "CreateFunction", **new(make_zip(), Role="r1"))
    await s("invalid_runtime_exc", "CreateFunction", **new(make_zip(), Runtime="non-existent-runtime"))
    await s("uppercase_runtime_exc", "CreateFunction", **new(make_zip(), Runtime="PYTHON3.9"))
    await s("multiple_architectures", "CreateFunction", **new(make_zip(), Architectures=["x86_64", "arm64"]))
    await s("uppercase_architecture", "CreateFunction", **new(make_zip(), Architectures=["X86_64"]))
    await s("invalid_zip_exc", "CreateFunction", **new(b"this is not a zipfile, just a random string"))
    assert s.seen == set(s.steps) - {"empty_architectures"}  # refused by boto3, before it was sent
    s = scenario("test_lambda_api.py::TestLambdaFunction::test_update_lambda_exceptions")
    await world.create("fn-1")
    update = "UpdateFunctionConfiguration"
    await s("invalid_role_arn_exc", update, FunctionName="fn-1", Role="r1")
    await s("invalid_runtime_exc", update, FunctionName="fn-1", Runtime="non-existent-runtime")
    await s("uppercase_runtime_exc", update, FunctionName="fn-1", Runtime="PYTHON3.9")


async def test_function_arns(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaFunction::test_function_arns"""
    s = scenario("test_lambda_api.py::TestLambdaFunction::test_function_arns")
    recorded = s.steps["create-function-arn-response"]["CreateFunctionResponse"]
    created = new(make_zip(), **{name: recorded[name] for name in ("Timeout", "Handler", "Environment")})
    await s("create-function-arn-response", "CreateFunction", **{**created, "FunctionName": f"{ARN}fn-1"})
    partial = {**created, "FunctionName": f"{ACCOUNT}:function:fn-2", "Code": {"ZipFile": make_zip("a = 1")}}
    await s("create-function-partial-arn-response", "CreateFunction", **partial)
    await s("invalid_function_name_exc", "CreateFunction", **{**created, "FunctionName": "invalid:function:name"})
    await s("long_function_name_exc", "CreateFunction", **{**created, "FunctionName": "a" * 65})
    await s("long_function_arn_exc", "CreateFunction", **{**created, "FunctionName": ARN + "a" * 200})
    other = f"arn:aws:lambda:ap-southeast-1:{ACCOUNT}:function:f"
    await s("function_arn_other_region_exc", "CreateFunction", **{**created, "FunctionName": other})


@pytest.mark.parametrize(
    "runtime", ["java8", "go1.x", "provided", "ruby2.7", "nodejs14.x", "python3.7", "dotnetcore3.1"]
)
async def test_retired_runtimes(scenario: Any, make_zip: Any, runtime: str) -> None:
    """TestRuntimeValidation::test_create_deprecated_function_runtime_with_validation_enabled"""
    name = f"test_create_deprecated_function_runtime_with_validation_enabled[{runtime}]"
    s = scenario(f"test_lambda_api.py::TestRuntimeValidation::{name}")
    await s("deprecation_error", "CreateFunction", **new(make_zip(), Runtime=runtime))


@pytest.mark.slow
async def test_size_limits(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaSizeLimits: environment, zipped and unzipped sizes, the request's size"""
    variables = {"LARGE_VAR": "x" * 4096}
    s = scenario("test_lambda_api.py::TestLambdaSizeLimits::test_large_environment_variables_fails")
    big = {
        "LARGE_VAR": json.loads(s.steps["failed_create_fn_result"]["Error"]["Message"].split("measured: ")[1])[
            "LARGE_VAR"
        ]
    }
    assert len(big["LARGE_VAR"]) <= len(variables["LARGE_VAR"])
    await s("failed_create_fn_result", "CreateFunction", **new(make_zip(), Environment={"Variables": big}))
    s = scenario("test_lambda_api.py::TestLambdaSizeLimits::test_large_environment_fails_multiple_keys")
    big = json.loads(s.steps["failured_create_fn_result_multi_key"]["Error"]["Message"].split("measured: ")[1])
    await s("failured_create_fn_result_multi_key", "CreateFunction", **new(make_zip(), Environment={"Variables": big}))
    s = scenario("test_lambda_api.py::TestLambdaSizeLimits::test_lambda_envvars_near_limit_succeeds")
    recorded = s.steps["successful_create_fn_result"].get(
        "CreateFunctionResponse", s.steps["successful_create_fn_result"]
    )
    near = {name: recorded[name] for name in ("Environment", "Timeout", "Handler", "MemorySize")}
    await s("successful_create_fn_result", "CreateFunction", **new(make_zip(), **near))
    s = scenario("test_lambda_api.py::TestLambdaSizeLimits::test_oversized_zipped_create_lambda")
    await s("invalid_param_exc", "CreateFunction", **new(b"x" * 52_428_800, FunctionName="big"))
    s = scenario("test_lambda_api.py::TestLambdaSizeLimits::test_oversized_request_create_lambda")
    await s("invalid_param_exc", "CreateFunction", **new(b"x" * 52_700_000, FunctionName="big"))
    s = scenario("test_lambda_api.py::TestLambdaSizeLimits::test_oversized_unzipped_lambda")
    await s("invalid_param_exc", "CreateFunction", **new(_bomb(), FunctionName="big"))


def _bomb() -> bytes:
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file, file.open("handler.py", "w") as entry:
        for _ in range(251):
            entry.write(bytes(1 << 20))
    return buffer.getvalue()


_NAMES = {
    "function_name_is_single_invalid": ("*", None),
    "invalid_characters_in_function_name": ("my-function!", None),
    "invalid_characters_in_qualifier": ("my-function", "invalid!"),
    "invalid_account_id_in_partial_arn": ("invalid-account:function:my-function", None),
    "invalid_region_in_arn": (f"arn:aws:lambda:invalid-region:{ACCOUNT}:function:my-function", None),
    "non_lambda_arn": (f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance:i-1234567890abcdef0", None),
    "function_name_too_long": ("a" * 65, None),
    "full_arn_with_multiple_qualifiers": (f"{ARN}my-function:1:2", None),
    "incomplete_arn": ("arn:aws:lambda:us-east-1:111111111111:function", None),
    "partial_arn_with_extra_qualifier": ("function:my-function:$LATEST:extra", None),
    "latest_version_with_additional_qualifier": (f"{ARN}my-function:$LATEST", "1"),
    "lowercase_latest_qualifier": (f"{ARN}my-function", "$latest"),
    "missing_region_in_arn": (f"arn:aws:lambda::{ACCOUNT}:function:my-function", None),
    "missing_account_id_in_arn": ("arn:aws:lambda:us-east-1::function:my-function", None),
    "misspelled_latest_in_arn": (f"{ARN}my-function:$LATES", None),
    "function_name_and_qualifier_too_long": (f"my-function:{'a' * 65}", None),
    "qualifier_too_long": ("my-function", "a" * 129),
    "qualifier_too_long0": ("my-function", "a" * 129),
    "qualifier_too_long1": (f"my-function:{'a' * 65}", None),
    "function_name_too_long_and_invalid_region": (
        f"arn:aws:lambda:invalid-region:{ACCOUNT}:function:my-function{'a' * 170}",
        None,
    ),
    "full_arn_and_qualifier_too_long_and_invalid_region": (
        f"arn:aws:lambda:invalid-region:{ACCOUNT}:function:my-function-{'a' * 170}",
        "a" * 129,
    ),
}


@pytest.mark.parametrize("case", _NAMES)
async def test_names_and_qualifiers(scenario: Any, make_zip: Any, case: str) -> None:
    """TestLambdaFunction::test_function_name_and_qualifier_validation"""
    name, qualifier = _NAMES[case]
    for operation in ("get_function", "delete_function", "invoke", "create_function"):
        s = scenario(
            f"test_lambda_api.py::TestLambdaFunction::test_function_name_and_qualifier_validation[{case}-{operation}]"
        )
        expected = s.steps.get(f"{operation}_exception")
        if not expected:
            continue
        params: dict[str, Any] = {"FunctionName": name}
        if operation == "create_function":
            params = new(make_zip(), FunctionName=f"{name}:{qualifier}" if qualifier else name)
        elif qualifier is not None:
            params["Qualifier"] = qualifier
        error = await s.world.fails("".join(part.capitalize() for part in operation.split("_")), **params)
        assert error.code == expected["Code"]
        texts = expected.get("Errors") or [expected["Message"]]
        if "Errors" in expected:
            assert error.message.startswith(f"{len(texts)} validation error") or len(texts) == 1
        for text in texts:
            wanted = text.replace("<partition>", "aws").replace("<region>", "us-east-1")
            wanted = re.sub(r"<a:len\((\d+)\)>", lambda found: "a" * int(found[1]), wanted)
            assert wanted in error.message
        s.seen.add(f"{operation}_exception")
