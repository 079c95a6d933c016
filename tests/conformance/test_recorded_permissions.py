"""Scenarios recorded on AWS, replayed: resource policies of functions and layer versions, and their revisions."""

from __future__ import annotations

from typing import Any

import pytest

ACCOUNT = "111111111111"
ARN = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:"
API = "test_lambda_api.py::"
S3_MAY = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}


async def start(world: Any, s: Any, step: str, name: str = "fn-1") -> None:
    """Create the function that the step `step` of a scenario shows."""
    recorded = s.steps[step]
    recorded = recorded.get("CreateFunctionResponse", recorded.get("Configuration", recorded))
    members = ("Handler", "Timeout", "MemorySize", "Runtime", "Environment")
    await world.create(name, **{member: recorded[member] for member in members if member in recorded})


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
    await s("get_policy_after_adding_to_new_version", "GetPolicy", **fn)
    await s("", add, **fn, **{**s3, "StatementId": "s3_2"})
    await s("get_policy_after_adding_2", "GetPolicy", **fn)
    assert s.seen == set(s.steps)


async def test_permission_revisions(world: Any, scenario: Any) -> None:
    """TestLambdaPermissions::test_lambda_permission_revisions, but for a text that AWS has changed since"""
    s = scenario(API + "TestLambdaPermissions::test_lambda_permission_revisions")
    recorded = s.steps["get_function_fn8_v1"]["Configuration"]
    members = ("Handler", "Timeout", "MemorySize", "Runtime", "Environment")
    await world.create("fn-1", **{name: recorded[name] for name in members})
    fn, add, one = {"FunctionName": "fn-1"}, "AddPermission", {"Qualifier": "1"}
    s3 = {**S3_MAY, "StatementId": "s3", "SourceArn": "arn:aws:s3:::test-bucket"}
    await s("", add, **fn, **s3)
    stale = {"StatementId": "s3", "RevisionId": "wrong"}
    await s("remove_permission_fn_revision_id_doesnotmatch", "RemovePermission", **fn, **stale)
    second = {**s3, "StatementId": "s3_2"}
    revision = (await world.active("fn-1"))["RevisionId"]
    await s("", add, **fn, **second, RevisionId=revision)
    await s("", "PublishVersion", **fn)
    await s("", add, **fn, **second, **one)
    update = {"Runtime": s.steps["get_function_fn8"]["Configuration"]["Runtime"]}
    await s("", "UpdateFunctionConfiguration", **fn, **update)
    await world.active("fn-1")
    await s("get_policy_after_publish_version", "GetPolicy", **fn)
    await s("get_policy_v1_after_publish_version", "GetPolicy", **fn, **one)
    await s("get_function_fn8", "GetFunction", **fn)
    await s("get_function_fn8_v1", "GetFunction", **fn, **one)
    revision = (await world.active("fn-1", "1"))["RevisionId"]
    await s("", add, **fn, **{**s3, "StatementId": "s3_3"}, **one, RevisionId=revision)
    await s("get_function_fn9", "GetFunction", **fn)
    await s("get_function_fn9_v1", "GetFunction", **fn, **one)
    await s("get_policy_v1_after_add_permission9", "GetPolicy", **fn, **one)
    assert set(s.steps) - s.seen == {"add_permission_revision_id_doesnotmatch"}


async def test_permission_versioning(world: Any, scenario: Any) -> None:
    """TestLambdaPermissions::test_lambda_permission_versioning: a version's policy is its own"""
    s = scenario(API + "TestLambdaPermissions::test_lambda_permission_versioning")
    await world.create("fn-1")
    fn, add = {"FunctionName": "fn-1"}, "AddPermission"
    s3 = {**S3_MAY, "StatementId": "s3", "SourceArn": "arn:aws:s3:::test-bucket"}
    await s("add_permission", add, **fn, **s3)
    await s("get_policy", "GetPolicy", **fn)
    await s("", "PublishVersion", **fn)
    await s("get_policy_after_publishing_latest", "GetPolicy", **fn)
    await s("get_policy_after_publishing_new_version", "GetPolicy", **fn, Qualifier="1")
    await s("", add, **fn, **s3, Qualifier="1")
    await s("get_policy_after_adding_to_new_version", "GetPolicy", **fn)
    await s("", add, **fn, **{**s3, "StatementId": "s3_2"})
    await s("get_policy_after_adding_2", "GetPolicy", **fn)
    assert s.seen == set(s.steps)
