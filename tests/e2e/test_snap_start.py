"""SnapStart through boto3: versions are initialised once, when they are published, and environments go on from that."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import re
import threading
import time

import pytest
from botocore.exceptions import ClientError

from alonzo.testing import Server

from .conftest import Maker, wait_for
from .test_extensions import HANDLER, PRELUDE

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

RUNTIME = "python3.13"
SLOW = """
import os, time, uuid
from snapshot_restore_py import register_after_restore, register_before_snapshot
import boto3, random
time.sleep(1.5)
made = str(uuid.uuid4())
hooks, places = [], []
open("/tmp/model", "w").write("weights")

@register_before_snapshot
def before():
    hooks.append("before")

@register_after_restore
def after():
    hooks.append("after")
    places.append(str(uuid.uuid4()))

def handler(event, context):
    files = sorted(name for name in os.listdir("/tmp") if name != "lost+found")
    open(f"/tmp/{context.aws_request_id}", "w").close()
    time.sleep(event.get("sleep", 0))
    return {
        "made": made, "hooks": hooks, "places": places, "files": files, "model": open("/tmp/model").read(),
        "pid": os.getpid(), "random": random.random(), "kind": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
        "names": sorted(name for name in os.environ if "KEY" in name or "TOKEN" in name or "LOG_" in name),
        "who": boto3.client("sts").get_caller_identity()["Arn"] if event.get("who") else "",
    }
"""


def publish(maker: Maker, source: str, **more) -> tuple[str, dict]:
    """A function and its first version, once that is no longer pending."""
    name = maker.function(
        source, Runtime=RUNTIME, SnapStart={"ApplyOn": "PublishedVersions"}, **{"MemorySize": 512, **more}
    )
    begun = maker.functions.publish_version(FunctionName=name)
    assert (begun["State"], begun["StateReasonCode"]) == ("Pending", "Creating")
    assert begun["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}
    return name, settled(maker, name, "1")


def settled(maker: Maker, name: str, version: str) -> dict:
    def look():
        found = maker.functions.get_function_configuration(FunctionName=name, Qualifier=version)
        return found["State"] != "Pending" and found

    return wait_for(look, 60)


def call(maker: Maker, name: str, event: dict | None = None, qualifier: str = "1") -> tuple[dict, str]:
    """The answer, and the end of the log."""
    answer = maker.functions.invoke(
        FunctionName=name, Qualifier=qualifier, Payload=json.dumps(event or {}), LogType="Tail"
    )
    tail = base64.b64decode(answer["LogResult"]).decode()
    payload = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, (payload, tail)
    return payload, tail


def lines(server: Server, name: str) -> list[list[str]]:
    """The log's messages, stream by stream, the oldest first; none yet where nothing has been stored."""
    logs, group = server.client("logs"), f"/aws/lambda/{name}"
    try:
        streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
    except logs.exceptions.ResourceNotFoundException:
        return []
    found = []
    for stream in streams:
        events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)
        if events["events"]:
            found.append((events["events"][0]["timestamp"], [event["message"] for event in events["events"]]))
    return [messages for _, messages in sorted(found)]


@pytest.fixture(scope="module")
def server():
    with Server() as started:
        yield started


@pytest.fixture
def maker(server):
    return Maker(server)


@pytest.fixture(scope="module")
def slow(server):
    maker = Maker(server)
    name, found = publish(maker, SLOW)
    assert found["State"] == "Active"
    assert found["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
    return name


def test_environments_go_on_from_one_initialisation(maker, slow):
    """Hooks ran once before and once in each environment; /tmp and memory are those of the snapshot, and then apart."""
    first, tail = call(maker, slow)
    again, warm = call(maker, slow)
    maker.functions.update_function_configuration(FunctionName=slow, Description="another $LATEST")
    assert (first["made"], first["hooks"], first["files"]) == (again["made"], ["before", "after"], ["model"])
    assert (first["kind"], first["model"], again["hooks"]) == ("snap-start", "weights", ["before", "after"])
    assert len(again["files"]) == 2
    found = re.search(r"Restore Duration: ([\d.]+) ms\tBilled Restore Duration: (\d+) ms\t\n", tail)
    assert found and float(found[1]) < 1000 and int(found[2]) <= float(found[1]) + 1
    assert "Init Duration" not in tail and "Restore Duration" not in warm


def test_environments_at_the_same_time(maker, server, slow):
    """Several of one snapshot: one initialisation, another state of random numbers, nobody's files but one's own."""
    makers, together = [Maker(server) for _ in range(6)], threading.Barrier(6)

    def at_once(maker):
        together.wait(30)
        return call(maker, slow, {"sleep": 3})[0]

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(at_once, makers))
    assert len({answer["made"] for answer in answers}) == 1
    assert len({answer["random"] for answer in answers}) == 6
    places = {}
    for answer in answers:
        places.setdefault(answer["places"][0], []).append(set(answer["files"]))
    assert len(places) > 1
    written = [set.union(*files) - {"model"} for files in places.values()]
    assert sum(map(len, written)) == len(set.union(*written))  # no file is in two of them


