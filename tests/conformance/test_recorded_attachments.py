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


S3_MAY = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}


async def test_permissions(world: Any, scenario: Any) -> None:
    """TestLambdaPermissions::test_remove_multi_permissions, test_create_multiple_lambda_permissions"""
    s = scenario(API + "TestLambdaPermissions::test_remove_multi_permissions")
    await world.create("fn-1")
    fn, add, remove = {"FunctionName": "fn-1"}, "AddPermission", "RemovePermission"
    await s("add_permission_1", add, **fn, **S3_MAY, StatementId="s3")
    sqs = {**S3_MAY, "Principal": "sqs.amazonaws.com", "SourceArn": "arn:aws:s3:::test-bucket"}
    await s("add_permission_2", add, **fn, **sqs, StatementId="sqs")
    await s("policy_after_2_add", "GetPolicy", **fn)
    await s("remove_permission_exception_nonexisting_sid", remove, **fn, StatementId="non-existent")
    shown = await s("", "GetPolicy", **fn)
    await s("", remove, **fn, StatementId="sqs", RevisionId=shown["RevisionId"])
    await s("policy_after_removal", "GetPolicy", **fn)
    with pytest.raises(Exception, match="is not found in resource policy"):
        await s("", remove, **fn, StatementId="sqs")
    await s("policy_after_removal_attempt", "GetPolicy", **fn)
    await s("", remove, **fn, StatementId="s3")
    await s("get_policy_exception_removed_all", "GetPolicy", **fn)
    assert s.seen == set(s.steps)
    s = scenario(API + "TestLambdaPermissions::test_create_multiple_lambda_permissions")
    await world.create("fn-2")
    for step, service in (("1", "logs"), ("2", "kinesis")):
        principal = {**S3_MAY, "Principal": f"{service}.amazonaws.com"}
        await s(f"add_permission_response_{step}", add, FunctionName="fn-2", **principal, StatementId=service)
    await s("policy_after_2_add", "GetPolicy", FunctionName="fn-2")


async def test_permission_fields(world: Any, scenario: Any) -> None:
    """TestLambdaPermissions::test_add_lambda_permission_fields"""
    s = scenario(API + "TestLambdaPermissions::test_add_lambda_permission_fields")
    await world.create("fn-1")

    async def add(step: str, sid: str, principal: str, **more: str) -> None:
        params = {"Action": "lambda:InvokeFunction", "StatementId": sid, "Principal": principal, **more}
        await s(f"add_permission_{step}", "AddPermission", FunctionName="fn-1", **params)

    await add("principal_wildcard", "wilcard", "*", SourceAccount=ACCOUNT)
    await add("principal_service", "lambda", "lambda.amazonaws.com", SourceAccount=ACCOUNT)
    await add("principal_account", "account-id", ACCOUNT)
    await add("principal_arn", "user-arn", f"arn:aws:iam::{ACCOUNT}:user/someone", SourceAccount=ACCOUNT)
    await add(
        "optional_fields",
        "urlPermission",
        "*",
        Action="lambda:InvokeFunctionUrl",
        SourceArn="arn:aws:s3:::test-bucket",
        SourceAccount=ACCOUNT,
        PrincipalOrgID="o-1234567890",
        FunctionUrlAuthType="NONE",
    )
    token = "amzn1.ask.skill.xxxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
    await add("alexa_skill", "alexaSkill", "*", EventSourceToken=token)
    assert s.seen == set(s.steps)


