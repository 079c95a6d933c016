"""Scenarios recorded on AWS, replayed: function URLs, made and visited."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

API = "test_lambda_api.py::"
URLS = "test_lambda.py::TestLambdaURL::"
URL_PERMISSION = {
    "StatementId": "urlPermission",
    "Action": "lambda:InvokeFunctionUrl",
    "Principal": "*",
    "FunctionUrlAuthType": "NONE",
}
FN = {"FunctionName": "fn-1"}


def visit(url: str, body: bytes = b"{}", kind: str = "application/json") -> tuple[int, dict[str, str], str]:
    """Status, header fields in lower case and body of a POST to a URL."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=30)
    connection.request("POST", parts.path, body, {"Host": parts.netloc, "Content-Type": kind})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, text


async def opened(world: Any, s: Any, **more: Any) -> str:
    """The URL of the function, which anybody may visit."""
    made = await s("create_lambda_url_config", "CreateFunctionUrlConfig", **FN, AuthType="NONE", **more)
    await s("add_permission" if "add_permission" in s.steps else "", "AddPermission", **FN, **URL_PERMISSION)
    return str(made["FunctionUrl"])


def scenario_of(scenario: Any, name: str) -> Any:
    return scenario(name if "::" in name else URLS + name, "invoke.json")


def returning(make_zip: Any, value: Any) -> dict[str, Any]:
    return {"Code": {"ZipFile": make_zip(f"def handler(event, context):\n    return {value!r}\n")}}


async def test_url_config_lifecycle(world: Any, scenario: Any) -> None:
    """TestLambdaUrl::test_url_config_lifecycle"""
    s = scenario(API + "TestLambdaUrl::test_url_config_lifecycle")
    await world.create("fn-1")
    fn = {"FunctionName": "fn-1"}
    made = await s("url_creation", "CreateFunctionUrlConfig", **fn, AuthType="NONE")
    await s("failed_duplication", "CreateFunctionUrlConfig", **fn, AuthType="NONE")
    got = await s("get_url_config", "GetFunctionUrlConfig", **fn)
    changed = await s("updated_url_config", "UpdateFunctionUrlConfig", **fn, AuthType="AWS_IAM")
    assert made["FunctionUrl"] == got["FunctionUrl"] == changed["FunctionUrl"]
    await s("", "DeleteFunctionUrlConfig", **fn)
    await s("failed_getter", "GetFunctionUrlConfig", **fn)
    assert s.seen == set(s.steps)


async def published(world: Any, s: Any) -> None:
    """Make the function that fn_version_result shows, and publish it."""
    recorded = s.steps["fn_version_result"]
    members = ("Handler", "Timeout", "MemorySize", "Runtime", "Environment")
    await world.create("fn-1", **{name: recorded[name] for name in members if name in recorded})
    await s("fn_version_result", "PublishVersion", FunctionName="fn-1")


async def test_url_config_list_paging(world: Any, scenario: Any) -> None:
    """TestLambdaUrl::test_url_config_list_paging"""
    s = scenario(API + "TestLambdaUrl::test_url_config_list_paging")
    await published(world, s)
    fn = {"FunctionName": "fn-1"}
    await s("create_alias_result", "CreateAlias", **fn, Name="urlalias", FunctionVersion="1")
    await s("list_function_notfound", "ListFunctionUrlConfigs", FunctionName="nope")
    await s("list_all_empty", "ListFunctionUrlConfigs", **fn)
    await s("url_config_fn", "CreateFunctionUrlConfig", **fn, AuthType="NONE")
    await s("url_config_alias", "CreateFunctionUrlConfig", **fn, Qualifier="urlalias", AuthType="NONE")
    await s("list_all", "ListFunctionUrlConfigs", **fn)
    first = await world.call("ListFunctionUrlConfigs", **fn, MaxItems=1)
    rest = await world.call("ListFunctionUrlConfigs", **fn, MaxItems=1, Marker=first["NextMarker"])
    shown = [one["FunctionArn"].count(":") for page in (first, rest) for one in page["FunctionUrlConfigs"]]
    assert shown == [6, 7]
    assert "NextMarker" not in rest


