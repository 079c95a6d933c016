"""Scenarios recorded on AWS, replayed: code signing, recursion, SnapStart, tags, logging, VPCs, and odd ends."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest

ACCOUNT = "111111111111"
ARN = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:"
API = "test_lambda_api.py::"
MEMBERS = ("Handler", "Timeout", "MemorySize", "Runtime", "Environment", "Description", "LoggingConfig", "SnapStart")
FN = {"FunctionName": "fn-1"}


def like(recorded: dict[str, Any], role: str, zip_file: bytes, **more: Any) -> dict[str, Any]:
    """Parameters of the CreateFunction that a recorded answer (or configuration) came from."""
    shown = recorded.get("CreateFunctionResponse", recorded.get("Configuration", recorded))
    params = {name: shown[name] for name in MEMBERS if name in shown}
    params.pop("LoggingConfig", None)
    if "SnapStart" in params:
        params["SnapStart"] = {"ApplyOn": params["SnapStart"]["ApplyOn"]}
    return {**FN, **params, "Role": role, "Code": {"ZipFile": zip_file}, **more}


async def create(s: Any, step: str, zip_file: bytes, **more: Any) -> None:
    params = like(s.steps[step], s.world.role, zip_file, **more)
    await s(step, "CreateFunction", **params)
    await s.world.active(params["FunctionName"])


async def create_before(s: Any, step: str, zip_file: bytes, **more: Any) -> None:
    """Create the function that a later step shows."""
    params = like(s.steps[step], s.world.role, zip_file, **more)
    await s("", "CreateFunction", **params)
    await s.world.active(params["FunctionName"])


PUBLISHERS = {"SigningProfileVersionArns": [f"arn:aws:signer:us-east-1:{ACCOUNT}:/signing-profiles/test"]}


async def test_code_signing(world: Any, scenario: Any) -> None:
    """TestCodeSigningConfig::test_function_code_signing_config"""
    s = scenario(API + "TestCodeSigningConfig::test_function_code_signing_config")
    await world.create("fn-1")
    enforce, warn = ({"UntrustedArtifactOnDeployment": policy} for policy in ("Enforce", "Warn"))
    described = {"Description": "Testing CodeSigning Config", "AllowedPublishers": PUBLISHERS}
    created = await s("create_code_signing_config", "CreateCodeSigningConfig", **described, CodeSigningPolicies=enforce)
    config = {"CodeSigningConfigArn": created["CodeSigningConfig"]["CodeSigningConfigArn"]}
    await s("update_code_signing_config", "UpdateCodeSigningConfig", **config, CodeSigningPolicies=warn)
    await s("get_code_signing_config", "GetCodeSigningConfig", **config)
    await s("put_function_code_signing_config", "PutFunctionCodeSigningConfig", **config, **FN)
    await s("get_function_code_signing_config", "GetFunctionCodeSigningConfig", **FN)
    # The recording holds one configuration of the list.
    [listed] = (await s("", "ListCodeSigningConfigs"))["CodeSigningConfigs"]
    s.replay.check("list_code_signing_configs", listed)
    s.seen.add("list_code_signing_configs")
    await s("list_functions_by_code_signing_config", "ListFunctionsByCodeSigningConfig", **config)
    await s("delete_function_code_signing_config", "DeleteFunctionCodeSigningConfig", **FN)
    await s("delete_code_signing_config", "DeleteCodeSigningConfig", **config)
    assert s.seen == set(s.steps)


async def test_code_signing_exceptions(world: Any, scenario: Any) -> None:
    """TestCodeSigningConfig::test_code_signing_not_found_excs"""
    s = scenario(API + "TestCodeSigningConfig::test_code_signing_not_found_excs")
    await world.create("fn-1")
    described = {"Description": "Testing CodeSigning Config", "AllowedPublishers": PUBLISHERS}
    policies = {"CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Enforce"}}
    created = await s("create_code_signing_config", "CreateCodeSigningConfig", **described, **policies)
    arn = created["CodeSigningConfig"]["CodeSigningConfigArn"]
    config, missing = {"CodeSigningConfigArn": arn}, {"CodeSigningConfigArn": arn[:-17] + "0" * 17}
    nobody = {"FunctionName": "csc-test-doesnotexist"}
    await s("delete_csc_notfound", "DeleteCodeSigningConfig", **missing)
    await s("nothing_to_delete_response", "DeleteFunctionCodeSigningConfig", **FN)
    await s("delete_function_csc_fnnotfound", "DeleteFunctionCodeSigningConfig", **nobody)
    put = "PutFunctionCodeSigningConfig"
    await s("put_function_csc_invalid_fnname", put, **nobody, **config)
    await s("put_function_csc_invalid_csc_arn", put, **FN, **missing)
    await s("put_function_csc_invalid_both", put, **nobody, **missing)
    await s("update_csc_invalid_csc_arn", "UpdateCodeSigningConfig", **missing, **described)
    await s("update_csc_noupdates", "UpdateCodeSigningConfig", **missing)
    await s("update_csc_noupdate_response", "UpdateCodeSigningConfig", **config)
    await s("get_csc_invalid", "GetCodeSigningConfig", **missing)
    await s("get_function_csc_fnwithoutcsc", "GetFunctionCodeSigningConfig", **FN)
    await s("get_function_csc_nonexistingfn", "GetFunctionCodeSigningConfig", **nobody)
    await s("list_functions_by_csc_fnwithoutcsc", "ListFunctionsByCodeSigningConfig", **config)
    await s("list_functions_by_csc_invalid_cscarn", "ListFunctionsByCodeSigningConfig", **missing)
    assert s.seen == set(s.steps)


async def test_recursion(world: Any, scenario: Any) -> None:
    """TestLambdaRecursion"""
    await world.create("fn-1")
    put, get = "PutFunctionRecursionConfig", "GetFunctionRecursionConfig"
    s = scenario(API + "TestLambdaRecursion::test_put_function_recursion_config_default_terminate")
    await s("get_recursion_default_terminate_response", get, **FN)
    s = scenario(API + "TestLambdaRecursion::test_put_function_recursion_config_allow")
    await s("put_recursion_config_response", put, **FN, RecursiveLoop="Allow")
    await s("get_recursion_config_response", get, **FN)
    s = scenario(API + "TestLambdaRecursion::test_put_function_recursion_config_invalid_value")
    await s("put_recursion_invalid_value_error", put, **FN, RecursiveLoop="InvalidValue")


@pytest.mark.parametrize("operation", ["GetFunctionCodeSigningConfig", "GetFunctionUrlConfig", "Invoke"])
async def test_names_of_no_function(scenario: Any, operation: str) -> None:
    """TestLambdaFunction::test_ops_on_nonexisting_fn and test_get_function_wrong_region, of further operations"""
    case = {"GetFunctionCodeSigningConfig": "get_function_code_signing_config", "Invoke": "invoke"}
    name = case.get(operation, "get_function_url_config")
    if operation != "Invoke":
        s = scenario(API + f"TestLambdaFunction::test_ops_on_nonexisting_fn[{name}]")
        await s("not_found_exception", operation, FunctionName="i-dont-exist-1")
    s = scenario(API + f"TestLambdaFunction::test_get_function_wrong_region[{name}]")
    await s("wrong_region_exception", operation, FunctionName=f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:f")


@pytest.mark.parametrize(
    "runtime", ["java11", "java17", "java21", "java25", "python3.12", "python3.13", "dotnet8", "dotnet10"]
)
async def test_snapstart(scenario: Any, make_zip: Any, runtime: str) -> None:
    """TestLambdaSnapStart: what is shown of it"""
    s = scenario(API + f"TestLambdaSnapStart::test_snapstart_lifecycle[{runtime}]")
    await create(s, "create_function_response", make_zip())
    await s("", "PublishVersion", **FN, Description="version1")
    await s.world.active("fn-1", "1")
    await s("get_function_response_latest", "GetFunction", **FN)
    await s("get_function_response_version_1", "GetFunction", FunctionName=f"{ARN}fn-1:1")
    assert s.seen == set(s.steps)
    s = scenario(API + f"TestLambdaSnapStart::test_snapstart_update_function_configuration[{runtime}]")
    await create(s, "create_function_response", make_zip(), FunctionName="fn-2")
    update = {"FunctionName": "fn-2", "SnapStart": {"ApplyOn": "PublishedVersions"}}
    await s("update_function_response", "UpdateFunctionConfiguration", **update)
    assert s.seen == set(s.steps)


async def test_snapstart_exceptions(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaSnapStart::test_snapstart_exceptions; the runtime that was retired last"""
    s = scenario(API + "TestLambdaSnapStart::test_snapstart_exceptions")
    new = {**FN, "Runtime": "java17", "Role": world.role, "Handler": "h.h", "Code": {"ZipFile": make_zip()}}
    await s("create_function_invalid_snapstart_apply", "CreateFunction", **new, SnapStart={"ApplyOn": "invalidOption"})
    name = "test_create_deprecated_function_runtime_with_validation_enabled[nodejs12.x]"
    s = scenario(API + f"TestRuntimeValidation::{name}")
    await s("deprecation_error", "CreateFunction", **{**new, "Runtime": "nodejs12.x"})