async def test_permission_exceptions(world: Any, scenario: Any) -> None:
    """TestLambdaPermissions::test_permission_exceptions"""
    s = scenario(API + "TestLambdaPermissions::test_permission_exceptions")
    await world.create("fn-1")
    fn, add, remove = {"FunctionName": "fn-1"}, "AddPermission", "RemovePermission"
    s3 = {**S3_MAY, "StatementId": "s3"}
    await s("add_permission_invalid_statement_id", add, **fn, **{**s3, "StatementId": "example.com"})
    mismatch = {"FunctionName": f"{ARN}fn-1:alias-not-42", "Qualifier": "42"}
    await s("add_permission_fn_qualifier_mismatch", add, **mismatch, **s3)
    await s("add_permission_fn_qualifier_latest", add, **fn, **s3, Qualifier="$LATEST")
    await s("add_permission_principal_invalid", add, **fn, **{**s3, "Principal": "invalid.nonaws.com"})
    await s("get_policy_fn_doesnotexist", "GetPolicy", FunctionName="doesnotexist")
    await s("get_policy_fn_version_doesnotexist", "GetPolicy", **fn, Qualifier="77")
    await s("add_permission_fn_doesnotexist", add, FunctionName="doesnotexist", **s3)
    await s("remove_permission_policy_doesnotexist", remove, **fn, StatementId="s3")
    await s("add_permission_fn_alias_doesnotexist", add, **fn, **s3, Qualifier="alias-doesnotexist")
    await s("add_permission_fn_version_doesnotexist", add, **fn, **s3, Qualifier="42")
    await s("add_permission_fn_qualifier_invalid", add, **fn, **s3, Qualifier="invalid-qualifier-with-?-char")
    step = "add_permission_fn_qualifier_valid_doesnotexist"
    await s(step, add, **fn, **s3, Qualifier="valid-with-$-but-doesnotexist")
    await s("", add, **fn, **s3)
    await s("add_permission_conflicting_statement_id", add, **fn, **s3)
    await s("remove_permission_fn_doesnotexist", remove, FunctionName="doesnotexist", StatementId="s3")
    alias = {"Qualifier": "alias-doesnotexist", "StatementId": "s3"}
    await s("remove_permission_fn_alias_doesnotexist", remove, **fn, **alias)
    assert s.seen == set(s.steps)


async def test_permissions_of_versions(world: Any, scenario: Any) -> None:
    """TestLambdaPermissions::test_lambda_permission_fn_versioning"""
    s = scenario(API + "TestLambdaPermissions::test_lambda_permission_fn_versioning")
    await start(world, s, "publish_version_result")
    fn, add = {"FunctionName": "fn-1"}, "AddPermission"
    s3 = {**S3_MAY, "StatementId": "s3", "SourceArn": "arn:aws:s3:::test-bucket"}
    await s("add_permission", add, **fn, **s3)
    await s("get_policy", "GetPolicy", **fn)
    await s("publish_version_result", "PublishVersion", **fn)
    await s("get_function_result_after_publishing", "GetFunction", **fn)
    policy = s.steps["get_policy_after_publishing_latest"]["RevisionId"]
    s.replay.bound.pop(policy, None)  # publishing gave the function a new revision
    await s("get_policy_after_publishing_latest", "GetPolicy", **fn)
    await s("get_policy_after_publishing_new_version", "GetPolicy", **fn, Qualifier="1")
    await s("", add, FunctionName=f"{ARN}fn-1:1", **s3)
    await s("get_policy_version", "GetPolicy", **fn, Qualifier="1")
    alias = {"Name": "permission-alias", "FunctionVersion": "1"}
    await s("create_alias_response", "CreateAlias", **fn, **alias)
    await s("get_alias", "GetAlias", **fn, Name="permission-alias")
    wrong = {"Qualifier": "permission-alias", "RevisionId": "wrong"}
    await s("add_permission_alias_revision_exception", add, **fn, **s3, **wrong)
    await s("", add, **fn, **s3, Qualifier="permission-alias")
    await s("get_policy_alias", "GetPolicy", **fn, Qualifier="permission-alias")


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
    await s("", listing, **fn)
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


