"""Scenarios recorded on AWS, replayed: what functions of Node.js answer, on one version of it."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nodes")]

FN = {"FunctionName": "fn-1"}
INVOKE = "test_lambda.py::"
COMMON = "test_lambda_common.py::TestLambdaRuntimesCommon::"
ECHO = "exports.handler = async (event) => { console.log(JSON.stringify(event)); return event; };\n"
NOTHING = "exports.handler = async () => {};\n"
COUNTING = "let counter = -1;\nexports.handler = async () => ({ counter: ++counter });\n"
CONTEXT = "exports.handler = async (event, context) => ({ context });\n"
FAILING = "exports.handler = async (event) => { throw new Error(`Error: ${event.error_msg}`); };\n"
#: Tells what it sees, but for the variable in which the SDK finds this server; AWS's functions need none.
SEEING = """\
exports.handler = async (event, context) => {
  const { AWS_ENDPOINT_URL, ...environment } = process.env;
  return {
    ctx: {
      aws_request_id: context.awsRequestId,
      function_name: context.functionName,
      function_version: context.functionVersion,
      invoked_function_arn: context.invokedFunctionArn,
      log_group_name: context.logGroupName,
      log_stream_name: context.logStreamName,
      remaining_time_in_millis: context.getRemainingTimeInMillis(),
    },
    environment,
    packages: [],
  };
};
"""
ES6 = """\
exports.handler = async (event) => ({
  statusCode: 200,
  body: JSON.stringify(`response from localstack lambda: ${JSON.stringify(event)}`),
});
"""


async def made(s: Any, world: Any, make_zip: Any, step: str, source: str) -> None:
    """The function that a step shows; its module is named as its handler says."""
    recorded = s.steps[step].get("CreateFunctionResponse", s.steps[step])
    members = ("Timeout", "MemorySize", "Runtime", "Environment", "Handler")
    params = {name: recorded[name] for name in members if name in recorded}
    if recorded["CodeSha256"].startswith("<<"):  # one placeholder within another
        recorded["CodeSha256"] = "<code-sha256>"
    code = make_zip(source, f"{params['Handler'].split('.')[0]}.js")
    await s(step, "CreateFunction", **FN, **params, Role=world.role, Code={"ZipFile": code})
    await world.active("fn-1")


async def create(world: Any, make_zip: Any, source: str) -> None:
    code = {"ZipFile": make_zip(source, "index.js")}
    await world.create("fn-1", Runtime="nodejs20.x", Handler="index.handler", Code=code)


async def test_invocation_types(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaFeatures::test_invocation_type_…[nodejs16.x]"""
    await create(world, make_zip, ECHO)
    for kind, name in (("RequestResponse", "request_response"), ("Event", "event"), ("DryRun", "dry_run")):
        s = scenario(f"{INVOKE}TestLambdaFeatures::test_invocation_type_{name}[nodejs16.x]", "invoke.json")
        await s("invoke-result", "Invoke", **FN, InvocationType=kind, Payload=b"{}")