async def test_tags_of_a_function(scenario: Any, make_zip: Any) -> None:
    """TestLambdaTags::test_tag_lifecycle"""
    s = scenario(API + "TestLambdaTags::test_tag_lifecycle")
    await create_before(s, "get_fn_response_postfncreate", make_zip(), Tags={"key_a": "value_a"})
    tagged = {"Resource": f"{ARN}fn-1"}

    async def shown(step: str) -> None:
        await s(f"list_tags_response_{step}", "ListTags", **tagged)
        await s(f"get_fn_response_{step}", "GetFunction", **FN)

    await shown("postfncreate")
    more = {f"key_{letter}": f"value_{letter}" for letter in "bcde"}
    await s("tag_resource_response", "TagResource", **tagged, Tags=more)
    await shown("postaddtags")
    await s("tag_resource_overwrite", "TagResource", **tagged, Tags={"key_c": "value_x"})
    await shown("overwrite")
    await s("", "UntagResource", **tagged, TagKeys=["key_c", "key_d"])
    await shown("postuntag")
    await s("", "UntagResource", **tagged, TagKeys=["key_a", "key_b", "key_e"])
    await shown("postuntagall")
    await s("", "DeleteFunction", **FN)
    await s("list_tags_postdelete", "ListTags", **tagged)
    assert s.seen == set(s.steps)


