"""Scenarios recorded on AWS, replayed: functions that run. What they do is read off what AWS recorded of them."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

pytestmark = pytest.mark.slow

FN = {"FunctionName": "fn-1"}
ARN = "arn:aws:lambda:us-east-1:111111111111:function:fn-1"
ECHO = "def handler(event, context):\n    print(event)\n    return event\n"
VERSION = """\
def handler(event, context):
    arn, version = context.invoked_function_arn, context.function_version
    return {"version_id": "%s", "invoked_arn": arn, "version_from_ctx": version}
"""
CONTEXT = """\
import logging
logging.getLogger().setLevel("INFO")
def handler(event, context):
    print("Lambda log message - print function")
    logging.getLogger().info("Lambda log message - logging module")
    names = ("invoked_function_arn", "function_version", "function_name", "memory_limit_in_mb", "aws_request_id",
        "log_group_name", "log_stream_name", "client_context")
    return {"event": event, "context": {name: getattr(context, name) for name in names}}
"""


def like(recorded: dict[str, Any], world: Any, code: bytes, **more: Any) -> dict[str, Any]:
    shown = recorded.get("CreateFunctionResponse", recorded)
    members = ("Timeout", "MemorySize", "Runtime", "Environment", "Description", "Handler")
    params = {name: shown[name] for name in members if name in shown}
    return {**FN, **params, "Role": world.role, "Code": {"ZipFile": code}, **more}


@pytest.mark.parametrize("runtime", ["python3.9", "python3.10"])
async def test_invocation_types(world: Any, scenario: Any, make_zip: Any, runtime: str) -> None:
    """TestLambdaFeatures::test_invocation_type_…"""
    await world.create("fn-1", Runtime=runtime, Code={"ZipFile": make_zip(ECHO)})
    for kind, name in (("RequestResponse", "request_response"), ("Event", "event"), ("DryRun", "dry_run")):
        s = scenario(f"test_lambda.py::TestLambdaFeatures::test_invocation_type_{name}[{runtime}]", "invoke.json")
        await s("invoke-result", "Invoke", **FN, InvocationType=kind, Payload=b"{}")


async def test_no_payload(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaFeatures::test_invocation_type_no_return_payload; names of functions that are not there"""
    await world.create("fn-1", Code={"ZipFile": make_zip("def handler(event, context):\n    pass\n")})
    for kind in ("RequestResponse", "Event"):
        name = f"test_lambda.py::TestLambdaFeatures::test_invocation_type_no_return_payload[python-{kind}]"
        s = scenario(name, "invoke.json")
        await s("invoke-result", "Invoke", **FN, InvocationType=kind, Payload=b"{}")
    s = scenario("test_lambda.py::TestLambdaFeatures::test_invoke_exceptions", "invoke.json")
    await s("invoke_function_doesnotexist", "Invoke", FunctionName="doesnotexist")