async def test_url_config_exceptions(world: Any, scenario: Any) -> None:
    """TestLambdaUrl::test_url_config_exceptions; AWS itself fails at a contradictory qualifier of a deletion."""
    s = scenario(API + "TestLambdaUrl::test_url_config_exceptions")
    await published(world, s)
    await s("create_alias_result", "CreateAlias", FunctionName="fn-1", Name="urlalias", FunctionVersion="1")
    arn = "arn:aws:lambda:us-east-1:111111111111:function:"
    cases = {
        "name_doesnotexist": {"FunctionName": "nope"},
        "arn_doesnotexist": {"FunctionName": f"{arn}nope"},
        "name_doesnotexist_qualifier": {"FunctionName": "nope", "Qualifier": "1"},
        "qualifier_version": {"FunctionName": "fn-1", "Qualifier": "1"},
        "qualifier_version_doesnotexist": {"FunctionName": "fn-1", "Qualifier": "2"},
        "qualifier_alias_doesnotexist": {"FunctionName": "fn-1", "Qualifier": "doesnotexist"},
        "qualifier_alias_doesnotmatch_arn": {"FunctionName": f"{arn}fn-1:doesnotexist", "Qualifier": "urlalias"},
        "qualifier_latest": {"FunctionName": "fn-1", "Qualifier": "$LATEST"},
        "config_doesnotexist": {"FunctionName": "fn-1"},
    }
    for kind, more in (("create", {"AuthType": "NONE"}), ("get", {}), ("delete", {}), ("update", {"AuthType": "NONE"})):
        for case, params in cases.items():
            step = f"{kind}_function_url_config_{case}"
            if step in s.steps and s.steps[step] != "<aws_internal_failure>":
                await s(step, f"{kind.title()}FunctionUrlConfig", **params, **more)
    assert set(s.steps) - s.seen == {
        "delete_function_url_config_qualifier_alias_doesnotmatch_arn",
    }


async def test_url_config_deletion_without_qualifier(world: Any, scenario: Any) -> None:
    """TestLambdaUrl::test_url_config_deletion_without_qualifier"""
    s = scenario(API + "TestLambdaUrl::test_url_config_deletion_without_qualifier")
    await world.create("fn-1")
    fn = {"FunctionName": "fn-1"}
    alias = {**fn, "Qualifier": "test-alias"}
    await world.call("CreateAlias", **fn, Name="test-alias", FunctionVersion="$LATEST")
    await s("url_creation", "CreateFunctionUrlConfig", **fn, AuthType="NONE")
    await s("url_with_alias_creation", "CreateFunctionUrlConfig", **alias, AuthType="NONE")
    await s("get_url_config", "GetFunctionUrlConfig", **fn)
    await s("get_url_config_with_alias", "GetFunctionUrlConfig", **alias)
    await s("delete_function_url_config", "DeleteFunctionUrlConfig", **fn)
    await s("get_url_config_after_deletion", "GetFunctionUrlConfig", **fn)
    await s("get_url_config_with_alias_after_deletion", "GetFunctionUrlConfig", **alias)


async def test_update_function_url_config(world: Any, scenario: Any) -> None:
    """TestLambdaURL::test_lambda_update_function_url_config"""
    s = scenario_of(scenario, "test_lambda_update_function_url_config")
    await world.create("fn-1")
    fn = {"FunctionName": "fn-1"}
    await s("create_lambda_url_config", "CreateFunctionUrlConfig", **fn, AuthType="NONE", InvokeMode="BUFFERED")
    await s("get_url_config", "GetFunctionUrlConfig", **fn)
    await s("modify_lambda_url_config", "UpdateFunctionUrlConfig", **fn, InvokeMode="RESPONSE_STREAM")
    await s("get_url_config_2", "GetFunctionUrlConfig", **fn)
    await s("modify_lambda_url_config_none", "UpdateFunctionUrlConfig", **fn)
    await s("get_url_config_3", "GetFunctionUrlConfig", **fn)
    assert s.seen == set(s.steps)


