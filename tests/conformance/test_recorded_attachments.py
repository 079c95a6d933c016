"""Scenarios recorded on AWS, replayed: layers, permissions, event invoke configurations, tags, concurrency, logging."""

from __future__ import annotations

from typing import Any

import pytest

ACCOUNT = "111111111111"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/worker"
ARN = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:"
LAYER = f"arn:aws:lambda:us-east-1:{ACCOUNT}:layer:"
API = "test_lambda_api.py::"


async def start(world: Any, s: Any, step: str, name: str = "fn-1") -> None:
    """Create the function that the step `step` of a scenario shows."""
    recorded = s.steps[step]
    recorded = recorded.get("CreateFunctionResponse", recorded.get("Configuration", recorded))
    members = ("Handler", "Timeout", "MemorySize", "Runtime", "Environment")
    await world.create(name, **{member: recorded[member] for member in members if member in recorded})


async def test_layer_lifecycle(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaLayer::test_layer_lifecycle"""
    s = scenario(API + "TestLambdaLayer::test_layer_lifecycle")
    await start(world, s, "get_fn_result")
    fn = {"FunctionName": "fn-1"}
    await s("get_fn_result", "GetFunction", **fn)
    await s("get_fn_config_result", "GetFunctionConfiguration", **fn)
    layer = {
        "LayerName": "layer-1",
        "Description": "described",
        "LicenseInfo": "MIT",
        "Content": {"ZipFile": make_zip("layer = 1")},
        "CompatibleRuntimes": ["python3.12"],
        "CompatibleArchitectures": ["x86_64"],
    }
    await s("publish_result", "PublishLayerVersion", **layer)
    await s("publish_result_2", "PublishLayerVersion", **layer)
    await s("update_fn_config", "UpdateFunctionConfiguration", **fn, Layers=[f"{LAYER}layer-1:1"])
    await world.active("fn-1")
    await s("get_fn_config", "GetFunctionConfiguration", **fn)
    await s("get_layer_ver_result", "GetLayerVersion", LayerName="layer-1", VersionNumber=1)
    await s("get_layer_by_arn_version", "GetLayerVersionByArn", Arn=f"{LAYER}layer-1:1")
    await s("list_layer_versions_predelete", "ListLayerVersions", LayerName="layer-1")
    await s("delete_layer_1", "DeleteLayerVersion", LayerName="layer-1", VersionNumber=1)
    await s("get_fn_config_postdelete", "GetFunctionConfiguration", **fn)
    await s("delete_layer_2", "DeleteLayerVersion", LayerName="layer-1", VersionNumber=2)
    await s("list_layer_versions_postdelete", "ListLayerVersions", LayerName="layer-1")
    await s("publish_result_3", "PublishLayerVersion", **layer)
    assert s.seen == set(s.steps)


async def test_layer_exceptions(scenario: Any, make_zip: Any) -> None:
    """TestLambdaLayer::test_layer_exceptions"""
    s = scenario(API + "TestLambdaLayer::test_layer_exceptions")
    content = {"ZipFile": make_zip()}
    both = {
        "CompatibleRuntimes": s.steps["publish_result"]["CompatibleRuntimes"],
        "CompatibleArchitectures": ["x86_64"],
    }
    await s("publish_result", "PublishLayerVersion", LayerName="layer-1", Content=content, **both)
    await s("list_layers_exc_compatiblearchitecture_invalid", "ListLayers", CompatibleArchitecture="archdoesnotexist")
    await s("list_nonexistent_layer", "ListLayerVersions", LayerName="layerdoesnotexist")
    get = "GetLayerVersion"
    await s("get_layer_version_exc_layer_doesnotexist", get, LayerName="layerdoesnotexist", VersionNumber=1)
    negative = "get_layer_version_exc_layer_version_doesnotexist_negative"
    await s(negative, get, LayerName="layer-1", VersionNumber=-1)
    await s("get_layer_version_exc_layer_version_doesnotexist_zero", get, LayerName="layer-1", VersionNumber=0)
    await s("get_layer_version_exc_layer_version_doesnotexist_2", get, LayerName="layer-1", VersionNumber=2)
    await s("get_layer_version_by_arn_exc_invalidarn", "GetLayerVersionByArn", Arn=f"{LAYER}layer-1")
    await s("get_layer_version_by_arn_exc_nonexistentversion", "GetLayerVersionByArn", Arn=f"{LAYER}layer-1:2")
    delete = "DeleteLayerVersion"
    await s("delete_nonexistent_response", delete, LayerName="nosuch", VersionNumber=1)
    await s("delete_nonexistent_version_response", delete, LayerName="layer-1", VersionNumber=2)
    await s("delete_layer_response", delete, LayerName="layer-1", VersionNumber=1)
    await s("delete_layer_again_response", delete, LayerName="layer-1", VersionNumber=1)
    invalid = "delete_layer_version_exc_layerversion_invalid_version"
    await s(invalid, delete, LayerName="layer-1", VersionNumber=-1)
    empty: dict[str, Any] = {"CompatibleRuntimes": [], "CompatibleArchitectures": []}
    await s("publish_empty_result", "PublishLayerVersion", LayerName="layer-2", Content=content, **empty)
    wrong = {"CompatibleRuntimes": ["invalidruntime"], "CompatibleArchitectures": ["invalidarch"]}
    step = "publish_layer_version_exc_invalid_runtime_arch"
    await s(step, "PublishLayerVersion", LayerName="layer-3", Content=content, **wrong)
    wrong = {
        "CompatibleRuntimes": ["invalidruntime", "invalidruntime2", "nodejs20.x"],
        "CompatibleArchitectures": ["invalidarch", "x86_64"],
    }
    step = "publish_layer_version_exc_partially_invalid_values"
    await s(step, "PublishLayerVersion", LayerName="layer-3", Content=content, **wrong)
    # Its text lists the runtimes there were on that day.
    assert s.seen == set(s.steps) - {"list_layers_exc_compatibleruntime_invalid"}


async def test_layers_of_functions(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaLayer::test_layer_function_exceptions, test_layer_function_quota_exception, test_layer_s3_content"""
    s = scenario(API + "TestLambdaLayer::test_layer_function_exceptions")
    layer: dict[str, Any] = {"LayerName": "layer-1", "Content": {"ZipFile": make_zip("a = 1")}}
    layer |= {"CompatibleRuntimes": [], "CompatibleArchitectures": ["x86_64"]}
    for step in ("publish_result", "publish_result_2", "publish_result_3"):
        await s(step, "PublishLayerVersion", **layer)
    await start(world, s, "get_fn_result")
    await s("get_fn_result", "GetFunction", FunctionName="fn-1")

    async def layers(step: str, *arns: str) -> None:
        await s(step, "UpdateFunctionConfiguration", FunctionName="fn-1", Layers=list(arns))

    one = f"{LAYER}layer-1"
    await layers("two_layer_versions_single_function_exc", f"{one}:1", f"{one}:2")
    await layers("three_layer_versions_single_function_exc", f"{one}:1", f"{one}:2", f"{one}:3")
    await layers("two_identical_layer_versions_single_function_exc", f"{one}:1", f"{one}:1")
    await layers("add_nonexistent_layer_exc", f"{LAYER}doesnotexist:1")
    await layers("add_nonexistent_layer_version_exc", f"{one}:9")
    await layers("add_layer_arn_without_version_exc", one)
    elsewhere = f"arn:aws:lambda:eu-west-1:{ACCOUNT}:layer:far:1"
    await layers("create_function_with_layer_in_different_region", elsewhere)
    assert s.seen == set(s.steps)
    s = scenario(API + "TestLambdaLayer::test_layer_function_quota_exception")
    six = [f"{LAYER}layer-{number}:1" for number in range(6)]
    await s("create_function_with_six_layers", "UpdateFunctionConfiguration", FunctionName="fn-1", Layers=six)
    s = scenario(API + "TestLambdaLayer::test_layer_s3_content")
    world.objects["bucket", "layer.zip"] = make_zip("b = 1")
    content = {"S3Bucket": "bucket", "S3Key": "layer.zip"}
    await s("publish_layer_result", "PublishLayerVersion", LayerName="layer-s3", Content=content)


async def test_layer_policies(scenario: Any, make_zip: Any) -> None:
    """TestLambdaLayer::test_layer_policy_lifecycle and test_layer_policy_exceptions"""
    s = scenario(API + "TestLambdaLayer::test_layer_policy_lifecycle")
    content = {"ZipFile": make_zip()}
    first_layer: dict[str, Any] = {"LayerName": "layer-1", "Content": content}
    first_layer |= {"CompatibleRuntimes": ["python3.12"], "CompatibleArchitectures": ["x86_64"]}
    await s("publish_result", "PublishLayerVersion", **first_layer)
    version = {"LayerName": "layer-1", "VersionNumber": 1}
    allow = {"Action": "lambda:GetLayerVersion", "Principal": "*"}
    add, remove, get = "AddLayerVersionPermission", "RemoveLayerVersionPermission", "GetLayerVersionPolicy"
    first = await s("add_policy_s1", add, **version, **allow, StatementId="s1")
    await s("get_layer_version_policy", get, **version)
    await s("add_policy_s2", add, **version, **allow, StatementId="s2", RevisionId=first["RevisionId"])
    second = await s("get_layer_version_policy_postadd2", get, **version)
    await s("remove_s2", remove, **version, StatementId="s2", RevisionId=second["RevisionId"])
    await s("get_layer_version_policy_postdeletes2", get, **version)
    assert s.seen == set(s.steps)
    s = scenario(API + "TestLambdaLayer::test_layer_policy_exceptions")
    layer = {"LayerName": "layer-2", "Content": content}
    recorded = s.steps["publish_result"]
    layer |= {name: recorded[name] for name in ("CompatibleRuntimes", "CompatibleArchitectures") if name in recorded}
    await s("publish_result", "PublishLayerVersion", **layer)
    version = {"LayerName": "layer-2", "VersionNumber": 1}
    await s("layer_permission_nopolicy_get", get, **version)
    await s("add_layer_permission_result", add, **version, **allow, StatementId="s1")
    await s("layer_permission_action_invalid", add, **version, Action="*", Principal="*", StatementId="s2")
    await s("layer_permission_duplicate_statement", add, **version, **allow, StatementId="s1")
    await s("layer_permission_wrong_revision", add, **version, **allow, StatementId="s2", RevisionId="wrong")
    for step, missing in (
        ("layername", {"LayerName": "layer-2-doesnotexist", "VersionNumber": 1}),
        ("layerversion", {"LayerName": "layer-2", "VersionNumber": 2}),
    ):
        await s(f"layer_permission_{step}_doesnotexist_add", add, **missing, **allow, StatementId="s1")
        await s(f"layer_permission_{step}_doesnotexist_get", get, **missing)
        await s(f"layer_permission_{step}_doesnotexist_remove", remove, **missing, StatementId="s1")
    await s("layer_permission_statementid_doesnotexist_remove", remove, **version, StatementId="doesnotexist")
    await s("layer_permission_wrong_revision_remove", remove, **version, StatementId="s1", RevisionId="wrong")
    assert s.seen == set(s.steps)


async def test_event_invoke_lifecycle(world: Any, scenario: Any) -> None:
    """TestLambdaEventInvokeConfig::test_lambda_eventinvokeconfig_lifecycle"""
    s = scenario(API + "TestLambdaEventInvokeConfig::test_lambda_eventinvokeconfig_lifecycle")
    await start(world, s, "publish_version_result")
    fn, put = {"FunctionName": "fn-1"}, "PutFunctionEventInvokeConfig"
    update, get = "UpdateFunctionEventInvokeConfig", "GetFunctionEventInvokeConfig"
    await s("put_invokeconfig_retries_0", put, **fn, MaximumRetryAttempts=0)
    await s("put_invokeconfig_eventage_60", put, **fn, MaximumEventAgeInSeconds=60)
    await s("update_invokeconfig_eventage_nochange", update, **fn, MaximumEventAgeInSeconds=60)
    await s("update_invokeconfig_retries", update, **fn, MaximumRetryAttempts=1)
    await s("get_invokeconfig", get, **fn)
    await s("get_invokeconfig_latest", get, **fn, Qualifier="$LATEST")
    await s("list_single_invokeconfig", "ListFunctionEventInvokeConfigs", **fn)
    await s("publish_version_result", "PublishVersion", **fn)
    await s("get_invokeconfig_postpublish", get, **fn, Qualifier="1")
    await s("put_published_invokeconfig", put, **fn, Qualifier="1", MaximumEventAgeInSeconds=120)
    await s("get_published_invokeconfig", get, **fn, Qualifier="1")
    page = await s("", "ListFunctionEventInvokeConfigs", **fn, MaxItems=1)
    assert page["NextMarker"]
    await s("", "DeleteFunctionEventInvokeConfig", **fn)
    await s("list_paging_nolimit_postdelete", "ListFunctionEventInvokeConfigs", **fn)
    assert s.seen == set(s.steps)


@pytest.mark.slow
async def test_event_invoke_exceptions(world: Any, scenario: Any) -> None:
    """TestLambdaEventInvokeConfig::test_lambda_eventinvokeconfig_exceptions"""
    s = scenario(API + "TestLambdaEventInvokeConfig::test_lambda_eventinvokeconfig_exceptions")
    await start(world, s, "fn_version_result")
    await world.create("fn-2", Handler="index.handler")
    fn, put = {"FunctionName": "fn-1"}, "PutFunctionEventInvokeConfig"
    await s("fn_version_result", "PublishVersion", **fn)
    await s("fn_alias_result", "CreateAlias", **fn, Name="eventinvokealias", FunctionVersion="1")
    once = {"MaximumRetryAttempts": 1}

    async def failure(step: str, target: str, side: str = "OnSuccess") -> None:
        await s(step, put, **fn, DestinationConfig={side: {"Destination": target}})

    await s("put_functionname_name_notfound", put, FunctionName="doesnotexist", **once)
    await s("put_functionname_arn_notfound", put, FunctionName=f"{ARN}doesnotexist", **once)
    await s("put_functionname_nootherargs", put, **fn)
    await failure("put_destination_lambda_doesntexist", f"{ARN}doesnotexist")
    await failure("put_destination_recursive", f"{ARN}fn-1")
    await failure("put_destination_other_lambda", f"{ARN}fn-2")
    await failure("put_destination_invalid_service_arn", f"arn:aws:iam:us-east-1:{ACCOUNT}:function:fn-1")
    await s("put_destination_success_no_destination_arn", put, **fn, DestinationConfig={"OnSuccess": {}})
    await s("put_destination_failure_no_destination_arn", put, **fn, DestinationConfig={"OnFailure": {}})
    bad = f"arn:aws:_-/!lambda:us-east-1:{ACCOUNT}:function:fn-1"
    await failure("put_destination_invalid_arn_pattern", bad, "OnFailure")
    await s("put_destination_latest", put, **fn, **once)
    await s("put_destination_latest_explicit_qualifier", put, **fn, **once, Qualifier="$LATEST")
    await s("put_destination_version", put, **fn, **once, Qualifier="1")
    alias = {"Qualifier": "eventinvokealias"}
    await s("put_alias_functionname_qualifier", put, **fn, **once, **alias)
    await s("put_alias_doesnotexist", put, **fn, **once, Qualifier="eventinvokealiasdoesnotexist")
    by_arn, shorthand = {"FunctionName": f"{ARN}fn-1:eventinvokealias"}, {"FunctionName": "fn-1:eventinvokealias"}
    for name, target in (("qualifiedarn", by_arn), ("shorthand", shorthand)):
        await s(f"put_alias_{name}", put, **target, **once)
        await s(f"put_alias_{name}_qualifier", put, **target, **once, **alias)
        await s(f"put_alias_{name}_qualifierconflict", put, **target, **once, Qualifier="otheralias")
    await s("put_version_shorthand", put, FunctionName="fn-1:1", **once)
    await s("put_shorthand_qualifier_match", put, FunctionName="fn-1:$LATEST", Qualifier="$LATEST", **once)
    await s("put_shorthand_qualifier_mismatch_1", put, FunctionName="fn-1:1", Qualifier="2", **once)
    await s("put_shorthand_qualifier_mismatch_2", put, FunctionName="fn-1:1", Qualifier="$LATEST", **once)
    await s("put_shorthand_qualifier_mismatch_3", put, FunctionName="fn-1:1", **alias, **once)
    most = {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 21600}
    await s("put_maxevent_maxvalue_result", put, **fn, **most)
    await _overwrites(s)


async def _overwrites(s: Any) -> None:
    fn, put = {"FunctionName": "fn-1"}, "PutFunctionEventInvokeConfig"
    update, get = "UpdateFunctionEventInvokeConfig", "GetFunctionEventInvokeConfig"
    delete, listing = "DeleteFunctionEventInvokeConfig", "ListFunctionEventInvokeConfigs"
    both = {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 60}
    await s("put_pre_overwrite", put, **fn, **both)
    await s("put_post_overwrite", put, **fn, MaximumRetryAttempts=0)
    await s("second_overwrite_existing_response", put, **fn, MaximumRetryAttempts=0)
    await s("get_post_overwrite", get, **fn)
    await s("pre_update_response", put, **fn, **both)
    await s("update_response", update, **fn, MaximumRetryAttempts=0)
    await s("update_response_existing", update, **fn, MaximumRetryAttempts=0)
    await s("list_configs", listing, **fn)
    await s("delete_latest", delete, **fn)
    await s("delete_version", delete, **fn, Qualifier="1")
    await s("delete_alias", delete, **fn, Qualifier="eventinvokealias")
    await s("list_configs_postdelete", listing, **fn)
    await s("delete_function_not_found", delete, **fn)
    await s("delete_function_doesnotexist", delete, FunctionName="doesnotexist")
    await s("list_function_doesnotexist", listing, FunctionName="doesnotexist")
    await s("get_function_doesnotexist", get, FunctionName="doesnotexist")
    await s("get_qualifier_doesnotexist", get, **fn, Qualifier="doesnotexist")
    alias = {"Qualifier": "eventinvokealias"}
    once = {"MaximumRetryAttempts": 1}
    await s("update_eventinvokeconfig_function_doesnotexist", update, FunctionName="doesnotexist", **once)
    await s("get_eventinvokeconfig_doesnotexist", get, **fn, **alias)
    await s("update_eventinvokeconfig_config_doesnotexist_with_qualifier", update, **fn, **alias, **once)
    await s("update_eventinvokeconfig_config_doesnotexist_without_qualifier", update, **fn, **once)


async def test_reserved_concurrency(world: Any, scenario: Any) -> None:
    """TestLambdaReservedConcurrency; the account's settings count what is there"""
    s = scenario(API + "TestLambdaReservedConcurrency::test_function_concurrency_exceptions")
    put = "PutFunctionConcurrency"
    step = "put_function_concurrency_with_function_name_doesnotexist"
    await s(step, put, FunctionName="doesnotexist", ReservedConcurrentExecutions=1)
    await s(f"{step}_and_invalid_concurrency", put, FunctionName="doesnotexist", ReservedConcurrentExecutions=5000)
    await world.create("fn-1", Publish=True)
    qualified = {"FunctionName": f"{ARN}fn-1:1", "ReservedConcurrentExecutions": 1}
    await s("put_function_concurrency_with_qualified_arn", put, **qualified)
    assert s.seen == set(s.steps)
    s = scenario(API + "TestLambdaReservedConcurrency::test_function_concurrency")
    fn = {"FunctionName": "fn-1"}
    await s("put_function_concurrency_with_reserved_0", put, **fn, ReservedConcurrentExecutions=0)
    await s("put_function_concurrency_with_reserved_1", put, **fn, ReservedConcurrentExecutions=1)
    await s("get_function_concurrency", "GetFunctionConcurrency", **fn)
    settings = await world.call("GetAccountSettings")
    assert settings["AccountLimit"]["UnreservedConcurrentExecutions"] == 999
    assert settings["AccountUsage"]["FunctionCount"] == 1
    size = (await world.active("fn-1"))["CodeSize"]
    assert settings["AccountUsage"]["TotalCodeSize"] == 2 * size  # $LATEST and version 1
    await s("delete_response", "DeleteFunctionConcurrency", **fn)
    await s("get_function_concurrency_after_delete", "GetFunctionConcurrency", **fn)
    s = scenario(API + "TestLambdaReservedConcurrency::test_function_concurrency_limits")
    s.replay.bound["<min_unreserved_concurrency>"] = "100"
    await s("put_function_concurrency_account_limit_exceeded", put, **fn, ReservedConcurrentExecutions=1001)
    await s("put_function_concurrency_below_unreserved_min_value", put, **fn, ReservedConcurrentExecutions=901)


@pytest.mark.parametrize("case", range(4))
async def test_partial_logging_config(world: Any, scenario: Any, make_zip: Any, case: int) -> None:
    """TestLoggingConfig: partial updates and the switch between formats"""
    partial: dict[str, str] = [
        {"LogFormat": "JSON"},
        {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"},
        {"LogFormat": "JSON", "SystemLogLevel": "DEBUG"},
        {"LogGroup": "cool_lambda"},
    ][case]
    name = f"test_function_partial_advanced_logging_configuration_update[partial_config{case}]"
    s = scenario(API + f"TestLoggingConfig::{name}")
    recorded = s.steps["create_response"]["CreateFunctionResponse"]
    members = ("Handler", "Timeout", "MemorySize", "Runtime", "Environment")
    params = {name: recorded[name] for name in members}
    code = {"Role": ROLE, "Code": {"ZipFile": make_zip()}}
    await s("create_response", "CreateFunction", FunctionName="fn-1", **params, **code)
    await world.active("fn-1")
    await s("get_function_response", "GetFunction", FunctionName="fn-1")
    await s("function_config", "GetFunctionConfiguration", FunctionName="fn-1")
    await s("updated_config", "UpdateFunctionConfiguration", FunctionName="fn-1", LoggingConfig=partial)
    await world.active("fn-1")
    await s("received_config", "GetFunctionConfiguration", FunctionName="fn-1")
    assert s.seen == set(s.steps)
    await world.call("UpdateFunctionConfiguration", FunctionName="fn-1", LoggingConfig={"LogFormat": "Text"})
    shown = (await world.active("fn-1"))["LoggingConfig"]
    assert set(shown) == {"LogFormat", "LogGroup"}