def test_credentials_come_from_the_endpoint(maker, slow):
    """No variable holds a key, or the log's names; the SDK asks for credentials with the token, and gets the role's."""
    answer, _ = call(maker, slow, {"who": True})
    assert answer["names"] == ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
    assert f"/{slow}" in answer["who"] and ":assumed-role/" in answer["who"]


def test_the_log_names_both_halves(maker, server, slow):
    """INIT_START and INIT_REPORT where it was initialised, RESTORE_START and RESTORE_REPORT where it went on."""
    call(maker, slow)
    streams = wait_for(lambda: (found := lines(server, slow)) and len(found) > 1 and found)
    taken, restored = streams[0], streams[1]
    assert [line.split()[0] for line in taken] == ["INIT_START", "INIT_REPORT"]
    assert re.fullmatch(r"INIT_REPORT Init Duration: \d{4}\.\d\d ms\n", taken[1])
    assert restored[0].startswith("RESTORE_START Runtime Version: python:3.13.v")
    assert re.fullmatch(r"RESTORE_REPORT Restore Duration: [\d.]+ ms\n", restored[1])
    assert restored[2].startswith("START RequestId: ")


def test_a_crash_is_followed_by_another_restore(maker, server):
    """An environment that ends is replaced from the snapshot, with a fresh /tmp; the function is never initialised."""
    source = """
import os, time
time.sleep(1.5)
def handler(event, context):
    if event.get("end"):
        os._exit(3)
    before = sorted(os.listdir("/tmp"))
    open("/tmp/mine", "w").close()
    return before
"""
    name, found = publish(maker, source)
    assert found["State"] == "Active"
    assert "mine" not in call(maker, name)[0]
    failed = maker.functions.invoke(FunctionName=name, Qualifier="1", Payload=b'{"end": 1}')
    assert failed["FunctionError"] == "Unhandled"
    answer, tail = call(maker, name)
    assert "mine" not in answer
    assert "Restore Duration" in tail


def test_latest_is_not_concerned(maker, slow):
    """$LATEST and versions without SnapStart are initialised as ever."""
    answer, tail = call(maker, slow, qualifier="$LATEST")
    assert (answer["kind"], answer["hooks"]) == ("on-demand", [])
    assert "Init Duration" in tail
    assert "AWS_SECRET_ACCESS_KEY" in answer["names"]


def test_an_initialisation_that_fails(maker, server):
    """The version fails, and the log says of what."""
    name, found = publish(maker, "raise ValueError('no model')\ndef handler(event, context): pass\n")
    assert (found["State"], found["StateReasonCode"]) == ("Failed", "FunctionError")
    assert found["StateReason"] == "An error occurred during function initialization."
    assert found["SnapStart"]["OptimizationStatus"] == "Off"
    with pytest.raises(ClientError, match=r"Failed\. An error occurred during function initialization"):
        maker.functions.invoke(FunctionName=name, Qualifier="1")
    text = "".join(wait_for(lambda: (found := lines(server, name)) and found)[0])
    assert "ValueError: no model" in text
    assert re.search(r"INIT_REPORT Init Duration: [\d.]+ ms\tPhase: init\tStatus: error\tError Type: \S+\n", text)


def test_a_hook_that_fails_before_the_snapshot(maker):
    """That is a failed initialisation too."""
    source = "from snapshot_restore_py import register_before_snapshot\nregister_before_snapshot(lambda: 1 / 0)\n"
    _, found = publish(maker, source + "def handler(event, context): return 1\n")
    assert (found["State"], found["StateReasonCode"]) == ("Failed", "FunctionError")


def test_a_hook_that_fails_after_restoring(maker, server):
    """The invocation fails with SnapStartException, and the next tries anew."""
    source = """
import os
from snapshot_restore_py import register_after_restore
register_after_restore(lambda: 1 / 0)
def handler(event, context): return 1
"""
    name, found = publish(maker, source)
    assert found["State"] == "Active"
    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            maker.functions.invoke(FunctionName=name, Qualifier="1")
        assert caught.value.response["Error"]["Code"] == "SnapStartException"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    restored = wait_for(lambda: (found := lines(server, name)) and len(found) > 2 and found)[1]
    assert any("ZeroDivisionError" in line for line in restored)
    assert re.search(r"Status: error\tError Type: Runtime.AfterRestoreError\n", "".join(restored))