async def test_invalid_invoke_mode(world: Any, scenario: Any) -> None:
    """TestLambdaURL::test_lambda_url_invalid_invoke_mode"""
    s = scenario_of(scenario, "test_lambda_url_invalid_invoke_mode")
    await world.create("fn-1")
    params = {"FunctionName": "fn-1", "AuthType": "NONE", "InvokeMode": "UNKNOWN"}
    await s("invoke_function_invalid_invoke_type", "CreateFunctionUrlConfig", **params)


CASES = [
    ("dict", {"hello": "world"}),
    ("http-response", {"statusCode": 200, "body": "body123"}),
    ("http-response-json", {"statusCode": 200, "body": '{"hello": "world"}'}),
    ("list-mixed", ["hello", 3, True]),
    ("string", "hello"),
    ("integer", 3),
    ("float", 3.1),
    ("boolean", True),
]


@pytest.mark.parametrize(("case", "returned"), CASES)
async def test_invocation(world: Any, scenario: Any, make_zip: Any, case: str, returned: Any) -> None:
    """TestLambdaURL::test_lambda_url_invocation"""
    s = scenario_of(scenario, f"test_lambda_url_invocation[{case}]")
    await world.create("fn-1", **returning(make_zip, returned))
    status, headers, text = await asyncio.to_thread(visit, await opened(world, s))
    recorded = s.steps["lambda_url_invocation"]
    assert status == recorded["statuscode"]
    assert {name: headers[name.lower()] for name in recorded["headers"]} == recorded["headers"]
    assert text == recorded["content"] or json.loads(text) == recorded["content"]
    s.seen.add("lambda_url_invocation")
    assert s.seen == set(s.steps)


@pytest.mark.parametrize("mode", [None, "BUFFERED", "RESPONSE_STREAM"])
async def test_echo_invoke(world: Any, scenario: Any, make_zip: Any, mode: str | None) -> None:
    """TestLambdaURL::test_lambda_url_echo_invoke"""
    s = scenario_of(scenario, f"test_lambda_url_echo_invoke[{mode}]")
    source = "import json\ndef handler(event, context):\n    return {'statusCode': 200, 'body': json.dumps(event)}\n"
    await world.create("fn-1", Code={"ZipFile": make_zip(source)})
    url = await opened(world, s, **({"InvokeMode": mode} if mode else {}))
    _, _, text = await asyncio.to_thread(visit, url, b"text", "text/plain")
    event = json.loads(json.loads(text)["body"] if mode == "RESPONSE_STREAM" else text)
    assert (event["body"], event["isBase64Encoded"]) == ("text", False)
    assert s.seen == set(s.steps)