async def test_tags_of_nothing(scenario: Any, make_zip: Any) -> None:
    """TestLambdaTag: tags given at creation, and tags of what is not there"""
    s = scenario(API + "TestLambdaTag::test_create_tag_on_fn_create")
    await create_before(s, "get_function_result", make_zip(), Tags={"testtag": "custom"})
    await s("get_function_result", "GetFunction", **FN)
    await s("list_tags_result", "ListTags", Resource=f"{ARN}fn-1")
    assert s.seen == set(s.steps)
    s = scenario(API + "TestLambdaTag::test_tag_nonexisting_resource")
    two = {"FunctionName": "fn-2"}
    await create_before(s, "pre_delete_get_function", make_zip(), **two)
    await s("pre_delete_get_function", "GetFunction", **two)
    await s("", "DeleteFunction", **two)
    gone = {"Resource": f"{ARN}fn-2"}
    await s("not_found_exception_tag", "TagResource", **gone, Tags={"A": "B"})
    await s("not_found_exception_untag", "UntagResource", **gone, TagKeys=["A"])
    await s("not_found_exception_list", "ListTags", **gone)
    assert s.seen == set(s.steps)


async def test_a_permission(scenario: Any, make_zip: Any) -> None:
    """TestLambdaPermissions::test_add_lambda_permission_aws"""
    s = scenario(API + "TestLambdaPermissions::test_add_lambda_permission_aws")
    await create(s, "create_lambda", make_zip())
    allow = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", "StatementId": "s3"}
    await s("add_permission", "AddPermission", **FN, **allow, SourceArn="arn:aws:s3:::some-bucket")
    await s("get_policy", "GetPolicy", **FN)
    assert s.seen == set(s.steps)


