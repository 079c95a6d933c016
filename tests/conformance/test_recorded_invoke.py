"""Scenarios recorded on AWS, replayed: what Invoke refuses, and a few texts around it."""

from __future__ import annotations

from typing import Any

import pytest

ARN = "arn:aws:lambda:us-east-1:111111111111:function:"


@pytest.mark.parametrize(
    ("case", "payload"),
    [
        (r"body-n\\x87r\\x9e\\xe9\\xb5\\xd7I\\xee\\x9bmt", b"n\x87r\x9e\xe9\xb5\xd7I\xee\x9bmt"),
        (r"message-\\x99\\xeb,j\\x07\\xa1zYh", b"\x99\xeb,j\x07\xa1zYh"),
    ],
)
async def test_payload_encoding_error(world: Any, scenario: Any, case: str, payload: bytes) -> None:
    """TestLambdaErrors::test_lambda_invoke_payload_encoding_error"""
    name = f"test_lambda_invoke_payload_encoding_error[{case}]".replace("\\\\", "\\")
    s = scenario(f"test_lambda.py::TestLambdaErrors::{name}", "invoke.json")
    await world.create("fn-1")
    [step] = s.steps
    await s(step, "Invoke", FunctionName="fn-1", Payload=payload)


async def test_names_of_invocations(world: Any, scenario: Any) -> None:
    """TestLambdaFunction::test_invalid_invoke; an alias that is not there"""
    s = scenario("test_lambda_api.py::TestLambdaFunction::test_invalid_invoke")
    bad = "arn:aws:lambda:us-east-1:123400000000@function:myfn"
    await s("invoke_function_name_pattern_exc", "Invoke", FunctionName=bad)
    s = scenario("test_lambda.py::TestLambdaAliases::test_lambda_alias_moving", "invoke.json")
    await world.create("fn-1")
    await s("invocation_exc_not_existent", "Invoke", FunctionName="fn-1", Qualifier="non-existent-alias")


async def test_revisions_of_policies(world: Any, scenario: Any) -> None:
    """TestLambdaRevisions::test_function_revisions_permissions; the invalid FunctionVersion of ListFunctions"""
    s = scenario("test_lambda_api.py::TestLambdaRevisions::test_function_revisions_permissions")
    await world.create("fn-1")
    allow = {"StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    await s("add_permission_revision_exception", "AddPermission", FunctionName="fn-1", **allow, RevisionId="wrong")
    before = (await world.active("fn-1"))["RevisionId"]
    await world.call("AddPermission", FunctionName="fn-1", **allow, RevisionId=before)
    after = (await world.active("fn-1"))["RevisionId"]
    assert before != after == (await world.call("GetPolicy", FunctionName="fn-1"))["RevisionId"]
    s = scenario("test_lambda_api.py::TestLambdaFunction::test_list_functions")
    await s("list_functions_invalid_functionversion", "ListFunctions", FunctionVersion="invalid")
