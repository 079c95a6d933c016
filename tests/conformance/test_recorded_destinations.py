"""Scenarios recorded on AWS, replayed: where the outcomes of asynchronous invocations go."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ACCOUNT = "111111111111"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:"
FILE = "destinations.json"
#: The module that the recordings' stack traces name, with the failing line where it was.
FAILING = """



def handler(event, context):
    print("attempt")
    raise Exception("intentional failure")
"""
#: Fails where the event says so, and else answers with what it got; line 55 of `handler.py` raises.
ECHO = (
    "def handler(event, context):\n"
    "    if 'raise_error' not in event:\n"
    "        names = ('invoked_function_arn', 'function_version', 'function_name', 'memory_limit_in_mb',\n"
    "                 'aws_request_id', 'log_group_name', 'log_stream_name', 'client_context')\n"
    "        return {'event': event, 'context': {name: getattr(context, name) for name in names}}\n"
    + "\n" * 49
    + '    raise Exception("Test exception (this is intentional)")\n'
)
#: What the recorded one did before line 55, in as many lines.
TALKING = (
    """
    import logging
    logging.getLogger().setLevel("INFO")
    print("Lambda log message - print function")
    logging.getLogger().info("Lambda log message - logging module")
"""
    + "\n" * 44
)
_LOOSE = re.compile(
    r"timestamp|<sender-id>|<md5-of-body>|<a-w-s-trace-header:\d+>|<sender-id:\d+>|<m-?d-?5[^<>]*>|<request-id:\d+>"
)


def _sources() -> Any:
    spec = importlib.util.spec_from_file_location(
        "recorded_event_sources", Path(__file__).parent / "test_recorded_event_sources.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["recorded_event_sources"] = module
    spec.loader.exec_module(module)
    return module


sources = _sources()


def loose(value: Any) -> Any:
    if isinstance(value, str):
        return "date" if _LOOSE.fullmatch(value) else value
    if isinstance(value, dict):
        return {name: loose(one) for name, one in value.items()}
    return [loose(one) for one in value] if isinstance(value, list) else value


@pytest.fixture
def replay(world: Any, scenario: Any, make_zip: Any) -> Any:
    world.zipped = make_zip

    def begin(name: str, module: str = "test_lambda_destinations.py", file: str = FILE) -> Any:
        s = sources.Replayed(world, lambda _, file: scenario(f"{module}::{name}", file), name, file)
        s.s.steps = loose(s.s.steps)
        s.s.replay._recorded = s.s.steps
        return s

    return begin


async def invoke(world: Any, payload: Any) -> None:
    await world.call("Invoke", FunctionName="fn-1", InvocationType="Event", Payload=json.dumps(payload))


@pytest.mark.parametrize(
    ("case", "payload", "retries"),
    [("Success-payload0", {}, None), ("payload0", {}, 0), ("payload1", {"raise_error": 1}, 0)],
)
async def test_outcomes(replay: Any, world: Any, case: str, payload: Any, retries: int | None) -> None:
    """TestLambdaDestinationSqs::test_assess_lambda_destination_invocation"""
    s = replay(f"TestLambdaDestinationSqs::test_assess_lambda_destination_invocation[{case}]")
    out = await s.queue("dest-1")
    await world.create("fn-1", Code={"ZipFile": world.zipped(ECHO)})
    both = {side: {"Destination": f"{QUEUE}dest-1"} for side in ("OnSuccess", "OnFailure")}
    more = {} if retries is None else {"MaximumRetryAttempts": retries}
    put = {"FunctionName": "fn-1", "DestinationConfig": both, **more}
    await s("put_function_event_invoke_config", "PutFunctionEventInvokeConfig", **put)
    await invoke(world, payload)
    s.check("receive_message_result", await s.receive(out))


async def test_dead_letters(replay: Any, world: Any) -> None:
    """TestLambdaDLQ::test_dead_letter_queue"""
    s = replay("TestLambdaDLQ::test_dead_letter_queue")
    out = await s.queue("dlq-1")
    code = {"ZipFile": world.zipped(ECHO.replace("\n" * 49, TALKING))}
    create = {"FunctionName": "fn-1", "Runtime": "python3.12", "Handler": "handler.handler", "Role": world.role}
    create |= {"Code": code, "Timeout": 30, "Environment": {"Variables": {}}}
    target = {"DeadLetterConfig": {"TargetArn": f"{QUEUE}dlq-1"}}
    await s("create_lambda_with_dlq", "CreateFunction", **create, **target)
    await world.active("fn-1")
    put = {"FunctionName": "fn-1", "MaximumRetryAttempts": 0}
    await world.call("PutFunctionEventInvokeConfig", **put)
    await invoke(world, {"raise_error": 1})
    s.check("receive_result", await s.receive(out, MessageAttributeNames=["All"]))
    await s("delete_dlq", "UpdateFunctionConfiguration", FunctionName="fn-1", **target)
    await world.active("fn-1")
    answer = await world.call("Invoke", FunctionName="fn-1", Payload=b'{"raise_error": 1}', LogType="Tail")
    s.check("invoke_result", {**answer, "Payload": json.loads(answer["Payload"])})
    lines = base64.b64decode(answer["LogResult"]).decode().splitlines()
    lines = [re.sub(r"(?<=\t)\d{4}-\d\d-\d\dT[\d:.]+Z(?=\t)", "date", line) for line in lines]
    s.s.compare("log_result", {"result": [line for line in lines if not line.startswith(("INIT_START", "REPORT"))]})
    assert s.s.seen == set(s.s.steps)


async def test_reserved_concurrency_of_zero(replay: Any, world: Any, scenario: Any) -> None:
    """TestLambdaConcurrency::test_reserved_concurrency: an event is given up without a try"""
    s = replay("TestLambdaConcurrency::test_reserved_concurrency", "test_lambda.py", "invoke.json")
    out = await s.queue("dest-1")
    await world.create("fn-1", Timeout=20, Environment={"Variables": {}})
    await s("fn", "GetFunctionConfiguration", FunctionName="fn-1", Qualifier="$LATEST")
    await s("put_reserved", "PutFunctionConcurrency", FunctionName="fn-1", ReservedConcurrentExecutions=0)
    await s("exc_no_cap_requestresponse", "Invoke", FunctionName="fn-1", InvocationType="RequestResponse")
    failure = {"OnFailure": {"Destination": f"{QUEUE}dest-1"}}
    put = {"FunctionName": "fn-1", "MaximumRetryAttempts": 0, "DestinationConfig": failure}
    await s("put_event_invoke_conf", "PutFunctionEventInvokeConfig", **put)
    await s("invoke_result", "Invoke", FunctionName="fn-1", InvocationType="Event")
    [message] = (await s.receive(out, AttributeNames=["All"]))["Messages"]
    s.check("msg", message)
    assert s.s.seen == set(s.s.steps)


class Hurry:
    """Retries come after milliseconds instead of minutes, as `retry_base_s` has it; the event's age is the clock's."""

    def __init__(self, server: Any, base_s: float) -> None:
        self._deliverer = server.app.engine._deliverer
        self._base_s = base_s

    def __enter__(self) -> None:
        self._before, self._deliverer._retry_base_s = self._deliverer._retry_base_s, self._base_s

    def __exit__(self, *_: object) -> None:
        self._deliverer._retry_base_s = self._before


@pytest.mark.parametrize(
    ("name", "step", "payload", "source"),
    [
        ("test_retries", "queue_destination_payload", {"message": "<test-msg-id>"}, FAILING),
        ("test_lambda_destination_default_retries", "receive_message_result", {"raise_error": 1}, ECHO),
    ],
)
async def test_retries(
    replay: Any, world: Any, whole_server: Any, name: str, step: str, payload: Any, source: str
) -> None:
    """TestLambdaDestinationSqs::test_retries, test_lambda_destination_default_retries, with a shorter pause"""
    s = replay(f"TestLambdaDestinationSqs::{name}")
    out = await s.queue("dest-1")
    await world.create("fn-1", Code={"ZipFile": world.zipped(source)})
    both = {side: {"Destination": f"{QUEUE}dest-1"} for side in ("OnSuccess", "OnFailure")}
    put = {"FunctionName": "fn-1", "DestinationConfig": both}
    if "put_function_event_invoke_config" in s.s.steps:
        await s("put_function_event_invoke_config", "PutFunctionEventInvokeConfig", **put)
    else:
        await world.call("PutFunctionEventInvokeConfig", **put)
    with Hurry(whole_server, 0.01):
        await invoke(world, payload)
        answer = await s.receive(out, AttributeNames=["All"])
    if name == "test_retries":
        # Recorded at the second receive.
        answer["Messages"][0]["Attributes"]["ApproximateReceiveCount"] = "2"
    else:
        del answer["Messages"][0]["Attributes"]
    s.check(step, answer)


async def test_maximum_age(replay: Any, world: Any, whole_server: Any) -> None:
    """TestLambdaDestinationSqs::test_maxeventage: given up before the next try would come too late"""
    s = replay("TestLambdaDestinationSqs::test_maxeventage")
    out = await s.queue("dest-1")
    await world.create("fn-1", Code={"ZipFile": world.zipped(FAILING)})
    put = {"FunctionName": "fn-1", "DestinationConfig": {"OnFailure": {"Destination": f"{QUEUE}dest-1"}}}
    await world.call("PutFunctionEventInvokeConfig", **put, MaximumRetryAttempts=2, MaximumEventAgeInSeconds=60)
    for step, base_s in (("no_retry_failure_message", 100.0), ("single_retry_failure_message", OneTry())):
        with Hurry(whole_server, base_s):
            await invoke(world, {"message": "<test-msg-id>"})
            [message] = (await s.receive(out, AttributeNames=["All"]))["Messages"]
        s.check(step, message)


class OneTry(float):
    """A first pause that is over at once, and a second that is longer than the event may live."""

    def __mul__(self, factor: float) -> float:
        return 0.01 if factor == 1 else 100.0
