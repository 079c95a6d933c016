"""What environments go through: provisioned concurrency, extensions, telemetry and the end, on a real server."""

from __future__ import annotations

import base64
import io
import json
import os
import time
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from .conftest import log_has

WHO = """
import os, time, uuid
ME = uuid.uuid4().hex
def handler(event, context):
    time.sleep(event.get("sleep", 0))
    if event.get("crash"):
        os._exit(3)
    return [os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], ME]
"""


def ready(make, name, qualifier, seconds=60.0):
    """Wait until a qualifier's provisioned concurrency is no longer in progress; answers its configuration."""
    deadline = time.monotonic() + seconds
    while True:
        found = make.functions.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
        if found["Status"] != "IN_PROGRESS":
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def provision(make, name, count, qualifier=None):
    version = qualifier or make.functions.publish_version(FunctionName=name)["Version"]
    put = make.functions.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=version, ProvisionedConcurrentExecutions=count
    )
    assert put["Status"] == "IN_PROGRESS"
    assert put["AllocatedProvisionedConcurrentExecutions"] == 0
    return version


def test_provisioned_environments_are_warm_preferred_and_spill_over(make):
    """The first calls find initialised environments without Init Duration; one call more starts on demand."""
    name = make.function(WHO)
    version = provision(make, name, 2)
    found = ready(make, name, version)
    assert (found["Status"], found["AvailableProvisionedConcurrentExecutions"]) == ("READY", 2)
    (kind, _), response = make.invoke(name, Qualifier=version, LogType="Tail")
    assert kind == "provisioned-concurrency"
    assert b"Init Duration" not in base64.b64decode(response["LogResult"])
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: make.invoke(name, {"sleep": 0.6}, Qualifier=version)[0], range(3)))
    assert sorted(kind for kind, _ in answers) == ["on-demand", "provisioned-concurrency", "provisioned-concurrency"]


def test_a_provisioned_environment_that_dies_is_replaced(make):
    """After a crash the configuration becomes READY again, with another process."""
    name = make.function(WHO)
    version = provision(make, name, 1)
    ready(make, name, version)
    (_, before), _ = make.invoke(name, Qualifier=version)
    make.invoke(name, {"crash": True}, Qualifier=version)
    deadline = time.monotonic() + 20
    while True:
        found = make.functions.get_provisioned_concurrency_config(FunctionName=name, Qualifier=version)
        if found["Status"] == "READY":
            (kind, after), _ = make.invoke(name, Qualifier=version)
            if kind == "provisioned-concurrency":
                break
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    assert after != before


def test_provisioned_concurrency_fails_where_initialisation_does(make):
    """FAILED with FUNCTION_ERROR_INIT_FAILURE, and nothing allocated."""
    name = make.function("raise Exception('no')\ndef handler(event, context): pass")
    version = provision(make, name, 1)
    found = ready(make, name, version)
    assert found["Status"] == "FAILED"
    assert found["StatusReason"] == "FUNCTION_ERROR_INIT_FAILURE"
    assert found["AllocatedProvisionedConcurrentExecutions"] == 0


def test_a_reservation_that_is_all_provisioned_leaves_nothing_to_latest(make):
    """Reserved equal to provisioned: $LATEST is throttled, the version is not; neither may outgrow the other."""
    name = make.function(WHO)
    version = provision(make, name, 2)
    ready(make, name, version)
    with pytest.raises(ClientError, match=r" ReservedConcurrentExecutions  1 should not be lower .* \[2\]\."):
        make.functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    make.functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    with pytest.raises(ClientError) as caught:
        make.invoke(name)
    assert caught.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert make.invoke(name, Qualifier=version)[0][0] == "provisioned-concurrency"
    with pytest.raises(ClientError, match="should not be greater than the reservedConcurrentExecution for function"):
        make.functions.put_provisioned_concurrency_config(
            FunctionName=name, Qualifier=version, ProvisionedConcurrentExecutions=3
        )


def test_provisioned_concurrency_of_an_alias_follows_it(make):
    """The alias' new version is warmed, the old one's environments end, and deleting the alias ends it all."""
    name = make.function(WHO)
    one = make.functions.publish_version(FunctionName=name)["Version"]
    make.functions.update_function_configuration(FunctionName=name, Description="other")
    make.functions.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    two = make.functions.publish_version(FunctionName=name)["Version"]
    make.functions.create_alias(FunctionName=name, Name="live", FunctionVersion=one)
    provision(make, name, 1, "live")
    assert ready(make, name, "live")["Status"] == "READY"
    with pytest.raises(ClientError, match="Version is pointed by a Provisioned Concurrency alias"):
        provision(make, name, 1, one)
    make.functions.update_alias(FunctionName=name, Name="live", FunctionVersion=two)
    deadline = time.monotonic() + 20
    while make.invoke(name, Qualifier=two)[0][0] != "provisioned-concurrency":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    listed = make.functions.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]
    assert [each["FunctionArn"].rpartition(":")[2] for each in listed] == ["live"]
    make.functions.delete_alias(FunctionName=name, Name="live")
    with pytest.raises(ClientError, match="Cannot find alias arn"):
        make.functions.get_provisioned_concurrency_config(FunctionName=name, Qualifier="live")
    assert not make.functions.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]