async def test_invocation_exception(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaURL::test_lambda_url_invocation_exception"""
    s = scenario_of(scenario, "test_lambda_url_invocation_exception")
    code = {"ZipFile": make_zip("def handler(event, context):\n    raise ValueError('x')\n")}
    await world.create("fn-1", Code=code, Timeout=30, Environment={"Variables": {}})
    await s("get_fn_result", "GetFunction", **FN)
    status, _, text = await asyncio.to_thread(visit, await opened(world, s))
    assert (status, text) == (502, "Internal Server Error")


async def test_headers_and_status(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaURL::test_lambda_url_headers_and_status"""
    s = scenario_of(scenario, "test_lambda_url_headers_and_status")
    source = "import json\ndef handler(event, context):\n    return json.loads(event['body'])\n"
    await world.create("fn-1", Code={"ZipFile": make_zip(source)})
    url = (await s("", "CreateFunctionUrlConfig", **FN, AuthType="NONE"))["FunctionUrl"]
    await s("", "AddPermission", **FN, **URL_PERMISSION)
    answer = {"statusCode": 201, "headers": {"My-Custom-Header": "Custom Value"}, "body": "{}"}
    status, headers, _ = await asyncio.to_thread(visit, url, json.dumps(answer).encode())
    assert (status, headers["my-custom-header"]) == (201, "Custom Value")
    teapot = {"statusCode": "418", "body": "i'm a teapot", "isBase64Encoded": False}
    status, _, text = await asyncio.to_thread(visit, url, json.dumps(teapot).encode())
    assert (status, text) == (418, "i'm a teapot")


async def test_missing_permission(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaPermissions::test_lambda_permission_url_invocation"""
    s = scenario_of(scenario, "test_lambda.py::TestLambdaPermissions::test_lambda_permission_url_invocation")
    await world.create("fn-1", **returning(make_zip, "x"))
    url = (await s("", "CreateFunctionUrlConfig", **FN, AuthType="NONE"))["FunctionUrl"]
    status, _, text = await asyncio.to_thread(visit, url)
    assert status == 403
    assert json.loads(text) == s.steps["lambda_url_invocation_missing_permission"]
    s.seen.add("lambda_url_invocation_missing_permission")


async def test_a_url_outlives_its_alias(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaURL::test_lambda_url_persists_after_alias_delete"""
    s = scenario_of(scenario, "test_lambda_url_persists_after_alias_delete")
    await world.create("fn-1", **returning(make_zip, "x"))
    alias = {**FN, "Qualifier": "live"}
    await s("", "CreateAlias", **FN, Name="live", FunctionVersion="$LATEST")
    mode = {"AuthType": "NONE", "InvokeMode": "BUFFERED"}
    made = await s("create_lambda_url_config", "CreateFunctionUrlConfig", **alias, **mode)
    await s("", "AddPermission", **alias, **URL_PERMISSION)
    status, _, _ = await asyncio.to_thread(visit, made["FunctionUrl"])
    assert status == s.steps["invoke_aliased_url_response"]["status_code"]
    await s("delete_alias_resp", "DeleteAlias", **FN, Name="live")
    status, headers, text = await asyncio.to_thread(visit, made["FunctionUrl"])
    recorded = s.steps["invoke_deleted_alias_url_response_delayed"]
    assert status == recorded["status_code"]
    assert json.loads(text) == recorded["content"]
    assert headers["x-amzn-errortype"] == recorded["headers"]["x-amzn-ErrorType"]
    s.seen |= {"invoke_aliased_url_response", "invoke_deleted_alias_url_response_delayed"}


async def test_request_id(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestRequestIdHandling::test_request_id_invoke_url"""
    s = scenario_of(scenario, "test_lambda.py::TestRequestIdHandling::test_request_id_invoke_url")
    await world.create("fn-1", **returning(make_zip, "hi"))
    status, headers, text = await asyncio.to_thread(visit, await opened(world, s))
    assert (status, text) == (200, s.steps["lambda_url_invocation"]["content"])
    logs = world.client("logs")
    wanted = f"END RequestId: {headers['x-amzn-requestid']}"
    async with asyncio.timeout(10):
        while True:
            try:
                found = logs.filter_log_events(logGroupName="/aws/lambda/fn-1")["events"]
            except logs.exceptions.ResourceNotFoundException:
                found = []
            if any(event["message"].strip() == wanted for event in found):
                break
            await asyncio.sleep(0.05)
    s.seen |= {"lambda_url_invocation", "end_log_entries"}
    assert s.seen == set(s.steps)


#: Python's managed runtime has no streaming: this module answers its first event itself, at its import.
STREAMS = """
import http.client, os

connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
path = "/2018-06-01/runtime/invocation/"
while True:
    connection.request("GET", path + "next")
    event = connection.getresponse()
    event.read()
    connection.request(
        "POST",
        path + event.getheader("Lambda-Runtime-Aws-Request-Id") + "/response",
        iter([b'{"statusCode": 200}' + bytes(8), b"Hello, ", b"world!"]),
        {
            "Lambda-Runtime-Function-Response-Mode": "streaming",
            "Transfer-Encoding": "chunked",
            "Content-Type": "application/vnd.awslambda.http-integration-response",
        },
        encode_chunked=True,
    )
    connection.getresponse().read()
"""


async def test_response_streaming(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaURL::test_function_url_with_response_streaming"""
    s = scenario_of(scenario, "test_function_url_with_response_streaming")
    await world.create("fn-1", Code={"ZipFile": make_zip(STREAMS)})
    made = await s("", "CreateFunctionUrlConfig", **FN, AuthType="NONE", InvokeMode="RESPONSE_STREAM")
    await s("", "AddPermission", **FN, **URL_PERMISSION)
    status, _, text = await asyncio.to_thread(visit, made["FunctionUrl"])
    assert status == s.steps["response_status"]
    assert text == s.steps["response_data"]
    s.seen |= {"response_status", "response_data"}