async def test_updates_at_the_same_time(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaFunction::test_lambda_concurrent_code_updates and test_lambda_concurrent_config_updates"""
    step = "update-during-in-progress-update-exc"
    s = scenario(API + "TestLambdaFunction::test_lambda_concurrent_code_updates")
    await create(s, "create-function-response", make_zip())
    world.runtimes.gate.clear()
    await s("", "UpdateFunctionCode", **FN, ZipFile=make_zip("a = 1"))
    await s(step, "UpdateFunctionCode", **FN, ZipFile=make_zip("a = 2"))
    world.runtimes.gate.set()
    assert s.seen == set(s.steps)
    s = scenario(API + "TestLambdaFunction::test_lambda_concurrent_config_updates")
    two = {"FunctionName": "fn-2"}
    await create(s, "create-function-response", make_zip("b = 1"), **two)
    world.runtimes.gate.clear()
    await s("", "UpdateFunctionConfiguration", **two, Description="one")
    await s(step, "UpdateFunctionConfiguration", **two, Description="two")
    world.runtimes.gate.set()
    assert s.seen == set(s.steps)


@pytest.mark.parametrize(
    "name", ["function_advanced_logging_configuration", "advanced_logging_configuration_format_switch"]
)
async def test_logging_configurations(world: Any, scenario: Any, make_zip: Any, name: str) -> None:
    """TestLoggingConfig::test_function_advanced_logging_configuration and …_format_switch"""
    s = scenario(API + f"TestLoggingConfig::test_{name}")
    whole = name.startswith("function")
    given = {"LoggingConfig": {"LogFormat": "JSON"}} if whole else {}
    await create(s, "create_response", make_zip(), **given)
    await s("get_function_response", "GetFunction", **FN)
    await s("function_config", "GetFunctionConfiguration", **FN)
    update = "UpdateFunctionConfiguration"
    shown = s.steps["updated_config"]["LoggingConfig"]
    if whole:
        await s("updated_config", update, **FN, LoggingConfig={"LogGroup": "cool_lambda"})
    else:
        await s("updated_config", update, **FN, LoggingConfig={"LogFormat": shown["LogFormat"]})
    await world.active("fn-1")
    await s("received_config", "GetFunctionConfiguration", **FN)
    for step in ("updated_config_v2", "received_config_v2"):
        if step in s.steps and step.startswith("updated"):
            await s(step, update, **FN, LoggingConfig={"LogFormat": s.steps[step]["LoggingConfig"]["LogFormat"]})
            await world.active("fn-1")
        elif step in s.steps:
            await s(step, "GetFunctionConfiguration", **FN)


@pytest.mark.parametrize("case", range(3))
async def test_layer_compatibilities(scenario: Any, make_zip: Any, case: int) -> None:
    """TestLambdaLayer::test_layer_compatibilities"""
    s = scenario(API + f"TestLambdaLayer::test_layer_compatibilities[runtimes{case}]")
    recorded = s.steps["publish_result"]
    compatible = {
        name: recorded[name] for name in ("CompatibleRuntimes", "CompatibleArchitectures") if name in recorded
    }
    layer = {"LayerName": "layer-1", "Content": {"ZipFile": make_zip()}, **compatible}
    await s("publish_result", "PublishLayerVersion", **layer)
    assert s.seen == set(s.steps)


async def test_account_settings(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaAccountSettings: the recordings hold names of members, and how much code each step adds"""
    s = scenario(API + "TestLambdaAccountSettings::test_account_settings")
    shown = await s("", "GetAccountSettings")
    recorded = s.steps["acc_settings_modded"]
    assert {part: sorted(shown[part]) for part in shown} == {part: recorded[part] for part in shown}
    s.seen.add("acc_settings_modded")

    async def used() -> int:
        total: int = (await world.call("GetAccountSettings"))["AccountUsage"]["TotalCodeSize"]
        return total

    s = scenario(API + "TestLambdaAccountSettings::test_account_settings_total_code_size_config_update")
    code = make_zip(f"# {'x' * 200}")
    before = await used()
    await world.create("fn-1", Code={"ZipFile": code})
    created = await used()
    await world.call("UpdateFunctionConfiguration", **FN, Description="another")
    await world.active("fn-1")
    updated = await used()
    await world.call("PublishVersion", **FN)
    found = {
        "is_total_code_size_diff_create_function_more_than_200": created - before > 200,
        "total_code_size_diff_update_function_configuration": updated - created,
        "is_total_code_size_diff_publish_version_after_config_update_more_than_200": await used() - updated > 200,
    }
    assert found == s.steps
    s.seen.update(found)


async def test_how_much_code_there_is(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaAccountSettings::test_account_settings_total_code_size: versions and layers count each for itself"""
    s = scenario(API + "TestLambdaAccountSettings::test_account_settings_total_code_size")
    bare = len(make_zip(""))
    code, layer = (make_zip("#" * (size - bare)) for size in (276, 169))
    totals = []

    async def look() -> None:
        totals.append((await world.call("GetAccountSettings"))["AccountUsage"]["TotalCodeSize"])

    await look()
    await world.create("fn-1", Code={"ZipFile": code})
    await look()
    await world.call("UpdateFunctionCode", **FN, ZipFile=code, Publish=True)
    await look()
    for _ in range(2):
        await world.call("PublishLayerVersion", LayerName="layer-1", Content={"ZipFile": layer})
        await look()
    names = ("create_function", "update_function", "publish_layer", "publish_layer_version")
    for name, before, after in zip(names, totals, totals[1:], strict=False):
        s.compare(f"total_code_size_diff_{name}", after - before)
    assert s.seen == set(s.steps)


@pytest.mark.slow
async def test_large_code(world: Any, scenario: Any) -> None:
    """TestLambdaSizeLimits::test_large_lambda, test_oversized_lambda: the limit is that of the content"""
    s = scenario(API + "TestLambdaSizeLimits::test_oversized_lambda")
    shown = scenario(API + "TestLambdaSizeLimits::test_large_lambda")
    step, most = "create_function_large_zip", 262_144_000
    world.objects["bucket", "over.zip"] = filler(most)
    world.objects["bucket", "under.zip"] = filler(most - 1_000_000)
    params = like(shown.steps[step], world.role, b"")
    over, under = ({"Code": {"S3Bucket": "bucket", "S3Key": f"{name}.zip"}} for name in ("over", "under"))
    await s("invalid_param_exc", "CreateFunction", **{**params, **over})
    world.runtimes.gate.clear()  # nothing needs to be unpacked
    await shown(step, "CreateFunction", **{**params, **under})
    await world.call("DeleteFunction", **FN)


def filler(size: int) -> bytes:
    """An archive with so many bytes in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("handler.py", "def handler(event, context):\n    return event\n")
        archive.writestr("filler", bytes(size))
    return buffer.getvalue()


async def test_aliases_that_are_not_there(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaAlias: naming, and an alias that is not there"""
    s = scenario(API + "TestLambdaAlias::test_alias_naming")
    await create(s, "create_response", make_zip())
    await s("publish_v1", "PublishVersion", **FN)
    alias = {"Name": "2024-01-02", "FunctionVersion": "1", "Description": "custom-alias"}
    await s("create_alias_date", "CreateAlias", **FN, **alias)
    await s("get_alias_date", "GetAlias", **FN, Name="2024-01-02")
    await s("create_alias_number_exception", "CreateAlias", **FN, Name="2024", FunctionVersion="1")
    assert s.seen == set(s.steps)
    for number, (name, operation) in enumerate((("update", "UpdateAlias"), ("deletion", "DeleteAlias"))):
        s = scenario(API + f"TestLambdaAlias::test_non_existent_alias_{name}")
        other = {"FunctionName": f"other-{number}"}
        await create(s, "create_response", make_zip(), **other)
        step = "update_alias_response" if name == "update" else "delete_alias_response"
        await s(step, operation, **other, Name="non-existent")
        assert s.seen == set(s.steps)


async def test_lists_of_functions(scenario: Any, make_zip: Any) -> None:
    """TestLambdaFunction::test_list_functions"""
    s = scenario(API + "TestLambdaFunction::test_list_functions")
    await create(s, "create_response_1", make_zip(), Publish=True)
    await create(s, "create_response_2", make_zip("b = 1"), FunctionName="fn-2")
    await s("list_functions_invalid_functionversion", "ListFunctions", FunctionVersion="invalid")
    await s("list_all", "ListFunctions", FunctionVersion="ALL")
    await s("list_default", "ListFunctions")
    assert s.seen == set(s.steps)


async def test_a_vpc(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaFunction::test_vpc_config: stored and shown"""
    s = scenario(API + "TestLambdaFunction::test_vpc_config")
    recorded = s.steps["create_response"]
    recorded = recorded.get("CreateFunctionResponse", recorded)["VpcConfig"]
    given = [{"SubnetIds": [f"subnet-{n}"], "SecurityGroupIds": ["sg-1"]} for n in (1, 2)]
    params = like(s.steps["create_response"], world.role, make_zip(), VpcConfig=given[0])
    shown = [await s("", "CreateFunction", **params)]
    await world.active("fn-1")
    shown.append(await s("", "UpdateFunctionConfiguration", **FN, VpcConfig=given[1]))
    await world.active("fn-1")
    empty: dict[str, Any] = {"SubnetIds": [], "SecurityGroupIds": []}
    shown.append(await s("", "UpdateFunctionConfiguration", **FN, VpcConfig=empty))
    for one, vpc in zip(shown, (*given, empty), strict=True):
        assert {name: one["VpcConfig"][name] for name in vpc} == vpc
        # There are no VPCs, so the VpcId is empty, and the step is not called compared.
        assert set(one["VpcConfig"]) == set(recorded)


@pytest.mark.parametrize("kind", ["lambda_function", "capacity_provider", "event_source_mapping"])
async def test_tags_of_what_is_not_there(scenario: Any, kind: str) -> None:
    """TestLambdaTag::test_tag_exceptions"""
    s = scenario(API + f"TestLambdaTag::test_tag_exceptions[{kind}]")
    uuid = "00000000-0000-4000-8000-000000000000"
    name = {"lambda_function": "function:nosuch", "event_source_mapping": f"event-source-mapping:{uuid}"}
    base = f"arn:aws:lambda:us-east-1:{ACCOUNT}:"
    resource = base + name.get(kind, "capacity-provider:nosuch")
    await s("not_found_exception_tag", "TagResource", Resource=resource, Tags={"A": "B"})
    await s("not_found_exception_untag", "UntagResource", Resource=resource, TagKeys=["A"])
    await s("not_found_exception_list", "ListTags", Resource=resource)
    await s("aliased_arn_exception", "TagResource", Resource=f"{resource}:alias", Tags={"A": "B"})
    invalid = f"{base}foobar:{resource.rpartition(':')[2]}"
    await s("invalid_arn_exception", "TagResource", Resource=invalid, Tags={"A": "B"})
    assert s.seen == set(s.steps)
