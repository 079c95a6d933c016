"""Scenarios recorded on AWS, replayed: provisioned concurrency, as the API shows it."""

from __future__ import annotations

from typing import Any

API = "test_lambda_api.py::TestLambdaProvisionedConcurrency::"
FN = {"FunctionName": "fn-1"}
NOBODY = {"FunctionName": "doesnotexist"}
PUT, GET, DELETE, LIST = (
    f"{verb}ProvisionedConcurrencyConfig{'s' if verb == 'List' else ''}" for verb in ("Put", "Get", "Delete", "List")
)
ONE = {"ProvisionedConcurrentExecutions": 1}


async def published(world: Any, s: Any) -> None:
    """Make the function that publish_version_result shows, and publish it."""
    recorded = s.steps["publish_version_result"]
    members = ("Handler", "Timeout", "MemorySize", "Runtime", "Environment")
    await world.create("fn-1", **{name: recorded[name] for name in members if name in recorded})
    await s("publish_version_result", "PublishVersion", **FN)


async def test_provisioned_exceptions(world: Any, scenario: Any) -> None:
    """TestLambdaProvisionedConcurrency::test_provisioned_concurrency_exceptions"""
    s = scenario(API + "test_provisioned_concurrency_exceptions")
    await published(world, s)
    await s("get_provisioned_config_doesnotexist", GET, **FN, Qualifier="1")
    await s("get_provisioned_functionname_doesnotexist", GET, **NOBODY, Qualifier="noalias")
    await s("get_provisioned_qualifier_doesnotexist", GET, **FN, Qualifier="noalias")
    await s("get_provisioned_version_doesnotexist", GET, **FN, Qualifier="10")
    await s("get_provisioned_latest", GET, **FN, Qualifier="$LATEST")
    await s("list_provisioned_noconfigs", LIST, **FN)
    await s("list_provisioned_functionname_doesnotexist", LIST, **NOBODY)
    await s("delete_provisioned_functionname_doesnotexist", DELETE, **NOBODY, Qualifier="1")
    await s("delete_provisioned_qualifier_doesnotexist", DELETE, **FN, Qualifier="noalias")
    await s("delete_provisioned_version_doesnotexist", DELETE, **FN, Qualifier="10")
    await s("delete_provisioned_latest", DELETE, **FN, Qualifier="$LATEST")
    await s("delete_provisioned_config_doesnotexist", DELETE, **FN, Qualifier="1")
    await s("put_provisioned_invalid_param_0", PUT, **FN, Qualifier="1", ProvisionedConcurrentExecutions=0)
    await s("put_provisioned_functionname_doesnotexist_alias", PUT, **NOBODY, **ONE, Qualifier="noalias")
    await s("put_provisioned_functionname_doesnotexist_version", PUT, **NOBODY, **ONE, Qualifier="1")
    await s("put_provisioned_qualifier_doesnotexist", PUT, **FN, **ONE, Qualifier="doesnotexist")
    await s("put_provisioned_version_doesnotexist", PUT, **FN, **ONE, Qualifier="10")
    await s("put_provisioned_latest", PUT, **FN, **ONE, Qualifier="$LATEST")
    assert s.seen == set(s.steps)


async def test_provisioned_lifecycle(world: Any, scenario: Any) -> None:
    """TestLambdaProvisionedConcurrency::test_lambda_provisioned_lifecycle"""
    s = scenario(API + "test_lambda_provisioned_lifecycle")
    await published(world, s)
    await s("create_alias_result", "CreateAlias", **FN, Name="an-alias", FunctionVersion="1")
    await s("put_provisioned_on_version", PUT, **FN, **ONE, Qualifier="1")
    await s("put_provisioned_on_alias_versionconflict", PUT, **FN, **ONE, Qualifier="an-alias")
    await s("delete_provisioned_version", DELETE, **FN, Qualifier="1")
    await s("get_provisioned_version_postdelete", GET, **FN, Qualifier="1")
    await s("put_provisioned_on_alias", PUT, **FN, **ONE, Qualifier="an-alias")
    await s("put_provisioned_on_version_conflict", PUT, **FN, **ONE, Qualifier="1")
    await s("delete_alias_result", "DeleteAlias", **FN, Name="an-alias")
    await s("get_provisioned_alias_postaliasdelete", GET, **FN, Qualifier="an-alias")
    await s("list_response_postdeletes", LIST, **FN)
    assert s.seen == set(s.steps)


async def test_provisioned_limits(world: Any, scenario: Any) -> None:
    """TestLambdaProvisionedConcurrency::test_provisioned_concurrency_limits"""
    s = scenario(API + "test_provisioned_concurrency_limits")
    s.replay.bound.update({"<unreserved_concurrency>": "1000", "<min_unreserved_concurrency>": "100"})
    await world.create("fn-1")
    await s("", "PublishVersion", **FN)
    much = {"Qualifier": "1", "ProvisionedConcurrentExecutions": 1001}
    await s("put_provisioned_concurrency_account_limit_exceeded", PUT, **FN, **much)
    much["ProvisionedConcurrentExecutions"] = 901
    await s("put_provisioned_concurrency_below_unreserved_min_value", PUT, **FN, **much)
    assert s.seen == set(s.steps)
