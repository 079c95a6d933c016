"""Scenarios recorded on AWS, replayed: what is the same in each runtime. Those that are Python's run, on the Python
that is installed; of the others only the making of the function is compared."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
import zipfile
from typing import Any

import pytest

COMMON = "test_lambda_common.py::TestLambdaRuntimesCommon::"
FN = {"FunctionName": "fn-1"}
RUNTIMES = [
    *(f"dotnet{version}" for version in (6, 8, 10)),
    *("java8.al2", "java11", "java17", "java21", "java25"),
    *(f"nodejs{version}.x" for version in (16, 18, 20, 22, 24)),
    *(f"python3.{version}" for version in range(8, 15)),
    *("ruby3.2", "ruby3.3", "ruby3.4"),
    *("provided.al2", "provided.al2023"),
]
#: Tells what it sees, but for the variable in which the SDK finds this server; AWS's functions need none.
SEEING = """\
import os
NAMES = ("aws_request_id", "function_name", "function_version", "invoked_function_arn", "log_group_name",
    "log_stream_name", "memory_limit_in_mb")
def handler(event, context):
    seen = {name: getattr(context, name) for name in NAMES}
    seen["remaining_time_in_millis"] = context.get_remaining_time_in_millis()
    variables = {name: value for name, value in os.environ.items() if name != "AWS_ENDPOINT_URL"}
    return {"ctx": seen, "environment": variables, "packages": []}
"""
WRAPPER = '#!/bin/bash\nexport WRAPPER_VAR=test-var\nexec "$@"\n'


def bundle(**files: str) -> bytes:
    """A zip with executable files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o755 << 16
            archive.writestr(entry, text)
    return buffer.getvalue()


async def made(s: Any, world: Any, step: str, source: str, **files: str) -> None:
    """The function that a step shows; its module is named as its handler says."""
    recorded = s.steps[step].get("CreateFunctionResponse", s.steps[step])
    params = {
        name: recorded[name]
        for name in ("Timeout", "MemorySize", "Runtime", "Environment", "Handler")
        if name in recorded
    }
    code = bundle(**{f"{params['Handler'].split('.')[0]}.py": source}, **files)
    await s(step, "CreateFunction", **FN, **params, Role=world.role, Code={"ZipFile": code})
    if recorded["Runtime"].startswith("python"):
        await world.active("fn-1")


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_what_is_seen(world: Any, scenario: Any, runtime: str) -> None:
    """test_introspection_invoke: context and variables"""
    s = scenario(f"{COMMON}test_introspection_invoke[{runtime}]", "common.json")
    await made(s, world, "create_function_result", SEEING)
    if runtime.startswith("python"):
        for step, more in {"": {}, "_qualified": {"Qualifier": "$LATEST"}}.items():
            answer = await world.call("Invoke", **FN, Payload=b'{"simple": "payload"}', **more)
            s.replay.bound.pop("<remaining-time-in-millis>", None)
            s.compare(f"invocation_result_payload{step}", json.loads(answer["Payload"]))
        assert s.seen == set(s.steps)


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_uncaught_exceptions(world: Any, scenario: Any, runtime: str) -> None:
    """test_uncaught_exception_invoke"""
    s = scenario(f"{COMMON}test_uncaught_exception_invoke[{runtime}]", "common.json")
    source = "def handler(event, context):\n    raise Exception(f\"Failed: {event['error_msg']}\")\n"
    await made(s, world, "create_function_result", source)
    # The client of Python 3.8 leaves the request's id out, and is not the one that runs here.
    if runtime.startswith("python") and runtime != "python3.8":
        await s("error_result", "Invoke", **FN, Payload=b'{"error_msg": "some_error_msg"}')
        assert s.seen == set(s.steps)


@pytest.mark.parametrize("runtime", [one for one in RUNTIMES if not one.startswith("provided")])
async def test_wrappers(world: Any, scenario: Any, runtime: str) -> None:
    """test_runtime_wrapper_invoke: only the making was recorded; that the wrapper runs is checked for Python"""
    s = scenario(f"{COMMON}test_runtime_wrapper_invoke[{runtime}]", "common.json")
    source = "import os\ndef handler(event, context):\n    return os.environ.get('WRAPPER_VAR')\n"
    await made(s, world, "create_function_result", source, environment_wrapper=WRAPPER)
    if runtime.startswith("python"):
        assert (await world.call("Invoke", **FN))["Payload"] == b'"test-var"'
    assert s.seen == set(s.steps)


async def test_variables_at_the_start(world: Any, scenario: Any) -> None:
    """TestLambdaBehavior::test_lambda_init_environment"""
    s = scenario("test_lambda.py::TestLambdaBehavior::test_lambda_init_environment", "invoke.json")
    source = SEEING.replace('{"ctx": seen, "environment": variables, "packages": []}', '{"environment": variables}')
    await made(s, world, "create-result", source)
    await s("lambda-init-inspection", "Invoke", **FN, Payload=b"{}")
    assert s.seen == set(s.steps)


async def test_lines_of_prints(world: Any, scenario: Any) -> None:
    """TestCloudwatchLogs::test_multi_line_prints"""
    s = scenario("test_lambda_runtimes.py::TestCloudwatchLogs::test_multi_line_prints", "runtimes.json")
    source = "def handler(event, context):\n    print('multi\\nline\\nstring')\n    print('another\\rline')\n"
    await world.create("fn-1", Code={"ZipFile": bundle(**{"handler.py": source})})
    await world.call("Invoke", **FN)
    logs = world.client("logs")

    def events() -> list[Any]:
        try:
            found = logs.filter_log_events(logGroupName="/aws/lambda/fn-1")["events"]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return list(found) if any(one["message"].startswith("REPORT") for one in found) else []

    async with asyncio.timeout(20):
        while not (found := await asyncio.to_thread(events)):
            await asyncio.sleep(0.05)
    for one in found:
        one["message"] = one["message"].replace(f"python:3.{sys.version_info.minor}", "python:3.13")
    number = iter(range(100))
    for one in s.steps["log-events"]:
        one.update(dict.fromkeys(("timestamp", "ingestionTime", "eventId"), "date"))
        # Two durations are two values.
        one["message"] = re.sub(r"<(duration|memory)>", lambda name: f"<{name[1]}:{next(number)}>", one["message"])
    s.compare("log-events", found)