async def test_tags(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaTag and TestLambdaTags: lifecycle, limits, exceptions, versions"""
    s = scenario(API + "TestLambdaTag::test_tag_lifecycle[lambda_function]")
    await world.create("fn-1")
    fn = {"Resource": f"{ARN}fn-1"}

    async def then(step: str, operation: str, **params: Any) -> None:
        await s(step, operation, **fn, **params)
        await s(f"{step}_listtags", "ListTags", **fn)

    await then("tag_single_response", "TagResource", Tags={"A": "tag-a"})
    await then("tag_multiple_response", "TagResource", Tags={"B": "tag-b", "C": "tag-c"})
    await then("tag_overlap_response", "TagResource", Tags={"C": "tag-c-newsuffix", "D": "tag-d"})
    await then("untag_single_response", "UntagResource", TagKeys=["A"])
    await then("untag_multiple_response", "UntagResource", TagKeys=["B", "C"])
    await then("untag_nonexisting_response", "UntagResource", TagKeys=["F"])
    await then("untag_existing_and_nonexisting_response", "UntagResource", TagKeys=["D", "F"])
    assert s.seen == set(s.steps)
    s = scenario(API + "TestLambdaTags::test_tag_limits")
    many = {f"{number}_key": f"{number}_value" for number in range(50)}
    await s("tag_lambda_too_many_tags", "TagResource", **fn, Tags={**many, "one": "more"})
    await s("tag_response", "TagResource", **fn, Tags=many)
    await s("list_tags_response", "ListTags", **fn)
    await s("tag_lambda_too_many_tags_additional", "TagResource", **fn, Tags={"one": "more"})
    error = await world.fails(
        "CreateFunction",
        FunctionName="fn-2",
        Runtime="python3.12",
        Role=ROLE,
        Handler="h.h",
        Code={"ZipFile": make_zip()},
        Tags={**many, "one": "more"},
    )
    assert error.message == s.steps["create_function_invalid_tags"]["Error"]["Message"]
    s = scenario(API + "TestLambdaTags::test_tag_exceptions")
    await s("tag_lambda_invalidarn", "TagResource", Resource="arn:aws:something", Tags={"A": "B"})
    await s("tag_lambda_doesnotexist", "TagResource", Resource=f"{ARN}doesnotexist", Tags={"A": "B"})
    await s("tag_lambda_qualifier_doesnotexist", "TagResource", Resource=f"{ARN}fn-1:v1", Tags={"A": "B"})
    await s("untag_nomatch", "UntagResource", **fn, TagKeys=["nomatch"])
    await s("tag_empty_tags", "TagResource", **fn, Tags={})
    s = scenario(API + "TestLambdaTags::test_tag_versions")
    await s("tag_resource_exception", "TagResource", Resource=f"{ARN}fn-1:1", Tags={"A": "B"})
    await s("tag_resource_latest_exception", "TagResource", Resource=f"{ARN}fn-1:$LATEST", Tags={"A": "B"})
    for kind in ("event_source_mapping",):
        s = scenario(API + f"TestLambdaTag::test_tag_exceptions[{kind}]")
        resource = f"arn:aws:lambda:us-east-1:{ACCOUNT}:event-source-mapping:00000000-0000-4000-8000-000000000000"
        await s("not_found_exception_tag", "TagResource", Resource=resource, Tags={"A": "B"})
        await s("not_found_exception_list", "ListTags", Resource=resource)


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
async def test_partial_logging_config(world: Any, scenario: Any, case: int) -> None:
    """TestLoggingConfig: partial updates and the switch between formats"""
    partial: dict[str, str] = [
        {"LogFormat": "JSON"},
        {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"},
        {"LogFormat": "JSON", "SystemLogLevel": "DEBUG"},
        {"LogGroup": "cool_lambda"},
    ][case]
    name = f"test_function_partial_advanced_logging_configuration_update[partial_config{case}]"
    s = scenario(API + f"TestLoggingConfig::{name}")
    await start(world, s, "create_response")
    await s("", "GetFunction", FunctionName="fn-1")
    await s("updated_config", "UpdateFunctionConfiguration", FunctionName="fn-1", LoggingConfig=partial)
    await world.active("fn-1")
    await s("received_config", "GetFunctionConfiguration", FunctionName="fn-1")
    await world.call("UpdateFunctionConfiguration", FunctionName="fn-1", LoggingConfig={"LogFormat": "Text"})
    shown = (await world.active("fn-1"))["LoggingConfig"]
    assert set(shown) == {"LogFormat", "LogGroup"}