def test_a_provisioned_first_call_is_as_fast_as_a_warm_one(make):
    """The best first call of six provisioned environments is within the spread of warm calls."""
    name = make.function(WHO)
    version = provision(make, name, 6)
    ready(make, name, version)
    time.sleep(0.2)

    def call(sleep=0.0):
        before = time.perf_counter()
        make.invoke(name, {"sleep": sleep}, Qualifier=version)
        return time.perf_counter() - before - sleep

    first = call()
    warm = sorted(call() for _ in range(20))
    if os.environ.get("ALONZO_SHOW_FIGURES"):
        print(f"first {first * 1000:.2f} ms, warm p50 {warm[10] * 1000:.2f} ms, worst {warm[-1] * 1000:.2f} ms")
    assert first < 3 * warm[-1] + 0.01


EXTENSION = """#!/var/lang/bin/python3
import http.client, http.server, json, os, signal, sys, threading, time
API = os.environ["AWS_LAMBDA_RUNTIME_API"]
def call(method, path, body=None, **headers):
    c = http.client.HTTPConnection(API)
    c.request(method, path, None if body is None else json.dumps(body), headers)
    r = c.getresponse()
    return r.status, dict(r.getheaders()), r.read()
status, headers, body = call("POST", "/2020-01-01/extension/register", {"events": ["INVOKE", "SHUTDOWN"]},
                             **{"Lambda-Extension-Name": os.path.basename(__file__)})
ME = {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}
print("registered", status, json.loads(body)["functionName"], "_HANDLER" in os.environ, flush=True)
class Take(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open("/tmp/telemetry", "a") as f:
            for e in events:
                f.write(json.dumps(e) + "\\n")
        self.send_response(200); self.end_headers()
    def log_message(self, *a): pass
server = http.server.HTTPServer(("sandbox.localdomain", 8099), Take)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("subscribed", call("PUT", "/2022-07-01/telemetry", {"schemaVersion": "2022-07-01",
    "types": ["platform", "function"],
    "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8099/x"},
    "buffering": {"timeoutMs": 25}}, **ME)[0], flush=True)
while True:
    event = json.loads(call("GET", "/2020-01-01/extension/event/next", **ME)[2])
    print("event", event["eventType"], event.get("requestId", event.get("shutdownReason")), flush=True)
    if event["eventType"] == "SHUTDOWN":
        sys.exit(0)
"""
OBSERVED = """
import os, time
def handler(event, context):
    print("in the handler")
    if event.get("sleep"):
        time.sleep(event["sleep"])
    try:
        return open("/tmp/telemetry").read().splitlines()
    except FileNotFoundError:
        return []
"""


def executable(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo(f"extensions/{name}")
        entry.external_attr = 0o100755 << 16
        archive.writestr(entry, text)
    return buffer.getvalue()


def extended(make, extension, source=OBSERVED, **more):
    layer = make.functions.publish_layer_version(
        LayerName=f"l-{uuid.uuid4().hex[:8]}", Content={"ZipFile": executable("watcher.py", extension)}
    )
    return make.function(source, Layers=[layer["LayerVersionArn"]], **more)


def test_an_external_extension_gets_events_and_telemetry(make):
    """It registers before the runtime starts, sees INVOKE, its subscription is replayed from the beginning, and at the
    function's end it gets SHUTDOWN."""
    name = extended(make, EXTENSION)
    wanted = {"initStart", "initRuntimeDone", "initReport", "extension", "start", "runtimeDone", "report"}
    deadline = time.monotonic() + 10
    while True:  # what is under way when an environment is frozen arrives after its next call
        events = [json.loads(line) for line in make.invoke(name)[0]]
        missing = wanted - {event["type"].removeprefix("platform.") for event in events}
        if not missing:
            break
        assert time.monotonic() < deadline, missing
        time.sleep(0.1)
    assert events[0]["type"] == "platform.initStart"
    assert any(event["type"] == "function" and event["record"].startswith("in the handler") for event in events)
    log_has(
        make,
        name,
        f"registered 200 {name} False",
        "subscribed 200",
        "EXTENSION\tName: watcher.py\tState: Ready\tEvents: [INVOKE, SHUTDOWN]",
        "TELEMETRY\tName: watcher.py\tState: Subscribed\tTypes: [Platform, Function]",
        "event INVOKE",
    )
    make.functions.update_function_configuration(FunctionName=name, Description="other")
    log_has(make, name, "event SHUTDOWN spindown")


def test_an_extension_is_told_of_a_time_out(make):
    """After a time-out SHUTDOWN says timeout, and the next call finds a new environment."""
    name = extended(make, EXTENSION, Timeout=1)
    body, _ = make.invoke(name, {"sleep": 5})
    assert body["errorType"] == "Sandbox.Timedout"
    log_has(make, name, "event SHUTDOWN timeout")
    assert isinstance(make.invoke(name)[0], list)


def test_an_extension_that_ends_fails_the_initialisation(make):
    """The answer names Extension.Crash and its exit status."""
    name = extended(make, "#!/bin/sh\nexit 3\n")
    body, response = make.invoke(name)
    assert response["FunctionError"] == "Unhandled"
    assert body["errorType"] == "Extension.Crash"
    assert body["errorMessage"].endswith("Error: exit status 3")
