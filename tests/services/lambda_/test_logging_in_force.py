"""LoggingConfig in force: formats, levels and groups, with AWS's own runtime client in a real environment."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.slow

RUNTIME = f"python3.{sys.version_info.minor}"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
WRITE = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "logs:*", "Resource": "*"}]}
CODE = """\
import logging, os
log = logging.getLogger()
def handler(event, context):
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)("from %s", level, extra={"answer": 42})
    print("printed")
    if event.get("fail"):
        raise ValueError("as asked")
    return {name: os.environ.get(name) for name in ("AWS_LAMBDA_LOG_FORMAT", "AWS_LAMBDA_LOG_LEVEL")} | {
        "group": context.log_group_name}
"""


class Logged:
    """A function with a logging configuration, and what it has logged."""

    def __init__(self, server: Any, make_zip: Any) -> None:
        self.functions, self.logs = server.client("lambda"), server.client("logs")
        iam, name = server.client("iam"), f"logging-{uuid.uuid4().hex[:8]}"
        self.role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        iam.put_role_policy(RoleName=name, PolicyName="logs", PolicyDocument=json.dumps(WRITE))
        self.code = make_zip(CODE)
        self.made: list[str] = []

    def function(self, **logging: str) -> str:
        name = f"logging-{uuid.uuid4().hex[:8]}"
        self.functions.create_function(
            FunctionName=name,
            Runtime=RUNTIME,
            Handler="handler.handler",
            Role=self.role,
            Timeout=20,
            Code={"ZipFile": self.code},
            LoggingConfig=logging,
        )
        self.made.append(name)
        self.functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        return name

    def run(self, name: str, event: Any = None) -> Any:
        answer = self.functions.invoke(FunctionName=name, Payload=json.dumps(event or {}))
        return json.load(answer["Payload"])

    def lines(self, group: str, until: str) -> list[str]:
        """Messages of a group, once one of them holds `until`."""
        deadline = time.monotonic() + 20
        while True:
            try:
                found = [one["message"] for one in self.logs.filter_log_events(logGroupName=group)["events"]]
            except self.logs.exceptions.ResourceNotFoundException:
                found = []
            if any(until in one for one in found):
                return found
            assert time.monotonic() < deadline, f"{until!r} was never logged: {found}"
            time.sleep(0.05)


@pytest.fixture
def logged(alonzo: Any, make_zip: Any) -> Iterator[Logged]:
    made = Logged(alonzo, make_zip)
    yield made
    for name in made.made:
        made.functions.delete_function(FunctionName=name)


def records(lines: list[str]) -> list[dict[str, Any]]:
    """Those that are JSON objects."""
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_json_with_the_default_levels(logged: Logged) -> None:
    """Application and system logs are JSON at INFO; what is printed stays as it is."""
    name = logged.function(LogFormat="JSON")
    group = f"/aws/lambda/{name}"
    variables = logged.run(name)
    assert variables == {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO", "group": group}
    lines = logged.lines(group, "platform.report")
    found = records(lines)
    own = [one for one in found if "message" in one]
    assert [one["level"] for one in own] == ["INFO", "WARNING", "ERROR"]
    assert all(one["answer"] == 42 and one["requestId"] for one in own)
    assert [one["type"] for one in found if "type" in one] == [
        "platform.initStart",
        "platform.start",
        "platform.report",
    ]
    assert "printed\n" in lines
    report = found[-1]["record"]
    assert report["status"] == "success" and report["metrics"]["memorySizeMB"] == 128


def test_levels_filter(logged: Logged) -> None:
    """ApplicationLogLevel ERROR and SystemLogLevel WARN leave errors and failures; DEBUG lets everything through."""
    name = logged.function(LogFormat="JSON", ApplicationLogLevel="ERROR", SystemLogLevel="WARN")
    group = f"/aws/lambda/{name}"
    logged.run(name)
    logged.run(name, {"fail": True})
    found = records(logged.lines(group, "platform.report"))
    assert [one["message"] for one in found if "message" in one and "errorType" not in one] == ["from error"] * 2
    [report] = [one for one in found if one.get("type") == "platform.report"]
    assert report["record"]["status"] != "success"
    assert not [one for one in found if one.get("type") in ("platform.start", "platform.initStart")]
    debug = {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG", "SystemLogLevel": "DEBUG", "LogGroup": f"own-{name}"}
    logged.functions.update_function_configuration(FunctionName=name, LoggingConfig=debug)
    logged.functions.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    assert logged.run(name)["AWS_LAMBDA_LOG_LEVEL"] == "DEBUG"
    found = records(logged.lines(f"own-{name}", "platform.report"))
    assert "from debug" in [one.get("message") for one in found]
    assert "platform.runtimeDone" in [one.get("type") for one in found]


def test_text_into_a_group_of_its_own(logged: Logged) -> None:
    """LogFormat Text with LogGroup: the lines are AWS's text, in that group and no other."""
    group = f"/apps/{uuid.uuid4().hex[:8]}"
    name = logged.function(LogGroup=group)
    assert logged.run(name) == {"AWS_LAMBDA_LOG_FORMAT": None, "AWS_LAMBDA_LOG_LEVEL": None, "group": group}
    lines = logged.lines(group, "REPORT")
    assert lines[0].startswith("INIT_START") and lines[1].startswith("START")
    assert any(line.startswith("[WARNING]") for line in lines) and not any("from info" in line for line in lines)
    assert logged.logs.describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{name}")["logGroups"] == []


def test_levels_need_json(logged: Logged) -> None:
    """A level beside LogFormat Text is refused, at creation and at an update."""
    with pytest.raises(logged.functions.exceptions.InvalidParameterValueException, match="only be set with LogFormat"):
        logged.function(LogFormat="Text", SystemLogLevel="DEBUG")