async def test_logs_of_an_invocation(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaFeatures::test_invocation_with_logs[python3.10]"""
    s = scenario("test_lambda.py::TestLambdaFeatures::test_invocation_with_logs[python3.10]", "invoke.json")
    await world.create("fn-1", Runtime="python3.10", Code={"ZipFile": make_zip(ECHO)})
    answer = await s("invoke", "Invoke", **FN, LogType="Tail", Payload=b"{}")
    lines = base64.b64decode(answer["LogResult"]).decode().splitlines(keepends=True)
    found = [line for line in lines if not line.startswith("INIT_START")]
    patterns = [
        re.sub(r"<\w+(-\w+)?>", r"[\\w.-]+", re.escape(line).replace(r"request\-id", "request-id"))
        for line in s.steps["logs"]["logs"]
    ]
    assert len(found) == len(patterns)
    for line, pattern in zip(found, patterns, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)
    s.seen.add("logs")


async def test_versions_with_code_changes(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaVersions::test_lambda_versions_with_code_changes"""
    s = scenario("test_lambda.py::TestLambdaVersions::test_lambda_versions_with_code_changes", "invoke.json")
    create = like(s.steps["create_response"], world, make_zip(VERSION % "version1"))
    await s("create_response", "CreateFunction", **create)
    await world.active("fn-1")
    publish = "PublishVersion"
    await s("first_publish_response", publish, **FN, Description="First version description :)")
    await s("update_lambda_response", "UpdateFunctionCode", **FN, ZipFile=make_zip(VERSION % "version2"))
    await world.active("fn-1")
    await s("invocation_result_latest", "Invoke", **FN)
    await s("invocation_result_v1", "Invoke", **FN, Qualifier="1")
    await s("second_publish_response", publish, **FN, Description="Second version description :)")
    await s("invocation_result_v2", "Invoke", **FN, Qualifier="2")
    update = {"ZipFile": make_zip(VERSION % "version3"), "Publish": True}
    await s("update_lambda_response_with_publish", "UpdateFunctionCode", **FN, **update)
    await world.active("fn-1")
    await world.active("fn-1", "3")
    await s("invocation_result_v3", "Invoke", **FN, Qualifier="3")
    await s("invocation_result_latest_end", "Invoke", **FN)
    await s("invocation_result_v2_end", "Invoke", **FN, Qualifier="2")
    await s("invocation_result_v1_end", "Invoke", FunctionName=f"{ARN}:1")
    assert s.seen == set(s.steps)


async def test_an_alias_that_moves(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaAliases::test_lambda_alias_moving"""
    s = scenario("test_lambda.py::TestLambdaAliases::test_lambda_alias_moving", "invoke.json")
    create = like(s.steps["create_response"], world, make_zip(VERSION % "version1"))
    await s("create_response", "CreateFunction", **create)
    await world.active("fn-1")
    await s("", "PublishVersion", **FN, Description="First version description :)")
    await s("create_alias_response", "CreateAlias", **FN, Name="alias1", FunctionVersion="1")
    alias = {**FN, "Qualifier": "alias1"}
    await s("invocation_result_qualifier_v1", "Invoke", **alias)
    await s("invocation_result_qualifier_v1_arn", "Invoke", FunctionName=f"{ARN}:alias1")
    await s("update_lambda_response", "UpdateFunctionCode", **FN, ZipFile=make_zip(VERSION % "version2"))
    await world.active("fn-1")
    await s("invocation_result_qualifier_v1_after_update", "Invoke", **alias)
    await s("second_publish_response", "PublishVersion", **FN, Description="Second version description :)")
    await s("invocation_result_qualifier_v1_after_publish", "Invoke", **alias)
    await s("update_alias_response", "UpdateAlias", **FN, Name="alias1", FunctionVersion="2")
    await s("invocation_result_qualifier_v2", "Invoke", **alias)
    await s("invocation_exc_not_existent", "Invoke", **FN, Qualifier="non-existent-alias")
    assert s.seen == set(s.steps)


async def test_a_handler_that_is_changed(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaVersions::test_lambda_handler_update"""
    s = scenario("test_lambda.py::TestLambdaVersions::test_lambda_handler_update", "invoke.json")
    code = "".join(f"def {name}(e, c):\n    return {{'handler': '{name}'}}\n" for name in ("handler", "handler_two"))
    before = like(s.steps["update_function_configuration_result"], world, make_zip(code), Handler="handler.handler")
    await s("", "CreateFunction", **before)
    await world.active("fn-1")
    await s("invoke_result_handler_one", "Invoke", **FN)
    update = {**FN, "Handler": "handler.handler_two"}
    await s("update_function_configuration_result", "UpdateFunctionConfiguration", **update)
    await world.active("fn-1")
    await s("get_function_result", "GetFunction", **FN)
    await s("invoke_result_handler_two", "Invoke", **FN)
    await s("", "PublishVersion", **FN)
    await s("invoke_result_handler_two_postpublish", "Invoke", **FN)
    assert s.seen == set(s.steps)


async def test_a_time_out(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaBehavior::test_lambda_invoke_with_timeout and test_lambda_invoke_no_timeout"""
    code = make_zip("import time\ndef handler(event, context):\n    time.sleep(event['wait'])\n")
    for name, wait, function in (("with_timeout", 5, "fn-1"), ("no_timeout", 0, "fn-2")):
        s = scenario(f"test_lambda.py::TestLambdaBehavior::test_lambda_invoke_{name}", "invoke.json")
        create = like(s.steps["create-result"], world, code, FunctionName=function)
        await s("create-result", "CreateFunction", **create)
        await world.active(function)
        await s("invoke-result", "Invoke", FunctionName=function, Payload=json.dumps({"wait": wait}).encode())


ERRORS = {
    "test_lambda_runtime_exit": ("handler", "import os\nos._exit(0)\n", 5),
    "test_lambda_handler_exit": ("handler", "import sys\ndef handler(e, c):\n    sys.exit(0)\n", 5),
    "test_lambda_handler_error": (
        "lambda_handler_error",
        'def handler(event, context):\n    raise Exception("Handler fails")\n',
        5,
    ),
    "test_lambda_runtime_wrapper_not_found": ("handler", "def handler(e, c):\n    pass\n", 5),
}


@pytest.mark.parametrize("case", ERRORS)
async def test_errors(world: Any, scenario: Any, make_zip: Any, case: str) -> None:
    """TestLambdaErrors"""
    module, text, timeout = ERRORS[case]
    s = scenario(f"test_lambda.py::TestLambdaErrors::{case}", "invoke.json")
    code = {"ZipFile": make_zip(text, f"{module}.py")}
    wrapper = {"AWS_LAMBDA_EXEC_WRAPPER": "/idontexist.sh"} if "wrapper" in case else {}
    more = {"Handler": f"{module}.handler", "Timeout": timeout, "Environment": {"Variables": wrapper}}
    await world.create("fn-1", Code=code, **more)
    await s("invocation_error", "Invoke", **FN, Payload=b"{}")


async def test_a_response_that_is_too_large(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaBaseFeatures::test_lambda_too_large_response"""
    s = scenario("test_lambda.py::TestLambdaBaseFeatures::test_lambda_too_large_response", "invoke.json")
    code = make_zip("def handler(event, context):\n    return 'x' * (6 * 1024 * 1024 + 200)\n")
    await world.create("fn-1", Code={"ZipFile": code}, Timeout=30)
    # AWS's text has the limit: 6 MB and 100 bytes.
    await s("invoke_result", "Invoke", **FN, Payload=b"{}")
    await s("invoke_result_2", "Invoke", **FN, Payload=b"{}")
    assert s.seen == set(s.steps)


async def test_what_a_function_sees(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaFeatures::test_invocation_with_qualifier and test_upload_lambda_from_s3"""
    payload = json.dumps({"foo": "bar with 'quotes\""}).encode()
    s = scenario("test_lambda.py::TestLambdaFeatures::test_invocation_with_qualifier", "invoke.json")
    world.objects["bucket", "function.zip"] = make_zip(CONTEXT)
    source = {"S3Bucket": "bucket", "S3Key": "function.zip"}
    create = {**like(s.steps["creation-response"], world, b""), "Code": source, "Publish": True}
    await s("creation-response", "CreateFunction", **create)
    await world.active("fn-1")
    await world.active("fn-1", "1")
    await s("invocation-response", "Invoke", **FN, Qualifier="1", LogType="Tail", Payload=payload)
    s = scenario("test_lambda.py::TestLambdaFeatures::test_upload_lambda_from_s3", "invoke.json")
    two = {"FunctionName": "fn-2"}
    create = {**like(s.steps["creation-response"], world, b"", **two), "Code": source}
    await s("creation-response", "CreateFunction", **create)
    await world.active("fn-2")
    await s("invocation-response", "Invoke", **two, Payload=payload)
    assert s.seen == set(s.steps)


async def test_concurrency_settings(world: Any, scenario: Any) -> None:
    """TestLambdaConcurrency::test_lambda_concurrency_crud and test_lambda_concurrency_update"""
    put, get, delete = "PutFunctionConcurrency", "GetFunctionConcurrency", "DeleteFunctionConcurrency"
    s = scenario("test_lambda.py::TestLambdaConcurrency::test_lambda_concurrency_crud", "invoke.json")
    await world.create("fn-1", Timeout=30, Environment={"Variables": {}})
    await s("get_function_concurrency_default", get, **FN)
    await s("put_function_concurrency", put, **FN, ReservedConcurrentExecutions=0)
    await s("get_function_concurrency_updated", get, **FN)
    await s("", delete, **FN)
    await s("get_function_concurrency_deleted", get, **FN)
    assert s.seen == set(s.steps)
    s = scenario("test_lambda.py::TestLambdaConcurrency::test_lambda_concurrency_update", "invoke.json")
    await s("put_function_concurrency", put, **FN, ReservedConcurrentExecutions=3)
    await s("get_function_concurrency_updated", get, **FN)
    await s("get_function_concurrency_info", "GetFunction", **FN)
    await s("", delete, **FN)
    await s("get_function_concurrency_deleted", get, **FN)
