"""The commands against a real server."""

from __future__ import annotations

import io
import json
import os
import queue
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator

import pytest
from click.testing import Result

from alonzo.testing import Server

Run = Callable[..., Result]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as started:
        yield started


@pytest.fixture(autouse=True)
def _pointed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALONZO_ENDPOINT", server.endpoint)


def _put(server: Server, group: str, *lines: str) -> None:
    logs = server.client("logs")
    try:
        logs.create_log_group(logGroupName=group)
        logs.create_log_stream(logGroupName=group, logStreamName="s")
    except logs.exceptions.ResourceAlreadyExistsException:
        pass
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": line} for line in lines]
    logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=events)


def test_logs_over_the_wire(server: Server, run: Run) -> None:
    """Lines put by boto3 are shown, filtered and, where there are none, missed."""
    _put(server, "/cli/wire", "one ERROR", "two")
    assert [line[25:] for line in run("logs", "/cli/wire").stdout.splitlines()] == ["one ERROR", "two"]
    assert json.loads(run("logs", "/cli/wire", "--since", "5m", "--filter", "ERROR", "--json").stdout)["message"] == (
        "one ERROR"
    )
    assert run("logs", "/cli/other").exit_code == 1
    bad = run("logs", "/cli/wire", "--filter", "{ $.a")
    assert (bad.exit_code, bad.stderr[:23]) == (1, "Invalid filter pattern:")


def test_follow_is_live(server: Server) -> None:
    """A line is on the terminal within a second of being put."""
    _put(server, "/cli/live", "first")
    command = [sys.executable, "-u", "-m", "alonzo.cli.main", "logs", "/cli/live", "--follow"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert process.stdout is not None
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    output = process.stdout

    def collect() -> None:
        for line in output:
            lines.put(line)

    reader = threading.Thread(target=collect, daemon=True)
    reader.start()
    try:
        assert lines.get(timeout=30).endswith("first\n")
        _put(server, "/cli/live", "second")
        put_at = time.monotonic()
        assert lines.get(timeout=30).endswith("second\n")
        assert time.monotonic() - put_at < 3  # 0.3 s by itself; the machine that tests may be busy
    finally:
        process.terminate()
        process.wait(10)
        reader.join(10)
        output.close()


def test_own_api_over_the_wire(server: Server, run: Run) -> None:
    """Bill, queue and runtimes come signed through the gateway, by boto3 with our own model."""
    assert json.loads(run("cost", "--json").stdout)["Functions"] == []
    assert run("events").stdout == "The queue is empty.\n"
    names = [one["Name"] for one in json.loads(run("runtime", "list", "--json").stdout)]
    assert "python3.12" in names
    refused = run("runtime", "install", "cobol")
    assert refused.exit_code == 1
    assert "There is no runtime 'cobol'" in refused.stderr


def test_permissions_hold_for_our_own_api(server: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without permissions is told which one is missing."""
    iam = server.client("iam")
    iam.create_user(UserName="nobody")
    key = iam.create_access_key(UserName="nobody")["AccessKey"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    result = run("cost")
    assert result.exit_code == 1
    assert "is not authorized to perform: alonzo:GetCostReport on resource: arn:aws:alonzo:" in result.stderr


@pytest.mark.sandbox
def test_invoke_logs_and_cost_of_a_real_function(server: Server, run: Run) -> None:
    """A function made by boto3 answers `invoke`, its lines are in `logs`, its price in `cost`."""
    iam, functions = server.client("iam"), server.client("lambda")
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName="cli", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    iam.attach_role_policy(RoleName="cli", PolicyArn="arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole")
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr(
            "app.py", "def handler(event, context):\n    print('hello', event)\n    return 1 / event['by']\n"
        )
    functions.create_function(
        FunctionName="cli",
        Runtime=f"python3.{sys.version_info.minor}",
        Handler="app.handler",
        Role=role,
        Code={"ZipFile": package.getvalue()},
    )
    functions.get_waiter("function_active_v2").wait(FunctionName="cli")
    answered = run("invoke", "cli", "--payload", '{"by": 2}', "--tail")
    assert (answered.exit_code, answered.stdout) == (0, "0.5\n")
    assert "hello {'by': 2}" in answered.stderr
    failed = run("invoke", "cli", "--payload", '{"by": 0}')
    assert failed.exit_code == 1
    assert "ZeroDivisionError" in failed.stdout
    deadline = time.monotonic() + 20
    while (shown := run("logs", "cli").stdout).count("REPORT RequestId") < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert shown.count("REPORT RequestId") == 2
    (row,) = json.loads(run("cost", "--json").stdout)["Functions"]
    assert (row["FunctionName"], row["Requests"]) == ("cli", 2)
    assert row["TotalCharge"] > 0
    assert run("invoke", "cli", "--event", "--payload", '{"by": 1}').exit_code == 0


@pytest.mark.sandbox
def test_doctor_beside_a_running_server(server: Server, run: Run) -> None:
    """Doctor starts a sandbox of its own for a moment and leaves the server's environments alone."""
    functions = server.client("lambda")
    before = json.loads(functions.invoke(FunctionName="cli", Payload=b'{"by": 4}')["Payload"].read())
    told = json.loads(run("doctor", "--json").stdout)
    assert told["Isolated"] is True
    assert told["Problem"] == ""
    assert all(line["enforced"] or line["mend"] for line in told["Enforcements"])
    after = json.loads(functions.invoke(FunctionName="cli", Payload=b'{"by": 4}')["Payload"].read())
    assert (before, after) == (0.25, 0.25)
