"""Scenarios recorded on AWS, replayed: tags of functions."""

from __future__ import annotations

from typing import Any

ACCOUNT = "111111111111"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/worker"
ARN = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:"
API = "test_lambda_api.py::"


async def lifecycle(s: Any, fn: dict[str, str]) -> None:
    """What is done to the tags of one resource."""

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


async def test_tags(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaTag and TestLambdaTags: lifecycle, limits, exceptions, versions"""
    await world.create("fn-1", Timeout=30, Environment={"Variables": {}})
    fn = {"Resource": f"{ARN}fn-1"}
    # Recorded twice; the older one without a name for what is tagged.
    for name in ("test_tag_lifecycle", "test_tag_lifecycle[lambda_function]"):
        await lifecycle(scenario(f"{API}TestLambdaTag::{name}"), fn)
    s = scenario(API + "TestLambdaTags::test_tag_limits")
    many = {f"{number}_key": f"{number}_value" for number in range(50)}
    await s("tag_lambda_too_many_tags", "TagResource", **fn, Tags={**many, "one": "more"})
    await s("tag_response", "TagResource", **fn, Tags=many)
    await s("list_tags_response", "ListTags", **fn)
    await s("get_fn_response", "GetFunction", FunctionName="fn-1")
    await s("tag_lambda_too_many_tags_additional", "TagResource", **fn, Tags={"one": "more"})
    code = {"Runtime": "python3.12", "Role": ROLE, "Handler": "h.h", "Code": {"ZipFile": make_zip()}}
    over = {**many, "one": "more"}
    await s("create_function_invalid_tags", "CreateFunction", FunctionName="fn-2", **code, Tags=over)
    assert s.seen == set(s.steps)
    s = scenario(API + "TestLambdaTags::test_tag_exceptions")
    await s("", "UntagResource", **fn, TagKeys=list(many))
    await s("list_tag_lambda_empty", "ListTags", **fn)
    await s("untag_empty_keys", "UntagResource", **fn, TagKeys=[])
    await s("tag_lambda_invalidarn", "TagResource", Resource="arn:aws:something", Tags={"A": "B"})
    await s("tag_lambda_doesnotexist", "TagResource", Resource=f"{ARN}doesnotexist", Tags={"A": "B"})
    await s("tag_lambda_qualifier_doesnotexist", "TagResource", Resource=f"{ARN}fn-1:v1", Tags={"A": "B"})
    await s("untag_nomatch", "UntagResource", **fn, TagKeys=["nomatch"])
    await s("tag_empty_tags", "TagResource", **fn, Tags={})
    assert s.seen == set(s.steps)
    s = scenario(API + "TestLambdaTags::test_tag_versions")
    await s("tag_resource_exception", "TagResource", Resource=f"{ARN}fn-1:1", Tags={"A": "B"})
    await s("tag_resource_latest_exception", "TagResource", Resource=f"{ARN}fn-1:$LATEST", Tags={"A": "B"})
    for kind in ("event_source_mapping",):
        s = scenario(API + f"TestLambdaTag::test_tag_exceptions[{kind}]")
        resource = f"arn:aws:lambda:us-east-1:{ACCOUNT}:event-source-mapping:00000000-0000-4000-8000-000000000000"
        await s("not_found_exception_tag", "TagResource", Resource=resource, Tags={"A": "B"})
        await s("not_found_exception_list", "ListTags", Resource=resource)