async def test_no_payload(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaFeatures::test_invocation_type_no_return_payload[nodejs-…]"""
    await create(world, make_zip, NOTHING)
    for kind in ("RequestResponse", "Event"):
        name = f"{INVOKE}TestLambdaFeatures::test_invocation_type_no_return_payload[nodejs-{kind}]"
        s = scenario(name, "invoke.json")
        await s("invoke-result", "Invoke", **FN, InvocationType=kind, Payload=b"{}")


async def test_logs_of_an_invocation(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaFeatures::test_invocation_with_logs[nodejs16.x]"""
    s = scenario(f"{INVOKE}TestLambdaFeatures::test_invocation_with_logs[nodejs16.x]", "invoke.json")
    await create(world, make_zip, ECHO)
    answer = await s("invoke", "Invoke", **FN, LogType="Tail", Payload=b"{}")
    lines = base64.b64decode(answer["LogResult"]).decode().splitlines(keepends=True)
    found = [line for line in lines if not line.startswith("INIT_START")]
    recorded = [line.replace("date\t", "<date>\t") for line in s.steps["logs"]["logs"]]
    assert len(found) == len(recorded)
    for line, text in zip(found, recorded, strict=True):
        pattern = re.sub(r"<\w+(\\?-\w+)?>", r"[\\w.:-]+", re.escape(text))
        assert re.fullmatch(pattern, line), (line, pattern)
    s.seen.add("logs")


async def test_what_is_kept(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaBehavior::test_lambda_cache_local[nodejs]"""
    s = scenario(f"{INVOKE}TestLambdaBehavior::test_lambda_cache_local[nodejs]", "invoke.json")
    await create(world, make_zip, COUNTING)
    await s("first_invoke_result", "Invoke", **FN)
    await s("second_invoke_result", "Invoke", **FN)
    assert s.seen == set(s.steps)


async def test_the_context(world: Any, scenario: Any, make_zip: Any) -> None:
    """TestLambdaFeatures::test_lambda_with_context"""
    s = scenario(f"{INVOKE}TestLambdaFeatures::test_lambda_with_context", "invoke.json")
    await made(s, world, make_zip, "creation", CONTEXT)
    given = {"custom": {"foo": "bar"}, "client": {"snap": ["crackle", "pop"]}, "env": {"fizz": "buzz"}}
    packed = base64.b64encode(json.dumps(given).encode()).decode()
    await s("invocation", "Invoke", **FN, ClientContext=packed, Payload=b"{}")
    assert s.seen == set(s.steps)


@pytest.mark.parametrize("version", [18, 20, 22, 24])
async def test_what_is_seen(world: Any, scenario: Any, make_zip: Any, version: int) -> None:
    """test_introspection_invoke: context and variables"""
    s = scenario(f"{COMMON}test_introspection_invoke[nodejs{version}.x]", "common.json")
    await made(s, world, make_zip, "create_function_result", SEEING)
    # The client does not set NODE_EXTRA_CA_CERTS, with which Node.js would read all certificates at every start.
    if "NODE_EXTRA_CA_CERTS" not in s.steps["invocation_result_payload"]["environment"]:
        for step, more in {"": {}, "_qualified": {"Qualifier": "$LATEST"}}.items():
            answer = await world.call("Invoke", **FN, Payload=b'{"simple": "payload"}', **more)
            s.replay.bound.pop("<remaining-time-in-millis>", None)
            s.compare(f"invocation_result_payload{step}", json.loads(answer["Payload"]))
        assert s.seen == set(s.steps)


@pytest.mark.parametrize("version", [16, 18, 20, 22, 24])
async def test_uncaught_exceptions(world: Any, scenario: Any, make_zip: Any, version: int) -> None:
    """test_uncaught_exception_invoke"""
    s = scenario(f"{COMMON}test_uncaught_exception_invoke[nodejs{version}.x]", "common.json")
    await made(s, world, make_zip, "create_function_result", FAILING)
    await s("error_result", "Invoke", **FN, Payload=b'{"error_msg": "some_error_msg"}')
    assert s.seen == set(s.steps)


@pytest.mark.parametrize("version", [16, 18, 20, 22, 24])
async def test_es6(world: Any, scenario: Any, make_zip: Any, version: int) -> None:
    """TestNodeJSRuntimes::test_invoke_nodejs_es6_lambda"""
    name = f"test_lambda_runtimes.py::TestNodeJSRuntimes::test_invoke_nodejs_es6_lambda[nodejs{version}.x]"
    s = scenario(name, "runtimes.json")
    await made(s, world, make_zip, "creation-result", ES6)
    await s("invocation-result", "Invoke", **FN, Payload=b'{"event_type":"test_lambda"}')
    assert s.seen == set(s.steps)