def test_a_hook_that_takes_too_long(maker):
    """Ten seconds are all that restoring gets."""
    source = """
import time
from snapshot_restore_py import register_after_restore
register_after_restore(time.sleep, 60)
def handler(event, context): return 1
"""
    name, _ = publish(maker, source, Timeout=30)
    started = time.monotonic()
    with pytest.raises(ClientError) as caught:
        maker.functions.invoke(FunctionName=name, Qualifier="1")
    assert caught.value.response["Error"]["Code"] == "SnapStartTimeoutException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 408
    assert 9 < time.monotonic() - started < 29


def test_a_program_that_cannot_be_copied_is_initialised_each_time(maker):
    """Hooks run all the same; only the status tells, and the time it takes."""
    source = """
import threading, time
from snapshot_restore_py import register_after_restore, register_before_snapshot
hooks = []
register_before_snapshot(hooks.append, "before")
register_after_restore(hooks.append, "after")
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
def handler(event, context): return hooks
"""
    name, found = publish(maker, source)
    assert (found["State"], found["SnapStart"]["OptimizationStatus"]) == ("Active", "Off")
    answer, tail = call(maker, name)
    assert answer == ["before", "after"]
    assert "Init Duration" in tail and "Restore Duration" not in tail


def test_telemetry_tells_of_restoring(maker):
    """Whoever subscribes in a hook learns how the environment began: restored, not initialised."""
    hook = """
from snapshot_restore_py import register_after_restore

@register_after_restore
def begin():
    register(("INVOKE",))
    listen()
    subscribe()
    def follow():
        while True:
            following()
    threading.Thread(target=follow, daemon=True).start()
"""
    name, found = publish(maker, PRELUDE + hook + HANDLER)
    assert found["SnapStart"]["OptimizationStatus"] == "On"

    def told():
        events = [(event["type"], event["record"]) for event in call(maker, name)[0]["events"]]
        return "platform.restoreReport" in dict(events) and events

    events = wait_for(told, 30)
    names = [name.removeprefix("platform.") for name, _ in events if "ubscription" not in name]
    assert names[:4] == ["restoreStart", "restoreRuntimeDone", "extension", "restoreReport"]
    assert not [name for name in names if name.startswith("init")]
    records = dict(events)
    start = records["platform.restoreStart"]
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[1\][0-9a-f]{32}", start.pop("instanceId"))
    assert start.pop("runtimeVersion").startswith("python:3.13.v")
    assert start.pop("runtimeVersionArn").startswith("arn:aws:lambda:us-east-1::runtime:")
    assert start == {"functionName": name, "functionVersion": "1", "instanceMaxMemory": 512}
    assert records["platform.restoreRuntimeDone"] == {"status": "success"}
    report = records["platform.restoreReport"]
    assert report.pop("metrics").keys() == {"durationMs"} and report == {"status": "success"}


def test_invoking_before_it_is_ready(maker):
    """409, with AWS's own name for it."""
    name = maker.function(SLOW, Runtime=RUNTIME, SnapStart={"ApplyOn": "PublishedVersions"}, MemorySize=512)
    maker.functions.publish_version(FunctionName=name)
    with pytest.raises(ClientError) as caught:
        maker.functions.invoke(FunctionName=name, Qualifier="1")
    assert caught.value.response["Error"]["Code"] == "SnapStartNotReadyException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    settled(maker, name, "1")
    again = maker.functions.publish_version(FunctionName=name)  # nothing has changed: the same version
    assert (again["Version"], again["SnapStart"]["OptimizationStatus"]) == ("1", "On")


def test_after_a_restart_it_is_taken_again(tmp_path):
    """The first start after it is an ordinary one; meanwhile the snapshot is made."""
    server = Server(tmp_path)
    with server:
        maker = Maker(server)
        name, found = publish(maker, SLOW)
        assert found["SnapStart"]["OptimizationStatus"] == "On"
        made = call(maker, name)[0]["made"]
    with server:
        maker = Maker(server)
        answer, tail = call(maker, name)
        assert "Init Duration" in tail and answer["made"] != made

        counts = iter(range(2, 20))  # each time one more than there are environments

        def restored():
            count = next(counts)
            with concurrent.futures.ThreadPoolExecutor(count) as pool:
                tails = list(pool.map(lambda _: call(Maker(server), name, {"sleep": 0.5})[1], range(count)))
            return any("Restore Duration" in tail for tail in tails)

        wait_for(restored, 30, 0.5)
